//! What holds whatever happens.

use std::collections::BTreeSet;

use davit_core::deployment::{OnRolloutFailure, UpdateOrder};
use davit_core::node::NodeState;
use davit_core::state::TaskState;
use davit_core::task::Slot;
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::TestCaseError;

use super::super::plan_deployment;
use super::*;
use crate::commands::{
    delete_task, pause_rollout, promote_rollout, resume_rollout, roll_back_deployment, scale_deployment,
    set_node_state, stop_task,
};
use crate::state::is_ready;

/// What happens to a deployment and its tasks.
#[derive(Debug, Clone)]
pub(super) enum Happens {
    Update(u32),
    Scale(u32),
    RollBack,
    Promote,
    Pause,
    Resume,
    Ready(Index),
    NotReady(Index),
    Fails(Index),
    Ends(Index),
    Stopped(Index),
    Deleted(Index),
    NodeDown(u64),
    NodeBack(u64),
    Work,
    Time(u64),
}

pub(super) fn happens() -> impl Strategy<Value = Happens> {
    prop_oneof![
        2 => (1u32..4).prop_map(Happens::Update),
        1 => (0u32..6).prop_map(Happens::Scale),
        1 => Just(Happens::RollBack),
        2 => Just(Happens::Promote),
        1 => Just(Happens::Pause),
        2 => Just(Happens::Resume),
        3 => any::<Index>().prop_map(Happens::Ready),
        2 => any::<Index>().prop_map(Happens::NotReady),
        2 => any::<Index>().prop_map(Happens::Fails),
        1 => any::<Index>().prop_map(Happens::Ends),
        1 => any::<Index>().prop_map(Happens::Stopped),
        1 => any::<Index>().prop_map(Happens::Deleted),
        1 => (1u64..=3).prop_map(Happens::NodeDown),
        1 => (1u64..=3).prop_map(Happens::NodeBack),
        6 => Just(Happens::Work),
        4 => (1u64..20).prop_map(Happens::Time),
        1 => Just(Happens::Time(700)),
    ]
}

pub(super) fn policies() -> impl Strategy<Value = UpdatePolicy> {
    let orders = prop_oneof![Just(UpdateOrder::StartFirst), Just(UpdateOrder::StopFirst)];
    let actions =
        prop_oneof![Just(OnRolloutFailure::Pause), Just(OnRolloutFailure::Rollback), Just(OnRolloutFailure::Continue)];
    (orders, 1u32..4, actions, 0u32..3, any::<bool>(), 0u64..3, 0u64..6).prop_map(
        |(order, parallelism, on_failure, canaries, auto_promote, delay, monitor)| UpdatePolicy {
            order,
            parallelism,
            on_failure,
            canaries,
            auto_promote,
            delay: Duration::from_secs(delay),
            monitor: Duration::from_secs(monitor),
            ..UpdatePolicy::default()
        },
    )
}

fn on_nodes(rig: &Rig) -> Vec<Arc<Task>> {
    rig.tasks().into_iter().filter(|task| task.status.state.is_on_node()).collect()
}

pub(super) fn happen(rig: &mut Rig, what: &Happens, update: UpdatePolicy) {
    let current = rig.deployment().current().unwrap().spec.clone();
    let report = |rig: &mut Rig, at: &Index, state, ready| {
        let tasks = on_nodes(rig);
        if !tasks.is_empty() {
            rig.report(at.get(&tasks).task_id, state, ready);
        }
    };
    match what {
        Happens::Update(version) => {
            let task = TaskSpec { constraints: current.task.constraints.clone(), ..image(*version) };
            rig.update(DeploymentSpec { mode: current.mode, ..spec(0, task, update) });
        }
        Happens::Scale(to) => {
            rig.cluster.run(|draft| scale_deployment(draft, &named(), *to, String::new(), Limits::NONE)).unwrap();
        }
        Happens::RollBack => drop(rig.cluster.run(|draft| roll_back_deployment(draft, &named(), None, String::new()))),
        Happens::Promote => drop(rig.cluster.run(|draft| promote_rollout(draft, &named()))),
        Happens::Pause => drop(rig.cluster.run(|draft| pause_rollout(draft, &named()))),
        Happens::Resume => drop(rig.cluster.run(|draft| resume_rollout(draft, &named()))),
        Happens::Ready(at) => report(rig, at, TaskState::Running, true),
        Happens::NotReady(at) => report(rig, at, TaskState::Running, false),
        Happens::Fails(at) => report(rig, at, TaskState::Failed, false),
        Happens::Ends(at) => report(rig, at, TaskState::Completed, false),
        Happens::Stopped(at) | Happens::Deleted(at) => {
            let tasks = rig.tasks();
            if !tasks.is_empty() {
                let task_id = at.get(&tasks).task_id;
                if matches!(what, Happens::Stopped(_)) {
                    drop(rig.cluster.run(|draft| stop_task(draft, task_id)));
                } else {
                    drop(rig.cluster.run(|draft| delete_task(draft, task_id, true)));
                }
            }
        }
        Happens::NodeDown(number) => {
            rig.cluster.run(|draft| set_node_state(draft, node_id(*number), NodeState::Down, "silent"));
            rig.cluster.lose_tasks_of_down_nodes();
        }
        Happens::NodeBack(number) => {
            rig.cluster.run(|draft| set_node_state(draft, node_id(*number), NodeState::Ready, "back"));
        }
        Happens::Work => rig.work(|task| task.status.ready || task.task_id.0.as_u128() % 3 > 0),
        Happens::Time(seconds) => rig.pass(*seconds),
    }
}

