use std::collections::BTreeSet;

use davit_core::placement::{Mark, MaxPerNode, PlacedTask, Preferences, Requirements, fits};
use davit_core::resources::Resources;
use davit_core::spec::PortProtocol;
use proptest::prelude::*;
use uuid::Uuid;

use super::search::cheapest;
use super::*;
use crate::placement::test_support::{any_node, any_requirements, node, node_id, requirements};

fn task_id(number: u64) -> TaskId {
    TaskId(Uuid::from_u64_pair(2, number))
}

fn cores(cores: u64) -> Requirements {
    let reservation = Resources { cpu_millis: cores * 1000, ..Resources::ZERO };
    Requirements { reservation, ..requirements() }
}

/// Puts a task of a priority on a node.
fn put(node: &mut NodeView, number: u64, priority: i32, running_secs: u64, requirements: Requirements) {
    node.reserve(&requirements);
    node.tasks.push(PlacedTask {
        task_id: task_id(number),
        requirements,
        priority,
        running_secs,
        is_ending: false,
        algorithm: String::new(),
        affinities: Vec::new(),
    });
}

fn request(requirements: Requirements, priority: i32) -> PlacementRequest {
    let preferences = Preferences::default();
    PlacementRequest { requirements, preferences, algorithm: String::new(), priority, may_preempt: true }
}

fn ids(numbers: &[u64]) -> Vec<TaskId> {
    numbers.iter().copied().map(task_id).collect()
}

fn victims(requirements: &Requirements, priority: i32, node: &NodeView) -> Option<Vec<TaskId>> {
    cheapest(requirements, priority, node).map(|victims| victims.task_ids)
}

#[test]
fn the_least_important_go_even_when_they_are_more() {
    let mut full = node(1);
    put(&mut full, 1, 5, 1, cores(4));
    put(&mut full, 2, 1, 99, cores(2));
    put(&mut full, 3, 0, 99, cores(2));
    assert_eq!(victims(&cores(4), 10, &full), Some(ids(&[3, 2])));
}

#[test]
fn of_the_same_priority_the_fewest_go_and_then_the_youngest() {
    let mut full = node(1);
    put(&mut full, 1, 0, 50, cores(4));
    put(&mut full, 2, 0, 1, cores(2));
    put(&mut full, 3, 0, 1, cores(2));
    assert_eq!(victims(&cores(4), 10, &full), Some(ids(&[1])));
    assert_eq!(victims(&cores(1), 10, &full), Some(ids(&[2])));
}

#[test]
fn what_frees_the_least_beyond_need_goes() {
    let mut full = node(1);
    put(&mut full, 1, 0, 7, cores(5));
    put(&mut full, 2, 0, 7, cores(3));
    assert_eq!(victims(&cores(2), 10, &full), Some(ids(&[2])));
}

#[test]
fn equal_and_higher_priority_is_never_stopped() {
    let mut full = node(1);
    put(&mut full, 1, 10, 0, cores(4));
    put(&mut full, 2, 11, 0, cores(4));
    assert_eq!(victims(&cores(1), 10, &full), None);
    assert_eq!(victims(&cores(1), 11, &full), Some(ids(&[1])));
}

#[test]
fn where_it_fits_nothing_is_stopped() {
    let mut half = node(1);
    put(&mut half, 1, 0, 0, cores(4));
    assert_eq!(victims(&cores(4), 10, &half), Some(Vec::new()));
}

