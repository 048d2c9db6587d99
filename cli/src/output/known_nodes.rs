//! What is known of the nodes that tasks name.

use std::collections::HashMap;

use davit_proto::v1;
use jiff::{SignedDuration, Timestamp};

use super::text::{age, detail, from_proto_time, has_ended, short_id, state_of, task_name};

/// Nodes by id.
#[derive(Debug, Clone, Default)]
pub struct KnownNodes(HashMap<String, KnownNode>);

#[derive(Debug, Clone)]
struct KnownNode {
    name: String,
    /// Set while the node is DOWN.
    down_since: Option<Timestamp>,
}

impl KnownNodes {
    /// With the nodes of an explanation, which may be made up.
    pub(super) fn add_explained(&mut self, explanation: &v1::PlacementExplanation) {
        self.0.extend(explanation.nodes.iter().map(|node| {
            let known = KnownNode { name: node.node_name.clone(), down_since: None };
            (node.node_id.clone(), known)
        }));
    }

    /// The name of a node. One that is gone is named by its id; no id gives no name.
    #[must_use]
    pub fn of<'a>(&'a self, node_id: &'a str) -> &'a str {
        self.0.get(node_id).map_or_else(|| short_id(node_id), |known| known.name.as_str())
    }

    /// A task's name with its place in its deployment: `web.2`, or `web.node-1` where each node has one.
    #[must_use]
    pub fn place_of(&self, task: &v1::Task) -> String {
        let name = task_name(task);
        match &task.deployment {
            Some(place) if place.node_id.is_empty() => format!("{name}.{}", place.slot),
            Some(place) => format!("{name}.{}", self.of(&place.node_id)),
            None => name.to_owned(),
        }
    }

    /// What a person wants to know of a task's current attempt besides its state.
    pub(super) fn detail_of(&self, task: &v1::Task, now: Timestamp) -> String {
        let mut parts: Vec<String> = self.awaited_node(task, now).into_iter().collect();
        parts.extend(task.status.as_ref().map(|status| detail(status, now)).filter(|detail| !detail.is_empty()));
        parts.join("; ")
    }

    /// That a task's node is DOWN, and until when the task waits for it: its state is the last that was heard.
    fn awaited_node(&self, task: &v1::Task, now: Timestamp) -> Option<String> {
        let status = task.status.as_ref().filter(|_| !has_ended(state_of(task)))?;
        let since = self.0.get(&status.node_id)?.down_since?;
        let down = format!("its node is DOWN for {}", age(since, now));
        let policy = task.spec.as_ref().and_then(|spec| spec.on_node_loss.as_ref());
        let action = policy.map(v1::NodeLossPolicy::action).unwrap_or_default();
        Some(match (action, task.desired_state()) {
            (v1::NodeLossAction::StopAndReplace, v1::DesiredState::Running) => {
                format!("{down}: replaced when its lease, and the time to stop it, have passed")
            }
            (v1::NodeLossAction::StopAndReplace, _) => {
                format!("{down}: LOST when its lease, and the time to stop it, have passed")
            }
            (v1::NodeLossAction::Wait, v1::DesiredState::Running) => {
                let wait = policy.and_then(|policy| policy.wait).map_or(0, |wait| wait.seconds);
                let due = since.saturating_add(SignedDuration::from_secs(wait)).unwrap_or(Timestamp::MAX);
                format!("{down}: replaced unless it is back in {}", age(now, due))
            }
            // To be LOST in the same moment.
            _ => down,
        })
    }
}

impl<'a> FromIterator<&'a v1::Node> for KnownNodes {
    fn from_iter<I: IntoIterator<Item = &'a v1::Node>>(nodes: I) -> Self {
        let known = |node: &v1::Node| {
            let is_down = node.state() == v1::NodeState::Down;
            let down_since = from_proto_time(node.state_time.as_ref()).filter(|_| is_down);
            (node.node_id.clone(), KnownNode { name: node.name.clone(), down_since })
        };
        Self(nodes.into_iter().map(known).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::test_support::{NOW, failed_task, node, node_id, running_task, seconds_before};

    fn told(action: v1::NodeLossAction, wait_seconds: Option<i64>, desired: v1::DesiredState) -> String {
        let mut down = node(1, "one");
        let since = seconds_before(20).as_second();
        (down.state, down.state_time) =
            (v1::NodeState::Down.into(), Some(prost_types::Timestamp { seconds: since, nanos: 0 }));
        let mut task = running_task();
        task.desired_state = desired.into();
        let wait = wait_seconds.map(|seconds| prost_types::Duration { seconds, nanos: 0 });
        task.spec.get_or_insert_default().on_node_loss = Some(v1::NodeLossPolicy { action: action.into(), wait });
        [&down].into_iter().collect::<KnownNodes>().detail_of(&task, NOW)
    }

    #[test]
    fn a_task_that_waits_for_its_node_says_so_and_until_when() {
        use v1::{DesiredState, NodeLossAction};
        let wait = |desired| told(NodeLossAction::Wait, Some(60), desired);
        assert_eq!(wait(DesiredState::Running), "its node is DOWN for 20s: replaced unless it is back in 40s");
        assert_eq!(wait(DesiredState::Stopped), "its node is DOWN for 20s");
        let leased = |desired| told(NodeLossAction::StopAndReplace, None, desired);
        assert_eq!(
            leased(DesiredState::Running),
            "its node is DOWN for 20s: replaced when its lease, and the time to stop it, have passed"
        );
        assert_eq!(
            leased(DesiredState::Stopped),
            "its node is DOWN for 20s: LOST when its lease, and the time to stop it, have passed"
        );
        assert_eq!(told(NodeLossAction::Replace, None, DesiredState::Running), "its node is DOWN for 20s");
    }

    #[test]
    fn a_place_is_that_of_a_replica_or_of_a_node() {
        let nodes: KnownNodes = [node(1, "one")].iter().collect();
        let at = |slot, node_id: String| v1::DeploymentSlot { deployment_id: String::new(), slot, node_id };
        let place = |deployment| nodes.place_of(&v1::Task { deployment, ..running_task() });
        assert_eq!(place(Some(at(2, String::new()))), "web.2");
        assert_eq!(place(Some(at(0, node_id(1)))), "web.one");
        assert_eq!(place(None), "web");
    }

    #[test]
    fn a_wait_without_end_is_one() {
        let told = told(v1::NodeLossAction::Wait, Some(i64::MAX), v1::DesiredState::Running);
        assert!(told.starts_with("its node is DOWN for 20s: replaced unless it is back in "), "{told}");
    }

    #[test]
    fn what_has_ended_waits_for_no_node_and_neither_does_what_runs_on_one_that_answers() {
        let mut down = node(1, "one");
        down.state = v1::NodeState::Down.into();
        let of = |node: &v1::Node, task: v1::Task| [node].into_iter().collect::<KnownNodes>().detail_of(&task, NOW);
        assert_eq!(of(&down, failed_task()), "exited with code 3");
        assert_eq!(of(&node(1, "one"), running_task()), "");
    }
}
