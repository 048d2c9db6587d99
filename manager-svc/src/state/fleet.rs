//! What follows from the nodes: how many are in each state, and which of them something is to be done about. Kept up with every
//! version of a node, so that whoever looks for those few need not look at all.

use davit_core::id::NodeId;
use davit_core::node::{Node, NodeState};
use imbl::OrdSet;

/// The nodes at a glance.
#[derive(Debug, Clone, Default)]
pub(super) struct Fleet {
    ready: u64,
    suspect: u64,
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
            NodeState::Suspect => self.suspect,
            NodeState::Down => self.down.len() as u64,
        }
    }

    /// Brings it from one version of a node to the next.
    pub(super) fn reindex(&mut self, before: Option<&Node>, after: Option<&Node>) {
        let Some(node_id) = after.or(before).map(|node| node.node_id) else { return };
        let is_in = |node: Option<&Node>, state| u64::from(node.is_some_and(|node| node.state == state));
        for (count, state) in [(&mut self.ready, NodeState::Ready), (&mut self.suspect, NodeState::Suspect)] {
            *count = (*count + is_in(after, state)).saturating_sub(is_in(before, state));
        }
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
