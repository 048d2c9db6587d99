//! What runners ask while the manager may be out of reach.

use std::time::Duration;

use davit_core::restart::RestartPolicy;
use davit_core::spec::{OnNodeLoss, TaskSpec};

use super::Agent;
use super::local_restart::{self, Contact, End, Plan};

/// The longest wait before the time is looked at again: a timer does not count while the machine is suspended.
pub(super) const LONGEST_WAIT: Duration = Duration::from_secs(1);

impl Agent {
    pub(super) fn uptime(&self) -> Duration {
        self.world.clock.uptime()
    }

    /// How far the manager is.
    pub(super) fn contact(&self) -> Contact {
        self.link.borrow().contact(self.uptime())
    }

    /// What follows an end that was seen now.
    pub(super) fn plan(&self, policy: &RestartPolicy, end: &End<'_>) -> Plan {
        local_restart::plan(policy, end, (self.world.fractions)(), self.now(), self.uptime())
    }

    /// Whether a task may be started without the manager's say.
    pub(super) fn may_restart(&self, spec: &TaskSpec) -> bool {
        let has_lease = spec.on_node_loss != OnNodeLoss::StopAndReplace || self.uptime() < *self.lease.borrow();
        has_lease && !self.state.lock().closing
    }

    /// Whether the manager may have placed a later attempt of what it assigned: nothing was heard of it for so long that it may
    /// have called this node DOWN, and it has not told since what is still assigned; or it has another worker as this node.
    pub(super) fn may_be_overtaken(&self) -> bool {
        self.contact() == Contact::CutOff || !self.is_in_charge() || !self.state.lock().follower.is_complete()
    }

    /// Waits until the manager has said that what it still assigns stands.
    pub(super) async fn until_it_stands(&self) {
        // Subscribed to before the first look, so that nothing is missed.
        let (mut link, mut changes) = (self.link.subscribe(), self.changed.subscribe());
        while self.may_be_overtaken() {
            // The senders are in the agent.
            tokio::select! {
                _ = link.changed() => {}
                _ = changes.changed() => {}
            }
        }
    }

    /// Waits for the manager's first answer since this worker's start, for as long as it may say that another one has its node.
    pub(super) async fn first_answer(&self) {
        let mut link = self.link.subscribe();
        loop {
            let due = link.borrow_and_update().first_answer_due();
            let Some(left) = due.and_then(|due| due.checked_sub(self.uptime())) else { return };
            tokio::select! {
                () = tokio::time::sleep(left.clamp(Duration::from_millis(1), LONGEST_WAIT)) => {}
                // The sender is in the agent.
                _ = link.changed() => {}
            }
        }
    }

    /// Waits until what is done about an end may be decided otherwise: when more or less is heard of the manager, or a restart
    /// is due.
    pub(super) async fn until_restart(&self, due: Duration) {
        let mut link = self.link.subscribe();
        let (at, now) = (due.max(link.borrow_and_update().cut_off_at()), self.uptime());
        // It is due, and may not be restarted for another reason: that passes without a word.
        let wait = if at <= now { LONGEST_WAIT } else { (at - now).clamp(Duration::from_millis(1), LONGEST_WAIT) };
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            // The sender is in the agent.
            _ = link.changed() => {}
        }
    }
}
