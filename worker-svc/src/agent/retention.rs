//! Which ended attempts are kept no longer.

use std::collections::BTreeSet;
use std::time::Duration;

use davit_core::id::AttemptKey;
use jiff::Timestamp;

use super::{Agent, State};

/// So many ended attempts are kept at most, whatever the retention: engines become slow with many dead containers.
pub const MAX_KEPT_ENDED: usize = 1000;

/// Which of these, each with the time of its end, are to be removed now. Pure.
fn expired(
    ended: &BTreeSet<(Timestamp, AttemptKey)>,
    now: Timestamp,
    retention: Duration,
) -> impl Iterator<Item = AttemptKey> {
    let surplus = ended.len().saturating_sub(MAX_KEPT_ENDED);
    let old = move |at: Timestamp| Duration::try_from(now.duration_since(at)).is_ok_and(|age| age >= retention);
    let goes = move |(index, (at, _)): &(usize, &(Timestamp, AttemptKey))| *index < surplus || old(*at);
    ended.iter().enumerate().take_while(goes).map(|(_, (_, key))| *key)
}

impl Agent {
    /// Removes ended attempts whose retention has passed, while they are this worker's for certain. Costs nothing while none has ended.
    pub(super) async fn sweep(&self) {
        let period = (self.retention / 4).clamp(Duration::from_millis(50), Duration::from_secs(5));
        let mut ticks = tokio::time::interval(period);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if self.is_in_charge() {
                self.state.lock().remove_expired(self.world.clock.now(), self.retention);
            }
        }
    }

    /// Has all removed that ended at least so long ago, and of which the manager knows: their disk is needed.
    pub(crate) fn retire_ended(&self, age: Duration) {
        let count = self.state.lock().remove_expired(self.world.clock.now(), age);
        if count > 0 {
            tracing::info!(count, "the engine's disk is full: removing what ended attempts left");
        }
    }
}

impl State {
    /// Has those removed whose retention has passed; answers how many. What the manager does not know yet stays: it might ask for the
    /// attempt again.
    fn remove_expired(&mut self, now: Timestamp, retention: Duration) -> usize {
        let known = |key: &AttemptKey| self.reporter.is_acknowledged(*key);
        let gone: Vec<_> = expired(&self.ended, now, retention).filter(known).collect();
        gone.iter().filter(|key| self.remove(**key, false)).count()
    }
}

#[cfg(test)]
mod tests {
    use davit_core::id::{Attempt, TaskId};
    use uuid::Uuid;

    use super::*;

    fn ended(at: i64, task: u128) -> (Timestamp, AttemptKey) {
        let key = AttemptKey { task_id: TaskId(Uuid::from_u128(task)), attempt: Attempt::FIRST };
        (Timestamp::from_second(at).unwrap(), key)
    }

    #[test]
    fn attempts_are_kept_for_their_retention() {
        let now = Timestamp::from_second(100).unwrap();
        let (old, young, future) = (ended(40, 1), ended(41, 2), ended(500, 3));
        let gone: Vec<_> = expired(&[young, old, future].into(), now, Duration::from_secs(60)).collect();
        assert_eq!(gone, [old.1]);
    }

    #[test]
    fn of_too_many_the_oldest_go() {
        let all = (0..MAX_KEPT_ENDED as u128 + 2).map(|task| ended(task as i64, task)).collect();
        let gone: Vec<_> = expired(&all, Timestamp::UNIX_EPOCH, Duration::from_secs(60)).collect();
        assert_eq!(gone, [ended(0, 0).1, ended(1, 1).1]);
    }
}
