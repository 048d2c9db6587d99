//! How one version takes the place of another.

use davit_core::deployment::{DeploymentSpec, OnRolloutFailure, UpdateOrder};
use davit_core::node::NodeState;
use davit_core::state::TaskState;

use super::*;
use crate::commands::{
    pause_rollout, promote_rollout, remove_finished, restart_task, resume_rollout, roll_back_deployment,
    set_node_state, shift_rollouts,
};

fn start_first(replicas: u32, task: TaskSpec) -> DeploymentSpec {
    spec(replicas, task, policy(UpdateOrder::StartFirst, 1))
}

/// Version 1 runs, version 2 is wanted, and it was looked at once.
fn updating(update: UpdatePolicy) -> Rig {
    let mut rig = Rig::running(3, spec(3, image(1), update));
    rig.update(spec(3, image(2), update));
    rig.look();
    rig
}

/// Fails all tasks of a version that run.
fn fail(rig: &mut Rig, version: u32) {
    rig.place();
    for task in rig.tasks().into_iter().filter(|task| version_of(task) == version && task.status.state.is_on_node()) {
        rig.report(task.task_id, TaskState::Failed, false);
    }
    rig.look();
}

#[test]
fn with_start_first_the_old_task_goes_when_the_new_one_has_served_for_the_monitor_time() {
    let mut rig = updating(policy(UpdateOrder::StartFirst, 1));
    assert_eq!(rig.holding(), [(1, true), (1, true), (1, true), (2, false)]);
    rig.work(|task| version_of(task) == 1);
    rig.look();
    assert_eq!(rig.holding(), [(1, true), (1, true), (1, true), (2, false)], "it is not ready");
    rig.work(|_| true);
    rig.look();
    rig.pass(4);
    rig.look();
    assert_eq!(rig.holding(), [(1, true), (1, true), (1, true), (2, true)], "it served for 4 s");
    rig.pass(1);
    rig.look();
    // The next one is begun with it.
    assert_eq!(rig.holding(), [(1, true), (1, true), (2, false), (2, true)]);
    rig.settle();
    assert_eq!((rig.holding(), rig.state()), (vec![(2, true); 3], RolloutState::Complete));
}

#[test]
fn with_stop_first_the_new_task_comes_when_the_old_one_has_ended() {
    let mut rig = updating(policy(UpdateOrder::StopFirst, 2));
    assert_eq!(rig.holding(), [(1, true)]);
    assert_eq!(rig.tasks().len(), 3);
    rig.work(|_| true);
    rig.look();
    assert_eq!(rig.holding(), [(1, true), (2, false), (2, false)]);
    rig.settle();
    assert_eq!(rig.holding(), [(2, true); 3]);
}

#[test]
fn a_new_task_that_stops_serving_begins_its_time_anew() {
    let mut rig = updating(policy(UpdateOrder::StartFirst, 1));
    rig.work(|_| true);
    rig.look();
    rig.pass(3);
    let new = rig.tasks().into_iter().find(|task| version_of(task) == 2).unwrap().task_id;
    rig.report(new, TaskState::Running, false);
    rig.look();
    rig.report(new, TaskState::Running, true);
    rig.look();
    rig.pass(3);
    rig.look();
    assert_eq!(rig.holding().len(), 4);
    rig.pass(2);
    rig.look();
    assert_eq!(rig.deployment().rollout.done, 1);
}

#[test]
fn what_changes_nothing_that_runs_is_taken_over_without_a_new_task() {
    let before = start_first(2, image(1));
    let mut rig = Rig::running(2, before.clone());
    let ids: Vec<_> = rig.tasks().iter().map(|task| task.key()).collect();
    let labels = BTreeMap::from([("tier".to_owned(), "front".to_owned())]);
    let restart = RestartPolicy { max_attempts: 9, ..image(1).restart };
    let task = TaskSpec { labels: labels.clone(), restart, ..image(1) };
    rig.update(DeploymentSpec { labels: labels.clone(), ..start_first(2, task) });
    rig.settle();
    assert_eq!(rig.tasks().iter().map(|task| task.key()).collect::<Vec<_>>(), ids);
    assert!(rig.tasks().iter().all(|task| task.spec.labels == labels && task.spec.restart.max_attempts == 9));
    assert_eq!((rig.state(), rig.deployment().current().unwrap().number), (RolloutState::Complete, 2));
    // No version of nothing.
    let revision = rig.cluster.state.revision();
    rig.update(DeploymentSpec { labels: labels.clone(), ..rig.deployment().current().unwrap().spec.clone() });
    assert_eq!(rig.cluster.state.revision(), revision);
}

