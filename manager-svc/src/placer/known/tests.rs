use std::time::Duration;

use davit_core::id::Attempt;
use davit_core::placement::test_support::stats;
use davit_core::spec::{PlacementPolicy, TaskSpec};
use davit_core::state::TaskState::{Running, Stopped};
use davit_core::task::AttemptStatus;
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;

use super::*;
use crate::commands::test_support::random::{Op, op};
use crate::commands::test_support::{
    Cluster, LEASE, TASKS_PER_NODE, node_id, of_priority, placed_by, publishing_any, registration, spec, status,
};
use crate::commands::{
    PreemptionOrder, commit_placements, commit_preemptions, register_node, set_cordon, set_node_state, stop_task,
};

fn update(known: &mut Known, cluster: &Cluster) -> Delta {
    known.update(&cluster.state, [], |_| None, cluster.now)
}

fn told(delta: &Delta) -> Vec<&str> {
    delta.upserted.iter().map(|view| &*view.name).collect()
}

/// What was told of a node's tasks: which, and how old each is.
fn tasks_told(known: &Known, node: u64) -> Vec<(TaskId, u64)> {
    known.views[&node_id(node)].tasks.iter().map(|task| (task.task_id, task.running_secs)).collect()
}

/// A task that is RUNNING on a node since now.
fn begin(cluster: &mut Cluster, node: u64) -> TaskId {
    let task_id = cluster.create(spec());
    assert_eq!(cluster.place(task_id, node).committed, 1);
    let running = AttemptStatus { started_at: Some(cluster.now), ..status(Attempt::FIRST, Running) };
    assert_eq!(cluster.report_status(node, task_id, running).applied, 1);
    task_id
}

/// Has the scheduler place tasks, as it believes, and proposes them.
fn place(known: &mut Known, cluster: &mut Cluster, tasks: &[(TaskId, u64)]) -> usize {
    let placement = |(task_id, node): &(_, _)| Placement { key: cluster.key(*task_id), node_id: node_id(*node) };
    let placements: Vec<Placement> = tasks.iter().map(placement).collect();
    for placement in &placements {
        let requirements = cluster.state.requirements_of(&cluster.task(placement.key.task_id).spec);
        known.placed(&requirements, [placement]);
    }
    cluster.run(|draft| commit_placements(draft, &placements)).committed
}

#[test]
fn only_what_changed_is_told() {
    let mut cluster = Cluster::new(3);
    let mut known = Known::default();
    assert_eq!(told(&update(&mut known, &cluster)), ["node-1", "node-2", "node-3"]);
    assert_eq!(update(&mut known, &cluster), Delta::default());

    cluster.run(|draft| set_cordon(draft, "node-1", true)).unwrap();
    let delta = update(&mut known, &cluster);
    assert_eq!((told(&delta), delta.upserted[0].cordoned, delta.is_substantial), (vec!["node-1"], true, true));

    // A task that nobody has on a node changes no node.
    let task_id = cluster.create(spec());
    assert_eq!(update(&mut known, &cluster), Delta::default());
    cluster.place(task_id, 2);
    let delta = update(&mut known, &cluster);
    assert_eq!((told(&delta), delta.upserted[0].task_count, delta.is_substantial), (vec!["node-2"], 1, true));
    assert_eq!(update(&mut known, &cluster), Delta::default());
}

#[test]
fn a_node_that_is_gone_is_told_once() {
    let mut cluster = Cluster::new(2);
    let mut known = Known::default();
    update(&mut known, &cluster);
    cluster.run(|draft| set_node_state(draft, node_id(2), davit_core::node::NodeState::Down, "silent"));
    let mut taker = registration(3);
    taker.description.name = "node-2".to_owned();
    cluster.run(|draft| register_node(draft, taker, LEASE)).unwrap();
    let delta = update(&mut known, &cluster);
    assert_eq!((delta.removed, delta.is_substantial), (vec![node_id(2)], true));
    assert_eq!(delta.upserted.iter().map(|view| view.node_id).collect::<Vec<_>>(), [node_id(3)]);
    assert_eq!(update(&mut known, &cluster), Delta::default());
}

