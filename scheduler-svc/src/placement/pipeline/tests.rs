//! What placement promises, each tried to be broken.

use std::collections::BTreeMap;

use davit_core::id::TaskId;
use davit_core::node::NodeState;
use davit_core::placement::{Affinity, Mark, NodeView, PlacedTask, Requirements, SpreadOver, Summary, fits};
use davit_core::resources::Resources;
use davit_core::spec::PortProtocol;
use proptest::prelude::*;

use super::*;
use crate::placement::algorithms::{self, Binpack, Epvm, RoundRobin, Spread};
use crate::placement::explain::explain;
use crate::placement::pick::pick;
use crate::placement::preferences::PreferenceTerms;
use crate::placement::steps::full_score;
use crate::placement::test_support::{
    any_cluster, any_group, any_groups, group, node, node_id, on, requirements, stats,
};

fn counts(placement: &GroupPlacement) -> Vec<u32> {
    placement.runs.iter().map(|(_, count)| *count).collect()
}

/// Those that even out.
const EVEN: [&dyn Algorithm; 4] = [&Epvm, &algorithms::EpvmClassic, &RoundRobin, &Spread];

#[test]
fn like_tasks_come_out_even_on_like_nodes() {
    for algorithm in EVEN {
        let mut mirror = Mirror::new((0..4).map(node).collect());
        let placed = place(&mut mirror, &[group(10, algorithm)], 1);
        let mut even = counts(&placed[0]);
        even.sort_unstable();
        assert_eq!(even, [2, 2, 3, 3], "{}", algorithm.name());
        assert_eq!((placed[0].unplaced, &placed[0].reason), (0, &None));
    }
}

#[test]
fn a_later_group_sees_what_an_earlier_one_took() {
    let mut mirror = Mirror::new(vec![node(1)]);
    let mut large = group(1, &Spread);
    large.request.requirements.reservation.cpu_millis = 5000;
    let second = Group { group_id: "h".to_owned(), ..large.clone() };
    let placed = place(&mut mirror, &[large.clone(), second], 1);
    assert_eq!((placed[0].unplaced, placed[1].unplaced), (0, 1));
    assert_eq!(placed[1].reason.as_deref(), Some("fits 0 of 1 node: 1 lacks cpu"));
    assert_eq!(place(&mut mirror, &[large], 1)[0].unplaced, 1);
}

#[test]
fn room_that_is_made_for_a_task_is_not_given_to_a_less_important_one() {
    let mut full = node(1);
    // 3 cores are free; the important task needs 5, and one victim.
    let held = Requirements { reservation: Resources { cpu_millis: 5000, ..Resources::ZERO }, ..requirements() };
    full.reserve(&held);
    full.tasks.push(PlacedTask {
        task_id: TaskId(uuid::Uuid::from_u128(1)),
        requirements: held,
        priority: 0,
        running_secs: 0,
        is_ending: false,
        algorithm: String::new(),
        affinities: Vec::new(),
    });
    let wants = |group_id: &str, priority: i32, cpu_millis: u64| {
        let mut group = Group { group_id: group_id.to_owned(), ..group(1, &Spread) };
        group.request.requirements.reservation.cpu_millis = cpu_millis;
        group.request.priority = priority;
        group.request.may_preempt = true;
        group
    };
    let groups = [wants("important", 9, 5000), wants("next", 8, 3000), wants("small", -5, 2000)];
    let mut mirror = Mirror::new(vec![full]);
    let placed = place(&mut mirror, &groups, 1);
    let preemptions = |at: usize| placed[at].preemptions.iter().map(|one| one.victims.len()).collect::<Vec<_>>();
    assert_eq!((preemptions(0), preemptions(1)), (vec![1], vec![0]), "what the victim leaves is enough for both");
    assert_eq!((placed[2].unplaced, preemptions(2)), (1, vec![]), "it would be in their way");
    assert!(mirror.nodes()[0].tasks[0].is_ending);
}

/// The book's code drops a task for which there is no candidate.
#[test]
fn a_task_without_a_candidate_comes_back_with_the_reason() {
    let placed = place(&mut Mirror::default(), &[group(3, &Epvm)], 1);
    assert_eq!(placed[0].unplaced, 3);
    assert_eq!(placed[0].reason.as_deref(), Some("no node has joined the cluster"));
}

