//! Room that is kept for a task: how it gets there, and when it is given up.

use davit_core::deployment::DeploymentMode;
use davit_core::id::{AttemptKey, TaskId};
use davit_core::node::NodeState::{Down, Ready, Suspect};
use davit_core::spec::TaskSpec;
use davit_core::state::TaskState::{Completed, Pending, Running, Scheduled, Stopped, Stopping};
use davit_core::task::Claim;

use crate::commands::test_support::{Cluster, LEASE, TASKS_PER_NODE, node_id, of_priority, registration, spec};
use crate::commands::{
    PreemptionOrder, commit_preemptions, delete_task, has_ripe_claim, move_task, register_node, restart_task,
    set_cordon, set_node_state, settle_claims, stop_task,
};
use crate::state::EventType;

/// A full node 1 and an empty, cordoned node 2; and a task that waits for so many on node 1 to stop.
fn claiming(victims: usize) -> (Cluster, TaskId, Vec<TaskId>) {
    let mut cluster = Cluster::new(2);
    cluster.run(|draft| set_cordon(draft, "node-2", true)).unwrap();
    let tasks: Vec<TaskId> = (0..TASKS_PER_NODE).map(|_| cluster.running(spec(), 1)).collect();
    let claimant = claim(&mut cluster, &tasks[..victims]);
    (cluster, claimant, tasks)
}

/// Creates a task that is as large as these together, and has them stopped for it.
fn claim(cluster: &mut Cluster, victims: &[TaskId]) -> TaskId {
    let mut large = of_priority(5);
    large.resources.reservation.cpu_millis *= victims.len() as u64;
    let claimant = cluster.create(large);
    let key: AttemptKey = cluster.key(claimant);
    let unplaced_reason = "all is full".to_owned();
    let order = PreemptionOrder { key, node_id: node_id(1), victims: victims.to_vec(), unplaced_reason };
    assert_eq!(cluster.run(|draft| commit_preemptions(draft, &[order])).committed, [key]);
    assert_eq!(cluster.task(claimant).claim.as_ref().map(|claim| claim.node_id), Some(node_id(1)));
    claimant
}

/// A second task whose room on node 1 is kept, until this one has stopped.
fn claim_beside(cluster: &mut Cluster, leaving: TaskId) -> TaskId {
    let claimant = cluster.create(of_priority(5));
    let mut task = cluster.task(claimant).clone();
    task.claim = Some(Box::new(Claim { node_id: node_id(1), reason: "1 task is stopped for it on node-1".to_owned() }));
    cluster.run(|draft| {
        draft.put_task(task, EventType::TaskUpdated, "claims");
        restart_task(draft, leaving).unwrap();
    });
    claimant
}

/// How many tasks room is kept for on node 1.
fn claims(cluster: &Cluster) -> usize {
    cluster.state.usage(node_id(1)).claims.len()
}

/// The claim is given up, for this reason; the scheduler chooses again.
fn given_up(cluster: &mut Cluster, claimant: TaskId, why: &str) {
    assert!(has_ripe_claim(&cluster.state, cluster.now));
    assert_eq!(cluster.run(settle_claims), 1);
    assert_eq!((cluster.task(claimant).claim.clone(), claims(cluster)), (None, 0));
    assert_eq!(cluster.task_state(claimant), (1, Pending));
    assert!(cluster.state.placeable(cluster.now).any(|task| task.task_id == claimant), "the scheduler is asked again");
    let told = format!("room is no longer kept (1 task is stopped for it on node-1): {why}");
    assert_eq!(cluster.last_batch.changes.last().unwrap().event.message, told);
    assert_eq!(cluster.task(claimant).status.reason, format!("{told}; waiting to be placed"));
    assert!(!has_ripe_claim(&cluster.state, cluster.now));
}

#[test]
fn a_claim_is_settled_when_the_last_of_its_room_is_there() {
    let (mut cluster, claimant, tasks) = claiming(2);
    let unripe = |cluster: &mut Cluster| {
        assert!(!has_ripe_claim(&cluster.state, cluster.now));
        assert_eq!(cluster.run(settle_claims), 0);
        assert!(cluster.last_batch.is_empty());
        assert_eq!(claims(cluster), 1);
    };
    unripe(&mut cluster);
    cluster.report(1, tasks[0], Stopping);
    unripe(&mut cluster);
    cluster.report(1, tasks[0], Stopped);
    unripe(&mut cluster);
    cluster.report(1, tasks[1], Completed);
    assert!(has_ripe_claim(&cluster.state, cluster.now));
    assert_eq!(cluster.run(settle_claims), 1);
    assert_eq!(cluster.task_state(claimant), (1, Scheduled));
    assert_eq!(cluster.task(claimant).status.node_id, Some(node_id(1)));
    assert_eq!((cluster.task(claimant).claim.clone(), claims(&cluster)), (None, 0));
    assert_eq!(cluster.last_batch.changes[0].event.message, "attempt 1: SCHEDULED on node-1");
    assert!(!has_ripe_claim(&cluster.state, cluster.now));
}

