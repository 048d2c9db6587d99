//! What the agent keeps of one attempt.

use std::sync::Arc;
use std::time::Duration;

use davit_core::id::{Attempt, AttemptKey, TaskId};
use davit_core::placement::RuntimeKind;
use davit_core::resources::Resources;
use davit_core::spec::{StopPolicy, TaskSpec};
use davit_core::task::{AttemptStatus, DesiredState, Part, Ports};
use jiff::Timestamp;
use tokio::sync::watch;

use super::next_step::Want;
use crate::local_store::{Known, Record};

/// Reasons are cut here: engines can be long-winded, and every status is kept and sent.
const MAX_REASON_BYTES: usize = 2048;

/// What is wanted of an attempt.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    pub(super) want: Want,
    /// `None` until the manager has sent it, to this worker or to one before.
    pub(super) spec: Option<Arc<TaskSpec>>,
    /// Host ports that the manager gave it, with its spec.
    pub(super) ports: Ports,
    /// Its part in what it belongs to; with its spec.
    pub(super) part: Part,
    /// Why it is to stop, where the manager did not ask for it.
    pub(super) stop_reason: &'static str,
    /// Whether its end waits for no others: another attempt may be begun as soon as it is to have ended. Never taken back.
    pub(super) is_urgent: bool,
}

impl Wanted {
    /// What is wanted of an attempt that an earlier worker left, before the manager says more.
    pub(super) fn left(record: &Record) -> Self {
        let (spec, ports, part) = match record.assignment() {
            Some(assignment) => (Some(assignment.spec), assignment.ports, assignment.part),
            None => (None, Ports::new(), Part::Alone),
        };
        Self { want: Want::Undecided, spec, ports, part, stop_reason: "", is_urgent: false }
    }

    /// Whether it is to end.
    pub(super) fn is_end(&self) -> bool {
        matches!(self.want, Want::Stop | Want::Remove)
    }

    /// Whether it has a health check, as far as is known.
    pub(super) fn has_check(&self) -> bool {
        self.spec.as_ref().is_some_and(|spec| spec.health_check.is_some())
    }

    /// How it is stopped.
    pub(super) fn stop_policy(&self) -> StopPolicy {
        self.spec.as_ref().map(|spec| spec.stop.clone()).unwrap_or_default()
    }
}

/// One attempt.
#[derive(Debug)]
pub(super) struct Held {
    /// Its runner follows these.
    pub(super) orders: watch::Sender<Wanted>,
    pub(super) kind: RuntimeKind,
    pub(super) status: AttemptStatus,
    /// It may run, and its runtime has not told yet whether it does.
    pub(super) is_unseen: bool,
    /// Another worker of this node may have begun it before this one was in charge, under a lease that lasts until this uptime at most.
    pub(super) others_lease: Duration,
    /// When this worker saw that it had ended.
    pub(super) ended_at: Option<Timestamp>,
}

impl Held {
    /// Tells the runner what is wanted now. A removal is never taken back.
    pub(super) fn want(&self, want: Want, given: Option<(Arc<TaskSpec>, Ports, Part)>) {
        self.orders.send_if_modified(|wanted| {
            let want = if wanted.want == Want::Remove { Want::Remove } else { want };
            let changed = wanted.want != want || (wanted.spec.is_none() && given.is_some());
            wanted.want = want;
            // Ports never change. A newer spec differs in what is looked at later only, such as how it is stopped: that wakes nobody.
            if let Some((spec, ports, part)) = given.filter(|(spec, ..)| is_news(wanted, spec)) {
                (wanted.spec, wanted.ports, wanted.part) = (Some(spec), ports, part);
            }
            changed
        });
    }

    /// Its status after what was seen of it; `None` if that tells nothing new.
    pub(super) fn status_after(
        &self,
        change: impl FnOnce(&mut AttemptStatus),
        now: Timestamp,
    ) -> Option<AttemptStatus> {
        let mut next = self.status.clone();
        change(&mut next);
        truncate(&mut next.reason);
        let tells = next != self.status && next.state.rank() >= self.status.state.rank();
        tells.then(|| renew(Some(&self.status), next, now))
    }

    /// Whether the manager sends another spec than it sent before.
    pub(super) fn is_news(&self, spec: &TaskSpec) -> bool {
        is_news(&self.orders.borrow(), spec)
    }

    /// What the manager set aside for it; nothing before its spec is known.
    pub(super) fn reservation(&self) -> Resources {
        self.orders.borrow().spec.as_ref().map_or(Resources::ZERO, |spec| spec.resources.reservation)
    }

    /// Has it stopped on this worker's own account, without waiting for others.
    pub(super) fn stop_because(&self, reason: &'static str) {
        self.orders.send_modify(|wanted| {
            wanted.stop_reason = reason;
            wanted.is_urgent = true;
            if wanted.want != Want::Remove {
                wanted.want = Want::Stop;
            }
        });
    }

    /// Its end, which is wanted, waits for no others any more.
    pub(super) fn hurry(&self) {
        self.orders.send_if_modified(|wanted| !std::mem::replace(&mut wanted.is_urgent, true));
    }

    /// Whether it is on its way to its end.
    pub(super) fn wants_end(&self) -> bool {
        self.orders.borrow().is_end()
    }

    pub(super) fn name(&self) -> String {
        self.orders.borrow().spec.as_ref().map(|spec| spec.name.clone()).unwrap_or_default()
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

fn is_news(wanted: &Wanted, spec: &TaskSpec) -> bool {
    wanted.spec.as_deref() != Some(spec)
}

/// Numbers a new status of an attempt. Numbers begin at the time of day, so that those of a restarted worker are greater
/// than those of the one before.
pub(super) fn renew(old: Option<&AttemptStatus>, new: AttemptStatus, now: Timestamp) -> AttemptStatus {
    let time = u64::try_from(now.as_millisecond()).unwrap_or(0);
    let sequence = old.map_or(0, |old| old.sequence + 1).max(time);
    AttemptStatus { sequence, ..new }
}

/// The status of an attempt that is taken up, and whether the manager has it: as it was known before, if nothing happened
/// since.
pub(super) fn taken_up(known: Option<&Known>, status: AttemptStatus, now: Timestamp) -> (AttemptStatus, bool) {
    match known {
        Some(Known { status: before, acknowledged })
            if *before == (AttemptStatus { sequence: before.sequence, ..status.clone() }) =>
        {
            (before.clone(), *acknowledged)
        }
        _ => (renew(known.map(|known| &known.status), status, now), false),
    }
}

fn truncate(reason: &mut String) {
    if reason.len() > MAX_REASON_BYTES {
        let mut end = MAX_REASON_BYTES - '…'.len_utf8();
        while !reason.is_char_boundary(end) {
            end -= 1;
        }
        reason.truncate(end);
        reason.push('…');
    }
}

/// The greatest key that an attempt of the task can have.
pub(super) fn last_of(task_id: TaskId) -> AttemptKey {
    AttemptKey { task_id, attempt: Attempt(u32::MAX) }
}
