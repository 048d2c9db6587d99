//! Draining a node: what begins, how it goes on, how it ends.

use std::collections::BTreeMap;
use std::time::Duration;

use davit_core::drain::{Drain, KEPT_STUCK_TASKS};
use davit_core::id::{Attempt, TaskId};
use davit_core::node::Node;
use davit_core::node::NodeState::{Down, Ready, Suspect};
use davit_core::placement::RuntimeKind;
use davit_core::spec::{OnNodeLoss, TaskSpec};
use davit_core::state::TaskState;
use davit_core::state::TaskState::{Completed, Failed, Lost, Pending, Scheduled, Stopped, Stopping};
use davit_proto::convert::RuntimeHealth;

use crate::commands::test_support::{
    Cluster, LEASE, node_id, of_priority, placed_by, registration, spec, status, task_id,
};
use crate::commands::{
    Error, Registration, advance_drains, cancel_drain, drain_for_worker, drain_node, has_drain_news, move_drained,
    note_stuck, register_node, remove_node, set_cordon, set_node_state, set_runtime_health, settle_claims, stop_task,
};
use crate::reconcile::{DrainNext, Running, next_of_drain, why_stuck};

fn node(cluster: &Cluster, number: u64) -> Node {
    Node::clone(cluster.state.node(node_id(number)).unwrap())
}

/// The word of workers on whose nodes nothing runs.
fn nothing_runs() -> Running {
    (1..=2).map(|number| (node_id(number), 0)).collect()
}

fn drain(cluster: &Cluster, number: u64) -> Drain {
    node(cluster, number).drain.unwrap()
}

fn next(cluster: &Cluster, number: u64) -> DrainNext {
    let node = node(cluster, number);
    next_of_drain(&cluster.state, &node, &drain(cluster, number), &nothing_runs(), cluster.now).next
}

/// The tasks that may move now, and how many of them.
fn may_move(cluster: &Cluster, number: u64) -> (Vec<TaskId>, usize) {
    match next(cluster, number) {
        DrainNext::Move { candidates, at_most } => (candidates.iter().map(|task| task.task_id).collect(), at_most),
        other => panic!("{other:?}"),
    }
}

fn order(cluster: &mut Cluster, task: TaskId, to: u64) -> Result<(), Error> {
    let key = cluster.key(task);
    cluster.run(|draft| move_drained(draft, node_id(1), key, node_id(to)))
}

fn begin(cluster: &mut Cluster, limit: Option<Duration>, max_parallel: u32) {
    cluster.run(|draft| drain_node(draft, "node-1", limit, max_parallel)).unwrap();
}

#[test]
fn tasks_move_a_few_at_a_time_and_count_as_moving_until_they_run_elsewhere() {
    let mut cluster = Cluster::new(2);
    let tasks: Vec<TaskId> = (0..3).map(|_| cluster.running(spec(), 1)).collect();
    begin(&mut cluster, None, 2);
    assert!(node(&cluster, 1).cordoned);
    assert_eq!(may_move(&cluster, 1), (tasks.clone(), 2));
    order(&mut cluster, tasks[0], 2).unwrap();
    assert_eq!(may_move(&cluster, 1), (tasks[1..].to_vec(), 1));
    order(&mut cluster, tasks[1], 2).unwrap();
    assert_eq!(next(&cluster, 1), DrainNext::Wait);
    assert!(matches!(order(&mut cluster, tasks[2], 2), Err(Error::NotDrained { .. })), "enough are on the move");

    cluster.report(1, tasks[0], Stopped);
    assert_eq!(cluster.run(settle_claims), 1);
    assert_eq!(cluster.task_state(tasks[0]), (2, Scheduled));
    assert!(!has_drain_news(&cluster.state, &nothing_runs(), cluster.now), "it does not run yet");
    assert_eq!(next(&cluster, 1), DrainNext::Wait);
    cluster.report(2, tasks[0], TaskState::Running);
    assert!(has_drain_news(&cluster.state, &nothing_runs(), cluster.now));
    cluster.run(|draft| advance_drains(draft, &nothing_runs()));
    let seen = drain(&cluster, 1);
    assert_eq!((seen.moved_count, seen.moving.len()), (1, 1));
    assert_eq!(may_move(&cluster, 1), (vec![tasks[2]], 1));
}

