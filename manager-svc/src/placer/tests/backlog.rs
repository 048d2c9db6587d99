//! A full cluster in which very many tasks wait for room: they cost by what changes, not by how many they are.

use super::super::telling::TOLD_AT_ONCE;
use super::visits::begin;
use super::*;

const NODES: u64 = 5;
const SPECS: u64 = 20;
const PER_SPEC: u64 = 250;

/// How many tasks may be visited for whatever concerns one task.
const FEW: u64 = 20;

/// A full cluster, and tasks that wait in vain and know why.
struct Backlog {
    manager: Manager,
    _scheduler: LateScheduler,
    running: Vec<TaskId>,
}

/// One that needs so much cpu.
fn needing(name: &str, cpu_millis: u64) -> Arc<TaskSpec> {
    let mut spec = spec();
    name.clone_into(&mut spec.name);
    spec.resources.reservation = Resources { cpu_millis, ..Resources::ZERO };
    Arc::new(spec)
}

/// How often a task of those that wait was told why.
fn told(batch: &crate::state::Batch) -> usize {
    let is_told = |versions: &Versions| match versions {
        Versions::Task { before: Some(before), after: Some(after) } => {
            (before.status.state, after.status.state) == (TaskState::Pending, TaskState::Pending)
        }
        _ => false,
    };
    batch.changes.iter().filter(|change| is_told(&change.versions)).count()
}

impl Backlog {
    async fn start() -> Self {
        let manager = Manager::start((1..=NODES).map(registration)).await;
        let per_node = registration(1).description.allocatable.cpu_millis / 100;
        let fills = manager.new_tasks(&needing("fills", 100), NODES * per_node, None);
        let running = manager.create(vec![fills]).await;
        let places: Vec<_> = running.iter().copied().zip((1..=NODES).cycle()).collect();
        begin(&manager, &places, true).await;
        // Those that need least come last.
        let waiting = (0..SPECS).rev().map(|number| needing(&format!("waits-{number}"), 100 + number));
        let waiting = waiting.map(|spec| manager.new_tasks(&spec, PER_SPEC, None)).collect();
        manager.create(waiting).await;
        let scheduler = manager.add_placer(Duration::ZERO).await;
        let backlog = Self { manager, _scheduler: scheduler, running };
        backlog.all_told().await;
        backlog
    }

    /// Waits until all that waits knows why.
    async fn all_told(&self) {
        let mut versions = self.manager.writer.watch();
        let knows = |task: &Arc<Task>| task.status.reason.contains("lack");
        let all_told = versions.wait_for(|state| state.placeable(Timestamp::MAX).all(knows));
        drop(tokio::time::timeout(LIMIT, all_told).await.expect("all are told").unwrap());
    }

    /// Creates one that fits, and waits until it has a node. Before that, all is done that was to be done.
    async fn place_one(&self) {
        let spec = needing("fits", 0);
        let task_id = self.manager.create(vec![self.manager.new_tasks(&spec, 1, None)]).await[0];
        self.until(|state| state.task(task_id).is_some_and(|task| task.status.node_id.is_some())).await;
    }

    async fn until(&self, holds: impl Fn(&ClusterState) -> bool) {
        let mut versions = self.manager.writer.watch();
        let waited = versions.wait_for(|state| holds(state));
        drop(tokio::time::timeout(LIMIT, waited).await.expect("it comes true").unwrap());
    }

    /// How many tasks were visited meanwhile. Waiting looks at single tasks only.
    async fn visited_for(&self, change: impl AsyncFnOnce()) -> u64 {
        self.place_one().await;
        let before = self.manager.writer.state().visited();
        change().await;
        self.place_one().await;
        self.manager.writer.state().visited().tasks - before.tasks
    }

    fn waiting(&self) -> u64 {
        self.manager.writer.state().task_count(TaskState::Pending)
    }

    fn told(&self) -> usize {
        self.manager.store.batches().iter().map(|batch| told(batch)).sum()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_tasks_that_fit_nowhere_cost_by_what_changes() {
    let backlog = Backlog::start().await;
    assert_eq!((backlog.waiting(), backlog.told() as u64), (SPECS * PER_SPEC, SPECS * PER_SPEC));

    let for_one_that_fits = backlog.visited_for(async || backlog.place_one().await).await;
    assert!(for_one_that_fits <= 2 * FEW, "{for_one_that_fits} tasks were visited");

    // There is room for one of those that need least.
    let ended = (backlog.running[0], status(Attempt::FIRST, TaskState::Completed));
    let for_one_that_ends = backlog
        .visited_for(async || {
            backlog.manager.write(move |draft| apply_reports(draft, node_id(1), vec![ended])).await;
            backlog.until(|state| state.task_count(TaskState::Pending) < SPECS * PER_SPEC).await;
        })
        .await;
    assert_eq!(backlog.waiting(), SPECS * PER_SPEC - 1);
    assert!(for_one_that_ends <= FEW + 4 * SPECS, "{for_one_that_ends} tasks were visited");

    // One more that lacks the same makes no difference.
    let mut small = registration(NODES + 1);
    small.description.allocatable.cpu_millis = 1;
    let for_a_node = backlog
        .visited_for(async || {
            backlog.manager.write(move |draft| register_node(draft, small, LEASE).unwrap()).await;
        })
        .await;
    assert!(for_a_node <= FEW + 4 * SPECS, "{for_a_node} tasks were visited");
    assert_eq!(backlog.told() as u64, SPECS * PER_SPEC, "nobody is told twice");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_tasks_are_told_in_portions_why_they_wait() {
    const COUNT: usize = 2 * TOLD_AT_ONCE + 1;
    let backlog = Backlog::start().await;
    let like_others = needing("waits-0", 100);
    backlog.manager.create(vec![backlog.manager.new_tasks(&like_others, COUNT as u64, None)]).await;
    backlog.all_told().await;
    let batches = backlog.manager.store.batches();
    let told: Vec<usize> = batches.iter().map(|batch| told(batch)).filter(|count| *count > 0).collect();
    assert!(told.iter().all(|count| *count <= TOLD_AT_ONCE), "{told:?}");
    assert_eq!(told.iter().sum::<usize>() as u64, SPECS * PER_SPEC + COUNT as u64);
}