#[test]
fn ports_kinds_and_refused_tasks_are_made_room_for_too() {
    let (web, db) = (Mark::of_name("web"), Mark::of_label("app", "db"));
    let mut full = node(1);
    put(&mut full, 1, 0, 0, Requirements { host_ports: vec![(PortProtocol::Tcp, 80)], ..cores(0) });
    put(&mut full, 2, 0, 0, Requirements { marks: vec![web.clone()], ..cores(0) });
    put(&mut full, 3, 0, 0, Requirements { marks: vec![db.clone()], ..cores(0) });
    put(&mut full, 4, 0, 0, Requirements { refuses: vec![web.clone()], ..cores(0) });
    full.port_range = davit_core::placement::PortRange::new(80, 81).ok();
    put(&mut full, 5, 0, 0, Requirements { dynamic_ports: 1, ..cores(0) });
    let port = Requirements { host_ports: vec![(PortProtocol::Tcp, 80)], ..cores(0) };
    assert_eq!(victims(&port, 1, &full), Some(ids(&[1])));
    let distinct = Requirements { max_per_node: Some(MaxPerNode { mark: web.clone(), max: 1 }), ..cores(0) };
    assert_eq!(victims(&distinct, 1, &full), Some(ids(&[2])));
    assert_eq!(victims(&Requirements { refuses: vec![db], ..cores(0) }, 1, &full), Some(ids(&[3])));
    assert_eq!(victims(&Requirements { marks: vec![web], ..cores(0) }, 1, &full), Some(ids(&[4])));
    assert_eq!(victims(&Requirements { dynamic_ports: 2, ..cores(0) }, 1, &full), Some(ids(&[1, 5])));
}

#[test]
fn what_stopping_does_not_change_excludes_a_node() {
    let mut full = node(1);
    put(&mut full, 1, 0, 0, cores(8));
    full.cordoned = true;
    assert_eq!(victims(&cores(1), 10, &full), None);
    full.cordoned = false;
    let missing = Requirements { needs: vec![Mark::of_name("db")], ..cores(1) };
    assert_eq!(victims(&missing, 10, &full), None);
    // More than all that may be stopped gives.
    full.reserved.cpu_millis += 1000;
    assert_eq!(victims(&cores(8), 10, &full), None);
}

#[test]
fn the_last_task_that_is_needed_stays() {
    let db = Mark::of_name("db");
    let wants = Requirements { needs: vec![db.clone()], ..cores(4) };
    let mut full = node(1);
    put(&mut full, 1, 0, 0, Requirements { marks: vec![db.clone()], ..cores(4) });
    put(&mut full, 2, 5, 0, cores(4));
    assert_eq!(victims(&wants, 10, &full), Some(ids(&[2])));
    assert_eq!(victims(&wants, 5, &full), None);
    full.marks.insert(db, 2);
    assert_eq!(victims(&wants, 5, &full), Some(ids(&[1])));
}

#[test]
fn each_task_goes_to_the_node_where_it_costs_least() {
    let mut nodes: Vec<_> = (1..=3).map(node).collect();
    put(&mut nodes[0], 1, 5, 0, cores(8));
    put(&mut nodes[1], 2, 0, 0, cores(8));
    put(&mut nodes[2], 3, 0, 9, cores(8));
    let preemptions = plan(&request(cores(5), 10), 9, &nodes, 0);
    let told: Vec<_> = preemptions.iter().map(|one| (one.node_id, one.victims.clone())).collect();
    assert_eq!(told, [(node_id(2), ids(&[2])), (node_id(3), ids(&[3])), (node_id(1), ids(&[1]))]);
    assert_eq!(preemptions[0].reason, "stops 1 task of priority 0 on node-2");
    assert_eq!(plan(&request(cores(5), 10), 1, &nodes, 0), preemptions[..1]);
    assert_eq!(plan(&PlacementRequest { may_preempt: false, ..request(cores(5), 10) }, 1, &nodes, 0), []);
}

#[test]
fn room_that_is_left_over_is_used_before_more_is_stopped() {
    let mut nodes = vec![node(1), node(2)];
    put(&mut nodes[0], 1, 0, 0, cores(8));
    put(&mut nodes[1], 2, 3, 0, cores(7));
    put(&mut nodes[1], 3, -4, 0, cores(1));
    // Two on the first node for one preemption; the third needs both of the second node. Room is kept for each.
    let preemptions = plan(&request(cores(4), 10), 3, &nodes, 0);
    let told: Vec<_> = preemptions.iter().map(|one| (one.node_id, one.victims.clone())).collect();
    assert_eq!(told, [(node_id(1), ids(&[1])), (node_id(1), ids(&[])), (node_id(2), ids(&[2]))]);
    assert_eq!(preemptions[1].reason, "uses room that becomes free on node-1");
    let both = plan(&request(cores(8), 10), 2, &nodes, 0);
    assert_eq!(both[1].reason, "stops 2 tasks of priority -4 to 3 on node-2");
}

