//! The work that is given to a cluster: tasks, and waiting until its nodes have joined and the tasks run.

use std::time::Duration;

use davit_proto::v1;
use tokio::time::Instant;
use uuid::Uuid;

use super::calls::Calls;
use super::client::{Client, count, ready};
use super::{HANG, LOOK};
use crate::error::Error;

/// Tasks of one request.
const BATCH: u32 = 5_000;
/// Requests on their way at once.
const AT_ONCE: usize = 4;
/// Between two words on how far they are.
const WORD: Duration = Duration::from_secs(2);

/// Waits until all nodes are READY and the scheduler is connected.
pub(crate) async fn wait_joined(client: &mut Client, nodes: u32) -> Result<(), Error> {
    let end = Instant::now() + HANG;
    loop {
        let cluster = client.cluster().await?;
        if ready(&cluster) == u64::from(nodes) && cluster.scheduler.is_some_and(|scheduler| scheduler.connected) {
            return Ok(());
        }
        if Instant::now() > end {
            return Err(Error::Hangs(HANG));
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Tasks that were created at once.
#[derive(Debug)]
pub(crate) struct Many {
    pub(crate) task_ids: Vec<Uuid>,
    /// Until the last request was answered.
    pub(crate) took: Duration,
    /// Of each request, until it was answered.
    pub(crate) answered: Vec<Duration>,
    /// How often the manager had too much to do.
    pub(crate) refusals: u32,
}

/// Creates tasks.
pub(crate) async fn create(client: &Client, tasks: u32, shapes: u32, name: &str) -> Result<Many, Error> {
    let began = Instant::now();
    let (mut left, mut number) = (tasks, 0);
    let mut calls = Calls::at_once(AT_ONCE);
    while left > 0 {
        let size = left.min(BATCH);
        left -= size;
        let (spec, request_id, mut client) = (spec(number % shapes), format!("{name}-{number}"), client.clone());
        number += 1;
        calls.begin(async move { client.create(&spec, size, &request_id).await }).await?;
    }
    let answers = calls.finish().await?;
    let mut many = Many { task_ids: Vec::new(), took: began.elapsed(), answered: Vec::new(), refusals: 0 };
    for answer in answers {
        many.task_ids.extend(answer.task_ids);
        many.answered.push(answer.answered);
        many.refusals += answer.refusals;
    }
    Ok(many)
}

/// Waits until so many tasks are RUNNING and all others have ended, and says now and then how far they are.
pub(crate) async fn wait_running(mut client: Client, tasks: u64) -> Result<Instant, Error> {
    let (began, mut last, mut changed) = (Instant::now(), 0, Instant::now());
    let mut next_word = began + WORD;
    loop {
        let cluster = client.cluster().await?;
        let running = count(&cluster, v1::TaskState::Running);
        if running == tasks && underway(&cluster) == 0 {
            return Ok(Instant::now());
        }
        if running != last {
            (last, changed) = (running, Instant::now());
        }
        if changed.elapsed() > HANG {
            return Err(Error::WrongAnswer(format!("{running} of {tasks} tasks are RUNNING, and that for {HANG:?}")));
        }
        if Instant::now() >= next_word {
            next_word += WORD;
            let states = cluster.tasks.iter().filter(|row| row.count > 0);
            let states: Vec<_> = states.map(|row| format!("{} {}", row.count, row.state().as_str_name())).collect();
            println!("  {:>4.0} s: {}", began.elapsed().as_secs_f64(), states.join(", "));
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Tasks that neither run nor have ended.
fn underway(cluster: &v1::Cluster) -> u64 {
    use v1::TaskState::{Pending, Preparing, Scheduled, Stopping};
    [Pending, Scheduled, Preparing, Stopping].map(|state| count(cluster, state)).iter().sum()
}

/// A small container; shapes differ in what they reserve.
pub(crate) fn spec(shape: u32) -> v1::TaskSpec {
    let container = v1::ContainerSpec { image: "hollow:1".to_owned(), ..Default::default() };
    let reservation = Some(reservation(shape));
    v1::TaskSpec {
        name: format!("hollow-{shape}"),
        runtime: Some(v1::task_spec::Runtime::Container(container)),
        resources: Some(v1::ResourceRequirements { reservation, limit: None }),
        ..Default::default()
    }
}

/// What a shape sets aside.
pub(crate) fn reservation(shape: u32) -> v1::Resources {
    let memory_bytes = (32 + u64::from(shape)) << 20;
    v1::Resources { cpu_millis: 10 + u64::from(shape % 20), memory_bytes, disk_bytes: 0 }
}
