//! Creating, stopping and deleting.

use std::sync::Arc;

use davit_core::state::TaskState::{Completed, Running, Stopped, Stopping};
use davit_core::task::DesiredState;

use crate::commands::test_support::{Cluster, spec, task_id};
use crate::commands::{Error, NewTasks, create_tasks, delete_task, restart_task, stop_task};

fn three_tasks(from: u64) -> NewTasks {
    NewTasks { spec: Arc::new(spec()), task_ids: (from..from + 3).map(task_id).collect(), gang_id: None }
}

#[test]
fn a_repeated_create_answers_what_the_first_one_did() {
    let mut cluster = Cluster::new(1);
    let request = Some(("deploy-7".to_owned(), 42));
    let first = cluster.run(|draft| create_tasks(draft, &[three_tasks(1)], request.clone(), u64::MAX)).unwrap();
    assert_eq!(first.task_ids.len(), 3);
    assert_eq!(cluster.last_batch.requests.len(), 1);

    let second = cluster.run(|draft| create_tasks(draft, &[three_tasks(11)], request.clone(), u64::MAX)).unwrap();
    assert_eq!(second, first);
    assert!(cluster.last_batch.is_empty());
    assert_eq!(cluster.state.tasks().count(), 3);
}

#[test]
fn a_repeated_create_of_the_same_batch_creates_nothing_either() {
    let mut cluster = Cluster::new(1);
    let request = Some(("deploy-7".to_owned(), 42));
    let (first, second) = cluster.run(|draft| {
        let first = create_tasks(draft, &[three_tasks(1)], request.clone(), u64::MAX).unwrap();
        (first, create_tasks(draft, &[three_tasks(11)], request.clone(), u64::MAX).unwrap())
    });
    assert_eq!(first, second);
    assert_eq!(cluster.last_batch.changes.len(), 3);
}

#[test]
fn a_request_id_with_other_content_is_refused() {
    let mut cluster = Cluster::new(1);
    cluster.run(|draft| create_tasks(draft, &[three_tasks(1)], Some(("a".to_owned(), 1)), u64::MAX)).unwrap();
    let refused = cluster.run(|draft| create_tasks(draft, &[three_tasks(11)], Some(("a".to_owned(), 2)), u64::MAX));
    assert_eq!(refused, Err(Error::RequestIdReused { request_id: "a".to_owned() }));
    assert!(cluster.last_batch.is_empty());
}

#[test]
fn a_task_that_no_worker_has_stops_at_once() {
    let mut cluster = Cluster::new(1);
    let task_id = cluster.create(spec());
    cluster.run(|draft| stop_task(draft, task_id)).unwrap();
    assert_eq!(cluster.task_state(task_id), (1, Stopped));
    assert_eq!(cluster.state.placeable(cluster.now).count(), 0);
    assert_eq!(cluster.place(task_id, 1).committed, 0);
}

#[test]
fn a_running_task_stops_when_its_worker_says_so() {
    let mut cluster = Cluster::new(1);
    let task_id = cluster.running(spec(), 1);
    cluster.run(|draft| stop_task(draft, task_id)).unwrap();
    assert_eq!(cluster.task_state(task_id), (1, Running));
    let revision = cluster.state.revision();
    cluster.run(|draft| stop_task(draft, task_id)).unwrap();
    assert_eq!(cluster.state.revision(), revision, "asked twice is asked once");
    cluster.report(1, task_id, Stopping);
    cluster.report(1, task_id, Stopped);
    assert_eq!(cluster.task_state(task_id), (1, Stopped));
    assert_eq!(cluster.state.usage(crate::commands::test_support::node_id(1)).task_count(), 0);
}

#[test]
fn a_task_that_ended_can_not_be_stopped() {
    let mut cluster = Cluster::new(1);
    let task_id = cluster.running(spec(), 1);
    cluster.report(1, task_id, Completed);
    let refused = cluster.run(|draft| stop_task(draft, task_id));
    assert_eq!(refused.unwrap_err(), Error::TaskHasEnded { task_id, state: Completed });
}

#[test]
fn a_running_task_is_deleted_only_with_force_and_vanishes_when_it_has_ended() {
    let mut cluster = Cluster::new(1);
    let task_id = cluster.running(spec(), 1);
    let refused = cluster.run(|draft| delete_task(draft, task_id, false));
    assert_eq!(refused, Err(Error::TaskHasNotEnded { task_id, state: Running }));

    cluster.run(|draft| delete_task(draft, task_id, true)).unwrap();
    assert_eq!(cluster.task(task_id).desired_state, DesiredState::Removed);
    for refused in [cluster.run(|draft| stop_task(draft, task_id)), cluster.run(|draft| restart_task(draft, task_id))] {
        assert_eq!(refused.unwrap_err(), Error::TaskIsBeingDeleted { task_id });
    }
    cluster.report(1, task_id, Stopped);
    assert!(cluster.state.task(task_id).is_none());
}

#[test]
fn a_task_that_no_worker_has_is_deleted_by_force_at_once() {
    let mut cluster = Cluster::new(1);
    let task_id = cluster.create(spec());
    cluster.run(|draft| delete_task(draft, task_id, true)).unwrap();
    assert!(cluster.state.task(task_id).is_none());
    let refused = cluster.run(|draft| delete_task(draft, task_id, true));
    assert_eq!(refused, Err(Error::TaskNotFound { task_id }));
}

#[test]
fn a_create_beyond_the_limit_of_tasks_is_refused_whole() {
    let mut cluster = Cluster::new(0);
    let request = Some(("a".to_owned(), 1));
    cluster.run(|draft| create_tasks(draft, &[three_tasks(1)], request.clone(), 5)).unwrap();
    let refused = cluster.run(|draft| create_tasks(draft, &[three_tasks(11)], None, 5));
    assert_eq!(refused, Err(Error::TooManyTasks { there: 3, more: 3, max_tasks: 5 }));
    assert_eq!(cluster.state.tasks().count(), 3);
    // What is there already is answered all the same.
    cluster.run(|draft| create_tasks(draft, &[three_tasks(21)], request, 3)).unwrap();
    assert_eq!(cluster.state.tasks().count(), 3);
    // Ended ones count until they are deleted.
    for number in 1..=3 {
        cluster.run(|draft| stop_task(draft, task_id(number))).unwrap();
    }
    assert!(cluster.run(|draft| create_tasks(draft, &[three_tasks(11)], None, 5)).is_err());
    cluster.run(|draft| delete_task(draft, task_id(1), false)).unwrap();
    cluster.run(|draft| create_tasks(draft, &[three_tasks(11)], None, 5)).unwrap();
}
