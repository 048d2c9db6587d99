//! Which tasks there are.

use davit_core::deployment::{DeploymentMode, DeploymentSpec, UpdateOrder};
use davit_core::node::NodeState;
use davit_core::state::TaskState;
use davit_core::task::{DesiredState, Slot};

use super::super::{DeploymentStep, plan_deployment, trouble_of};
use super::*;
use crate::commands::test_support::{LEASE, registration};
use crate::commands::{
    delete_deployment, delete_task, drain_node, register_node, remove_node, restart_task, scale_deployment, set_cordon,
    set_node_state, set_user_labels, stop_task,
};

fn simple(replicas: u32) -> DeploymentSpec {
    spec(replicas, image(1), policy(UpdateOrder::StopFirst, 1))
}

fn global(task: TaskSpec) -> DeploymentSpec {
    DeploymentSpec { mode: DeploymentMode::Global, ..spec(0, task, policy(UpdateOrder::StopFirst, 1)) }
}

fn nodes_of(rig: &Rig) -> Vec<String> {
    let state = &rig.cluster.state;
    let name = |task: &Arc<Task>| state.node(task.status.node_id?).map(|node| node.description.name.clone());
    let mut names: Vec<String> = rig.tasks().iter().filter(|task| task.holds_slot()).filter_map(name).collect();
    names.sort();
    names
}

#[test]
fn every_slot_gets_a_task_and_the_first_version_is_complete_when_all_serve() {
    let mut rig = Rig::new(2, simple(4));
    rig.look();
    let slots: Vec<_> = rig.cluster.state.tasks_of(ID).map(|(slot, _)| slot).collect();
    assert_eq!(slots, [1, 2, 3, 4].map(Slot::Replica));
    rig.work(|task| task.slot() != Some((ID, Slot::Replica(4))));
    rig.look();
    assert_eq!((rig.state(), rig.deployment().rollout.done), (RolloutState::InProgress, 3));
    rig.settle();
    let deployment = rig.deployment();
    assert_eq!(rig.state(), RolloutState::Complete);
    assert!(deployment.current().unwrap().proven);
    assert!(rig.tasks().iter().all(|task| Arc::ptr_eq(&task.spec, &deployment.current().unwrap().spec.task)));
}

#[test]
fn at_rest_nothing_is_looked_at_however_many_tasks_there_are() {
    let mut rig = Rig::running(3, simple(200));
    // A change that means nothing for it.
    let first = rig.tasks()[0].task_id;
    rig.report(first, TaskState::Running, false);
    rig.report(first, TaskState::Running, true);
    let before = rig.cluster.state.visited();
    rig.look();
    assert_eq!(rig.cluster.state.visited().tasks, before.tasks);
}

#[test]
fn a_large_one_is_made_in_several_commands() {
    let mut rig = Rig::new(1, simple(5_000));
    let mut sizes = Vec::new();
    while !rig.cluster.state.deployments_to_look_at(rig.cluster.now).is_empty() {
        rig.cluster.reconcile_deployments();
        sizes.push(rig.cluster.last_batch.changes.len());
    }
    assert_eq!(sizes, [2_000, 2_000, 1_000, 0]);
    assert_eq!(rig.tasks().len(), 5_000);
}

#[test]
fn one_that_gets_no_more_tasks_because_there_are_too_many_says_so() {
    let mut rig = Rig::new(1, simple(4));
    let three = Limits { max_tasks: 3, ..Limits::NONE };
    rig.cluster.run(|draft| reconcile_deployment(draft, ID, &mut (1..).map(task_id), three));
    let trouble = |rig: &Rig| trouble_of(&rig.cluster.state, rig.deployment(), 4);
    assert_eq!(rig.tasks().len(), 3);
    let told = trouble(&rig);
    assert!(told.contains("1 of 4 slots without a task: there are as many tasks as"), "{told}");
    rig.pass(2);
    rig.look();
    assert_eq!((rig.tasks().len(), trouble(&rig).contains("without a task")), (4, false));
}

#[test]
fn fewer_replicas_stop_those_of_the_highest_slots_and_more_fill_new_ones() {
    let mut rig = Rig::running(2, simple(4));
    rig.cluster.run(|draft| scale_deployment(draft, &named(), 2, String::new(), Limits::NONE)).unwrap();
    rig.look();
    let stopped: Vec<_> = rig.tasks().iter().filter(|task| !task.holds_slot()).map(|task| task.slot()).collect();
    assert_eq!(stopped, [3, 4].map(|number| Some((ID, Slot::Replica(number)))));
    rig.settle();
    assert_eq!(rig.holding(), [(1, true); 2]);
    rig.cluster.run(|draft| scale_deployment(draft, &named(), 5, String::new(), Limits::NONE)).unwrap();
    rig.settle();
    assert_eq!((rig.holding().len(), rig.state()), (5, RolloutState::Complete));
    assert_eq!(rig.deployment().versions.len(), 3);
}

