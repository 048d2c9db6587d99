use std::collections::BTreeSet;

use davit_core::node::NodeState;
use davit_core::placement::{Mark, MaxPerNode, PlacedTask, Requirements, fits};
use davit_core::resources::Resources;
use davit_core::spec::PortProtocol;
use proptest::prelude::*;
use uuid::Uuid;

use super::board::filling;
use super::*;
use crate::placement::test_support::{any_node, any_requirements, node, node_id, requirements};

fn task_id(number: u64) -> TaskId {
    TaskId(Uuid::from_u64_pair(2, number))
}

fn cores(cores: u64) -> Requirements {
    let reservation = Resources { cpu_millis: cores * 1000, ..Resources::ZERO };
    Requirements { reservation, ..requirements() }
}

fn put(node: &mut NodeView, number: u64, requirements: Requirements) {
    node.reserve(&requirements);
    node.tasks.push(PlacedTask {
        task_id: task_id(number),
        requirements,
        priority: 0,
        running_secs: 0,
        is_ending: false,
        algorithm: String::new(),
        affinities: Vec::new(),
    });
}

/// Makes all moves in order. Each must fit at its moment.
fn apply(nodes: &mut [NodeView], plan: &MovePlan) {
    let mut moved = BTreeSet::new();
    for one in &plan.moves {
        assert!(moved.insert(one.task_id), "moved twice");
        let at = |node_id| nodes.iter().position(|node| node.node_id == node_id).unwrap();
        let (from, to) = (at(one.from), at(one.to));
        let task = nodes[from].tasks.iter().position(|task| task.task_id == one.task_id).unwrap();
        let task = nodes[from].tasks.remove(task);
        assert!(fits(&task.requirements, &nodes[to]), "{one:?}");
        let fuller = |nodes: &[NodeView]| filling(&nodes[from]).max(filling(&nodes[to]));
        let before = fuller(nodes);
        nodes[to].reserve(&task.requirements);
        nodes[from].release(&task.requirements);
        nodes[to].tasks.push(task);
        assert!((before - fuller(nodes) - one.gain).abs() < 1e-9, "{one:?}");
    }
}

fn imbalance(nodes: &[NodeView]) -> f64 {
    let takes_tasks = nodes.iter().filter(|node| node.state == NodeState::Ready && !node.cordoned);
    let fillings: Vec<_> = takes_tasks.map(filling).collect();
    fillings.iter().copied().reduce(f64::max).unwrap_or(0.0) - fillings.iter().copied().reduce(f64::min).unwrap_or(0.0)
}

#[test]
fn a_node_that_joined_gets_its_share() {
    let mut nodes: Vec<_> = (1..=4).map(node).collect();
    for number in 0..12 {
        put(&mut nodes[number % 3], number as u64, cores(1));
    }
    let plan = plan_moves(&nodes, 100, 0.05);
    assert_eq!(plan.moves.len(), 3, "{plan:?}");
    assert!(plan.moves.iter().all(|one| one.to == node_id(4)));
    assert!(!plan.more);
    assert!(plan.imbalance_before > 0.5 && plan.imbalance_after < 1e-9, "{plan:?}");
    assert_eq!(plan.moves[0].reason, "node-3 carries 54%, node-4 0%; afterwards 40% and 14%");
    apply(&mut nodes, &plan);
    assert_eq!(plan_moves(&nodes, 100, 0.05).moves, []);
}

#[test]
fn of_targets_that_gain_the_same_the_one_that_stays_emptier_is_taken() {
    let mut nodes: Vec<_> = (1..=3).map(node).collect();
    nodes[2].allocatable.cpu_millis *= 2;
    put(&mut nodes[0], 1, Requirements { constraints: vec!["node.name == node-1".parse().unwrap()], ..cores(4) });
    put(&mut nodes[0], 2, cores(2));
    let plan = plan_moves(&nodes, 100, 0.01);
    let told: Vec<_> = plan.moves.iter().map(|one| (one.task_id, one.to)).collect();
    assert_eq!((told, plan.more), (vec![(task_id(2), node_id(3))], false));
    apply(&mut nodes, &plan);
    assert_eq!(plan_moves(&nodes, 100, 0.01).moves, []);
}

#[test]
fn what_was_packed_stays_packed_and_the_plan_says_so() {
    let mut nodes = vec![node(1), node(2)];
    for number in 0..6 {
        put(&mut nodes[0], number, cores(1));
        nodes[0].tasks.last_mut().unwrap().algorithm = if number < 4 { "binpack" } else { "spread" }.to_owned();
    }
    let plan = plan_moves(&nodes, 100, 0.01);
    assert!(plan.moves.iter().all(|one| one.task_id >= task_id(4)), "{plan:?}");
    assert_eq!(plan.moves.len(), 2);
    assert_eq!(plan.note, "4 tasks stay where they are: binpack fills nodes");
    assert_eq!(plan_moves(&nodes[1..], 100, 0.01).note, "");
}

