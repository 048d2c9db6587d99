//! What the drain of a node has to do next: which tasks it may move, when what is left is stopped, and when it is over.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use davit_core::drain::{Drain, DrainSource};
use davit_core::id::{Attempt, NodeId, TaskId};
use davit_core::node::{Node, NodeState};
use davit_core::placement::{Misfit, misfits};
use davit_core::state::TaskState;
use davit_core::task::Task;
use jiff::Timestamp;

use crate::state::{ClusterState, is_movable};

/// How many attempts run on nodes, by the last word of their workers since these registered. A node that is not in here has not said.
pub type Running = BTreeMap<NodeId, u32>;

/// What is to be done for one drain.
#[derive(Debug, Clone, PartialEq)]
pub struct DrainStep {
    /// Tasks on the move that are on the move no longer: they run elsewhere, or have ended.
    pub settled: Vec<TaskId>,
    /// What comes next.
    pub next: DrainNext,
}

/// What comes next in a drain.
#[derive(Debug, Clone, PartialEq)]
pub enum DrainNext {
    /// Nothing, until something changes or the deadline passes.
    Wait,
    /// No task is left, and the node's worker has not said yet that nothing runs there any more. That is no change of the state,
    /// so it has to be looked at again.
    AwaitWord,
    /// Some of these are to move, each once a place elsewhere was found for it.
    Move {
        /// The one that matters most first.
        candidates: Vec<Arc<Task>>,
        /// As many may begin to move now; at least one.
        at_most: usize,
    },
    /// These can run nowhere else, since their volumes are here: they are stopped, and wait until the node takes tasks again.
    Stop {
        /// Each with what keeps it.
        tasks: Vec<(Arc<Task>, String)>,
    },
    /// The deadline has passed: all of these are stopped and wait for a place elsewhere.
    Force {
        /// Which.
        tasks: Vec<Arc<Task>>,
    },
    /// No task is left.
    Finish,
}

impl DrainStep {
    /// Whether nothing is to be done now but to look for places.
    #[must_use]
    pub fn changes_nothing(&self) -> bool {
        self.settled.is_empty() && matches!(self.next, DrainNext::Wait | DrainNext::AwaitWord | DrainNext::Move { .. })
    }
}

/// Judges the drain of a node. What is done with tasks is decided here in one place, so that ways of moving that need no stop
/// beforehand have theirs too, once there are owners of tasks that allow it.
#[must_use]
pub fn next_of_drain(state: &ClusterState, node: &Node, drain: &Drain, running: &Running, now: Timestamp) -> DrainStep {
    let is_over = |(task_id, attempt): &(&TaskId, &Attempt)| is_settled(state.task(**task_id), **attempt);
    let settled: Vec<TaskId> = drain.moving.iter().filter(is_over).map(|(task_id, _)| *task_id).collect();
    let on_the_move = drain.moving.len().saturating_sub(settled.len());
    let next = next(state, node, drain, on_the_move, running, now);
    DrainStep { next, settled }
}

fn next(
    state: &ClusterState,
    node: &Node,
    drain: &Drain,
    on_the_move: usize,
    running: &Running,
    now: Timestamp,
) -> DrainNext {
    if drain.drained_at.is_some() {
        return DrainNext::Wait;
    }
    if state.tasks_on(node.node_id).next().is_none() {
        return match may_run_on(node, drain, running) {
            false => DrainNext::Finish,
            // It says nothing before it registers, which changes the state.
            true if node.state == NodeState::Down => DrainNext::Wait,
            true => DrainNext::AwaitWord,
        };
    }
    let mut candidates: Vec<Arc<Task>> =
        state.tasks_on(node.node_id).filter(|task| is_movable(task)).cloned().collect();
    if candidates.is_empty() {
        return DrainNext::Wait;
    }
    if drain.is_overdue(now) {
        return DrainNext::Force { tasks: candidates };
    }
    // A worker that is not in touch can't be told to stop anything. It may be back, or its tasks are lost by their rules.
    if node.state != NodeState::Ready {
        return DrainNext::Wait;
    }
    // With a worker that shuts down they stay as they are.
    if drain.source == DrainSource::User {
        let kept = |task: &Arc<Task>| {
            let volume = state.volume_that_keeps(task, node.node_id)?;
            Some((Arc::clone(task), volume.to_owned()))
        };
        let tasks: Vec<_> = candidates.iter().filter_map(kept).collect();
        if !tasks.is_empty() {
            return DrainNext::Stop { tasks };
        }
    }
    let at_most = (drain.max_parallel as usize).saturating_sub(on_the_move);
    if at_most == 0 {
        return DrainNext::Wait;
    }
    candidates.sort_by_key(|task| (Reverse(task.spec.placement.priority), task.task_id));
    DrainNext::Move { candidates, at_most }
}

/// Whether something may still run there, such as what was LOST with the node, now or before: whoever reads that a node is drained
/// believes that it is empty.
fn may_run_on(node: &Node, drain: &Drain, running: &Running) -> bool {
    let lost_some = drain.lost_count > 0;
    if node.state == NodeState::Down {
        // One that was down before lost what it had before. One that went in order left nothing.
        return lost_some || drain.started_at >= node.state_since;
    }
    // An engine that does not answer has told nobody what it runs; nor does a worker know, of whose runtimes none has answered yet.
    let has_told = node.runtime_problems.is_empty() && !node.description.runtimes.is_empty();
    let is_unknown = lost_some && !has_told;
    is_unknown || running.get(&node.node_id) != Some(&0)
}

/// Whether a task that was told to move, with this attempt on the node, is on the move no longer.
fn is_settled(task: Option<&Arc<Task>>, attempt: Attempt) -> bool {
    let Some(task) = task else { return true };
    let ran = |state: TaskState| state.rank() >= TaskState::Running.rank();
    let mut later = task.past_attempts.iter().chain([&task.status]).filter(|status| status.attempt > attempt);
    task.is_finished() || later.any(|status| status.node_id.is_some() && ran(status.state))
}

/// Why a task that fits nowhere else does not, for people. `unplaced` is what the scheduler says.
#[must_use]
pub fn why_stuck(state: &ClusterState, task: &Task, node: &Node, unplaced: &str) -> String {
    let requirements = state.placement_requirements_of(task);
    let is_bound = |misfit: &Misfit| {
        matches!(misfit, Misfit::Constraint { .. } | Misfit::Platform { .. } | Misfit::RuntimeMissing { .. })
    };
    let mut others = state.nodes().filter(|other| other.node_id != node.node_id).peekable();
    if others.peek().is_none() {
        return "there is no other node".to_owned();
    }
    if others.all(|other| misfits(&requirements, &state.node_view(other, None)).iter().any(is_bound)) {
        return format!("it is bound to this node: no other one is what it asks for ({unplaced})");
    }
    unplaced.to_owned()
}
