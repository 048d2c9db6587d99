//! Joining, coming back, and taking over a name.

use std::collections::BTreeMap;
use std::time::Duration;

use davit_core::id::Attempt;
use davit_core::node::Node;
use davit_core::node::NodeState::{Down, Ready, Suspect};
use davit_core::placement::RuntimeKind;
use davit_core::restart::RestartMode;
use davit_core::spec::{OnNodeLoss, TaskSpec};
use davit_core::state::TaskState::{Completed, Failed, Lost, Pending, Preparing, Running, Scheduled, Stopping};
use davit_core::task::AttemptStatus;

use davit_proto::convert::RuntimeHealth;
use jiff::SignedDuration;
use uuid::Uuid;

use crate::commands::test_support::{Cluster, LEASE, node_id, registration, restarting, spec, status};
use crate::commands::{
    Error, Registered, Registration, ReportCounts, apply_reports, move_task, register_node, restart_task, set_cordon,
    set_node_state, set_runtime_health, set_user_labels, settle_claims, shift_leases, stop_task,
};

fn down(cluster: &mut Cluster, node: u64) {
    cluster.run(|draft| set_node_state(draft, node_id(node), Down, "nothing was heard"));
}

#[test]
fn attempts_that_the_worker_no_longer_has_are_lost_and_those_it_never_got_are_assigned_again() {
    let mut cluster = Cluster::new(1);
    let held = cluster.running(spec(), 1);
    let forgotten = cluster.running(spec(), 1);
    let never_got = cluster.create(spec());
    cluster.place(never_got, 1);

    let attempts = vec![(held, status(Attempt::FIRST, Running))];
    cluster.run(|draft| register_node(draft, Registration { attempts, ..registration(1) }, LEASE)).unwrap();
    assert_eq!(cluster.task_state(held), (1, Running));
    assert_eq!(cluster.task_state(forgotten), (2, Pending));
    assert_eq!(cluster.task(forgotten).past_attempts[0].state, Lost);
    assert_eq!(cluster.task_state(never_got), (1, Scheduled));
    let assigned: Vec<_> = cluster.state.tasks_on(node_id(1)).map(|task| task.task_id).collect();
    assert_eq!(assigned, [held, never_got], "what the next full set holds");
}

#[test]
fn a_registration_looks_at_each_task_of_its_node_once() {
    let mut cluster = Cluster::new(2);
    let held: Vec<_> = (0..2).map(|_| cluster.running(spec(), 1)).collect();
    cluster.running(spec(), 2);
    let before = cluster.state.visited().tasks;
    let attempts = held.iter().map(|task_id| (*task_id, status(Attempt::FIRST, Running))).collect();
    let registration = Registration { attempts, ..registration(1) };
    let (_, counts) = cluster.run(|draft| register_node(draft, registration, LEASE)).unwrap();
    assert_eq!(counts, ReportCounts { applied: 0, stale: 2 });
    assert_eq!(cluster.state.visited().tasks - before, 2);
}

/// A worker that has no records, and has not heard of its node before.
fn clone_of(number: u64) -> Registration {
    Registration { worker_run: Some(Uuid::from_u128(2)), ..registration(number) }
}

fn leased() -> TaskSpec {
    TaskSpec { on_node_loss: OnNodeLoss::StopAndReplace, ..spec() }
}

/// How long [`leased`] may run on where nobody renews its lease.
fn until_it_has_stopped() -> Duration {
    LEASE + leased().stop.grace + Duration::from_secs(3)
}