#[test]
fn a_node_without_tasks_is_drained_and_stays_cordoned() {
    let mut cluster = Cluster::new(2);
    let task = cluster.running(spec(), 1);
    begin(&mut cluster, None, 5);
    order(&mut cluster, task, 2).unwrap();
    cluster.report(1, task, Stopped);
    cluster.run(settle_claims);
    cluster.run(|draft| advance_drains(draft, &nothing_runs()));
    assert_eq!(drain(&cluster, 1).drained_at, Some(cluster.now));
    assert!(node(&cluster, 1).cordoned);
    // What was still starting elsewhere is counted all the same.
    cluster.report(2, task, TaskState::Running);
    cluster.run(|draft| advance_drains(draft, &nothing_runs()));
    assert_eq!((drain(&cluster, 1).moved_count, drain(&cluster, 1).moving.len()), (1, 0));
    assert!(!has_drain_news(&cluster.state, &nothing_runs(), cluster.now));
    cluster.run(|draft| advance_drains(draft, &nothing_runs()));
    assert!(cluster.last_batch.is_empty(), "a second look changes nothing");
}

#[test]
fn a_move_that_fails_elsewhere_or_is_stopped_by_a_user_makes_room_for_the_next() {
    let mut cluster = Cluster::new(2);
    let (failing, stopped) = (cluster.running(spec(), 1), cluster.running(spec(), 1));
    let left = cluster.running(spec(), 1);
    begin(&mut cluster, None, 2);
    order(&mut cluster, failing, 2).unwrap();
    order(&mut cluster, stopped, 2).unwrap();
    cluster.report(1, failing, Stopped);
    cluster.run(settle_claims);
    cluster.report(2, failing, Failed);
    cluster.run(|draft| stop_task(draft, stopped)).unwrap();
    cluster.report(1, stopped, Stopped);
    cluster.run(|draft| advance_drains(draft, &nothing_runs()));
    assert_eq!(drain(&cluster, 1).moved_count, 2);
    assert_eq!(may_move(&cluster, 1), (vec![left], 2));
}

#[test]
fn what_completes_before_it_is_stopped_for_its_move_never_runs_again() {
    let mut cluster = Cluster::new(2);
    let job = cluster.running(spec(), 1);
    begin(&mut cluster, None, 1);
    order(&mut cluster, job, 2).unwrap();
    cluster.report(1, job, Completed);
    assert_eq!(cluster.task_state(job), (1, Completed));
    let task = cluster.task(job);
    assert_eq!((task.claim.clone(), task.wanted_attempt), (None, task.status.attempt));
    cluster.run(|draft| advance_drains(draft, &nothing_runs()));
    assert_eq!((drain(&cluster, 1).moved_count, drain(&cluster, 1).drained_at), (1, Some(cluster.now)));
}

#[test]
fn what_matters_most_moves_first() {
    let mut cluster = Cluster::new(2);
    let (low, high) = (cluster.running(of_priority(-1), 1), cluster.running(of_priority(7), 1));
    begin(&mut cluster, None, 1);
    assert_eq!(may_move(&cluster, 1), (vec![high, low], 1));
}

