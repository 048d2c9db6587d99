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
/// Tasks that are created at once,
const SPURT: u32 = 10_000;
/// and how often: the machine itself may have other things to do during one of them, and never makes one cheaper than it is.
const SPURTS: usize = 3;
/// What all processes use is looked at for so long, again and again.
const LOOK: Duration = Duration::from_secs(2);
/// The cluster is at rest when so many looks together see as much used as as many before them,
const LOOKS: usize = 3;
/// but for such a part of it: what the machine itself does for others makes so much of a difference.
const ALIKE: f64 = 0.1;
/// Looks after which it is taken as it is, and told so: it has had two minutes.
const MOST_LOOKS: usize = 60;
/// How many come with it.
pub(super) const TASKS: u64 = SAMPLES as u64 + SPURT as u64 * SPURTS as u64;

/// How quickly a few more tasks run.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Probe {
    pub(super) one_at_a_time: Latencies,
    /// What ran already when many were created at once.
    pub(super) beside: u64,
    /// How long it took until the cluster was at rest, and how many cores it uses then.
    pub(super) rest_s: f64,
    pub(super) rest_cores: f64,
    /// The cheapest of those that were created at once.
    #[serde(flatten)]
    pub(super) spurt: Spurt,
    /// What each of them cost.
    pub(super) spurts_cpu_s: Vec<f64>,
}

/// Many tasks at once.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Spurt {
    /// Until they were RUNNING, and what all processes used for them.
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
    let beside = wanted.running_count();
    let mut spurts = Vec::with_capacity(SPURTS);
    for number in 1..=SPURTS {
        spurts.push(spurt(cluster, wanted, &format!("{name} {number}"), rest_cores).await?);
    }
    let spurts_cpu_s: Vec<f64> = spurts.iter().map(|spurt| spurt.cpu_s).collect();
    spurts.sort_unstable_by(|one, other| one.cpu_s.total_cmp(&other.cpu_s));
    let spurt = spurts[0];
    let one_at_a_time = samples.latencies();
    let Spurt { many_s, cpu_s, visited_tasks_each, visited_nodes_each } = spurt;
    println!(
        "{name}: one task created {}; SCHEDULED {}; RUNNING {}; at rest after {rest_s:.0} s with {rest_cores:.2} cores; {SPURT} more RUNNING after {many_s:.2} s, {cpu_s:.2} CPU s at best of {spurts_cpu_s:.2?}, {visited_tasks_each:.1} tasks and {visited_nodes_each:.1} nodes looked at for each",
        one_at_a_time.created, one_at_a_time.scheduled, one_at_a_time.running
    );
    Ok(Probe { one_at_a_time, beside, rest_s, rest_cores, spurt, spurts_cpu_s })
}

/// Creates many at once, by a name that no others have. `rest_cores` is what is used all the time.
async fn spurt(cluster: &mut Cluster, wanted: &mut Wanted, name: &str, rest_cores: f64) -> Result<Spurt, Error> {
    let (before, looked_before, began) = (cluster.used()?, cluster.visited().await?, Instant::now());
    wanted.add(create(&cluster.client, SPURT, 1, name).await?.task_ids);
    wait_running(cluster.client.clone(), wanted.running_count()).await?;
    let many_s = began.elapsed().as_secs_f64();
    let cpu_s = total_cpu_s(&cluster.shares(&before)?) - rest_cores * many_s;
    let looked = cluster.visited().await?;
    let each = |after: u64, before: u64| after.saturating_sub(before) as f64 / f64::from(SPURT);
    let visited_tasks_each = each(looked.tasks, looked_before.tasks);
    let visited_nodes_each = each(looked.nodes, looked_before.nodes);
    Ok(Spurt { many_s, cpu_s, visited_tasks_each, visited_nodes_each })
}

/// A cluster that has nothing to do but to keep what is there.
struct Rest {
    after_s: f64,
    cores: f64,
}

/// What is used at rest is the least of the looks that were alike, so that never too much is taken off.
async fn come_to_rest(cluster: &Cluster) -> Result<Rest, Error> {
    let (began, mut seen) = (Instant::now(), Vec::new());
    while !is_at_rest(&seen) {
        let (before, look) = (cluster.used()?, Instant::now());
        tokio::time::sleep(LOOK).await;
        seen.push(total_cpu_s(&cluster.shares(&before)?) / look.elapsed().as_secs_f64());
    }
    if !is_steady(&seen) {
        println!("the cluster did not come to rest");
    }
    let cores = seen.iter().rev().take(2 * LOOKS).copied().fold(f64::INFINITY, f64::min);
    Ok(Rest { after_s: began.elapsed().as_secs_f64(), cores })
}

/// Whether a cluster that used so many cores, look after look, is to be taken as one at rest.
fn is_at_rest(seen: &[f64]) -> bool {
    is_steady(seen) || seen.len() >= MOST_LOOKS
}

/// Whether it uses no less and no more than a moment ago.
fn is_steady(seen: &[f64]) -> bool {
    let newest: f64 = seen.iter().rev().take(LOOKS).sum();
    let before: f64 = seen.iter().rev().skip(LOOKS).take(LOOKS).sum();
    seen.len() >= 2 * LOOKS && (newest - before).abs() <= before * ALIKE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_is_at_rest_once_it_uses_no_less_than_before() {
        let falls = [1.9, 1.6, 1.2, 0.9, 0.6, 0.5];
        assert!(!is_at_rest(&falls));
        let then = |more: &[f64]| [falls.as_slice(), more].concat();
        assert!(!is_at_rest(&then(&[0.45, 0.45, 0.46])));
        assert!(is_at_rest(&then(&[0.45, 0.45, 0.46, 0.47, 0.44, 0.45])));
        assert!(!is_at_rest(&then(&[0.45, 0.45, 0.46, 1.2, 1.3, 1.1])), "something has begun");
        assert!(
            is_at_rest(&then(&[0.3, 0.45, 0.46, 0.47, 0.44, 0.45, 0.44])),
            "one look that saw less is soon forgotten"
        );
        assert!(!is_at_rest(&[0.4; 5]), "it has to be seen for a while");
    }

    #[test]
    fn what_never_comes_to_rest_is_taken_as_it_is() {
        let falls: Vec<f64> = (0..MOST_LOOKS).map(|look| 2.0 * 0.9_f64.powi(look as i32)).collect();
        assert!(!is_at_rest(&falls[..MOST_LOOKS - 1]));
        assert!(is_at_rest(&falls));
    }
}