#[test]
fn what_must_never_run_twice_and_its_worker_no_longer_has_waits_until_it_must_have_stopped() {
    let mut cluster = Cluster::new(2);
    let (runs, stops, other) = (cluster.running(leased(), 1), cluster.running(leased(), 1), cluster.running(spec(), 1));
    cluster.run(|draft| stop_task(draft, stops)).unwrap();
    cluster.run(|draft| register_node(draft, clone_of(1), LEASE)).unwrap();
    assert_eq!(cluster.task_state(runs), (2, Pending));
    assert_eq!(cluster.task(runs).past_attempts[0].state, Lost);
    assert_eq!((cluster.task_state(stops), cluster.task_state(other)), ((1, Lost), (2, Pending)));
    let told = &cluster.task(runs).status.reason;
    assert!(told.contains("its node's lease") && told.contains("attempt 2 in 23.0 s"), "{told}");

    // Whatever users ask for meanwhile.
    for task_id in [runs, stops] {
        cluster.run(|draft| restart_task(draft, task_id)).unwrap();
        let moved = cluster.run(|draft| move_task(draft, task_id, node_id(2), None, ""));
        assert!(matches!(moved, Err(Error::TaskIsLeased { .. })), "{moved:?}");
        cluster.run(|draft| stop_task(draft, task_id)).unwrap();
        cluster.run(|draft| restart_task(draft, task_id)).unwrap();
    }
    let placeable =
        |cluster: &Cluster| -> Vec<_> { cluster.state.placeable(cluster.now).map(|task| task.task_id).collect() };
    cluster.advance(until_it_has_stopped() - Duration::from_millis(1));
    for task_id in [runs, stops] {
        assert_eq!(cluster.place(task_id, 2).committed, 0);
    }
    assert_eq!(placeable(&cluster), [other]);
    cluster.advance(Duration::from_millis(1));
    assert_eq!(placeable(&cluster), [other, runs, stops]);
    assert_eq!(cluster.place(runs, 2).committed, 1);
}

#[test]
fn a_lease_ends_when_its_time_has_passed_however_the_clock_is_set_meanwhile() {
    for seconds in [3600, -10] {
        let mut cluster = Cluster::new(2);
        let (runs, stops) = (cluster.running(leased(), 1), cluster.running(leased(), 1));
        cluster.run(|draft| stop_task(draft, stops)).unwrap();
        cluster.run(|draft| register_node(draft, clone_of(1), LEASE)).unwrap();
        let by = SignedDuration::from_secs(seconds);
        cluster.now = cluster.now.checked_add(by).unwrap();
        cluster.run(|draft| shift_leases(draft, by));
        // One that ended waits only once it is to run again.
        cluster.run(|draft| restart_task(draft, stops)).unwrap();
        cluster.advance(until_it_has_stopped() - Duration::from_millis(1));
        for task_id in [runs, stops] {
            assert_eq!(cluster.place(task_id, 2).committed, 0, "set by {seconds} s");
        }
        cluster.advance(Duration::from_millis(1));
        for task_id in [runs, stops] {
            assert_eq!(cluster.place(task_id, 2).committed, 1, "set by {seconds} s");
        }
        // Nobody waits any more.
        cluster.run(|draft| shift_leases(draft, by));
        assert!(cluster.last_batch.is_empty());
    }
}

#[test]
fn a_move_of_what_must_never_run_twice_ends_when_its_worker_no_longer_has_it() {
    let mut cluster = Cluster::new(2);
    let task_id = cluster.running(leased(), 1);
    cluster.run(|draft| move_task(draft, task_id, node_id(2), None, "")).unwrap();
    cluster.run(|draft| register_node(draft, clone_of(1), LEASE)).unwrap();
    cluster.run(settle_claims);
    assert_eq!(cluster.task_state(task_id), (2, Pending));
    cluster.advance(until_it_has_stopped());
    assert_eq!(cluster.place(task_id, 2).committed, 1);
}

#[test]
fn what_must_never_run_twice_and_was_only_given_to_a_node_is_given_again_to_the_same_start_of_its_worker_alone() {
    let run = |number| Registration { worker_run: Some(Uuid::from_u128(number)), ..registration(1) };
    for (number, expected) in [(1, (1, Scheduled)), (2, (2, Pending))] {
        let mut cluster = Cluster::new(0);
        cluster.run(|draft| register_node(draft, run(1), LEASE)).unwrap();
        let task_id = cluster.create(leased());
        cluster.place(task_id, 1);
        cluster.run(|draft| register_node(draft, run(number), LEASE)).unwrap();
        assert_eq!(cluster.task_state(task_id), expected);
        assert_eq!(cluster.state.placeable(cluster.now).count(), 0);
    }
}

