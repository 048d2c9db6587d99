//! What the scheduler's answer means: from its message to what is done about the tasks that were asked for. Pure.

use davit_core::id::{NodeId, TaskId};
use davit_core::validate::Violations;
use davit_proto::{convert, v1};
use jiff::Timestamp;

use super::batch::Group;
use crate::commands::{self, Placement, PlacementReport, PreemptionOrder, PreemptionReport};
use crate::state::{ClusterState, Draft};

/// Room that the scheduler would make for a task by stopping others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Preemption {
    pub(super) node_id: NodeId,
    pub(super) victims: Vec<TaskId>,
}

/// Where the scheduler puts the tasks of a group.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Answer {
    /// How many go where.
    pub(super) runs: Vec<(NodeId, u32)>,
    /// Why the rest goes nowhere.
    pub(super) unplaced_reason: String,
    /// Room that can be made for some of the rest, one task each.
    pub(super) preemptions: Vec<Preemption>,
}

/// What the answer to groups means for their tasks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Resolved {
    /// Of tasks that go each by itself.
    pub(super) placements: Vec<Placement>,
    /// Of gangs, which go whole.
    pub(super) gangs: Vec<Placement>,
    pub(super) preemptions: Vec<PreemptionOrder>,
}

impl Answer {
    /// Reads the answer to a group.
    ///
    /// # Errors
    /// What is no id.
    pub(super) fn from_proto(placement: v1::GroupPlacement) -> Result<Self, Violations> {
        let mut violations = Violations::new();
        let mut runs = Vec::with_capacity(placement.runs.len());
        for (index, run) in placement.runs.iter().enumerate() {
            let path = format!("runs[{index}].node_id");
            if let Some(node_id) = convert::parse_node_id(&run.node_id, &path, &mut violations) {
                runs.push((node_id, run.count));
            }
        }
        let mut preemptions = Vec::with_capacity(placement.preemptions.len());
        for (index, preemption) in placement.preemptions.iter().enumerate() {
            let path = format!("preemptions[{index}]");
            let node_id = convert::parse_node_id(&preemption.node_id, &format!("{path}.node_id"), &mut violations);
            let path = format!("{path}.victim_task_ids");
            let victims = preemption.victim_task_ids.iter();
            let victims =
                victims.filter_map(|task_id| convert::parse_task_id(task_id, &path, &mut violations)).collect();
            preemptions.extend(node_id.map(|node_id| Preemption { node_id, victims }));
        }
        let unplaced_reason = convert::kept_reason(placement.unplaced_reason);
        violations.finish(Some(Self { runs, unplaced_reason, preemptions }))
    }
}

/// Turns the answer to a group into placements and preemptions. An answer for more tasks than were asked for is cut short; who is left
/// goes nowhere. `state` and `now` are those that the group was made of.
pub(super) fn resolve(group: &Group, answer: &Answer, state: &ClusterState, now: Timestamp) -> Resolved {
    let mut keys = group.keys(state, now);
    let mut placements = Vec::new();
    for (node_id, count) in &answer.runs {
        let count = usize::try_from(*count).unwrap_or(usize::MAX);
        placements.extend(keys.by_ref().take(count).map(|key| Placement { key, node_id: *node_id }));
    }
    let mut preemptions = Vec::new();
    for Preemption { node_id, victims } in &answer.preemptions {
        let Some(key) = keys.next() else { break };
        let (victims, unplaced_reason) = (victims.clone(), answer.unplaced_reason.clone());
        preemptions.push(PreemptionOrder { key, node_id: *node_id, victims, unplaced_reason });
    }
    let (placements, gangs) = if group.gang_id.is_some() { (Vec::new(), placements) } else { (placements, Vec::new()) };
    Resolved { placements, gangs, preemptions }
}

impl Resolved {
    /// Those of gangs too.
    pub(super) fn all_placements(&self) -> impl Iterator<Item = &Placement> {
        self.placements.iter().chain(&self.gangs)
    }

    /// Adds what the answer to another group means.
    pub(super) fn append(&mut self, mut other: Self) {
        self.placements.append(&mut other.placements);
        self.gangs.append(&mut other.gangs);
        self.preemptions.append(&mut other.preemptions);
    }

    /// Puts together what goes to one node: told of its tasks one by one, its worker would have more to do.
    pub(super) fn sort_by_node(&mut self) {
        self.placements.sort_by_key(|placement| placement.node_id);
    }

    /// Whether nothing is to be done.
    pub(super) fn is_empty(&self) -> bool {
        self.placements.is_empty() && self.gangs.is_empty() && self.preemptions.is_empty()
    }