#[test]
fn a_measurement_alone_is_told_and_unblocks_nothing() {
    let mut cluster = Cluster::new(2);
    let mut known = Known::default();
    update(&mut known, &cluster);
    let measured = |used| move |id| (id == node_id(1)).then(|| stats(used, 0));
    let delta = known.update(&cluster.state, [node_id(1)], measured(5), cluster.now);
    assert_eq!(
        (told(&delta), delta.upserted[0].stats, delta.is_substantial),
        (vec!["node-1"], Some(stats(5, 0)), false)
    );
    assert_eq!(known.update(&cluster.state, [node_id(1)], measured(5), cluster.now), Delta::default());

    // Nor is anything unblocked when the node is looked at anew, and is as it was.
    let task_id = cluster.create(spec());
    assert_eq!(place(&mut known, &mut cluster, &[(task_id, 1)]), 1);
    let delta = known.update(&cluster.state, [node_id(1)], measured(6), cluster.now);
    assert_eq!((told(&delta), delta.is_substantial), (vec!["node-1"], false));
    // A change comes through beside it.
    cluster.run(|draft| set_cordon(draft, "node-1", true)).unwrap();
    assert!(known.update(&cluster.state, [node_id(1)], measured(7), cluster.now).is_substantial);
}

#[test]
fn what_the_scheduler_placed_need_not_be_told_and_what_was_rejected_is() {
    let mut cluster = Cluster::new(2);
    let mut known = Known::default();
    update(&mut known, &cluster);
    let (fits, rejected) = (cluster.create(spec()), cluster.create(spec()));
    cluster.run(|draft| stop_task(draft, rejected)).unwrap();
    assert_eq!(place(&mut known, &mut cluster, &[(fits, 1), (rejected, 2)]), 1);
    let delta = update(&mut known, &cluster);
    assert_eq!((told(&delta), delta.upserted[0].task_count, delta.is_substantial), (vec!["node-2"], 0, true));
    assert_eq!(update(&mut known, &cluster), Delta::default());

    // Which ports a task was given the scheduler did not know.
    let publishing = cluster.create(publishing_any(1));
    assert_eq!(place(&mut known, &mut cluster, &[(publishing, 1)]), 1);
    let delta = update(&mut known, &cluster);
    assert_eq!((told(&delta), delta.upserted[0].host_ports.len()), (vec!["node-1"], 1));
}

#[test]
fn marks_that_are_mentioned_for_the_first_time_are_told_of_every_node_that_has_them() {
    let mut cluster = Cluster::new(2);
    cluster.running(spec(), 1);
    let mut known = Known::default();
    update(&mut known, &cluster);
    cluster.create(placed_by(PlacementPolicy { max_per_node: Some(1), ..PlacementPolicy::default() }));
    let delta = update(&mut known, &cluster);
    assert_eq!((told(&delta), delta.upserted[0].marks.len(), delta.is_substantial), (vec!["node-1"], 1, true));
}

#[test]
fn no_view_is_made_anew_for_a_mark_that_nobody_has() {
    let mut cluster = Cluster::new(5);
    cluster.running(spec(), 1);
    let mut known = Known::default();
    update(&mut known, &cluster);
    let placement = PlacementPolicy { max_per_node: Some(1), ..PlacementPolicy::default() };
    let job = TaskSpec { name: "job".to_owned(), ..placed_by(placement) };
    let task_id = cluster.create(job);
    let visited = cluster.state.visited().nodes;
    assert_eq!(update(&mut known, &cluster), Delta::default());
    assert_eq!(cluster.state.visited().nodes, visited);
    // And of one that somebody has only those.
    assert_eq!(place(&mut known, &mut cluster, &[(task_id, 2)]), 1);
    assert_eq!(update(&mut known, &cluster), Delta::default(), "the scheduler placed it");
    cluster.run(|draft| stop_task(draft, task_id)).unwrap();
    cluster.report(2, task_id, Stopped);
    let delta = update(&mut known, &cluster);
    assert_eq!((told(&delta), delta.upserted[0].marks.len()), (vec!["node-2"], 0));
    assert_eq!(cluster.state.visited().nodes, visited + 2);
}

#[test]
fn marks_of_tasks_that_are_to_come_are_told_when_they_are_mentioned_for_the_first_time() {
    let mut cluster = Cluster::new(2);
    for _ in 0..TASKS_PER_NODE {
        cluster.running(of_priority(-5), 1);
    }
    let task_id = cluster.create(of_priority(5));
    let victims = cluster.state.placed_tasks(node_id(1), Some(5), usize::MAX, cluster.now);
    let order = PreemptionOrder {
        key: cluster.key(task_id),
        node_id: node_id(1),
        victims: victims.into_iter().take(1).map(|task| task.task_id).collect(),
        unplaced_reason: "all is full".to_owned(),
    };
    assert_eq!(cluster.run(|draft| commit_preemptions(draft, &[order])).committed.len(), 1);
    let mut known = Known::default();
    update(&mut known, &cluster);
    // All of them have the same name.
    cluster.create(placed_by(PlacementPolicy { max_per_node: Some(1), ..PlacementPolicy::default() }));
    let delta = update(&mut known, &cluster);
    let count = delta.upserted[0].marks.values().sum::<u32>();
    assert_eq!((told(&delta), u64::from(count)), (vec!["node-1"], TASKS_PER_NODE + 1));
}

