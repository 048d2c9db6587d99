//! What happens because time passed.

use std::time::Duration;

use davit_core::node::NodeState;
use davit_core::placement::RuntimeKind;
use davit_core::restart::RestartPolicy;
use davit_core::spec::{OnNodeLoss, TaskSpec};
use davit_core::state::TaskState::{Completed, Lost, Pending, Preparing, Running, Stopped};
use davit_proto::convert::RuntimeHealth;

use crate::commands::test_support::{Cluster, node_id, spec};
use crate::commands::{
    Leases, compact_events, delete_task, has_expired, lose_tasks_of_down_nodes, remove_finished, replace_unbegun,
    set_node_state, set_runtime_health, stop_task,
};

const DAY: Duration = Duration::from_secs(24 * 3600);

fn down(cluster: &mut Cluster) {
    cluster.run(|draft| set_node_state(draft, node_id(1), NodeState::Down, "nothing was heard"));
}

#[test]
fn tasks_of_a_suspect_node_stay_and_those_of_a_down_node_are_replaced_at_once() {
    let mut cluster = Cluster::new(1);
    let task_id = cluster.running(spec(), 1);
    cluster.run(|draft| set_node_state(draft, node_id(1), NodeState::Suspect, "its session broke"));
    cluster.lose_tasks_of_down_nodes();
    assert_eq!(cluster.task_state(task_id), (1, Running));
    down(&mut cluster);
    cluster.lose_tasks_of_down_nodes();
    assert_eq!(cluster.task_state(task_id), (2, Pending));
    assert_eq!(cluster.state.placeable(cluster.now).count(), 1, "without a back-off");
    let lost = &cluster.task(task_id).past_attempts[0];
    assert_eq!((lost.state, lost.node_id), (Lost, Some(node_id(1))));
    assert!(lost.reason.contains("node-1") && lost.reason.contains("nothing was heard"), "{}", lost.reason);
}

#[test]
fn what_a_node_cannot_begin_for_too_long_is_stopped_and_goes_elsewhere_and_what_runs_stays() {
    let timeout = Duration::from_secs(30);
    let mut cluster = Cluster::new(2);
    let (runs, prepares, scheduled) = (cluster.running(spec(), 1), cluster.create(spec()), cluster.create(spec()));
    cluster.place(prepares, 1);
    cluster.report(1, prepares, Preparing);
    cluster.place(scheduled, 1);
    let problems = [(RuntimeKind::Docker, "hangs".to_owned())].into();
    cluster.run(|draft| set_runtime_health(draft, node_id(1), RuntimeHealth { runtimes: [].into(), problems }));
    cluster.advance(timeout - Duration::from_secs(1));
    cluster.run(|draft| replace_unbegun(draft, timeout));
    assert!(cluster.last_batch.is_empty(), "the engine may be back");
    cluster.advance(Duration::from_secs(1));
    cluster.run(|draft| set_node_state(draft, node_id(1), NodeState::Suspect, "its session broke"));
    cluster.run(|draft| replace_unbegun(draft, timeout));
    assert!(cluster.last_batch.is_empty(), "nothing can be told to a node that is not in touch");
    cluster.run(|draft| set_node_state(draft, node_id(1), NodeState::Ready, "its heartbeats arrive again"));
    cluster.run(|draft| replace_unbegun(draft, timeout));
    let why = "node node-1 can't begin it: its docker runtime can't be used: hangs";
    for task_id in [prepares, scheduled] {
        let task = cluster.task(task_id);
        assert!(!task.wants_current_attempt() && task.status.reason == why, "{:?}", task.status);
    }
    assert!(cluster.task(runs).wants_current_attempt());
    cluster.run(|draft| replace_unbegun(draft, timeout));
    assert!(cluster.last_batch.is_empty(), "once");

    // Its worker says that it has not begun it.
    cluster.report(1, prepares, Stopped);
    assert_eq!(cluster.task_state(prepares), (2, Pending));
    assert!(cluster.task(prepares).status.reason.starts_with(why), "{:?}", cluster.task(prepares).status);
    assert_eq!(cluster.state.placeable(cluster.now).count(), 1, "without a back-off");
}

