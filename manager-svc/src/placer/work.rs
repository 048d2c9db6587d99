//! How much one batch may ask of the scheduler: so much that its answer comes long before it would be taken for dead. Pure.

use davit_core::placement::PlacementRequest;

/// What a batch may ask for at first, in looks of a task at a node: about a second of a scheduler's time.
const MOST: u64 = 8_000_000;
/// Below this a scheduler is not asked for less.
const LEAST: u64 = 1_000;

/// Looks at nodes that a task takes which only amounts and nature decide on: the scheduler searches, it does not ask all.
const SEARCH: u64 = 50;
/// How many times as long a look takes when preferences have to be weighed: each affinity; each attribute that is spread over.
const AFFINITY: u64 = 1;
const SPREAD: u64 = 15;
/// The same when it is looked for tasks to stop.
const PREEMPTION: u64 = 50;
/// The same when it can't be remembered of nodes why they don't fit: for ports, and for tasks beside it.
const SPECIAL: u64 = 2;
/// The same for the first group that demands something of the nodes' nature, which is remembered then.
const DEMAND: u64 = 1;

/// What a batch may ask for; less after an answer that was late.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Budget(u64);

impl Default for Budget {
    fn default() -> Self {
        Self(MOST)
    }
}

impl Budget {
    /// How much more it may ask for beside so much.
    pub(super) fn left_after(self, work: u64) -> u64 {
        self.0.saturating_sub(work)
    }

    /// The scheduler answered.
    pub(super) fn was_in_time(&mut self) {
        self.0 = (self.0 * 2).min(MOST);
    }

    /// The scheduler did not answer in time. The next one gets less to do.
    pub(super) fn was_late(&mut self) {
        self.0 = (self.0 / 4).max(LEAST);
    }
}

/// What a group costs once, whatever its size; `is_new` if it is the first to demand what it does of the nodes' nature.
pub(super) fn of_group(request: &PlacementRequest, is_new: bool, node_count: usize) -> u64 {
    let preferences = &request.preferences;
    let mut looks = AFFINITY * preferences.affinities.len() as u64 + SPREAD * preferences.spread.len() as u64;
    looks += u64::from(!preferences.is_empty());
    let requirements = &request.requirements;
    let asks_for_ports = !requirements.host_ports.is_empty() || requirements.dynamic_ports > 0;
    if asks_for_ports || requirements.mentioned_marks().next().is_some() {
        looks += SPECIAL;
    }
    if is_new {
        looks += DEMAND;
    }
    if request.may_preempt {
        looks += PREEMPTION;
    }
    SEARCH + looks * node_count as u64
}

/// What each task of a group costs beside.
pub(super) const OF_TASK: u64 = 1;

#[cfg(test)]
mod tests {
    use davit_core::placement::{Preferences, Requirements, RuntimeKind, SpreadOver};

    use super::*;

    #[test]
    fn a_late_answer_makes_batches_small_and_answers_in_time_make_them_large_again() {
        let mut budget = Budget::default();
        for _ in 0..30 {
            budget.was_late();
        }
        assert_eq!(budget, Budget(LEAST));
        for _ in 0..30 {
            budget.was_in_time();
        }
        assert_eq!(budget, Budget::default());
        assert_eq!((budget.left_after(MOST - 1), budget.left_after(MOST + 1)), (1, 0));
    }

    #[test]
    fn what_makes_the_scheduler_look_at_every_node_costs_more_the_more_nodes_there_are() {
        let plain = PlacementRequest {
            requirements: Requirements::of_runtime(RuntimeKind::Docker),
            preferences: Preferences::default(),
            algorithm: String::new(),
            priority: 0,
            may_preempt: false,
        };
        assert_eq!(of_group(&plain, false, 10), of_group(&plain, false, 10_000));
        assert!(of_group(&plain, true, 10_000) > 100 * of_group(&plain, false, 10_000));
        let spread = vec![SpreadOver { attribute: "zone".parse().unwrap(), weight: 50 }];
        let spread =
            PlacementRequest { preferences: Preferences { spread, ..Preferences::default() }, ..plain.clone() };
        let preempting = PlacementRequest { may_preempt: true, ..plain.clone() };
        let mut publishing = plain;
        publishing.requirements.dynamic_ports = 1;
        for request in [spread, preempting, publishing] {
            assert!(of_group(&request, false, 10_000) > 100 * of_group(&request, false, 10));
        }
    }
}
