//! What is asked of the scheduler and what its answer means. Pure.

use std::collections::{BTreeMap, BTreeSet};

use davit_core::id::{AttemptKey, NodeId};
use davit_core::placement::{NodeView, Requirements};
use jiff::Timestamp;

use crate::commands::Placement;
use crate::state::ClusterState;

/// Tasks that one batch carries at most.
pub(super) const MAX_TASKS_PER_BATCH: usize = 50_000;

/// Like tasks that wait for a node.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Group {
    /// What each of them needs.
    pub(super) requirements: Requirements,
    /// The tasks, longest waiting first.
    pub(super) keys: Vec<AttemptKey>,
}

/// Where the scheduler puts the tasks of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    /// How many go where.
    pub(super) runs: Vec<(NodeId, u32)>,
    /// Why the rest goes nowhere.
    pub(super) unplaced_reason: String,
}

/// Groups the tasks that may be placed now. Groups whose requirements are `blocked` (nothing fitted them, and no node has
/// changed since) are left out.
pub(super) fn gather(state: &ClusterState, now: Timestamp, blocked: &BTreeSet<Requirements>) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    let mut index_of: BTreeMap<Requirements, usize> = BTreeMap::new();
    let wanted = state.placeable(now).map(|task| (task.key(), task.spec.requirements()));
    for (key, requirements) in
        wanted.filter(|(_, requirements)| !blocked.contains(requirements)).take(MAX_TASKS_PER_BATCH)
    {
        match index_of.get(&requirements) {
            Some(index) => groups[*index].keys.push(key),
            None => {
                index_of.insert(requirements.clone(), groups.len());
                groups.push(Group { requirements, keys: vec![key] });
            }
        }
    }
    groups
}

/// Turns the answer to a group into placements and, for tasks that go nowhere, reasons. An answer that places more tasks
/// than were asked for is cut short.
pub(super) fn resolve(group: &Group, answer: &Answer) -> (Vec<Placement>, Vec<(AttemptKey, String)>) {
    let mut keys = group.keys.iter().copied();
    let mut placements = Vec::with_capacity(group.keys.len());
    for (node_id, count) in &answer.runs {
        let count = usize::try_from(*count).unwrap_or(usize::MAX);
        placements.extend(keys.by_ref().take(count).map(|key| Placement { key, node_id: *node_id }));
    }
    (placements, keys.map(|key| (key, answer.unplaced_reason.clone())).collect())
}

/// What the scheduler knows of the nodes, as far as it was told or has placed tasks itself.
#[derive(Debug, Clone, Default)]
pub(super) struct Known {
    nodes: BTreeMap<NodeId, NodeView>,
}

/// What the scheduler has to be told.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Delta {
    pub(super) upserted: Vec<NodeView>,
    pub(super) removed: Vec<NodeId>,
    /// Whether more than measurements changed, so that what did not fit before may fit now.
    pub(super) is_substantial: bool,
}

impl Known {
    /// What differs between what the scheduler knows and what is; from now on it counts as told.
    pub(super) fn update(&mut self, current: impl IntoIterator<Item = NodeView>) -> Delta {
        let mut delta = Delta::default();
        let mut gone = std::mem::take(&mut self.nodes);
        for view in current {
            let before = gone.remove(&view.node_id);
            if before.as_ref() != Some(&view) {
                delta.is_substantial |= before.is_none_or(|before| NodeView { stats: view.stats, ..before } != view);
                delta.upserted.push(view.clone());
            }
            self.nodes.insert(view.node_id, view);
        }
        delta.is_substantial |= !gone.is_empty();
        delta.removed = gone.into_keys().collect();
        delta
    }