#[test]
fn a_task_that_waits_for_its_node_is_replaced_only_after_that_time() {
    let mut cluster = Cluster::new(1);
    let task_id = cluster.running(TaskSpec { on_node_loss: OnNodeLoss::Wait(Duration::from_secs(60)), ..spec() }, 1);
    down(&mut cluster);
    cluster.advance(Duration::from_secs(59));
    cluster.lose_tasks_of_down_nodes();
    assert_eq!(cluster.task_state(task_id), (1, Running));
    cluster.advance(Duration::from_secs(1));
    cluster.lose_tasks_of_down_nodes();
    assert_eq!(cluster.task_state(task_id), (2, Pending));
}

#[test]
fn a_task_that_must_never_run_twice_is_replaced_only_when_its_lease_its_grace_and_a_margin_are_over() {
    let mut cluster = Cluster::new(1);
    let leased = TaskSpec { on_node_loss: OnNodeLoss::StopAndReplace, ..spec() };
    let grace = leased.stop.grace;
    let (runs, stops) = (cluster.running(leased.clone(), 1), cluster.running(leased, 1));
    cluster.run(|draft| stop_task(draft, stops)).unwrap();
    down(&mut cluster);
    // The wall clock says nothing about it.
    cluster.advance(DAY);
    let wait = Duration::from_secs(10) + grace + Duration::from_secs(3);
    cluster.lose_tasks_after(wait - Duration::from_millis(1));
    assert_eq!((cluster.task_state(runs), cluster.task_state(stops)), ((1, Running), (1, Running)));
    cluster.lose_tasks_after(wait);
    assert_eq!((cluster.task_state(runs), cluster.task_state(stops)), ((2, Pending), (1, Lost)));
    assert_eq!(cluster.state.totals().lost, 1, "what goes on elsewhere has not ended");
}

#[test]
fn a_node_of_which_nothing_is_known_may_hold_a_lease() {
    let mut cluster = Cluster::new(1);
    let task_id = cluster.running(TaskSpec { on_node_loss: OnNodeLoss::StopAndReplace, ..spec() }, 1);
    down(&mut cluster);
    cluster.run(|draft| lose_tasks_of_down_nodes(draft, &Leases::default()));
    assert_eq!(cluster.task_state(task_id), (1, Running));
}

#[test]
fn nobody_waits_for_a_task_that_was_to_stop_anyway() {
    let mut cluster = Cluster::new(1);
    let waiting = TaskSpec { on_node_loss: OnNodeLoss::Wait(DAY), ..spec() };
    let (stopped, deleted) = (cluster.running(waiting.clone(), 1), cluster.running(waiting, 1));
    cluster.run(|draft| stop_task(draft, stopped)).unwrap();
    cluster.run(|draft| delete_task(draft, deleted, true)).unwrap();
    down(&mut cluster);
    cluster.lose_tasks_of_down_nodes();
    assert_eq!(cluster.task_state(stopped), (1, Lost));
    assert!(cluster.state.task(deleted).is_none());
}

#[test]
fn a_lost_attempt_counts_towards_max_attempts() {
    let mut cluster = Cluster::new(1);
    let restart = RestartPolicy { max_attempts: 1, ..RestartPolicy::default() };
    let task_id = cluster.running(TaskSpec { restart, ..spec() }, 1);
    down(&mut cluster);
    cluster.lose_tasks_of_down_nodes();
    assert_eq!(cluster.task_state(task_id), (1, Lost));
}

