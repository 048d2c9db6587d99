//! The work that is given to a cluster: tasks, and waiting until its nodes have joined and the tasks run.

use std::time::Duration;

use davit_proto::v1;
use tokio::task::JoinSet;
use tokio::time::Instant;

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

/// Creates tasks and says how long it took until the last was answered.
pub(crate) async fn create(client: &Client, tasks: u32, shapes: u32, name: &str) -> Result<Duration, Error> {
    let began = Instant::now();
    let (mut left, mut number) = (tasks, 0);
    let mut calls = JoinSet::new();
    while left > 0 || !calls.is_empty() {
        while left > 0 && calls.len() < AT_ONCE {
            let size = left.min(BATCH);
            left -= size;
            let (spec, request_id) = (spec(number % shapes), format!("{name}-{number}"));
            number += 1;
            let mut client = client.clone();
            calls.spawn(async move { client.create(&spec, size, &request_id).await });
        }
        if let Some(called) = calls.join_next().await {
            called.map_err(|error| Error::WrongAnswer(error.to_string()))??;
        }
    }
    Ok(began.elapsed())
}

/// Waits until so many tasks are RUNNING, and says now and then how far they are.
pub(crate) async fn wait_running(mut client: Client, tasks: u64) -> Result<Instant, Error> {
    let (began, mut last, mut changed) = (Instant::now(), 0, Instant::now());
    let mut next_word = began + WORD;
    loop {
        let cluster = client.cluster().await?;
        let running = count(&cluster, v1::TaskState::Running);
        if running == tasks {
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

/// A small container; shapes differ in what they reserve.
pub(crate) fn spec(shape: u32) -> v1::TaskSpec {
    let container = v1::ContainerSpec { image: "hollow:1".to_owned(), ..Default::default() };
    let memory_bytes = (32 + u64::from(shape)) << 20;
    let reservation = Some(v1::Resources { cpu_millis: 10 + u64::from(shape % 20), memory_bytes, disk_bytes: 0 });
    v1::TaskSpec {
        name: format!("hollow-{shape}"),
        runtime: Some(v1::task_spec::Runtime::Container(container)),
        resources: Some(v1::ResourceRequirements { reservation, limit: None }),
        ..Default::default()
    }
}
