//! What follows the end of an attempt: by the restart policy, or because a user asked.

use std::time::Duration;

use davit_core::node::NodeState;
use davit_core::placement::RecentFailures;
use davit_core::restart::{RestartMode, RestartPolicy};
use davit_core::spec::TaskSpec;
use davit_core::state::TaskState;
use davit_core::state::TaskState::{Completed, Failed, Pending, Running, Scheduled, Stopped};
use davit_core::task::{AttemptStatus, KEPT_ATTEMPTS};

use crate::commands::test_support::{Cluster, node_id, restarting, spec, status};
use crate::commands::{Rejected, restart_task, set_node_state, stop_task};

/// Lets a task's attempt fail and tells the wait before the next.
fn fail(cluster: &mut Cluster, task_id: davit_core::id::TaskId) -> Duration {
    cluster.report(1, task_id, Failed);
    let at = cluster.task(task_id).next_attempt_at.expect("a back-off");
    Duration::try_from(at.duration_since(cluster.now)).unwrap()
}

fn run_again(cluster: &mut Cluster, task_id: davit_core::id::TaskId, wait: Duration) {
    cluster.advance(wait);
    assert_eq!(cluster.place(task_id, 1).committed, 1);
    assert_eq!(cluster.report(1, task_id, Running).applied, 1);
}

#[test]
fn a_failed_task_is_not_placed_before_its_back_off_has_passed() {
    let mut cluster = Cluster::new(1);
    let task_id = cluster.running(restarting(RestartMode::OnFailure), 1);
    let wait = fail(&mut cluster, task_id);
    assert_eq!(cluster.task_state(task_id), (2, Pending));
    assert!(cluster.task(task_id).status.reason.contains("attempt 2"), "the user sees why it waits");

    let due = cluster.task(task_id).next_attempt_at;
    assert_eq!(cluster.state.placeable(cluster.now).count(), 0);
    assert_eq!(cluster.state.next_due(cluster.now), due);
    let report = cluster.place(task_id, 1);
    assert_eq!(report.rejected[0].1, Rejected::TaskChanged);

    cluster.advance(wait);
    assert_eq!(cluster.state.placeable(cluster.now).count(), 1);
    assert_eq!(cluster.state.next_due(cluster.now), None);
    assert_eq!(cluster.place(task_id, 1).committed, 1);
    assert_eq!(cluster.task(task_id).next_attempt_at, None);
}

#[test]
fn the_back_off_grows_with_every_failure_in_a_row_and_only_the_last_attempts_are_remembered() {
    let mut cluster = Cluster::new(1);
    let task_id = cluster.running(restarting(RestartMode::OnFailure), 1);
    for row in 0..8_u32 {
        let wait = fail(&mut cluster, task_id);
        let nominal = Duration::from_secs(1 << row);
        assert!(wait >= nominal / 2 && wait <= nominal, "{wait:?} after {row} failures");
        run_again(&mut cluster, task_id, wait);
    }
    assert_eq!(cluster.state.totals().failed, 0, "what is tried again has not ended");
    let kept: Vec<u32> = cluster.task(task_id).past_attempts.iter().map(|past| past.attempt.0).collect();
    assert_eq!(kept, [4, 5, 6, 7, 8]);
    assert_eq!(kept.len(), KEPT_ATTEMPTS);
}

#[test]
fn a_healthy_stretch_starts_the_back_off_anew() {
    let mut cluster = Cluster::new(1);
    let task_id = cluster.running(restarting(RestartMode::OnFailure), 1);
    for _ in 0..5 {
        let wait = fail(&mut cluster, task_id);
        run_again(&mut cluster, task_id, wait);
    }
    let started_at = Some(cluster.now);
    cluster.advance(RestartPolicy::default().reset_after);
    let attempt = cluster.task(task_id).status.attempt;
    let failed = AttemptStatus { started_at, finished_at: Some(cluster.now), ..status(attempt, Failed) };
    cluster.report_status(1, task_id, failed);
    let at = cluster.task(task_id).next_attempt_at.unwrap();
    assert!(at <= cluster.now + Duration::from_secs(1));
}

