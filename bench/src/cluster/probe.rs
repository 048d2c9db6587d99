//! How quickly a few more tasks run, and what they cost, beside those that are there.

use serde::Serialize;
use tokio::time::Instant;

use super::setup::{Cluster, total_cpu_s};
use super::wanted::Wanted;
use crate::error::Error;
use crate::running::latency::{Latencies, Samples};
use crate::running::work::{create, spec, wait_running};

/// Tasks that are created one after the other.
const SAMPLES: usize = 200;
/// Tasks that are created at once.
const SPURT: u32 = 10_000;
/// How many come with it.
pub(super) const TASKS: u64 = SAMPLES as u64 + SPURT as u64;

/// How quickly a few more tasks run.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Probe {
    pub(super) one_at_a_time: Latencies,
    /// What ran already when many were created at once.
    pub(super) beside: u64,
    /// Until these were RUNNING, and what all processes used for them.
    pub(super) many_s: f64,
    pub(super) cpu_s: f64,
    /// What the manager looked at meanwhile, for each of them: as much beside many as beside none.
    pub(super) visited_tasks_each: f64,
    pub(super) visited_nodes_each: f64,
}

/// One at a time, and many at once.
pub(super) async fn probe(cluster: &mut Cluster, wanted: &mut Wanted, name: &str) -> Result<Probe, Error> {
    let samples = Samples::quiet(&mut cluster.client, &spec(0), SAMPLES).await?;
    wanted.add(samples.task_ids.iter().copied());
    let (before, beside, looked_before) = (cluster.used()?, wanted.running_count(), cluster.visited().await?);
    let began = Instant::now();
    wanted.add(create(&cluster.client, SPURT, 1, name).await?.task_ids);
    wait_running(cluster.client.clone(), wanted.running_count()).await?;
    let many_s = began.elapsed().as_secs_f64();
    let cpu_s = total_cpu_s(&cluster.shares(&before)?);
    let looked = cluster.visited().await?;
    let each = |after: u64, before: u64| after.saturating_sub(before) as f64 / f64::from(SPURT);
    let visited_tasks_each = each(looked.tasks, looked_before.tasks);
    let visited_nodes_each = each(looked.nodes, looked_before.nodes);
    let one_at_a_time = samples.latencies();
    println!(
        "{name}: one task created {}; SCHEDULED {}; RUNNING {}; {SPURT} more RUNNING after {many_s:.2} s, {cpu_s:.2} CPU s, {visited_tasks_each:.1} tasks and {visited_nodes_each:.1} nodes looked at for each",
        one_at_a_time.created, one_at_a_time.scheduled, one_at_a_time.running
    );
    Ok(Probe { one_at_a_time, beside, many_s, cpu_s, visited_tasks_each, visited_nodes_each })
}
