//! Creating, stopping and deleting.

use std::sync::Arc;

use davit_core::spec::TaskSpec;
use davit_core::state::TaskState::{Completed, Running, Stopped, Stopping};
use davit_core::task::DesiredState;

use crate::commands::test_support::{Cluster, keyed, labelled, spec, task_id};
use crate::commands::{Error, Limits, NewTasks, create_tasks, delete_task, restart_task, stop_task};

fn three_tasks(from: u64) -> NewTasks {
    NewTasks { spec: keyed(spec()), task_ids: (from..from + 3).map(task_id).collect(), gang_id: None }
}

#[test]
fn a_repeated_create_answers_what_the_first_one_did() {
    let mut cluster = Cluster::new(1);
    let request = Some(("deploy-7".to_owned(), 42));
    let first = cluster.run(|draft| create_tasks(draft, &[three_tasks(1)], request.clone(), Limits::NONE)).unwrap();
    assert_eq!(first.task_ids.len(), 3);
    assert_eq!(cluster.last_batch.requests.len(), 1);

    let second = cluster.run(|draft| create_tasks(draft, &[three_tasks(11)], request.clone(), Limits::NONE)).unwrap();
    assert_eq!(second, first);
    assert!(cluster.last_batch.is_empty());
    assert_eq!(cluster.state.tasks().count(), 3);
}

#[test]
fn a_repeated_create_of_the_same_batch_creates_nothing_either() {
    let mut cluster = Cluster::new(1);
    let request = Some(("deploy-7".to_owned(), 42));
    let (first, second) = cluster.run(|draft| {
        let first = create_tasks(draft, &[three_tasks(1)], request.clone(), Limits::NONE).unwrap();
        (first, create_tasks(draft, &[three_tasks(11)], request.clone(), Limits::NONE).unwrap())
    });
    assert_eq!(first, second);
    assert_eq!(cluster.last_batch.changes.len(), 3);
}

#[test]
fn a_request_id_with_other_content_is_refused() {
    let mut cluster = Cluster::new(1);
    cluster.run(|draft| create_tasks(draft, &[three_tasks(1)], Some(("a".to_owned(), 1)), Limits::NONE)).unwrap();
    let refused = cluster.run(|draft| create_tasks(draft, &[three_tasks(11)], Some(("a".to_owned(), 2)), Limits::NONE));
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
    let five = Limits { max_tasks: 5, ..Limits::NONE };
    let request = Some(("a".to_owned(), 1));
    cluster.run(|draft| create_tasks(draft, &[three_tasks(1)], request.clone(), five)).unwrap();
    let refused = cluster.run(|draft| create_tasks(draft, &[three_tasks(11)], None, five));
    assert_eq!(refused, Err(Error::TooManyTasks { there: 3, more: 3, max_tasks: 5 }));
    assert_eq!(cluster.state.tasks().count(), 3);
    // What is there already is answered all the same.
    cluster.run(|draft| create_tasks(draft, &[three_tasks(21)], request, Limits { max_tasks: 3, ..five })).unwrap();
    assert_eq!(cluster.state.tasks().count(), 3);
    // Ended ones count until they are deleted.
    for number in 1..=3 {
        cluster.run(|draft| stop_task(draft, task_id(number))).unwrap();
    }
    assert!(cluster.run(|draft| create_tasks(draft, &[three_tasks(11)], None, five)).is_err());
    cluster.run(|draft| delete_task(draft, task_id(1), false)).unwrap();
    cluster.run(|draft| create_tasks(draft, &[three_tasks(11)], None, five)).unwrap();
}

fn one_task(number: u64, spec: TaskSpec) -> NewTasks {
    NewTasks { spec: keyed(spec), task_ids: vec![task_id(number)], gang_id: None }
}

#[test]
fn tasks_of_one_content_share_one_spec_whenever_they_are_created() {
    let mut cluster = Cluster::new(0);
    let tasks = [(1, "a"), (2, "b"), (3, "a")].map(|(number, app)| one_task(number, labelled("app", app)));
    for new in &tasks {
        cluster.run(|draft| create_tasks(draft, std::slice::from_ref(new), None, Limits::NONE)).unwrap();
    }
    let spec = |number| &cluster.task(task_id(number)).spec;
    assert!(Arc::ptr_eq(spec(1), spec(3)));
    assert!(!Arc::ptr_eq(spec(1), spec(2)));
    assert_eq!(spec(2).labels["app"], "b");
    assert_eq!(cluster.state.specs().count(), 2);
}

#[test]
fn a_create_whose_specs_would_take_too_many_bytes_is_refused_whole() {
    let mut cluster = Cluster::new(0);
    let large = |number, app: &str| one_task(number, labelled(app, &"x".repeat(1000)));
    let create = |cluster: &mut Cluster, groups: &[NewTasks], max_spec_bytes| {
        let limits = Limits { max_spec_bytes, ..Limits::NONE };
        cluster.run(|draft| create_tasks(draft, groups, None, limits))
    };
    create(&mut cluster, &[large(1, "a")], 2500).unwrap();
    let there = cluster.state.specs().bytes();
    assert!((1000..1250).contains(&there), "{there}");
    let refused = create(&mut cluster, &[large(2, "b"), large(3, "c"), large(4, "c")], 2500);
    assert_eq!(refused, Err(Error::TooManySpecBytes { there, more: 2 * there, max_spec_bytes: 2500 }));
    assert_eq!((cluster.state.tasks().count(), cluster.state.specs().bytes()), (1, there));
    // What is there already takes nothing more, also above a limit that was lowered.
    create(&mut cluster, &[large(5, "a"), large(6, "a")], 100).unwrap();
    create(&mut cluster, &[large(7, "b")], 2 * there).unwrap();
    assert!(create(&mut cluster, &[large(8, "c")], 2500).is_err());
    // And the last task of a content makes room.
    cluster.run(|draft| delete_task(draft, task_id(1), true)).unwrap();
    assert!(create(&mut cluster, &[large(8, "c")], 2500).is_err());
    cluster.run(|draft| delete_task(draft, task_id(7), true)).unwrap();
    create(&mut cluster, &[large(8, "c")], 2500).unwrap();
}
