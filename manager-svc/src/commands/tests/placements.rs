//! Every proposal is checked again when it is committed.

use davit_core::id::{Attempt, AttemptKey};
use davit_core::node::NodeState;
use davit_core::state::TaskState::{Completed, Pending, Running, Scheduled};

use crate::commands::test_support::{Cluster, TASKS_PER_NODE, node_id, publishing, spec};
use crate::commands::{
    Placement, Rejected, commit_placements, delete_task, note_unplaced, set_cordon, set_node_state, stop_task,
};

#[test]
fn a_requeued_task_does_not_crash_the_manager() {
    // In the book a task that no worker could take went back into the queue as another type than it came out as, and the
    // next look at the queue brought the manager down. Here it stays PENDING, and is placed as if nothing had been.
    let mut cluster = Cluster::new(2);
    let task_id = cluster.create(spec());
    assert_eq!(cluster.place(task_id, 9).rejected[0].1, Rejected::NodeGone);
    cluster.run(|draft| set_node_state(draft, node_id(1), NodeState::Down, "gone"));
    for _ in 0..3 {
        assert!(matches!(cluster.place(task_id, 1).rejected[0].1, Rejected::DoesNotFit(_)));
        assert_eq!(cluster.task_state(task_id), (1, Pending));
        assert_eq!(cluster.state.placeable(cluster.now).count(), 1, "it still waits for a node");
    }
    assert_eq!(cluster.place(task_id, 2).committed, 1);
    assert_eq!(cluster.report(2, task_id, Running).applied, 1);
    assert_eq!(cluster.task_state(task_id), (1, Running));
}

#[test]
fn one_batch_of_proposals_never_over_commits_a_node() {
    let mut cluster = Cluster::new(1);
    let proposals: Vec<Placement> = (0..TASKS_PER_NODE + 2)
        .map(|_| cluster.create(spec()))
        .map(|task_id| Placement { key: AttemptKey { task_id, attempt: Attempt::FIRST }, node_id: node_id(1) })
        .collect();
    let report = cluster.run(|draft| commit_placements(draft, &proposals));
    assert_eq!(report.committed as u64, TASKS_PER_NODE);
    let rejected: Vec<Placement> = report.rejected.iter().map(|(placement, _)| *placement).collect();
    assert_eq!(rejected, proposals[TASKS_PER_NODE as usize..]);
    assert!(report.rejected.iter().all(|(_, why)| matches!(why, Rejected::DoesNotFit(reasons) if reasons.len() == 1)));
}

#[test]
fn a_second_scheduler_can_not_place_what_is_placed() {
    let mut cluster = Cluster::new(2);
    let task_id = cluster.create(spec());
    assert_eq!(cluster.place(task_id, 1).committed, 1);
    assert_eq!(cluster.place(task_id, 2).rejected[0].1, Rejected::TaskChanged);
    assert_eq!(cluster.task(task_id).status.node_id, Some(node_id(1)));
}

#[test]
fn a_fixed_host_port_is_given_once_until_it_is_free_again() {
    let mut cluster = Cluster::new(1);
    let first = cluster.running(publishing(80), 1);
    let second = cluster.create(publishing(80));
    assert!(matches!(cluster.place(second, 1).rejected[0].1, Rejected::DoesNotFit(_)));
    cluster.report(1, first, Completed);
    assert_eq!(cluster.place(second, 1).committed, 1);
}

#[test]
fn nodes_that_are_not_ready_or_cordoned_take_nothing_new() {
    let mut cluster = Cluster::new(1);
    let task_id = cluster.create(spec());
    cluster.run(|draft| set_cordon(draft, "node-1", true)).unwrap();
    assert_eq!(cluster.place(task_id, 1).committed, 0);
    cluster.run(|draft| set_cordon(draft, "node-1", false)).unwrap();
    cluster.run(|draft| set_node_state(draft, node_id(1), NodeState::Suspect, "its session broke"));
    assert_eq!(cluster.place(task_id, 1).committed, 0);
    cluster.run(|draft| set_node_state(draft, node_id(1), NodeState::Ready, "is back"));
    assert_eq!(cluster.place(task_id, 1).committed, 1);
    assert_eq!(cluster.task_state(task_id), (1, Scheduled));
}

#[test]
fn proposals_for_what_changed_meanwhile_are_rejected() {
    let mut cluster = Cluster::new(1);
    let (stopped, deleted, ahead) = (cluster.create(spec()), cluster.create(spec()), cluster.create(spec()));
    cluster.run(|draft| stop_task(draft, stopped)).unwrap();
    cluster.run(|draft| delete_task(draft, deleted, true)).unwrap();
    let proposals = [(stopped, 1), (deleted, 1), (ahead, 2)].map(|(task_id, attempt)| Placement {
        key: AttemptKey { task_id, attempt: Attempt(attempt) },
        node_id: node_id(1),
    });
    let report = cluster.run(|draft| commit_placements(draft, &proposals));
    assert_eq!(report.rejected, proposals.map(|placement| (placement, Rejected::TaskChanged)));
    assert!(cluster.last_batch.is_empty());
}

#[test]
fn why_a_task_waits_is_written_once_and_only_while_it_waits() {
    let mut cluster = Cluster::new(1);
    let task_id = cluster.create(spec());
    let key = cluster.key(task_id);
    let later = AttemptKey { attempt: key.attempt.next(), ..key };
    let note = |cluster: &mut Cluster, key| {
        cluster.run(|draft| note_unplaced(draft, &[(key, "no node has memory".to_owned())]));
        cluster.last_batch.changes.len()
    };
    assert_eq!(note(&mut cluster, later), 0);
    assert_eq!(note(&mut cluster, key), 1);
    assert_eq!(cluster.task(task_id).status.reason, "no node has memory");
    assert_eq!(note(&mut cluster, key), 0);
    cluster.place(task_id, 1);
    assert_eq!(cluster.task(task_id).status.reason, "");
    assert_eq!(note(&mut cluster, key), 0);
}

#[test]
fn a_gang_is_committed_whole_or_not_at_all() {
    let mut cluster = Cluster::new(1);
    let gang = cluster.create_gang(spec(), TASKS_PER_NODE + 1);
    let propose = |task_ids: &[davit_core::id::TaskId]| -> Vec<Placement> {
        let key = |task_id: &_| AttemptKey { task_id: *task_id, attempt: Attempt::FIRST };
        task_ids.iter().map(|task_id| Placement { key: key(task_id), node_id: node_id(1) }).collect()
    };
    // One more than there is room for, and one member missing.
    for proposals in [propose(&gang), propose(&gang[1..])] {
        let report = cluster.run(|draft| commit_placements(draft, &proposals));
        assert_eq!((report.committed, report.rejected.len()), (0, proposals.len()));
        assert!(gang.iter().all(|task_id| cluster.task_state(*task_id) == (1, Pending)));
    }
    let small = cluster.create_gang(spec(), TASKS_PER_NODE);
    let mut twice = propose(&small);
    twice.push(twice[0]);
    assert_eq!(cluster.run(|draft| commit_placements(draft, &twice)).committed, 0, "a member is named twice");
    assert_eq!(cluster.run(|draft| commit_placements(draft, &propose(&small))).committed as u64, TASKS_PER_NODE);
    assert!(small.iter().all(|task_id| cluster.task_state(*task_id) == (1, Scheduled)));
}
