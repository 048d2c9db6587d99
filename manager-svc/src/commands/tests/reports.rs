//! What workers say is believed only when it is news from the one node that has the attempt.

use davit_core::id::Attempt;
use davit_core::state::TaskState::{self, Completed, Failed, Lost, Pending, Preparing, Running, Scheduled, Stopped};
use davit_core::task::AttemptStatus;

use crate::commands::ReportCounts;
use crate::commands::test_support::{Cluster, restarting, spec, status, task_id};

const STALE: ReportCounts = ReportCounts { applied: 0, stale: 1 };
const APPLIED: ReportCounts = ReportCounts { applied: 1, stale: 0 };

#[test]
fn only_the_node_that_has_the_attempt_speaks_for_it() {
    let mut cluster = Cluster::new(2);
    let task_id = cluster.create(spec());
    assert_eq!(cluster.report(1, task_id, Running), STALE, "no node has it");
    cluster.place(task_id, 1);
    assert_eq!(cluster.report(2, task_id, Running), STALE, "another node has it");
    assert_eq!(cluster.report(1, task_id, Running), APPLIED);
}

#[test]
fn a_report_of_another_attempt_is_stale() {
    let mut cluster = Cluster::new(1);
    let task_id = cluster.running(restarting(davit_core::restart::RestartMode::OnFailure), 1);
    cluster.report(1, task_id, Failed);
    cluster.advance(std::time::Duration::from_secs(5));
    cluster.place(task_id, 1);
    for attempt in [1, 3] {
        assert_eq!(cluster.report_status(1, task_id, status(Attempt(attempt), Completed)), STALE);
    }
    assert_eq!(cluster.task_state(task_id), (2, Scheduled));
}

#[test]
fn a_report_of_a_task_that_is_gone_is_stale() {
    let mut cluster = Cluster::new(1);
    assert_eq!(cluster.report_status(1, task_id(77), status(Attempt::FIRST, Running)), STALE);
}

#[test]
fn a_report_that_was_overtaken_is_stale() {
    let mut cluster = Cluster::new(1);
    let task_id = cluster.running(spec(), 1);
    for old in [Preparing, Running] {
        assert_eq!(cluster.report(1, task_id, old), STALE);
    }
    assert_eq!(cluster.report(1, task_id, Completed), APPLIED);
    for late in TaskState::ALL {
        assert_eq!(cluster.report(1, task_id, late), STALE);
    }
}

#[test]
fn a_worker_can_not_report_the_managers_own_states() {
    let mut cluster = Cluster::new(1);
    let task_id = cluster.create(spec());
    cluster.place(task_id, 1);
    for state in [Pending, Scheduled, Lost] {
        let said = AttemptStatus { sequence: 9, ..status(Attempt::FIRST, state) };
        assert_eq!(cluster.report_status(1, task_id, said), STALE, "{state}");
    }
}

#[test]
fn refinements_within_a_state_are_ordered_by_their_sequence() {
    let mut cluster = Cluster::new(1);
    let task_id = cluster.running(spec(), 1);
    let ready = AttemptStatus { sequence: 2, ready: true, ..status(Attempt::FIRST, Running) };
    assert_eq!(cluster.report_status(1, task_id, ready.clone()), APPLIED);
    assert_eq!(cluster.report_status(1, task_id, ready.clone()), STALE);
    assert_eq!(cluster.report_status(1, task_id, AttemptStatus { sequence: 1, ready: false, ..ready }), STALE);
    assert!(cluster.task(task_id).status.ready);
}

#[test]
fn the_end_of_an_attempt_is_told_with_its_details() {
    let mut cluster = Cluster::new(1);
    let task_id = cluster.running(spec(), 1);
    let failed = AttemptStatus {
        exit_code: Some(137),
        oom_killed: true,
        reason: "killed".to_owned(),
        ..status(Attempt::FIRST, Failed)
    };
    cluster.report_status(1, task_id, failed);
    let event = &cluster.last_batch.changes[0].event;
    assert_eq!(event.message, "attempt 1: FAILED, exit code 137, out of memory: killed");
    assert_eq!(cluster.report(1, task_id, Stopped), STALE);
}

#[test]
fn an_exit_code_is_told_once() {
    for (reason, told) in [
        ("exited with code 3", "attempt 1: FAILED: exited with code 3"),
        ("exited with code 31", "attempt 1: FAILED, exit code 3: exited with code 31"),
        ("", "attempt 1: FAILED, exit code 3"),
    ] {
        let mut cluster = Cluster::new(1);
        let task_id = cluster.running(spec(), 1);
        let reason = reason.to_owned();
        let failed = AttemptStatus { exit_code: Some(3), reason, ..status(Attempt::FIRST, Failed) };
        cluster.report_status(1, task_id, failed);
        assert_eq!(cluster.last_batch.changes[0].event.message, told);
    }
}
