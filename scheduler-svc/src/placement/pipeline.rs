//! All three steps for whole groups of like tasks.
//!
//! The nodes that can take a group's task stand in a heap by cost. Each task takes the best, the node is deducted and
//! scored again, and goes back into the heap or out of it: O(log nodes) per task. That is exact, since within a group the
//! facts stay the same and a placement changes the cost of no other node.

use std::cmp::{Ordering, Reverse};
use std::collections::BTreeMap;
use std::collections::binary_heap::{BinaryHeap, PeekMut};

use davit_core::constraint::Constraint;
use davit_core::id::NodeId;
use davit_core::placement::{Filter, NodeView, Requirements, RuntimeKind, Summary};

use super::mirror::Mirror;
use super::pick::Rank;
use super::score::{Algorithm, Candidate, ClusterFacts};

/// How many answers of the filters that placements don't change are remembered in one call.
const MAX_REMEMBERED: usize = 64;

/// Like tasks.
#[derive(Debug, Clone)]
pub struct Group {
    /// Comes back in the answer.
    pub group_id: String,
    /// What each of them needs.
    pub requirements: Requirements,
    /// How many.
    pub count: u32,
    /// How nodes are scored.
    pub algorithm: &'static dyn Algorithm,
}

/// Where the tasks of a group go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupPlacement {
    /// Which group.
    pub group_id: String,
    /// How many go where; in the order of node ids.
    pub runs: Vec<(NodeId, u32)>,
    /// How many could not be placed.
    pub unplaced: u32,
    /// Why they could not; `None` when all were placed.
    pub reason: Option<String>,
}

/// Places groups in the given order, one answer for each, and deducts from the mirror what was placed. The seed decides
/// between equal costs.
pub fn place(mirror: &mut Mirror, groups: &[Group], seed: u64) -> Vec<GroupPlacement> {
    let mut eligible = Eligible::default();
    groups
        .iter()
        .map(|group| {
            let positions = eligible.positions(&group.requirements, mirror.nodes());
            place_group(mirror, group, positions, seed)
        })
        .collect()
}

fn place_group(mirror: &mut Mirror, group: &Group, eligible: &[usize], seed: u64) -> GroupPlacement {
    let requirements = &group.requirements;
    let facts = ClusterFacts::of(mirror.nodes(), mirror.turn(seed));
    let cost = |node: &NodeView, position, placed| {
        group.algorithm.score(requirements, &Candidate { node, position, placed }, &facts).cost()
    };

    let mut left = group.count;
    let mut full = Vec::new();
    let mut queue: BinaryHeap<_> = eligible
        .iter()
        .filter(|position| has_room(requirements, &mirror.nodes()[**position]))
        .map(|position| {
            let node = &mirror.nodes()[*position];
            let rank = Rank::new(cost(node, *position, 0), seed, node.node_id);
            Reverse(Entry { rank, position: *position, placed: 0 })
        })
        .collect();
    while left > 0 {
        let Some(mut best) = queue.peek_mut() else { break };
        let entry = &mut best.0;
        let node = mirror.reserve(entry.position, requirements);
        left -= 1;
        entry.placed += 1;
        if has_room(requirements, node) {
            entry.rank = entry.rank.with_cost(cost(node, entry.position, entry.placed));
        } else {
            full.push(PeekMut::pop(best));
        }
    }

    let mut used: Vec<_> = queue.into_iter().chain(full).map(|Reverse(e)| (e.position, e.placed)).collect();
    used.retain(|(_, placed)| *placed > 0);
    used.sort_unstable();
    let runs = used.into_iter().map(|(position, placed)| (mirror.nodes()[position].node_id, placed)).collect();
    let reason = (left > 0).then(|| Summary::of(requirements, mirror.nodes()).to_string());
    GroupPlacement { group_id: group.group_id.clone(), runs, unplaced: left, reason }
}

/// A node in the heap.
#[derive(Debug)]
struct Entry {
    rank: Rank,
    position: usize,
    placed: u32,
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> Ordering {
        self.rank.cmp(&other.rank)
    }
}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Entry {}

fn has_room(requirements: &Requirements, node: &NodeView) -> bool {
    Filter::DYNAMIC.iter().all(|filter| filter.check(requirements, node))
}

/// Positions of the nodes that pass the filters which placements don't change. Groups often differ only in their
/// amounts, so answers are remembered, up to a bound.
#[derive(Debug, Default)]
struct Eligible<'a> {
    known: BTreeMap<(RuntimeKind, &'a [Constraint]), Vec<usize>>,
}

impl<'a> Eligible<'a> {
    fn positions(&mut self, requirements: &'a Requirements, nodes: &[NodeView]) -> &[usize] {
        let key = (requirements.runtime, requirements.constraints.as_slice());
        if self.known.len() >= MAX_REMEMBERED && !self.known.contains_key(&key) {
            self.known.clear();
        }
        self.known.entry(key).or_insert_with(|| {
            let passes = |node: &NodeView| {
                let mut fixed = Filter::ALL.iter().filter(|filter| !Filter::DYNAMIC.contains(filter));
                fixed.all(|filter| filter.check(requirements, node))
            };
            nodes.iter().enumerate().filter(|(_, node)| passes(node)).map(|(position, _)| position).collect()
        })
    }
}

#[cfg(test)]
mod tests;
