//! What keeps tasks on one node: volumes and groups.

use davit_core::deployment::DeploymentMode;
use davit_core::drain::DEFAULT_MAX_PARALLEL;
use davit_core::id::TaskId;
use davit_core::node::NodeState::{Down, Ready};
use davit_core::spec::TaskSpec;
use davit_core::state::TaskState::{Pending, Running, Scheduled, Stopped};

use crate::commands::test_support::{Cluster, grouped, mounting, node_id};
use crate::commands::{
    Error, Placement, Rejected, advance_drains, commit_placements, delete_volume, drain_node, move_task, remove_node,
    restart_task, set_cordon, set_node_state, stop_task,
};
use crate::reconcile::{DrainNext, Running as Word, next_of_drain};

fn home(cluster: &Cluster, volume: &str) -> Option<u64> {
    let home = cluster.state.volume(volume)?;
    (1..10).find(|number| node_id(*number) == home.node_id)
}

fn refused(cluster: &mut Cluster, task: TaskId, node: u64) -> Vec<String> {
    match cluster.place(task, node).rejected.pop() {
        Some((_, Rejected::DoesNotFit(reasons))) => reasons,
        other => panic!("{other:?}"),
    }
}

/// Has a running task stop and wait again.
fn restart(cluster: &mut Cluster, task: TaskId, node: u64) {
    cluster.run(|draft| restart_task(draft, task)).unwrap();
    cluster.report(node, task, Stopped);
    assert_eq!(cluster.task(task).status.state, Pending);
}

#[test]
fn a_volume_is_where_the_first_task_that_mounts_it_was_placed_and_the_others_go_there() {
    let mut cluster = Cluster::new(2);
    let first = cluster.create(mounting(&["data", "logs"]));
    assert_eq!(home(&cluster, "data"), None, "it is nowhere before");
    assert_eq!(cluster.place(first, 2).committed, 1);
    assert_eq!((home(&cluster, "data"), home(&cluster, "logs")), (Some(2), Some(2)));
    assert_eq!(cluster.last_batch.volumes.len(), 2);
    let second = cluster.create(mounting(&["data"]));
    assert_eq!(refused(&mut cluster, second, 1), ["volume data is on node-2"]);
    assert_eq!(cluster.place(second, 2).committed, 1);
    cluster.report(2, first, Running);
    restart(&mut cluster, first, 2);
    assert_eq!(refused(&mut cluster, first, 1), ["volume data is on node-2", "volume logs is on node-2"]);
    assert_eq!(cluster.place(first, 2).committed, 1);
}

#[test]
fn two_schedulers_do_not_split_what_belongs_together() {
    for spec in [mounting(&["data"]), grouped("shop", 0, &[])] {
        let mut cluster = Cluster::new(2);
        let tasks = [cluster.create(spec.clone()), cluster.create(TaskSpec { name: "other".to_owned(), ..spec })];
        let proposed = [(tasks[0], 1), (tasks[1], 2)]
            .map(|(task, node)| Placement { key: cluster.key(task), node_id: node_id(node) });
        // In one batch, and one after the other.
        let report = cluster.run(|draft| commit_placements(draft, &proposed));
        assert_eq!((report.committed, report.rejected.len()), (1, 1));
        assert_eq!(refused(&mut cluster, tasks[1], 2).len(), 1);
        assert_eq!(cluster.place(tasks[1], 1).committed, 1);
    }
}

#[test]
fn a_gang_that_would_be_split_is_not_placed_and_leaves_nothing_behind() {
    let mut cluster = Cluster::new(2);
    let gang = cluster.create_gang(mounting(&["data"]), 2);
    let propose = |cluster: &mut Cluster, nodes: [u64; 2]| {
        let proposed = [0, 1].map(|at| Placement { key: cluster.key(gang[at]), node_id: node_id(nodes[at]) });
        cluster.run(|draft| commit_placements(draft, &proposed)).committed
    };
    assert_eq!(propose(&mut cluster, [1, 2]), 0);
    assert_eq!(home(&cluster, "data"), None);
    assert_eq!(propose(&mut cluster, [2, 2]), 2);
    assert_eq!(home(&cluster, "data"), Some(2));
}

#[test]
fn volumes_on_two_nodes_can_not_be_mounted_together() {
    let mut cluster = Cluster::new(2);
    cluster.running(mounting(&["a"]), 1);
    cluster.running(mounting(&["b"]), 2);
    let both = cluster.create(mounting(&["a", "b"]));
    assert_eq!(refused(&mut cluster, both, 1), ["volume b is on node-2"]);
    assert_eq!(refused(&mut cluster, both, 2), ["volume a is on node-1"]);
}

#[test]
fn each_node_has_volumes_of_its_own_for_what_runs_on_each() {
    let mut cluster = Cluster::new(2);
    cluster.running(mounting(&["logs"]), 1);
    cluster.deploy("agent", mounting(&["logs"]), DeploymentMode::Global);
    cluster.reconcile_deployments();
    cluster.run(crate::commands::settle_claims);
    let on_two = cluster.state.tasks_on(node_id(2)).count();
    assert_eq!((on_two, home(&cluster, "logs")), (1, Some(1)));
}

