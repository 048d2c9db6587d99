//! All tasks at once: how long it takes until they are RUNNING, and what that costs.

use serde::Serialize;
use tokio::time::Instant;

use super::grid::Cell;
use super::setup::{Cluster, Share};
use super::wanted::Wanted;
use crate::error::Error;
use crate::running::latency::Spread;
use crate::running::programs::loopback_bytes;
use crate::running::work::{create, wait_running};

/// All tasks at once.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Bulk {
    /// Until the last create was answered.
    create_s: f64,
    /// Of each create of 5,000 tasks, until its answer.
    pub(super) create_answered: Spread,
    create_requests: usize,
    /// How often the manager had too much to do for one; its answer counts from the first time that it was sent.
    create_refusals: u32,
    /// From the first create until all were RUNNING.
    pub(super) create_to_all_running_s: f64,
    pub(super) tasks_per_s: f64,
    wire_bytes_per_task: f64,
    client_cpu_s: f64,
    pub(super) processes: Vec<Share>,
}

/// Creates them and waits until they run.
pub(super) async fn run(cluster: &Cluster, cell: Cell, shapes: u32, wanted: &mut Wanted) -> Result<Bulk, Error> {
    let (before, wire_before) = (cluster.used()?, loopback_bytes()?);
    let began = Instant::now();
    let running = wait_running(cluster.client.clone(), wanted.running_count() + u64::from(cell.tasks));
    let (many, all_running) = tokio::try_join!(create(&cluster.client, cell.tasks, shapes, "bench"), running)?;
    wanted.add(many.task_ids);
    let all_running_s = all_running.duration_since(began).as_secs_f64();
    let tasks = f64::from(cell.tasks);
    let bulk = Bulk {
        create_s: many.took.as_secs_f64(),
        create_requests: many.answered.len(),
        create_answered: Spread::of(many.answered),
        create_refusals: many.refusals,
        create_to_all_running_s: all_running_s,
        tasks_per_s: tasks / all_running_s,
        wire_bytes_per_task: (loopback_bytes()? - wire_before) as f64 / tasks,
        client_cpu_s: before.client_cpu_s()?,
        processes: cluster.shares(&before)?,
    };
    bulk.tell(cell);
    Ok(bulk)
}

impl Bulk {
    fn tell(&self, Cell { nodes, tasks }: Cell) {
        println!(
            "{tasks} tasks on {nodes} nodes: created after {:.2} s, all RUNNING after {:.2} s, {:.0} tasks/s, \
             {:.0} bytes on the wire a task",
            self.create_s, self.create_to_all_running_s, self.tasks_per_s, self.wire_bytes_per_task
        );
        println!(
            "{} creates answered within {}; the manager had too much to do {} times",
            self.create_requests, self.create_answered, self.create_refusals
        );
        for share in &self.processes {
            let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
            println!(
                "{:>16} {:>7.1} CPU s {:>7.0} MiB now {:>7.0} MiB at most since its start {:>5} warnings",
                share.name,
                share.cpu_s,
                mib(share.resident_bytes),
                mib(share.peak_since_start_bytes),
                share.warnings
            );
        }
        println!("{:>16} {:>7.1} CPU s", "client", self.client_cpu_s);
    }

    /// The most memory that a process had since its start.
    pub(super) fn peak_since_start_bytes(&self, name: &str) -> u64 {
        self.processes.iter().find(|share| share.name == name).map_or(0, |share| share.peak_since_start_bytes)
    }
}