#[test]
fn at_the_deadline_everything_left_is_stopped_and_waits_for_a_place() {
    let mut cluster = Cluster::new(2);
    let (moving, left) = (cluster.running(spec(), 1), cluster.running(spec(), 1));
    begin(&mut cluster, Some(Duration::from_secs(60)), 1);
    order(&mut cluster, moving, 2).unwrap();
    cluster.advance(Duration::from_secs(59));
    assert!(!has_drain_news(&cluster.state, &nothing_runs(), cluster.now));
    cluster.advance(Duration::from_secs(1));
    assert!(has_drain_news(&cluster.state, &nothing_runs(), cluster.now));
    cluster.run(|draft| advance_drains(draft, &nothing_runs()));
    assert_eq!(drain(&cluster, 1).forced_count, 1);
    assert!(!has_drain_news(&cluster.state, &nothing_runs(), cluster.now), "it is stopped once");
    cluster.report(1, left, Stopped);
    assert_eq!(cluster.task_state(left), (2, Pending));
    assert!(cluster.task(left).status.reason.contains("node node-1 is drained"), "{:?}", cluster.task(left).status);
    cluster.report(1, moving, Stopped);
    cluster.run(|draft| advance_drains(draft, &nothing_runs()));
    assert!(drain(&cluster, 1).drained_at.is_some());
}

#[test]
fn nothing_is_told_to_move_by_a_worker_that_is_not_in_touch() {
    let mut cluster = Cluster::new(2);
    cluster.running(spec(), 1);
    begin(&mut cluster, Some(Duration::from_secs(60)), 1);
    cluster.run(|draft| set_node_state(draft, node_id(1), Suspect, "its session broke"));
    assert_eq!(next(&cluster, 1), DrainNext::Wait);
    cluster.advance(Duration::from_secs(60));
    assert!(matches!(next(&cluster, 1), DrainNext::Force { .. }));
}

#[test]
fn a_node_that_goes_down_is_not_drained_before_it_is_back_and_what_was_lost_is_counted() {
    let mut cluster = Cluster::new(2);
    let (moving, left, stopped) = (cluster.running(spec(), 1), cluster.running(spec(), 1), cluster.running(spec(), 1));
    begin(&mut cluster, None, 1);
    order(&mut cluster, moving, 2).unwrap();
    cluster.run(|draft| stop_task(draft, stopped)).unwrap();
    cluster.run(|draft| set_node_state(draft, node_id(1), Down, "nothing was heard"));
    cluster.lose_tasks_of_down_nodes();
    cluster.run(|draft| advance_drains(draft, &nothing_runs()));
    let seen = drain(&cluster, 1);
    assert_eq!((seen.moved_count, seen.lost_count, seen.moving.len(), seen.drained_at), (0, 3, 0, None));
    assert_eq!(cluster.task_state(left), (2, Pending));
    assert!(!has_drain_news(&cluster.state, &nothing_runs(), cluster.now), "it may still run what it had");

    cluster.run(|draft| register_node(draft, registration(1), LEASE)).unwrap();
    for said in [Running::new(), [(node_id(1), 2)].into()] {
        assert!(!has_drain_news(&cluster.state, &said, cluster.now), "it runs yet: {said:?}");
    }
    let empty: Running = [(node_id(1), 0)].into();
    let nobody = RuntimeHealth { runtimes: [].into(), problems: [].into() };
    cluster.run(|draft| set_runtime_health(draft, node_id(1), nobody));
    assert!(!has_drain_news(&cluster.state, &empty, cluster.now), "its worker has not heard of its engine yet");
    let hangs = || [(RuntimeKind::Docker, "hangs".to_owned())].into();
    let half = RuntimeHealth { runtimes: [RuntimeKind::Process].into(), problems: hangs() };
    cluster.run(|draft| set_runtime_health(draft, node_id(1), half.clone()));
    assert!(!has_drain_news(&cluster.state, &empty, cluster.now), "its engine has not told what it runs");
    // Where nothing was LOST, all that may run there is known.
    cluster.run(|draft| set_runtime_health(draft, node_id(2), half));
    cluster.run(|draft| drain_node(draft, "node-2", None, 1)).unwrap();
    assert!(has_drain_news(&cluster.state, &[(node_id(2), 0)].into(), cluster.now));
    cluster.run(|draft| cancel_drain(draft, "node-2")).unwrap();
    let (runtimes, problems) = ([RuntimeKind::Docker].into(), [].into());
    cluster.run(|draft| set_runtime_health(draft, node_id(1), RuntimeHealth { runtimes, problems }));
    assert!(has_drain_news(&cluster.state, &empty, cluster.now));
    cluster.run(|draft| advance_drains(draft, &empty));
    assert_eq!(drain(&cluster, 1).drained_at, Some(cluster.now));
    let events: Vec<_> = cluster.last_batch.changes.iter().map(|change| change.event.message.clone()).collect();
    assert_eq!(events, ["node node-1 is drained: it has no task any more; 3 tasks were LOST while it was down"]);
}

