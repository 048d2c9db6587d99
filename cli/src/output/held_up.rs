//! Tasks that are to go and can't be stopped now, and why.

use davit_proto::v1;

use super::live_tasks::place_name;
use super::table::runtime;
use super::text::{has_ended, state_of, task_name};

/// Whether tasks of a node may have to wait until they are stopped.
#[must_use]
pub fn may_hold_up(node: &v1::Node) -> bool {
    node.state() != v1::NodeState::Ready || !node.runtime_problems.is_empty()
}

/// What holds up a task that is to go and is on this node: which task, where, and what it waits for. `None`: nothing does. It has no
/// times, which would make it news again and again.
#[must_use]
pub fn held_up_line(task: &v1::Task, node: &v1::Node) -> Option<String> {
    if task.desired_state() == v1::DesiredState::Running || has_ended(state_of(task)) {
        return None;
    }
    let policy = task.spec.as_ref().and_then(|spec| spec.on_node_loss.as_ref());
    let is_leased = policy.is_some_and(|policy| policy.action() == v1::NodeLossAction::StopAndReplace);
    let why = match node.state() {
        v1::NodeState::Down if is_leased => {
            "which is DOWN: it goes when the node is back, or its lease and the time to stop the task have passed"
                .to_owned()
        }
        // It is LOST the moment after.
        v1::NodeState::Down => "which is DOWN".to_owned(),
        v1::NodeState::Suspect | v1::NodeState::Unspecified => {
            let reason = if node.state_reason.is_empty() { String::new() } else { format!(" ({})", node.state_reason) };
            let lease = if is_leased { " and its lease has passed" } else { "" };
            format!("which is out of touch{reason}: it goes when the node is back, or DOWN{lease}")
        }
        v1::NodeState::Ready => {
            let found = problem(task, node)?;
            format!("where {} fails ({}): it goes when that works again", runtime(found.kind()), found.problem)
        }
    };
    Some(format!("{} {} on {}, {why}", task_name(task), place_name(task), node.name))
}

/// What is wrong with the runtime that has the task.
fn problem<'a>(task: &v1::Task, node: &'a v1::Node) -> Option<&'a v1::RuntimeProblem> {
    let kind = match task.spec.as_ref()?.runtime.as_ref()? {
        v1::task_spec::Runtime::Container(_) => v1::RuntimeKind::Docker,
        v1::task_spec::Runtime::Process(_) => v1::RuntimeKind::Process,
    };
    node.runtime_problems.iter().find(|problem| problem.kind() == kind)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::test_support::{node, running_task};

    fn going(action: v1::NodeLossAction) -> v1::Task {
        let mut task = running_task();
        task.desired_state = v1::DesiredState::Removed.into();
        task.deployment = Some(v1::DeploymentSlot { slot: 2, ..Default::default() });
        let policy = v1::NodeLossPolicy { action: action.into(), ..Default::default() };
        task.spec.get_or_insert_default().on_node_loss = Some(policy);
        task
    }

    fn out_of_touch(state: v1::NodeState, reason: &str) -> v1::Node {
        v1::Node { state: state.into(), state_reason: reason.into(), ..node(2, "node-2") }
    }

    #[test]
    fn what_waits_for_its_node_says_for_which_and_until_when() {
        let suspect = out_of_touch(v1::NodeState::Suspect, "its session broke");
        let down = out_of_touch(v1::NodeState::Down, "nothing was heard from its worker for 3.0 s");
        let mut failing = node(2, "node-2");
        let problem = v1::RuntimeProblem {
            kind: v1::RuntimeKind::Docker.into(),
            problem: "no answer within 5 s".into(),
            ..Default::default()
        };
        failing.runtime_problems = vec![problem];
        let mut told = Vec::new();
        for action in [v1::NodeLossAction::Replace, v1::NodeLossAction::StopAndReplace] {
            for node in [&suspect, &down, &failing] {
                assert!(may_hold_up(node));
                told.extend(held_up_line(&going(action), node));
            }
        }
        insta::assert_snapshot!(told.join("\n"));
    }

    #[test]
    fn what_is_to_stay_has_ended_or_can_be_stopped_is_not_held_up() {
        let down = out_of_touch(v1::NodeState::Down, "");
        let task = going(v1::NodeLossAction::Replace);
        assert_eq!(held_up_line(&running_task(), &down), None);
        let mut ended = task.clone();
        ended.status.get_or_insert_default().state = v1::TaskState::Stopped.into();
        assert_eq!(held_up_line(&ended, &down), None);
        assert!(!may_hold_up(&node(2, "node-2")));
        assert_eq!(held_up_line(&task, &node(2, "node-2")), None);
    }
}
