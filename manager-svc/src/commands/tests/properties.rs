//! Facts that hold after every one of any sequence of commands.

use std::collections::{BTreeMap, BTreeSet};

use davit_core::id::JobId;
use davit_core::job::RunState;
use davit_core::restart::RestartMode;
use davit_core::state::{TaskEvent, TaskState, transition};
use davit_core::task::{AttemptStatus, DesiredState, RunIndex, Task};
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;

use crate::commands::test_support::random::{Op, Ran, ops};
use crate::commands::test_support::{Cluster, node_id};
use crate::commands::{apply_reports, has_ripe_claim, settle_claims};
use crate::state::{Batch, ClusterState, Versions};

fn no_node_is_over_committed(state: &ClusterState) -> Result<(), TestCaseError> {
    for node in state.nodes() {
        let mut reserved = davit_core::resources::Resources::ZERO;
        let (mut ports, mut numbers) = (BTreeSet::new(), BTreeSet::new());
        let on_node =
            |task: &&std::sync::Arc<Task>| task.status.node_id == Some(node.node_id) && task.status.state.is_on_node();
        for task in state.tasks().filter(on_node) {
            let needs = task.spec.requirements();
            reserved = reserved.saturating_add(needs.reservation);
            let given = task.given_ports.iter().map(|port| (port.protocol, port.host_port));
            for port in needs.host_ports.into_iter().chain(given) {
                prop_assert!(ports.insert(port), "host port {port:?} is given twice on {}", node.description.name);
            }
            prop_assert_eq!(task.given_ports.len(), needs.dynamic_ports as usize, "a port is missing");
            for port in &task.given_ports {
                prop_assert!(numbers.insert(port.host_port), "number {} is given twice", port.host_port);
                prop_assert!(node.description.port_range.is_some_and(|range| range.contains(port.host_port)));
                prop_assert!(task.status.ports.contains(port), "{port:?} is not told of");
            }
        }
        prop_assert!(reserved.fits_in(node.description.allocatable), "{} is over-committed", node.description.name);
    }
    Ok(())
}

fn nobody_is_beside_whom_it_refuses(state: &ClusterState) -> Result<(), TestCaseError> {
    for node in state.nodes() {
        for task in state.tasks_on(node.node_id) {
            let others = state.tasks_on(node.node_id).filter(|other| other.task_id != task.task_id);
            for mark in others.flat_map(|other| other.spec.marks().collect::<Vec<_>>()) {
                prop_assert!(!task.spec.placement.task_anti_affinities.contains(&mark), "{mark} is beside a refuser");
            }
        }
    }
    Ok(())
}

/// What mounts a volume is where that is, and what is placed of a group is placed where the rest of it stays.
fn what_is_kept_on_a_node_is_there(batch: &Batch, state: &ClusterState) -> Result<(), TestCaseError> {
    for home in state.volumes_after("") {
        prop_assert!(state.node(home.node_id).is_some(), "volume {} is on a node that is gone", home.name);
    }
    for change in &batch.changes {
        let Versions::Task { before: Some(before), after: Some(after) } = &change.versions else { continue };
        let is_placed = before.status.state == TaskState::Pending && after.status.state == TaskState::Scheduled;
        let Some(node_id) = after.status.node_id.filter(|_| is_placed && after.pinned_to().is_none()) else { continue };
        for name in after.spec.volumes() {
            prop_assert_eq!(state.volume(name).map(|home| home.node_id), Some(node_id), "volume {}", name);
        }
        let Some(group) = after.spec.placement.colocation.as_ref().map(|one| &one.group) else { continue };
        if after.spec.volumes().next().is_some() {
            continue;
        }
        for node in state.nodes().filter(|node| node.node_id != node_id && node.drain.is_none()) {
            let is_member = |task: &&std::sync::Arc<Task>| {
                let of_group = task.spec.placement.colocation.as_ref().is_some_and(|one| one.group == *group);
                of_group && task.pinned_to().is_none()
            };
            let stays = node.state != davit_core::node::NodeState::Down;
            prop_assert!(!stays || !state.tasks_on(node.node_id).any(|task| is_member(&task)), "{group} is split");
        }
    }
    Ok(())
}