#[test]
fn tasks_are_told_while_one_waits_that_may_preempt_them() {
    let mut cluster = Cluster::new(2);
    let (low, high) = (cluster.running(of_priority(-5), 1), cluster.running(of_priority(5), 1));
    let mut known = Known::default();
    known.tell_tasks_below(None);
    assert!(update(&mut known, &cluster).upserted.iter().all(|view| view.tasks.is_empty()));

    known.tell_tasks_below(Some(5));
    let delta = update(&mut known, &cluster);
    assert_eq!((told(&delta), delta.is_substantial), (vec!["node-1"], true), "what may be stopped makes room");
    assert_eq!(tasks_told(&known, 1), [(low, 0)], "equal priority is not even told of");
    known.tell_tasks_below(Some(6));
    update(&mut known, &cluster);
    assert_eq!(tasks_told(&known, 1), [(low, 0), (high, 0)]);

    // None waits for a moment; telling all again and again would be dear.
    known.tell_tasks_below(None);
    assert_eq!(update(&mut known, &cluster), Delta::default());
    known.tell_only_tasks_below(None);
    update(&mut known, &cluster);
    assert_eq!(tasks_told(&known, 1), []);
}

#[test]
fn of_tasks_that_are_being_stopped_it_is_told_whatever_their_priority() {
    let mut cluster = Cluster::new(1);
    let (low, high) = (cluster.running(spec(), 1), cluster.running(of_priority(5), 1));
    let mut known = Known::default();
    known.tell_tasks_below(Some(1));
    update(&mut known, &cluster);
    let told = |delta: &Delta| -> Vec<(TaskId, bool)> {
        delta.upserted[0].tasks.iter().map(|task| (task.task_id, task.is_ending)).collect()
    };
    assert_eq!(tasks_told(&known, 1), [(low, 0)]);
    cluster.run(|draft| stop_task(draft, high)).unwrap();
    let delta = update(&mut known, &cluster);
    assert_eq!((told(&delta), delta.is_substantial), (vec![(low, false), (high, true)], true), "room becomes free");
    cluster.run(|draft| stop_task(draft, low)).unwrap();
    let delta = update(&mut known, &cluster);
    assert_eq!((told(&delta), delta.is_substantial), (vec![(low, true), (high, true)], true));
    cluster.report(1, high, Stopped);
    assert_eq!(told(&update(&mut known, &cluster)), [(low, true)]);
}

#[test]
fn a_node_on_which_the_scheduler_keeps_room_is_told_in_any_case() {
    let mut cluster = Cluster::new(2);
    let mut known = Known::default();
    update(&mut known, &cluster);
    known.claimed(node_id(1));
    let delta = update(&mut known, &cluster);
    assert_eq!(
        (told(&delta), delta.is_substantial),
        (vec!["node-1"], false),
        "it came to nothing, and nothing changed"
    );
    assert_eq!(update(&mut known, &cluster), Delta::default());

    known.claimed(node_id(1));
    cluster.run(|draft| set_cordon(draft, "node-1", true)).unwrap();
    assert!(update(&mut known, &cluster).is_substantial);
}

#[test]
fn tasks_are_told_as_old_as_they_are_at_one_moment_whenever_their_node_changed() {
    let mut cluster = Cluster::new(2);
    let old = begin(&mut cluster, 1);
    cluster.advance(Duration::from_secs(30));
    let young = begin(&mut cluster, 2);
    cluster.advance(Duration::from_secs(20));
    let mut known = Known::default();
    known.tell_tasks_below(Some(1));
    update(&mut known, &cluster);
    assert_eq!((tasks_told(&known, 1), tasks_told(&known, 2)), (vec![(old, 50)], vec![(young, 20)]));

    // Something else changes on the second node: its task has not aged more than the other.
    cluster.advance(Duration::from_secs(9));
    let newest = begin(&mut cluster, 2);
    assert_eq!(told(&update(&mut known, &cluster)), ["node-2"]);
    assert_eq!((tasks_told(&known, 1), tasks_told(&known, 2)), (vec![(old, 50)], vec![(newest, 0), (young, 20)]));

    cluster.advance(Duration::from_secs(1));
    let delta = update(&mut known, &cluster);
    assert_eq!((told(&delta), delta.is_substantial), (vec!["node-1", "node-2"], false), "they only grew older");
    assert_eq!((tasks_told(&known, 1), tasks_told(&known, 2)), (vec![(old, 60)], vec![(newest, 1), (young, 30)]));
    assert_eq!(update(&mut known, &cluster), Delta::default());
}

