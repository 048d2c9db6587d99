//! What the agent keeps of one attempt.

use std::sync::Arc;

use davit_core::id::{Attempt, AttemptKey, TaskId};
use davit_core::placement::RuntimeKind;
use davit_core::spec::TaskSpec;
use davit_core::task::{AttemptStatus, DesiredState, PortBinding};
use jiff::Timestamp;
use tokio::sync::watch;

use super::next_step::Want;
use super::records::Kept;

/// What is wanted of an attempt.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    pub(super) want: Want,
    /// `None` until the manager has sent it.
    pub(super) spec: Option<Arc<TaskSpec>>,
    /// Host ports that the manager gave it, with its spec.
    pub(super) ports: Vec<PortBinding>,
    /// What an earlier worker kept of it.
    pub(super) kept: Kept,
}

impl Wanted {
    /// What is known of the spec, to be kept for a later worker.
    pub(super) fn to_keep(&self) -> Kept {
        let ports = self.given_ports().to_vec();
        let of = |spec: &Arc<TaskSpec>| Kept { name: spec.name.clone(), stop: Some(spec.stop.clone()), ports };
        self.spec.as_ref().map_or_else(|| self.kept.clone(), of)
    }

    /// The host ports that are its own. They never change within an attempt, so what was kept is as good.
    pub(super) fn given_ports(&self) -> &[PortBinding] {
        if self.ports.is_empty() { &self.kept.ports } else { &self.ports }
    }
}

/// One attempt.
#[derive(Debug)]
pub(super) struct Held {
    /// Its runner follows these.
    pub(super) orders: watch::Sender<Wanted>,
    pub(super) kind: RuntimeKind,
    pub(super) status: AttemptStatus,
    /// When this worker saw that it had ended.
    pub(super) ended_at: Option<Timestamp>,
}

impl Held {
    /// Tells the runner what is wanted now. A removal is never taken back.
    pub(super) fn want(&self, want: Want, given: Option<(Arc<TaskSpec>, Vec<PortBinding>)>) {
        self.orders.send_if_modified(|wanted| {
            let want = if wanted.want == Want::Remove { Want::Remove } else { want };
            let changed = wanted.want != want || (wanted.spec.is_none() && given.is_some());
            wanted.want = want;
            // Neither ever changes.
            if let Some((spec, ports)) = given.filter(|_| wanted.spec.is_none()) {
                (wanted.spec, wanted.ports) = (Some(spec), ports);
            }
            changed
        });
    }

    /// Whether it is on its way to its end.
    pub(super) fn wants_end(&self) -> bool {
        matches!(self.orders.borrow().want, Want::Stop | Want::Remove)
    }

    pub(super) fn name(&self) -> String {
        self.orders.borrow().to_keep().name
    }

    pub(super) fn desired_state(&self) -> Option<DesiredState> {
        match self.orders.borrow().want {
            Want::Undecided => None,
            Want::Run => Some(DesiredState::Running),
            Want::Stop => Some(DesiredState::Stopped),
            Want::Remove => Some(DesiredState::Removed),
        }
    }
}

/// Numbers a new status of an attempt. Numbers begin at the time of day, so that those of a restarted worker are greater
/// than those of the one before.
pub(super) fn renew(old: Option<&AttemptStatus>, new: AttemptStatus, now: Timestamp) -> AttemptStatus {
    let time = u64::try_from(now.as_millisecond()).unwrap_or(0);
    let sequence = old.map_or(0, |old| old.sequence + 1).max(time);
    AttemptStatus { sequence, ..new }
}

/// The greatest key that an attempt of the task can have.
pub(super) fn last_of(task_id: TaskId) -> AttemptKey {
    AttemptKey { task_id, attempt: Attempt(u32::MAX) }
}