#[test]
fn a_constraint_that_a_node_no_longer_meets_moves_its_task_only() {
    let mut rig = Rig::running(2, start_first(2, image(1)));
    let kept: Vec<_> =
        rig.tasks().iter().filter(|task| task.status.node_id == Some(node_id(1))).map(|task| task.key()).collect();
    assert_eq!(kept.len(), 1);
    let constraints = vec!["node.name == node-1".parse().unwrap()];
    rig.update(start_first(2, TaskSpec { constraints, ..image(1) }));
    rig.settle();
    assert!(rig.tasks().iter().all(|task| task.status.node_id == Some(node_id(1))));
    assert!(rig.tasks().iter().any(|task| task.key() == kept[0]));
}

#[test]
fn a_failure_pauses_and_the_old_tasks_go_on() {
    let mut rig = updating(policy(UpdateOrder::StartFirst, 1));
    fail(&mut rig, 2);
    let rollout = &rig.deployment().rollout;
    assert_eq!((rollout.state, rollout.failed), (RolloutState::Paused, 1));
    assert_eq!(rollout.reason, "1 of 3 slots failed: slot 1 on node-1: it failed");
    // Its back-off.
    rig.pass(10);
    rig.settle();
    assert_eq!(rig.holding().iter().filter(|(version, ready)| *version == 1 && *ready).count(), 2, "one got done");
    assert_eq!(rig.state(), RolloutState::Paused);
    rig.cluster.run(|draft| resume_rollout(draft, &named())).unwrap();
    rig.settle();
    assert_eq!((rig.holding(), rig.state()), (vec![(2, true); 3], RolloutState::Complete));
}

#[test]
fn so_many_failures_as_are_allowed_do_not_stop_it() {
    let update = UpdatePolicy { max_failure_ratio: 0.4, ..policy(UpdateOrder::StartFirst, 1) };
    let mut rig = updating(update);
    fail(&mut rig, 2);
    assert_eq!(rig.state(), RolloutState::InProgress);
    rig.pass(10);
    rig.settle();
    assert_eq!((rig.holding(), rig.state()), (vec![(2, true); 3], RolloutState::Complete));
}

#[test]
fn a_failure_that_is_allowed_holds_up_nobody_else() {
    let update = UpdatePolicy { max_failure_ratio: 0.4, ..policy(UpdateOrder::StopFirst, 1) };
    let mut rig = updating(update);
    rig.work(|_| true);
    rig.look();
    fail(&mut rig, 2);
    let failed = rig.deployment().rollout.in_flight.iter().find(|(_, incoming)| incoming.failed);
    let bad = *failed.unwrap().0;
    for _ in 0..20 {
        rig.work(|task| task.slot() != Some((ID, bad)));
        rig.look();
        rig.pass(6);
    }
    let new = rig.holding().iter().filter(|(version, ready)| *version == 2 && *ready).count();
    assert_eq!((new, rig.state()), (2, RolloutState::InProgress), "{:?}", rig.deployment().rollout);
    rig.settle();
    assert_eq!((rig.holding(), rig.state()), (vec![(2, true); 3], RolloutState::Complete));
}