#[test]
fn what_was_to_stop_anyway_may_run_on_a_node_that_is_down_too() {
    let mut cluster = Cluster::new(2);
    let task = cluster.running(spec(), 1);
    cluster.run(|draft| stop_task(draft, task)).unwrap();
    begin(&mut cluster, None, 1);
    cluster.advance(Duration::from_secs(1));
    cluster.run(|draft| set_node_state(draft, node_id(1), Down, "nothing was heard"));
    cluster.lose_tasks_of_down_nodes();
    cluster.run(|draft| advance_drains(draft, &nothing_runs()));
    assert_eq!((drain(&cluster, 1).lost_count, drain(&cluster, 1).drained_at), (1, None));
}

#[test]
fn what_the_deadline_was_to_stop_and_was_lost_counts_as_lost() {
    let mut cluster = Cluster::new(2);
    let (moving, stopping, _) = (cluster.running(spec(), 1), cluster.running(spec(), 1), cluster.running(spec(), 1));
    begin(&mut cluster, Some(Duration::from_secs(60)), 1);
    order(&mut cluster, moving, 2).unwrap();
    cluster.run(|draft| stop_task(draft, stopping)).unwrap();
    cluster.advance(Duration::from_secs(60));
    cluster.run(|draft| advance_drains(draft, &nothing_runs()));
    assert_eq!(drain(&cluster, 1).forced_count, 1, "one moves, and one was stopped by a user");
    cluster.run(|draft| set_node_state(draft, node_id(1), Down, "nothing was heard"));
    cluster.lose_tasks_of_down_nodes();
    assert_eq!((drain(&cluster, 1).forced_count, drain(&cluster, 1).lost_count), (0, 3));
}

#[test]
fn what_the_deadline_was_not_to_stop_and_was_lost_is_not_taken_from_what_it_stopped() {
    let mut cluster = Cluster::new(2);
    let [moving, stopping, kept] = [(); 3].map(|()| cluster.running(spec(), 1));
    begin(&mut cluster, Some(Duration::from_secs(60)), 1);
    order(&mut cluster, moving, 2).unwrap();
    cluster.run(|draft| stop_task(draft, stopping)).unwrap();
    cluster.advance(Duration::from_secs(60));
    cluster.run(|draft| advance_drains(draft, &nothing_runs()));
    assert_eq!(drain(&cluster, 1).forced_count, 1);
    let attempts = vec![(kept, status(Attempt::FIRST, Stopping))];
    cluster.run(|draft| register_node(draft, Registration { attempts, ..registration(1) }, LEASE)).unwrap();
    assert_eq!((drain(&cluster, 1).forced_count, drain(&cluster, 1).lost_count), (1, 2));
}

#[test]
fn what_fitted_nowhere_else_and_was_lost_is_stuck_no_longer() {
    let mut cluster = Cluster::new(2);
    let task = cluster.running(spec(), 1);
    begin(&mut cluster, None, 1);
    cluster.run(|draft| note_stuck(draft, node_id(1), &[(task, "all is full".to_owned())].into()));
    assert_eq!(drain(&cluster, 1).stuck_count, 1);
    cluster.run(|draft| set_node_state(draft, node_id(1), Down, "nothing was heard"));
    cluster.lose_tasks_of_down_nodes();
    assert_eq!((drain(&cluster, 1).stuck_count, drain(&cluster, 1).stuck.len()), (0, 0));
}

