//! How many events are kept: up to a number, up to bytes, and up to an age.
//!
//! An event is charged with what it takes itself, but for the spec of its task. That is charged once it is only events that
//! keep it: to the one that tells of the end of its last task, since all others of that spec go before. So all specs in memory
//! take no more than tasks and events are allowed to.

use std::collections::BTreeMap;
use std::mem::size_of;
use std::sync::Arc;

use davit_core::deployment::{Deployment, Incoming, Version};
use davit_core::drain::Drain;
use davit_core::file::Config;
use davit_core::id::{Attempt, TaskId};
use davit_core::job::{Job, Run};
use davit_core::node::{Node, RuntimeProblem};
use davit_core::placement::RuntimeKind;
use davit_core::task::{AttemptStatus, PortBinding, Slot, Task};
use jiff::Timestamp;

use super::{ClusterState, Event, Object};

/// How many events are kept. The newest always is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeptEvents {
    /// So many at most.
    pub count: usize,
    /// So many bytes at most, by estimate.
    pub bytes: u64,
}

impl Default for KeptEvents {
    fn default() -> Self {
        Self { count: 100_000, bytes: 512 << 20 }
    }
}

impl KeptEvents {
    /// Another number of them than by default.
    #[must_use]
    pub fn up_to(count: usize) -> Self {
        Self { count, ..Self::default() }
    }
}

impl ClusterState {
    /// How many bytes the kept events take, by estimate: with the specs that only they keep.
    #[must_use]
    pub fn kept_event_bytes(&self) -> u64 {
        self.events.bytes() + self.specs.ended_bytes()
    }

    /// Appends the next event and drops the oldest beyond what is kept.
    pub(super) fn push_event(&mut self, event: Arc<Event>) {
        self.events.push(event);
        self.trim_events();
    }

    pub(super) fn trim_events(&mut self) {
        while self.events.is_beyond_kept(self.specs.ended_bytes()) {
            self.drop_oldest_event();
        }
    }

    /// Drops events that happened before a time; at most `limit` of them.
    pub(super) fn drop_events_before(&mut self, before: Timestamp, limit: usize) {
        for _ in 0..limit {
            if self.events.oldest_time().is_none_or(|time| time >= before) {
                return;
            }
            self.drop_oldest_event();
        }
    }

    fn drop_oldest_event(&mut self) {
        if let Some(event) = self.events.pop() {
            self.specs.forget_told(event.revision);
        }
    }
}

/// About how many bytes an event takes, without the spec of its task. The same before and after it was stored.
pub(super) fn size_of_event(event: &Event) -> u64 {
    let object = match &event.object {
        Object::Task(task) => size_of_task(task),
        Object::Node(node) => size_of_node(node),
        Object::Deployment(deployment) => size_of_deployment(deployment),
        Object::Job(job) => size_of_job(job),
        Object::Config(config) => size_of_config(config),
    };
    (size_of::<Event>() + event.message.len() + object) as u64
}

fn size_of_task(task: &Task) -> usize {
    let past: usize = task.past_attempts.iter().map(|attempt| size_of::<AttemptStatus>() + texts_of(attempt)).sum();
    let claim = task.claim.as_ref().map_or(0, |claim| claim.reason.len());
    size_of::<Task>() + texts_of(&task.status) + size_of_ports(&task.given_ports) + past + claim
}

/// Without its versions, which its events share.
fn size_of_deployment(deployment: &Deployment) -> usize {
    let rollout = &deployment.rollout;
    size_of::<Deployment>()
        + deployment.name.len()
        + rollout.reason.len()
        + rollout.in_flight.len() * size_of::<(Slot, Incoming)>()
        + deployment.versions.len() * size_of::<Arc<Version>>()
}

/// Without its specs, which its events share.
fn size_of_job(job: &Job) -> usize {
    let of_run = |run: &Run| {
        let ranges = [&run.completed, &run.failed, &run.stopped].map(|indexes| indexes.ranges().count());
        size_of::<Run>()
            + run.reason.len()
            + run.request_id.len()
            + ranges.iter().sum::<usize>() * size_of::<(u32, u32)>()
    };
    let missed = job.missed.as_ref().map_or(0, |missed| missed.reason.len());
    size_of::<Job>() + job.name.len() + missed + job.runs.iter().map(of_run).sum::<usize>()
}

fn size_of_config(config: &Config) -> usize {
    let texts = config.name.name.len() + config.app.len() + size_of_labels(&config.labels);
    size_of::<Config>() + texts + size_of_val(config.versions.as_slice())
}

/// What an attempt takes beyond its fixed part.
fn texts_of(attempt: &AttemptStatus) -> usize {
    attempt.reason.len() + size_of_ports(&attempt.ports)
}

fn size_of_ports(ports: &[PortBinding]) -> usize {
    size_of_val(ports)
}

fn size_of_node(node: &Node) -> usize {
    let description = &node.description;
    let texts = [
        &description.name,
        &description.address,
        &description.os,
        &description.arch,
        &description.worker_version,
        &node.state_reason,
    ];
    let problem = |problem: &RuntimeProblem| size_of::<(RuntimeKind, RuntimeProblem)>() + problem.problem.len();
    size_of::<Node>()
        + texts.map(String::len).iter().sum::<usize>()
        + size_of_labels(&description.labels)
        + size_of_labels(&node.user_labels)
        + node.runtime_problems.values().map(problem).sum::<usize>()
        + node.drain.as_ref().map_or(0, size_of_drain)
}

fn size_of_drain(drain: &Drain) -> usize {
    let stuck = |reason: &String| size_of::<(TaskId, String)>() + reason.len();
    drain.moving.len() * size_of::<(TaskId, Attempt)>() + drain.stuck.values().map(stuck).sum::<usize>()
}

fn size_of_labels(labels: &BTreeMap<String, String>) -> usize {
    labels.iter().map(|(key, value)| size_of::<(String, String)>() + key.len() + value.len()).sum()
}