#[test]
fn of_too_many_replicas_those_without_a_node_go_first_and_nothing_more_is_told_of_them() {
    let mut rig = Rig::new(1, simple(4));
    rig.look();
    // Only the tasks of the first and the third slot get a node.
    let in_slot = |rig: &Rig, number| {
        let mut tasks = rig.tasks().into_iter();
        tasks.find(|task| task.slot() == Some((ID, Slot::Replica(number)))).unwrap()
    };
    for number in [1, 3] {
        let placement = Placement { key: in_slot(&rig, number).key(), node_id: node_id(1) };
        assert_eq!(rig.cluster.run(|draft| commit_placements(draft, &[placement])).committed, 1);
    }
    rig.cluster.run(|draft| scale_deployment(draft, &named(), 1, String::new(), Limits::NONE)).unwrap();
    let plan = plan_deployment(&rig.cluster.state, rig.deployment(), rig.cluster.now);
    let going = plan.steps.iter().map(|step| match step {
        DeploymentStep::Stop { task_id, .. } => *task_id,
        other => panic!("{other:?}"),
    });
    let expected = [2, 4, 3].map(|number| in_slot(&rig, number).task_id);
    assert_eq!(going.collect::<Vec<_>>(), expected);
    assert_eq!(trouble_of(&rig.cluster.state, rig.deployment(), 1), "");
}

#[test]
fn what_runs_and_is_not_ready_says_why_and_not_beside_one_that_serves() {
    let mut rig = Rig::new(1, spec(1, image(1), policy(UpdateOrder::StartFirst, 1)));
    rig.look();
    rig.place();
    let (old, why) = (rig.tasks()[0].clone(), "not ready yet: http GET :80/none answered 404");
    let says = |rig: &mut Rig, task: &Task, ready, reason: &str| {
        let reason = reason.to_owned();
        let sequence = rig.cluster.task(task.task_id).status.sequence + 1;
        let reported = AttemptStatus { ready, sequence, reason, ..status(task.status.attempt, TaskState::Running) };
        let on = rig.cluster.task(task.task_id).status.node_id.unwrap();
        rig.cluster.run(|draft| crate::commands::apply_reports(draft, on, vec![(task.task_id, reported)]));
    };
    says(&mut rig, &old, false, why);
    let trouble = |rig: &Rig| trouble_of(&rig.cluster.state, rig.deployment(), 1);
    assert_eq!(trouble(&rig), "1 of 1 slot is not ready: http GET :80/none answered 404, on node-1");
    // The new task serves: what the old one lacks is no trouble any more.
    rig.update(spec(1, image(2), policy(UpdateOrder::StartFirst, 1)));
    rig.look();
    rig.place();
    let new = rig.tasks().into_iter().find(|task| version_of(task) == 2).unwrap();
    says(&mut rig, &new, true, "");
    assert_eq!(trouble(&rig), "");
}

#[test]
fn a_task_that_a_user_stops_or_deletes_is_replaced() {
    let mut rig = Rig::running(2, simple(3));
    let ids: Vec<_> = rig.tasks().iter().map(|task| task.task_id).collect();
    rig.cluster.run(|draft| stop_task(draft, ids[0])).unwrap();
    rig.cluster.run(|draft| delete_task(draft, ids[1], true)).unwrap();
    rig.look();
    // Not before they have ended.
    assert_eq!(rig.holding().len(), 1);
    rig.settle();
    assert_eq!(rig.holding(), [(1, true); 3]);
    assert!(rig.tasks().iter().all(|task| task.task_id != ids[0] && task.task_id != ids[1]));
}

#[test]
fn a_task_that_has_done_its_work_keeps_its_place_and_is_never_swept_away() {
    let restart = RestartPolicy { mode: RestartMode::OnFailure, ..RestartPolicy::default() };
    let mut rig = Rig::running(1, spec(1, TaskSpec { restart, ..image(1) }, policy(UpdateOrder::StopFirst, 1)));
    let task = rig.tasks()[0].task_id;
    rig.report(task, TaskState::Completed, false);
    rig.settle();
    assert_eq!((rig.tasks().len(), rig.tasks()[0].task_id), (1, task));
    assert_eq!(rig.cluster.state.finished_count(), 0);
}