#[test]
fn tasks_that_end_well_are_replaced_by_others_that_do() {
    let restart = RestartPolicy { mode: RestartMode::OnFailure, max_attempts: 1, ..RestartPolicy::default() };
    let once = |version| spec(1, TaskSpec { restart, ..image(version) }, policy(UpdateOrder::StopFirst, 1));
    let mut rig = Rig::running(1, once(1));
    let end = |rig: &mut Rig, version: u32, state| {
        rig.place();
        let task = rig.tasks().into_iter().find(|task| version_of(task) == version && !task.is_finished()).unwrap();
        rig.report(task.task_id, TaskState::Running, true);
        rig.report(task.task_id, state, false);
        rig.look();
        task.task_id
    };
    end(&mut rig, 1, TaskState::Completed);
    rig.update(once(2));
    rig.look();
    end(&mut rig, 2, TaskState::Completed);
    assert_eq!((rig.state(), rig.deployment().rollout.failed), (RolloutState::Complete, 0));
    // One that failed holds it up until it is started again, and ends well.
    rig.update(once(3));
    rig.look();
    let task = end(&mut rig, 3, TaskState::Failed);
    assert_eq!(rig.state(), RolloutState::Paused);
    rig.cluster.run(|draft| restart_task(draft, task)).unwrap();
    end(&mut rig, 3, TaskState::Completed);
    assert_eq!(rig.state(), RolloutState::Complete);
}

#[test]
fn where_it_goes_on_after_failures_slots_that_failed_are_done_and_so_is_the_rollout_at_last() {
    let update = UpdatePolicy { on_failure: OnRolloutFailure::Continue, ..policy(UpdateOrder::StopFirst, 2) };
    let mut rig = updating(update);
    for _ in 0..6 {
        rig.work(|task| version_of(task) == 1);
        rig.look();
        fail(&mut rig, 2);
    }
    assert_eq!((rig.state(), rig.deployment().rollout.failed), (RolloutState::Complete, 3));
    assert!(rig.holding().iter().all(|(version, ready)| *version == 2 && !ready), "{:?}", rig.holding());
}

#[test]
fn a_canary_that_has_done_its_work_waits_for_its_promotion_too() {
    let restart = RestartPolicy { mode: RestartMode::OnFailure, ..RestartPolicy::default() };
    let update = UpdatePolicy { canaries: 1, ..policy(UpdateOrder::StopFirst, 1) };
    let once = |version| spec(2, TaskSpec { restart, ..image(version) }, update);
    let mut rig = Rig::running(2, once(1));
    rig.update(once(2));
    for _ in 0..3 {
        rig.look();
        rig.work(|_| true);
    }
    let canary = rig.tasks().into_iter().find(|task| version_of(task) == 2 && !task.is_finished()).unwrap();
    rig.report(canary.task_id, TaskState::Completed, false);
    rig.look();
    assert_eq!(rig.state(), RolloutState::AwaitingPromotion, "{:?}", rig.deployment().rollout);
    rig.cluster.run(|draft| promote_rollout(draft, &named())).unwrap();
    rig.settle();
    assert_eq!((rig.holding(), rig.state()), (vec![(2, false), (2, true)], RolloutState::Complete));
}

#[test]
fn a_failure_rolls_back_to_the_last_version_that_was_proven_and_no_further() {
    let update = UpdatePolicy { on_failure: OnRolloutFailure::Rollback, ..policy(UpdateOrder::StopFirst, 1) };
    let mut rig = updating(update);
    rig.work(|_| true);
    rig.look();
    fail(&mut rig, 2);
    let deployment = Arc::clone(rig.deployment());
    let newest = deployment.current().unwrap();
    let failure = "1 of 3 slots failed: slot";
    assert_eq!((newest.number, newest.author.as_str()), (3, "davit"));
    assert!(newest.change.starts_with(&format!("rollback to version 1: {failure}")), "{}", newest.change);
    assert!(deployment.rollout.reason.starts_with(&format!("version 2 failed: {failure}")), "{:?}", deployment.rollout);
    assert!(deployment.rollout.is_rollback);
    let events = rig.cluster.state.events().after(rig.cluster.state.events().compacted()).unwrap();
    let told = format!("the rollout failed, and goes back to version 1: {failure}");
    assert_eq!(events.filter(|event| event.message.starts_with(&told)).count(), 1);
    rig.settle();
    assert_eq!((rig.holding(), rig.state()), (vec![(1, true); 3], RolloutState::Complete));
    // A rollback that fails is paused.
    let mut rig = updating(update);
    rig.work(|_| true);
    rig.look();
    fail(&mut rig, 2);
    for _ in 0..3 {
        rig.work(|_| true);
        rig.look();
        fail(&mut rig, 1);
    }
    assert_eq!((rig.state(), rig.deployment().versions.len()), (RolloutState::Paused, 3));
}

