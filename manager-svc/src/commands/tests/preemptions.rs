//! What the scheduler would stop is looked at again before anything is stopped.

use std::collections::BTreeMap;

use davit_core::id::{Attempt, AttemptKey, TaskId};
use davit_core::node::NodeState;
use davit_core::spec::{PlacementPolicy, TaskSpec};
use davit_core::state::TaskState::{Pending, Running, Scheduled, Stopped};

use crate::commands::test_support::{
    Cluster, TASKS_PER_NODE, labelled, node_id, of_priority, placed_by, publishing, spec,
};
use crate::commands::{
    PreemptionOrder, PreemptionReport, commit_preemptions, note_unplaced, set_cordon, set_node_state, settle_claims,
    stop_task,
};

/// What is told of a task that nobody is stopped for.
const FULL: &str = "fits 0 of 2 nodes: 2 lack cpu";

/// A cluster whose node 1 is full of tasks of these priorities; node 2 holds as many of priority 0.
fn full(priorities: [i32; TASKS_PER_NODE as usize]) -> (Cluster, Vec<TaskId>) {
    let mut cluster = Cluster::new(2);
    let tasks = priorities.map(|priority| cluster.running(of_priority(priority), 1));
    for _ in 0..TASKS_PER_NODE {
        cluster.running(spec(), 2);
    }
    (cluster, tasks.to_vec())
}

/// A task of priority 5 that fits nowhere, and says so.
fn waiting(cluster: &mut Cluster, spec: TaskSpec) -> AttemptKey {
    let task_id = cluster.create(spec);
    let key = cluster.key(task_id);
    cluster.run(|draft| note_unplaced(draft, &[(key, FULL.to_owned())]));
    key
}

fn important() -> TaskSpec {
    TaskSpec { name: "db".to_owned(), ..of_priority(5) }
}

fn order(key: AttemptKey, victims: &[TaskId]) -> PreemptionOrder {
    PreemptionOrder { key, node_id: node_id(1), victims: victims.to_vec(), unplaced_reason: FULL.to_owned() }
}

fn preempt(cluster: &mut Cluster, orders: &[PreemptionOrder]) -> PreemptionReport {
    cluster.run(|draft| commit_preemptions(draft, orders))
}

/// Proposes it and expects that nothing at all comes of it; tells why.
fn refused(cluster: &mut Cluster, order: &PreemptionOrder) -> &'static str {
    let report = preempt(cluster, std::slice::from_ref(order));
    assert!(cluster.last_batch.is_empty(), "something changed: {report:?}");
    assert_eq!((report.committed.len(), report.victims, report.left_alone.len()), (0, 0, 1));
    assert_eq!(report.left_alone[0].0, order.key);
    report.left_alone[0].1
}

#[test]
fn only_tasks_of_lower_priority_are_stopped() {
    for (priority, may_be_stopped) in [(-1000, true), (0, true), (4, true), (5, false), (6, false), (1000, false)] {
        let (mut cluster, tasks) = full([priority, 0, 0]);
        let key = waiting(&mut cluster, important());
        if may_be_stopped {
            assert_eq!(preempt(&mut cluster, &[order(key, &tasks[..1])]).committed, [key], "{priority}");
            assert!(!cluster.task(tasks[0]).wants_current_attempt());
        } else {
            assert_eq!(refused(&mut cluster, &order(key, &tasks[..1])), "a victim is not of lower priority");
            assert!(cluster.task(tasks[0]).wants_current_attempt());
            assert_eq!(cluster.task(key.task_id).status.reason, FULL);
        }
    }
}

#[test]
fn one_victim_of_equal_priority_spares_them_all() {
    for at in 0..TASKS_PER_NODE as usize {
        let mut priorities = [0; TASKS_PER_NODE as usize];
        priorities[at] = 5;
        let (mut cluster, tasks) = full(priorities);
        let key = waiting(&mut cluster, important());
        assert_eq!(refused(&mut cluster, &order(key, &tasks)), "a victim is not of lower priority");
        assert!(tasks.iter().all(|task_id| cluster.task(*task_id).wants_current_attempt()));
    }
}

