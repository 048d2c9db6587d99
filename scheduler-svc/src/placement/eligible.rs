//! Which nodes could take a task if they were empty: the filters that placements don't change, remembered.
//!
//! Tasks of different shape often share what they ask of a node's nature. One bit for each node and each such demand is
//! remembered, so that a batch of unlike tasks asks every node once for each demand, not once for each task.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::hash::BuildHasher;
use std::sync::Arc;

use davit_core::constraint::Constraint;
use davit_core::placement::{Filter, NodeView, Platform, Requirements, RuntimeKind, Summary};
use foldhash::fast::RandomState;

use super::lanes::WIDTH;
use super::table::Table;

/// How many demands are remembered; 32 bytes for each node.
const MAX_REMEMBERED: usize = 256;

/// How many demands the table is laid out for, those that most tasks had.
const MAX_LAID_OUT_FOR: usize = 6;

/// One bit for each node.
pub(super) type Mask = Arc<[u64]>;

/// One bit for each slot, and for each row and block that has any; [`WIDTH`] to a word.
#[derive(Debug)]
pub(super) struct SlotMask {
    pub(super) slots: Vec<u16>,
    pub(super) rows: Vec<u16>,
    pub(super) blocks: Vec<u16>,
}

impl SlotMask {
    fn of(slots: impl Iterator<Item = bool>) -> Self {
        let slots = words(slots);
        let rows = words(slots.iter().map(|word| *word != 0));
        let blocks = words(rows.iter().map(|word| *word != 0));
        Self { slots, rows, blocks }
    }
}

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
    by_slot: Option<Arc<SlotMask>>,
    /// Why the others don't pass; `None` until it is asked for again after a node's nature changed.
    summary: Option<Summary<'static>>,
    /// How often it was asked for since the table was laid out.
    asked: u32,
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
            demand.asked = 0;
        }
    }

    /// What tasks demanded most, of that which some nodes have and others don't.
    pub(super) fn most_asked(&self, nodes: usize) -> Vec<Mask> {
        let ones = |mask: &Mask| mask.iter().map(|word| word.count_ones() as usize).sum::<usize>();
        let tells_apart = |demand: &&Demand| demand.asked > 0 && (1..nodes).contains(&ones(&demand.by_node));
        let mut asked: Vec<_> = self.known.values().flatten().filter(tells_apart).collect();
        asked.sort_by_key(|demand| Reverse(demand.asked));
        asked.into_iter().take(MAX_LAID_OUT_FOR).map(|demand| Arc::clone(&demand.by_node)).collect()
    }

    /// The nodes that pass, by their place in the order of ids.
    pub(super) fn by_node(&mut self, requirements: &Requirements, nodes: &[NodeView]) -> Mask {
        Arc::clone(&self.demand(requirements, nodes).by_node)
    }

    /// The slots whose nodes pass.
    pub(super) fn by_slot(&mut self, requirements: &Requirements, nodes: &[NodeView], table: &Table) -> Arc<SlotMask> {
        let demand = self.demand(requirements, nodes);
        demand.asked = demand.asked.saturating_add(1);
        let by_node = &demand.by_node;
        let mask = demand.by_slot.get_or_insert_with(|| {
            Arc::new(SlotMask::of(table.nodes().map(|at| at.is_some_and(|at| has(by_node, at)))))
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
            let by_node = mask(nodes.iter().map(|node| passes(requirements, node)));
            demands.push(Demand { requirements: example, by_node, by_slot: None, summary: None, asked: 0 });
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

fn mask(bits: impl Iterator<Item = bool>) -> Mask {
    let mut words = Vec::new();
    for (at, bit) in bits.enumerate() {
        if at % 64 == 0 {
            words.push(0);
        }
        if bit && let Some(word) = words.last_mut() {
            *word |= 1_u64 << (at % 64);
        }
    }
    words.into()
}

fn words(bits: impl Iterator<Item = bool>) -> Vec<u16> {
    let mut words = Vec::new();
    for (at, bit) in bits.enumerate() {
        if at % WIDTH == 0 {
            words.push(0);
        }
        if bit && let Some(word) = words.last_mut() {
            *word |= 1_u16 << (at % WIDTH);
        }
    }
    words
}

/// Whether a mask has the bit of a node.
pub(super) fn has(mask: &[u64], at: usize) -> bool {
    mask.get(at / 64).is_some_and(|word| word & (1 << (at % 64)) != 0)
}

fn passes(requirements: &Requirements, node: &NodeView) -> bool {
    Filter::STATIC.iter().all(|filter| filter.check(requirements, node))
}
