//! What time alone will make due on nodes: tasks that are lost with a node which is DOWN, and tasks that a node can't begin. Kept
//! up with every version of nodes and tasks, so that until then nobody has to look.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use davit_core::id::{NodeId, TaskId};
use davit_core::lease;
use davit_core::node::{Node, NodeState};
use davit_core::placement::RuntimeKind;
use davit_core::spec::OnNodeLoss;
use davit_core::state::TaskState;
use davit_core::task::{DesiredState, Task};
use imbl::OrdSet;
use jiff::Timestamp;

use super::usage::is_movable;
use super::{ClusterState, NodeUsage};

/// What has to pass before a task is LOST with its node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum LossWait {
    /// So long since the node went down.
    SinceDown(Duration),
    /// So long after the node's lease must have ended.
    AfterLease(Duration),
}

/// What is waited for before a task is LOST with its node; `None`: nothing.
pub(crate) fn loss_wait(task: &Task) -> Option<LossWait> {
    match task.spec.on_node_loss {
        // Also of one that is to stop: it may be asked to run again the moment after.
        OnNodeLoss::StopAndReplace => Some(LossWait::AfterLease(lease::time_to_stop(task.spec.stop.grace))),
        // Nobody waits for a task that was to stop anyway.
        OnNodeLoss::Wait(_) if task.desired_state != DesiredState::Running => None,
        OnNodeLoss::Wait(wait) => Some(LossWait::SinceDown(wait)).filter(|_| !wait.is_zero()),
        OnNodeLoss::Replace => None,
    }
}

/// When tasks will be due.
#[derive(Debug, Clone, Default)]
pub(super) struct Due {
    /// Nodes that are DOWN, by when the first of their tasks that wait for no lease are LOST.
    lost: OrdSet<(Timestamp, NodeId)>,
    /// Nodes that are DOWN, by how long after the end of their lease the first of the tasks that wait for it are LOST.
    leased: OrdSet<(Duration, NodeId)>,
    /// Tasks that wait for a runtime of a READY node, by when that began to fail.
    unbegun: OrdSet<(Timestamp, NodeId, TaskId)>,
}

/// When the first tasks of a node are lost once it is DOWN.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Losses {
    /// After so long; zero: at once.
    since_down: Option<Duration>,
    after_lease: Option<Duration>,
}

impl Losses {
    pub(super) fn of(usage: &NodeUsage) -> Self {
        let waits = &usage.loss_waits;
        let waiting: usize = waits.values().map(|count| *count as usize).sum();
        let first = waits.keys().find_map(|wait| match wait {
            LossWait::SinceDown(wait) => Some(*wait),
            LossWait::AfterLease(_) => None,
        });
        let leased = waits.range(LossWait::AfterLease(Duration::ZERO)..).next();
        let after_lease = leased.and_then(|(wait, _)| match wait {
            LossWait::AfterLease(wait) => Some(*wait),
            LossWait::SinceDown(_) => None,
        });
        let since_down = if usage.tasks.len() > waiting { Some(Duration::ZERO) } else { first };
        Self { since_down, after_lease }
    }
}

impl Due {
    fn remove_losses(&mut self, node: &Node, losses: Losses) {
        if let Some(wait) = losses.since_down {
            self.lost.remove(&(lost_at(node, wait), node.node_id));
        }
        if let Some(wait) = losses.after_lease {
            self.leased.remove(&(wait, node.node_id));
        }
    }

    fn add_losses(&mut self, node: &Node, losses: Losses) {
        if let Some(wait) = losses.since_down {
            self.lost.insert((lost_at(node, wait), node.node_id));
        }
        if let Some(wait) = losses.after_lease {
            self.leased.insert((wait, node.node_id));
        }
    }
}

impl ClusterState {
    /// When the next task is LOST with its node that waits for no lease.
    #[must_use]
    pub(crate) fn next_loss(&self) -> Option<Timestamp> {
        self.due.lost.get_min().map(|(at, _)| *at)
    }

    /// Nodes that are DOWN and have tasks which wait for no lease and are LOST by now.
    pub(crate) fn nodes_losing_by(&self, now: Timestamp) -> impl Iterator<Item = NodeId> {
        let due = self.due.lost.iter().take_while(move |(at, _)| *at <= now);
        self.visits.of_nodes(due.map(|(_, node_id)| *node_id))
    }

    /// Nodes that are DOWN and have tasks which wait for the end of its lease: for the first of them so long after that.
    pub(crate) fn leased_down_nodes(&self) -> &OrdSet<(Duration, NodeId)> {
        &self.due.leased
    }