/// A cluster whose tasks 1 to `count` completed, each ten seconds after the one before.
fn completed(count: usize) -> (Cluster, Vec<davit_core::id::TaskId>) {
    let mut cluster = Cluster::new(1);
    let ids = (0..count).map(|_| {
        let task_id = cluster.running(spec(), 1);
        cluster.report(1, task_id, Completed);
        cluster.advance(Duration::from_secs(10));
        task_id
    });
    let ids = ids.collect();
    (cluster, ids)
}

fn left(cluster: &Cluster) -> Vec<davit_core::id::TaskId> {
    cluster.state.tasks().map(|task| task.task_id).collect()
}

#[test]
fn ended_tasks_are_deleted_when_they_are_old() {
    let (mut cluster, ids) = completed(4);
    cluster.run(|draft| remove_finished(draft, 100, Duration::from_secs(30), 100));
    assert_eq!(left(&cluster), ids[2..]);
}

#[test]
fn the_oldest_ended_tasks_beyond_the_count_are_deleted() {
    let (mut cluster, ids) = completed(5);
    let running = cluster.running(spec(), 1);
    cluster.run(|draft| remove_finished(draft, 2, DAY, 100));
    assert_eq!(left(&cluster), [ids[3], ids[4], running], "what runs is never deleted");
}

#[test]
fn one_look_deletes_no_more_than_its_limit() {
    let (mut cluster, ids) = completed(5);
    cluster.run(|draft| remove_finished(draft, 0, DAY, 3));
    assert_eq!(left(&cluster), ids[3..]);
    cluster.run(|draft| remove_finished(draft, 0, DAY, 3));
    assert!(left(&cluster).is_empty());
}

#[test]
fn events_are_dropped_when_they_are_old_and_what_is_left_has_no_gap() {
    let (mut cluster, _) = completed(4);
    let revision = cluster.state.revision();
    cluster.run(|draft| compact_events(draft, Duration::from_secs(15), 100));
    assert!(cluster.last_batch.changes.is_empty() && !cluster.last_batch.is_empty());
    let events = cluster.state.events();
    assert_eq!(cluster.last_batch.compacted, Some(events.compacted()));
    let ages: Vec<_> =
        events.after(events.compacted()).unwrap().map(|event| cluster.now.duration_since(event.time)).collect();
    assert!(!ages.is_empty() && ages.iter().all(|age| age.as_secs() <= 15), "{ages:?}");
    assert_eq!(events.compacted().0 + ages.len() as u64, revision.0);
    // Nothing more to do: nothing to commit.
    cluster.run(|draft| compact_events(draft, Duration::from_secs(15), 100));
    assert!(cluster.last_batch.is_empty());
    cluster.run(|draft| compact_events(draft, Duration::ZERO, 1));
    assert_eq!(cluster.state.events().after(cluster.state.events().compacted()).unwrap().count(), ages.len() - 1);
}

#[test]
fn nothing_is_to_do_until_something_is_beyond_its_bounds() {
    const HOUR: Duration = Duration::from_secs(3600);
    let mut cluster = Cluster::new(1);
    let task_id = cluster.running(spec(), 1);
    cluster.report(1, task_id, Completed);
    let expired = |cluster: &Cluster, kept, task_age, event_age| {
        let before = has_expired(&cluster.state, cluster.now, kept, task_age, event_age);
        let mut after = cluster.clone();
        after.run(|draft| {
            remove_finished(draft, kept, task_age, usize::MAX);
            compact_events(draft, event_age, usize::MAX);
        });
        assert_eq!(before, !after.last_batch.is_empty(), "it looks as it acts");
        before
    };
    assert!(!expired(&cluster, 1, HOUR, DAY));
    assert!(expired(&cluster, 0, HOUR, DAY), "too many");
    cluster.advance(HOUR);
    assert!(expired(&cluster, 1, HOUR, DAY), "too old");
    assert!(!expired(&cluster, 1, DAY, HOUR), "an event is as old as it may be");
    cluster.advance(Duration::from_secs(1));
    assert!(expired(&cluster, 1, DAY, HOUR));
}