#[test]
fn a_node_that_is_down_already_is_drained_once_it_is_back() {
    let mut cluster = Cluster::new(2);
    cluster.running(spec(), 1);
    cluster.run(|draft| set_node_state(draft, node_id(1), Down, "nothing was heard"));
    cluster.lose_tasks_of_down_nodes();
    begin(&mut cluster, None, 1);
    assert!(!has_drain_news(&cluster.state, &nothing_runs(), cluster.now));
    cluster.run(|draft| register_node(draft, registration(1), LEASE)).unwrap();
    cluster.run(|draft| advance_drains(draft, &nothing_runs()));
    assert!(drain(&cluster, 1).drained_at.is_some());
}

#[test]
fn a_node_that_was_emptied_before_its_worker_went_is_drained_although_it_is_down() {
    let mut cluster = Cluster::new(2);
    let task = cluster.running(spec(), 1);
    begin(&mut cluster, None, 1);
    cluster.advance(Duration::from_secs(1));
    order(&mut cluster, task, 2).unwrap();
    cluster.report(1, task, Stopped);
    cluster.run(|draft| set_node_state(draft, node_id(1), Down, "its worker said goodbye"));
    cluster.run(|draft| advance_drains(draft, &nothing_runs()));
    assert!(drain(&cluster, 1).drained_at.is_some());
}

#[test]
fn why_tasks_stay_is_kept_of_some_and_counted_of_all() {
    let mut cluster = Cluster::new(2);
    begin(&mut cluster, None, 1);
    let stuck: BTreeMap<TaskId, String> = (0..50).map(|nth| (task_id(nth), "all is full".to_owned())).collect();
    cluster.run(|draft| note_stuck(draft, node_id(1), &stuck));
    let seen = drain(&cluster, 1);
    assert_eq!((seen.stuck_count, seen.stuck.len()), (50, KEPT_STUCK_TASKS));
    cluster.run(|draft| note_stuck(draft, node_id(1), &stuck));
    assert!(cluster.last_batch.is_empty(), "told once");
    cluster.run(|draft| note_stuck(draft, node_id(1), &BTreeMap::new()));
    assert_eq!(drain(&cluster, 1).stuck_count, 0);
}

#[test]
fn a_task_that_no_other_node_is_right_for_is_told_from_one_that_finds_no_room() {
    let mut cluster = Cluster::new(1);
    let mut bound = spec();
    bound.constraints = vec!["node.name == node-1".parse().unwrap()];
    let (bound, free) = (cluster.running(bound, 1), cluster.running(placed_by(Default::default()), 1));
    let why =
        |cluster: &Cluster, task: TaskId| why_stuck(&cluster.state, cluster.task(task), &node(cluster, 1), "full");
    assert_eq!(why(&cluster, bound), "there is no other node");
    cluster.run(|draft| register_node(draft, registration(2), LEASE)).unwrap();
    assert_eq!(why(&cluster, bound), "it is bound to this node: no other one is what it asks for (full)");
    assert_eq!(why(&cluster, free), "full");
}

#[test]
fn a_drain_that_is_asked_for_again_goes_on_with_the_new_pace() {
    let mut cluster = Cluster::new(2);
    let task = cluster.running(spec(), 1);
    cluster.running(spec(), 1);
    begin(&mut cluster, None, 1);
    order(&mut cluster, task, 2).unwrap();
    let began = drain(&cluster, 1);
    cluster.advance(Duration::from_secs(5));
    begin(&mut cluster, Some(Duration::from_secs(10)), 3);
    let deadline = Some(cluster.now + Duration::from_secs(10));
    assert_eq!(drain(&cluster, 1), Drain { deadline, max_parallel: 3, ..began });
    begin(&mut cluster, Some(Duration::from_secs(10)), 3);
    assert!(cluster.last_batch.is_empty(), "nothing changed");
}