/// In the book's code a dead node has no score, which reads as 0 and wins.
#[test]
fn dead_suspect_and_cordoned_nodes_never_win() {
    for algorithm in algorithms::ALL {
        for seed in 0..10 {
            let mut nodes: Vec<_> = (0..4).map(node).collect();
            nodes[0].state = NodeState::Down;
            nodes[1].state = NodeState::Suspect;
            nodes[2].cordoned = true;
            nodes[3].task_count = 1000;
            nodes[3].stats = Some(stats(8000, 16 << 30));
            let placed = place(&mut Mirror::new(nodes), &[group(5, algorithm)], seed);
            assert_eq!(placed[0].runs, [(node_id(3), 5)], "{}", algorithm.name());
        }
    }
}

/// In the book's code a task that is queued again brings the manager down.
#[test]
fn a_task_that_was_not_placed_is_placed_when_it_comes_again_and_there_is_room() {
    let mut mirror = Mirror::default();
    assert_eq!(place(&mut mirror, &[group(1, &Epvm)], 1)[0].unplaced, 1);
    assert_eq!(place(&mut mirror, &[group(1, &Epvm)], 1)[0].unplaced, 1);
    mirror.upsert(node(1));
    assert_eq!(place(&mut mirror, &[group(1, &Epvm)], 1)[0].runs, [(node_id(1), 1)]);
}

/// The book's E-PVM never sees cpu load, since the term cancels.
#[test]
fn epvm_avoids_a_node_whose_cpu_is_busy() {
    let (mut idle, mut busy) = (node(1), node(2));
    idle.stats = Some(stats(200, 2 << 30));
    busy.stats = Some(stats(7500, 2 << 30));
    for seed in 0..10 {
        let placed = place(&mut Mirror::new(vec![idle.clone(), busy.clone()]), &[group(1, &Epvm)], seed);
        assert_eq!(placed[0].runs, [(node_id(1), 1)]);
    }
}

/// The book's code sleeps 3 s per node and placement.
#[test]
fn many_tasks_on_many_nodes_take_no_time_per_node() {
    let mut mirror = Mirror::new((0..1000).map(node).collect());
    for algorithm in [&Epvm as &dyn Algorithm, &RoundRobin, &Spread] {
        let placed = place(&mut mirror, &[group(20_000, algorithm)], 1);
        assert_eq!(counts(&placed[0]), vec![20; 1000], "{}", algorithm.name());
    }
}

#[test]
fn a_fixed_port_allows_one_task_per_node() {
    let mut wants_port = group(5, &Spread);
    wants_port.request.requirements.host_ports = vec![(PortProtocol::Tcp, 80)];
    let placed = place(&mut Mirror::new((0..3).map(node).collect()), &[wants_port], 1);
    assert_eq!((counts(&placed[0]), placed[0].unplaced), (vec![1, 1, 1], 2));
    assert_eq!(placed[0].reason.as_deref(), Some("fits 0 of 3 nodes: 3 have host port 80/tcp taken"));
}

#[test]
fn round_robin_goes_on_where_the_last_batch_ended() {
    let mut mirror = Mirror::new((0..5).map(node).collect());
    let mut last = mirror.turn(9);
    for seed in [9, 10, 11, 12, 13, 14, 15] {
        let placed = place(&mut mirror, &[group(1, &RoundRobin)], seed);
        assert_eq!(placed[0].runs, [(mirror.nodes()[last].node_id, 1)]);
        last = (last + 1) % 5;
    }
}

#[test]
fn round_robin_passes_over_full_nodes() {
    let mut nodes: Vec<_> = (0..3).map(node).collect();
    nodes[1].reserved = nodes[1].allocatable;
    let placed = place(&mut Mirror::new(nodes), &[group(6, &RoundRobin)], 4);
    assert_eq!(placed[0].runs, [(node_id(0), 3), (node_id(2), 3)]);
}

#[test]
fn a_larger_node_gets_more() {
    let mut large = node(2);
    large.allocatable.cpu_millis *= 4;
    large.allocatable.memory_bytes *= 4;
    for algorithm in [&Spread as &'static dyn Algorithm, &Epvm] {
        let mut heavy = group(10, algorithm);
        heavy.request.requirements.reservation = Resources { cpu_millis: 1000, memory_bytes: 2 << 30, disk_bytes: 0 };
        let placed = place(&mut Mirror::new(vec![node(1), large.clone()]), &[heavy], 1);
        let runs = &placed[0].runs;
        assert!(on(runs, node_id(2)) > 2 * on(runs, node_id(1)), "{}: {runs:?}", algorithm.name());
    }
}

