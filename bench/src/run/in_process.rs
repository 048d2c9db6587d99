//! The engine called in this process, on one thread.

use std::time::Duration;

use scheduler_svc::placement::{GroupPlacement, Mirror, place};
use tokio::time::Instant;

use super::{Answer, Measured};
use crate::error::Error;
use crate::memory;
use crate::workload::Workload;

pub(super) fn run(workload: &Workload, cap: Duration, seed: u64) -> Result<Measured, Error> {
    let nodes = workload.nodes.clone();
    let started = Instant::now();
    let mut mirror = Mirror::new(nodes);
    let snapshot = started.elapsed();

    let mut latencies = Vec::with_capacity(workload.batches.len());
    let mut answers: Vec<Vec<GroupPlacement>> = Vec::with_capacity(workload.batches.len());
    let mut capped = false;
    let started = Instant::now();
    for (batch, seed) in workload.batches.iter().zip(seed..) {
        capped = started.elapsed() > cap;
        if capped {
            break;
        }
        let sent = Instant::now();
        answers.push(place(&mut mirror, batch, seed));
        latencies.push(sent.elapsed());
    }
    let elapsed = started.elapsed();
    let rss_bytes = memory::own()?.resident_bytes;
    let answers = answers.into_iter().map(|batch| batch.into_iter().map(answer).collect()).collect();
    Ok(Measured { snapshot, elapsed, latencies, answers, rss_bytes, capped })
}

fn answer(placement: GroupPlacement) -> Answer {
    let GroupPlacement { group_id, runs, unplaced, .. } = placement;
    Answer { group_id, runs, unplaced }
}