    /// Since when the first task that waits for a failing runtime of its READY node does so: that is how long the runtime fails.
    #[must_use]
    pub(crate) fn first_unbegun(&self) -> Option<Timestamp> {
        self.due.unbegun.get_min().map(|(since, ..)| *since)
    }

    /// Tasks that wait for a runtime of their READY node that fails since then or longer; with that node.
    pub(crate) fn unbegun_since(&self, then: Timestamp) -> impl Iterator<Item = (&Node, &Arc<Task>)> {
        let due = self.due.unbegun.iter().take_while(move |(since, ..)| *since <= then);
        let known = |(_, node_id, task_id): &(Timestamp, NodeId, TaskId)| {
            Some((&**self.nodes.get(node_id)?, self.tasks.get(task_id)?))
        };
        self.visits.of_tasks(due.filter_map(known))
    }

    /// Brings what follows from a node from one version of it to the next.
    pub(super) fn reindex_node(&mut self, before: Option<&Node>, after: Option<&Node>) {
        self.fleet.reindex(before, after);
        self.note_node_change();
        self.note_home_node(before, after);
        let Some(node_id) = after.or(before).map(|node| node.node_id) else { return };
        let is_down = |node: &&Node| node.state == NodeState::Down;
        let (down_before, down_after) = (before.filter(is_down), after.filter(is_down));
        if down_before.map(|node| node.state_since) != down_after.map(|node| node.state_since)
            && let Some(usage) = self.usage.get(&node_id)
        {
            let losses = Losses::of(usage);
            if let Some(node) = down_before {
                self.due.remove_losses(node, losses);
            }
            if let Some(node) = down_after {
                self.due.add_losses(node, losses);
            }
        }
        if failing(before) != failing(after) {
            for key in self.unbegun_on(before) {
                self.due.unbegun.remove(&key);
            }
            for key in self.unbegun_on(after) {
                self.due.unbegun.insert(key);
            }
        }
    }

    /// The first losses of a node that is DOWN changed.
    pub(super) fn reindex_losses(&mut self, node_id: NodeId, before: Losses, after: Losses) {
        if let Some(node) = self.nodes.get(&node_id) {
            self.due.remove_losses(node, before);
            self.due.add_losses(node, after);
        }
    }

    pub(super) fn reindex_unbegun(&mut self, before: Option<&Task>, after: Option<&Task>) {
        // Mostly all runtimes answer.
        if self.fleet.troubled.is_empty() {
            return;
        }
        let key = |task: &Task| unbegun_key(self.nodes.get(&task.status.node_id?)?, task);
        let (key_before, key_after) = (before.and_then(key), after.and_then(key));
        if key_before == key_after {
            return;
        }
        if let Some(key) = key_before {
            self.due.unbegun.remove(&key);
        }
        if let Some(key) = key_after {
            self.due.unbegun.insert(key);
        }
    }

    /// Where its tasks belong in the index of those that their node can't begin.
    fn unbegun_on(&self, node: Option<&Node>) -> Vec<(Timestamp, NodeId, TaskId)> {
        let Some(node) = node.filter(|node| !failing(Some(node)).is_empty()) else { return Vec::new() };
        self.tasks_on(node.node_id).filter_map(|task| unbegun_key(node, task)).collect()
    }
}

fn lost_at(node: &Node, wait: Duration) -> Timestamp {
    match node.state_since.checked_add(wait) {
        // At once is at once, also when the clock was set back.
        Ok(_) if wait.is_zero() => Timestamp::MIN,
        Ok(at) => at,
        Err(_) => Timestamp::MAX,
    }
}

/// Since when each runtime fails of a node that is in touch: the others are called down, or are back soon.
fn failing(node: Option<&Node>) -> BTreeMap<RuntimeKind, Timestamp> {
    let problems =
        node.filter(|node| node.state == NodeState::Ready).into_iter().flat_map(|node| &node.runtime_problems);
    problems.map(|(kind, problem)| (*kind, problem.since)).collect()
}

/// Where a task belongs in the index of those that their node can't begin; `None` if it does not wait for a runtime that fails.
fn unbegun_key(node: &Node, task: &Task) -> Option<(Timestamp, NodeId, TaskId)> {
    let waits = matches!(task.status.state, TaskState::Scheduled | TaskState::Preparing) && is_movable(task);
    let problem = node.runtime_problems.get(&task.spec.runtime.kind())?;
    (waits && node.state == NodeState::Ready).then_some((problem.since, node.node_id, task.task_id))
}