    /// Takes out what is to be committed next, with so many single placements or preemptions at most, so that no commit holds up all
    /// others that write for long. Gangs go whole, after all single placements.
    pub(super) fn next_part(&mut self, most: usize) -> Option<Self> {
        if self.placements.len() > most {
            let rest = self.placements.split_off(most);
            return Some(Self { placements: std::mem::replace(&mut self.placements, rest), ..Self::default() });
        }
        if self.all_placements().next().is_some() {
            let (placements, gangs) = (std::mem::take(&mut self.placements), std::mem::take(&mut self.gangs));
            return Some(Self { placements, gangs, ..Self::default() });
        }
        let rest = self.preemptions.split_off(most.min(self.preemptions.len()));
        let preemptions = std::mem::replace(&mut self.preemptions, rest);
        Some(Self { preemptions, ..Self::default() }).filter(|part| !part.preemptions.is_empty())
    }

    /// Commits what still holds of it.
    pub(super) fn commit(mut self, draft: &mut Draft) -> (PlacementReport, PreemptionReport) {
        self.placements.append(&mut self.gangs);
        let placed = commands::commit_placements(draft, &self.placements);
        let preempted = commands::commit_preemptions(draft, &self.preemptions);
        (placed, preempted)
    }
}

#[cfg(test)]
mod tests {
    use davit_core::id::{Attempt, AttemptKey};

    use super::*;
    use crate::commands::test_support::{Cluster, node_id, spec, task_id};
    use crate::placer::algorithms::Algorithms;
    use crate::placer::queue::Queue;
    use crate::placer::work::Budget;

    #[test]
    fn an_answer_is_dealt_out_in_the_order_of_waiting_and_never_beyond_what_was_asked() {
        let mut cluster = Cluster::new(1);
        let waiting: Vec<_> = (0..4).map(|_| cluster.create(spec())).collect();
        let key = |nth: usize| AttemptKey { task_id: waiting[nth], attempt: Attempt(1) };
        let algorithms = Algorithms::new(["spread".to_owned()], "spread");
        let mut queue = Queue::default();
        queue.follow(&cluster.state, cluster.now);
        let groups = queue.gather(&cluster.state, cluster.now, &algorithms, Budget::default());
        let preemption = Preemption { node_id: node_id(3), victims: vec![task_id(9)] };
        let answer = Answer {
            runs: vec![(node_id(1), 1), (node_id(2), 1)],
            unplaced_reason: "why".to_owned(),
            preemptions: vec![preemption.clone()],
        };
        let resolved = resolve(&groups[0], &answer, &cluster.state, cluster.now);
        let placed: Vec<_> = resolved.placements.iter().map(|one| (one.key, one.node_id)).collect();
        assert_eq!(placed, [(key(0), node_id(1)), (key(1), node_id(2))]);
        assert_eq!(resolved.preemptions.iter().map(|one| one.key).collect::<Vec<_>>(), [key(2)]);

        let too_much = Answer { runs: vec![(node_id(1), 9)], preemptions: vec![preemption], ..answer };
        let resolved = resolve(&groups[0], &too_much, &cluster.state, cluster.now);
        assert_eq!((resolved.placements.len(), resolved.preemptions.len()), (4, 0));
    }

    #[test]
    fn parts_are_small_keep_a_nodes_tasks_together_and_leave_gangs_whole() {
        let place = |task: u64, node: u64| Placement {
            key: AttemptKey { task_id: task_id(task), attempt: Attempt(1) },
            node_id: node_id(node),
        };
        let order = |task| PreemptionOrder {
            key: place(task, 1).key,
            node_id: node_id(1),
            victims: Vec::new(),
            unplaced_reason: String::new(),
        };
        let all = Resolved {
            preemptions: (30..36).map(order).collect(),
            placements: (0..10).map(|task| place(task, task % 3)).collect(),
            gangs: (10..30).map(|task| place(task, task % 3)).collect(),
        };
        let parts_of = |most| {
            let mut all = all.clone();
            all.sort_by_node();
            std::iter::from_fn(move || all.next_part(most)).collect::<Vec<_>>()
        };
        let parts = parts_of(4);
        assert_eq!(parts.iter().map(|part| part.placements.len()).collect::<Vec<_>>(), [4, 4, 2, 0, 0]);
        assert_eq!(parts.iter().map(|part| part.preemptions.len()).collect::<Vec<_>>(), [0, 0, 0, 4, 2]);
        let placed: Vec<Placement> = parts.iter().flat_map(|part| part.placements.clone()).collect();
        assert!(placed.is_sorted_by_key(|placement| placement.node_id));
        assert_eq!(parts[2].gangs.len(), 20);
        assert!(parts[..2].iter().all(|part| part.gangs.is_empty()));
        assert_eq!(parts_of(10).len(), 2);
        assert_eq!(Resolved::default().next_part(10), None);
    }

    #[test]
    fn a_reason_is_kept_for_every_task_that_waits_and_is_cut_for_that() {
        let unplaced_reason = "é".repeat(1 << 20);
        let answer = Answer::from_proto(v1::GroupPlacement { unplaced_reason, ..Default::default() }).unwrap();
        assert_eq!(answer.unplaced_reason, "é".repeat(convert::MAX_REASON_BYTES / 2));
    }
}