#[test]
fn no_more_than_max_attempts_are_made() {
    let mut cluster = Cluster::new(1);
    let restart = RestartPolicy { mode: RestartMode::Always, max_attempts: 3, ..RestartPolicy::default() };
    let task_id = cluster.running(TaskSpec { restart, ..spec() }, 1);
    for _ in 0..2 {
        let wait = fail(&mut cluster, task_id);
        run_again(&mut cluster, task_id, wait);
    }
    cluster.report(1, task_id, Failed);
    assert_eq!(cluster.task_state(task_id), (3, Failed));
}

#[test]
fn the_mode_says_which_ends_are_followed_by_another_attempt() {
    for (mode, end, expected) in [
        (RestartMode::Never, Completed, (1, Completed)),
        (RestartMode::Never, Failed, (1, Failed)),
        (RestartMode::OnFailure, Completed, (1, Completed)),
        (RestartMode::OnFailure, Failed, (2, Pending)),
        (RestartMode::Always, Completed, (2, Pending)),
        (RestartMode::Always, Failed, (2, Pending)),
    ] {
        let mut cluster = Cluster::new(1);
        let task_id = cluster.running(restarting(mode), 1);
        cluster.report(1, task_id, end);
        assert_eq!(cluster.task_state(task_id), expected, "{mode:?} {end}");
    }
}

#[test]
fn a_stopped_task_is_not_restarted_by_its_policy() {
    for end in [Stopped, Failed, Completed] {
        let mut cluster = Cluster::new(1);
        let task_id = cluster.running(restarting(RestartMode::Always), 1);
        cluster.run(|draft| stop_task(draft, task_id)).unwrap();
        cluster.report(1, task_id, end);
        assert_eq!(cluster.task_state(task_id), (1, end));
    }
}

#[test]
fn a_task_that_its_worker_stopped_unasked_is_placed_anew() {
    let mut cluster = Cluster::new(1);
    let task_id = cluster.running(spec(), 1);
    cluster.report(1, task_id, Stopped);
    assert_eq!(cluster.task_state(task_id), (2, Pending));
}

#[test]
fn a_restart_stops_what_runs_first() {
    let mut cluster = Cluster::new(1);
    let task_id = cluster.running(spec(), 1);
    cluster.run(|draft| restart_task(draft, task_id)).unwrap();
    assert_eq!(cluster.task_state(task_id), (1, Running));
    assert!(!cluster.task(task_id).wants_current_attempt());
    cluster.report(1, task_id, Stopped);
    assert_eq!(cluster.task_state(task_id), (2, Pending));
    assert!(cluster.task(task_id).wants_current_attempt());
}

#[test]
fn a_restart_of_what_ended_begins_at_once() {
    let mut cluster = Cluster::new(1);
    let task_id = cluster.running(spec(), 1);
    cluster.report(1, task_id, Completed);
    cluster.run(|draft| restart_task(draft, task_id)).unwrap();
    assert_eq!(cluster.task_state(task_id), (2, Pending));
    assert_eq!(cluster.place(task_id, 1).committed, 1);
    assert_eq!(cluster.task_state(task_id), (2, Scheduled));
}

#[test]
fn a_restart_ends_a_back_off() {
    let mut cluster = Cluster::new(1);
    let task_id = cluster.running(restarting(RestartMode::OnFailure), 1);
    fail(&mut cluster, task_id);
    cluster.run(|draft| restart_task(draft, task_id)).unwrap();
    assert_eq!(cluster.task_state(task_id), (2, Pending));
    assert_eq!(cluster.place(task_id, 1).committed, 1);
}

#[test]
fn any_restart_by_a_user_starts_the_row_of_failures_anew() {
    for ended_before in [true, false] {
        let mut cluster = Cluster::new(1);
        let task_id = cluster.running(restarting(RestartMode::OnFailure), 1);
        let wait = fail(&mut cluster, task_id);
        run_again(&mut cluster, task_id, wait);
        if ended_before {
            cluster.report(1, task_id, Completed);
        }
        cluster.run(|draft| restart_task(draft, task_id)).unwrap();
        cluster.report(1, task_id, Stopped);
        assert_eq!(cluster.task_state(task_id), (3, Pending));
        assert_eq!(cluster.task(task_id).restarts_in_row, 0);
    }
}