#[test]
fn a_lost_node_is_not_the_new_versions_fault() {
    let mut rig = updating(policy(UpdateOrder::StartFirst, 1));
    rig.work(|_| true);
    let new = rig.tasks().into_iter().find(|task| version_of(task) == 2).unwrap();
    let on = new.status.node_id.unwrap();
    rig.cluster.run(|draft| {
        set_node_state(draft, on, NodeState::Down, "silent");
    });
    rig.cluster.lose_tasks_of_down_nodes();
    rig.look();
    assert_eq!((rig.state(), rig.deployment().rollout.failed), (RolloutState::InProgress, 0));
}

#[test]
fn one_that_does_not_get_on_fails_instead_of_hanging() {
    let mut rig = updating(policy(UpdateOrder::StartFirst, 1));
    rig.pass(599);
    rig.look();
    assert_eq!(rig.state(), RolloutState::InProgress);
    rig.pass(1);
    rig.look();
    let rollout = &rig.deployment().rollout;
    assert_eq!(rollout.state, RolloutState::Failed);
    assert_eq!(rollout.reason, "no slot got done for 600 s: slot 1: PENDING, waiting to be placed");
    // Nothing further is replaced. What is under way gets done.
    rig.settle();
    assert_eq!(rig.holding(), [(1, true), (1, true), (2, true)]);
}

#[test]
fn canaries_wait_for_their_promotion_beside_the_old_tasks() {
    let update = UpdatePolicy { canaries: 2, parallelism: 3, ..policy(UpdateOrder::StartFirst, 3) };
    let mut rig = updating(update);
    assert_eq!(rig.holding().iter().filter(|(version, _)| *version == 2).count(), 2);
    rig.settle();
    assert_eq!(rig.state(), RolloutState::AwaitingPromotion);
    assert_eq!(rig.holding(), [(1, true), (1, true), (1, true), (2, true), (2, true)]);
    rig.cluster.run(|draft| promote_rollout(draft, &named())).unwrap();
    rig.settle();
    assert_eq!((rig.holding(), rig.state()), (vec![(2, true); 3], RolloutState::Complete));
    // By itself.
    rig.update(spec(3, image(3), UpdatePolicy { auto_promote: true, ..update }));
    rig.settle();
    assert_eq!((rig.holding(), rig.state()), (vec![(3, true); 3], RolloutState::Complete));
}

#[test]
fn canaries_that_are_rolled_back_cost_no_task_that_served() {
    let update = UpdatePolicy { canaries: 2, parallelism: 3, ..policy(UpdateOrder::StartFirst, 3) };
    let mut rig = updating(update);
    let old: Vec<_> = rig.tasks().iter().filter(|task| version_of(task) == 1).map(|task| task.key()).collect();
    rig.settle();
    rig.cluster.run(|draft| roll_back_deployment(draft, &named(), None, String::new())).unwrap();
    rig.settle();
    assert_eq!(rig.tasks().iter().map(|task| task.key()).collect::<Vec<_>>(), old);
    assert_eq!(rig.state(), RolloutState::Complete);
}

#[test]
fn an_update_during_an_update_goes_straight_to_the_newest() {
    let mut rig = updating(policy(UpdateOrder::StartFirst, 2));
    assert_eq!(rig.holding().iter().filter(|(version, _)| *version == 2).count(), 2);
    rig.update(spec(3, image(3), policy(UpdateOrder::StartFirst, 2)));
    rig.look();
    // What never served goes at once.
    assert_eq!(rig.holding(), [(1, true), (1, true), (1, true), (3, false), (3, false)]);
    assert_eq!(rig.deployment().rollout.from_version, Some(1));
    rig.settle();
    assert_eq!(rig.holding(), [(3, true); 3]);
}

