//! Placing a workload and taking the time.

mod grpc;
mod in_process;
mod scheduler;
mod verify;

use std::time::Duration;

use davit_core::id::NodeId;

pub(crate) use self::verify::{Verified, verify};
use crate::error::Error;
use crate::options::{Cell, Options, Transport};
use crate::workload::Workload;

/// What one run gave.
#[derive(Debug)]
pub(crate) struct Measured {
    /// From all nodes told to the engine ready for the first batch.
    pub(crate) snapshot: Duration,
    /// From the first batch sent to the last answer read.
    pub(crate) elapsed: Duration,
    /// Of each batch, from sent to answer read.
    pub(crate) latencies: Vec<Duration>,
    /// Of each batch that was sent, of each of its groups.
    pub(crate) answers: Vec<Vec<Answer>>,
    /// See docs/benchmarks.md.
    pub(crate) rss_bytes: u64,
    /// The time was up before all batches were sent.
    pub(crate) capped: bool,
}

/// Where the tasks of a group went.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) group_id: String,
    pub(crate) runs: Vec<(NodeId, u32)>,
    pub(crate) unplaced: u32,
}

/// Places the workload once.
pub(crate) async fn run(cell: &Cell, workload: &Workload, options: &Options) -> Result<Measured, Error> {
    match cell.transport {
        Transport::Grpc => grpc::run(workload, &options.scheduler_program(), options.cap(), options.seed).await,
        Transport::InProcess => in_process::run(workload, options.cap(), options.seed),
    }
}

/// What a scheduler process uses that has nothing to do yet.
pub(crate) async fn idle_bytes(options: &Options) -> Result<u64, Error> {
    let scheduler = scheduler::Scheduler::start(&options.scheduler_program()).await?;
    Ok(scheduler.memory()?.map_or(0, |memory| memory.resident_bytes))
}