#[test]
fn what_is_given_again_to_the_same_start_of_a_worker_waits_for_no_lease_when_it_ends() {
    let run = |number: Option<u128>| Registration { worker_run: number.map(Uuid::from_u128), ..registration(1) };
    // A worker that does not say which start of it this is may be another one each time.
    for (starts, expected) in
        [([Some(1), Some(1)], (1, Scheduled)), ([Some(2), Some(2)], (1, Scheduled)), ([None, None], (2, Pending))]
    {
        let mut cluster = Cluster::new(0);
        cluster.run(|draft| register_node(draft, run(Some(1)), LEASE)).unwrap();
        cluster.run(|draft| register_node(draft, run(starts[0]), LEASE)).unwrap();
        let task_id = cluster.create(leased());
        cluster.place(task_id, 1);
        cluster.run(|draft| register_node(draft, run(starts[1]), LEASE)).unwrap();
        assert_eq!(cluster.task_state(task_id), expected, "{starts:?}");
        assert_eq!(cluster.task(task_id).leased_until.is_some(), starts[0].is_none(), "{starts:?}");
    }
}

#[test]
fn a_lease_of_the_attempt_before_ends_no_back_off_early_is_told_of_while_it_lasts_and_holds_nothing_after_its_end() {
    let mut cluster = Cluster::new(2);
    let mut slow = TaskSpec { restart: restarting(RestartMode::Always).restart, ..leased() };
    (slow.restart.initial_delay, slow.restart.max_delay) = (Duration::from_secs(600), Duration::from_secs(600));
    let (slow, fast) = (cluster.running(slow, 1), cluster.running(leased(), 1));
    let attempts = vec![(slow, status(Attempt::FIRST, Failed))];
    cluster.run(|draft| register_node(draft, Registration { attempts, ..clone_of(1) }, LEASE)).unwrap();
    let until = cluster.now.checked_add(until_it_has_stopped()).unwrap();
    assert!(cluster.task(slow).next_attempt_at.unwrap() > until);
    let told = cluster.task(fast).status.reason.clone();
    cluster.run(|draft| restart_task(draft, fast)).unwrap();
    assert_eq!((cluster.task(fast).next_attempt_at, &cluster.task(fast).status.reason), (Some(until), &told));

    cluster.advance(until_it_has_stopped());
    cluster.run(|draft| restart_task(draft, fast)).unwrap();
    assert_eq!(cluster.task(fast).next_attempt_at, None);
    cluster.run(|draft| move_task(draft, fast, node_id(2), None, "")).unwrap();
    cluster.run(settle_claims);
    assert_eq!(cluster.task_state(fast), (2, Scheduled));
    assert_eq!(cluster.task(fast).leased_until, None);
}

#[test]
fn an_end_that_another_start_of_a_worker_tells_is_followed_by_the_next_attempt_only_after_the_lease_of_the_one_before()
{
    let run =
        |number, attempts| Registration { worker_run: Some(Uuid::from_u128(number)), attempts, ..registration(1) };
    // A clone finds in its copied records what its engine has no more, or not yet.
    for (number, told, ready, waits) in [
        (1, Failed, false, false),
        (2, Failed, false, true),
        (1, Preparing, false, false),
        (2, Preparing, false, true),
        (2, Running, true, false),
        (2, Stopping, false, false),
        // It ended here, and waits to be restarted.
        (1, Running, false, false),
        (2, Running, false, true),
    ] {
        let mut cluster = Cluster::new(0);
        cluster.run(|draft| register_node(draft, run(1, Vec::new()), LEASE)).unwrap();
        cluster.run(|draft| register_node(draft, registration(2), LEASE)).unwrap();
        let task_id = cluster.create(TaskSpec { restart: restarting(RestartMode::Always).restart, ..leased() });
        cluster.place(task_id, 1);
        cluster.report(1, task_id, Preparing);
        let attempts = vec![(task_id, AttemptStatus { ready, ..status(Attempt::FIRST, told) })];
        cluster.run(|draft| register_node(draft, run(number, attempts), LEASE)).unwrap();
        if told != Failed {
            cluster.report(1, task_id, Failed);
        }
        assert_eq!(cluster.task_state(task_id), (2, Pending));
        cluster.advance(until_it_has_stopped() - Duration::from_millis(1));
        assert_eq!(cluster.place(task_id, 2).committed, usize::from(!waits), "{number} {told:?} {ready}");
        cluster.advance(Duration::from_millis(1));
        assert_eq!(cluster.place(task_id, 2).committed, usize::from(waits), "{number} {told:?} {ready}");
    }
}

