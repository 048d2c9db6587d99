//! Where the tasks of one group go: three ways to the same answer, each fast where the others are not.
//!
//! - A few tasks: the best node is searched for each ([`super::search`]).
//! - Many, or with preferences: the nodes stand in a heap by cost; each task takes the best, which is deducted, scored
//!   again, and goes back into the heap or out of it. O(log nodes) a task. That is exact, since a placement changes the
//!   cost of no other node; but for spreading over an attribute, where it changes that of all nodes with the same value
//!   alike, so that there is one heap for each value.
//! - Nodes that take turns: a walk around.

use std::borrow::Cow;
use std::cmp::{Ordering, Reverse};
use std::collections::BTreeMap;
use std::collections::binary_heap::{BinaryHeap, PeekMut};

use davit_core::id::NodeId;
use davit_core::placement::{Filter, NodeView, Requirements, Summary, fits};
use davit_core::resources::Resources;

use super::algorithms::round_robin::distance;
use super::eligible::Mask;
use super::homes::{self, Homes};
use super::lanes::{amounts, bits, is_exact};
use super::mirror::Mirror;
use super::pipeline::Group;
use super::preferences::PreferenceTerms;
use super::score::{ClusterFacts, Form, Parts, finite};
use super::search::{self, Bound, Factors, Found, Ties};
use super::table::ROW;

/// Up to how many tasks the best node is searched for each one. Making a heap costs about as much as that many searches.
const MAX_SEARCHED: u32 = 12;

/// How many tasks of a group go to one node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Run {
    /// The node's place in the order of ids.
    pub(super) at: usize,
    pub(super) count: u32,
}

/// Places one group after the other.
#[derive(Debug)]
pub(super) struct Placer<'m> {
    mirror: &'m mut Mirror,
    facts: ClusterFacts,
    seed: u64,
    ties: Option<Ties>,
    factors: Vec<Option<Parts>>,
    bounds: Vec<Bound>,
    homes: Homes,
}

impl<'m> Placer<'m> {
    /// A placer of these groups and no others.
    pub(super) fn new(mirror: &'m mut Mirror, facts: ClusterFacts, groups: &[Group], seed: u64) -> Self {
        let needed = groups.iter().map(|group| group.request.requirements.reservation);
        mirror.begin_batch(needed.reduce(Resources::min_of_each).unwrap_or_default());
        Self { mirror, facts, seed, ties: None, factors: Vec::new(), bounds: Vec::new(), homes: Homes::default() }
    }

    pub(super) fn mirror(&self) -> &Mirror {
        self.mirror
    }

    pub(super) fn mirror_mut(&mut self) -> &mut Mirror {
        self.mirror
    }

    /// Places as many tasks of the group as there is room for; runs in the order of ids.
    pub(super) fn place(&mut self, group: &Group) -> Vec<Run> {
        if group.request.requirements.homes.is_empty() { self.anywhere(group) } else { self.at_home(group) }
    }

