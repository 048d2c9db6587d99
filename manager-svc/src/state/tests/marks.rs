//! Where tasks are that carry a mark, and what it costs to count one that nobody asked for before.

use davit_core::spec::{PlacementPolicy, TaskSpec};

use super::*;
use crate::commands::delete_task;
use crate::commands::test_support::{labelled, node_id, placed_by};
use crate::state::specs::SpecAddress;

/// To every mark that any spec has, the index finds the nodes of the tasks that carry it, and of their claims.
pub(super) fn where_they_are_follows_from_tasks(state: &ClusterState) -> Result<(), TestCaseError> {
    let belongs = |task: &Task| {
        let on_node = task.status.node_id.filter(|_| task.status.state.is_on_node());
        let wants = !task.is_finished() && task.desired_state == DesiredState::Running;
        (on_node, task.claim.as_ref().filter(|_| wants && task.pinned_to().is_none()).map(|claim| claim.node_id))
    };
    let specs: BTreeSet<SpecAddress> = state.carriers.all().map(|((address, _), _)| address).collect();
    let carried = specs.iter().map(|address| state.specs.at(*address).map_or(0, |spec| spec.marks().count()));
    prop_assert_eq!(state.carriers.mark_count(), carried.sum::<usize>());
    let marks: BTreeSet<Mark> = state.tasks.values().flat_map(|task| task.spec.marks().collect::<Vec<_>>()).collect();
    for mark in marks {
        let mut counted: BTreeMap<NodeId, (u32, u32)> = BTreeMap::new();
        for task in state.tasks.values().filter(|task| task.spec.marks().any(|carried| carried == mark)) {
            let (on_node, claimed) = belongs(task);
            on_node.into_iter().for_each(|node_id| counted.entry(node_id).or_default().0 += 1);
            claimed.into_iter().for_each(|node_id| counted.entry(node_id).or_default().1 += 1);
        }
        let mut found: BTreeMap<NodeId, (u32, u32)> = BTreeMap::new();
        for (node_id, held) in state.carriers.of_mark(&mark, &state.specs) {
            let (tasks, claims) = found.entry(node_id).or_default();
            (*tasks, *claims) = (*tasks + held.tasks, *claims + held.claims);
        }
        prop_assert_eq!(found, counted, "{}", mark);
    }
    Ok(())
}

/// A job that runs at most once on a node.
fn alone_on_its_node(name: &str) -> TaskSpec {
    let placement = PlacementPolicy { max_per_node: Some(1), ..PlacementPolicy::default() };
    TaskSpec { name: name.to_owned(), ..placed_by(placement) }
}

/// How many tasks and nodes are visited while this is done.
fn visited(cluster: &mut Cluster, done: impl FnOnce(&mut Cluster)) -> (u64, u64) {
    let before = cluster.state.visited();
    done(cluster);
    let after = cluster.state.visited();
    (after.tasks - before.tasks, after.nodes - before.nodes)
}

/// Fills every node.
fn full(nodes: u64) -> Cluster {
    let mut cluster = Cluster::new(nodes + 1);
    for number in 1..=nodes {
        cluster.running(spec(), number);
        cluster.running(labelled("app", "db"), number);
    }
    cluster
}

#[test]
fn jobs_with_names_of_their_own_cost_no_look_at_what_runs() {
    let mut cluster = full(20);
    for number in 0..3 {
        let name = format!("job-{number}");
        let looks = visited(&mut cluster, |cluster| {
            let task_id = cluster.running(alone_on_its_node(&name), 21);
            assert_eq!(cluster.state.usage(node_id(21)).marks.get(&Mark::of_name(&name)), Some(&1));
            cluster.report(21, task_id, TaskState::Completed);
        });
        assert_eq!(looks, (0, 0));
        assert_eq!(cluster.state.mentions.counts(), BTreeMap::new());
    }
}

#[test]
fn a_mark_that_some_carry_is_counted_and_forgotten_where_they_are_and_nowhere_else() {
    let mut cluster = full(20);
    let few = (1..=2).map(|number| cluster.running(labelled("app", "cache"), number)).collect::<Vec<_>>();
    let cache = Mark::of_label("app", "cache");
    let apart = PlacementPolicy { task_anti_affinities: vec![cache.clone()], ..PlacementPolicy::default() };
    let counted = |cluster: &Cluster| {
        let usage =
            cluster.state.usage.iter().filter_map(|(node_id, usage)| Some((*node_id, *usage.marks.get(&cache)?)));
        usage.collect::<Vec<_>>()
    };
    let mut task_ids = Vec::new();
    let looks = visited(&mut cluster, |cluster| task_ids.push(cluster.create(placed_by(apart.clone()))));
    assert_eq!(looks, (0, 2));
    assert_eq!(counted(&cluster), [(node_id(1), 1), (node_id(2), 1)]);

    let seen = cluster.state.nodes_seen();
    let looks = visited(&mut cluster, |cluster| task_ids.push(cluster.create(placed_by(apart.clone()))));
    assert_eq!((looks, cluster.state.nodes_changed_since(&seen)), ((0, 0), BTreeSet::new()), "it is counted already");

    cluster.report(1, few[0], TaskState::Completed);
    assert_eq!(counted(&cluster), [(node_id(2), 1)]);
    let looks = visited(&mut cluster, |cluster| {
        cluster.run(|draft| delete_task(draft, task_ids[0], true)).unwrap();
        cluster.run(|draft| delete_task(draft, task_ids[1], true)).unwrap();
    });
    assert_eq!((looks, counted(&cluster)), ((0, 1), Vec::new()));
}

#[test]
fn a_mark_that_is_dropped_and_mentioned_again_at_once_is_not_counted_anew() {
    let mut cluster = full(20);
    let apart =
        PlacementPolicy { task_anti_affinities: vec![Mark::of_label("app", "db")], ..PlacementPolicy::default() };
    let task_id = cluster.create(placed_by(apart.clone()));
    let (seen, task) = (cluster.state.nodes_seen(), cluster.task(task_id).clone());
    let looks = visited(&mut cluster, |cluster| {
        cluster.run(|draft| {
            draft.remove_task(task_id, "gone for a moment");
            let keyed = crate::commands::test_support::keyed(TaskSpec::clone(&task.spec));
            draft.create_task(task, &keyed, "there again");
        });
    });
    assert_eq!((looks, cluster.state.nodes_changed_since(&seen)), ((0, 0), BTreeSet::new()));
}