#[test]
fn a_claim_is_given_up_when_its_node_takes_no_more_tasks() {
    for (state, why) in [(Down, "node-1 is DOWN"), (Suspect, "node-1 is SUSPECT")] {
        let (mut cluster, claimant, _) = claiming(1);
        cluster.run(|draft| set_node_state(draft, node_id(1), state, "silent"));
        given_up(&mut cluster, claimant, why);
    }
    let (mut cluster, claimant, _) = claiming(1);
    cluster.run(|draft| set_cordon(draft, "node-1", true)).unwrap();
    given_up(&mut cluster, claimant, "node-1 is cordoned");
}

#[test]
fn a_claim_is_given_up_when_its_node_goes_away() {
    let (mut cluster, claimant, _) = claiming(1);
    cluster.run(|draft| {
        set_node_state(draft, node_id(1), Down, "silent");
        let mut taker = registration(3);
        taker.description.name = "node-1".to_owned();
        register_node(draft, taker, LEASE).unwrap();
    });
    given_up(&mut cluster, claimant, "its node is gone");
    assert_eq!(cluster.place(claimant, 3).committed, 1);
}

#[test]
fn a_claim_ends_with_its_task() {
    for force_delete in [false, true] {
        let (mut cluster, claimant, tasks) = claiming(1);
        cluster
            .run(|draft| match force_delete {
                false => stop_task(draft, claimant).map(drop),
                true => delete_task(draft, claimant, true).map(drop),
            })
            .unwrap();
        assert_eq!((claims(&cluster), cluster.state.claimants().count()), (0, 0));
        assert!(cluster.state.task(claimant).is_none_or(|task| task.claim.is_none()));
        assert!(!has_ripe_claim(&cluster.state, cluster.now));
        // The room is for whoever comes, such as the one that was stopped for it.
        cluster.report(1, tasks[0], Stopped);
        assert_eq!(cluster.run(settle_claims), 0);
        assert_eq!(cluster.place(tasks[0], 1).committed, 1);
    }
}

#[test]
fn a_claim_is_given_up_when_nobody_is_left_to_wait_for_and_there_is_no_room() {
    let (mut cluster, claimant, tasks) = claiming(1);
    // The machine comes back smaller, with all that ran on it.
    let mut smaller = registration(1);
    smaller.description.allocatable.cpu_millis = 100;
    smaller.attempts = tasks.iter().map(|task_id| (*task_id, cluster.task(*task_id).status.clone())).collect();
    cluster.run(|draft| register_node(draft, smaller, LEASE)).unwrap();
    assert!(!has_ripe_claim(&cluster.state, cluster.now), "one is still being stopped");
    cluster.report(1, tasks[0], Stopped);
    given_up(&mut cluster, claimant, "it does not fit on node-1: cpu: needs 0.1, 0 free");
}

#[test]
fn a_node_that_was_away_for_a_moment_keeps_the_room() {
    let (mut cluster, claimant, tasks) = claiming(1);
    cluster.run(|draft| {
        set_node_state(draft, node_id(1), Suspect, "silent");
        set_node_state(draft, node_id(1), Ready, "is back");
    });
    assert!(!has_ripe_claim(&cluster.state, cluster.now));
    cluster.report(1, tasks[0], Stopped);
    assert_eq!(cluster.run(settle_claims), 1);
    assert_eq!(cluster.task_state(claimant), (1, Scheduled));
}

#[test]
fn two_claimants_of_one_node_both_get_there_whoever_leaves_first() {
    for (sooner, later) in [(0, 1), (1, 0)] {
        let (mut cluster, first, tasks) = claiming(1);
        let second = claim_beside(&mut cluster, tasks[1]);
        assert_eq!(claims(&cluster), 2);
        cluster.report(1, tasks[sooner], Stopped);
        cluster.run(settle_claims);
        cluster.report(1, tasks[later], Stopped);
        cluster.run(settle_claims);
        assert!([first, second].iter().all(|task_id| cluster.task_state(*task_id) == (1, Scheduled)));
        assert_eq!(claims(&cluster), 0);
    }
}