fn claims_are_of_tasks_that_are_to_run(state: &ClusterState) -> Result<(), TestCaseError> {
    for task in state.tasks().filter(|task| task.claim.is_some()) {
        let waits_or_is_stopped = task.status.state == TaskState::Pending || !task.wants_current_attempt();
        prop_assert!(task.desired_state == DesiredState::Running && waits_or_is_stopped, "{task:?}");
        prop_assert!(state.placeable(jiff::Timestamp::MAX).all(|waiting| waiting.task_id != task.task_id));
    }
    Ok(())
}

fn a_drained_node_takes_no_tasks(state: &ClusterState, op: &Op, refused: bool) -> Result<(), TestCaseError> {
    for node in state.drained_nodes() {
        let Some(drain) = &node.drain else { continue };
        prop_assert!(node.cordoned, "{} is drained and takes tasks", node.description.name);
        if matches!(op, Op::MoveDrained(from, ..) if !refused && node_id(*from) == node.node_id) {
            prop_assert!(drain.moving.len() <= drain.max_parallel as usize, "too many are on the move");
        }
    }
    prop_assert_eq!(state.drained_nodes().count(), state.nodes().filter(|node| node.drain.is_some()).count());
    Ok(())
}

/// Whoever was asked to stop does.
fn let_all_stop(cluster: &mut Cluster) {
    let stopping: Vec<_> = cluster
        .state
        .tasks()
        .filter(|task| task.status.state.is_on_node())
        .filter(|task| !task.wants_current_attempt() || task.status.state == TaskState::Stopping)
        .cloned()
        .collect();
    for task in stopping {
        let said = AttemptStatus { state: TaskState::Stopped, ..AttemptStatus::pending(task.status.attempt, "") };
        let node_id = task.status.node_id.unwrap();
        cluster.run(|draft| apply_reports(draft, node_id, vec![(task.task_id, said)]));
    }
}

fn task_moved_by_the_table(before: &Task, after: &Task) -> Result<(), TestCaseError> {
    let (from, to) = (&before.status, &after.status);
    let legal = if from.attempt == to.attempt {
        let reachable = |event| transition(from.state, event).is_ok_and(|row| row.to == to.state);
        from.state == to.state || TaskEvent::ALL.into_iter().filter(|event| *event != TaskEvent::Retry).any(reachable)
    } else {
        to.attempt == from.attempt.next() && to.state == TaskState::Pending && from.state.is_terminal()
    };
    prop_assert!(legal, "{} {} became {} {}", from.attempt, from.state, to.attempt, to.state);
    Ok(())
}

fn a_completed_task_stays_completed(before: &Task, after: &Task, op: &Op) -> Result<(), TestCaseError> {
    let done = before.status.state == TaskState::Completed && before.spec.restart.mode == RestartMode::Never;
    let user_asks = matches!(op, Op::Restart(_)) || before.wanted_attempt > before.status.attempt;
    prop_assert!(!done || user_asks || after.status.attempt == before.status.attempt, "{op:?} ran it again");
    Ok(())
}

fn each_change_is_allowed(batch: &Batch, op: &Op) -> Result<(), TestCaseError> {
    for change in &batch.changes {
        match &change.versions {
            Versions::Task { before: Some(before), after: Some(after) } => {
                task_moved_by_the_table(before, after)?;
                a_completed_task_stays_completed(before, after, op)?;
            }
            Versions::Task { before: Some(before), after: None } => {
                prop_assert!(before.status.state.is_terminal(), "a task was deleted while {}", before.status.state);
            }
            Versions::Task { before: None, .. }
            | Versions::Node { .. }
            | Versions::Deployment { .. }
            | Versions::Job { .. }
            | Versions::Config { .. } => {}
        }
    }
    Ok(())
}

/// In so many looks jobs come to rest when nothing else happens.
const ROUNDS: usize = 30;

/// Indexes of jobs that ever had a task, and whether one completed.
type Indexes = BTreeMap<(JobId, RunIndex), bool>;