#[test]
fn more_kinds_of_constraints_than_are_remembered_change_nothing() {
    let mut labelled = node(1);
    labelled.labels.insert("zone".to_owned(), "z7".to_owned());
    let groups: Vec<_> = (0..600)
        .map(|number| {
            let mut group = Group { group_id: format!("{number:03}"), ..group(1, &Spread) };
            group.request.requirements.constraints = vec![format!("zone == z{}", number % 300).parse().unwrap()];
            group
        })
        .collect();
    let placed = place(&mut Mirror::new(vec![labelled, node(2)]), &groups, 1);
    for (number, placement) in placed.iter().enumerate() {
        assert_eq!(placement.unplaced == 0, number % 300 == 7, "{number}");
    }
}

#[test]
fn the_higher_priority_is_placed_first_whatever_the_order() {
    let mut low = group(1, &Spread);
    low.request.requirements.reservation.cpu_millis = 5000;
    let mut high = Group { group_id: "high".to_owned(), ..low.clone() };
    high.request.priority = 5;
    for groups in [[low.clone(), high.clone()], [high, low]] {
        let placed = place(&mut Mirror::new(vec![node(1)]), &groups, 1);
        for (group, placement) in groups.iter().zip(&placed) {
            assert_eq!(placement.unplaced == 0, group.group_id == "high");
        }
    }
}

#[test]
fn a_gang_that_does_not_fit_whole_leaves_nothing_behind() {
    let mut gang = group(3, &Spread);
    gang.all_or_nothing = true;
    gang.request.requirements.reservation.cpu_millis = 5000;
    let mut mirror = Mirror::new(vec![node(1), node(2)]);
    let before = mirror.nodes().to_vec();
    let placed = place(&mut mirror, &[gang.clone()], 1);
    assert_eq!((placed[0].unplaced, placed[0].runs.len()), (3, 0));
    let reason = placed[0].reason.as_deref();
    assert_eq!(reason, Some("needs room for all 3 at once, 2 fit; after those, fits 0 of 2 nodes: 2 lack cpu"));
    assert_eq!(mirror.nodes(), before);
    gang.count = 2;
    assert_eq!(place(&mut mirror, &[gang], 1)[0].unplaced, 0);
}

#[test]
fn tasks_are_spread_over_the_values_of_a_label_first() {
    let mut nodes: Vec<_> = (0..6).map(node).collect();
    for (number, node) in nodes.iter_mut().enumerate() {
        // Four nodes in zone a, one in b, one in c.
        let zone = ["a", "a", "a", "a", "b", "c"][number];
        node.labels.insert("zone".to_owned(), zone.to_owned());
    }
    for algorithm in algorithms::ALL {
        let mut spread = group(9, algorithm);
        let mark = Mark::of_name("web");
        spread.request.requirements.marks = vec![mark.clone()];
        spread.request.preferences.spread = vec![SpreadOver { attribute: "zone".parse().unwrap(), weight: 100 }];
        spread.request.preferences.spread_set = Some(mark);
        let placed = place(&mut Mirror::new(nodes.clone()), &[spread], 1);
        let runs = &placed[0].runs;
        let single = [on(runs, node_id(4)), on(runs, node_id(5))];
        // Turns weigh as much as the last task of a zone.
        let least = if algorithm.name() == "round-robin" { 2 } else { 3 };
        assert!(single.iter().all(|count| (least..=3).contains(count)), "{}: {runs:?}", algorithm.name());
    }
}

#[test]
fn what_is_liked_wins_over_an_empty_node_and_what_is_disliked_loses_to_a_full_one() {
    let (mut liked, mut plain, mut disliked) = (node(1), node(2), node(3));
    // Nodes of different size: what is the same for both is not what is compared.
    plain.allocatable.cpu_millis *= 4;
    plain.allocatable.memory_bytes *= 4;
    disliked.allocatable.memory_bytes *= 8;
    liked.labels.insert("disk".to_owned(), "ssd".to_owned());
    liked.reserved.cpu_millis = 7000;
    disliked.labels.insert("disk".to_owned(), "hdd".to_owned());
    for algorithm in algorithms::ALL {
        let prefer = |text: &str, weight| {
            let mut group = group(1, algorithm);
            group.request.preferences.affinities = vec![Affinity { expression: text.parse().unwrap(), weight }];
            group
        };
        let placed = |nodes: Vec<_>, group| place(&mut Mirror::new(nodes), &[group], 1)[0].runs.clone();
        let both = vec![liked.clone(), plain.clone()];
        assert_eq!(placed(both, prefer("disk == ssd", 100)), [(node_id(1), 1)], "{}", algorithm.name());
        let mut full = plain.clone();
        full.reserved.cpu_millis = full.allocatable.cpu_millis - 100;
        let both = vec![disliked.clone(), full];
        assert_eq!(placed(both, prefer("disk == hdd", -100)), [(node_id(2), 1)], "{}", algorithm.name());
    }
}