#[test]
fn a_task_stays_where_it_likes_to_be_unless_the_move_gains_more() {
    let mut nodes = vec![node(1), node(2)];
    put(&mut nodes[0], 1, cores(3));
    put(&mut nodes[0], 2, cores(3));
    let likes = |nodes: &mut [NodeView], weight| {
        for task in &mut nodes[0].tasks {
            let expression = "node.name == node-1".parse().unwrap();
            task.affinities = vec![davit_core::placement::Affinity { expression, weight }];
        }
        plan_moves(nodes, 100, 0.01).moves.len()
    };
    assert_eq!(likes(&mut nodes, 100), 0);
    assert_eq!(likes(&mut nodes, 20), 1);
    assert_eq!(likes(&mut nodes, -100), 1);
}

#[test]
fn a_balanced_cluster_is_left_alone() {
    let mut nodes: Vec<_> = (1..=3).map(node).collect();
    for number in 0..9 {
        put(&mut nodes[number % 3], number as u64, cores(2));
    }
    // One more on one of them is no reason: a move would only make another one the fuller.
    put(&mut nodes[0], 9, cores(1));
    let plan = plan_moves(&nodes, 100, 0.001);
    assert_eq!((plan.moves.len(), plan.more), (0, false));
    let none = plan_moves(&[], 100, 0.001);
    assert_eq!((none.moves.len(), none.more, none.imbalance_before), (0, false, 0.0));
}

#[test]
fn no_more_moves_than_allowed_and_it_says_that_there_are_more() {
    let mut nodes = vec![node(1), node(2)];
    for number in 0..8 {
        put(&mut nodes[0], number, cores(1));
    }
    for (most, more) in [(0, true), (1, true), (3, true), (4, false), (5, false)] {
        let plan = plan_moves(&nodes, most, 0.05);
        assert_eq!((plan.moves.len(), plan.more), (most.min(4), more), "{most}");
    }
}

#[test]
fn a_gain_that_is_too_small_or_no_number_moves_nothing_too_much() {
    let mut nodes = vec![node(1), node(2)];
    for number in 0..8 {
        put(&mut nodes[0], number, cores(1));
    }
    assert_eq!(plan_moves(&nodes, 100, 0.2).moves, []);
    for strange in [f64::NAN, 0.0, -1.0] {
        assert_eq!(plan_moves(&nodes, 100, strange).moves.len(), 4);
    }
    assert_eq!(plan_moves(&nodes, 100, f64::INFINITY).moves, []);
}

#[test]
fn only_nodes_that_take_tasks_give_and_get() {
    for change in [|node: &mut NodeView| node.cordoned = true, |node: &mut NodeView| node.state = NodeState::Down] {
        let mut nodes = vec![node(1), node(2)];
        for number in 0..8 {
            put(&mut nodes[0], number, cores(1));
        }
        for at in 0..2 {
            let mut nodes = nodes.clone();
            change(&mut nodes[at]);
            assert_eq!(plan_moves(&nodes, 100, 0.05).moves, []);
        }
    }
}

#[test]
fn tasks_that_fit_nowhere_else_stay() {
    let web = Mark::of_name("web");
    let mut nodes = vec![node(1), node(2)];
    nodes[1].labels.insert("disk".to_owned(), "hdd".to_owned());
    put(&mut nodes[0], 1, Requirements { constraints: vec!["disk == ssd".parse().unwrap()], ..cores(2) });
    put(&mut nodes[0], 2, Requirements { host_ports: vec![(PortProtocol::Tcp, 80)], ..cores(2) });
    put(&mut nodes[0], 3, Requirements { needs: vec![Mark::of_name("db")], ..cores(2) });
    let max_per_node = Some(MaxPerNode { mark: web.clone(), max: 1 });
    put(&mut nodes[0], 4, Requirements { max_per_node, marks: vec![web.clone()], ..cores(2) });
    nodes[1].host_ports.insert((PortProtocol::Tcp, 80));
    nodes[1].marks.insert(web, 1);
    assert_eq!(plan_moves(&nodes, 100, 0.01).moves, []);
}

#[test]
fn the_last_task_that_another_needs_is_not_taken_from_it() {
    let db = Mark::of_name("db");
    let mut nodes = vec![node(1), node(2)];
    put(&mut nodes[0], 1, Requirements { marks: vec![db.clone()], ..cores(3) });
    put(&mut nodes[0], 2, Requirements { needs: vec![db.clone()], ..cores(3) });
    assert_eq!(plan_moves(&nodes, 100, 0.01).moves, []);
    nodes[0].marks.insert(db, 2);
    assert_eq!(plan_moves(&nodes, 100, 0.01).moves.len(), 1);
}

