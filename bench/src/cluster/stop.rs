//! Everything is stopped: a call for each task, a bounded number of them at once.

use serde::Serialize;
use tokio::time::Instant;
use uuid::Uuid;

use super::setup::{Cluster, Share, total_cpu_s};
use super::wanted::Wanted;
use crate::error::Error;
use crate::running::calls::Calls;
use crate::running::client::Client;
use crate::running::work::wait_running;

/// Calls on their way at once: what the manager works on for one connection is not much more.
const AT_ONCE: usize = 200;

/// A stop of everything.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Stop {
    tasks: u64,
    /// Until the last call was answered.
    asked_s: f64,
    /// Until all had ended.
    pub(super) all_stopped_s: f64,
    pub(super) tasks_per_s: f64,
    cpu_s: f64,
    client_cpu_s: f64,
    processes: Vec<Share>,
}

/// Calls that stop tasks, a bounded number at once.
#[derive(Debug)]
pub(super) struct Stops {
    client: Client,
    calls: Calls<()>,
}

impl Stops {
    pub(super) fn new(client: Client) -> Self {
        Self { client, calls: Calls::at_once(AT_ONCE) }
    }

    /// Asks the next one to stop.
    pub(super) async fn begin(&mut self, task_id: Uuid) -> Result<(), Error> {
        let mut client = self.client.clone();
        self.calls.begin(async move { client.stop(task_id).await }).await
    }

    /// Waits until all were answered.
    pub(super) async fn finish(self) -> Result<(), Error> {
        self.calls.finish().await.map(drop)
    }
}

/// Stops all that runs.
pub(super) async fn everything(cluster: &Cluster, wanted: &mut Wanted) -> Result<Stop, Error> {
    let (before, began) = (cluster.used()?, Instant::now());
    let tasks = wanted.running_count();
    let task_ids = wanted.take_oldest(usize::MAX);
    let asked = async {
        let mut stops = Stops::new(cluster.client.clone());
        for task_id in task_ids {
            stops.begin(task_id).await?;
        }
        stops.finish().await?;
        Ok(began.elapsed().as_secs_f64())
    };
    let (asked_s, all_stopped) = tokio::try_join!(asked, wait_running(cluster.client.clone(), 0))?;
    let all_stopped_s = all_stopped.duration_since(began).as_secs_f64();
    let processes = cluster.shares(&before)?;
    let stop = Stop {
        tasks,
        asked_s,
        all_stopped_s,
        tasks_per_s: tasks as f64 / all_stopped_s,
        cpu_s: total_cpu_s(&processes),
        client_cpu_s: before.client_cpu_s()?,
        processes,
    };
    println!(
        "{tasks} tasks stopped: asked after {asked_s:.2} s, all STOPPED after {all_stopped_s:.2} s, {:.0} tasks/s, {:.1} CPU s",
        stop.tasks_per_s, stop.cpu_s
    );
    Ok(stop)
}
