//! Placers of one manager at work, each with a real scheduler of its own.

mod backlog;
mod late_scheduler;
pub(super) mod moody_scheduler;
mod record;
mod retries;
mod stand_in;
mod visits;

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::sync::atomic::{AtomicU64, Ordering};

use davit_core::id::{Attempt, AttemptKey, GangId, TaskId};
use davit_core::placement::PortRange;
use davit_core::resources::{ResourceRequirements, Resources};
use davit_core::spec::{ContainerSpec, PlacementPolicy, Port, PortProtocol, RuntimeSpec, TaskSpec};
use davit_core::state::TaskState;
use davit_core::task::Task;
use davit_svc_kit::clock::{Clock, ManualClock};
use davit_svc_kit::readiness::Readiness;
use davit_svc_kit::world::World;
use jiff::Timestamp;
use uuid::Uuid;

use self::late_scheduler::LateScheduler;
use self::record::RecordingStore;
use super::*;
use crate::commands::test_support::{LEASE, node_id, registration, spec, status, task_id};
use crate::commands::{
    Limits, NewTasks, Placement, Registration, apply_reports, commit_placements, create_tasks, register_node,
};
use crate::dispatch::Router;
use crate::stable_hash::fnv1a;
use crate::state::{Draft, KeptEvents, KeyedSpec, Versions};
use crate::store::Store;
use crate::writer::Writer;

/// How long a condition may take to come true.
const LIMIT: Duration = Duration::from_secs(20);

/// Starts a placer that asks the scheduler at this address.
fn start_placer(writer: Handle, world: World, address: String, shutdown: &Shutdown) {
    let status = SchedulerStatus {
        address: String::new(),
        connected: false,
        reason: String::new(),
        algorithms: Algorithms::new([], "spread"),
    };
    let (contacts, status) = (Contacts::new(), watch::Sender::new(status));
    let placer = Placer { writer, contacts, world, status, addresses: vec![address] };
    tokio::spawn(placer.run(shutdown.clone()));
}

/// A manager without an API: its writer, and placers.
struct Manager {
    writer: Handle,
    store: Arc<RecordingStore>,
    clock: Arc<ManualClock>,
    shutdown: Shutdown,
    created: AtomicU64,
}

impl Manager {
    async fn start(nodes: impl IntoIterator<Item = Registration>) -> Self {
        let clock = Arc::new(ManualClock::new(Timestamp::from_second(1_000_000).unwrap()));
        let (store, shutdown) = (Arc::new(RecordingStore::default()), Shutdown::new());
        let world = World { clock: Arc::clone(&clock) as Arc<dyn Clock>, ..World::real() };
        let stored = Arc::clone(&store) as Arc<dyn Store>;
        let loaded = Writer::load(stored, Router::default(), &world, Readiness::new(), KeptEvents::up_to(1000)).await;
        let (it, writer) = loaded.unwrap();
        tokio::spawn(it.run(shutdown.clone()));
        let manager = Self { writer, store, clock, shutdown, created: AtomicU64::new(0) };
        for node in nodes {
            manager.write(move |draft| register_node(draft, node, LEASE).unwrap()).await;
        }
        manager
    }