#[test]
fn a_delay_lies_between_two_slots() {
    let mut rig = updating(UpdatePolicy { delay: Duration::from_secs(30), ..policy(UpdateOrder::StopFirst, 1) });
    let replaced = |rig: &Rig| rig.holding().iter().filter(|(version, _)| *version == 2).count();
    for _ in 0..3 {
        rig.work(|_| true);
        rig.look();
    }
    rig.pass(5);
    rig.look();
    assert_eq!((rig.deployment().rollout.done, rig.tasks().len()), (1, 3));
    rig.pass(29);
    rig.look();
    assert_eq!(rig.tasks().iter().filter(|task| !task.holds_slot()).count(), 0, "it waits");
    rig.pass(1);
    rig.look();
    assert_eq!((replaced(&rig), rig.tasks().iter().filter(|task| !task.holds_slot()).count()), (1, 1));
}

#[test]
fn paused_by_a_user_it_begins_nothing_more() {
    let mut rig = updating(policy(UpdateOrder::StartFirst, 1));
    rig.cluster.run(|draft| pause_rollout(draft, &named())).unwrap();
    rig.settle();
    assert_eq!(rig.holding(), [(1, true), (1, true), (2, true)]);
    // A place that was not begun keeps to its version.
    let old = rig.tasks().into_iter().find(|task| version_of(task) == 1).unwrap();
    rig.cluster.run(|draft| crate::commands::stop_task(draft, old.task_id)).unwrap();
    rig.settle();
    assert_eq!(rig.holding(), [(1, true), (1, true), (2, true)]);
    assert!(rig.tasks().iter().all(|task| task.task_id != old.task_id));
}

#[test]
fn versions_are_kept_to_their_number_but_for_what_may_be_needed() {
    let kept = |task| DeploymentSpec { kept_versions: 2, ..start_first(1, task) };
    let mut rig = Rig::running(1, kept(image(1)));
    let numbers = |rig: &Rig| rig.deployment().versions.iter().map(|version| version.number).collect::<Vec<_>>();
    for number in 2..=4 {
        rig.update(kept(image(number)));
        rig.settle();
    }
    assert_eq!(numbers(&rig), [3, 4]);
    for number in 5..=7 {
        rig.update(kept(image(number)));
        rig.look();
    }
    // The one that runs is still that which could be gone back to.
    assert_eq!(numbers(&rig), [4, 7]);
    rig.cluster.run(|draft| remove_finished(draft, 0, Duration::ZERO, 100));
    assert_eq!(rig.cluster.state.specs().count(), 2);
}

#[test]
fn a_delay_that_is_longer_than_the_deadline_is_no_failure() {
    let update = UpdatePolicy {
        delay: Duration::from_secs(900),
        progress_deadline: Duration::from_secs(60),
        ..policy(UpdateOrder::StartFirst, 1)
    };
    let mut rig = updating(update);
    for _ in 0..4 {
        rig.work(|_| true);
        rig.look();
        rig.pass(6);
        rig.look();
        assert_ne!(rig.state(), RolloutState::Failed);
        rig.pass(900);
        rig.look();
    }
    rig.settle();
    assert_eq!((rig.state(), rig.holding()), (RolloutState::Complete, vec![(2, true); 3]));
}

#[test]
fn a_new_task_whose_node_is_silent_takes_nobodys_place() {
    let mut rig = updating(policy(UpdateOrder::StartFirst, 1));
    rig.work(|_| true);
    rig.look();
    let on = rig.tasks().into_iter().find(|task| version_of(task) == 2).unwrap().status.node_id.unwrap();
    let set = |rig: &mut Rig, state| rig.cluster.run(|draft| set_node_state(draft, on, state, "so it was said"));
    set(&mut rig, NodeState::Suspect);
    rig.pass(6);
    rig.look();
    assert_eq!(rig.holding().iter().filter(|(version, _)| *version == 1).count(), 3);
    // Back in touch it begins its time anew.
    set(&mut rig, NodeState::Ready);
    rig.pass(1);
    rig.look();
    assert_eq!(rig.deployment().rollout.done, 0);
    rig.pass(5);
    rig.look();
    assert_eq!(rig.deployment().rollout.done, 1);
}