    /// The group with the homes that those placed before it in this batch have given it.
    pub(super) fn settled<'g>(&self, group: &'g Group) -> Cow<'g, Group> {
        self.homes.of(group)
    }

    /// Where the batch has put what was nowhere.
    pub(super) fn homes(&self) -> &Homes {
        &self.homes
    }

    /// Of what keeps them on one node the first decides for all.
    fn at_home(&mut self, group: &Group) -> Vec<Run> {
        let mut group = self.homes.of(group).into_owned();
        let mut run = Run { at: 0, count: 0 };
        if homes::node_of(&group.request.requirements).is_none() {
            let first = Group { count: 1, ..group.clone() };
            let Some(placed) = self.anywhere(&first).pop() else { return Vec::new() };
            self.homes.settle(&group.request.requirements, &self.mirror.nodes()[placed.at]);
            group = self.homes.of(&group).into_owned();
            run = placed;
        }
        let requirements = &group.request.requirements;
        let node = homes::node_of(requirements).and_then(|node_id| self.mirror.at(node_id));
        let Some(at) = node else { return Vec::new() };
        run.at = at;
        while run.count < group.count && fits(requirements, &self.mirror.nodes()[at]) {
            self.mirror.reserve(at, requirements);
            run.count += 1;
        }
        if run.count == 0 {
            return Vec::new();
        }
        self.homes.settle(requirements, &self.mirror.nodes()[at]);
        vec![run]
    }

    fn anywhere(&mut self, group: &Group) -> Vec<Run> {
        let mut runs = if group.algorithm.form() == Form::Turns && group.request.preferences.is_empty() {
            self.in_turns(group)
        } else if group.count <= MAX_SEARCHED && group.request.preferences.is_empty() {
            self.one_by_one(group, group.count)
        } else {
            self.by_heap(group, group.count)
        };
        runs.sort_unstable_by_key(|run| run.at);
        runs
    }

    /// Why the rest of the tasks could not be placed.
    pub(super) fn summary(&mut self, requirements: &Requirements) -> String {
        if needs_special_look(requirements, self.mirror) {
            Summary::of(requirements, self.mirror.nodes()).to_string()
        } else {
            self.mirror.summary(requirements)
        }
    }

    /// Gives back what was placed since the turn was after this node.
    pub(super) fn undo(
        &mut self,
        requirements: &Requirements,
        runs: &[Run],
        (last_placed, homes): (Option<NodeId>, Homes),
    ) {
        for run in runs {
            for _ in 0..run.count {
                self.mirror.release(run.at, requirements);
            }
        }
        self.mirror.set_last_placed(last_placed);
        self.homes = homes;
    }

    /// The node at a place.
    pub(super) fn node(&self, at: usize) -> &NodeView {
        &self.mirror.nodes()[at]
    }

    /// Which nodes could take the task if they were empty.
    pub(super) fn eligible_nodes(&mut self, requirements: &Requirements) -> Mask {
        self.mirror.eligible_nodes(requirements)
    }

    /// Places one task of a group that prefers nothing.
    pub(super) fn place_single(&mut self, group: &Group) -> Option<usize> {
        self.one_by_one(group, 1).first().map(|run| run.at)
    }

    fn one_by_one(&mut self, group: &Group, count: u32) -> Vec<Run> {
        if self.mirror.relayout_if_worn() {
            self.ties = None;
        }
        let requirements = &group.request.requirements;
        let column = self.mirror.column(group.algorithm, &self.facts);
        let mask = self.mirror.eligible_slots(requirements);
        let special = needs_special_look(requirements, self.mirror);
        let ties = self.ties.get_or_insert_with(|| self.mirror.ties(self.seed));
        let mut factors = Factors::new(group.algorithm, requirements.reservation, &self.facts, &mut self.factors);
        let form = group.algorithm.form();
        let mut runs: Vec<Run> = Vec::new();
        for _ in 0..count {
            let (table, nodes) = self.mirror.parts();
            let admits = |at: usize| passes_now(requirements, special, &nodes[at]);
            let query = search::Query { column, form, mask: &mask, ties };
            let Some(Found { at, .. }) = search::best(table, &query, &mut factors, &mut self.bounds, admits) else {
                break;
            };
            self.mirror.reserve(at, requirements);
            match runs.iter_mut().find(|run| run.at == at) {
                Some(run) => run.count += 1,
                None => runs.push(Run { at, count: 1 }),
            }
        }
        runs
    }

    /// Positions of all nodes that can take a task now. The table must be laid out.
    fn candidates(&mut self, requirements: &Requirements) -> Vec<usize> {
        let mask = self.mirror.eligible_slots(requirements);
        let special = needs_special_look(requirements, self.mirror);
        let (table, nodes) = self.mirror.parts();
        let needed = requirements.reservation;
        let in_lanes = amounts(needed);
        // A look at the node itself costs more than all else.
        let must_look = special || !is_exact(needed);
        let holding = |(row, word): (usize, &u16)| {
            bits(word & table.room(row).holding(in_lanes)).map(move |lane| row * ROW + lane)
        };
        let slots = mask.slots.iter().enumerate().flat_map(holding);
        let passes = |at: &usize| !must_look || passes_now(requirements, special, &nodes[*at]);
        slots.map(|slot| table.node_of(slot)).filter(passes).collect()
    }

    fn by_heap(&mut self, group: &Group, count: u32) -> Vec<Run> {
        let requirements = &group.request.requirements;
        let column = self.mirror.column(group.algorithm, &self.facts);
        let candidates = self.candidates(requirements);
        let special = needs_special_look(requirements, self.mirror);
        let ties = self.ties.get_or_insert_with(|| self.mirror.ties(self.seed));
        let scorer = Scorer { group, turn: self.mirror.turn(self.seed), node_count: self.facts.node_count };
        let mut factors = Factors::new(group.algorithm, requirements.reservation, &self.facts, &mut self.factors);
        let nodes = self.mirror.nodes();
        let mut terms = PreferenceTerms::of(&group.request, group.count, nodes, group.algorithm, &self.facts);

        // One heap for all nodes that share what spreading costs.
        let mut parts: Vec<Part> = Vec::new();
        let mut candidates_of: Vec<Vec<Reverse<Entry>>> = Vec::new();
        let mut part_of: BTreeMap<Vec<usize>, usize> = BTreeMap::new();
        for at in candidates {
            let node = &self.mirror.nodes()[at];
            let (values, fixed) = match &terms {
                Some(terms) => (terms.values_of(node), terms.fixed_cost(node)),
                None => (Vec::new(), 0.0),
            };
            let index = *part_of.entry(values).or_insert_with_key(|values| {
                parts.push(Part { values: values.clone(), waiting: BinaryHeap::new() });
                candidates_of.push(Vec::new());
                parts.len() - 1
            });
            let (table, _) = self.mirror.parts();
            let slot = table.slot_of(at);
            let parts_of_node = factors.of(table, table.size_of(slot));
            let cost = scorer.cost(&table.numbers(column, slot), &parts_of_node, at, 0) + fixed;
            let entry = Entry { cost: finite(cost) + 0.0, tie: ties.of_slot(slot), at, fixed, placed: 0 };
            candidates_of[index].push(Reverse(entry));
        }
        for (part, mut of_part) in parts.iter_mut().zip(candidates_of) {
            // Each task changes one node, so that of as many as there are tasks the best is never a worse one.
            if let Some(worst) = (count as usize).checked_sub(1).filter(|worst| *worst + 1 < of_part.len()) {
                of_part.select_nth_unstable_by(worst, |a, b| b.cmp(a));
                of_part.truncate(worst + 1);
            }
            part.waiting = BinaryHeap::from(of_part);
        }

        let mut runs = Vec::new();
        for _ in 0..count {
            let Some(index) = best_part(&parts, terms.as_ref()) else { break };
            let part = &mut parts[index];
            let Some(mut best) = part.waiting.peek_mut() else { break };
            let entry = &mut best.0;
            self.mirror.reserve(entry.at, requirements);
            entry.placed += 1;
            let (table, nodes) = self.mirror.parts();
            let slot = table.slot_of(entry.at);
            if passes_now(requirements, special, &nodes[entry.at]) {
                let parts_of_node = factors.of(table, table.size_of(slot));
                let cost = scorer.cost(&table.numbers(column, slot), &parts_of_node, entry.at, entry.placed);
                entry.cost = finite(cost + entry.fixed) + 0.0;
            } else {
                let Reverse(full) = PeekMut::pop(best);
                runs.push(Run { at: full.at, count: full.placed });
            }
            if let Some(terms) = &mut terms {
                terms.placed_on(&part.values);
            }
        }
        let rest = parts.into_iter().flat_map(|part| part.waiting).filter(|Reverse(entry)| entry.placed > 0);
        runs.extend(rest.map(|Reverse(entry)| Run { at: entry.at, count: entry.placed }));
        runs
    }

    fn in_turns(&mut self, group: &Group) -> Vec<Run> {
        let requirements = &group.request.requirements;
        let special = needs_special_look(requirements, self.mirror);
        let mut open = self.mirror.eligible_nodes(requirements).to_vec();
        let mut counts: BTreeMap<usize, u32> = BTreeMap::new();
        let mut at = self.mirror.turn(self.seed);
        for _ in 0..group.count {
            loop {
                let Some(next) = next_bit(&open, at) else {
                    return counts.into_iter().map(|(at, count)| Run { at, count }).collect();
                };
                at = next + 1;
                let node = &self.mirror.nodes()[next];
                if passes_now(requirements, special, node) {
                    self.mirror.reserve(next, requirements);
                    *counts.entry(next).or_insert(0) += 1;
                    break;
                }
                // What is full now stays full as long as only more is placed.
                open[next / 64] &= !(1 << (next % 64));
            }
        }
        counts.into_iter().map(|(at, count)| Run { at, count }).collect()
    }
}

