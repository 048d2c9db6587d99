//! Where tasks are that carry a mark. A mark that is counted from now on, or no longer, costs a look at the nodes that have tasks
//! with it, and at nothing else: mostly its name is new and nobody has it.
//!
//! Tasks mostly share their specs, so this is kept by spec and node: far fewer entries than tasks where there are many of a kind.

use davit_core::id::NodeId;
use davit_core::placement::Mark;
use davit_core::spec::TaskSpec;
use imbl::{OrdMap, OrdSet};
use uuid::Uuid;

use super::specs::{SpecAddress, Specs};
use crate::stable_hash::fnv1a;

/// How many tasks of one spec belong to a node.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Held {
    /// Whose current attempt is there.
    pub(super) tasks: u32,
    /// For which room is kept there.
    pub(super) claims: u32,
}

/// Which tasks are on which nodes, by their specs.
#[derive(Debug, Clone, Default)]
pub(super) struct Carriers {
    held: OrdMap<(SpecAddress, NodeId), Held>,
    /// The specs of those, by the hash of each mark that they carry: the marks themselves would take more than all the rest.
    by_mark: OrdSet<(u64, SpecAddress)>,
}

impl Carriers {
    /// Changes how many tasks of a spec belong to a node.
    pub(super) fn change(&mut self, spec: &TaskSpec, node_id: NodeId, change: impl FnOnce(&mut Held)) {
        let address = SpecAddress::of(spec);
        let key = (address, node_id);
        if let Some(held) = self.held.get_mut(&key) {
            change(held);
            if *held == Held::default() {
                self.held.remove(&key);
                if !self.has(address) {
                    for mark in spec.marks() {
                        self.by_mark.remove(&(hash_of(&mark), address));
                    }
                }
            }
            return;
        }
        let mut held = Held::default();
        change(&mut held);
        if held != Held::default() {
            if !self.has(address) {
                for mark in spec.marks() {
                    self.by_mark.insert((hash_of(&mark), address));
                }
            }
            self.held.insert(key, held);
        }
    }

    /// Nodes to which tasks with a mark belong, one entry for each spec of those; `specs`: of all tasks.
    pub(super) fn of_mark<'a>(&'a self, mark: &'a Mark, specs: &'a Specs) -> impl Iterator<Item = (NodeId, Held)> + 'a {
        let hash = hash_of(mark);
        let alike = self.by_mark.range((hash, SpecAddress::MIN)..=(hash, SpecAddress::MAX));
        // Another mark may have this hash.
        let carries = move |address: &SpecAddress| specs.at(*address).is_some_and(|spec| spec.carries(mark));
        let carrying = alike.map(|(_, address)| *address).filter(carries);
        carrying.flat_map(|address| self.of_spec(address))
    }

    fn has(&self, address: SpecAddress) -> bool {
        self.of_spec(address).next().is_some()
    }

    fn of_spec(&self, address: SpecAddress) -> impl Iterator<Item = (NodeId, Held)> {
        let nodes = (address, NodeId(Uuid::nil()))..=(address, NodeId(Uuid::max()));
        self.held.range(nodes).map(|((_, node_id), held)| (*node_id, *held))
    }

    #[cfg(test)]
    pub(super) fn all(&self) -> impl Iterator<Item = ((SpecAddress, NodeId), Held)> {
        self.held.iter().map(|(key, held)| (*key, *held))
    }

    /// How many entries the index of marks has.
    #[cfg(test)]
    pub(super) fn mark_count(&self) -> usize {
        self.by_mark.len()
    }
}

fn hash_of(mark: &Mark) -> u64 {
    fnv1a(mark.key().bytes().chain([0]).chain(mark.value().bytes()))
}
