//! Registrations of workers: nodes that join or are back, and which of a node's sessions speaks for it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use davit_core::drain::{DEFAULT_MAX_PARALLEL, DrainSource};
use davit_core::id::{Attempt, AttemptKey, NodeId, Revision, TaskId};
use davit_core::node::{Node, NodeState};
use davit_core::spec::OnNodeLoss;
use davit_core::state::TaskState;
use davit_core::task::{AttemptStatus, Ports, Task};
use davit_proto::convert::Registration;
use jiff::Timestamp;

use super::Error;
use super::attempts::remember_attempt;
use super::drains::{drain_for_worker, note_lost};
use super::housekeeping::time_to_stop;
use super::nodes::problems_since;
use super::reports::{ReportCounts, apply_reports, is_news, lose_attempts};
use crate::state::{Draft, EventType};

/// So many attempts of one task may a manager have given that its backup does not know of: ten days of one a second.
const MAX_LOST_ATTEMPTS: u32 = 1_000_000;

/// One registration of a node, and the session that it began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Registered {
    /// The node.
    pub node_id: NodeId,
    /// The number of the registration.
    pub number: u64,
}

impl Registered {
    /// The newest registration of a node.
    #[must_use]
    pub fn newest_of(node: &Node) -> Self {
        Self { node_id: node.node_id, number: node.registration_number }
    }

    /// Whether what the session says still counts. It does for a node that was removed, of which nothing is left to change.
    ///
    /// # Errors
    /// When the node has registered anew since.
    pub fn check(self, draft: &Draft) -> Result<(), Error> {
        match draft.state().node(self.node_id) {
            Some(node) if node.registration_number != self.number => Err(Error::RegistrationOvertaken {
                node: node.description.name.clone(),
                number: self.number,
                last: node.registration_number,
            }),
            _ => Ok(()),
        }
    }
}

/// Makes a node READY: a new one joins, a known one is back. Its report of held attempts is applied, and attempts that it
/// should hold but does not are LOST. Answers the node, and what became of that report. `lease_duration` is how long a lease of a
/// node lasts.
///
/// # Errors
/// When a later registration of the node was taken in before, or another node that is in touch has this name.
pub fn register_node(
    draft: &mut Draft,
    registration: Registration,
    lease_duration: Duration,
) -> Result<(Arc<Node>, ReportCounts), Error> {
    // How it takes specs is its session's matter.
    let Registration {
        node_id,
        registration_number,
        worker_run,
        draining,
        takes_spec_numbers: _,
        description,
        runtime_problems,
        attempts,
    } = registration;
    let name = description.name.clone();
    let last = draft.state().node(node_id).map_or(0, |known| known.registration_number);
    let registration_number = match registration_number {
        // A worker that does not count them: any of its registrations may be the newest.
        0 => last.saturating_add(1),
        number if number <= last => return Err(Error::RegistrationOvertaken { node: name, number, last }),
        number => number,
    };
    let rival = draft.state().node_by_name(&name).filter(|rival| rival.node_id != node_id).cloned();
    if let Some(rival) = rival {
        if rival.state != NodeState::Down {
            return Err(Error::NodeNameInUse { name, holder: rival.node_id });
        }
        let orphans: Vec<_> = draft.state().tasks_on(rival.node_id).cloned().collect();
        let tasks = orphans.iter().filter(|task| task.spec.on_node_loss == OnNodeLoss::StopAndReplace).count();
        if tasks > 0 {
            return Err(Error::NodeNameIsLeased { name, holder: rival.node_id, tasks });
        }
        lose_attempts(draft, &orphans, "another worker took over the name of its node");
        draft.remove_node(rival.node_id, format!("node {name} was replaced by {node_id} of the same name"));
    }
    let now = draft.now();
    let same_run =
        worker_run.is_some() && draft.state().node(node_id).is_some_and(|known| known.worker_run == worker_run);
    let node = match draft.state().node(node_id).cloned() {
        None => {
            let node = Node {
                node_id,
                description,
                user_labels: BTreeMap::new(),
                state: NodeState::Ready,
                state_reason: "registered".to_owned(),
                state_since: now,
                runtime_problems: problems_since(&BTreeMap::new(), runtime_problems, now),
                cordoned: false,
                drain: None,
                registration_number,
                worker_run,
                away_until: None,
                joined_at: now,
                updated_at: now,
                revision: Revision::default(),
            };
            draft.put_node(node, EventType::NodeJoined, format!("node {name} joined"))
        }
        Some(known) => {
            let mut node = Node::clone(&known);
            node.description = description;
            (node.registration_number, node.worker_run, node.away_until) = (registration_number, worker_run, None);
            node.runtime_problems = problems_since(&known.runtime_problems, runtime_problems, now);
            // A drain that its worker asked for before it went is over now that it is back, unless it still waits for it.
            if !draining
                && let Some(DrainSource::Worker { cordoned_before }) = node.drain.as_ref().map(|drain| drain.source)
            {
                node.drain = None;
                node.cordoned = cordoned_before;
            }
            if known.state == NodeState::Ready {
                draft.put_node(node, EventType::NodeUpdated, format!("node {name} registered anew"))
            } else {
                node.state = NodeState::Ready;
                node.state_reason = "registered anew".to_owned();
                node.state_since = now;
                draft.put_node(node, EventType::NodeStateChanged, format!("node {name} is back: READY"))
            }
        }
    };
    // With the registration, so that nothing is placed in between.
    let node = if draining { drain_for_worker(draft, node_id, DEFAULT_MAX_PARALLEL)? } else { node };
    // A manager that never was restored knows of all attempts that it gave.
    if draft.state().may_be_restored() {
        for (task_id, status) in &attempts {
            take_over_later_attempt(draft, &node, *task_id, status.attempt);
        }
    }
    // Each is looked up once: when all workers register, that is what takes most of the time.
    let assigned: Vec<Arc<Task>> = draft.state().tasks_on(node_id).cloned().collect();
    let runs = |status: &AttemptStatus| match status.state {
        // One that ended and waits to be restarted where it is, is RUNNING too, and not ready.
        TaskState::Running => status.ready,
        state => state == TaskState::Stopping,
    };
    let held: BTreeMap<AttemptKey, bool> = attempts
        .iter()
        .map(|(task_id, status)| (AttemptKey { task_id: *task_id, attempt: status.attempt }, runs(status)))
        .collect();
    // The same start of its worker has it all in its hands, but for what it does not know any more.
    wait_for_leases(draft, &assigned, lease_duration, |task| match held.get(&task.key()) {
        Some(runs) => *runs || same_run,
        None => same_run && task.status.state == TaskState::Scheduled,
    });
    let missing: Vec<TaskId> =
        assigned.iter().filter(|task| !held.contains_key(&task.key())).map(|task| task.task_id).collect();
    let (known, news): (Vec<_>, Vec<_>) = attempts.into_iter().partition(|(task_id, status)| {
        let at = assigned.binary_search_by_key(task_id, |task| task.task_id);
        at.is_ok_and(|at| !is_news(&assigned[at], node_id, status))
    });
    let mut counts = apply_reports(draft, node_id, news);
    counts.stale += known.len() as u64;
    lose_missing(draft, node_id, &missing, same_run);
    Ok((node, counts))
}