#[test]
fn the_user_reads_that_the_attempts_are_used_up() {
    let policy = RestartPolicy { mode: RestartMode::OnFailure, max_attempts: 1, ..RestartPolicy::default() };
    for (state, reason, expected) in [
        (Failed, "exited with code 3", "exited with code 3; the one attempt of its restart policy is used"),
        (Failed, "", "the one attempt of its restart policy is used"),
        (Completed, "", ""),
    ] {
        let mut cluster = Cluster::new(1);
        let task_id = cluster.running(TaskSpec { restart: policy, ..spec() }, 1);
        let ended = AttemptStatus { reason: reason.to_owned(), ..status(cluster.task(task_id).status.attempt, state) };
        cluster.report_status(1, task_id, ended);
        assert_eq!(cluster.task(task_id).status.reason, expected);
        assert_eq!(cluster.last_batch.changes.len(), 1, "one event tells all of it");
        assert!(cluster.last_batch.changes[0].event.message.ends_with(expected));
    }
    let mut cluster = Cluster::new(1);
    let task_id = cluster.running(spec(), 1);
    cluster.report(1, task_id, Failed);
    assert_eq!(cluster.task(task_id).status.reason, "", "no remark for a task that is never restarted");
}

/// Runs a task's attempt on a node until it ends; tells where it failed lately, as the scheduler is told.
fn end_on(cluster: &mut Cluster, node: u64, task_id: davit_core::id::TaskId, end: TaskState) -> Vec<RecentFailures> {
    assert_eq!(cluster.place(task_id, node).committed, 1);
    cluster.report(node, task_id, Running);
    let ended = AttemptStatus { finished_at: Some(cluster.now), ..status(cluster.task(task_id).status.attempt, end) };
    assert_eq!(cluster.report_status(node, task_id, ended).applied, 1);
    failed_lately(cluster, task_id)
}

fn failed_lately(cluster: &Cluster, task_id: davit_core::id::TaskId) -> Vec<RecentFailures> {
    cluster.state.placement_request(cluster.task(task_id), cluster.now).preferences.recent_failures
}

#[test]
fn where_a_task_failed_within_the_last_hour_goes_with_what_is_asked_for_it() {
    let mut cluster = Cluster::new(2);
    let task_id = cluster.create(restarting(RestartMode::OnFailure));
    let minutes = |count: u64| Duration::from_secs(60 * count);
    let failed = |node, count| RecentFailures { node_id: node_id(node), count };
    assert_eq!(failed_lately(&cluster, task_id), []);
    assert_eq!(end_on(&mut cluster, 1, task_id, Failed), [failed(1, 1)]);
    cluster.advance(minutes(10));
    assert_eq!(end_on(&mut cluster, 2, task_id, Failed), [failed(1, 1), failed(2, 1)]);
    cluster.advance(minutes(10));
    assert_eq!(end_on(&mut cluster, 1, task_id, Failed), [failed(1, 2), failed(2, 1)]);

    cluster.advance(minutes(40) - Duration::from_secs(1));
    assert_eq!(failed_lately(&cluster, task_id), [failed(1, 2), failed(2, 1)]);
    cluster.advance(Duration::from_secs(1));
    assert_eq!(failed_lately(&cluster, task_id), [failed(1, 1), failed(2, 1)], "the first was an hour ago");
    cluster.advance(minutes(10));
    assert_eq!(failed_lately(&cluster, task_id), [failed(1, 1)]);
    cluster.advance(minutes(10));
    assert_eq!(failed_lately(&cluster, task_id), []);
    assert_eq!(cluster.task(task_id).past_attempts.len(), 3, "they are remembered all the same");
}

#[test]
fn only_failures_speak_against_a_node() {
    for end in [Completed, Stopped] {
        let mut cluster = Cluster::new(1);
        let task_id = cluster.create(restarting(RestartMode::Always));
        assert_eq!(end_on(&mut cluster, 1, task_id, end), [], "{end}");
        assert_eq!(cluster.task_state(task_id), (2, Pending));
    }
    // What a node lost with itself is not the task's failure there.
    let mut cluster = Cluster::new(1);
    let task_id = cluster.running(spec(), 1);
    cluster.run(|draft| set_node_state(draft, node_id(1), NodeState::Down, "silent"));
    cluster.lose_tasks_of_down_nodes();
    assert_eq!(cluster.task_state(task_id), (2, Pending));
    assert_eq!(failed_lately(&cluster, task_id), []);
}