#[test]
fn a_half_empty_cluster_is_evened_out_by_thousands_of_moves() {
    let mut nodes: Vec<_> = (0..200).map(node).collect();
    for number in 0..10_000_u64 {
        let mut wants = cores(0);
        wants.reservation.cpu_millis = 100 + number % 7;
        // Half of the nodes are empty; some tasks are stuck.
        if number % 11 == 0 {
            wants.constraints = vec!["disk == ssd".parse().unwrap()];
        }
        put(&mut nodes[usize::try_from(number * 7919 % 100).unwrap()], number, wants);
    }
    let plan = plan_moves(&nodes, usize::MAX, 0.01);
    assert!(plan.moves.len() > 4_000, "{}", plan.moves.len());
    assert!(plan.imbalance_after < 0.2, "{}", plan.imbalance_after);
}

fn any_told_node(number: u64) -> impl Strategy<Value = NodeView> {
    (any_node(number), prop::collection::vec(any_requirements(), 0..8), 4..20_u64).prop_map(
        move |(mut node, tasks, size)| {
            node.reserved = Resources::ZERO;
            node.allocatable = Resources { cpu_millis: size, memory_bytes: size, disk_bytes: size };
            for (at, requirements) in (0..).zip(tasks) {
                let roomy = Requirements { needs: Vec::new(), constraints: Vec::new(), ..requirements.clone() };
                if fits(&Requirements { runtime: *node.runtimes.first().unwrap(), ..roomy }, &node) {
                    put(&mut node, number * 100 + at, requirements);
                }
            }
            node
        },
    )
}

fn any_told_cluster() -> impl Strategy<Value = Vec<NodeView>> {
    (0..7_u64).prop_flat_map(|count| (0..count).map(any_told_node).collect::<Vec<_>>())
}

/// Whether any single move gains enough without growing the gap, by looking at all.
fn has_a_move(nodes: &[NodeView], min_gain: f64) -> bool {
    let takes_tasks = |node: &NodeView| node.state == NodeState::Ready && !node.cordoned;
    let before = imbalance(nodes);
    for from in 0..nodes.len() {
        for task in &nodes[from].tasks {
            let needed = nodes[from].tasks.iter().filter(|one| one.task_id != task.task_id).any(|one| {
                let last = |mark: &Mark| task.requirements.marks.contains(mark) && nodes[from].count_of(mark) <= 1;
                one.requirements.needs.iter().any(last)
            });
            for to in 0..nodes.len() {
                let allowed = takes_tasks(&nodes[from]) && takes_tasks(&nodes[to]) && from != to && !needed;
                if !allowed || !fits(&task.requirements, &nodes[to]) {
                    continue;
                }
                let mut after = nodes.to_vec();
                after[from].release(&task.requirements);
                after[to].reserve(&task.requirements);
                let fuller = |nodes: &[NodeView]| filling(&nodes[from]).max(filling(&nodes[to]));
                // A bit more than asked for, as rounding differs.
                if fuller(nodes) - fuller(&after) > min_gain + 1e-9 && imbalance(&after) < before - 1e-9 {
                    return true;
                }
            }
        }
    }
    false
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn after_all_moves_there_are_no_others(nodes in any_told_cluster(), hundredths in 1..20_u8, most in 0..40_usize) {
        let min_gain = f64::from(hundredths) / 100.0;
        let plan = plan_moves(&nodes, most, min_gain);
        prop_assert!(plan.moves.len() <= most);
        prop_assert!(plan.moves.iter().all(|one| one.gain >= min_gain));
        prop_assert!((plan.imbalance_before - imbalance(&nodes)).abs() < 1e-9);
        prop_assert!(plan.imbalance_after <= plan.imbalance_before + 1e-9);
        let mut after = nodes.clone();
        apply(&mut after, &plan);
        prop_assert!((plan.imbalance_after - imbalance(&after)).abs() < 1e-9);
        let again = plan_moves(&after, 100, min_gain);
        prop_assert_eq!(!again.moves.is_empty(), plan.more);
        if !plan.more {
            prop_assert!(!has_a_move(&after, min_gain));
        }
    }

    #[test]
    fn the_gap_grows_with_no_move(nodes in any_told_cluster()) {
        let plan = plan_moves(&nodes, 100, 0.01);
        let mut nodes = nodes;
        let mut gap = imbalance(&nodes);
        for one in &plan.moves {
            let single = MovePlan { moves: vec![one.clone()], ..plan.clone() };
            apply(&mut nodes, &single);
            prop_assert!(imbalance(&nodes) <= gap + 1e-9);
            gap = imbalance(&nodes);
        }
    }

    #[test]
    fn planning_again_and_again_comes_to_an_end(nodes in any_told_cluster(), most in 1..4_usize) {
        let mut nodes = nodes;
        for _ in 0..200 {
            let plan = plan_moves(&nodes, most, 0.01);
            apply(&mut nodes, &plan);
            if !plan.more {
                return Ok(());
            }
        }
        prop_assert!(false, "still more after 200 plans");
    }

    #[test]
    fn the_order_of_nodes_and_tasks_does_not_matter(nodes in any_told_cluster()) {
        let mut reversed = nodes.clone();
        reversed.reverse();
        for node in &mut reversed {
            node.tasks.reverse();
        }
        prop_assert_eq!(plan_moves(&nodes, 100, 0.02), plan_moves(&reversed, 100, 0.02));
    }
}