    async fn write<T: Send + 'static>(&self, command: impl FnOnce(&mut Draft) -> T + Send + 'static) -> T {
        self.writer.write(move |draft| Ok::<T, Infallible>(command(draft))).await.unwrap()
    }

    /// Starts a placer and the scheduler that it asks, which hears so late of what changes.
    async fn add_placer(&self, late_by: Duration) -> LateScheduler {
        let scheduler = LateScheduler::start(Arc::clone(&self.clock), late_by, &self.shutdown).await;
        let world = World { clock: Arc::clone(&self.clock) as Arc<dyn Clock>, ..World::real() };
        start_placer(self.writer.clone(), world, scheduler.address.clone(), &self.shutdown);
        scheduler
    }

    fn new_tasks(&self, spec: &Arc<TaskSpec>, count: u64, gang_id: Option<GangId>) -> NewTasks {
        let first = self.created.fetch_add(count, Ordering::Relaxed);
        NewTasks {
            spec: KeyedSpec::new(Arc::clone(spec)),
            task_ids: (first..first + count).map(task_id).collect(),
            gang_id,
        }
    }

    async fn create(&self, tasks: Vec<NewTasks>) -> Vec<TaskId> {
        let task_ids = tasks.iter().flat_map(|tasks| tasks.task_ids.clone()).collect();
        self.write(move |draft| create_tasks(draft, &tasks, None, Limits::NONE).unwrap()).await;
        task_ids
    }

    /// Whoever was given a node runs; one in so many of those that ran has ended, and as many like them come. All at once.
    /// Answers who came.
    async fn turn_over(&self, round: u64, one_in: usize) -> BTreeSet<TaskId> {
        let state = self.writer.state();
        let in_state = |wanted| state.tasks().filter(move |task| task.status.state == wanted);
        let mut ended: Vec<_> = in_state(TaskState::Running).collect();
        // Others every time, the same in every run.
        ended.sort_by_cached_key(|task| fnv1a(task.task_id.0.into_bytes().into_iter().chain(round.to_le_bytes())));
        ended.truncate((ended.len() / one_in).max(1));
        let come: Vec<NewTasks> = ended.iter().map(|task| self.new_tasks(&task.spec, 1, None)).collect();
        let new = come.iter().flat_map(|tasks| tasks.task_ids.clone()).collect();
        let said =
            |task: &Arc<Task>, state| (task.status.node_id.unwrap(), task.task_id, status(Attempt::FIRST, state));
        let reports: Vec<_> = ended
            .into_iter()
            .map(|task| said(task, TaskState::Completed))
            .chain(in_state(TaskState::Scheduled).map(|task| said(task, TaskState::Running)))
            .collect();
        self.write(move |draft| {
            for (node_id, task_id, said) in reports {
                assert_eq!(apply_reports(draft, node_id, vec![(task_id, said)]).applied, 1);
            }
            create_tasks(draft, &come, None, Limits::NONE).unwrap();
        })
        .await;
        new
    }

    /// Tasks that have no node.
    fn waiting(&self) -> BTreeSet<TaskId> {
        self.writer.state().placeable(Timestamp::MAX).map(|task| task.task_id).collect()
    }

    /// Waits until all tasks have a node.
    async fn all_placed(&self) {
        let mut versions = self.writer.watch();
        let all_placed = versions.wait_for(|state| state.placeable(Timestamp::MAX).next().is_none());
        if tokio::time::timeout(LIMIT, all_placed).await.is_err() {
            let state = self.writer.state();
            let waiting: Vec<_> = state.placeable(Timestamp::MAX).take(3).map(|task| &task.status.reason).collect();
            panic!("{} tasks are not placed: {waiting:#?}", self.waiting().len());
        }
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        self.shutdown.trigger();
    }
}

/// Kinds of tasks, and how many of each fill a node together. Each kind can't be more on a node, whatever else is there, so
/// whenever one of them waits there is room for it somewhere; but each for another reason.
fn kinds() -> Vec<(Arc<TaskSpec>, u64)> {
    let kind = |name: &str,
                (cpu_millis, memory_bytes, disk_bytes),
                algorithm: &str,
                port: Option<(PortProtocol, Option<u16>)>| {
        let mut container = ContainerSpec::new("busybox".parse().unwrap());
        container.ports =
            port.into_iter().map(|(protocol, host_port)| Port { container_port: 80, protocol, host_port }).collect();
        let reservation = Resources { cpu_millis, memory_bytes, disk_bytes };
        Arc::new(TaskSpec {
            resources: ResourceRequirements { reservation, limit: Resources::ZERO },
            placement: PlacementPolicy { algorithm: algorithm.to_owned(), ..PlacementPolicy::default() },
            ..TaskSpec::new(name, RuntimeSpec::Container(container))
        })
    };
    vec![
        (kind("cpu", (400, 50, 0), "binpack", None), 2),
        (kind("memory", (0, 400, 0), "least-stranded", None), 2),
        (kind("disk", (0, 0, 400), "spread", None), 2),
        (kind("tcp", (50, 40, 100), "binpack", Some((PortProtocol::Tcp, Some(80)))), 1),
        (kind("udp", (30, 60, 40), "epvm", Some((PortProtocol::Udp, Some(53)))), 1),
        (kind("dynamic", (40, 0, 20), "spread", Some((PortProtocol::Tcp, None))), 3),
    ]
}

