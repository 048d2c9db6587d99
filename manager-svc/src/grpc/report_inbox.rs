//! Status reports of one session that wait for the writer. Of each attempt only the newest status waits, so a storm of reports
//! costs no more memory than there are attempts, and never holds up what comes after it on the stream. Pure.

use std::collections::BTreeMap;

use davit_core::id::{AttemptKey, TaskId};
use davit_core::task::AttemptStatus;

/// So many attempts of one session may wait. A worker has at most 50 statuses under way.
const MAX_ATTEMPTS: usize = 16_384;

/// More attempts were reported than may wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("statuses of more than {MAX_ATTEMPTS} attempts were reported without waiting for acknowledgements")]
pub(super) struct Full;

/// What acknowledges reports, and with them those before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Receipt {
    pub(super) report_id: u64,
    /// The newest heartbeat that counts and came with them; 0: none.
    pub(super) heartbeat_id: u64,
}

impl Receipt {
    /// Of these reports and those.
    pub(super) fn and(self, others: Self) -> Self {
        let Self { report_id, heartbeat_id } = others;
        Self { report_id: self.report_id.max(report_id), heartbeat_id: self.heartbeat_id.max(heartbeat_id) }
    }
}

/// What waits to be written.
#[derive(Debug, Default)]
pub(super) struct ReportInbox {
    statuses: BTreeMap<AttemptKey, AttemptStatus>,
    receipt: Option<Receipt>,
}

impl ReportInbox {
    /// Takes in a report.
    ///
    /// # Errors
    /// When too many attempts wait; then part of it is taken in, which does no harm.
    pub(super) fn put(&mut self, receipt: Receipt, statuses: Vec<(TaskId, AttemptStatus)>) -> Result<(), Full> {
        for (task_id, status) in statuses {
            let key = AttemptKey { task_id, attempt: status.attempt };
            let newest = match self.statuses.remove(&key) {
                Some(known) => known.merge(status),
                None if self.statuses.len() >= MAX_ATTEMPTS => return Err(Full),
                None => status,
            };
            self.statuses.insert(key, newest);
        }
        self.receipt = Some(self.receipt.map_or(receipt, |waiting| waiting.and(receipt)));
        Ok(())
    }

    /// Takes out all that waits: the newest status of each attempt, and what acknowledges them all.
    pub(super) fn take(&mut self) -> Option<(Receipt, Vec<(TaskId, AttemptStatus)>)> {
        let receipt = self.receipt.take()?;
        let statuses = std::mem::take(&mut self.statuses);
        Some((receipt, statuses.into_iter().map(|(key, status)| (key.task_id, status)).collect()))
    }
}

#[cfg(test)]
mod tests {
    use davit_core::id::Attempt;
    use davit_core::state::TaskState;
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;

    fn task_id(number: u128) -> TaskId {
        TaskId(Uuid::from_u128(number))
    }

    fn receipt(report_id: u64) -> Receipt {
        Receipt { report_id, heartbeat_id: 0 }
    }

    fn status(state: TaskState, sequence: u64) -> AttemptStatus {
        AttemptStatus { state, sequence, ..AttemptStatus::pending(Attempt::FIRST, "") }
    }

    #[test]
    fn a_storm_waits_as_one_status_of_each_attempt_and_one_acknowledgement() {
        let mut inbox = ReportInbox::default();
        for sequence in 0..1000 {
            let statuses = (0..100).map(|task| (task_id(task), status(TaskState::Preparing, sequence))).collect();
            inbox.put(receipt(sequence + 1), statuses).unwrap();
            assert_eq!(inbox.statuses.len(), 100);
        }
        let (last, statuses) = inbox.take().unwrap();
        assert_eq!((last, statuses.len()), (receipt(1000), 100));
        assert!(statuses.iter().all(|(_, status)| status.sequence == 999));
        assert!(inbox.take().is_none());
    }

    #[test]
    fn a_report_of_nothing_is_acknowledged_too() {
        let mut inbox = ReportInbox::default();
        inbox.put(receipt(7), Vec::new()).unwrap();
        assert_eq!(inbox.take(), Some((receipt(7), Vec::new())));
    }

    #[test]
    fn the_newest_heartbeat_is_acknowledged_with_reports_that_had_none_of_their_own() {
        let mut inbox = ReportInbox::default();
        inbox.put(Receipt { report_id: 1, heartbeat_id: 4 }, Vec::new()).unwrap();
        inbox.put(receipt(2), Vec::new()).unwrap();
        let (waiting, statuses) = inbox.take().unwrap();
        assert_eq!(waiting, Receipt { report_id: 2, heartbeat_id: 4 });
        inbox.put(Receipt { report_id: 3, heartbeat_id: 5 }, Vec::new()).unwrap();
        inbox.put(waiting, statuses).unwrap();
        assert_eq!(
            inbox.take().unwrap().0,
            Receipt { report_id: 3, heartbeat_id: 5 },
            "what could not be written comes back"
        );
    }

    #[test]
    fn a_worker_that_names_attempts_without_end_is_refused() {
        let mut inbox = ReportInbox::default();
        let many =
            |from: u128| (from..from + 5000).map(|task| (task_id(task), status(TaskState::Running, 1))).collect();
        for round in 0..3 {
            inbox.put(receipt(1), many(round * 5000)).unwrap();
        }
        assert_eq!(inbox.put(receipt(2), many(20_000)), Err(Full));
        assert_eq!(inbox.statuses.len(), MAX_ATTEMPTS);
        assert!(inbox.put(receipt(3), many(0)).is_ok(), "what waits already may be replaced");
    }

    proptest! {
        /// Whatever comes when, and is taken out when: the newest of each attempt arrives.
        #[test]
        fn the_newest_status_wins(
            reports in prop::collection::vec((0u128..4, prop::sample::select(vec![TaskState::Preparing, TaskState::Running, TaskState::Failed]), 0u64..5, any::<bool>()), 1..40),
        ) {
            let (mut inbox, mut newest, mut written) = (ReportInbox::default(), BTreeMap::new(), BTreeMap::new());
            let write = |inbox: &mut ReportInbox, written: &mut BTreeMap<TaskId, AttemptStatus>| {
                for (task_id, status) in inbox.take().into_iter().flat_map(|(_, statuses)| statuses) {
                    let merged = written.remove(&task_id).map_or(status.clone(), |known| known.merge(status));
                    written.insert(task_id, merged);
                }
            };
            for (report_id, (task, state, sequence, then_take)) in reports.into_iter().enumerate() {
                let status = status(state, sequence);
                let merged = newest.remove(&task_id(task)).map_or(status.clone(), |known: AttemptStatus| known.merge(status.clone()));
                newest.insert(task_id(task), merged);
                inbox.put(receipt(report_id as u64), vec![(task_id(task), status)]).unwrap();
                if then_take {
                    write(&mut inbox, &mut written);
                }
            }
            write(&mut inbox, &mut written);
            prop_assert_eq!(written, newest);
        }
    }
}