/// The first bit at or after a position, else the first of all.
fn next_bit(words: &[u64], from: usize) -> Option<usize> {
    let first = |words: &[u64], skip: usize| {
        let at = words.iter().position(|word| *word != 0)?;
        Some((skip + at) * 64 + words[at].trailing_zeros() as usize)
    };
    if let Some(word) = words.get(from / 64) {
        let rest = word & (u64::MAX << (from % 64));
        if rest != 0 {
            return Some(from / 64 * 64 + rest.trailing_zeros() as usize);
        }
    }
    let next = (from / 64 + 1).min(words.len());
    first(&words[next..], next).or_else(|| first(words, 0))
}

/// What a node costs by the algorithm alone.
struct Scorer<'a> {
    group: &'a Group,
    turn: usize,
    node_count: usize,
}

impl Scorer<'_> {
    #[inline]
    fn cost(&self, numbers: &Parts, factors: &Parts, at: usize, placed: u32) -> f64 {
        match self.group.algorithm.form() {
            Form::Turns => {
                let rounds = f64::from(placed) * self.node_count.max(1) as f64;
                rounds + distance(at, self.turn, self.node_count) as f64
            }
            form => form.cost(numbers, factors),
        }
    }
}

/// The nodes that share their values of the attributes that tasks are spread over.
struct Part {
    values: Vec<usize>,
    waiting: BinaryHeap<Reverse<Entry>>,
}