#[test]
fn what_happened_while_a_worker_was_away_is_believed_when_it_registers() {
    let mut cluster = Cluster::new(1);
    let task_id = cluster.running(spec(), 1);
    let attempts = vec![(task_id, status(Attempt::FIRST, Completed))];
    cluster.run(|draft| register_node(draft, Registration { attempts, ..registration(1) }, LEASE)).unwrap();
    assert_eq!(cluster.task_state(task_id), (1, Completed));
}

#[test]
fn a_registration_that_arrives_after_a_later_one_is_refused_and_changes_nothing() {
    let mut cluster = Cluster::new(0);
    let numbered = |registration_number| Registration { registration_number, ..registration(1) };
    cluster.run(|draft| register_node(draft, numbered(5), LEASE)).unwrap();
    let begun_since = cluster.running(spec(), 1);
    down(&mut cluster, 1);
    for late in [1, 4, 5] {
        let refused = cluster.run(|draft| register_node(draft, numbered(late), LEASE)).unwrap_err();
        assert_eq!(refused, Error::RegistrationOvertaken { node: "node-1".to_owned(), number: late, last: 5 });
        assert!(cluster.last_batch.is_empty());
    }
    assert_eq!(cluster.task_state(begun_since), (1, Running));
    let attempts = vec![(begun_since, status(Attempt::FIRST, Running))];
    let (node, _) = cluster.run(|draft| register_node(draft, Registration { attempts, ..numbered(6) }, LEASE)).unwrap();
    assert_eq!((node.state, node.registration_number), (Ready, 6));
}

#[test]
fn a_worker_that_does_not_count_its_registrations_overtakes_those_before() {
    let mut cluster = Cluster::new(0);
    let numbered = |registration_number| Registration { registration_number, ..registration(1) };
    cluster.run(|draft| register_node(draft, numbered(5), LEASE)).unwrap();
    let (node, _) = cluster.run(|draft| register_node(draft, numbered(0), LEASE)).unwrap();
    assert_eq!(node.registration_number, 6);
    assert!(cluster.run(|draft| register_node(draft, numbered(6), LEASE)).is_err());
}

#[test]
fn only_the_session_of_the_newest_registration_speaks_for_a_node() {
    let mut cluster = Cluster::new(1);
    let before = Registered::newest_of(cluster.state.node(node_id(1)).unwrap());
    assert_eq!(cluster.run(|draft| before.check(draft)), Ok(()));
    let (node, _) = cluster.run(|draft| register_node(draft, registration(1), LEASE)).unwrap();
    let overtaken = Error::RegistrationOvertaken { node: "node-1".to_owned(), number: 1, last: 2 };
    assert_eq!(cluster.run(|draft| before.check(draft)), Err(overtaken));
    assert_eq!(cluster.run(|draft| Registered::newest_of(&node).check(draft)), Ok(()));
}

#[test]
fn an_attempt_that_was_replaced_does_not_come_back_with_its_node() {
    let mut cluster = Cluster::new(2);
    let task_id = cluster.running(spec(), 1);
    down(&mut cluster, 1);
    cluster.lose_tasks_of_down_nodes();
    cluster.place(task_id, 2);
    let attempts = vec![(task_id, status(Attempt::FIRST, Running))];
    let (node, _) =
        cluster.run(|draft| register_node(draft, Registration { attempts, ..registration(1) }, LEASE)).unwrap();
    assert_eq!(node.state, Ready);
    assert_eq!(cluster.task_state(task_id), (2, Scheduled));
    assert_eq!(cluster.state.tasks_on(node_id(1)).count(), 0);
}

