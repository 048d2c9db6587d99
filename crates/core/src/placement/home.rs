//! Homes: what keeps a task on one certain node, wherever else there would be room.

use std::fmt;

use super::{Misfit, NodeView, Requirements, misfits};
use crate::id::NodeId;
use crate::resources::{HumanBytes, HumanCpus};

/// What keeps a task on one node.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Keeper {
    /// A named volume: its data is on one node and stays there.
    Volume(String),
    /// The other tasks of its group.
    Group(String),
}

/// `volume db-data`, `group shop`
impl fmt::Display for Keeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Volume(name) => write!(f, "volume {name}"),
            Self::Group(name) => write!(f, "group {name}"),
        }
    }
}

/// A node that keeps tasks, with its name for people.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HomeNode {
    /// The node.
    pub node_id: NodeId,
    /// Its name.
    pub name: String,
}

/// Where something keeps tasks.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Home {
    /// What keeps them.
    pub keeper: Keeper,
    /// Where; `None`: where the first of them goes.
    pub node: Option<HomeNode>,
}

impl Home {
    /// Whether it allows a node.
    pub(super) fn allows(&self, node_id: NodeId) -> bool {
        self.node.as_ref().is_none_or(|home| home.node_id == node_id)
    }

    pub(super) fn is_of_volume(&self) -> bool {
        matches!(self.keeper, Keeper::Volume(_))
    }
}

/// Why a task that is kept on a node does not fit there, in words that say what keeps it: `volume db-data is on node-2, which is
/// DOWN`. `None`: it fits, or nothing keeps it anywhere yet.
pub(super) fn why_not_at_home<'n>(
    requirements: &Requirements,
    mut nodes: impl Iterator<Item = &'n NodeView>,
) -> Option<String> {
    let known = || requirements.homes.iter().filter_map(|home| Some((&home.keeper, home.node.as_ref()?)));
    let (keeper, home) = known().next()?;
    if let Some((other, other_home)) = known().find(|(_, other)| other.node_id != home.node_id) {
        return Some(format!("{keeper} is on {}, and {other} is on {}", home.name, other_home.name));
    }
    let Some(node) = nodes.find(|node| node.node_id == home.node_id) else {
        return Some(format!("{keeper} is on {}, which is not there", home.name));
    };
    let lacks: Vec<String> = misfits(requirements, node).iter().map(shortfall).collect();
    (!lacks.is_empty()).then(|| format!("{keeper} is on {}, which {}", home.name, lacks.join(" and ")))
}

/// What is wrong with the only node, as it is said of that one.
fn shortfall(misfit: &Misfit) -> String {
    match misfit {
        Misfit::NotReady { state } => format!("is {state}"),
        Misfit::Cordoned => "is cordoned".to_owned(),
        Misfit::RuntimeMissing { runtime } => format!("lacks runtime {runtime}"),
        Misfit::Cpu { needed_millis, free_millis } => {
            format!("lacks {} of cpu", HumanCpus(needed_millis.saturating_sub(*free_millis)))
        }
        Misfit::Memory { needed_bytes, free_bytes } => {
            format!("lacks {} of memory", HumanBytes(needed_bytes.saturating_sub(*free_bytes)))
        }
        Misfit::Disk { needed_bytes, free_bytes } => {
            format!("lacks {} of disk", HumanBytes(needed_bytes.saturating_sub(*free_bytes)))
        }
        other => format!("can't take it ({other})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::NodeState;
    use crate::placement::test_support::{node, node_id, requirements};
    use crate::placement::{Filter, Summary, fits};
    use crate::resources::Resources;

    fn volume(name: &str, number: Option<u64>) -> Home {
        let at = |number| HomeNode { node_id: node_id(number), name: node(number).name };
        Home { keeper: Keeper::Volume(name.to_owned()), node: number.map(at) }
    }

    fn group(number: Option<u64>) -> Home {
        Home { keeper: Keeper::Group("shop".to_owned()), ..volume("", number) }
    }

    fn kept(homes: Vec<Home>) -> Requirements {
        Requirements { homes, ..requirements() }
    }

    #[test]
    fn a_task_goes_where_it_is_kept_and_nowhere_else() {
        for homes in [vec![volume("data", Some(2))], vec![group(Some(2))], vec![volume("a", None), group(Some(2))]] {
            let requirements = kept(homes);
            assert!(fits(&requirements, &node(2)));
            assert!(!fits(&requirements, &node(1)));
            assert_eq!(
                Summary::of(&requirements, &[node(1), node(2)]).to_string(),
                "fits 1 of 2 nodes: 1 is not where it is kept"
            );
        }
        assert!(fits(&kept(vec![volume("data", None)]), &node(1)), "the first may go anywhere");
    }

    #[test]
    fn the_first_of_a_group_goes_where_all_of_it_has_room() {
        let mut first = kept(vec![group(None)]);
        first.group_reservation = Resources { cpu_millis: 7000, ..Resources::ZERO };
        let mut full = node(1);
        full.reserved.cpu_millis = full.allocatable.cpu_millis - 6000;
        assert!(!Filter::Colocation.check(&first, &full));
        assert!(fits(&first, &node(2)));
        first.homes = vec![group(Some(1))];
        assert!(fits(&first, &full), "the others follow where there is room for them");
    }

    #[test]
    fn it_is_told_what_keeps_a_task_and_what_is_wrong_there() {
        let told = |homes: Vec<Home>, bend: fn(&mut NodeView)| {
            let mut home = node(2);
            bend(&mut home);
            Summary::of(&kept(homes), &[node(1), home]).to_string()
        };
        let data = || vec![volume("db-data", Some(2))];
        assert_eq!(told(data(), |node| node.state = NodeState::Down), "volume db-data is on node-2, which is DOWN");
        assert_eq!(told(data(), |node| node.cordoned = true), "volume db-data is on node-2, which is cordoned");
        let full = |node: &mut NodeView| node.reserved.memory_bytes = node.allocatable.memory_bytes;
        assert_eq!(told(vec![group(Some(2))], full), "group shop is on node-2, which lacks 64.0 MiB of memory");
        assert_eq!(
            told(vec![volume("a", Some(1)), volume("b", Some(2))], |_| ()),
            "volume a is on node-1, and volume b is on node-2"
        );
        assert_eq!(told(vec![volume("a", Some(3))], |_| ()), "volume a is on node-3, which is not there");
    }
}