/// No index has a second task, nor another attempt once it completed.
fn no_index_runs_again(batch: &Batch, indexes: &mut Indexes) -> Result<(), TestCaseError> {
    for change in &batch.changes {
        let Versions::Task { before, after } = &change.versions else { continue };
        let Some(index) = after.as_ref().or(before.as_ref()).and_then(|task| task.run_index()) else { continue };
        if before.is_none() {
            prop_assert_eq!(indexes.insert(index, false), None, "{:?} gets another task", index);
        }
        let runs = after.as_ref().is_some_and(|task| !task.is_finished());
        prop_assert!(!runs || indexes.get(&index) == Some(&false), "{:?} runs again", index);
        if after.as_ref().is_some_and(|task| task.status.state == TaskState::Completed) {
            indexes.insert(index, true);
        }
    }
    Ok(())
}

/// What jobs say of their runs is so.
fn runs_are_as_their_tasks(state: &ClusterState) -> Result<(), TestCaseError> {
    for job in state.jobs() {
        for run in &job.runs {
            let open = state.tasks_of_run(job.job_id, run.number).filter(|(_, task)| !task.is_finished()).count();
            let spec_parallelism = run.spec.as_ref().map_or(0, |spec| spec.parallelism);
            prop_assert!(open <= spec_parallelism as usize, "{} of {:?}", open, run);
            prop_assert!(open <= run.active() as usize, "{} of {:?}", open, run);
            prop_assert!(!run.state.has_ended() || run.active() == 0, "{:?}", run);
            prop_assert!(run.state != RunState::Completed || run.completed.count() == run.completions, "{:?}", run);
        }
        prop_assert!(job.runs.windows(2).all(|pair| pair[0].number < pair[1].number));
    }
    Ok(())
}

fn stale_reports_change_nothing(ran: &Ran, batch: &Batch) -> Result<(), TestCaseError> {
    let Some((node, said, task)) = &ran.report else { return Ok(()) };
    let fresh = task.as_ref().is_some_and(|task| {
        task.status.node_id == Some(node_id(*node))
            && said.attempt == task.status.attempt
            && said.order() > task.status.order()
            && !task.status.state.is_terminal()
            && said.state.reported_by().is_some()
    });
    prop_assert!(fresh || batch.is_empty(), "a stale report was believed: {said:?} of {task:?}");
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn no_sequence_of_commands_breaks_a_promise(ops in ops()) {
        let (mut cluster, mut indexes) = (Cluster::new(2), Indexes::new());
        for op in &ops {
            let revision = cluster.state.revision();
            let ran = cluster.apply(op);
            let batch = cluster.last_batch.clone();
            if ran.refused {
                prop_assert!(batch.is_empty(), "a refused command changed something: {op:?}");
                prop_assert_eq!(cluster.state.revision(), revision);
            }
            no_node_is_over_committed(&cluster.state)?;
            nobody_is_beside_whom_it_refuses(&cluster.state)?;
            claims_are_of_tasks_that_are_to_run(&cluster.state)?;
            a_drained_node_takes_no_tasks(&cluster.state, op, ran.refused)?;
            each_change_is_allowed(&batch, op)?;
            stale_reports_change_nothing(&ran, &batch)?;
            no_index_runs_again(&batch, &mut indexes)?;
            runs_are_as_their_tasks(&cluster.state)?;
            what_is_kept_on_a_node_is_there(&batch, &cluster.state)?;
        }
        for _ in 0..3 {
            let_all_stop(&mut cluster);
            cluster.run(settle_claims);
            no_node_is_over_committed(&cluster.state)?;
        }
        let rests = (0..ROUNDS).any(|_| !cluster.reconcile_jobs());
        prop_assert!(rests, "jobs never come to rest: {:?}", cluster.last_batch);
        runs_are_as_their_tasks(&cluster.state)?;
        let claimants = cluster.state.claimants().filter(|task| task.pinned_to().is_none());
        prop_assert_eq!(claimants.count(), 0, "a claim never ends");
        prop_assert!(!has_ripe_claim(&cluster.state, cluster.now));
    }
}
