//! How much is looked at for a few tasks, in a cluster of few and in one of many.

use super::*;
use crate::state::Visited;

/// How many tasks run on each node.
const TASKS_PER_NODE: u64 = 100;
/// How many come, one after the other.
const FEW: u64 = 5;

/// Fills so many nodes with tasks that run, and then has a few more placed and begun, the nth of this spec. What was visited for
/// those.
async fn visited_for_a_few(nodes: u64, spec_of: impl Fn(u64) -> TaskSpec) -> Visited {
    let manager = Manager::start((1..=nodes).map(|number| {
        let mut node = registration(number);
        let room = 2 * TASKS_PER_NODE;
        node.description.allocatable = Resources { cpu_millis: 100 * room, memory_bytes: 1 << 30, disk_bytes: 1 << 30 };
        node.description.capacity = node.description.allocatable;
        node
    }))
    .await;
    let spec = Arc::new(spec());
    let there = manager.create(vec![manager.new_tasks(&spec, nodes * TASKS_PER_NODE, None)]).await;
    let places: Vec<(TaskId, u64)> = there.into_iter().zip((1..=nodes).cycle()).collect();
    begin(&manager, &places, true).await;

    let _scheduler = manager.add_placer(Duration::ZERO).await;
    // Now it has all nodes; that takes a look at each.
    place_and_begin_one(&manager, &spec).await;
    let before = manager.writer.state().visited();
    for number in 0..FEW {
        place_and_begin_one(&manager, &Arc::new(spec_of(number))).await;
    }
    let after = manager.writer.state().visited();
    Visited { tasks: after.tasks - before.tasks, nodes: after.nodes - before.nodes }
}

async fn place_and_begin_one(manager: &Manager, spec: &Arc<TaskSpec>) {
    let task_id = manager.create(vec![manager.new_tasks(spec, 1, None)]).await[0];
    manager.all_placed().await;
    let node_id = manager.writer.state().task(task_id).and_then(|task| task.status.node_id).expect("a node");
    let number = node_id.0.as_u64_pair().1;
    begin(manager, &[(task_id, number)], false).await;
}

/// Has workers say that they run tasks; `places`: after those were placed there.
pub(super) async fn begin(manager: &Manager, tasks: &[(TaskId, u64)], places: bool) {
    let key = |task_id| AttemptKey { task_id, attempt: Attempt::FIRST };
    let placements: Vec<Placement> =
        tasks.iter().map(|(task_id, node)| Placement { key: key(*task_id), node_id: node_id(*node) }).collect();
    manager
        .write(move |draft| {
            if places {
                assert_eq!(commit_placements(draft, &placements).committed, placements.len());
            }
            for Placement { key, node_id } in placements {
                let running = status(key.attempt, TaskState::Running);
                assert_eq!(apply_reports(draft, node_id, vec![(key.task_id, running)]).applied, 1);
            }
        })
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_visited_for_a_few_tasks_does_not_grow_with_what_is_there() {
    let like_the_others = |_| spec();
    // Of each it counts on nodes how many there are.
    let of_a_name_of_its_own = |number| {
        let placement = PlacementPolicy { max_per_node: Some(1), ..PlacementPolicy::default() };
        TaskSpec { name: format!("job-{number}"), placement, ..spec() }
    };
    little_is_visited(visited_for_a_few(50, like_the_others).await, visited_for_a_few(500, like_the_others).await);
    let (few, many) = (visited_for_a_few(50, of_a_name_of_its_own), visited_for_a_few(500, of_a_name_of_its_own));
    little_is_visited(few.await, many.await);
}

fn little_is_visited(few: Visited, many: Visited) {
    assert!(few.tasks >= FEW && few.nodes >= FEW, "each new task and the node that it went to: {few:?}");
    // How many versions and rounds there are is a matter of timing.
    for visited in [few, many] {
        assert!(
            visited.tasks <= 20 * FEW && visited.nodes <= 5 * FEW,
            "{few:?} in one of few, {many:?} in one of many"
        );
    }
}
