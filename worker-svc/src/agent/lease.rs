//! Stopping what must never run twice when this node's lease has ended.

use std::time::Duration;

use davit_core::id::AttemptKey;
use davit_core::lease::time_to_stop;
use davit_core::spec::{OnNodeLoss, TaskSpec};
use davit_svc_kit::bugs::{self, Bug};

use super::held::{Held, Wanted};
use super::local_restart::Link;
use super::next_step::Want;
use super::{Agent, State};
use crate::lease;

/// The longest wait before the lease is looked at again: a timer does not count while the machine is suspended, the lease does.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

impl Agent {
    /// The manager has acknowledged a heartbeat: what must never run twice may run until this uptime.
    pub fn renew_lease(&self, until: Duration) {
        self.lease.send_if_modified(|known| {
            let longer = until > *known;
            *known = until.max(*known);
            longer
        });
    }

    /// Takes down whether an attempt with this spec must never run twice.
    pub(super) fn note_lease(&self, state: &mut State, key: AttemptKey, spec: &TaskSpec) {
        if never_runs_twice(spec) && state.leased.insert(key) {
            self.lease_needed.notify_one();
        }
    }

    /// For how long another worker of this node may still run this attempt, which must never run twice.
    pub(super) fn may_run_elsewhere_for(&self, key: AttemptKey) -> Option<Duration> {
        let until = self.state.lock().held.get(&key).map(Held::may_run_elsewhere_until)?;
        until.checked_sub(self.uptime()).filter(|left| !left.is_zero())
    }

    /// Waits until no other worker of this node may run this attempt any more.
    pub(super) async fn until_alone(&self, key: AttemptKey) {
        while let Some(left) = self.may_run_elsewhere_for(key) {
            tokio::time::sleep(left.clamp(Duration::from_millis(1), LONGEST_WAIT)).await;
        }
    }

    /// Stops what must never run twice, whenever the lease has ended. A worker that was refused as a second one before it ever was in
    /// charge stops nothing: what runs is the first one's, whose lease goes on.
    pub(super) async fn keep_lease(&self) {
        let (mut lease, mut link) = (self.lease.subscribe(), self.link.subscribe());
        loop {
            let (heard, until) = (*link.borrow_and_update(), *lease.borrow_and_update());
            let (left, any) = {
                let state = self.state.lock();
                let left = stop_leased(&state, &heard, until, self.world.clock.uptime());
                (left, !state.leased.is_empty())
            };
            let wait = tokio::time::sleep(left.unwrap_or_default().clamp(Duration::from_millis(1), LONGEST_WAIT));
            tokio::select! {
                () = wait, if left.is_some() => {}
                renewed = lease.changed(), if any => if renewed.is_err() { return },
                () = self.lease_needed.notified() => {}
                heard = link.changed(), if any => if heard.is_err() { return },
            }
        }
    }
}

impl Held {
    /// Until which uptime what must never run twice may run at another worker of this node: one who was in charge of it before, and whose
    /// data directory this one's may be a copy of. Not before does it begin here.
    fn may_run_elsewhere_until(&self) -> Duration {
        let wanted = self.orders.borrow();
        if !needs_lease(&wanted) || self.others_lease.is_zero() {
            return Duration::ZERO;
        }
        self.others_lease.saturating_add(time_to_stop(wanted.stop_policy().grace))
    }
}

/// Attempts that must never run twice and have not ended, nor are on their way to it without waiting for others.
fn leased(state: &State) -> impl Iterator<Item = &Held> {
    let held = state.leased.iter().filter_map(|key| state.held.get(key));
    held.filter(|held| {
        let wanted = held.orders.borrow();
        let is_leased = wanted.spec.as_ref().is_some_and(|spec| never_runs_twice(spec));
        held.ended_at.is_none() && is_leased && !(held.wants_end() && wanted.is_urgent)
    })
}

/// Stops what has no lease any more. Answers how long it takes until the rest has none, which all ends at once; `None` if there is no
/// other.
pub(super) fn stop_leased(state: &State, link: &Link, lease: Duration, uptime: Duration) -> Option<Duration> {
    let mut left = None;
    for held in leased(state) {
        let grace = held.orders.borrow().stop_policy().grace;
        let Some(at) = link.stops_leased_at(lease, grace) else { continue };
        if at > uptime || bugs::is(Bug::LeaseIgnored) {
            left = Some(at.saturating_sub(uptime));
            continue;
        }
        if held.wants_end() {
            held.hurry();
            continue;
        }
        tracing::warn!(name = held.name(), attempt = held.status.attempt.0, "the lease has ended: stopping an attempt");
        held.stop_because(lease::ENDED);
    }
    left
}

fn needs_lease(wanted: &Wanted) -> bool {
    wanted.want != Want::Remove && wanted.spec.as_ref().is_some_and(|spec| never_runs_twice(spec))
}

/// Whether a second run of it is never worth it.
pub(super) fn never_runs_twice(spec: &TaskSpec) -> bool {
    spec.on_node_loss == OnNodeLoss::StopAndReplace
}
