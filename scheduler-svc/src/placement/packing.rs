//! In which order the tasks of a batch are placed by an algorithm that packs.
//!
//! How many nodes are needed depends on the order more than on the cost: largest first leaves behind whole kinds of tasks that
//! would have filled the nodes before. So what is placed next is what suits the node best that was placed on last: that
//! with the largest dot product of what it needs and what is left, each dimension weighted by how much of it the batch needs
//! in all (dot-product packing: Rina Panigrahy et al., "Heuristics for Vector Bin Packing", 2011). Where nothing fits there
//! any more, the largest task is next. Which node a task goes to is the algorithm's decision all the same.

use std::collections::{BTreeMap, VecDeque};

use davit_core::placement::NodeView;
use davit_core::resources::Resources;

use super::algorithms::spread::shares;
use super::eligible::{Mask, has};
use super::group::{Placer, Run, needs_special_look};
use super::mirror::Mirror;
use super::pipeline::Group;
use super::score::ClusterFacts;

/// The most tasks of one batch that are put in order one by one, which takes about as long as searching a node for each.
const MAX_TASKS: u64 = 50_000;

/// Splits groups of one priority, given by their places, into those that are packed together and the others; both keep their
/// order. Only groups for which amounts are all that counts are packed, and only if they differ in them.
pub(super) fn split(groups: &[Group], order: &[usize], mirror: &Mirror) -> (Vec<usize>, Vec<usize>) {
    let packs = |at: &usize| {
        let group = &groups[*at];
        group.algorithm.packs()
            && !group.all_or_nothing
            && group.request.preferences.is_empty()
            && !needs_special_look(&group.request.requirements, mirror)
    };
    let (packed, others): (Vec<usize>, Vec<usize>) = order.iter().partition(|at| packs(at));
    let tasks: u64 = packed.iter().map(|at| u64::from(groups[*at].count)).sum();
    let size = |at: &usize| groups[*at].request.requirements.reservation;
    if tasks > MAX_TASKS || packed.iter().all(|at| size(at) == size(&packed[0])) {
        return (Vec::new(), order.to_vec());
    }
    (packed, others)
}

/// A group while it is packed.
struct Waiting<'g> {
    group: &'g Group,
    eligible: Mask,
    left: u32,
    runs: BTreeMap<usize, u32>,
    is_done: bool,
}

/// Groups of about one size, the largest first.
type Bucket = VecDeque<usize>;

/// Places the groups together; gives the runs of each, in their order.
pub(super) fn pack(placer: &mut Placer<'_>, groups: &[&Group], facts: &ClusterFacts) -> Vec<Vec<Run>> {
    let mut waiting: Vec<Waiting<'_>> = groups
        .iter()
        .map(|group| {
            let eligible = placer.eligible_nodes(&group.request.requirements);
            Waiting { group, eligible, left: group.count, runs: BTreeMap::new(), is_done: false }
        })
        .collect();
    let needed = |one: &Waiting<'_>| shares(one.group.request.requirements.reservation, facts.mean_allocatable);
    let mut weights = [0.0; 3];
    let mut buckets: BTreeMap<[i32; 3], Bucket> = BTreeMap::new();
    for (at, one) in waiting.iter().enumerate() {
        let shares = needed(one);
        for (weight, share) in weights.iter_mut().zip(shares) {
            *weight += share * f64::from(one.left);
        }
        buckets.entry(shares.map(half_octave)).or_default().push_back(at);
    }
    let mut buckets: Vec<Bucket> = buckets.into_values().collect();
    let mut largest = 0;
    let mut last = None;
    loop {
        let suits = last.and_then(|at| suits_best(placer.node(at), at, &waiting, &buckets, weights));
        while waiting.get(largest).is_some_and(|one| one.is_done) {
            largest += 1;
        }
        let next = suits.unwrap_or(largest);
        if next >= waiting.len() {
            break;
        }
        let one = &mut waiting[next];
        match placer.place_single(one.group) {
            Some(at) => {
                *one.runs.entry(at).or_insert(0) += 1;
                one.left -= 1;
                last = Some(at);
            }
            None => last = None,
        }
        // Either all are placed, or no more fit anywhere.
        one.is_done = one.left == 0 || last.is_none();
        if one.is_done {
            for bucket in &mut buckets {
                while bucket.front().is_some_and(|at| waiting[*at].is_done) {
                    bucket.pop_front();
                }
            }
            buckets.retain(|bucket| !bucket.is_empty());
        }
    }
    let run = |(at, count)| Run { at, count };
    waiting.into_iter().map(|one| one.runs.into_iter().map(run).collect()).collect()
}

/// Tasks are of about one size when they differ by less than this factor in each dimension: √2.
fn half_octave(share: f64) -> i32 {
    if share > 0.0 { (libm::log2(share) * 2.0).floor() as i32 } else { i32::MIN }
}

/// What suits a node best; of each bucket only the first that waits is asked.
fn suits_best(
    node: &NodeView,
    at: usize,
    waiting: &[Waiting<'_>],
    buckets: &[Bucket],
    weights: [f64; 3],
) -> Option<usize> {
    let free = node.free();
    let [left_cpu, left_memory, left_disk] = shares(free, node.allocatable);
    // What is the same for every task is worked out once: the product with shares of this node.
    let of = |weight: f64, left: f64, whole: u64| if whole > 0 { weight * left / whole as f64 } else { 0.0 };
    let Resources { cpu_millis, memory_bytes, disk_bytes } = node.allocatable;
    let per_unit = [
        of(weights[0], left_cpu, cpu_millis),
        of(weights[1], left_memory, memory_bytes),
        of(weights[2], left_disk, disk_bytes),
    ];
    let mut best: Option<(f64, usize)> = None;
    for first in buckets.iter().filter_map(|bucket| bucket.front().copied()) {
        let one = &waiting[first];
        let needed = one.group.request.requirements.reservation;
        if !needed.fits_in(free) || !has(&one.eligible, at) {
            continue;
        }
        let product = per_unit[0] * needed.cpu_millis as f64
            + per_unit[1] * needed.memory_bytes as f64
            + per_unit[2] * needed.disk_bytes as f64;
        if best.is_none_or(|(most, _)| product > most) {
            best = Some((product, first));
        }
    }
    best.map(|(_, first)| first)
}
