//! Whether a rollout is complete, or waits for its promotion.

use std::sync::Arc;

use davit_core::deployment::{Incoming, OnRolloutFailure, RolloutState};
use davit_core::id::Attempt;
use davit_core::state::TaskState;
use davit_core::task::{Slot, Task};
use davit_core::words::counted;

use super::{Progress, WORD_PERIOD, failed_since, later};
use crate::reconcile::deployment::places::Place;

impl Progress<'_> {
    /// Sees whether it is complete, or waits for its promotion.
    pub(in crate::reconcile::deployment) fn finish(&mut self) {
        if self.places.awaits_word() {
            self.look_at(later(self.now, WORD_PERIOD));
        }
        if self.rollout.state == RolloutState::InProgress && !self.rollout.promoted {
            self.finish_canaries();
        }
        let is_open = self.rollout.state != RolloutState::Complete && !self.waits_for_promotion();
        if is_open && self.rollout.in_flight.is_empty() && self.has_served() {
            let rollout = &mut self.rollout;
            rollout.state = RolloutState::Complete;
            // Why it went back is still news then.
            if !rollout.is_rollback {
                rollout.reason = String::new();
            }
            (rollout.from_version, rollout.next_at, rollout.serving_since) = (None, None, None);
            (rollout.finished_at, rollout.progress_at) = (Some(self.now), self.now);
            self.roll_back_to = None;
            self.next_look = None;
            self.message = format!("version {} is complete", self.current.number);
        }
    }

    /// Whether there is something that only follows the canaries, if only on a node that is away.
    fn waits_for_promotion(&self) -> bool {
        let follows = |place: &Place<'_>| place.wanted && place.stale.is_some();
        !self.rollout.promoted && self.places.by_slot.values().any(follows)
    }

    /// Whether all places are as they are to be, and have been so for long enough. Of new tasks that take the place of others each
    /// was watched by itself.
    fn has_served(&mut self) -> bool {
        if !self.is_finished() {
            self.rollout.serving_since = None;
            return false;
        }
        if self.rollout.from_version.is_some() {
            return true;
        }
        let since = *self.rollout.serving_since.get_or_insert(self.now);
        let served_at = later(since, self.policy.monitor);
        if served_at > self.now {
            self.look_at(served_at);
        }
        served_at <= self.now
    }

    fn finish_canaries(&mut self) {
        let in_flight = &self.rollout.in_flight;
        let waits = |(slot, place): (&Slot, &Place<'_>)| {
            place.wanted && !place.is_out && place.stale.is_some() && !in_flight.contains_key(slot)
        };
        // There may be fewer slots to bring over than canaries are wanted.
        let is_all = self.settled() == in_flight.len() && !self.places.by_slot.iter().any(waits);
        let settled = u32::try_from(self.settled()).unwrap_or(u32::MAX).saturating_add(self.rollout.done);
        if settled < self.policy.canaries && !is_all {
            return;
        }
        let canaries = counted(settled.into(), "canary is", "canaries are");
        if self.policy.auto_promote {
            self.rollout.promoted = true;
            self.rollout.progress_at = self.now;
            self.message = format!("{canaries} healthy; version {} is promoted", self.current.number);
            // What follows is seen at the next look.
            self.next_look = Some(self.now);
        } else {
            self.rollout.state = RolloutState::AwaitingPromotion;
            self.rollout.reason = format!("{canaries} healthy; it waits to be promoted");
            self.message = self.rollout.reason.clone();
        }
    }

    /// How many slots are under way only because it is not promoted.
    fn settled(&self) -> usize {
        self.rollout.in_flight.iter().filter(|(slot, incoming)| self.is_settled(**slot, incoming)).count()
    }

    /// Whether a slot is under way only because it is not promoted.
    pub(super) fn is_settled(&self, slot: Slot, incoming: &Incoming) -> bool {
        let task = self.places.by_slot.get(&slot).and_then(|place| place.fresh);
        task.is_some_and(|task| has_done_its_work(task))
            || incoming.ready_since.is_some_and(|since| later(since, self.policy.monitor) <= self.now)
            || (incoming.failed && self.policy.on_failure == OnRolloutFailure::Continue)
    }

    /// Whether every place has a task of the newest version that serves, has done its work, or failed where a rollout goes on all the
    /// same.
    pub(super) fn is_finished(&self) -> bool {
        let goes_on = self.policy.on_failure == OnRolloutFailure::Continue && self.rollout.from_version.is_some();
        self.places.by_slot.values().filter(|place| place.wanted && !place.is_out).all(|place| {
            let is_given_up = |task: &Task| goes_on && failed_since(task, Attempt::default());
            let is_fine = |task: &Arc<Task>| self.places.serves(task) || has_done_its_work(task) || is_given_up(task);
            place.stale.is_none() && place.fresh.is_some_and(is_fine)
        })
    }
}

/// Whether it ended well, and its restart policy leaves it at that.
pub(super) fn has_done_its_work(task: &Task) -> bool {
    task.status.state == TaskState::Completed
}
