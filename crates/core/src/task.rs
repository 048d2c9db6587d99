//! Tasks, what is observed of them, and the one rule by which observations merge.

use std::sync::Arc;

use jiff::Timestamp;
use thin_vec::ThinVec;

use crate::id::{Attempt, AttemptKey, DeploymentId, GangId, JobId, NodeId, Revision, TaskId};
use crate::spec::{PortProtocol, TaskSpec};
use crate::state::TaskState;

/// How many ended attempts a task remembers.
pub const KEPT_ATTEMPTS: usize = 5;

/// What the user or manager wants of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DesiredState {
    /// It is to run (and to run again, as its restart policy says).
    Running,
    /// It is to stop and stay stopped.
    Stopped,
    /// It is to stop and then be deleted.
    Removed,
}

/// A published port, as given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PortBinding {
    /// The port inside the container.
    pub container_port: u16,
    /// tcp or udp.
    pub protocol: PortProtocol,
    /// The port on the node.
    pub host_port: u16,
}

/// Published ports, as given. One pointer, since most of a million tasks have none.
pub type Ports = ThinVec<PortBinding>;

/// How far an image pull is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct PullProgress {
    /// Bytes that arrived.
    pub downloaded_bytes: u64,
    /// Bytes of all layers that are known so far.
    pub total_bytes: u64,
    /// Layers that are ready.
    pub layers_done: u32,
    /// Layers that are known so far.
    pub layers_total: u32,
}

/// What is known of one attempt. Also what a worker reports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttemptStatus {
    /// Which attempt.
    pub attempt: Attempt,
    /// Its state.
    pub state: TaskState,
    /// Orders refinements within one state (pull progress, readiness). Raised by the worker.
    pub sequence: u64,
    /// The node that has it; `None` while no node is chosen.
    pub node_id: Option<NodeId>,
    /// Whether it serves: true from the start on where there is no health check.
    pub ready: bool,
    /// Why it is in this state, for people. Empty where there is nothing to say.
    pub reason: String,
    /// What the process returned, once it ended. 128 + N if signal N ended it.
    pub exit_code: Option<i32>,
    /// Whether the kernel killed it for its memory.
    pub oom_killed: bool,
    /// Published ports, as given.
    pub ports: Ports,
    /// How far its image pull is. Boxed, as few are at it at a time.
    pub pull: Option<Box<PullProgress>>,
    /// When it started, by the node's clock.
    pub started_at: Option<Timestamp>,
    /// When it ended, by the node's clock; for LOST by the manager's.
    pub finished_at: Option<Timestamp>,
    /// How often its worker restarted it within this attempt, because it ended while the manager was out of reach.
    pub local_restarts: u32,
}

impl AttemptStatus {
    /// An attempt that waits for a node.
    #[must_use]
    pub fn pending(attempt: Attempt, reason: impl Into<String>) -> Self {
        Self {
            attempt,
            state: TaskState::Pending,
            sequence: 0,
            node_id: None,
            ready: false,
            reason: reason.into(),
            exit_code: None,
            oom_killed: false,
            ports: Ports::new(),
            pull: None,
            started_at: None,
            finished_at: None,
            local_restarts: 0,
        }
    }

    /// What orders observations of one task: the attempt, then the state's rank, then refinements within one state.
    #[must_use]
    pub fn order(&self) -> (Attempt, u8, u64) {
        (self.attempt, self.state.rank(), self.sequence)
    }

    /// Merges two observations of one task: the greater one wins. There is no other rule.
    ///
    /// Commutative, associative and idempotent, since one writer makes each (attempt, rank, sequence) only once.
    #[must_use]
    pub fn merge(self, other: Self) -> Self {
        if other.order() > self.order() { other } else { self }
    }
}

/// Room on a node that is kept for a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// Where.
    pub node_id: NodeId,
    /// Why, for people.
    pub reason: String,
}

/// A place in a deployment, which holds one task at a time, or two while one takes the place of the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Slot {
    /// One of the replicas, from 1 on.
    Replica(u32),
    /// That of this node. Its task runs there or nowhere.
    Node(NodeId),
}

/// What a task belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Membership {
    /// Tasks that are placed together or not at all.
    Gang(GangId),
    /// A place in a deployment.
    Deployment(DeploymentId, Slot),
    /// An index of a job's run.
    Job(JobId, RunIndex),
}

/// An index of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunIndex {
    /// The run's number.
    pub run: u32,
    /// The index, from 0 on.
    pub index: u32,
}

/// A task's part in what it belongs to, of which it is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Part {
    /// It is alone.
    #[default]
    Alone,
    /// This replica of a deployment.
    Replica(u32),
    /// This index of a job's run.
    Index(RunIndex),
}