/// Places that are wanted and have a task which serves.
fn serving(rig: &Rig) -> BTreeSet<Slot> {
    let DeploymentMode::Replicated { replicas } = rig.deployment().current().unwrap().spec.mode else {
        return BTreeSet::new();
    };
    let tasks = rig.cluster.state.tasks_of(ID).filter(|(_, task)| task.holds_slot() && is_ready(task));
    tasks.map(|(slot, _)| slot).filter(|slot| *slot <= Slot::Replica(replicas)).collect()
}

/// How many places have two tasks that are to run.
fn doubled(rig: &Rig) -> usize {
    let mut counts: BTreeMap<Slot, usize> = BTreeMap::new();
    for (slot, _) in rig.cluster.state.tasks_of(ID).filter(|(_, task)| task.holds_slot()) {
        *counts.entry(slot).or_default() += 1;
    }
    counts.values().filter(|count| **count > 1).count()
}

fn check(rig: &mut Rig, update: UpdatePolicy) -> Result<(), TestCaseError> {
    let serving_before = serving(rig);
    let wanted_before = rig.deployment().current().unwrap().spec.mode;
    rig.look();
    let lost = serving_before.difference(&serving(rig)).count();
    let same_size = rig.deployment().current().unwrap().spec.mode == wanted_before;
    match update.order {
        // Where failures count for nothing, the old task goes although the new one does not serve.
        UpdateOrder::StartFirst if update.on_failure != OnRolloutFailure::Continue => {
            prop_assert!(lost == 0 || !same_size, "{lost} places that served do so no more");
            let most = (update.parallelism + update.canaries) as usize;
            prop_assert!(doubled(rig) <= most, "{} places have two tasks", doubled(rig));
        }
        UpdateOrder::StartFirst => {}
        UpdateOrder::StopFirst => {
            prop_assert!(lost <= update.parallelism as usize, "{lost} places that served do so no more");
        }
    }
    prop_assert!(rig.deployment().rollout.in_flight.len() <= 10);
    check_rest(rig)
}

/// That a second look finds nothing to do.
pub(super) fn check_rest(rig: &Rig) -> Result<(), TestCaseError> {
    let plan = plan_deployment(&rig.cluster.state, rig.deployment(), rig.cluster.now);
    prop_assert!(
        plan.steps.is_empty() && plan.rollout.is_none() && plan.roll_back_to.is_none(),
        "{plan:?} now {} look {:?} due {:?} before {:?}",
        rig.cluster.now,
        rig.cluster.state.next_deployment_look(),
        rig.cluster.state.deployments_to_look_at(rig.cluster.now),
        rig.deployment().rollout
    );
    Ok(())
}

/// Lets everything come to its end, with all that a user has to do for it.
pub(super) fn come_to_rest(rig: &mut Rig, update: UpdatePolicy) {
    for _ in 0..20 {
        rig.pass(300);
        rig.settle();
        match rig.state() {
            RolloutState::Complete => break,
            RolloutState::AwaitingPromotion => happen(rig, &Happens::Promote, update),
            _ => happen(rig, &Happens::Resume, update),
        }
    }
    rig.settle();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn bounds_hold_whatever_happens_and_it_comes_to_rest_as_wanted(
        update in policies(),
        all in prop::collection::vec(happens(), 1..60),
    ) {
        let mut rig = Rig::running(3, spec(3, image(1), update));
        for what in &all {
            happen(&mut rig, what, update);
            check(&mut rig, update)?;
        }
        // Nothing bad happens any more.
        for number in 1..=3 {
            happen(&mut rig, &Happens::NodeBack(number), update);
        }
        come_to_rest(&mut rig, update);
        let current = Arc::clone(rig.deployment().current().unwrap());
        let DeploymentMode::Replicated { replicas } = current.spec.mode else { unreachable!() };
        prop_assert_eq!(rig.state(), RolloutState::Complete);
        let tasks = rig.tasks();
        prop_assert_eq!(tasks.len(), replicas as usize);
        for task in tasks {
            prop_assert!(!current.spec.task.must_replace(&task.spec) && is_ready(&task));
        }
    }
}