#[test]
fn a_start_makes_a_task_old_in_time_although_nothing_else_of_its_node_changes() {
    let mut cluster = Cluster::new(1);
    let (first, second) = (cluster.create(spec()), cluster.create(spec()));
    cluster.place(first, 1);
    cluster.place(second, 1);
    let mut known = Known::default();
    known.tell_tasks_below(Some(1));
    update(&mut known, &cluster);
    assert_eq!(tasks_told(&known, 1), [(first, 0), (second, 0)]);
    let running = AttemptStatus { started_at: Some(cluster.now), ..status(Attempt::FIRST, Running) };
    cluster.report_status(1, first, running);
    cluster.advance(Duration::from_secs(15));
    let delta = update(&mut known, &cluster);
    assert_eq!((delta.upserted.len(), delta.is_substantial), (1, false));
    assert_eq!(
        tasks_told(&known, 1),
        [(second, 0), (first, 15)],
        "the least is lost with the one that has not started"
    );
}

#[test]
fn nothing_grows_old_where_no_tasks_are_told() {
    let mut cluster = Cluster::new(2);
    begin(&mut cluster, 1);
    let mut known = Known::default();
    update(&mut known, &cluster);
    cluster.advance(Duration::from_secs(3600));
    assert_eq!(update(&mut known, &cluster), Delta::default());
}

#[test]
fn of_very_many_tasks_those_that_matter_least_are_told() {
    let mut cluster = Cluster::new(0);
    let mut large = registration(1);
    large.description.allocatable.cpu_millis = u64::MAX;
    cluster.run(|draft| register_node(draft, large, LEASE)).unwrap();
    let small = TaskSpec { resources: Default::default(), ..spec() };
    let important = cluster.running(TaskSpec { placement: of_priority(1).placement, ..small.clone() }, 1);
    for _ in 0..MAX_TASKS_PER_NODE {
        cluster.running(small.clone(), 1);
    }
    let mut known = Known::default();
    known.tell_tasks_below(Some(2));
    update(&mut known, &cluster);
    let told: Vec<TaskId> = tasks_told(&known, 1).into_iter().map(|(task_id, _)| task_id).collect();
    assert_eq!((told.len(), told.contains(&important)), (MAX_TASKS_PER_NODE, false));
}

/// The scheduler's side: applies what it is told and what it places.
#[derive(Default)]
struct Mirror(BTreeMap<NodeId, NodeView>);

impl Mirror {
    fn apply(&mut self, delta: Delta) {
        for view in delta.upserted {
            self.0.insert(view.node_id, view);
        }
        for node_id in delta.removed {
            assert!(self.0.remove(&node_id).is_some(), "{node_id} was never told");
        }
    }

    fn place(&mut self, requirements: &Requirements, placement: &Placement) {
        if let Some(view) = self.0.get_mut(&placement.node_id) {
            view.reserve(requirements);
        }
    }
}

/// What workers measured, and of which nodes that is news.
#[derive(Default)]
struct Measured {
    newest: BTreeMap<NodeId, NodeStats>,
    news: BTreeSet<NodeId>,
}

impl Measured {
    /// `None`: what was measured counts no more.
    fn put(&mut self, node: u64, cpu: Option<u64>) {
        match cpu {
            Some(cpu) => self.newest.insert(node_id(node), stats(cpu, 0)),
            None => self.newest.remove(&node_id(node)),
        };
        self.news.insert(node_id(node));
    }

    fn stats_of(&self, node_id: NodeId) -> Option<NodeStats> {
        self.newest.get(&node_id).copied()
    }
}

