//! One task on each node, whatever happens to tasks and nodes.

use std::collections::BTreeSet;

use davit_core::deployment::{OnRolloutFailure, UpdateOrder};
use davit_core::node::{Node, NodeState};
use davit_core::task::Slot;
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;

use super::properties::{Happens, check_rest, come_to_rest, happen, happens, policies};
use super::*;
use crate::commands::test_support::{LEASE, registration};
use crate::commands::{
    cancel_drain, drain_node, register_node, remove_node, set_cordon, set_node_state, set_user_labels,
};
use crate::state::is_ready;

/// How many nodes there are at most.
const NODES: u64 = 5;

/// What happens to a node.
#[derive(Debug, Clone, Copy)]
enum Change {
    Joins,
    Removed,
    State(NodeState),
    Cordon(bool),
    Drain,
    CancelDrain,
    /// Its disk, which a constraint names.
    Disk(&'static str),
}

/// What happens to a deployment that has a task on each node.
#[derive(Debug, Clone)]
enum Event {
    /// To it and its tasks.
    Itself(Happens),
    Node(u64, Change),
    /// Whether a version wants certain nodes only.
    Constrain(bool),
}

fn events() -> impl Strategy<Value = Event> {
    let states = prop_oneof![Just(NodeState::Ready), Just(NodeState::Suspect), Just(NodeState::Down)];
    let changes = prop_oneof![
        2 => Just(Change::Joins),
        1 => Just(Change::Removed),
        4 => states.prop_map(Change::State),
        3 => any::<bool>().prop_map(Change::Cordon),
        1 => Just(Change::Drain),
        1 => Just(Change::CancelDrain),
        2 => Just(Change::Disk("ssd")),
        1 => Just(Change::Disk("hdd")),
    ];
    prop_oneof![
        6 => happens().prop_filter("it has no size", |what| !matches!(what, Happens::Scale(_))).prop_map(Event::Itself),
        4 => (1..=NODES, changes).prop_map(|(number, change)| Event::Node(number, change)),
        1 => any::<bool>().prop_map(Event::Constrain),
    ]
}

fn constrained(mut task: TaskSpec, is_constrained: bool) -> TaskSpec {
    task.constraints = is_constrained.then(|| "disk == ssd".parse().unwrap()).into_iter().collect();
    task
}

fn global(task: TaskSpec, update: UpdatePolicy) -> DeploymentSpec {
    DeploymentSpec { mode: DeploymentMode::Global, ..spec(0, task, update) }
}

fn disk(kind: &str) -> BTreeMap<String, String> {
    BTreeMap::from([("disk".to_owned(), kind.to_owned())])
}

fn change(rig: &mut Rig, number: u64, change: Change) {
    let (node, name) = (node_id(number), format!("node-{number}"));
    match change {
        Change::Joins if rig.cluster.state.node(node).is_some() => {}
        Change::Joins => {
            let mut joining = registration(number);
            joining.description.labels = disk("ssd");
            rig.cluster.run(|draft| register_node(draft, joining, LEASE)).unwrap();
        }
        Change::Removed => drop(rig.cluster.run(|draft| remove_node(draft, &name, true))),
        Change::State(state) => {
            rig.cluster.run(|draft| set_node_state(draft, node, state, "so it was said"));
            rig.cluster.lose_tasks_of_down_nodes();
        }
        Change::Cordon(cordoned) => drop(rig.cluster.run(|draft| set_cordon(draft, &name, cordoned))),
        Change::Drain => drop(rig.cluster.run(|draft| drain_node(draft, &name, None, 1))),
        Change::CancelDrain => drop(rig.cluster.run(|draft| cancel_drain(draft, &name))),
        Change::Disk(kind) => drop(rig.cluster.run(|draft| set_user_labels(draft, &name, disk(kind), None))),
    }
}

fn occur(rig: &mut Rig, event: &Event, update: UpdatePolicy) {
    match event {
        Event::Itself(what) => happen(rig, what, update),
        Event::Node(number, what) => change(rig, *number, *what),
        Event::Constrain(is_constrained) => {
            let current = TaskSpec::clone(&rig.deployment().current().unwrap().spec.task);
            rig.update(global(constrained(current, *is_constrained), update));
        }
    }
}

/// Whether a task of the newest version may be on a node.
fn fits(rig: &Rig, node: &Node) -> bool {
    let is_constrained = !rig.deployment().current().unwrap().spec.task.constraints.is_empty();
    let has_disk = node.labels().get("disk").is_some_and(|kind| kind == "ssd");
    node.drain.is_none() && (!is_constrained || has_disk)
}

fn tasks_on(rig: &Rig, node: NodeId) -> Vec<Arc<Task>> {
    let tasks = rig.cluster.state.tasks_of(ID).filter(|(slot, _)| *slot == Slot::Node(node));
    tasks.map(|(_, task)| Arc::clone(task)).collect()
}

fn serving(rig: &Rig) -> BTreeSet<NodeId> {
    let serves = |task: &Task| task.holds_slot() && is_ready(task);
    let tasks = rig.cluster.state.tasks_of(ID).filter(|(_, task)| serves(task));
    tasks.filter_map(|(_, task)| task.status.node_id).collect()
}

/// Looks at it, and checks what came of that. `been_out`: nodes that were not always open to it.
fn check(rig: &mut Rig, update: UpdatePolicy, been_out: &mut BTreeSet<NodeId>) -> Result<(), TestCaseError> {
    let out = rig.cluster.state.nodes().filter(|node| node.state != NodeState::Ready || node.cordoned);
    been_out.extend(out.map(|node| node.node_id));
    let (version, before) = (rig.deployment().current().unwrap().number, serving(rig));
    rig.look();
    let mut doubled = BTreeSet::new();
    for (slot, task) in rig.cluster.state.tasks_of(ID) {
        let Slot::Node(node) = slot else { return Err(TestCaseError::fail(format!("{slot:?} is no node's"))) };
        prop_assert!(task.status.node_id.is_none_or(|on| on == node), "the task of {node} is elsewhere");
        let tasks = tasks_on(rig, node);
        let holding = tasks.iter().filter(|task| task.holds_slot()).count();
        match update.order {
            UpdateOrder::StartFirst => prop_assert!(holding <= 2, "{holding} tasks on {node}"),
            UpdateOrder::StopFirst => prop_assert!(tasks.len() <= 1, "{} tasks on {node}", tasks.len()),
        }
        if holding == 2 && !been_out.contains(&node) {
            doubled.insert(node);
        }
    }
    if update.on_failure != OnRolloutFailure::Continue {
        // What was under way where nothing gets on for a time is under way again after that, beside all the rest.
        let most = (update.parallelism + update.canaries) as usize;
        prop_assert!(doubled.len() <= most, "{} nodes have two tasks", doubled.len());
    }
    let after = serving(rig);
    let is_lost = |node: &&Arc<Node>| before.contains(&node.node_id) && !after.contains(&node.node_id);
    let lost = rig.cluster.state.nodes().filter(is_lost).filter(|node| fits(rig, node)).count();
    let is_same = rig.deployment().current().unwrap().number == version;
    match update.order {
        UpdateOrder::StartFirst if update.on_failure != OnRolloutFailure::Continue => {
            prop_assert!(lost == 0 || !is_same, "{lost} nodes that were served are so no more");
        }
        UpdateOrder::StartFirst => {}
        UpdateOrder::StopFirst => {
            prop_assert!(lost <= update.parallelism as usize, "{lost} nodes that were served are so no more");
        }
    }
    check_rest(rig)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn each_node_that_fits_ends_up_with_one_task_and_none_ever_has_too_many(
        update in policies(),
        all in prop::collection::vec(events(), 1..60),
        all_open in any::<bool>(),
    ) {
        let mut rig = Rig::new(0, global(constrained(image(1), true), update));
        (1..=3).for_each(|number| change(&mut rig, number, Change::Joins));
        rig.settle();
        prop_assert_eq!(rig.holding(), [(1, true); 3]);
        let mut been_out = BTreeSet::new();
        for event in &all {
            occur(&mut rig, event, update);
            check(&mut rig, update, &mut been_out)?;
        }
        // Nothing happens to nodes any more; some may stay cordoned or drained.
        for number in 1..=NODES {
            change(&mut rig, number, Change::State(NodeState::Ready));
            if all_open {
                change(&mut rig, number, Change::Cordon(false));
            }
        }
        come_to_rest(&mut rig, update);
        prop_assert_eq!(rig.state(), RolloutState::Complete);
        let current = Arc::clone(rig.deployment().current().unwrap());
        let mut counted = 0;
        for node in rig.cluster.state.nodes() {
            let tasks = tasks_on(&rig, node.node_id);
            counted += tasks.len();
            let newest = |task: &Arc<Task>| !current.spec.task.must_replace(&task.spec) && is_ready(task);
            if !fits(&rig, node) {
                prop_assert!(tasks.is_empty(), "{} does not fit and has {tasks:?}", node.description.name);
            } else if !node.cordoned {
                prop_assert!(tasks.len() == 1 && newest(&tasks[0]), "{} has {tasks:?}", node.description.name);
            }
        }
        prop_assert_eq!(counted, rig.tasks().len());
    }
}
