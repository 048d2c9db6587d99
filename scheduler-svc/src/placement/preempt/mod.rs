//! Which tasks are stopped where nothing fits. Pure.
//!
//! `search` looks at one node, [`plan`] at all of them. What holds, and is tested:
//! - no task of equal or higher priority is ever a victim;
//! - when the victims have ended, the task fits on the node, by every filter;
//! - none of the victims could be spared, and room that becomes free anyway is used first;
//! - on nodes with up to [`search::EXACT_CANDIDATES`] tasks that may be stopped no cheaper set exists. On fuller ones the
//!   set is found greedily: its most important victim is still the least important possible, the rest is a good guess.
//!
//! A task that the new one needs beside it is never stopped when it is the last of its kind. What the tasks that stay
//! need of a victim is not looked at: they go on as if it had ended by itself.

mod search;
#[cfg(test)]
mod tests;

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use davit_core::id::{NodeId, TaskId};
use davit_core::placement::{NodeView, PlacementRequest};

use self::search::Case;
use super::pick::mix;

/// What stopping tasks costs. The order of the fields is the policy: the first that differs decides.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Cost {
    /// The priority of the most important victim. `i32::MIN` without victims.
    pub highest_priority: i32,
    /// How important all victims are together: the sum of their priorities, counted from 1 at the lowest that exists, so that
    /// another victim never makes a set cheaper.
    pub importance: u64,
    /// How many there are.
    pub count: usize,
    /// How long they have run, all together: the work that may be lost.
    pub running_secs: u64,
    /// What they free that the task does not use, in millionths of the node, summed over cpu, memory and disk.
    pub spare: u64,
}

impl Cost {
    /// Of nothing.
    pub(super) const NOTHING: Self =
        Self { highest_priority: i32::MIN, importance: 0, count: 0, running_secs: 0, spare: 0 };
}

/// Tasks of one node that are stopped for another one. Compared by cost, then by ids.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Victims {
    /// What it costs.
    pub cost: Cost,
    /// Which tasks, the least important first. Empty where the task fits as it is.
    pub task_ids: Vec<TaskId>,
}

/// Room for one task that can be made on a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Preemption {
    /// Where.
    pub node_id: NodeId,
    /// Which tasks must be stopped, the least important first. Empty where room is used that becomes free anyway.
    pub victims: Vec<TaskId>,
    /// For people: `stops 2 tasks of priority 0 to 10 on node-3`.
    pub reason: String,
}

/// Makes room for up to `count` tasks that nothing fits for, one after the other: each goes to the node where it costs least;
/// of nodes that cost the same a hash of seed and node id decides, so the order in which nodes are given does not matter.
///
/// Room that becomes free anyway, since tasks there are being stopped, is used first: also what an earlier preemption frees
/// and its task does not use. Every task that gets room is told of, those for which nothing more is stopped too, so that the
/// room can be kept for each.
///
/// Nodes are visited once; after that only the one that was used last is looked at again.
#[must_use]
pub(super) fn plan(request: &PlacementRequest, count: u32, nodes: &[NodeView], seed: u64) -> Vec<Preemption> {
    if !request.may_preempt {
        return Vec::new();
    }
    let mut offers: BinaryHeap<_> = nodes
        .iter()
        .filter_map(|node| Case::new(&request.requirements, request.priority, node))
        .map(|case| Reverse(Offer::of(case, seed)))
        .collect();
    let mut preemptions = Vec::new();
    let mut served = 0;
    while served < count {
        let Some(Reverse(offer)) = offers.pop() else { break };
        let Offer { victims, case, .. } = offer;
        let Some(victims) = victims else {
            // Only a lower bound so far. Most nodes are never looked at closer.
            if let Some(victims) = case.cheapest() {
                offers.push(Reverse(Offer::exact(victims, case, seed)));
            }
            continue;
        };
        served += 1;
        preemptions.push(Preemption {
            node_id: case.node_id(),
            reason: reason(&case, &victims),
            victims: victims.task_ids.clone(),
        });
        if let Some(case) = case.after(&victims) {
            offers.push(Reverse(Offer::of(case, seed)));
        }
    }
    preemptions
}

/// A node in the queue of [`plan`]; the least comes first.
#[derive(Debug)]
struct Offer<'a> {
    /// Exact if `victims` is there, otherwise a lower bound.
    cost: Cost,
    tie_break: u64,
    victims: Option<Victims>,
    case: Case<'a>,
}

impl<'a> Offer<'a> {
    fn of(case: Case<'a>, seed: u64) -> Self {
        Self { cost: case.least_cost(), tie_break: hash(seed, case.node_id()), victims: None, case }
    }

    fn exact(victims: Victims, case: Case<'a>, seed: u64) -> Self {
        Self { cost: victims.cost.clone(), tie_break: hash(seed, case.node_id()), victims: Some(victims), case }
    }

    /// What is only a bound comes before what is exact: it may still turn out to cost the same and win the tie.
    fn rank(&self) -> (&Cost, bool, u64, NodeId) {
        (&self.cost, self.victims.is_some(), self.tie_break, self.case.node_id())
    }
}

impl Ord for Offer<'_> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.rank().cmp(&other.rank())
    }
}

impl PartialOrd for Offer<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Offer<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.rank() == other.rank()
    }
}

impl Eq for Offer<'_> {}

/// As in [`super::pick`].
fn hash(seed: u64, node_id: NodeId) -> u64 {
    let (high, low) = node_id.0.as_u64_pair();
    mix(mix(mix(seed) ^ high) ^ low)
}

fn reason(case: &Case<'_>, victims: &Victims) -> String {
    let count = victims.task_ids.len();
    if count == 0 {
        return format!("uses room that becomes free on {}", case.node_name());
    }
    let noun = if count == 1 { "task" } else { "tasks" };
    let (lowest, highest) = (case.lowest_priority(&victims.task_ids), victims.cost.highest_priority);
    let priorities = if lowest == highest { highest.to_string() } else { format!("{lowest} to {highest}") };
    format!("stops {count} {noun} of priority {priorities} on {}", case.node_name())
}
