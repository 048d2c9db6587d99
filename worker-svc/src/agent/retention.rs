//! Which ended attempts are kept no longer. Pure.

use std::time::Duration;

use davit_core::id::AttemptKey;
use jiff::Timestamp;

/// So many ended attempts are kept at most, whatever the retention: engines become slow with many dead containers.
pub const MAX_KEPT_ENDED: usize = 1000;

/// Which of these, each with the time of its end, are to be removed now.
#[must_use]
pub fn expired(mut ended: Vec<(Timestamp, AttemptKey)>, now: Timestamp, retention: Duration) -> Vec<AttemptKey> {
    ended.sort_unstable();
    let surplus = ended.len().saturating_sub(MAX_KEPT_ENDED);
    let old = |at: Timestamp| Duration::try_from(now.duration_since(at)).is_ok_and(|age| age >= retention);
    let keep = |(index, (at, _)): &(usize, (Timestamp, AttemptKey))| *index < surplus || old(*at);
    ended.into_iter().enumerate().filter(keep).map(|(_, (_, key))| key).collect()
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
        assert_eq!(expired(vec![young, old, future], now, Duration::from_secs(60)), [old.1]);
    }

    #[test]
    fn of_too_many_the_oldest_go() {
        let all: Vec<_> = (0..MAX_KEPT_ENDED as u128 + 2).map(|task| ended(task as i64, task)).collect();
        let gone = expired(all.clone(), Timestamp::UNIX_EPOCH, Duration::from_secs(60));
        assert_eq!(gone, [all[0].1, all[1].1]);
    }
}