#[test]
fn of_two_claimants_with_room_for_one_the_other_gives_up() {
    let (mut cluster, first, tasks) = claiming(1);
    let second = claim_beside(&mut cluster, tasks[1]);
    let mut smaller = registration(1);
    smaller.description.allocatable.cpu_millis = 200;
    smaller.attempts = tasks.iter().map(|task_id| (*task_id, cluster.task(*task_id).status.clone())).collect();
    cluster.run(|draft| register_node(draft, smaller, LEASE)).unwrap();
    cluster.report(1, tasks[0], Stopped);
    cluster.report(1, tasks[1], Stopped);
    assert_eq!(cluster.run(settle_claims), 2);
    let mut states = [first, second].map(|task_id| cluster.task_state(task_id));
    states.sort_unstable();
    assert_eq!((states, claims(&cluster)), ([(1, Pending), (1, Scheduled)], 0));
}

/// A task that runs on node 2 and is on its way to node 1.
fn moving() -> (Cluster, TaskId) {
    let mut cluster = Cluster::new(2);
    let task_id = cluster.running(spec(), 2);
    cluster.run(|draft| move_task(draft, task_id, node_id(1), None, "")).unwrap();
    (cluster, task_id)
}

#[test]
fn a_task_that_moves_goes_to_its_room_once_it_has_stopped() {
    let (mut cluster, task_id) = moving();
    assert!(!has_ripe_claim(&cluster.state, cluster.now), "there is room, but it still runs elsewhere");
    assert_eq!((cluster.task_state(task_id), claims(&cluster)), ((1, Running), 1));
    cluster.report(2, task_id, Stopped);
    assert_eq!(cluster.task_state(task_id), (2, Pending));
    assert_eq!(cluster.run(settle_claims), 1);
    assert_eq!(cluster.task_state(task_id), (2, Scheduled));
    assert_eq!((cluster.task(task_id).status.node_id, claims(&cluster)), (Some(node_id(1)), 0));
}

#[test]
fn a_task_whose_room_is_given_up_while_it_still_runs_waits_for_any_node_after_it() {
    let (mut cluster, task_id) = moving();
    cluster.run(|draft| set_cordon(draft, "node-1", true)).unwrap();
    assert!(has_ripe_claim(&cluster.state, cluster.now));
    assert_eq!(cluster.run(settle_claims), 1);
    assert_eq!((cluster.task_state(task_id), claims(&cluster)), ((1, Running), 0));
    assert_eq!(cluster.task(task_id).status.reason, "moved to node-1", "why it is being stopped stays told");
    cluster.report(2, task_id, Stopped);
    assert_eq!(cluster.run(settle_claims), 0);
    assert_eq!(cluster.place(task_id, 2).committed, 1);
}

#[test]
fn a_claimant_that_is_asked_to_restart_keeps_its_room() {
    let (mut cluster, claimant, tasks) = claiming(1);
    cluster.run(|draft| restart_task(draft, claimant)).unwrap();
    assert_eq!(claims(&cluster), 1);
    cluster.report(1, tasks[0], Stopped);
    assert_eq!(cluster.run(settle_claims), 1);
    assert_eq!(cluster.task_state(claimant), (1, Scheduled));
}

#[test]
fn a_task_that_stops_while_it_moves_leaves_its_room() {
    let (mut cluster, task_id) = moving();
    cluster.run(|draft| stop_task(draft, task_id)).unwrap();
    assert_eq!(claims(&cluster), 0);
    cluster.report(2, task_id, Stopped);
    assert_eq!(cluster.task_state(task_id), (1, Stopped));
    let large = TaskSpec { resources: full_node(), ..spec() };
    let other = cluster.create(large);
    assert_eq!(cluster.place(other, 1).committed, 1);
}

fn full_node() -> davit_core::resources::ResourceRequirements {
    let reservation = registration(1).description.allocatable;
    davit_core::resources::ResourceRequirements { reservation, ..spec().resources }
}

#[test]
fn of_two_tasks_that_may_run_on_one_node_alone_the_older_gets_what_is_room_for_one() {
    let mut cluster = Cluster::new(1);
    let mut large = spec();
    large.resources.reservation.cpu_millis = 100 * TASKS_PER_NODE - 50;
    for name in ["older", "younger"] {
        let task = TaskSpec { name: name.to_owned(), ..large.clone() };
        assert!(cluster.deploy(name, task, DeploymentMode::Global));
        cluster.reconcile_deployments();
    }
    while has_ripe_claim(&cluster.state, cluster.now) {
        cluster.run(settle_claims);
    }
    let mut tasks: Vec<_> =
        cluster.state.tasks().map(|task| (task.spec.name.clone(), task.status.state, task.claim.is_some())).collect();
    tasks.sort();
    assert_eq!(tasks, [("older".to_owned(), Scheduled, false), ("younger".to_owned(), Pending, true)]);
}
