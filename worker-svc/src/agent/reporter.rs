//! The newest status of each attempt, until the manager has it durably. Pure.
//!
//! At most one report is under way, so that a slow manager makes progress updates coalesce instead of queue. A status
//! leaves only when a report that held exactly this status is acknowledged; a broken session sends all the rest anew.
//! That an attempt begins is no news for a moment: where it runs by then, one status does for both.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::time::Duration;

use davit_core::id::AttemptKey;
use davit_core::task::AttemptStatus;
use tokio::time::Instant;

/// That an attempt is being prepared is told once it has been for so long.
const PREPARING_TOLD_AFTER: Duration = Duration::from_millis(200);

/// So many statuses go into one report, some 4 KB: what one session was told at once the manager keeps room for as long as it lasts.
pub const MAX_REPORT_STATUSES: usize = 50;

/// Statuses to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// What the manager acknowledges.
    pub report_id: u64,
    /// The newest of each attempt.
    pub statuses: Vec<(AttemptKey, AttemptStatus)>,
}

#[derive(Debug)]
struct InFlight {
    report_id: u64,
    sequences: Vec<(AttemptKey, u64)>,
}

/// A status that the manager does not have.
#[derive(Debug)]
struct Pending {
    status: AttemptStatus,
    /// It is told from then on; `None`: at once.
    due: Option<Instant>,
}

impl Pending {
    fn is_due(&self, now: Instant) -> bool {
        self.due.is_none_or(|due| due <= now)
    }
}

/// What the manager does not have yet.
#[derive(Debug, Default)]
pub struct Reporter {
    pending: BTreeMap<AttemptKey, Pending>,
    /// Those that are told a moment later, by that moment; what happened to them since may have made it vain.
    later: VecDeque<(Instant, AttemptKey)>,
    in_flight: Option<InFlight>,
    last_report_id: u64,
    /// Where the next report begins, so that attempts that change all the time don't hold up the others.
    cursor: Option<AttemptKey>,
}

impl Reporter {
    /// Notes a status, which takes the place of an older one of its attempt.
    pub fn put(&mut self, key: AttemptKey, status: AttemptStatus) {
        self.pending.insert(key, Pending { status, due: None });
    }

    /// Notes the first status of an attempt that begins now.
    pub fn put_first(&mut self, key: AttemptKey, status: AttemptStatus, now: Instant) {
        let due = now + PREPARING_TOLD_AFTER;
        self.later.push_back((due, key));
        self.pending.insert(key, Pending { status, due: Some(due) });
    }

    /// Nobody is interested in this attempt any more.
    pub fn forget(&mut self, key: AttemptKey) {
        self.pending.remove(&key);
    }

    /// Whether the manager has all that was noted of this attempt.
    #[must_use]
    pub fn is_acknowledged(&self, key: AttemptKey) -> bool {
        !self.pending.contains_key(&key)
    }

    /// Whether the manager has everything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    /// The report to send now; `None` while one is under way or nothing is to be told.
    pub fn next_report(&mut self, now: Instant) -> Option<Report> {
        if self.in_flight.is_some() {
            return None;
        }
        let after = self.cursor.map_or(Bound::Unbounded, Bound::Excluded);
        let behind = self.pending.range((after, Bound::Unbounded));
        let before = self.cursor.map(|cursor| self.pending.range(..=cursor)).into_iter().flatten();
        let in_turn = behind.chain(before).filter(|(_, pending)| pending.is_due(now));
        let statuses: Vec<_> =
            in_turn.take(MAX_REPORT_STATUSES).map(|(key, pending)| (*key, pending.status.clone())).collect();
        if statuses.is_empty() {
            return None;
        }
        self.cursor = statuses.last().map(|(key, _)| *key);
        self.last_report_id += 1;
        let sequences = statuses.iter().map(|(key, status)| (*key, status.sequence)).collect();
        self.in_flight = Some(InFlight { report_id: self.last_report_id, sequences });
        Some(Report { report_id: self.last_report_id, statuses })
    }

    /// When there is something to tell that was held back, if nothing happens by then; it may have passed. `None`: nothing was, or a
    /// report is under way, after which it is looked anyway.
    pub fn next_due(&mut self) -> Option<Instant> {
        if self.in_flight.is_some() {
            return None;
        }
        let is_vain =
            |(due, key): &(Instant, AttemptKey)| self.pending.get(key).is_none_or(|pending| pending.due != Some(*due));
        while self.later.front().is_some_and(is_vain) {
            self.later.pop_front();
        }
        self.later.front().map(|(due, _)| *due)
    }

    /// A report is durable: what has not changed since need not be sent again. Answers the attempts of which the manager
    /// now has everything; `None`: no such report is under way.
    pub fn acknowledge(&mut self, report_id: u64) -> Option<Vec<AttemptKey>> {
        let acknowledged = self.in_flight.take_if(|report| report.report_id == report_id)?;
        let mut known = Vec::with_capacity(acknowledged.sequences.len());
        for (key, sequence) in acknowledged.sequences {
            if self.pending.get(&key).is_some_and(|pending| pending.status.sequence == sequence) {
                self.pending.remove(&key);
                known.push(key);
            }
        }
        Some(known)
    }