#[test]
fn a_deleted_deployment_takes_along_what_ended_before() {
    let mut rig = Rig::running(2, simple(3));
    rig.update(spec(3, image(2), policy(UpdateOrder::StopFirst, 1)));
    rig.settle();
    assert_eq!((rig.holding(), rig.cluster.state.tasks().count()), (vec![(2, true); 3], 6));
    rig.cluster.run(|draft| delete_deployment(draft, &named())).unwrap();
    rig.look();
    // Those that ended go at once.
    assert_eq!((rig.cluster.state.tasks().count(), rig.tasks().len()), (3, 3));
    rig.work(|_| true);
    rig.look();
    assert!(rig.cluster.state.deployment(ID).is_none());
    assert_eq!(rig.cluster.state.tasks().count(), 0);
}

#[test]
fn a_deleted_deployment_goes_with_its_last_task() {
    let mut rig = Rig::running(2, simple(3));
    rig.cluster.run(|draft| delete_deployment(draft, &named())).unwrap();
    rig.look();
    assert!(rig.tasks().iter().all(|task| task.desired_state == DesiredState::Removed));
    assert!(rig.cluster.state.deployment(ID).is_some());
    rig.work(|_| true);
    rig.look();
    assert!(rig.cluster.state.deployment(ID).is_none());
    assert_eq!((rig.cluster.state.tasks().count(), rig.cluster.state.specs().count()), (0, 0));
}

#[test]
fn a_global_one_follows_nodes_as_they_join_are_drained_and_change() {
    let constraint = "disk == ssd".parse().unwrap();
    let mut rig = Rig::new(3, global(TaskSpec { constraints: vec![constraint], ..image(1) }));
    let label = |rig: &mut Rig, node: &str, value: &str| {
        let labels = BTreeMap::from([("disk".to_owned(), value.to_owned())]);
        rig.cluster.run(|draft| set_user_labels(draft, node, labels, None)).unwrap();
        rig.settle();
    };
    rig.settle();
    assert_eq!(nodes_of(&rig), [""; 0]);
    label(&mut rig, "node-1", "ssd");
    label(&mut rig, "node-2", "ssd");
    assert_eq!(nodes_of(&rig), ["node-1", "node-2"]);
    // Joins.
    let mut joining = registration(4);
    joining.description.labels = BTreeMap::from([("disk".to_owned(), "ssd".to_owned())]);
    rig.cluster.run(|draft| register_node(draft, joining, LEASE)).unwrap();
    rig.settle();
    assert_eq!(nodes_of(&rig), ["node-1", "node-2", "node-4"]);
    // Matches no more.
    label(&mut rig, "node-1", "hdd");
    assert_eq!(nodes_of(&rig), ["node-2", "node-4"]);
    // A cordoned one keeps its task; a drained one does not, and its drain moves it nowhere.
    rig.cluster.run(|draft| set_cordon(draft, "node-2", true)).unwrap();
    rig.settle();
    assert_eq!(nodes_of(&rig), ["node-2", "node-4"]);
    rig.cluster.run(|draft| drain_node(draft, "node-4", None, 1)).unwrap();
    rig.settle();
    assert_eq!(nodes_of(&rig), ["node-2"]);
}

#[test]
fn the_task_of_a_node_waits_for_that_node_and_goes_with_it() {
    let mut rig = Rig::running(2, global(image(1)));
    rig.cluster.run(|draft| set_node_state(draft, node_id(2), NodeState::Down, "silent"));
    rig.cluster.lose_tasks_of_down_nodes();
    rig.settle();
    let waiting: Vec<_> = rig.tasks().into_iter().filter(|task| task.status.state == TaskState::Pending).collect();
    assert_eq!(waiting.len(), 1);
    assert_eq!(waiting[0].status.reason, "waits for node-2: node is DOWN");
    rig.cluster.run(|draft| set_node_state(draft, node_id(2), NodeState::Ready, "back"));
    rig.settle();
    assert_eq!(nodes_of(&rig), ["node-1", "node-2"]);
    rig.cluster.run(|draft| set_node_state(draft, node_id(2), NodeState::Down, "silent"));
    rig.cluster.lose_tasks_of_down_nodes();
    rig.cluster.run(|draft| remove_node(draft, "node-2", true)).unwrap();
    rig.settle();
    assert_eq!((nodes_of(&rig).len(), rig.tasks().len()), (1, 1));
}

#[test]
fn a_task_that_fits_on_no_node_takes_no_room_away_from_others() {
    let mut task = image(1);
    task.resources.reservation.cpu_millis = 1_000_000;
    let mut rig = Rig::new(1, global(task));
    rig.settle();
    let reason = rig.tasks()[0].status.reason.clone();
    assert!(reason.starts_with("waits for node-1: cpu: needs 1000"), "{reason}");
    let other = rig.cluster.create(crate::commands::test_support::spec());
    assert_eq!(rig.cluster.place(other, 1).committed, 1);
}

