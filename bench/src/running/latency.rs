//! How long one task takes that is created alone, followed by the events that any client can watch.

use std::time::Duration;

use davit_proto::v1;
use davit_proto::v1::event::Object;
use davit_proto::v1::watch_events_response::Message;
use serde::Serialize;
use tokio::time::Instant;
use uuid::Uuid;

use super::client::{Client, Watch, parse_id};
use crate::error::Error;
use crate::report::{millis, percentile};

/// Nothing is heard of a task for so long: it hangs.
const HANG: Duration = Duration::from_secs(30);

/// Times of many tasks, in milliseconds from the moment in which the request was sent.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Latencies {
    pub(crate) tasks: usize,
    /// Until the answer, when the task is durable.
    pub(crate) created: Spread,
    /// Until a client knew of the event that it has a node.
    pub(crate) scheduled: Spread,
    /// Until a client knew of the event that it runs.
    pub(crate) running: Spread,
}

/// The middle, and what one in a hundred is slower than.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Spread {
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
}

impl Spread {
    pub(crate) fn of(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        let at = |percent| millis(percentile(&times, percent));
        Self { p50_ms: at(50), p99_ms: at(99) }
    }
}

impl std::fmt::Display for Spread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.1} ms, p99 {:.1} ms", self.p50_ms, self.p99_ms)
    }
}

/// The times of tasks so far, and which they were.
#[derive(Debug, Default)]
pub(crate) struct Samples {
    created: Vec<Duration>,
    scheduled: Vec<Duration>,
    pub(crate) running: Vec<Duration>,
    pub(crate) task_ids: Vec<Uuid>,
}

impl Samples {
    /// Creates so many tasks, one after the other, while nothing else goes on: it watches all that happens.
    pub(crate) async fn quiet(client: &mut Client, spec: &v1::TaskSpec, tasks: usize) -> Result<Self, Error> {
        let (mut samples, mut events) = (Self::default(), client.watch(&[v1::EventType::TaskStateChanged]).await?);
        for _ in 0..tasks {
            let began = Instant::now();
            let task = samples.create(client, spec, began).await?;
            samples.follow(&task, &mut events, began).await?;
        }
        Ok(samples)
    }

    /// Creates one in the midst of others, and watches it alone.
    pub(crate) async fn amid(&mut self, client: &mut Client, spec: &v1::TaskSpec) -> Result<(), Error> {
        let began = Instant::now();
        let task = self.create(client, spec, began).await?;
        let mut events = client.watch_task(&task).await?;
        self.follow(&task, &mut events, began).await
    }

    async fn create(&mut self, client: &mut Client, spec: &v1::TaskSpec, began: Instant) -> Result<v1::Task, Error> {
        let task = client.create_one(spec).await?;
        self.created.push(began.elapsed());
        self.task_ids.push(parse_id(&task.task_id)?);
        Ok(task)
    }

    /// Until the client knows that it runs.
    async fn follow(&mut self, task: &v1::Task, events: &mut Watch, began: Instant) -> Result<(), Error> {
        let mut has_node = false;
        loop {
            let state = match next_object(events).await? {
                Object::Task(seen) if seen.task_id == task.task_id => seen.status.unwrap_or_default().state(),
                Object::Task(_) | Object::Node(_) | Object::Deployment(_) | Object::Job(_) | Object::Config(_) => {
                    continue;
                }
            };
            if state == v1::TaskState::Pending {
                continue;
            }
            if !std::mem::replace(&mut has_node, true) {
                self.scheduled.push(began.elapsed());
            }
            if state == v1::TaskState::Running {
                self.running.push(began.elapsed());
                return Ok(());
            }
        }
    }

    pub(crate) fn latencies(self) -> Latencies {
        Latencies {
            tasks: self.task_ids.len(),
            created: Spread::of(self.created),
            scheduled: Spread::of(self.scheduled),
            running: Spread::of(self.running),
        }
    }
}

/// What the next event is about.
pub(crate) async fn next_object(events: &mut Watch) -> Result<Object, Error> {
    let end = Instant::now() + HANG;
    loop {
        let next = tokio::time::timeout_at(end, events.message()).await.map_err(|_| Error::Hangs(HANG))?;
        let Some(response) = next? else {
            return Err(Error::WrongAnswer("the watch ended".to_owned()));
        };
        if let Some(Message::Event(v1::Event { object: Some(object), .. })) = response.message {
            return Ok(object);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_and_the_slowest_of_a_hundred() {
        let Spread { p50_ms, p99_ms } = Spread::of((0..100).rev().map(Duration::from_millis).collect());
        assert_eq!((p50_ms, p99_ms), (49.0, 98.0));
        assert_eq!(Spread::of(Vec::new()).p99_ms, 0.0);
    }
}