    /// The session broke or a new one begins: what was under way may be lost.
    pub fn reset(&mut self) {
        self.in_flight = None;
    }
}

#[cfg(test)]
mod tests {
    use davit_core::id::{Attempt, TaskId};
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;

    fn key(task: u128) -> AttemptKey {
        AttemptKey { task_id: TaskId(Uuid::from_u128(task)), attempt: Attempt::FIRST }
    }

    fn next(reporter: &mut Reporter) -> Option<Report> {
        reporter.next_report(Instant::now())
    }

    fn status(sequence: u64) -> AttemptStatus {
        AttemptStatus { sequence, ..AttemptStatus::pending(Attempt::FIRST, "") }
    }

    #[test]
    fn updates_coalesce_while_a_report_is_under_way() {
        let mut reporter = Reporter::default();
        reporter.put(key(1), status(1));
        let first = next(&mut reporter).unwrap();
        reporter.put(key(1), status(2));
        reporter.put(key(1), status(3));
        assert_eq!(next(&mut reporter), None);
        assert_eq!(reporter.acknowledge(first.report_id), Some(Vec::new()), "there is something newer");
        assert!(!reporter.is_acknowledged(key(1)));
        let second = next(&mut reporter).unwrap();
        assert_eq!(second.statuses, [(key(1), status(3))]);
        assert_eq!(reporter.acknowledge(second.report_id), Some(vec![key(1)]));
        assert!(reporter.is_empty() && next(&mut reporter).is_none());
    }

    #[test]
    fn what_begins_is_told_a_moment_later_unless_it_runs_by_then() {
        let (mut reporter, began) = (Reporter::default(), Instant::now());
        reporter.put_first(key(1), status(1), began);
        reporter.put_first(key(2), status(1), began + Duration::from_millis(10));
        reporter.put(key(2), status(2));
        assert_eq!(reporter.next_due(), Some(began + PREPARING_TOLD_AFTER));
        let at_once = reporter.next_report(began + Duration::from_millis(20)).unwrap();
        assert_eq!(at_once.statuses, [(key(2), status(2))], "what happens to one does not tell of the others");
        assert_eq!(reporter.next_due(), None, "a report is under way");
        reporter.acknowledge(at_once.report_id);
        let later = began + PREPARING_TOLD_AFTER;
        assert_eq!(reporter.next_due(), Some(later), "also when it has passed by now");
        let report = reporter.next_report(later).unwrap();
        assert_eq!(report.statuses, [(key(1), status(1))]);
        reporter.acknowledge(report.report_id);
        assert_eq!(reporter.next_due(), None);
        assert!(reporter.later.is_empty());
    }

    #[test]
    fn a_broken_session_loses_nothing() {
        let mut reporter = Reporter::default();
        reporter.put(key(1), status(1));
        let lost = next(&mut reporter).unwrap();
        reporter.reset();
        assert_eq!(reporter.acknowledge(lost.report_id), None, "an answer from an earlier session counts for nothing");
        let again = next(&mut reporter).unwrap();
        assert_eq!(again.statuses, lost.statuses);
        assert!(again.report_id > lost.report_id);
    }

    #[test]
    fn attempts_that_change_all_the_time_do_not_hold_up_the_others() {
        let mut reporter = Reporter::default();
        let busy = MAX_REPORT_STATUSES as u128;
        (0..=busy).for_each(|task| reporter.put(key(task), status(1)));
        let first = next(&mut reporter).unwrap();
        assert_eq!(first.statuses.len(), MAX_REPORT_STATUSES);
        (0..busy).for_each(|task| reporter.put(key(task), status(2)));
        reporter.acknowledge(first.report_id);
        assert_eq!(next(&mut reporter).unwrap().statuses[0].0, key(busy));
    }

    proptest! {
        /// Whatever breaks when: in the end the manager has the newest of each.
        #[test]
        fn the_newest_status_of_each_arrives(actions in prop::collection::vec((0u8..5, 0u128..5), 0..60)) {
            let mut reporter = Reporter::default();
            let (mut newest, mut has, mut sent) = (BTreeMap::new(), BTreeMap::new(), None);
            let (mut sequence, began) = (0, Instant::now());
            for (action, task) in actions {
                match action {
                    0 => {
                        sequence += 1;
                        reporter.put(key(task), status(sequence));
                        newest.insert(key(task), sequence);
                    }
                    4 => {
                        sequence += 1;
                        reporter.put_first(key(task), status(sequence), began);
                        newest.insert(key(task), sequence);
                    }
                    1 => sent = next(&mut reporter).or(sent),
                    2 => if let Some(report) = sent.take() && reporter.acknowledge(report.report_id).is_some() {
                        has.extend(report.statuses.iter().map(|(key, status)| (*key, status.sequence)));
                    },
                    _ => {
                        reporter.reset();
                        sent = None;
                    }
                }
            }
            reporter.reset();
            while let Some(report) = reporter.next_report(began + PREPARING_TOLD_AFTER) {
                has.extend(report.statuses.iter().map(|(key, status)| (*key, status.sequence)));
                prop_assert!(reporter.acknowledge(report.report_id).is_some());
            }
            prop_assert_eq!(has, newest);
        }
    }
}
