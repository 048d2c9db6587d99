//! What follows from the nodes: how many are in each state, and which of them something is to be done about. Kept up with every
//! version of a node, so that whoever looks for those few need not look at all.

use davit_core::id::NodeId;
use davit_core::node::{Node, NodeState};
use davit_core::resources::Resources;
use imbl::OrdSet;

/// The nodes at a glance.
#[derive(Debug, Clone, Default)]
pub(super) struct Fleet {
    ready: u64,
    /// What READY nodes offer.
    ready_allocatable: Resources,
    /// Nodes that are SUSPECT.
    pub(super) suspect: OrdSet<NodeId>,
    /// Nodes that are DOWN.
    pub(super) down: OrdSet<NodeId>,
    /// Nodes with a runtime that does not answer.
    pub(super) troubled: OrdSet<NodeId>,
    /// Nodes that have a drain, also one that is over.
    pub(super) drained: OrdSet<NodeId>,
}

impl Fleet {
    /// How many nodes are in a state.
    pub(super) fn count(&self, state: NodeState) -> u64 {
        match state {
            NodeState::Ready => self.ready,
            NodeState::Suspect => self.suspect.len() as u64,
            NodeState::Down => self.down.len() as u64,
        }
    }

    /// What READY nodes offer.
    pub(super) fn ready_allocatable(&self) -> Resources {
        self.ready_allocatable
    }

    /// Nodes that are not READY.
    pub(super) fn not_ready(&self) -> impl Iterator<Item = NodeId> {
        self.suspect.iter().chain(&self.down).copied()
    }

    /// Brings it from one version of a node to the next.
    pub(super) fn reindex(&mut self, before: Option<&Node>, after: Option<&Node>) {
        let Some(node_id) = after.or(before).map(|node| node.node_id) else { return };
        let ready = |node: Option<&Node>| {
            let ready = node.filter(|node| node.state == NodeState::Ready);
            ready.map_or((0, Resources::ZERO), |node| (1, node.description.allocatable))
        };
        let ((counted_before, offered_before), (counted, offered)) = (ready(before), ready(after));
        self.ready = (self.ready + counted).saturating_sub(counted_before);
        self.ready_allocatable = self.ready_allocatable.saturating_add(offered).saturating_sub(offered_before);
        keep(&mut self.suspect, node_id, after.is_some_and(|node| node.state == NodeState::Suspect));
        keep(&mut self.down, node_id, after.is_some_and(|node| node.state == NodeState::Down));
        keep(&mut self.troubled, node_id, after.is_some_and(|node| !node.runtime_problems.is_empty()));
        keep(&mut self.drained, node_id, after.is_some_and(|node| node.drain.is_some()));
    }
}

fn keep(set: &mut OrdSet<NodeId>, node_id: NodeId, is_in: bool) {
    if is_in {
        set.insert(node_id);
    } else {
        set.remove(&node_id);
    }
}
