//! Plans follow from what there is, however it came to be known.

use std::sync::Arc;

use davit_core::deployment::DeploymentMode;
use davit_core::state::TaskState;
use davit_core::task::AttemptStatus;
use jiff::Timestamp;
use proptest::prelude::*;

use super::{DeploymentPlan, JobPlan, plan_deployment, plan_job};
use crate::commands::apply_reports;
use crate::commands::test_support::random::{Op, op};
use crate::commands::test_support::{Cluster, status};
use crate::state::{ClusterState, KeptEvents};
use crate::store::Snapshot;

/// Any command, more often than elsewhere one that deployments and jobs have to follow.
fn commands() -> impl Strategy<Value = Op> {
    let replicated = (0u32..6).prop_map(|replicas| DeploymentMode::Replicated { replicas });
    let mode = prop_oneof![2 => replicated, 1 => Just(DeploymentMode::Global)];
    let job = (0u8..3, 0usize..8, 1u32..5, 1u32..4, any::<bool>());
    prop_oneof![
        6 => op(),
        1 => (0u8..3, 0usize..8, mode).prop_map(|(name, shape, mode)| Op::Deploy { name, shape, mode }),
        1 => job.prop_map(|(name, shape, completions, parallelism, schedule)| {
            Op::Job { name, shape, completions, parallelism, schedule }
        }),
        1 => (1u64..4).prop_map(Op::PlaceAll),
        1 => Just(Op::Reconcile),
    ]
}

fn states() -> impl Strategy<Value = Option<TaskState>> {
    prop::option::of(prop::sample::select(vec![TaskState::Running, TaskState::Completed, TaskState::Failed]))
}

/// What is on a node gets on, and nobody has looked at that.
fn end_some(cluster: &mut Cluster, states: &[Option<TaskState>]) {
    let tasks: Vec<_> = cluster.state.tasks().filter(|task| task.status.state.is_on_node()).cloned().collect();
    for (task, state) in tasks.iter().zip(states) {
        let (Some(on), Some(state)) = (task.status.node_id, *state) else { continue };
        let said = AttemptStatus { sequence: u64::MAX, ..status(task.status.attempt, state) };
        cluster.run(|draft| apply_reports(draft, on, vec![(task.task_id, said)]));
    }
}

/// Puts things in the order of these numbers.
fn shuffle<T>(things: &mut Vec<T>, order: &[u32]) {
    let mut numbered: Vec<(u32, T)> = order.iter().copied().cycle().zip(std::mem::take(things)).collect();
    numbered.sort_by_key(|(number, _)| *number);
    things.extend(numbered.into_iter().map(|(_, thing)| thing));
}

/// The same cluster, as it is loaded by a store that keeps its records in this order.
fn loaded_in_order(snapshot: &Snapshot, order: &[u32]) -> ClusterState {
    let mut snapshot = snapshot.clone();
    shuffle(&mut snapshot.tasks, order);
    shuffle(&mut snapshot.nodes, order);
    shuffle(&mut snapshot.deployments, order);
    shuffle(&mut snapshot.jobs, order);
    shuffle(&mut snapshot.volumes, order);
    ClusterState::from_snapshot(snapshot, KeptEvents::up_to(10))
}

/// What is planned for everything, whether or not something of it changed.
fn plans(state: &ClusterState, now: Timestamp) -> (Vec<DeploymentPlan>, Vec<JobPlan>) {
    let deployments = state.deployments().map(|deployment| plan_deployment(state, deployment, now));
    let jobs = state.jobs().map(|job| plan_job(state, job, 3, now));
    (deployments.collect(), jobs.collect())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn plans_are_the_same_in_whatever_order_the_cluster_is_put_together(
        commands in prop::collection::vec(commands(), 1..60),
        states in prop::collection::vec(states(), 64),
        order in prop::collection::vec(any::<u32>(), 64),
    ) {
        let mut cluster = Cluster::new(3);
        for command in &commands {
            cluster.apply(command);
        }
        end_some(&mut cluster, &states);
        let snapshot = cluster.snapshot();
        let loaded = loaded_in_order(&snapshot, &order);
        let backwards: Vec<u32> = (0..64).rev().collect();
        prop_assert!(snapshot.tasks.iter().all(|task| loaded.task(task.task_id).is_some_and(|it| Arc::ptr_eq(it, task))));
        let grown = plans(&cluster.state, cluster.now);
        prop_assert_eq!(&plans(&loaded, cluster.now), &grown);
        prop_assert_eq!(&plans(&loaded_in_order(&snapshot, &backwards), cluster.now), &grown);
    }
}