/// The smallest unit of work: one container (or process) that a user wants run.
#[derive(Debug, Clone, PartialEq)]
pub struct Task {
    /// Stable for the task's life.
    pub task_id: TaskId,
    /// The user's. Tasks of one batch share it. Never altered by the cluster; only the task of a deployment gets a newer one of its
    /// user's, where that changes nothing of what runs.
    pub spec: Arc<TaskSpec>,
    /// Written by users through Stop, Restart and Delete.
    pub desired_state: DesiredState,
    /// The user wants an attempt of at least this number; raised by Restart.
    pub wanted_attempt: Attempt,
    /// The current attempt. Written by the manager (PENDING, SCHEDULED, LOST) and, for the rest, merged from the worker.
    pub status: AttemptStatus,
    /// Host ports out of the node's range, given to the current attempt when it was placed. Written by the manager.
    pub given_ports: Ports,
    /// While PENDING: not placed before this time.
    pub next_attempt_at: Option<Timestamp>,
    /// Until then an attempt may run on under its node's lease, since it is LOST or its end was told by another start of the worker: no
    /// other is placed before. Only of tasks that must never run twice. Written by the manager.
    pub leased_until: Option<Timestamp>,
    /// The node that the next attempt is to get. While PENDING its room is kept free for this task, which waits for those that
    /// are stopped for it; while the current attempt runs, it is to be stopped and moved there. Written by the manager.
    /// Boxed: few tasks have one, and there are a million of them.
    pub claim: Option<Box<Claim>>,
    /// What it belongs to; `None` for a task of its own. Written when it is made. Boxed, as most belong to nothing.
    pub membership: Option<Box<Membership>>,
    /// Restarts in a row without a healthy stretch; sets the next back-off.
    pub restarts_in_row: u32,
    /// The last ended attempts, oldest first; at most [`KEPT_ATTEMPTS`].
    pub past_attempts: ThinVec<AttemptStatus>,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it changed last.
    pub updated_at: Timestamp,
    /// The cluster's revision at that change.
    pub revision: Revision,
}

impl Task {
    /// The current attempt's key.
    #[must_use]
    pub fn key(&self) -> AttemptKey {
        AttemptKey { task_id: self.task_id, attempt: self.status.attempt }
    }

    /// Whether the current attempt is to run: the task is wanted and no restart asked for a later attempt.
    #[must_use]
    pub fn wants_current_attempt(&self) -> bool {
        self.desired_state == DesiredState::Running && self.wanted_attempt <= self.status.attempt
    }

    /// The tasks with which it is placed together or not at all.
    #[must_use]
    pub fn gang_id(&self) -> Option<GangId> {
        match self.membership.as_deref()? {
            Membership::Gang(gang_id) => Some(*gang_id),
            Membership::Deployment(..) | Membership::Job(..) => None,
        }
    }

    /// Its place in a deployment.
    #[must_use]
    pub fn slot(&self) -> Option<(DeploymentId, Slot)> {
        match self.membership.as_deref()? {
            Membership::Gang(_) | Membership::Job(..) => None,
            Membership::Deployment(deployment_id, slot) => Some((*deployment_id, *slot)),
        }
    }

    /// Its index in a job's run.
    #[must_use]
    pub fn run_index(&self) -> Option<(JobId, RunIndex)> {
        match self.membership.as_deref()? {
            Membership::Gang(_) | Membership::Deployment(..) => None,
            Membership::Job(job_id, run_index) => Some((*job_id, *run_index)),
        }
    }

    /// Its part in what it belongs to.
    #[must_use]
    pub fn part(&self) -> Part {
        match self.membership.as_deref() {
            Some(Membership::Deployment(_, Slot::Replica(replica))) => Part::Replica(*replica),
            Some(Membership::Job(_, run_index)) => Part::Index(*run_index),
            Some(Membership::Gang(_) | Membership::Deployment(_, Slot::Node(_))) | None => Part::Alone,
        }
    }

    /// The node on which alone it may run.
    #[must_use]
    pub fn pinned_to(&self) -> Option<NodeId> {
        match self.slot()? {
            (_, Slot::Node(node_id)) => Some(node_id),
            (_, Slot::Replica(_)) => None,
        }
    }

    /// Whether it fills a place of a deployment: it is to run, whatever became of it.
    #[must_use]
    pub fn holds_slot(&self) -> bool {
        self.desired_state == DesiredState::Running && self.slot().is_some()
    }

    /// Whether nothing further will happen to it unless a user asks.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.status.state.is_terminal()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_task_is_small() {
        // With its counters of references it just fits what allocators give for 320 bytes.
        assert!(size_of::<Task>() <= 304, "{}", size_of::<Task>());
    }

    /// Observations as one system makes them: the details follow from attempt, state and sequence.
    fn observation() -> impl Strategy<Value = AttemptStatus> {
        (1u32..4, prop::sample::select(TaskState::ALL.to_vec()), 0u64..4).prop_map(|(attempt, state, sequence)| {
            AttemptStatus {
                state,
                sequence,
                ..AttemptStatus::pending(Attempt(attempt), format!("{attempt} {state} {sequence}"))
            }
        })
    }

    proptest! {
        #[test]
        fn merging_is_commutative(a in observation(), b in observation()) {
            prop_assert_eq!(a.clone().merge(b.clone()), b.merge(a));
        }

        #[test]
        fn merging_is_associative(a in observation(), b in observation(), c in observation()) {
            prop_assert_eq!(a.clone().merge(b.clone()).merge(c.clone()), a.merge(b.merge(c)));
        }

        #[test]
        fn merging_is_idempotent(a in observation(), b in observation()) {
            prop_assert_eq!(a.clone().merge(a.clone()), a.clone());
            let merged = a.merge(b.clone());
            prop_assert_eq!(merged.clone().merge(b), merged);
        }

        #[test]
        fn any_order_of_arrival_ends_the_same(
            (ordered, shuffled) in prop::collection::vec(observation(), 1..12)
                .prop_flat_map(|all| (Just(all.clone()), Just(all).prop_shuffle())),
        ) {
            let fold = |all: Vec<AttemptStatus>| all.into_iter().reduce(AttemptStatus::merge);
            prop_assert_eq!(fold(ordered), fold(shuffled));
        }

        #[test]
        fn a_higher_attempt_always_wins(a in observation(), b in observation()) {
            prop_assume!(a.attempt < b.attempt);
            prop_assert_eq!(a.merge(b.clone()), b);
        }
    }
}