/// Updates what is known, and compares what is to be told with what a look at all nodes finds.
fn update_and_look_at_all(
    known: &mut Known,
    cluster: &Cluster,
    measured: &mut Measured,
) -> Result<Delta, TestCaseError> {
    let (told, doubts) = (known.views.clone(), known.doubts.clone());
    let news = std::mem::take(&mut measured.news);
    let delta = known.update(&cluster.state, news, |node_id| measured.stats_of(node_id), cluster.now);
    let (mut differing, mut is_substantial) = (BTreeSet::new(), false);
    for node in cluster.state.nodes() {
        let mut is = cluster.state.node_view(node, measured.stats_of(node.node_id));
        if let Some(below) = known.tasks_below {
            is.tasks = cluster.state.placed_tasks(node.node_id, Some(below), MAX_TASKS_PER_NODE, known.ages_at);
        }
        let mut was = told.get(&node.node_id).cloned();
        is_substantial |= difference(was.clone(), &is).1;
        // Ages alone are not told at once.
        if let Some(was) = was.as_mut().filter(|was| ageless(&was.tasks) == ageless(&is.tasks)) {
            was.tasks.clone_from(&is.tasks);
        }
        if difference(was, &is).0 || doubts.get(&node.node_id) == Some(&Doubt::Claimed) {
            differing.insert(node.node_id);
        }
    }
    let gone = told.keys().filter(|node_id| cluster.state.node(**node_id).is_none());
    prop_assert_eq!(&delta.removed, &gone.copied().collect::<Vec<_>>());
    prop_assert_eq!(delta.is_substantial, is_substantial || !delta.removed.is_empty());
    let upserted: BTreeSet<NodeId> = delta.upserted.iter().map(|view| view.node_id).collect();
    prop_assert_eq!(upserted.len(), delta.upserted.len(), "a node is told once");
    prop_assert!(upserted.is_superset(&differing), "{differing:?} differ, {upserted:?} are told");
    for node_id in upserted.difference(&differing) {
        let (was, is) = (&told[node_id].tasks, &known.views[node_id].tasks);
        prop_assert!(was != is, "{node_id} is as it was told");
    }
    Ok(delta)
}

#[derive(Debug, Clone)]
enum Step {
    Run(Op),
    /// All that waits is placed on one node, as far as the scheduler knows; the manager may reject it.
    Place(u64),
    /// The scheduler keeps room on a node and would stop all that is on it; the manager rejects it.
    Claim(u64),
    Tell(Option<i32>),
    /// A worker measured its node, or what it measured counts no more.
    Measure(u64, Option<u64>),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => op().prop_map(Step::Run),
        2 => (1..4_u64).prop_map(Step::Place),
        1 => (1..4_u64).prop_map(Step::Claim),
        1 => prop::option::of(-6..7).prop_map(Step::Tell),
        2 => (1..4_u64, prop::option::of(0..3_u64)).prop_map(|(node, cpu)| Step::Measure(node, cpu)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn what_was_told_and_placed_adds_up_to_what_is(steps in prop::collection::vec((step(), any::<bool>()), 1..60)) {
        let mut cluster = Cluster::new(2);
        let (mut known, mut mirror, mut measured) = (Known::default(), Mirror::default(), Measured::default());
        mirror.apply(update_and_look_at_all(&mut known, &cluster, &mut measured)?);
        for (step, looks) in steps {
            match step {
                Step::Run(op) => {
                    cluster.apply(&op);
                }
                Step::Place(node) => {
                    // As the placer does: of nodes as they are.
                    mirror.apply(update_and_look_at_all(&mut known, &cluster, &mut measured)?);
                    let waiting: Vec<_> = cluster.state.placeable(cluster.now).map(|task| (task.task_id, node)).collect();
                    for (task_id, node) in &waiting {
                        let requirements = cluster.state.requirements_of(&cluster.task(*task_id).spec);
                        let placement = Placement { key: cluster.key(*task_id), node_id: node_id(*node) };
                        mirror.place(&requirements, &placement);
                    }
                    place(&mut known, &mut cluster, &waiting);
                }
                Step::Claim(node) => {
                    mirror.apply(update_and_look_at_all(&mut known, &cluster, &mut measured)?);
                    if let Some(view) = mirror.0.get_mut(&node_id(node)) {
                        view.reserve(&cluster.state.requirements_of(&spec()));
                        view.tasks.clear();
                    }
                    known.claimed(node_id(node));
                }
                Step::Tell(priority) => known.tell_only_tasks_below(priority),
                Step::Measure(node, cpu) => measured.put(node, cpu),
            }
            if !looks {
                continue;
            }
            mirror.apply(update_and_look_at_all(&mut known, &cluster, &mut measured)?);
            let mut anew = Known { tasks_below: known.tasks_below, ..Known::default() };
            let all = anew.update(&cluster.state, [], |node_id| measured.stats_of(node_id), cluster.now).upserted;
            let all: BTreeMap<_, _> = all.into_iter().map(|view| (view.node_id, view)).collect();
            prop_assert_eq!(all.keys().collect::<Vec<_>>(), mirror.0.keys().collect::<Vec<_>>());
            for (node_id, is) in all {
                let told = &mirror.0[&node_id];
                prop_assert_eq!(ageless(&told.tasks), ageless(&is.tasks));
                prop_assert_eq!(&NodeView { tasks: is.tasks.clone(), ..told.clone() }, &is);
            }
        }
    }
}
