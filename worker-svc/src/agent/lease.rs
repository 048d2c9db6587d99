//! Stopping what must never run twice when this node's lease has ended.

use std::time::Duration;

use davit_core::spec::OnNodeLoss;
use davit_svc_kit::bugs::{self, Bug};

use super::held::{Held, Wanted};
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

    /// Stops what must never run twice, whenever the lease has ended. A worker that was refused as a second one stops nothing: what
    /// runs is the first one's, whose lease goes on.
    pub(super) async fn keep_lease(&self) {
        let (mut lease, mut changed) = (self.lease.subscribe(), self.changed.subscribe());
        let mut link = self.link.subscribe();
        loop {
            let until = link.borrow_and_update().stops_leased_at(*lease.borrow_and_update());
            changed.borrow_and_update();
            let left = until.map_or(LONGEST_WAIT, |until| until.saturating_sub(self.world.clock.uptime()));
            let holds_any = {
                let state = self.state.lock();
                if left.is_zero() && !bugs::is(Bug::LeaseIgnored) {
                    stop_leased(&state);
                }
                leased(&state).next().is_some()
            };
            let wait = tokio::time::sleep(left.clamp(Duration::from_millis(1), LONGEST_WAIT));
            tokio::select! {
                () = wait, if holds_any => {}
                renewed = lease.changed() => if renewed.is_err() { return },
                ticked = changed.changed() => if ticked.is_err() { return },
                heard = link.changed() => if heard.is_err() { return },
            }
        }
    }
}

/// Attempts that need a lease, and have none of their own end ordered yet.
fn leased(state: &State) -> impl Iterator<Item = &Held> {
    state
        .held
        .values()
        .filter(|held| held.ended_at.is_none() && !held.wants_end() && needs_lease(&held.orders.borrow()))
}

fn stop_leased(state: &State) {
    for held in leased(state) {
        tracing::warn!(name = held.name(), attempt = held.status.attempt.0, "the lease has ended: stopping an attempt");
        held.stop_because(lease::ENDED);
    }
}

fn needs_lease(wanted: &Wanted) -> bool {
    wanted.want != Want::Remove
        && wanted.spec.as_ref().is_some_and(|spec| spec.on_node_loss == OnNodeLoss::StopAndReplace)
}
