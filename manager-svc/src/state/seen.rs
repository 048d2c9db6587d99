//! Which nodes differ between two versions of the cluster. Versions share what did not change, and whole parts that they share are
//! passed over: the cost follows what differs, not how many nodes there are.

use std::collections::BTreeSet;
use std::sync::Arc;

use davit_core::id::NodeId;
use davit_core::node::Node;
use imbl::OrdMap;
use imbl::ordmap::DiffItem;

use super::{ClusterState, NodeUsage};

/// The nodes of one version and what is set aside on them, to be compared later. At first: none.
#[derive(Debug, Clone, Default)]
pub(crate) struct NodesSeen {
    nodes: OrdMap<NodeId, Arc<Node>>,
    usage: OrdMap<NodeId, Arc<NodeUsage>>,
}

impl ClusterState {
    /// The nodes as they are.
    pub(crate) fn nodes_seen(&self) -> NodesSeen {
        NodesSeen { nodes: self.nodes.clone(), usage: self.usage.clone() }
    }

    /// Nodes that are not what was seen of another version, have come or are gone, or on which other things are set aside.
    pub(crate) fn nodes_changed_since(&self, seen: &NodesSeen) -> BTreeSet<NodeId> {
        let nodes = seen.nodes.diff(&self.nodes).map(|item| key_of(&item));
        let usage = seen.usage.diff(&self.usage).map(|item| key_of(&item));
        self.visits.of_nodes(nodes.chain(usage)).collect()
    }
}

fn key_of<V>(item: &DiffItem<'_, '_, NodeId, V>) -> NodeId {
    let (DiffItem::Add(node_id, _) | DiffItem::Update { new: (node_id, _), .. } | DiffItem::Remove(node_id, _)) = item;
    **node_id
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use davit_core::node::NodeState;
    use proptest::prelude::*;

    use super::*;
    use crate::commands::test_support::random::ops;
    use crate::commands::test_support::{Cluster, node_id, spec};
    use crate::commands::{remove_node, set_cordon, set_node_state};

    #[test]
    fn a_node_differs_when_it_changed_or_what_is_set_aside_on_it() {
        let mut cluster = Cluster::new(4);
        assert_eq!(cluster.state.nodes_changed_since(&NodesSeen::default()).len(), 4);
        let seen = cluster.state.nodes_seen();
        let task_id = cluster.create(spec());
        assert_eq!(cluster.state.nodes_changed_since(&seen), BTreeSet::new());
        cluster.place(task_id, 3);
        cluster.run(|draft| set_cordon(draft, "node-1", true)).unwrap();
        cluster.run(|draft| set_node_state(draft, node_id(4), NodeState::Down, "silent"));
        cluster.run(|draft| remove_node(draft, "node-4", false)).unwrap();
        let visited = cluster.state.visited();
        assert_eq!(cluster.state.nodes_changed_since(&seen), BTreeSet::from([1, 3, 4].map(node_id)));
        assert_eq!(cluster.state.visited().nodes - visited.nodes, 3);
    }

    /// How often values were compared.
    static COMPARED: AtomicU64 = AtomicU64::new(0);

    #[derive(Debug, Clone)]
    struct Compared(u64);

    impl PartialEq for Compared {
        fn eq(&self, other: &Self) -> bool {
            COMPARED.fetch_add(1, Ordering::Relaxed);
            self.0 == other.0
        }
    }

    #[test]
    fn of_many_entries_only_those_beside_what_differs_are_compared() {
        // So many share a leaf of the map with one, or are passed on the way from one leaf to another.
        const BESIDE: u64 = 100;
        for count in [1_000_u64, 100_000] {
            let before: OrdMap<u64, Compared> = (0..count).map(|key| (key, Compared(key))).collect();
            let mut after = before.clone();
            after.insert(count / 2, Compared(0));
            after.remove(&(count / 3));
            after.insert(count, Compared(0));
            COMPARED.store(0, Ordering::Relaxed);
            assert_eq!(before.diff(&after).count(), 3);
            let compared = COMPARED.load(Ordering::Relaxed);
            assert!(compared > 0 && compared <= 3 * BESIDE, "{compared} of {count}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

        #[test]
        fn what_differs_is_what_a_look_at_all_finds(before in ops(), after in ops()) {
            let mut cluster = Cluster::new(3);
            before.iter().for_each(|op| drop(cluster.apply(op)));
            let earlier = cluster.state.clone();
            after.iter().for_each(|op| drop(cluster.apply(op)));
            let later = &cluster.state;
            let all = [&earlier, later].into_iter().flat_map(|state| state.nodes.keys().chain(state.usage.keys()));
            let differs = |node_id: &&NodeId| {
                earlier.node(**node_id) != later.node(**node_id) || earlier.usage(**node_id) != later.usage(**node_id)
            };
            let differing: BTreeSet<NodeId> = all.filter(differs).copied().collect();
            prop_assert_eq!(later.nodes_changed_since(&earlier.nodes_seen()), differing);
        }
    }
}