#[test]
fn binpack_fills_one_node_before_the_next() {
    let placed = place(&mut Mirror::new((0..5).map(node).collect()), &[group(100, &Binpack)], 1);
    let mut counts = counts(&placed[0]);
    counts.sort_unstable();
    assert_eq!(counts, [20, 80]);
}

/// What the fast ways must agree with: every node is asked and scored for every task.
fn by_asking_all(group: &Group, mirror: &mut Mirror, facts: &ClusterFacts, seed: u64) -> Vec<(NodeId, u32)> {
    let (before, requirements) = (mirror.clone(), &group.request.requirements);
    let (turn, count) = (mirror.turn(seed), mirror.nodes().len());
    let mut terms = PreferenceTerms::of(&group.request, group.count, mirror.nodes(), group.algorithm, facts);
    let mut placed: BTreeMap<NodeId, u32> = BTreeMap::new();
    for _ in 0..group.count {
        let candidates = mirror.nodes().iter().enumerate().filter(|(_, node)| fits(requirements, node));
        let costs = candidates.map(|(at, node)| {
            let rounds = placed.get(&node.node_id).map_or(0, |placed| *placed as usize * count);
            let turns = algorithms::round_robin::distance(at, turn, count) + rounds;
            (node.node_id, full_score(group.algorithm, &group.request, node, turns, terms.as_ref(), facts).cost())
        });
        let Some(won) = pick(costs, seed) else { break };
        let at = mirror.nodes().iter().position(|node| node.node_id == won).unwrap();
        if let Some(terms) = &mut terms {
            let values = terms.values_of(&mirror.nodes()[at]);
            terms.placed_on(&values);
        }
        mirror.reserve(at, requirements);
        *placed.entry(won).or_insert(0) += 1;
    }
    if group.all_or_nothing && placed.values().sum::<u32>() < group.count {
        *mirror = before;
        placed.clear();
    }
    placed.into_iter().collect()
}

/// Groups in the order in which they are placed.
fn in_order<'a>(groups: &'a [Group], nodes: &[NodeView]) -> Vec<(usize, &'a Group)> {
    let facts = ClusterFacts::of(nodes);
    order(groups, &facts).into_iter().map(|at| (at, &groups[at])).collect()
}

