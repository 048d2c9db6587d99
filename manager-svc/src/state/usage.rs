//! What is set aside on a node. Follows from the tasks; never stored.

use std::collections::{BTreeMap, BTreeSet};

use davit_core::id::TaskId;
use davit_core::placement::{HostPort, Mark, count_down, count_up};
use davit_core::resources::Resources;
use davit_core::spec::{RuntimeSpec, TaskSpec};
use davit_core::state::TaskState;
use davit_core::task::Task;
use davit_svc_kit::bugs::{self, Bug};
use imbl::OrdSet;

use super::carriers::Held;
use super::due::{LossWait, loss_wait};
use super::marks::Mentions;

/// What is set aside on one node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NodeUsage {
    /// Sum of the reservations of its tasks.
    pub reserved: Resources,
    /// Host ports of its tasks: those that they ask for and those that they were given.
    pub host_ports: BTreeSet<HostPort>,
    /// Tasks whose current attempt is on the node and has not ended.
    pub tasks: OrdSet<TaskId>,
    /// How many of its tasks are being stopped.
    pub stopping: u32,
    /// How many of its tasks carry each mark that some task's placement refers to.
    pub marks: BTreeMap<Mark, u32>,
    /// How many of its tasks refuse each mark.
    pub refused: BTreeMap<Mark, u32>,
    /// How many of its tasks are not LOST at once when it goes down, by what is waited for.
    pub(super) loss_waits: BTreeMap<LossWait, u32>,
    /// Tasks that are to come here, and whose room is kept. Not in the sums above.
    pub claims: OrdSet<TaskId>,
    /// How many of those carry each mark that some task's placement refers to.
    pub claimed_marks: BTreeMap<Mark, u32>,
}

impl NodeUsage {
    /// How many tasks the node holds.
    #[must_use]
    pub fn task_count(&self) -> u32 {
        u32::try_from(self.tasks.len()).unwrap_or(u32::MAX)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.tasks.is_empty() && self.claims.is_empty()
    }

    pub(super) fn add(&mut self, task: &Task, mentions: &Mentions) {
        if self.tasks.insert(task.task_id).is_some() {
            return;
        }
        self.reserved = self.reserved.saturating_add(task.spec.resources.reservation);
        self.host_ports.extend(host_ports(task));
        self.stopping += u32::from(is_stopping(task));
        for mark in mentions.counted_of(&task.spec) {
            count_up(&mut self.marks, &mark);
        }
        for mark in refused(&task.spec) {
            count_up(&mut self.refused, mark);
        }
        if let Some(wait) = loss_wait(task) {
            *self.loss_waits.entry(wait).or_default() += 1;
        }
    }

    pub(super) fn remove(&mut self, task: &Task, mentions: &Mentions) {
        if self.tasks.remove(&task.task_id).is_none() {
            return;
        }
        if !bugs::is(Bug::ReservationNotReleased) {
            self.reserved = self.reserved.saturating_sub(task.spec.resources.reservation);
        }
        for port in host_ports(task) {
            self.host_ports.remove(&port);
        }
        self.stopping = self.stopping.saturating_sub(u32::from(is_stopping(task)));
        for mark in mentions.counted_of(&task.spec) {
            count_down(&mut self.marks, &mark);
        }
        for mark in refused(&task.spec) {
            count_down(&mut self.refused, mark);
        }
        if let Some(wait) = loss_wait(task)
            && let Some(count) = self.loss_waits.get_mut(&wait)
        {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.loss_waits.remove(&wait);
            }
        }
    }

    pub(super) fn add_claim(&mut self, task: &Task, mentions: &Mentions) {
        if self.claims.insert(task.task_id).is_none() {
            mentions.counted_of(&task.spec).iter().for_each(|mark| count_up(&mut self.claimed_marks, mark));
        }
    }

    pub(super) fn remove_claim(&mut self, task: &Task, mentions: &Mentions) {
        if self.claims.remove(&task.task_id).is_some() {
            mentions.counted_of(&task.spec).iter().for_each(|mark| count_down(&mut self.claimed_marks, mark));
        }
    }

    /// Counts a mark, which was not counted so far, of so many tasks.
    pub(super) fn count_mark(&mut self, mark: &Mark, held: Held) {
        for (counts, more) in [(&mut self.marks, held.tasks), (&mut self.claimed_marks, held.claims)] {
            if more > 0 {
                *counts.entry(mark.clone()).or_default() += more;
            }
        }
    }

    /// Counts a mark no longer.
    pub(super) fn forget_mark(&mut self, mark: &Mark) {
        self.marks.remove(mark);
        self.claimed_marks.remove(mark);
    }
}

/// Host ports that a task holds: those that it asks for and those that it was given.
fn host_ports(task: &Task) -> impl Iterator<Item = HostPort> {
    let asked = match &task.spec.runtime {
        RuntimeSpec::Container(container) => container.ports.as_slice(),
        RuntimeSpec::Process(_) => &[],
    };
    let asked = asked.iter().filter_map(|port| Some((port.protocol, port.host_port?)));
    asked.chain(task.given_ports.iter().map(|port| (port.protocol, port.host_port)))
}

/// Marks that a task refuses, each once.
fn refused(spec: &TaskSpec) -> BTreeSet<&Mark> {
    spec.placement.task_anti_affinities.iter().collect()
}

/// Whether a task's attempt is on a node, is to stay there as far as anyone has said, and might run on another.
pub(crate) fn is_movable(task: &Task) -> bool {
    use TaskState::{Preparing, Running, Scheduled};
    let on_node = matches!(task.status.state, Scheduled | Preparing | Running);
    on_node && task.wants_current_attempt() && task.claim.is_none() && task.pinned_to().is_none()
}

/// Whether a task's attempt on its node is on its way out.
pub(super) fn is_stopping(task: &Task) -> bool {
    !task.wants_current_attempt() || task.status.state == TaskState::Stopping
}
