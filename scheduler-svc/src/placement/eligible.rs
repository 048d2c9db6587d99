//! Which nodes could take a task if they were empty: the filters that placements don't change, remembered.
//!
//! Tasks of different shape often share what they ask of a node's nature. One bit for each node and each such demand is
//! remembered, so that a batch of unlike tasks asks every node once for each demand, not once for each task.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use davit_core::constraint::Constraint;
use davit_core::placement::{Filter, NodeView, Platform, Requirements, RuntimeKind, Summary};

use super::table::Table;

/// How many demands are remembered; 32 bytes for each node.
const MAX_REMEMBERED: usize = 256;

/// One bit for each node or slot.
pub(super) type Mask = Arc<[u64]>;

/// Masks by demand.
#[derive(Debug, Clone, Default)]
pub(super) struct Eligible {
    known: HashMap<u64, Vec<Demand>>,
    len: usize,
    hasher: RandomState,
}

#[derive(Debug, Clone)]
struct Demand {
    /// An example of it.
    requirements: Requirements,
    /// By place in the order of ids.
    by_node: Mask,
    /// By slot; `None` until it is asked for again after the table was laid out anew.
    by_slot: Option<Mask>,
    /// Why the others don't pass; `None` until it is asked for again after a node's nature changed.
    summary: Option<Summary<'static>>,
}

impl Demand {
    fn is_of(&self, requirements: &Requirements) -> bool {
        key(&self.requirements) == key(requirements)
    }
}

fn key(requirements: &Requirements) -> (RuntimeKind, &Platform, &[Constraint]) {
    (requirements.runtime, &requirements.platform, &requirements.constraints)
}

impl Eligible {
    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        self.known.clear();
        self.len = 0;
    }

    /// Forgets what was known by slots.
    pub(super) fn forget_slots(&mut self) {
        for demand in self.known.values_mut().flatten() {
            demand.by_slot = None;
        }
    }

    /// The nodes that pass, by their place in the order of ids.
    pub(super) fn by_node(&mut self, requirements: &Requirements, nodes: &[NodeView]) -> Mask {
        Arc::clone(&self.demand(requirements, nodes).by_node)
    }

    /// The slots whose nodes pass.
    pub(super) fn by_slot(&mut self, requirements: &Requirements, nodes: &[NodeView], table: &Table) -> Mask {
        let demand = self.demand(requirements, nodes);
        let by_node = &demand.by_node;
        let mask = demand.by_slot.get_or_insert_with(|| {
            let bits = table.nodes().map(|at| at.is_some_and(|at| has(by_node, at)));
            words(bits).into()
        });
        Arc::clone(mask)
    }

    /// Why nodes don't pass.
    pub(super) fn summary(&mut self, requirements: &Requirements, nodes: &[NodeView]) -> &Summary<'static> {
        let demand = self.demand(requirements, nodes);
        let example = &demand.requirements;
        demand.summary.get_or_insert_with(|| Summary::of(example, nodes).into_owned())
    }

    fn demand(&mut self, requirements: &Requirements, nodes: &[NodeView]) -> &mut Demand {
        let hash = self.hasher.hash_one(key(requirements));
        let known = self.known.get(&hash).and_then(|demands| demands.iter().position(|one| one.is_of(requirements)));
        if known.is_none() && self.len >= MAX_REMEMBERED {
            self.clear();
        }
        let demands = self.known.entry(hash).or_default();
        let index = known.unwrap_or_else(|| {
            let example = Requirements {
                platform: requirements.platform.clone(),
                constraints: requirements.constraints.clone(),
                ..Requirements::of_runtime(requirements.runtime)
            };
            let by_node = words(nodes.iter().map(|node| passes(requirements, node))).into();
            demands.push(Demand { requirements: example, by_node, by_slot: None, summary: None });
            self.len += 1;
            demands.len() - 1
        });
        &mut demands[index]
    }

    /// Asks one node again, whose nature changed.
    pub(super) fn refresh(&mut self, at: usize, node: &NodeView) {
        for demand in self.known.values_mut().flatten() {
            demand.summary = None;
            if has(&demand.by_node, at) != passes(&demand.requirements, node)
                && let Some(word) = Arc::make_mut(&mut demand.by_node).get_mut(at / 64)
            {
                *word ^= 1 << (at % 64);
                demand.by_slot = None;
            }
        }
    }
}

fn words(bits: impl Iterator<Item = bool>) -> Vec<u64> {
    let mut words = Vec::new();
    for (at, bit) in bits.enumerate() {
        if at % 64 == 0 {
            words.push(0);
        }
        if bit && let Some(word) = words.last_mut() {
            *word |= 1_u64 << (at % 64);
        }
    }
    words
}

/// Whether a mask has the bit of a node or slot.
pub(super) fn has(mask: &[u64], at: usize) -> bool {
    mask.get(at / 64).is_some_and(|word| word & (1 << (at % 64)) != 0)
}

fn passes(requirements: &Requirements, node: &NodeView) -> bool {
    Filter::STATIC.iter().all(|filter| filter.check(requirements, node))
}