#[test]
fn an_update_waits_for_a_node_that_is_cordoned_and_leaves_its_task_alone() {
    let mut rig = Rig::running(2, global(image(1)));
    rig.cluster.run(|draft| set_cordon(draft, "node-1", true)).unwrap();
    rig.update(global(image(2)));
    rig.settle();
    assert_eq!((rig.holding(), rig.state()), (vec![(1, true), (2, true)], RolloutState::Complete));
    rig.cluster.run(|draft| set_cordon(draft, "node-1", false)).unwrap();
    rig.settle();
    assert_eq!((rig.holding(), rig.state()), (vec![(2, true), (2, true)], RolloutState::Complete));
}

#[test]
fn a_node_that_goes_down_under_way_holds_up_no_other() {
    let mut rig = Rig::running(2, global(image(1)));
    rig.update(global(image(2)));
    rig.look();
    let begun = rig.tasks().into_iter().find(|task| !task.holds_slot()).unwrap().status.node_id.unwrap();
    rig.cluster.run(|draft| set_node_state(draft, begun, NodeState::Down, "silent"));
    rig.cluster.lose_tasks_of_down_nodes();
    rig.settle();
    assert_eq!(rig.state(), RolloutState::Complete, "{:?}", rig.deployment().rollout);
    rig.cluster.run(|draft| set_node_state(draft, begun, NodeState::Ready, "back"));
    rig.settle();
    assert_eq!((rig.holding(), rig.state()), (vec![(2, true), (2, true)], RolloutState::Complete));
}

#[test]
fn canaries_wait_for_their_promotion_while_nodes_are_out_of_touch_for_a_moment() {
    let canary = |task| {
        let update = UpdatePolicy { canaries: 1, ..policy(UpdateOrder::StopFirst, 1) };
        DeploymentSpec { update, ..global(task) }
    };
    let mut rig = Rig::running(2, canary(image(1)));
    rig.update(canary(image(2)));
    rig.settle();
    assert_eq!(rig.state(), RolloutState::AwaitingPromotion);
    for state in [NodeState::Suspect, NodeState::Ready] {
        for number in [1, 2] {
            rig.cluster.run(|draft| set_node_state(draft, node_id(number), state, "so it was said"));
            rig.settle();
            assert_eq!((rig.state(), rig.tasks().len()), (RolloutState::AwaitingPromotion, 2), "{number} {state}");
        }
    }
    let newest = rig.tasks().into_iter().find(|task| version_of(task) == 2).unwrap();
    rig.report(newest.task_id, TaskState::Failed, false);
    rig.look();
    assert_eq!(rig.state(), RolloutState::Paused, "it is watched no more");
    // Nor does it go on when the canary is lost, and the other node says nothing.
    rig.update(canary(image(3)));
    rig.settle();
    assert_eq!(rig.state(), RolloutState::AwaitingPromotion);
    let is_newest = |task: &Arc<Task>| version_of(task) == 3;
    let lost = rig.tasks().into_iter().find(is_newest).unwrap().status.node_id.unwrap();
    rig.cluster.run(|draft| set_node_state(draft, lost, NodeState::Down, "silent"));
    rig.cluster.lose_tasks_of_down_nodes();
    rig.settle();
    for number in [1, 2].into_iter().filter(|number| node_id(*number) != lost) {
        rig.cluster.run(|draft| set_node_state(draft, node_id(number), NodeState::Suspect, "so it was said"));
    }
    rig.settle();
    assert_eq!(rig.state(), RolloutState::AwaitingPromotion);
}

#[test]
fn what_a_deployment_has_stopped_does_not_run_again() {
    let mut rig = Rig::running(1, simple(2));
    let last = rig.tasks()[1].task_id;
    rig.cluster.run(|draft| scale_deployment(draft, &named(), 1, String::new(), Limits::NONE)).unwrap();
    rig.settle();
    let refused = rig.cluster.run(|draft| restart_task(draft, last));
    assert!(matches!(refused, Err(crate::commands::Error::TaskIsReplaced { .. })), "{refused:?}");
    let mode = DeploymentSpec { mode: DeploymentMode::Global, ..simple(1) };
    let refused = rig.cluster.run(|draft| update_deployment(draft, &named(), wanted(mode), Limits::NONE));
    assert!(matches!(refused, Err(crate::commands::Error::ModeChanges { .. })), "{refused:?}");
}
