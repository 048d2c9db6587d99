//! How quickly a few more tasks run, and what they cost, beside those that are there.
//!
//! What they cost is what all processes use while they come, less what these use meanwhile for what is there, heartbeats say. So
//! first the cluster comes to rest: what came before is still merged in the store for a while.

use std::time::Duration;

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
/// The cluster is at rest when all processes have used as little as ever in so long, twice,
const LOOK: Duration = Duration::from_secs(3);
/// but for such a part of it, and so much of a core.
const ALIKE: (f64, f64) = (0.1, 0.03);
/// It is not at rest after so many looks.
const MOST_LOOKS: usize = 30;
/// How many come with it.
pub(super) const TASKS: u64 = SAMPLES as u64 + SPURT as u64;

/// How quickly a few more tasks run.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Probe {
    pub(super) one_at_a_time: Latencies,
    /// What ran already when many were created at once.
    pub(super) beside: u64,
    /// How long it took until the cluster was at rest, and how many cores it uses then.
    pub(super) rest_s: f64,
    pub(super) rest_cores: f64,
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
    let Rest { after_s: rest_s, cores: rest_cores } = come_to_rest(cluster).await?;
    let (before, beside, looked_before) = (cluster.used()?, wanted.running_count(), cluster.visited().await?);
    let began = Instant::now();
    wanted.add(create(&cluster.client, SPURT, 1, name).await?.task_ids);
    wait_running(cluster.client.clone(), wanted.running_count()).await?;
    let many_s = began.elapsed().as_secs_f64();
    let cpu_s = total_cpu_s(&cluster.shares(&before)?) - rest_cores * many_s;
    let looked = cluster.visited().await?;
    let each = |after: u64, before: u64| after.saturating_sub(before) as f64 / f64::from(SPURT);
    let visited_tasks_each = each(looked.tasks, looked_before.tasks);
    let visited_nodes_each = each(looked.nodes, looked_before.nodes);
    let one_at_a_time = samples.latencies();
    println!(
        "{name}: one task created {}; SCHEDULED {}; RUNNING {}; at rest after {rest_s:.0} s with {rest_cores:.2} cores; {SPURT} more RUNNING after {many_s:.2} s, {cpu_s:.2} CPU s, {visited_tasks_each:.1} tasks and {visited_nodes_each:.1} nodes looked at for each",
        one_at_a_time.created, one_at_a_time.scheduled, one_at_a_time.running
    );
    Ok(Probe { one_at_a_time, beside, rest_s, rest_cores, many_s, cpu_s, visited_tasks_each, visited_nodes_each })
}

/// A cluster that has nothing to do but to keep what is there.
struct Rest {
    after_s: f64,
    cores: f64,
}

/// What is used at rest is the least that was seen, so that never too much is taken off.
async fn come_to_rest(cluster: &Cluster) -> Result<Rest, Error> {
    let (began, mut seen) = (Instant::now(), Vec::new());
    while seen.len() < MOST_LOOKS {
        let (before, look) = (cluster.used()?, Instant::now());
        tokio::time::sleep(LOOK).await;
        seen.push(total_cpu_s(&cluster.shares(&before)?) / look.elapsed().as_secs_f64());
        let least = seen.iter().copied().fold(f64::INFINITY, f64::min);
        let alike = least * (1.0 + ALIKE.0) + ALIKE.1;
        if seen.iter().filter(|cores| **cores <= alike).count() > 1 {
            return Ok(Rest { after_s: began.elapsed().as_secs_f64(), cores: least });
        }
    }
    Err(Error::Hangs(LOOK * MOST_LOOKS as u32))
}