#[test]
fn ties_are_broken_by_the_seed() {
    let mut nodes: Vec<_> = (1..=3).map(node).collect();
    for (number, node) in (0..).zip(&mut nodes) {
        put(node, number, 0, 0, cores(8));
    }
    let won: BTreeSet<_> = (0..50).map(|seed| plan(&request(cores(1), 1), 1, &nodes, seed)[0].node_id).collect();
    assert_eq!(won.len(), 3);
}

#[test]
fn thousands_of_full_nodes_are_looked_at_in_little_time() {
    let mut nodes: Vec<_> = (0..5000).map(node).collect();
    for (number, node) in (0..).zip(&mut nodes) {
        for task in 0..64_u64 {
            let wants = Requirements {
                reservation: Resources { cpu_millis: 100 + task % 7 * 10, memory_bytes: 200 << 20, disk_bytes: 0 },
                ..requirements()
            };
            put(node, number * 64 + task, i32::try_from(task % 3).unwrap(), task * 37 % 101, wants);
        }
        node.reserved.cpu_millis = node.allocatable.cpu_millis;
    }
    let preemptions = plan(&request(cores(1), 10), 200, &nodes, 3);
    assert_eq!(preemptions.len(), 200);
    assert!(preemptions.iter().filter(|one| !one.victims.is_empty()).count() > 100);
}

#[test]
fn room_of_tasks_that_are_being_stopped_is_used_before_more_is_stopped() {
    let mut nodes = vec![node(1), node(2)];
    put(&mut nodes[0], 1, 0, 0, cores(8));
    put(&mut nodes[1], 2, 99, 0, cores(8));
    nodes[1].tasks[0].is_ending = true;
    // Room for one of them is kept already.
    nodes[1].reserve(&cores(3));
    let preemptions = plan(&request(cores(3), 10), 2, &nodes, 0);
    let told: Vec<_> = preemptions.iter().map(|one| (one.node_id, one.victims.clone())).collect();
    assert_eq!(told, [(node_id(2), ids(&[])), (node_id(1), ids(&[1]))]);
}

/// A node whose tasks are all known, beside what `any_node` has.
fn any_full_node(number: u64, most: usize) -> impl Strategy<Value = NodeView> {
    let task = (any_requirements(), 0..4_i32, 0..3_u64, prop::bool::weighted(0.15));
    (any_node(number), prop::collection::vec(task, 0..=most)).prop_map(move |(mut node, tasks)| {
        node.reserved = Resources::ZERO;
        node.state = davit_core::node::NodeState::Ready;
        node.cordoned = false;
        for (at, (requirements, priority, running_secs, is_ending)) in (0..).zip(tasks) {
            let roomy = Requirements { needs: Vec::new(), constraints: Vec::new(), ..requirements.clone() };
            if fits(&Requirements { runtime: *node.runtimes.first().unwrap(), ..roomy }, &node) {
                put(&mut node, number * 100 + at, priority, running_secs, requirements);
                node.tasks.last_mut().unwrap().is_ending = is_ending;
            }
        }
        node
    })
}

/// The node without some of its tasks, and without those that are ending.
fn without(node: &NodeView, task_ids: &[TaskId]) -> NodeView {
    let mut left = node.clone();
    let goes = |task: &PlacedTask| task.is_ending || task_ids.contains(&task.task_id);
    for task in node.tasks.iter().filter(|task| goes(task)) {
        left.release(&task.requirements);
    }
    left.tasks.retain(|task| !goes(task));
    left
}

/// The cost of a set, told in another way than in the search; `None` when it is not enough.
fn cost_of(requirements: &Requirements, node: &NodeView, task_ids: &[TaskId]) -> Option<(i32, i64, usize, u64)> {
    if !fits(requirements, &without(node, task_ids)) {
        return None;
    }
    let tasks: Vec<_> = node.tasks.iter().filter(|task| task_ids.contains(&task.task_id)).collect();
    let highest = tasks.iter().map(|task| task.priority).max().unwrap_or(i32::MIN);
    let sum = tasks.iter().map(|task| i64::from(task.priority) + 1001).sum();
    Some((highest, sum, tasks.len(), tasks.iter().map(|task| task.running_secs).sum()))
}

