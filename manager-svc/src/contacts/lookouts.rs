//! When whose contact is to be looked at, so that a look need not go over those of whom nothing can be to be said yet. A heartbeat
//! changes nothing here: it only turns out to have come when its node's turn to be looked at has.

use std::collections::{BTreeMap, BTreeSet};

use davit_core::id::NodeId;
use imbl::OrdSet;
use imbl::ordset::DiffItem;
use tokio::time::Instant;

/// When nodes are to be looked at next. One that is DOWN may have no such time.
#[derive(Debug, Default)]
pub(super) struct Lookouts {
    due: BTreeMap<NodeId, Instant>,
    by_time: BTreeSet<(Instant, NodeId)>,
    /// Nodes that were DOWN in the version of the cluster that was looked at last.
    down: OrdSet<NodeId>,
    /// Nodes that were SUSPECT in it.
    suspect: OrdSet<NodeId>,
}

impl Lookouts {
    /// The node is to be looked at then, and not before.
    pub(super) fn set(&mut self, node_id: NodeId, at: Instant) {
        if let Some(before) = self.due.insert(node_id, at) {
            self.by_time.remove(&(before, node_id));
        }
        self.by_time.insert((at, node_id));
    }

    /// Nodes that are to be looked at by now, in the order of their ids; each has to be set again.
    pub(super) fn take(&mut self, now: Instant) -> BTreeSet<NodeId> {
        let mut taken = BTreeSet::new();
        while let Some((_, node_id)) = self.by_time.first().copied().filter(|(at, _)| *at <= now) {
            self.by_time.pop_first();
            self.due.remove(&node_id);
            taken.insert(node_id);
        }
        taken
    }

    /// When the first of them is to be looked at.
    pub(super) fn first(&self) -> Option<Instant> {
        self.by_time.first().map(|(at, _)| *at)
    }

    /// Nodes that are DOWN or SUSPECT now and were not in the version before, or the other way round.
    pub(super) fn changed(&mut self, down: &OrdSet<NodeId>, suspect: &OrdSet<NodeId>) -> BTreeSet<NodeId> {
        let mut changed = changes(&mut self.down, down);
        changed.append(&mut changes(&mut self.suspect, suspect));
        changed
    }

    /// Forgets nodes that are gone.
    pub(super) fn retain(&mut self, exists: impl Fn(NodeId) -> bool) {
        self.due.retain(|node_id, _| exists(*node_id));
        self.by_time.retain(|(_, node_id)| exists(*node_id));
    }
}

/// Takes over what is known now, and tells what is otherwise than before.
fn changes(known: &mut OrdSet<NodeId>, now: &OrdSet<NodeId>) -> BTreeSet<NodeId> {
    if known.ptr_eq(now) {
        return BTreeSet::new();
    }
    let before = std::mem::replace(known, now.clone());
    let node_of = |item: DiffItem<'_, '_, NodeId>| match item {
        DiffItem::Add(node_id) | DiffItem::Remove(node_id) => *node_id,
    };
    before.diff(now).map(node_of).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::commands::test_support::node_id;

    #[tokio::test(start_paused = true)]
    async fn a_node_is_taken_once_when_its_time_has_come_and_the_last_word_counts() {
        let (mut lookouts, now) = (Lookouts::default(), Instant::now());
        let later = now + Duration::from_secs(1);
        lookouts.set(node_id(3), now);
        lookouts.set(node_id(1), now);
        lookouts.set(node_id(2), now);
        lookouts.set(node_id(2), later);
        lookouts.set(node_id(4), later);
        lookouts.retain(|known| known != node_id(4));
        assert_eq!(lookouts.first(), Some(now));
        assert_eq!(lookouts.take(now), BTreeSet::from([1, 3].map(node_id)));
        assert_eq!((lookouts.take(now), lookouts.first()), (BTreeSet::new(), Some(later)));
        lookouts.set(node_id(1), later);
        assert_eq!(lookouts.take(later), BTreeSet::from([1, 2].map(node_id)));
        assert_eq!((lookouts.due.len(), lookouts.by_time.len()), (0, 0));
    }

    #[test]
    fn who_went_down_or_suspect_or_came_back_is_told_once() {
        let mut lookouts = Lookouts::default();
        let nodes = |numbers: &[u64]| numbers.iter().map(|number| node_id(*number)).collect::<OrdSet<_>>();
        let mut changed = |down: &OrdSet<_>, suspect: &OrdSet<_>| Vec::from_iter(lookouts.changed(down, suspect));
        let (none, one, other) = (nodes(&[]), nodes(&[1, 2]), nodes(&[2, 3]));
        assert_eq!(changed(&one, &none), [1, 2].map(node_id));
        assert_eq!(changed(&one, &none), []);
        assert_eq!(changed(&other, &none), [1, 3].map(node_id));
        assert_eq!(changed(&none, &other), [2, 3].map(node_id));
        assert_eq!(changed(&none, &other), []);
        assert_eq!(changed(&none, &none), [2, 3].map(node_id));
    }
}