#[test]
fn a_group_follows_its_first_task_and_moves_with_it_when_its_node_is_gone() {
    let mut cluster = Cluster::new(3);
    let web = cluster.running(grouped("shop", 200, &[]), 1);
    let db = cluster.create(TaskSpec { name: "db".to_owned(), ..grouped("shop", 200, &[]) });
    assert_eq!(refused(&mut cluster, db, 2), ["group shop is on node-1"]);
    // One that takes no new tasks is still the one: they wait.
    cluster.run(|draft| set_cordon(draft, "node-1", true)).unwrap();
    assert_eq!(refused(&mut cluster, db, 2), ["group shop is on node-1"]);
    assert_eq!(refused(&mut cluster, db, 1), ["cordoned"]);
    cluster.run(|draft| set_cordon(draft, "node-1", false)).unwrap();
    assert_eq!(cluster.place(db, 1).committed, 1);
    cluster.run(|draft| set_node_state(draft, node_id(1), Down, "gone"));
    cluster.lose_tasks_of_down_nodes();
    assert_eq!(cluster.task_state(web), (2, Pending));
    assert_eq!(cluster.place(web, 3).committed, 1);
    cluster.run(|draft| set_node_state(draft, node_id(1), Ready, "back"));
    assert_eq!(refused(&mut cluster, db, 1), ["group shop is on node-3"]);
    assert_eq!(cluster.place(db, 3).committed, 1);
}

#[test]
fn the_first_of_a_group_needs_room_for_all_of_it_unless_its_volumes_decide() {
    let mut cluster = Cluster::new(2);
    cluster.running(mounting(&[]), 1);
    let first = cluster.create(grouped("shop", 300, &["data"]));
    assert!(refused(&mut cluster, first, 1)[0].starts_with("all of group shop need 0.3 cpu"));
    assert_eq!(cluster.place(first, 2).committed, 1);
    assert_eq!(home(&cluster, "data"), Some(2), "with its first task a group settles");
    cluster.report(2, first, Running);
    restart(&mut cluster, first, 2);
    cluster.running(mounting(&[]), 2);
    assert_eq!(cluster.place(first, 2).committed, 1, "it has no choice");
}

#[test]
fn a_task_of_a_group_is_moved_alone_only_if_it_is_alone() {
    let mut cluster = Cluster::new(2);
    let web = cluster.running(grouped("shop", 100, &[]), 1);
    let moved = |cluster: &Cluster| {
        let mut trial = cluster.clone();
        trial.run(|draft| move_task(draft, web, node_id(2), None, "")).map(|_| ())
    };
    assert_eq!(moved(&cluster), Ok(()));
    cluster.running(grouped("shop", 100, &[]), 1);
    let told = moved(&cluster).unwrap_err().to_string();
    assert!(told.contains("group shop is on node-1"), "{told}");
}

#[test]
fn a_drain_stops_what_its_volumes_keep_and_says_so_and_it_comes_back() {
    let mut cluster = Cluster::new(2);
    let db = cluster.running(mounting(&["data"]), 1);
    let free = cluster.running(mounting(&[]), 1);
    cluster.run(|draft| drain_node(draft, "node-1", None, DEFAULT_MAX_PARALLEL)).unwrap();
    let advance = |cluster: &mut Cluster| {
        let word = Word::from([(node_id(1), 0)]);
        cluster.run(|draft| advance_drains(draft, &word));
        cluster.state.node(node_id(1)).unwrap().clone()
    };
    let node = advance(&mut cluster);
    assert_eq!(cluster.task(db).status.reason, "volume data stays on node-1, which is drained");
    let said = &cluster.last_batch.changes.last().unwrap().event.message;
    assert_eq!(said, "drain of node node-1: 1 task stopped, to wait for it: their volumes stay there");
    let next = next_of_drain(&cluster.state, &node, node.drain.as_ref().unwrap(), &Word::new(), cluster.now).next;
    assert!(matches!(next, DrainNext::Move { candidates, .. } if candidates[0].task_id == free));
    cluster.report(1, db, Stopped);
    cluster.run(|draft| stop_task(draft, free)).unwrap();
    cluster.report(1, free, Stopped);
    assert!(advance(&mut cluster).drain.as_ref().unwrap().drained_at.is_some(), "the drain comes to its end");
    assert_eq!(refused(&mut cluster, db, 2), ["volume data is on node-1"]);
    cluster.run(|draft| set_cordon(draft, "node-1", false)).unwrap();
    assert_eq!(cluster.place(db, 1).committed, 1);
    assert_eq!(cluster.task_state(db), (2, Scheduled));
}

#[test]
fn where_a_volume_is_is_forgotten_when_asked_or_with_its_node_but_not_under_a_task() {
    let mut cluster = Cluster::new(2);
    let task = cluster.running(mounting(&["data"]), 1);
    let delete = |cluster: &mut Cluster, name: &str| cluster.run(|draft| delete_volume(draft, name));
    assert_eq!(delete(&mut cluster, "other"), Err(Error::VolumeNotFound { volume: "other".to_owned() }));
    let in_use = Error::VolumeIsInUse { volume: "data".to_owned(), node: "node-1".to_owned(), tasks: 1 };
    assert_eq!(delete(&mut cluster, "data"), Err(in_use));
    cluster.run(|draft| stop_task(draft, task)).unwrap();
    cluster.report(1, task, Stopped);
    assert_eq!(delete(&mut cluster, "data"), Ok(()));
    assert_eq!(home(&cluster, "data"), None);
    let next = cluster.create(mounting(&["data"]));
    assert_eq!(cluster.place(next, 2).committed, 1);
    assert_eq!(home(&cluster, "data"), Some(2));
    cluster.run(|draft| set_node_state(draft, node_id(2), Down, "gone"));
    cluster.lose_tasks_of_down_nodes();
    cluster.run(|draft| remove_node(draft, "node-2", false)).unwrap();
    assert_eq!(home(&cluster, "data"), None);
    assert_eq!(cluster.place(next, 1).committed, 1);
}