#[test]
fn a_node_without_tasks_is_listened_to_until_its_worker_says_that_nothing_runs_there() {
    let mut cluster = Cluster::new(2);
    begin(&mut cluster, None, 1);
    let (node, drain) = (node(&cluster, 1), drain(&cluster, 1));
    let after = |running: &Running| next_of_drain(&cluster.state, &node, &drain, running, cluster.now).next;
    assert_eq!(after(&Running::new()), DrainNext::AwaitWord, "it has said nothing since it registered");
    assert_eq!(after(&Running::from([(node_id(1), 2)])), DrainNext::AwaitWord);
    assert_eq!(after(&Running::from([(node_id(1), 0)])), DrainNext::Finish);
    let down = Node { state: Down, ..node.clone() };
    let next = next_of_drain(&cluster.state, &down, &drain, &Running::new(), cluster.now).next;
    assert_eq!(next, DrainNext::Wait, "it says nothing before it registers, which changes the state");
}

#[test]
fn cancelling_keeps_the_cordon_and_uncordoning_cancels() {
    let mut cluster = Cluster::new(2);
    cluster.running(spec(), 1);
    begin(&mut cluster, None, 1);
    cluster.run(|draft| cancel_drain(draft, "node-1")).unwrap();
    assert_eq!((node(&cluster, 1).drain, node(&cluster, 1).cordoned), (None, true));
    assert_eq!(cluster.state.drained_nodes().count(), 0);
    cluster.run(|draft| cancel_drain(draft, "node-1")).unwrap();
    assert!(cluster.last_batch.is_empty(), "there is nothing to cancel");
    begin(&mut cluster, None, 1);
    assert_eq!(cluster.state.drained_nodes().count(), 1);
    cluster.run(|draft| set_cordon(draft, "node-1", false)).unwrap();
    assert_eq!((node(&cluster, 1).drain, node(&cluster, 1).cordoned), (None, false));
}

#[test]
fn a_drain_that_a_worker_asked_for_ends_when_it_is_back_and_a_users_does_not() {
    let mut cluster = Cluster::new(2);
    cluster.running(spec(), 1);
    cluster.run(|draft| drain_for_worker(draft, node_id(1), 5)).unwrap();
    assert!(node(&cluster, 1).cordoned && drain(&cluster, 1).deadline.is_none());
    cluster.run(|draft| register_node(draft, registration(1), LEASE)).unwrap();
    assert_eq!((node(&cluster, 1).drain, node(&cluster, 1).cordoned), (None, false));

    // A cordon of a user's outlives it, whenever it came.
    cluster.run(|draft| drain_for_worker(draft, node_id(1), 5)).unwrap();
    cluster.run(|draft| set_cordon(draft, "node-1", true)).unwrap();
    cluster.run(|draft| register_node(draft, registration(1), LEASE)).unwrap();
    assert_eq!((node(&cluster, 1).drain, node(&cluster, 1).cordoned), (None, true));

    begin(&mut cluster, None, 1);
    cluster.run(|draft| drain_for_worker(draft, node_id(1), 5)).unwrap();
    cluster.run(|draft| register_node(draft, registration(1), LEASE)).unwrap();
    assert!(node(&cluster, 1).drain.is_some() && node(&cluster, 1).cordoned);
}

