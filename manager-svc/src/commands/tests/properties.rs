//! Facts that hold after every one of any sequence of commands.

use std::collections::BTreeSet;

use davit_core::restart::RestartMode;
use davit_core::state::{TaskEvent, TaskState, transition};
use davit_core::task::Task;
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;

use crate::commands::test_support::random::{Op, Ran, ops};
use crate::commands::test_support::{Cluster, node_id};
use crate::state::{Batch, ClusterState, Versions};

fn no_node_is_over_committed(state: &ClusterState) -> Result<(), TestCaseError> {
    for node in state.nodes() {
        let mut reserved = davit_core::resources::Resources::ZERO;
        let mut ports = BTreeSet::new();
        let on_node =
            |task: &&std::sync::Arc<Task>| task.status.node_id == Some(node.node_id) && task.status.state.is_on_node();
        for task in state.tasks().filter(on_node) {
            let needs = task.spec.requirements();
            reserved = reserved.saturating_add(needs.reservation);
            for port in needs.host_ports {
                prop_assert!(ports.insert(port), "host port {port:?} is given twice on {}", node.description.name);
            }
        }
        prop_assert!(reserved.fits_in(node.description.allocatable), "{} is over-committed", node.description.name);
    }
    Ok(())
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
            Versions::Task { before: None, .. } | Versions::Node { .. } => {}
        }
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
        let mut cluster = Cluster::new(2);
        for op in &ops {
            let revision = cluster.state.revision();
            let ran = cluster.apply(op);
            let batch = cluster.last_batch.clone();
            if ran.refused {
                prop_assert!(batch.is_empty(), "a refused command changed something: {op:?}");
                prop_assert_eq!(cluster.state.revision(), revision);
            }
            no_node_is_over_committed(&cluster.state)?;
            each_change_is_allowed(&batch, op)?;
            stale_reports_change_nothing(&ran, &batch)?;
        }
    }
}
