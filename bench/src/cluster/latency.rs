//! How long one task takes: created alone, while nothing else goes on, and followed by the events that any client can watch.

use std::time::Duration;

use davit_proto::v1;
use davit_proto::v1::watch_events_response::Message;
use serde::Serialize;
use tokio::time::Instant;

use super::client::Client;
use crate::error::Error;

/// Nothing is heard of a task for so long: it hangs.
const HANG: Duration = Duration::from_secs(30);

/// Times of many tasks, in milliseconds from the moment in which the request was sent.
#[derive(Debug, Serialize)]
pub(super) struct Latencies {
    pub(super) tasks: usize,
    /// Until the answer, when the task is durable.
    pub(super) created: Spread,
    /// Until a client knew of the event that it has a node.
    pub(super) scheduled: Spread,
    /// Until a client knew of the event that it runs.
    pub(super) running: Spread,
}

/// The middle, and what one in a hundred is slower than.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Spread {
    pub(super) p50_ms: f64,
    pub(super) p99_ms: f64,
}

impl Spread {
    fn of(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        let at = |percent: usize| {
            let place = (times.len() * percent / 100).min(times.len().saturating_sub(1));
            times.get(place).map_or(0.0, |time| time.as_secs_f64() * 1000.0)
        };
        Self { p50_ms: at(50), p99_ms: at(99) }
    }
}

impl std::fmt::Display for Spread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.1} ms, p99 {:.1} ms", self.p50_ms, self.p99_ms)
    }
}

/// Creates so many tasks, one after the other.
pub(super) async fn measure(client: &mut Client, spec: &v1::TaskSpec, tasks: usize) -> Result<Latencies, Error> {
    let mut events = client.watch_states().await?;
    let (mut created, mut scheduled, mut running) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..tasks {
        let began = Instant::now();
        let task_id = client.create_one(spec).await?;
        created.push(began.elapsed());
        let mut has_node = false;
        loop {
            let next = tokio::time::timeout(HANG, events.message()).await.map_err(|_| Error::Hangs(HANG))?;
            let Some(response) = next? else {
                return Err(Error::WrongAnswer("the watch ended".to_owned()));
            };
            let Some(Message::Event(v1::Event { object: Some(v1::event::Object::Task(task)), .. })) = response.message
            else {
                continue;
            };
            let state = task.status.as_ref().map(v1::TaskStatus::state).unwrap_or_default();
            if task.task_id != task_id || state == v1::TaskState::Pending {
                continue;
            }
            if !std::mem::replace(&mut has_node, true) {
                scheduled.push(began.elapsed());
            }
            if state == v1::TaskState::Running {
                running.push(began.elapsed());
                break;
            }
        }
    }
    let (created, scheduled, running) = (Spread::of(created), Spread::of(scheduled), Spread::of(running));
    Ok(Latencies { tasks, created, scheduled, running })
}