#[test]
fn a_victim_is_stopped_gracefully_reads_for_whom_and_waits_anew() {
    let (mut cluster, tasks) = full([1, 1, 1]);
    let key = waiting(&mut cluster, important());
    let report = preempt(&mut cluster, &[order(key, &tasks[..1])]);
    assert_eq!(report, PreemptionReport { committed: vec![key], left_alone: vec![], victims: 1 });
    let why = "preempted by db (priority 5)";
    assert_eq!(cluster.task_state(tasks[0]), (1, Running), "its worker has the time of its stop policy");
    assert_eq!(cluster.task(tasks[0]).status.reason, why);
    let told: BTreeMap<TaskId, &str> = cluster
        .last_batch
        .changes
        .iter()
        .filter_map(|change| Some((change.event.task_id()?, &*change.event.message)))
        .collect();
    assert_eq!(told[&tasks[0]], format!("attempt 1 is stopped: {why}, task {}", key.task_id));
    assert_eq!(told[&key.task_id], format!("attempt 1 waits: {FULL}; 1 task is stopped for it on node-1"));
    assert_eq!(told.len(), 2);

    cluster.report(1, tasks[0], Stopped);
    assert_eq!(cluster.task_state(tasks[0]), (2, Pending));
    let past = &cluster.task(tasks[0]).past_attempts[0];
    assert_eq!((past.state, &*past.reason), (Stopped, why));
    assert_eq!(cluster.task(tasks[0]).status.reason, format!("{why}; waiting to be placed"));
    assert!(tasks[1..].iter().all(|task_id| cluster.task_state(*task_id) == (1, Running)));
}

#[test]
fn the_room_that_is_made_is_for_the_one_that_it_was_made_for() {
    let (mut cluster, tasks) = full([1, 1, 1]);
    let key = waiting(&mut cluster, important());
    let rival = cluster.create(of_priority(1000));
    preempt(&mut cluster, &[order(key, &tasks[..1])]);
    assert_eq!(cluster.place(rival, 1).committed, 0);
    cluster.report(1, tasks[0], Stopped);
    assert_eq!((cluster.place(rival, 1).committed, cluster.place(tasks[0], 1).committed), (0, 0));
    assert_eq!(cluster.run(settle_claims), 1);
    assert_eq!(cluster.task_state(key.task_id), (1, Scheduled));
    assert_eq!(cluster.task(key.task_id).status.node_id, Some(node_id(1)));
}

#[test]
fn two_orders_do_not_share_a_victim() {
    let (mut cluster, tasks) = full([0, 0, 0]);
    let (one, other) = (waiting(&mut cluster, important()), waiting(&mut cluster, important()));
    let report = preempt(&mut cluster, &[order(one, &tasks[..1]), order(other, &tasks[..1])]);
    assert_eq!((report.committed, report.victims), (vec![one], 1));
    assert_eq!(report.left_alone, [(other, "a victim is no longer there, or is being stopped")]);
    // And one that makes room already is not served twice.
    assert_eq!(refused(&mut cluster, &order(one, &tasks[1..2])), "the task no longer waits");
}

#[test]
fn room_that_is_on_its_way_to_another_does_not_speak_against_a_second_order() {
    let (mut cluster, tasks) = full([0, 0, 0]);
    let orders: Vec<PreemptionOrder> = tasks
        .iter()
        .map(|victim| {
            let key = waiting(&mut cluster, important());
            order(key, &[*victim])
        })
        .collect();
    let report = preempt(&mut cluster, &orders);
    assert_eq!((report.left_alone, report.victims), (vec![], tasks.len()));
    for victim in tasks {
        cluster.report(1, victim, Stopped);
    }
    assert_eq!(cluster.run(settle_claims), orders.len());
}