/// A node that one of each of [`kinds`], as often as is said there, fills to the last.
fn exact_node(number: u64) -> Registration {
    let mut node = registration(number);
    node.description.allocatable = Resources { cpu_millis: 1000, memory_bytes: 1000, disk_bytes: 1000 };
    node.description.capacity = node.description.allocatable;
    node.description.port_range = PortRange::new(20_000, 20_002).ok();
    node
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_schedulers_one_of_them_five_seconds_behind_over_commit_nothing_and_place_everything() {
    const NODES: u64 = 20;
    const LATE_BY: Duration = Duration::from_secs(5);
    let manager = Manager::start((1..=NODES).map(exact_node)).await;
    let fresh = manager.add_placer(Duration::ZERO).await;
    let late = manager.add_placer(LATE_BY).await;
    let tasks = kinds().iter().map(|(spec, per_node)| manager.new_tasks(spec, per_node * NODES, None)).collect();
    let count = manager.create(tasks).await.len();
    manager.all_placed().await;
    manager.turn_over(0, 6).await;

    for round in 1..=40 {
        manager.clock.advance(Duration::from_millis(500));
        // In turns one has its say before the other's answer comes in. So both get tasks placed, and both come too late.
        let (first, second) = if round % 2 == 0 { (&fresh, &late) } else { (&late, &fresh) };
        second.rest(true);
        let said = first.said();
        manager.turn_over(round, 6).await;
        first.answers_after(said).await;
        second.rest(false);
    }

    // Alone the late one gets there too: of what is free it hears in time.
    fresh.rest(true);
    let new = manager.turn_over(100, 6).await;
    for round in 101.. {
        if manager.waiting().is_disjoint(&new) {
            break;
        }
        assert!(round < 200, "the late one does not get there: {:?}", manager.waiting());
        manager.clock.advance(Duration::from_secs(1));
        // It is asked again when something changes.
        let said = late.said();
        manager.turn_over(round, 50).await;
        late.answers_after(said).await;
    }
    fresh.rest(false);
    manager.all_placed().await;

    let nodes = manager.store.check_every_version();
    assert_eq!(nodes.len() as u64, NODES);
    for held in nodes.values() {
        assert_eq!(held.reserved(), held.allocatable(), "there was room for exactly these");
    }
    let running = manager.writer.state().tasks().filter(|task| task.status.state.is_on_node()).count();
    assert_eq!(running, count);
    // Otherwise they would not have been in each other's way.
    let (proposals, placements) = (fresh.said().proposals + late.said().proposals, manager.store.placements());
    assert!(proposals > placements + 100, "{proposals} proposals, {placements} placements");
    assert!(late.said().proposals > 100, "{:?}", late.said());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gang_of_which_one_member_no_longer_fits_at_its_commit_is_not_committed_at_all() {
    const MEMBERS: u64 = 4;
    let manager = Manager::start([registration(1), registration(2)]).await;
    let scheduler = manager.add_placer(Duration::ZERO).await;
    scheduler.rest(true);
    let spec = Arc::new(spec());
    let gang_id = GangId(Uuid::from_u128(1));
    let said = scheduler.said();
    let gang = manager.create(vec![manager.new_tasks(&spec, MEMBERS, Some(gang_id))]).await;
    scheduler.answers_after(said).await;

    // Two on each node is what is on its way. One member finds its room taken.
    let rivals = manager.create(vec![manager.new_tasks(&spec, 2, None)]).await;
    let key = |task_id: &TaskId| AttemptKey { task_id: *task_id, attempt: Attempt::FIRST };
    let rivals: Vec<Placement> =
        rivals.iter().map(|task_id| Placement { key: key(task_id), node_id: node_id(1) }).collect();
    let report = manager.write(move |draft| commit_placements(draft, &rivals)).await;
    assert_eq!(report.committed, 2);
    scheduler.rest(false);
    manager.all_placed().await;

    assert_eq!(scheduler.said().proposals as u64, 2 * MEMBERS, "the first answer came to nothing");
    manager.store.check_every_version();
    let mut placed = BTreeSet::new();
    for batch in manager.store.batches() {
        for change in &batch.changes {
            let Versions::Task { after: Some(task), .. } = &change.versions else { continue };
            if gang.contains(&task.task_id) && task.status.state == TaskState::Scheduled {
                placed.insert(task.task_id);
            }
        }
        assert!(placed.is_empty() || placed.len() as u64 == MEMBERS, "a commit tore the gang: {placed:?}");
    }
    assert_eq!(placed.len() as u64, MEMBERS);
}

/// A node with room for whatever is asked for.
fn boundless_node() -> Registration {
    let mut node = registration(1);
    node.description.allocatable = Resources { cpu_millis: 1 << 40, memory_bytes: 1 << 60, disk_bytes: 1 << 60 };
    node.description.capacity = node.description.allocatable;
    node
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_more_is_placed_while_workers_have_much_to_take_but_those_that_take_nothing_do_not_stop_it() {
    let manager = Manager::start([boundless_node()]).await;
    let most_on_their_way = 2 * Window::default().part() as u64;
    let count = most_on_their_way + 1;
    manager.create(vec![manager.new_tasks(&Arc::new(spec()), count, None)]).await;
    let mut versions = manager.writer.watch();
    let _scheduler = manager.add_placer(Duration::ZERO).await;
    let mut until = async |wanted: u64| {
        let there = versions.wait_for(|state| state.task_count(TaskState::Scheduled) >= wanted);
        drop(tokio::time::timeout(LIMIT, there).await.expect("nothing more is placed").unwrap());
        Instant::now()
    };
    let enough = until(most_on_their_way).await;
    let all = until(count).await;
    assert!(all - enough >= LONGEST_WAIT_FOR_WORKERS * 9 / 10, "nobody has taken any: {:?}", all - enough);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_many_wait_for_slow_workers_what_is_more_important_and_a_gang_of_the_same_answer_do_not_wait_for_all() {
    let manager = Manager::start([boundless_node()]).await;
    let many = manager.new_tasks(&Arc::new(spec()), 40_000, None);
    let gang = manager.new_tasks(&Arc::new(spec()), 2, Some(GangId(Uuid::from_u128(1))));
    let mut important = manager.create(vec![many, gang]).await.split_off(40_000);
    let mut versions = manager.writer.watch();
    let _scheduler = manager.add_placer(Duration::ZERO).await;
    let begun = versions.wait_for(|state| state.task_count(TaskState::Scheduled) > 0);
    drop(tokio::time::timeout(LIMIT, begun).await.expect("nothing is placed").unwrap());
    let mut urgent = spec();
    urgent.placement.priority = 10;
    important.extend(manager.create(vec![manager.new_tasks(&Arc::new(urgent), 1, None)]).await);
    let all_placed = |state: &Arc<ClusterState>| {
        let state_of = |task_id: &TaskId| state.task(*task_id).map(|task| task.status.state);
        important.iter().all(|task_id| state_of(task_id) == Some(TaskState::Scheduled))
    };
    let placed = tokio::time::timeout(LIMIT, versions.wait_for(all_placed)).await.expect("they wait").unwrap();
    assert!(placed.task_count(TaskState::Pending) > 0, "they waited for all others");
}