#[test]
fn a_worker_that_registers_while_it_waits_for_its_drain_is_given_nothing_in_between() {
    let waits = || Registration { draining: true, ..registration(1) };
    let mut cluster = Cluster::new(2);
    let task = cluster.running(spec(), 1);
    cluster.run(|draft| drain_for_worker(draft, node_id(1), 5)).unwrap();
    let before = drain(&cluster, 1);
    cluster.advance(Duration::from_secs(1));
    let attempts = vec![(task, status(Attempt::FIRST, TaskState::Running))];
    let back = Registration { attempts, ..waits() };
    cluster.run(|draft| register_node(draft, back, LEASE)).unwrap();
    assert_eq!((drain(&cluster, 1), node(&cluster, 1).cordoned), (before, true), "it goes on");

    // A manager that knows nothing of it, or of the node.
    for known in [true, false] {
        let mut cluster = Cluster::new(if known { 1 } else { 0 });
        let (node, _) = cluster.run(|draft| register_node(draft, waits(), LEASE)).unwrap();
        assert!(node.cordoned && node.drain.is_some());
        assert_eq!(cluster.state.drained_nodes().count(), 1);
        cluster.run(|draft| register_node(draft, registration(1), LEASE)).unwrap();
        assert!(!cluster.state.node(node_id(1)).unwrap().cordoned);
    }
}

#[test]
fn a_node_that_may_be_needed_is_removed_only_by_force() {
    let mut cluster = Cluster::new(2);
    let task = cluster.running(spec(), 1);
    let refused = cluster.run(|draft| remove_node(draft, "node-1", false)).unwrap_err();
    let Error::NodeInUse { hindrances, .. } = &refused else { panic!("{refused:?}") };
    assert_eq!(*hindrances, ["its worker may be in touch, it is READY", "it has 1 task"]);
    assert!(cluster.last_batch.is_empty());
    cluster.run(|draft| remove_node(draft, "node-1", true)).unwrap();
    assert!(cluster.state.node(node_id(1)).is_none());
    assert_eq!(cluster.task_state(task), (2, Pending));
    assert_eq!(cluster.task(task).past_attempts[0].state, Lost);

    cluster.run(|draft| set_node_state(draft, node_id(2), Down, "nothing was heard"));
    cluster.run(|draft| remove_node(draft, "node-2", false)).unwrap();
    assert_eq!(cluster.state.node_count(), 0);
}

#[test]
fn a_node_with_a_task_that_must_never_run_twice_is_not_removed_even_by_force() {
    let mut cluster = Cluster::new(1);
    let task = cluster.running(TaskSpec { on_node_loss: OnNodeLoss::StopAndReplace, ..spec() }, 1);
    for state in [Ready, Down] {
        cluster.run(|draft| set_node_state(draft, node_id(1), state, "test"));
        let refused = cluster.run(|draft| remove_node(draft, "node-1", true)).unwrap_err();
        assert_eq!(refused, Error::NodeIsLeased { node: "node-1".to_owned(), tasks: 1 });
        let advice = refused.to_string();
        assert!(advice.contains("drain it, or stop its worker") && !advice.contains("remove it with"), "{advice}");
    }
    cluster.lose_tasks_of_down_nodes();
    cluster.run(|draft| remove_node(draft, "node-1", false)).unwrap();
    assert_eq!(cluster.task_state(task), (2, Pending));
}

#[test]
fn a_worker_whose_node_was_removed_joins_as_new() {
    let mut cluster = Cluster::new(1);
    let task = cluster.running(spec(), 1);
    begin(&mut cluster, None, 1);
    cluster.run(|draft| remove_node(draft, "node-1", true)).unwrap();
    assert_eq!(cluster.state.drained_nodes().count(), 0);
    cluster.advance(Duration::from_secs(1));
    let attempts = vec![(task, status(Attempt::FIRST, TaskState::Running))];
    let back = Registration { attempts, ..registration(1) };
    let (node, _) = cluster.run(|draft| register_node(draft, back, LEASE)).unwrap();
    assert_eq!((node.joined_at, node.cordoned, node.drain.clone()), (cluster.now, false, None));
    assert_eq!(cluster.task_state(task), (2, Pending), "what it held before is not believed");
}