/// The part that holds the best node.
fn best_part(parts: &[Part], terms: Option<&PreferenceTerms<'_>>) -> Option<usize> {
    if let [only] = parts {
        return (!only.waiting.is_empty()).then_some(0);
    }
    let best = |part: &Part| {
        let Reverse(entry) = part.waiting.peek()?;
        let spread = terms.map_or(0.0, |terms| terms.spread_cost(&part.values));
        Some(Found { cost: finite(entry.cost + spread), tie: entry.tie, at: entry.at })
    };
    let mut found: Option<(usize, Found)> = None;
    for (index, part) in parts.iter().enumerate() {
        let Some(candidate) = best(part) else { continue };
        if found.as_ref().is_none_or(|(_, found)| candidate.is_before(found)) {
            found = Some((index, candidate));
        }
    }
    found.map(|(index, _)| index)
}

/// A node in a heap.
#[derive(Debug)]
struct Entry {
    cost: f64,
    tie: u64,
    at: usize,
    /// What preferences add whatever is placed.
    fixed: f64,
    placed: u32,
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> Ordering {
        self.cost.total_cmp(&other.cost).then_with(|| (self.tie, self.at).cmp(&(other.tie, other.at)))
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

/// Whether more than the columns hold decides if a node has room.
pub(super) fn needs_special_look(requirements: &Requirements, mirror: &Mirror) -> bool {
    !requirements.host_ports.is_empty()
        || requirements.dynamic_ports > 0
        || requirements.max_per_node.is_some()
        || !requirements.needs.is_empty()
        || !requirements.refuses.is_empty()
        || !requirements.homes.is_empty()
        || (!requirements.marks.is_empty() && mirror.has_refusing_nodes())
}

/// The filters that placements change.
fn passes_now(requirements: &Requirements, special: bool, node: &NodeView) -> bool {
    requirements.reservation.fits_in(node.free()) && (!special || passes_special(requirements, node))
}

/// Those of them that the columns don't hold.
fn passes_special(requirements: &Requirements, node: &NodeView) -> bool {
    const SPECIAL: [Filter; 7] = [
        Filter::HostPort,
        Filter::DynamicPort,
        Filter::MaxPerNode,
        Filter::TaskAffinity,
        Filter::TaskAntiAffinity,
        Filter::Colocation,
        Filter::Volume,
    ];
    SPECIAL.iter().all(|filter| filter.check(requirements, node))
}