#[test]
fn a_runtime_that_does_not_answer_takes_no_tasks_until_it_does() {
    let mut cluster = Cluster::new(1);
    let runs = cluster.running(spec(), 1);
    let health = |runtimes: &[RuntimeKind], problems: &[(RuntimeKind, &str)]| RuntimeHealth {
        runtimes: runtimes.iter().copied().collect(),
        problems: problems.iter().map(|(kind, problem)| (*kind, (*problem).to_owned())).collect(),
    };
    let began = cluster.now;
    let hangs = health(&[], &[(RuntimeKind::Docker, "hangs")]);
    cluster.run(|draft| set_runtime_health(draft, node_id(1), hangs.clone()));
    let told = cluster.last_batch.changes.last().unwrap().event.message.clone();
    assert!(told.contains("docker") && told.contains("hangs"), "{told}");
    cluster.now = began + Duration::from_secs(60);
    let still = health(&[], &[(RuntimeKind::Docker, "still hangs")]);
    cluster.run(|draft| set_runtime_health(draft, node_id(1), still));
    let node = cluster.state.node(node_id(1)).unwrap().clone();
    let problem = &node.runtime_problems[&RuntimeKind::Docker];
    assert_eq!((problem.problem.as_str(), problem.since), ("still hangs", began));
    assert!(cluster.state.node_view(&node, None).runtimes.is_empty(), "no scheduler sends it a container");
    assert_eq!(cluster.task_state(runs), (1, Running));

    cluster.run(|draft| set_runtime_health(draft, node_id(1), health(&[RuntimeKind::Docker], &[])));
    let node = cluster.state.node(node_id(1)).unwrap();
    assert!(node.runtime_problems.is_empty() && node.description.runtimes.contains(&RuntimeKind::Docker));
}

#[test]
fn registering_again_without_news_changes_only_the_number() {
    let mut cluster = Cluster::new(1);
    let before = Node::clone(cluster.state.node(node_id(1)).unwrap());
    let (after, _) = cluster.run(|draft| register_node(draft, registration(1), LEASE)).unwrap();
    let expected = Node { registration_number: 2, revision: after.revision, updated_at: after.updated_at, ..before };
    assert_eq!(*after, expected);
    assert_eq!(cluster.last_batch.changes.len(), 1);
}

#[test]
fn the_name_of_a_node_that_is_in_touch_can_not_be_taken() {
    let mut cluster = Cluster::new(1);
    let mut rival = registration(2);
    rival.description.name = "node-1".to_owned();
    for state in [Ready, Suspect] {
        cluster.run(|draft| set_node_state(draft, node_id(1), state, "test"));
        let refused = cluster.run(|draft| register_node(draft, rival.clone(), LEASE)).unwrap_err();
        assert_eq!(refused, Error::NodeNameInUse { name: "node-1".to_owned(), holder: node_id(1) });
        assert!(cluster.last_batch.is_empty());
    }
}

#[test]
fn the_name_of_a_down_node_is_not_taken_over_while_it_may_run_tasks_that_must_never_run_twice() {
    let mut cluster = Cluster::new(1);
    let task_id = cluster.running(leased(), 1);
    down(&mut cluster, 1);
    let mut rival = registration(2);
    rival.description.name = "node-1".to_owned();
    let refused = cluster.run(|draft| register_node(draft, rival.clone(), LEASE)).unwrap_err();
    assert_eq!(refused, Error::NodeNameIsLeased { name: "node-1".to_owned(), holder: node_id(1), tasks: 1 });
    cluster.lose_tasks_of_down_nodes();
    cluster.run(|draft| register_node(draft, rival, LEASE)).unwrap();
    assert_eq!(cluster.task_state(task_id), (2, Pending));
}

#[test]
fn a_later_attempt_than_the_manager_knows_is_taken_over() {
    let mut cluster = Cluster::new(2);
    cluster.restore();
    let (elsewhere, ended) = (cluster.running(spec(), 2), cluster.running(spec(), 1));
    let attempts = vec![(elsewhere, status(Attempt(3), Running)), (ended, status(Attempt(2), Completed))];
    cluster.run(|draft| register_node(draft, Registration { attempts, ..registration(1) }, LEASE)).unwrap();
    assert_eq!(cluster.task_state(elsewhere), (3, Running));
    assert_eq!(cluster.task(elsewhere).status.node_id, Some(node_id(1)));
    let overtaken = &cluster.task(elsewhere).past_attempts[0];
    assert_eq!((overtaken.attempt, overtaken.state), (Attempt::FIRST, Lost));
    assert_eq!(cluster.state.tasks_on(node_id(2)).count(), 0);
    assert_eq!(cluster.task_state(ended), (2, Completed));
    // Its end counts: it never runs again.
    assert_eq!(cluster.state.placeable(cluster.now).count(), 0);
}

