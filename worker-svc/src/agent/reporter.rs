//! The newest status of each attempt, until the manager has it durably. Pure.
//!
//! At most one report is under way, so that a slow manager makes progress updates coalesce instead of queue. A status
//! leaves only when a report that held exactly this status is acknowledged; a broken session sends all the rest anew.

use std::collections::BTreeMap;
use std::ops::Bound;

use davit_core::id::AttemptKey;
use davit_core::task::AttemptStatus;

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

/// What the manager does not have yet.
#[derive(Debug, Default)]
pub struct Reporter {
    pending: BTreeMap<AttemptKey, AttemptStatus>,
    in_flight: Option<InFlight>,
    last_report_id: u64,
    /// Where the next report begins, so that attempts that change all the time don't hold up the others.
    cursor: Option<AttemptKey>,
}

impl Reporter {
    /// Notes a status, which takes the place of an older one of its attempt.
    pub fn put(&mut self, key: AttemptKey, status: AttemptStatus) {
        self.pending.insert(key, status);
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
    pub fn next_report(&mut self) -> Option<Report> {
        if self.in_flight.is_some() || self.pending.is_empty() {
            return None;
        }
        let after = self.cursor.map_or(Bound::Unbounded, Bound::Excluded);
        let (behind, before) = (self.pending.range((after, Bound::Unbounded)), self.pending.range(..));
        let count = self.pending.len().min(MAX_REPORT_STATUSES);
        let statuses: Vec<_> = behind.chain(before).take(count).map(|(key, status)| (*key, status.clone())).collect();
        self.cursor = statuses.last().map(|(key, _)| *key);
        self.last_report_id += 1;
        let sequences = statuses.iter().map(|(key, status)| (*key, status.sequence)).collect();
        self.in_flight = Some(InFlight { report_id: self.last_report_id, sequences });
        Some(Report { report_id: self.last_report_id, statuses })
    }

    /// A report is durable: what has not changed since need not be sent again. Answers the attempts of which the manager
    /// now has everything; `None`: no such report is under way.
    pub fn acknowledge(&mut self, report_id: u64) -> Option<Vec<AttemptKey>> {
        let acknowledged = self.in_flight.take_if(|report| report.report_id == report_id)?;
        let mut known = Vec::with_capacity(acknowledged.sequences.len());
        for (key, sequence) in acknowledged.sequences {
            if self.pending.get(&key).is_some_and(|status| status.sequence == sequence) {
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

    fn status(sequence: u64) -> AttemptStatus {
        AttemptStatus { sequence, ..AttemptStatus::pending(Attempt::FIRST, "") }
    }

    #[test]
    fn updates_coalesce_while_a_report_is_under_way() {
        let mut reporter = Reporter::default();
        reporter.put(key(1), status(1));
        let first = reporter.next_report().unwrap();
        reporter.put(key(1), status(2));
        reporter.put(key(1), status(3));
        assert_eq!(reporter.next_report(), None);
        assert_eq!(reporter.acknowledge(first.report_id), Some(Vec::new()), "there is something newer");
        assert!(!reporter.is_acknowledged(key(1)));
        let second = reporter.next_report().unwrap();
        assert_eq!(second.statuses, [(key(1), status(3))]);
        assert_eq!(reporter.acknowledge(second.report_id), Some(vec![key(1)]));
        assert!(reporter.is_empty() && reporter.next_report().is_none());
    }

    #[test]
    fn a_broken_session_loses_nothing() {
        let mut reporter = Reporter::default();
        reporter.put(key(1), status(1));
        let lost = reporter.next_report().unwrap();
        reporter.reset();
        assert_eq!(reporter.acknowledge(lost.report_id), None, "an answer from an earlier session counts for nothing");
        let again = reporter.next_report().unwrap();
        assert_eq!(again.statuses, lost.statuses);
        assert!(again.report_id > lost.report_id);
    }

    #[test]
    fn attempts_that_change_all_the_time_do_not_hold_up_the_others() {
        let mut reporter = Reporter::default();
        let busy = MAX_REPORT_STATUSES as u128;
        (0..=busy).for_each(|task| reporter.put(key(task), status(1)));
        let first = reporter.next_report().unwrap();
        assert_eq!(first.statuses.len(), MAX_REPORT_STATUSES);
        (0..busy).for_each(|task| reporter.put(key(task), status(2)));
        reporter.acknowledge(first.report_id);
        assert_eq!(reporter.next_report().unwrap().statuses[0].0, key(busy));
    }

    proptest! {
        /// Whatever breaks when: in the end the manager has the newest of each.
        #[test]
        fn the_newest_status_of_each_arrives(actions in prop::collection::vec((0u8..4, 0u128..5), 0..60)) {
            let mut reporter = Reporter::default();
            let (mut newest, mut has, mut sent) = (BTreeMap::new(), BTreeMap::new(), None);
            let mut sequence = 0;
            for (action, task) in actions {
                match action {
                    0 => {
                        sequence += 1;
                        reporter.put(key(task), status(sequence));
                        newest.insert(key(task), sequence);
                    }
                    1 => sent = reporter.next_report().or(sent),
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
            while let Some(report) = reporter.next_report() {
                has.extend(report.statuses.iter().map(|(key, status)| (*key, status.sequence)));
                prop_assert!(reporter.acknowledge(report.report_id).is_some());
            }
            prop_assert_eq!(has, newest);
        }
    }
}