proptest! {
    #[test]
    fn every_task_is_accounted_for_and_nothing_is_over_committed(
        nodes in any_cluster(7),
        groups in any_groups(),
        seed: u64,
    ) {
        let mut mirror = Mirror::new(nodes.clone());
        let placements = place(&mut mirror, &groups, seed);
        prop_assert_eq!(placements.len(), groups.len());
        // Every placement is repeated one by one as a manager does at commit: each must fit at its turn.
        let mut truth: BTreeMap<_, _> = nodes.iter().map(|node| (node.node_id, node.clone())).collect();
        for (at, group) in in_order(&groups, &nodes) {
            let (placement, requirements) = (&placements[at], &group.request.requirements);
            prop_assert_eq!(&placement.group_id, &group.group_id);
            let placed: u32 = counts(placement).iter().sum();
            prop_assert_eq!(placed + placement.unplaced, group.count);
            prop_assert_eq!(placement.unplaced > 0, placement.reason.is_some());
            prop_assert!(!group.all_or_nothing || placed == 0 || placement.unplaced == 0, "a gang was torn");
            for (node_id, count) in &placement.runs {
                prop_assert!(*count > 0);
                for _ in 0..*count {
                    let node = truth.get_mut(node_id).unwrap();
                    prop_assert!(fits(requirements, node));
                    node.reserve(requirements);
                }
            }
            // Tasks that are packed together come after the others, in an order of their own.
            let in_this_order = groups.iter().all(|group| !group.algorithm.packs());
            if placement.unplaced > 0 && !group.all_or_nothing && in_this_order {
                prop_assert!(!truth.values().any(|node| fits(requirements, node)), "a node was missed");
                let told = Summary::of(requirements, truth.values()).to_string();
                prop_assert_eq!(placement.reason.as_deref(), Some(told.as_str()));
            }
        }
        for (group, placement) in groups.iter().zip(&placements) {
            let needs_no_other = group.request.requirements.needs.is_empty();
            if placement.unplaced > 0 && !group.all_or_nothing && needs_no_other {
                prop_assert!(!truth.values().any(|node| fits(&group.request.requirements, node)), "a node was missed");
            }
        }
        let truth: Vec<_> = truth.into_values().collect();
        prop_assert_eq!(mirror.nodes(), truth);
    }

    #[test]
    fn neither_the_order_of_nodes_nor_that_of_groups_matters(
        nodes in any_cluster(7),
        groups in any_groups(),
        seed: u64,
    ) {
        let answer = place(&mut Mirror::new(nodes.clone()), &groups, seed);
        prop_assert_eq!(&place(&mut Mirror::new(nodes.clone()), &groups, seed), &answer);
        let (mut nodes, mut groups) = (nodes, groups);
        nodes.reverse();
        prop_assert_eq!(&place(&mut Mirror::new(nodes.clone()), &groups, seed), &answer);
        groups.reverse();
        let mut reversed = place(&mut Mirror::new(nodes), &groups, seed);
        reversed.reverse();
        prop_assert_eq!(reversed, answer);
    }

    /// Deltas that give the same nodes give the same answers, although columns and masks are carried along.
    #[test]
    fn a_mirror_that_was_told_of_changes_places_as_a_fresh_one(
        before in any_cluster(7),
        warm_up in any_groups(),
        after in any_cluster(7),
        groups in any_groups(),
        seed: u64,
    ) {
        let mut carried = Mirror::new(before.clone());
        place(&mut carried, &warm_up, seed);
        for node in &after {
            carried.upsert(node.clone());
        }
        for node in before.iter().filter(|node| !after.iter().any(|one| one.node_id == node.node_id)) {
            carried.remove(node.node_id);
        }
        carried.set_last_placed(None);
        let mut fresh = Mirror::new(after);
        prop_assert_eq!(carried.nodes(), fresh.nodes());
        prop_assert_eq!(place(&mut carried, &groups, seed), place(&mut fresh, &groups, seed));
        prop_assert_eq!(carried.nodes(), fresh.nodes());
    }

    #[test]
    fn what_is_explained_first_is_where_the_task_goes(nodes in any_cluster(7), group in any_group(), seed: u64) {
        let group = Group { count: 1, ..group };
        let explained = explain(nodes.clone(), &group, seed, 0);
        let placed = place(&mut Mirror::new(nodes.clone()), std::slice::from_ref(&group), seed);
        prop_assert_eq!(&explained.placement, &placed[0]);
        prop_assert_eq!(explained.nodes.len(), nodes.len());
        let best = explained.nodes.iter().find(|node| node.rank == Some(1)).map(|node| node.node_id);
        prop_assert_eq!(placed[0].runs.first().map(|(node_id, _)| *node_id), best);
        for node in &explained.nodes {
            prop_assert_eq!(node.rank.is_some(), node.verdicts.iter().all(|one| one.passes));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Heap, search and turns are only faster ways of asking and scoring every node for every task.
    #[test]
    fn tasks_are_placed_exactly_as_asking_every_node_for_each_would_place_them(
        nodes in any_cluster(30),
        groups in any_groups(),
        count in 1..=60_u32,
        seed: u64,
    ) {
        for algorithm in algorithms::ALL {
            let mut groups: Vec<_> = groups.iter().map(|group| Group { algorithm, ..group.clone() }).collect();
            groups[0].count = count;
            let mut mirror = Mirror::new(nodes.clone());
            let (mut reference, facts) = (mirror.clone(), mirror.facts());
            // In which order tasks are packed is tested by how densely; here it is about where they go.
            if !packing::split(&groups, &(0..groups.len()).collect::<Vec<_>>(), &mirror).0.is_empty() {
                groups.truncate(1);
            }
            let placed = place(&mut mirror, &groups, seed);
            for (at, group) in in_order(&groups, &nodes) {
                let expected = by_asking_all(group, &mut reference, &facts, seed);
                prop_assert_eq!(&placed[at].runs, &expected, "{} of {:?}", algorithm.name(), group);
            }
        }
    }
}