    /// The scheduler reserved what it placed: what [`resolve`] made of its answer, which is never more than was asked for.
    pub(super) fn placed(&mut self, requirements: &Requirements, placements: &[Placement]) {
        for placement in placements {
            if let Some(view) = self.nodes.get_mut(&placement.node_id) {
                view.reserve(requirements);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use davit_core::id::{Attempt, TaskId};
    use davit_core::node::{NodeState, NodeStats};
    use davit_core::placement::RuntimeKind;
    use davit_core::resources::Resources;
    use uuid::Uuid;

    use super::*;

    fn requirements() -> Requirements {
        let reservation = Resources { cpu_millis: 100, ..Resources::ZERO };
        Requirements { reservation, ..Requirements::of_runtime(RuntimeKind::Process) }
    }

    fn node(number: u128) -> NodeView {
        NodeView {
            node_id: NodeId(Uuid::from_u128(number)),
            name: format!("node-{number}"),
            os: "linux".to_owned(),
            arch: "x86_64".to_owned(),
            labels: BTreeMap::new(),
            state: NodeState::Ready,
            cordoned: false,
            runtimes: BTreeSet::from([RuntimeKind::Process]),
            allocatable: Resources { cpu_millis: 1000, ..Resources::ZERO },
            reserved: Resources::ZERO,
            host_ports: BTreeSet::new(),
            port_range: None,
            promised_ports: 0,
            task_count: 0,
            marks: BTreeMap::new(),
            refused: BTreeMap::new(),
            stats: None,
            tasks: Vec::new(),
        }
    }

    fn group(count: u128) -> Group {
        let key = |number| AttemptKey { task_id: TaskId(Uuid::from_u128(number)), attempt: Attempt::FIRST };
        Group { requirements: requirements(), keys: (0..count).map(key).collect() }
    }

    #[test]
    fn an_answer_is_spread_over_the_tasks_and_the_rest_gets_the_reason() {
        let answer =
            Answer { runs: vec![(node(1).node_id, 2), (node(2).node_id, 1)], unplaced_reason: "full".to_owned() };
        let (placements, unplaced) = resolve(&group(5), &answer);
        assert_eq!(
            placements.iter().map(|p| p.node_id).collect::<Vec<_>>(),
            vec![node(1).node_id, node(1).node_id, node(2).node_id]
        );
        assert_eq!(unplaced.iter().map(|(_, why)| why.as_str()).collect::<Vec<_>>(), vec!["full", "full"]);
    }

    #[test]
    fn an_answer_for_more_tasks_than_asked_is_cut_short() {
        let answer = Answer { runs: vec![(node(1).node_id, u32::MAX)], unplaced_reason: String::new() };
        assert_eq!(resolve(&group(3), &answer).0.len(), 3);
    }

    #[test]
    fn only_what_changed_is_told() {
        let mut known = Known::default();
        assert_eq!(known.update([node(1), node(2)]).upserted.len(), 2);
        assert_eq!(known.update([node(1), node(2)]), Delta::default());
        let cordoned = NodeView { cordoned: true, ..node(1) };
        let delta = known.update([cordoned.clone()]);
        assert_eq!(
            (delta.upserted, delta.removed, delta.is_substantial),
            (vec![cordoned], vec![node(2).node_id], true)
        );
    }

    #[test]
    fn a_measurement_alone_is_told_but_unblocks_nothing() {
        let mut known = Known::default();
        known.update([node(1)]);
        let stats = NodeStats {
            measured_at: Timestamp::UNIX_EPOCH,
            cpu_used_millis: 1,
            memory_used_bytes: 1,
            disk_used_bytes: 1,
            load_1m: 0.1,
            running_tasks: 0,
        };
        let delta = known.update([NodeView { stats: Some(stats), ..node(1) }]);
        assert_eq!((delta.upserted.len(), delta.is_substantial), (1, false));
    }

    #[test]
    fn what_the_scheduler_placed_need_not_be_told_and_what_was_rejected_is() {
        let mut known = Known::default();
        known.update([node(1), node(2)]);
        let answer = Answer { runs: vec![(node(1).node_id, 1), (node(2).node_id, 1)], unplaced_reason: String::new() };
        known.placed(&requirements(), &resolve(&group(2), &answer).0);
        let mut committed = node(1);
        committed.reserve(&requirements());
        let delta = known.update([committed, node(2)]);
        assert_eq!(delta.upserted, vec![node(2)]);
    }
}