#[test]
fn an_attempt_that_no_manager_gave_is_refused_and_counted() {
    for restored in [false, true] {
        let mut cluster = Cluster::new(1);
        if restored {
            cluster.restore();
        }
        let (task_id, known) = (cluster.running(spec(), 1), cluster.running(spec(), 1));
        let attempts = vec![(task_id, status(Attempt(u32::MAX), Running)), (known, status(Attempt::FIRST, Completed))];
        let registration = Registration { attempts: attempts.clone(), ..registration(1) };
        let (_, counts) = cluster.run(|draft| register_node(draft, registration, LEASE)).unwrap();
        assert_eq!(counts, ReportCounts { applied: 1, stale: 1 });
        // What the worker should have it has not; the task goes on with the next number.
        assert_eq!(cluster.task_state(task_id), (2, Pending));
        cluster.place(task_id, 1);
        let counts = cluster.run(|draft| apply_reports(draft, node_id(1), attempts));
        assert_eq!(counts, ReportCounts { applied: 0, stale: 2 });
        assert_eq!(cluster.report(1, task_id, Running).applied, 1);
        assert_eq!(cluster.task_state(task_id), (2, Running));
    }
}

#[test]
fn the_name_of_a_down_node_is_taken_over_and_its_attempts_are_lost() {
    let mut cluster = Cluster::new(1);
    let waiting = TaskSpec { on_node_loss: OnNodeLoss::Wait(Duration::from_secs(3600)), ..spec() };
    let task_id = cluster.running(waiting, 1);
    let stopping = cluster.running(spec(), 1);
    cluster.run(|draft| stop_task(draft, stopping)).unwrap();
    down(&mut cluster, 1);
    let mut heir = registration(2);
    heir.description.name = "node-1".to_owned();
    cluster.run(|draft| register_node(draft, heir, LEASE)).unwrap();
    assert!(cluster.state.node(node_id(1)).is_none());
    assert_eq!(cluster.state.node_by_name("node-1").unwrap().node_id, node_id(2));
    assert_eq!(cluster.state.nodes().count(), 1);
    assert_eq!(cluster.task_state(task_id), (2, Pending));
    assert_eq!(cluster.task_state(stopping), (1, Lost));
}

#[test]
fn a_node_that_comes_back_under_another_name_is_found_by_that_only() {
    let mut cluster = Cluster::new(1);
    let mut renamed = registration(1);
    renamed.description.name = "other".to_owned();
    cluster.run(|draft| register_node(draft, renamed, LEASE)).unwrap();
    assert!(cluster.state.node_by_name("node-1").is_none());
    assert_eq!(cluster.state.find_node("other").unwrap().node_id, node_id(1));
}

#[test]
fn what_users_set_on_a_node_survives_its_registrations() {
    let mut cluster = Cluster::new(1);
    let labels = BTreeMap::from([("disk".to_owned(), "ssd".to_owned())]);
    cluster.run(|draft| set_cordon(draft, "node-1", true)).unwrap();
    cluster.run(|draft| set_user_labels(draft, "node-1", labels.clone(), None)).unwrap();
    down(&mut cluster, 1);
    let (node, _) = cluster.run(|draft| register_node(draft, registration(1), LEASE)).unwrap();
    assert!(node.cordoned);
    assert_eq!(node.user_labels, labels);
}

#[test]
fn labels_are_not_set_on_a_node_that_changed_since_the_caller_looked() {
    let mut cluster = Cluster::new(1);
    let etag = davit_proto::convert::etag(cluster.state.node_by_name("node-1").unwrap().revision);
    cluster.run(|draft| set_cordon(draft, "node-1", true)).unwrap();
    let refused = cluster.run(|draft| set_user_labels(draft, "node-1", BTreeMap::new(), Some(&etag))).unwrap_err();
    assert!(matches!(refused, Error::NodeHasChanged { expected, .. } if expected == etag));
}

#[test]
fn an_unknown_node_is_refused_by_its_name() {
    let mut cluster = Cluster::new(1);
    let refused = cluster.run(|draft| set_cordon(draft, "nowhere", true)).unwrap_err();
    assert_eq!(refused, Error::NodeNotFound { node: "nowhere".to_owned() });
    cluster.run(|draft| set_node_state(draft, node_id(9), Down, "unknown"));
    assert!(cluster.last_batch.is_empty());
}