#[test]
fn another_constraint_is_rolled_out_as_anything_else_and_goes_back_to_the_version_before() {
    let update = UpdatePolicy {
        on_failure: OnRolloutFailure::Rollback,
        progress_deadline: Duration::from_secs(60),
        ..policy(UpdateOrder::StopFirst, 1)
    };
    let mut rig = Rig::running(2, spec(2, image(1), update));
    rig.update(spec(2, image(2), update));
    rig.settle();
    let constraints = vec!["node.name == nosuch".parse().unwrap()];
    rig.update(spec(2, TaskSpec { constraints, ..image(2) }, update));
    assert!(!rig.deployment().current().unwrap().proven);
    rig.look();
    for task in rig.tasks().into_iter().filter(|task| !task.holds_slot()) {
        rig.report(task.task_id, TaskState::Stopped, false);
    }
    rig.look();
    rig.pass(60);
    rig.look();
    let change = &rig.deployment().current().unwrap().change;
    assert!(change.starts_with("rollback to version 2: no slot got done for 60 s: slot 1: PENDING"), "{change}");
    rig.settle();
    assert_eq!((rig.state(), rig.holding()), (RolloutState::Complete, vec![(2, true); 2]));
}

#[test]
fn a_canary_that_fails_while_it_waits_for_its_promotion_is_judged() {
    for order in [UpdateOrder::StartFirst, UpdateOrder::StopFirst] {
        let mut rig = updating(UpdatePolicy { canaries: 1, ..policy(order, 1) });
        rig.settle();
        assert_eq!(rig.state(), RolloutState::AwaitingPromotion);
        fail(&mut rig, 2);
        assert_eq!(rig.state(), RolloutState::Paused, "{order:?}");
    }
}

#[test]
fn what_never_ran_proves_nothing() {
    let mut rig = Rig::running(1, start_first(1, image(1)));
    rig.update(start_first(0, image(1)));
    rig.settle();
    rig.update(start_first(0, image(2)));
    rig.settle();
    let proven: Vec<bool> = rig.deployment().versions.iter().map(|version| version.proven).collect();
    assert_eq!((rig.state(), proven), (RolloutState::Complete, vec![true, true, false]));
}

#[test]
fn one_that_failed_goes_on_when_what_is_wanted_changes_in_what_replaces_nothing() {
    let mut rig = updating(policy(UpdateOrder::StartFirst, 1));
    rig.pass(600);
    rig.look();
    assert_eq!(rig.state(), RolloutState::Failed);
    rig.update(spec(4, image(2), policy(UpdateOrder::StartFirst, 1)));
    rig.settle();
    assert_eq!((rig.state(), rig.holding()), (RolloutState::Complete, vec![(2, true); 4]));
}

#[test]
fn a_clock_that_is_set_fails_no_rollout_and_ends_no_wait() {
    let mut rig = updating(policy(UpdateOrder::StartFirst, 1));
    rig.work(|_| true);
    rig.look();
    let by = jiff::SignedDuration::from_hours(5);
    rig.pass(5 * 3600);
    rig.cluster.run(|draft| shift_rollouts(draft, by));
    rig.look();
    assert_eq!((rig.state(), rig.deployment().rollout.done), (RolloutState::InProgress, 0));
    rig.pass(5);
    rig.look();
    assert_eq!(rig.deployment().rollout.done, 1);
}

#[test]
fn what_serves_again_right_before_the_deadline_has_its_time_beyond_it() {
    let mut rig = Rig::new(2, start_first(2, image(1)));
    rig.look();
    rig.work(|_| true);
    rig.look();
    let one = rig.tasks()[0].task_id;
    rig.report(one, TaskState::Running, false);
    rig.look();
    rig.pass(598);
    rig.report(one, TaskState::Running, true);
    rig.look();
    rig.pass(3);
    rig.look();
    assert_eq!(rig.state(), RolloutState::InProgress);
    assert!(rig.cluster.state.next_deployment_look().is_some_and(|at| at > rig.cluster.now));
    rig.pass(2);
    rig.look();
    assert_eq!(rig.state(), RolloutState::Complete);
}