/// The least cost of all sets.
fn brute_force(requirements: &Requirements, priority: i32, node: &NodeView) -> Option<(i32, i64, usize, u64)> {
    let lower = node.tasks.iter().filter(|task| task.priority < priority && !task.is_ending);
    let lower: Vec<_> = lower.map(|task| task.task_id).collect();
    let subset = |bits: u32| -> Vec<_> {
        (0..).zip(&lower).filter(|(at, _)| bits >> at & 1 == 1).map(|(_, task_id)| *task_id).collect()
    };
    (0..1_u32 << lower.len()).filter_map(|bits| cost_of(requirements, node, &subset(bits))).min()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn no_cheaper_set_exists(wants in any_requirements(), priority in 0..5_i32, node in any_full_node(1, 8)) {
        let found = cheapest(&wants, priority, &node);
        let cost = found.as_ref().map(|victims| cost_of(&wants, &node, &victims.task_ids));
        prop_assert!(cost != Some(None), "not sufficient");
        prop_assert_eq!(cost.flatten(), brute_force(&wants, priority, &node));
    }

    #[test]
    fn victims_are_of_lower_priority_sufficient_and_none_can_be_spared(
        wants in any_requirements(),
        priority in 0..5_i32,
        node in any_full_node(1, 24),
        roomy in 1..8_u64,
    ) {
        let mut node = node;
        // Room for many small ones, so that the greedy way is taken as well.
        let mut small = Requirements { reservation: Resources { cpu_millis: 1, ..Resources::ZERO }, ..requirements() };
        for at in 0..roomy * 4 {
            small.reservation.cpu_millis = 1 + at % 3;
            node.allocatable.cpu_millis += small.reservation.cpu_millis;
            put(&mut node, 1000 + at, i32::try_from(at % 3).unwrap(), at % 5, small.clone());
        }
        if let Some(victims) = cheapest(&wants, priority, &node) {
            for task_id in &victims.task_ids {
                let task = node.tasks.iter().find(|task| task.task_id == *task_id).unwrap();
                prop_assert!(task.priority < priority && !task.is_ending);
                let others: Vec<_> = victims.task_ids.iter().filter(|one| *one != task_id).copied().collect();
                prop_assert!(!fits(&wants, &without(&node, &others)));
            }
            prop_assert!(fits(&wants, &without(&node, &victims.task_ids)));
            let highest = node.tasks.iter().filter(|task| victims.task_ids.contains(&task.task_id));
            prop_assert_eq!(highest.map(|task| task.priority).max().unwrap_or(i32::MIN), victims.cost.highest_priority);
        }
    }

    #[test]
    fn a_plan_can_be_carried_out_and_does_not_depend_on_the_order_of_nodes(
        wants in any_requirements(),
        priority in 0..5_i32,
        count in 1..5_u32,
        nodes in (1..5_u64).prop_flat_map(|count| (0..count).map(|n| any_full_node(n, 6)).collect::<Vec<_>>()),
        seed: u64,
    ) {
        let request = request(wants.clone(), priority);
        let preemptions = plan(&request, count, &nodes, seed);
        let mut reversed = nodes.clone();
        reversed.reverse();
        for node in &mut reversed {
            node.tasks.reverse();
        }
        prop_assert_eq!(&preemptions, &plan(&request, count, &reversed, seed));
        prop_assert!(preemptions.len() <= count as usize);
        let mut nodes = nodes;
        let mut stopped = BTreeSet::new();
        for preemption in &preemptions {
            let node = nodes.iter_mut().find(|node| node.node_id == preemption.node_id).unwrap();
            for task_id in &preemption.victims {
                prop_assert!(stopped.insert(*task_id), "stopped twice");
                let task = node.tasks.iter().find(|task| task.task_id == *task_id).unwrap();
                prop_assert!(task.priority < priority);
            }
            *node = without(node, &preemption.victims);
            prop_assert!(fits(&wants, node));
            node.reserve(&wants);
        }
    }
}
