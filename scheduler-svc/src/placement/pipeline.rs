//! All three steps for a whole batch of groups.

use davit_core::id::NodeId;
use davit_core::placement::PlacementRequest;

use super::algorithms::spread::shares;
use super::group::{Placer, Run};
use super::mirror::Mirror;
use super::packing;
use super::preempt::{self, Preemption};
use super::score::{Algorithm, ClusterFacts};

/// Like tasks.
#[derive(Debug, Clone)]
pub struct Group {
    /// Comes back in the answer. Unique in the batch.
    pub group_id: String,
    /// What is asked for each of them.
    pub request: PlacementRequest,
    /// How many.
    pub count: u32,
    /// How nodes are scored: the algorithm that the request names, or the default.
    pub algorithm: &'static dyn Algorithm,
    /// Whether all are placed or none.
    pub all_or_nothing: bool,
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
    /// Room that could be made for some of the unplaced, one task each.
    pub preemptions: Vec<Preemption>,
}

/// Places groups, one answer for each in the order given, and deducts from the mirror what was placed. The seed decides
/// between equal costs.
///
/// Whatever the order given, the highest priority is placed first; of equal priority, what is largest on an average node,
/// since small tasks still find room where large ones have been. Algorithms that pack mix sizes so that nodes get full.
pub fn place(mirror: &mut Mirror, groups: &[Group], seed: u64) -> Vec<GroupPlacement> {
    place_while(mirror, groups, seed, &mut || true).unwrap_or_default()
}

/// As [`place`], for a single group.
pub(super) fn place_one(mirror: &mut Mirror, group: &Group, seed: u64) -> GroupPlacement {
    let facts = mirror.facts();
    let mut placer = Placer::new(mirror, facts, std::slice::from_ref(group), seed);
    place_group(&mut placer, group, seed)
}

/// As [`place`], but asks before each group whether to go on. `None` when not; the mirror is of no use then.
pub(crate) fn place_while(
    mirror: &mut Mirror,
    groups: &[Group],
    seed: u64,
    go_on: &mut dyn FnMut() -> bool,
) -> Option<Vec<GroupPlacement>> {
    let facts = mirror.facts();
    let mut placer = Placer::new(mirror, facts, groups, seed);
    let mut placements: Vec<Option<GroupPlacement>> = groups.iter().map(|_| None).collect();
    let order = order(groups, &facts);
    for class in order.chunk_by(|a, b| groups[*a].request.priority == groups[*b].request.priority) {
        let (packed, others) = packing::split(groups, class, placer.mirror());
        for at in others {
            if !go_on() {
                return None;
            }
            placements[at] = Some(place_group(&mut placer, &groups[at], seed));
        }
        if packed.is_empty() {
            continue;
        }
        if !go_on() {
            return None;
        }
        let together: Vec<&Group> = packed.iter().map(|at| &groups[*at]).collect();
        let runs = packing::pack(&mut placer, &together, &facts);
        for (at, runs) in packed.into_iter().zip(runs) {
            placements[at] = Some(conclude(&mut placer, &groups[at], runs, seed));
        }
    }
    Some(placements.into_iter().flatten().collect())
}

/// In which order groups are placed. Follows from the groups alone.
fn order(groups: &[Group], facts: &ClusterFacts) -> Vec<usize> {
    let size = |group: &Group| {
        let [cpu, memory, disk] = shares(group.request.requirements.reservation, facts.mean_allocatable);
        cpu.max(memory).max(disk)
    };
    let mut order: Vec<(usize, f64)> = groups.iter().map(size).enumerate().collect();
    order.sort_by(|(a, a_size), (b, b_size)| {
        let (one, other) = (&groups[*a], &groups[*b]);
        let by_priority = other.request.priority.cmp(&one.request.priority);
        let by_size = || b_size.total_cmp(a_size);
        by_priority
            .then_with(by_size)
            .then_with(|| (&one.request, &one.group_id).cmp(&(&other.request, &other.group_id)))
    });
    order.into_iter().map(|(at, _)| at).collect()
}

/// Places one group; takes back a torn gang.
fn place_group(placer: &mut Placer<'_>, group: &Group, seed: u64) -> GroupPlacement {
    let before = (placer.mirror().last_placed(), placer.homes().clone());
    let runs = placer.place(group);
    let placed: u32 = runs.iter().map(|run| run.count).sum();
    if placed == group.count || !group.all_or_nothing {
        return conclude(placer, group, runs, seed);
    }
    let settled = placer.settled(group);
    let requirements = &settled.request.requirements;
    let summary = placer.summary(requirements);
    placer.undo(requirements, &runs, before);
    let reason = format!("needs room for all {} at once, {placed} fit; after those, {summary}", group.count);
    GroupPlacement {
        group_id: group.group_id.clone(),
        runs: Vec::new(),
        unplaced: group.count,
        reason: Some(reason),
        preemptions: Vec::new(),
    }
}

/// Makes the answer of what was placed: says why the rest was not, and where room can be made for it.
fn conclude(placer: &mut Placer<'_>, group: &Group, runs: Vec<Run>, seed: u64) -> GroupPlacement {
    let settled = placer.settled(group);
    let requirements = &settled.request.requirements;
    let placed: u32 = runs.iter().map(|run| run.count).sum();
    let unplaced = group.count - placed.min(group.count);
    let reason = (unplaced > 0).then(|| placer.summary(requirements));
    let mut preemptions = Vec::new();
    if unplaced > 0 && group.request.may_preempt {
        preemptions = preempt::plan(&settled.request, unplaced, placer.mirror().nodes(), seed);
        for Preemption { node_id, victims, .. } in &preemptions {
            placer.mirror_mut().claim(*node_id, requirements, victims);
        }
    }
    let nodes = placer.mirror().nodes();
    let runs = runs.into_iter().map(|Run { at, count }| (nodes[at].node_id, count)).collect();
    GroupPlacement { group_id: group.group_id.clone(), runs, unplaced, reason, preemptions }
}

#[cfg(test)]
mod tests;
