//! Which nodes could take a task if they were empty: the filters that placements don't change, remembered.
//!
//! Tasks of different shape often share what they ask of a node's nature. One bit for each node and each such demand is
//! remembered, so that a batch of unlike tasks asks every node once for each demand, not once for each task.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use davit_core::constraint::Constraint;
use davit_core::placement::{Filter, NodeView, Platform, Requirements, RuntimeKind};

/// How many demands are remembered; 32 bytes for each node.
const MAX_REMEMBERED: usize = 256;

/// One bit for each slot of the table.
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
    mask: Mask,
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

    /// The slots whose nodes pass. `nodes` gives every slot's node, in order, `None` for a slot without one.
    pub(super) fn mask<'n>(
        &mut self,
        requirements: &Requirements,
        nodes: impl Iterator<Item = Option<&'n NodeView>>,
    ) -> Mask {
        let hash = self.hasher.hash_one(key(requirements));
        let known = self.known.get(&hash).and_then(|demands| demands.iter().find(|one| one.is_of(requirements)));
        if let Some(known) = known {
            return Arc::clone(&known.mask);
        }
        let mut words = Vec::new();
        for (slot, node) in nodes.enumerate() {
            if slot % 64 == 0 {
                words.push(0);
            }
            if node.is_some_and(|node| passes(requirements, node))
                && let Some(word) = words.last_mut()
            {
                *word |= 1_u64 << (slot % 64);
            }
        }
        if self.len >= MAX_REMEMBERED {
            self.clear();
        }
        let mask: Mask = words.into();
        let example = Requirements {
            platform: requirements.platform.clone(),
            constraints: requirements.constraints.clone(),
            ..Requirements::of_runtime(requirements.runtime)
        };
        self.known.entry(hash).or_default().push(Demand { requirements: example, mask: Arc::clone(&mask) });
        self.len += 1;
        mask
    }

    /// Asks one node again, whose nature changed.
    pub(super) fn refresh(&mut self, slot: usize, node: &NodeView) {
        for demand in self.known.values_mut().flatten() {
            let bit = 1_u64 << (slot % 64);
            let was = demand.mask.get(slot / 64).is_some_and(|word| word & bit != 0);
            if was != passes(&demand.requirements, node)
                && let Some(word) = Arc::make_mut(&mut demand.mask).get_mut(slot / 64)
            {
                *word ^= bit;
            }
        }
    }
}

fn passes(requirements: &Requirements, node: &NodeView) -> bool {
    Filter::STATIC.iter().all(|filter| filter.check(requirements, node))
}