/// Has the next attempts of what must never run twice wait, unless `is_seen` says that this worker has the current one in its hands.
/// It may still run, whatever this worker says of it, now or later: this may be another one than that which began it, with a copy
/// of its data directory. The first one's lease is not renewed from here on, so that its end is all there is to wait for.
fn wait_for_leases(
    draft: &mut Draft,
    assigned: &[Arc<Task>],
    lease_duration: Duration,
    is_seen: impl Fn(&Task) -> bool,
) {
    let may_run_elsewhere = |task: &&Arc<Task>| task.spec.on_node_loss == OnNodeLoss::StopAndReplace && !is_seen(task);
    for task in assigned.iter().filter(may_run_elsewhere) {
        let until = draft.now().checked_add(time_to_stop(lease_duration, task)).unwrap_or(Timestamp::MAX);
        let next = Task { leased_until: Some(until), ..Task::clone(task) };
        let message = format!(
            "attempt {}: its node's worker was started anew; no other attempt begins before the lease of the one before has ended",
            task.status.attempt
        );
        draft.put_task(next, EventType::TaskUpdated, message);
    }
}

/// Ends the attempts that a node should hold but its worker does not.
fn lose_missing(draft: &mut Draft, node_id: NodeId, missing: &[TaskId], same_run: bool) {
    // SCHEDULED ones may never have reached the worker: they are assigned again. But another start of it may have begun them.
    let is_leased = |task: &Task| task.spec.on_node_loss == OnNodeLoss::StopAndReplace;
    let is_assigned_again = |task: &Task| task.status.state == TaskState::Scheduled && (same_run || !is_leased(task));
    let lost = missing.iter().filter_map(|task_id| draft.state().task(*task_id));
    let lost: Vec<Arc<Task>> = lost.filter(|task| !is_assigned_again(task)).cloned().collect();
    lose_attempts(draft, &lost, "its worker was restarted and no longer has it");
    note_lost(draft, node_id, &lost);
}

/// A worker may hold a later attempt than this manager knows of, if its state was restored from a backup. The greater attempt
/// wins: what runs goes on, and the next attempt gets a number that no worker has seen. No other attempt that this manager never
/// gave counts, and none so late that soon no number would be left.
fn take_over_later_attempt(draft: &mut Draft, node: &Node, task_id: TaskId, attempt: Attempt) {
    let Some(task) = draft.state().task(task_id).filter(|task| task.status.attempt < attempt).cloned() else { return };
    if attempt.0.saturating_sub(task.status.attempt.0) > MAX_LOST_ATTEMPTS {
        return;
    }
    let mut next = Task::clone(&task);
    let message = format!("attempt {attempt}: node {} has it, which this manager did not know", node.description.name);
    let assigned = AttemptStatus {
        state: TaskState::Scheduled,
        node_id: Some(node.node_id),
        ..AttemptStatus::pending(attempt, message.clone())
    };
    let mut overtaken = std::mem::replace(&mut next.status, assigned);
    if !overtaken.state.is_terminal() && overtaken.state != TaskState::Pending {
        overtaken.state = TaskState::Lost;
        overtaken.ready = false;
        overtaken.reason = format!("attempt {attempt} came after it");
        overtaken.finished_at = Some(draft.now());
    }
    if overtaken.state.is_terminal() {
        remember_attempt(&mut next, overtaken);
    }
    (next.next_attempt_at, next.claim, next.given_ports) = (None, None, Ports::new());
    draft.put_task(next, EventType::TaskStateChanged, message);
}
