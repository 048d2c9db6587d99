//! What preferences add to a cost: terms of their own, the same for every algorithm.
//!
//! Terms are added and never averaged, so one that says nothing about a node leaves the others as they are. Each is in
//! [`Algorithm::unit`]s: a weight of 100 is worth the difference between an empty and a full node.
//!
//! ```text
//! prefers EXPRESSION  = −weight / 100               on nodes that satisfy it
//! spread ATTRIBUTE    =  weight / 100 · (tasks on nodes with the same value + 1) / (tasks a value gets if spread evenly)
//! failed-here-lately  =  1/2 for every recent failure on the node
//! ```

use std::collections::BTreeMap;

use davit_core::constraint::Attribute;
use davit_core::placement::{NodeView, PlacementRequest, Preferences};

use super::score::{Algorithm, ClusterFacts};

/// What one recent failure on a node counts for, in units.
const FAILURE_COST: f64 = 0.5;

/// The terms of one request.
#[derive(Debug)]
pub(super) struct PreferenceTerms<'a> {
    preferences: &'a Preferences,
    unit: f64,
    spread: Vec<Spread<'a>>,
}

/// How tasks are spread over the values of one attribute.
#[derive(Debug)]
struct Spread<'a> {
    attribute: &'a Attribute,
    /// What one task on a value costs there.
    cost_per_task: f64,
    /// Index of each value; that of nodes without the attribute is 0.
    values: BTreeMap<String, usize>,
    /// How many tasks there are on nodes with a value.
    counts: Vec<u32>,
}

impl<'a> PreferenceTerms<'a> {
    /// The terms of a request for `count` tasks; `None` when it prefers nothing.
    pub(super) fn of(
        request: &'a PlacementRequest,
        count: u32,
        nodes: &[NodeView],
        algorithm: &dyn Algorithm,
        facts: &ClusterFacts,
    ) -> Option<Self> {
        let preferences = &request.preferences;
        if preferences.is_empty() {
            return None;
        }
        let unit = algorithm.unit(request.requirements.reservation, facts);
        let spread = preferences.spread.iter().map(|over| {
            let mut spread =
                Spread { attribute: &over.attribute, cost_per_task: 0.0, values: BTreeMap::new(), counts: vec![0] };
            let mut has_nodes_without = false;
            for node in nodes {
                let tasks = preferences.spread_set.as_ref().map_or(0, |mark| node.count_of(mark));
                let at = spread.learn(node);
                has_nodes_without |= at == 0;
                spread.counts[at] = spread.counts[at].saturating_add(tasks);
            }
            let values = spread.values.len() + usize::from(has_nodes_without);
            let total: f64 = spread.counts.iter().copied().map(f64::from).sum::<f64>() + f64::from(count);
            let even = (total / values.max(1) as f64).max(1.0);
            spread.cost_per_task = unit * f64::from(over.weight) / 100.0 / even;
            spread
        });
        Some(Self { preferences, unit, spread: spread.collect() })
    }

    /// What does not change while the request's tasks are placed.
    pub(super) fn fixed_terms(&self, node: &NodeView) -> Vec<(String, f64)> {
        let mut terms = Vec::new();
        for affinity in &self.preferences.affinities {
            let matches = affinity.expression.is_satisfied_by(node.attributes());
            let cost = if matches { -self.unit * f64::from(affinity.weight) / 100.0 } else { 0.0 };
            let verb = if affinity.weight < 0 { "avoids" } else { "prefers" };
            terms.push((format!("{verb} {}", affinity.expression), cost));
        }
        if !self.preferences.recent_failures.is_empty() {
            terms.push(("failed-here-lately".to_owned(), self.failure_cost(node)));
        }
        terms
    }

    /// Their sum.
    pub(super) fn fixed_cost(&self, node: &NodeView) -> f64 {
        let matching =
            self.preferences.affinities.iter().filter(|one| one.expression.is_satisfied_by(node.attributes()));
        let liked: f64 = matching.map(|one| f64::from(one.weight)).sum();
        self.failure_cost(node) - self.unit * liked / 100.0
    }

    fn failure_cost(&self, node: &NodeView) -> f64 {
        let here = self.preferences.recent_failures.iter().filter(|one| one.node_id == node.node_id);
        self.unit * FAILURE_COST * here.map(|one| f64::from(one.count)).sum::<f64>()
    }

    /// Which value of each attribute a node has. Nodes with equal answers share all that [`Self::spread_cost`] depends on.
    pub(super) fn values_of(&self, node: &NodeView) -> Vec<usize> {
        self.spread.iter().map(|one| one.index_of(node)).collect()
    }

    /// What one more task on nodes with these values costs.
    pub(super) fn spread_cost(&self, values: &[usize]) -> f64 {
        self.spread.iter().zip(values).map(|(one, value)| one.cost_at(*value)).sum()
    }

    /// The terms of that cost.
    pub(super) fn spread_terms(&self, node: &NodeView) -> Vec<(String, f64)> {
        let values = self.values_of(node);
        let term = |(one, value): (&Spread<'_>, usize)| (format!("spread {}", one.attribute), one.cost_at(value));
        self.spread.iter().zip(values).map(term).collect()
    }

    /// Counts a task that was placed on a node with these values.
    pub(super) fn placed_on(&mut self, values: &[usize]) {
        for (one, value) in self.spread.iter_mut().zip(values) {
            if let Some(count) = one.counts.get_mut(*value) {
                *count = count.saturating_add(1);
            }
        }
    }
}

impl Spread<'_> {
    fn index_of(&self, node: &NodeView) -> usize {
        let value = self.attribute.value_on(node.attributes());
        value.and_then(|value| self.values.get(value)).copied().unwrap_or(0)
    }

    /// The index of the node's value, which may be new.
    fn learn(&mut self, node: &NodeView) -> usize {
        let Some(value) = self.attribute.value_on(node.attributes()) else { return 0 };
        if let Some(known) = self.values.get(value) {
            return *known;
        }
        self.values.insert(value.to_owned(), self.counts.len());
        self.counts.push(0);
        self.counts.len() - 1
    }

    fn cost_at(&self, value: usize) -> f64 {
        self.cost_per_task * (self.counts.get(value).copied().map_or(0.0, f64::from) + 1.0)
    }
}