#[test]
fn room_that_becomes_free_anyway_is_kept_and_nobody_is_stopped_for_it() {
    let (mut cluster, tasks) = full([0, 0, 0]);
    cluster.run(|draft| stop_task(draft, tasks[0])).unwrap();
    let (first, second) = (waiting(&mut cluster, important()), waiting(&mut cluster, important()));
    let report = preempt(&mut cluster, &[order(first, &[]), order(second, &[])]);
    assert_eq!((report.committed, report.victims), (vec![first], 0));
    assert_eq!(report.left_alone, [(second, "it would not fit all the same")], "it is kept for the first");
    let told = format!("{FULL}; room that becomes free on node-1 is kept for it");
    assert_eq!(cluster.task(first.task_id).status.reason, told);
    cluster.report(1, tasks[0], Stopped);
    assert_eq!(cluster.run(settle_claims), 1);
    assert_eq!(cluster.task_state(first.task_id), (1, Scheduled));
    assert!(tasks[1..].iter().all(|task_id| cluster.task(*task_id).wants_current_attempt()));
}

#[test]
fn what_is_not_as_the_scheduler_believed_is_left_alone() {
    type Bend = fn(&mut Cluster, &mut PreemptionOrder, &[TaskId]);
    let table: [(&str, Bend); 11] = [
        ("the task is gone", |_, order, _| order.key.task_id = TaskId(uuid::Uuid::nil())),
        ("the task no longer waits", |_, order, _| order.key.attempt = Attempt(2)),
        ("the task no longer waits", |cluster, order, _| {
            let task_id = order.key.task_id;
            cluster.run(|draft| stop_task(draft, task_id)).unwrap();
        }),
        ("the node is gone", |_, order, _| order.node_id = node_id(9)),
        ("the node takes no tasks", |cluster, _, _| {
            cluster.run(|draft| set_cordon(draft, "node-1", true)).unwrap();
        }),
        ("the node takes no tasks", |cluster, _, _| {
            cluster.run(|draft| set_node_state(draft, node_id(1), NodeState::Suspect, "silent"));
        }),
        ("it would not fit all the same", |_, order, _| order.victims.clear()),
        ("a victim is gone", |_, order, _| order.victims.push(TaskId(uuid::Uuid::nil()))),
        ("a victim is no longer there, or is being stopped", |_, order, _| order.node_id = node_id(2)),
        ("a victim is no longer there, or is being stopped", |cluster, _, tasks| {
            cluster.run(|draft| stop_task(draft, tasks[0])).unwrap();
        }),
        ("a victim is named twice", |_, order, tasks| order.victims.push(tasks[0])),
    ];
    for (expected, bend) in table {
        let (mut cluster, tasks) = full([0, 0, 0]);
        let key = waiting(&mut cluster, important());
        let mut order = order(key, &tasks[..1]);
        bend(&mut cluster, &mut order, &tasks);
        assert_eq!(refused(&mut cluster, &order), expected);
    }
}

#[test]
fn nobody_is_stopped_for_one_that_may_not_or_would_not_fit_all_the_same() {
    let not_allowed = placed_by(PlacementPolicy { priority: 5, may_preempt: false, ..PlacementPolicy::default() });
    let mut twice = important();
    twice.resources.reservation.cpu_millis *= 2;
    let blocked = TaskSpec { placement: important().placement, ..publishing(80) };
    for (spec, expected) in [
        (not_allowed, "the task may not preempt others"),
        (twice, "it would not fit all the same"),
        // A port is taken by a task that stays.
        (blocked, "it would not fit all the same"),
    ] {
        let mut cluster = Cluster::new(1);
        let victim = cluster.running(labelled("app", "web"), 1);
        cluster.running(publishing(80), 1);
        cluster.running(labelled("app", "web"), 1);
        let key = waiting(&mut cluster, spec);
        assert_eq!(refused(&mut cluster, &order(key, &[victim])), expected);
    }
    let (mut cluster, tasks) = full([0, 0, 0]);
    let gang = cluster.create_gang(important(), 2);
    let key = cluster.key(gang[0]);
    assert_eq!(refused(&mut cluster, &order(key, &tasks[..1])), "the task may not preempt others");
}
