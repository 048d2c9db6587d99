//! Where the tasks of one batch go that are kept on one node by something which was on none before: what the first of them decides
//! holds for all that follow.

use std::borrow::Cow;
use std::collections::BTreeMap;

use davit_core::id::NodeId;
use davit_core::placement::{Home, HomeNode, Keeper, NodeView, Requirements};

use super::pipeline::Group;

/// Homes that were found in a batch. Empty unless something of it is kept anywhere.
#[derive(Debug, Clone, Default)]
pub(super) struct Homes {
    found: BTreeMap<Keeper, HomeNode>,
}

impl Homes {
    /// The group with what was found for it.
    pub(super) fn of<'g>(&self, group: &'g Group) -> Cow<'g, Group> {
        let found = |home: &Home| home.node.is_none().then(|| self.found.get(&home.keeper)).flatten();
        if !group.request.requirements.homes.iter().any(|home| found(home).is_some()) {
            return Cow::Borrowed(group);
        }
        let mut group = group.clone();
        for home in &mut group.request.requirements.homes {
            if let Some(node) = found(home).cloned() {
                home.node = Some(node);
            }
        }
        Cow::Owned(group)
    }

    /// A task with these requirements goes to this node: so does what follows.
    pub(super) fn settle(&mut self, requirements: &Requirements, node: &NodeView) {
        for home in requirements.homes.iter().filter(|home| home.node.is_none()) {
            let at = HomeNode { node_id: node.node_id, name: node.name.clone() };
            self.found.entry(home.keeper.clone()).or_insert(at);
        }
    }
}

/// The node that keeps such tasks, if it is known. Of several, which is a contradiction, the first: the task fits on none.
pub(super) fn node_of(requirements: &Requirements) -> Option<NodeId> {
    requirements.homes.iter().find_map(|home| Some(home.node.as_ref()?.node_id))
}

#[cfg(test)]
mod tests {
    use davit_core::resources::Resources;
    use proptest::prelude::*;

    use super::*;
    use crate::placement::algorithms::{self, Spread};
    use crate::placement::mirror::Mirror;
    use crate::placement::pipeline::place;
    use crate::placement::test_support::{any_cluster, any_groups, group, node, node_id};

    fn nowhere(keeper: Keeper) -> Home {
        Home { keeper, node: None }
    }

    fn shop() -> Keeper {
        Keeper::Group("shop".to_owned())
    }

    fn kept(group_id: &str, count: u32, homes: Vec<Home>) -> Group {
        let mut group = Group { group_id: group_id.to_owned(), ..group(count, &Spread) };
        group.request.requirements.homes = homes;
        group
    }

    #[test]
    fn what_belongs_together_goes_to_one_node_in_one_batch_too() {
        let mut mirror = Mirror::new((0..4).map(node).collect());
        let data = Keeper::Volume("data".to_owned());
        let groups = [
            kept("web", 3, vec![nowhere(shop())]),
            kept("db", 1, vec![nowhere(data.clone()), nowhere(shop())]),
            kept("backup", 1, vec![nowhere(data)]),
            kept("free", 3, Vec::new()),
        ];
        let placed = place(&mut mirror, &groups, 1);
        let at = placed[0].runs[0].0;
        assert_eq!(placed[0].runs, [(at, 3)]);
        assert_eq!((placed[1].runs[0].0, placed[2].runs[0].0), (at, at));
        assert!(placed[3].runs.iter().all(|(node_id, _)| *node_id != at), "there is more room elsewhere");
    }

    #[test]
    fn the_first_takes_the_node_that_has_room_for_all_and_the_rest_says_where_it_is_to_go() {
        let mut small = node(1);
        small.reserved.cpu_millis = small.allocatable.cpu_millis - 250;
        let mut mirror = Mirror::new(vec![small, node(2)]);
        let mut web = kept("web", 2, vec![nowhere(shop())]);
        web.request.requirements.group_reservation = Resources { cpu_millis: 300, ..Resources::ZERO };
        let mut large = kept("zz", 1, vec![nowhere(shop())]);
        large.request.requirements.reservation.cpu_millis = node(2).allocatable.cpu_millis;
        large.request.priority = -1;
        let placed = place(&mut mirror, &[web.clone(), large], 1);
        assert_eq!(placed[0].runs, [(node_id(2), 2)]);
        assert_eq!(placed[1].reason.as_deref(), Some("group shop is on node-2, which lacks 0.2 of cpu"));
        web.request.requirements.group_reservation.cpu_millis = 1_000_000;
        let placed = place(&mut Mirror::new(vec![node(1), node(2)]), &[web], 1);
        assert_eq!(placed[0].reason.as_deref(), Some("fits 0 of 2 nodes: 2 lack room for all of its group"));
    }

    #[test]
    fn a_gang_that_is_torn_leaves_no_home_behind() {
        let mut gang = Group { all_or_nothing: true, ..kept("a", 1000, vec![nowhere(shop())]) };
        gang.request.priority = 1;
        let mut full = node(1);
        full.reserved.memory_bytes = full.allocatable.memory_bytes;
        let mut mirror = Mirror::new(vec![node(0), full]);
        let placed = place(&mut mirror, &[gang, kept("b", 1, vec![nowhere(shop())])], 1);
        assert_eq!((placed[0].unplaced, placed[1].unplaced), (1000, 0));
    }

    proptest! {
        #[test]
        fn no_group_is_split_whatever_else_is_asked_for(
            nodes in any_cluster(5),
            mut groups in any_groups(),
            kept in prop::collection::vec(prop::option::of(0..2_u32), 6),
            algorithm in prop::sample::select(algorithms::ALL.to_vec()),
        ) {
            for (group, keeper) in groups.iter_mut().zip(&kept) {
                let keeper = keeper.map(|number| Keeper::Volume(number.to_string()));
                group.request.requirements.homes = keeper.into_iter().map(nowhere).collect();
                group.algorithm = algorithm;
            }
            let placed = place(&mut Mirror::new(nodes), &groups, 7);
            for number in [0, 1] {
                let of_keeper = groups.iter().zip(&kept).filter(|(_, keeper)| **keeper == Some(number));
                let ids: Vec<_> = of_keeper.map(|(group, _)| group.group_id.clone()).collect();
                let runs = placed.iter().filter(|one| ids.contains(&one.group_id)).flat_map(|one| &one.runs);
                let at: std::collections::BTreeSet<_> = runs.map(|(node_id, _)| *node_id).collect();
                prop_assert!(at.len() <= 1, "{at:?}");
            }
        }
    }
}
