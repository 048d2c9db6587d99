//! What workers measured last, in the order in which it came: whoever follows finds what is new without a look at the rest.

use std::collections::BTreeMap;

use davit_core::id::NodeId;
use davit_core::node::NodeStats;

/// The newest measurement of each node.
#[derive(Debug, Default)]
pub(super) struct Measurements {
    of: BTreeMap<NodeId, Numbered>,
    /// The node of each number that is still a newest one.
    by_number: BTreeMap<u64, NodeId>,
    count: u64,
}

/// A measurement, or that an earlier one counts no more.
#[derive(Debug)]
struct Numbered {
    /// Grows with every measurement of any node.
    number: u64,
    stats: Option<NodeStats>,
}

impl Measurements {
    pub(super) fn get(&self, node_id: NodeId) -> Option<NodeStats> {
        self.of.get(&node_id).and_then(|newest| newest.stats)
    }

    /// A node was measured; `None`: what was measured on it counts no more. Answers the number of that.
    pub(super) fn put(&mut self, node_id: NodeId, stats: Option<NodeStats>) -> u64 {
        self.count += 1;
        let number = self.count;
        if let Some(earlier) = self.of.insert(node_id, Numbered { number, stats }) {
            self.by_number.remove(&earlier.number);
        }
        self.by_number.insert(number, node_id);
        number
    }

    /// Forgets nodes that are gone.
    pub(super) fn retain(&mut self, exists: impl Fn(NodeId) -> bool) {
        self.of.retain(|node_id, _| exists(*node_id));
        self.by_number.retain(|_, node_id| self.of.contains_key(node_id));
    }

    /// Newest measurements that came after the `after`th, oldest first.
    pub(super) fn after(&self, after: u64) -> Vec<(u64, NodeId, Option<NodeStats>)> {
        let newer = self.by_number.range(after.saturating_add(1)..);
        newer.map(|(number, node_id)| (*number, *node_id, self.get(*node_id))).collect()
    }
}

#[cfg(test)]
mod tests {
    use davit_core::placement::test_support::stats;

    use super::*;
    use crate::commands::test_support::node_id;

    #[test]
    fn only_the_newest_of_each_node_is_found_in_the_order_in_which_it_came() {
        let mut measurements = Measurements::default();
        let mut put = |node, cpu: Option<u64>| measurements.put(node_id(node), cpu.map(|cpu| stats(cpu, 0)));
        let numbers = [put(1, Some(1)), put(2, Some(2)), put(1, Some(3)), put(3, Some(4)), put(2, None)];
        assert!(numbers.is_sorted_by(|earlier, later| earlier < later));
        let one = (numbers[2], node_id(1), Some(stats(3, 0)));
        let three = (numbers[3], node_id(3), Some(stats(4, 0)));
        let two = (numbers[4], node_id(2), None);
        assert_eq!(measurements.after(0), [one, three, two]);
        assert_eq!(measurements.after(numbers[2]), [three, two]);
        assert_eq!(measurements.after(numbers[4]), []);
        assert_eq!((measurements.get(node_id(2)), measurements.get(node_id(3))), (None, three.2));

        measurements.retain(|known| known != node_id(3));
        assert_eq!(measurements.after(0), [one, two]);
        assert_eq!((measurements.by_number.len(), measurements.get(node_id(3))), (2, None));
    }
}
