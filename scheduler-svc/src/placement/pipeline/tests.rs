//! What placement promises, each tried to be broken.

use std::collections::BTreeMap;

use davit_core::node::NodeState;
use davit_core::placement::fits;
use davit_core::resources::Resources;
use davit_core::spec::PortProtocol;
use proptest::prelude::*;

use super::*;
use crate::placement::algorithms::{self, Epvm, RoundRobin, Spread};
use crate::placement::pick::pick;
use crate::placement::steps::{score, select_candidates};
use crate::placement::test_support::{any_cluster, any_requirements, node, node_id, requirements, stats};

fn group(count: u32, algorithm: &'static dyn Algorithm) -> Group {
    Group { group_id: "g".to_owned(), requirements: requirements(), count, algorithm }
}

fn counts(placement: &GroupPlacement) -> Vec<u32> {
    placement.runs.iter().map(|(_, count)| *count).collect()
}

fn any_group() -> impl Strategy<Value = Group> {
    (any_requirements(), 1..20_u32, prop::sample::select(algorithms::ALL.to_vec()))
        .prop_map(|(requirements, count, algorithm)| Group { group_id: String::new(), requirements, count, algorithm })
}

fn any_groups() -> impl Strategy<Value = Vec<Group>> {
    prop::collection::vec(any_group(), 1..5)
}

#[test]
fn like_tasks_come_out_even_on_like_nodes() {
    for algorithm in algorithms::ALL {
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
    large.requirements.reservation.cpu_millis = 5000;
    let placed = place(&mut mirror, &[large.clone(), large.clone()], 1);
    assert_eq!((placed[0].unplaced, placed[1].unplaced), (0, 1));
    assert_eq!(placed[1].reason.as_deref(), Some("fits 0 of 1 node: 1 lacks cpu"));
    assert_eq!(place(&mut mirror, &[large], 1)[0].unplaced, 1);
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
    for algorithm in algorithms::ALL {
        let placed = place(&mut mirror, &[group(20_000, algorithm)], 1);
        assert_eq!(counts(&placed[0]), vec![20; 1000], "{}", algorithm.name());
    }
}

#[test]
fn a_fixed_port_allows_one_task_per_node() {
    let mut wants_port = group(5, &Spread);
    wants_port.requirements.host_ports = vec![(PortProtocol::Tcp, 80)];
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
        heavy.requirements.reservation = Resources { cpu_millis: 1000, memory_bytes: 2 << 30, disk_bytes: 0 };
        let placed = place(&mut Mirror::new(vec![node(1), large.clone()]), &[heavy], 1);
        let on = |id| placed[0].runs.iter().find(|(node_id, _)| *node_id == id).map_or(0, |(_, count)| *count);
        assert!(on(node_id(2)) > 2 * on(node_id(1)), "{}: {:?}", algorithm.name(), placed[0].runs);
    }
}

#[test]
fn more_kinds_of_constraints_than_are_remembered_change_nothing() {
    let mut labelled = node(1);
    labelled.labels.insert("zone".to_owned(), "z7".to_owned());
    let groups: Vec<_> = (0..3 * MAX_REMEMBERED)
        .map(|number| {
            let mut group = group(1, &Spread);
            group.requirements.constraints = vec![format!("zone == z{}", number % 100).parse().unwrap()];
            group
        })
        .collect();
    let placed = place(&mut Mirror::new(vec![labelled, node(2)]), &groups, 1);
    for (number, placement) in placed.iter().enumerate() {
        assert_eq!(placement.unplaced == 0, number % 100 == 7, "{number}");
    }
}

proptest! {
    #[test]
    fn every_task_is_accounted_for_and_nothing_is_over_committed(
        nodes in any_cluster(),
        groups in any_groups(),
        seed: u64,
    ) {
        let mut mirror = Mirror::new(nodes.clone());
        let placements = place(&mut mirror, &groups, seed);
        prop_assert_eq!(placements.len(), groups.len());
        // Every placement is repeated one by one as a manager does at commit: each must fit at its turn.
        let mut truth: BTreeMap<_, _> = nodes.into_iter().map(|node| (node.node_id, node)).collect();
        for (group, placement) in groups.iter().zip(&placements) {
            let placed: u32 = counts(placement).iter().sum();
            prop_assert_eq!(placed + placement.unplaced, group.count);
            prop_assert_eq!(placement.unplaced > 0, placement.reason.is_some());
            for (node_id, count) in &placement.runs {
                prop_assert!(*count > 0);
                for _ in 0..*count {
                    let node = truth.get_mut(node_id).unwrap();
                    prop_assert!(fits(&group.requirements, node));
                    node.reserve(&group.requirements);
                }
            }
            if placement.unplaced > 0 {
                prop_assert!(!truth.values().any(|node| fits(&group.requirements, node)), "a node was missed");
                let told = Summary::of(&group.requirements, truth.values()).to_string();
                prop_assert_eq!(placement.reason.as_deref(), Some(told.as_str()));
            }
        }
        let truth: Vec<_> = truth.into_values().collect();
        prop_assert_eq!(mirror.nodes(), truth);
    }

    #[test]
    fn the_order_of_nodes_does_not_matter(nodes in any_cluster(), groups in any_groups(), seed: u64) {
        let mut reversed = nodes.clone();
        reversed.reverse();
        let answer = place(&mut Mirror::new(nodes.clone()), &groups, seed);
        prop_assert_eq!(&place(&mut Mirror::new(reversed), &groups, seed), &answer);
        prop_assert_eq!(place(&mut Mirror::new(nodes), &groups, seed), answer);
    }

    /// The heap is only a faster way of doing the three steps again for every task.
    #[test]
    fn a_group_is_placed_as_its_tasks_would_be_one_by_one(
        nodes in any_cluster(),
        requirements in any_requirements(),
        count in 1..12_u32,
        seed: u64,
    ) {
        for algorithm in [&Spread as &'static dyn Algorithm, &Epvm] {
            let mut slow = nodes.clone();
            let mut expected = BTreeMap::new();
            let mut unplaced = 0;
            for _ in 0..count {
                let selection = select_candidates(&requirements, &slow);
                if selection.candidates.is_empty() {
                    unplaced += 1;
                    continue;
                }
                let costs = score(algorithm, &requirements, &slow);
                let won = pick(costs.iter().map(|one| (one.node_id, one.score.cost())), seed).unwrap();
                prop_assert!(selection.candidates.contains(&won));
                slow.iter_mut().find(|node| node.node_id == won).unwrap().reserve(&requirements);
                *expected.entry(won).or_insert(0) += 1;
            }
            let group =
                Group { group_id: String::new(), requirements: requirements.clone(), count, algorithm };
            let placed = place(&mut Mirror::new(nodes.clone()), &[group], seed);
            prop_assert_eq!(&placed[0].runs, &expected.into_iter().collect::<Vec<_>>());
            prop_assert_eq!(placed[0].unplaced, unplaced);
        }
    }
}
