//! The writer on a store that works, fails, hangs and recovers.

use std::convert::Infallible;
use std::future::Future as _;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Wake, Waker};

use async_trait::async_trait;
use davit_core::deployment::{DeploymentMode, DeploymentSpec, UpdatePolicy};
use davit_core::id::{DeploymentId, Revision, SessionId, TaskId};
use davit_core::spec::{OnNodeLoss, ProcessSpec, RuntimeSpec, TaskSpec};
use davit_svc_kit::clock::ManualClock;
use davit_svc_kit::readiness::ReadyState;
use jiff::Timestamp;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use uuid::Uuid;

use super::*;
use crate::commands::test_support::{LEASE, keyed, node_id, registration, spec, task_id};
use crate::commands::{
    self, Creation, Limits, NewDeployment, NewTasks, Placement, Registration, Wanted, commit_placements,
    create_deployment, create_tasks, delete_task, register_node, stop_task,
};
use crate::dispatch::{Delivery, Outbox};
use crate::state::KeyedSpec;
use crate::store::{Error, Fault, FaultyStore, MemoryStore, Snapshot};

struct Running {
    handle: Handle,
    readiness: Readiness,
    shutdown: Shutdown,
    task: JoinHandle<()>,
}

async fn start(store: Arc<dyn Store>) -> Running {
    start_with(store, Arc::default()).await
}

async fn start_with(store: Arc<dyn Store>, clock: Arc<ManualClock>) -> Running {
    let (readiness, shutdown) = (Readiness::new(), Shutdown::new());
    let world = World { clock, ..World::real() };
    let (writer, handle) =
        Writer::load(store, Router::default(), &world, readiness.clone(), KeptEvents::default()).await.unwrap();
    let task = tokio::spawn(writer.run(shutdown.clone()));
    readiness.wait_ready().await;
    Running { handle, readiness, shutdown, task }
}

/// A store whose commits wait for leave.
#[derive(Debug, Default)]
struct GatedStore {
    inner: MemoryStore,
    gate: Option<Arc<Semaphore>>,
    commits: Arc<AtomicUsize>,
    fault: Fault,
}

#[async_trait]
impl Store for GatedStore {
    async fn load(&self) -> Result<Snapshot, Error> {
        self.inner.load().await
    }

    async fn commit(&self, batch: Arc<Batch>) -> Result<Revision, Error> {
        self.commits.fetch_add(1, Ordering::SeqCst);
        if let Some(gate) = &self.gate {
            gate.acquire().await.unwrap().forget();
        }
        FaultyStore::new(MemoryStore::default(), self.fault.clone()).check().await?;
        self.inner.commit(batch).await
    }

    async fn check(&self) -> Result<(), Error> {
        FaultyStore::new(MemoryStore::default(), self.fault.clone()).check().await
    }
}

async fn create(handle: Handle, number: u64) -> Result<Creation, WriteError<commands::Error>> {
    let tasks = NewTasks { spec: keyed(spec()), task_ids: vec![task_id(number)], gang_id: None };
    handle.write(move |draft| create_tasks(draft, &[tasks], None, Limits::NONE)).await
}

fn ids(handle: &Handle) -> Vec<TaskId> {
    handle.state().tasks().map(|task| task.task_id).collect()
}

/// Waits for a condition that another task brings about.
async fn until(condition: impl Fn() -> bool) {
    let waiting = async {
        while !condition() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), waiting).await.expect("the condition never came about");
}

/// A writer that holds its first commit at the gate, and waits for the commands of `numbers` to queue behind it.
async fn held(numbers: std::ops::RangeInclusive<u64>) -> (Running, Gate, Vec<JoinHandle<CreateOutcome>>) {
    let gate = Gate { permits: Arc::new(Semaphore::new(0)), commits: Arc::default(), fault: Fault::default() };
    let store = GatedStore {
        gate: Some(Arc::clone(&gate.permits)),
        commits: Arc::clone(&gate.commits),
        fault: gate.fault.clone(),
        ..GatedStore::default()
    };
    let running = start(Arc::new(store)).await;
    let mut callers = Vec::new();
    for number in numbers {
        callers.push(tokio::spawn(create(running.handle.clone(), number)));
        let commits = Arc::clone(&gate.commits);
        until(|| commits.load(Ordering::SeqCst) == 1).await;
    }
    let queued = callers.len() - 1;
    let commands = running.handle.queue.commands.clone();
    until(|| commands.max_capacity() - commands.capacity() == queued).await;
    (running, gate, callers)
}

type CreateOutcome = Result<Creation, WriteError<commands::Error>>;

struct Gate {
    permits: Arc<Semaphore>,
    commits: Arc<AtomicUsize>,
    fault: Fault,
}

#[tokio::test]
async fn a_write_is_answered_when_it_is_stored_and_published() {
    let store = Arc::new(MemoryStore::default());
    let running = start(Arc::clone(&store) as Arc<dyn Store>).await;
    let creation = create(running.handle.clone(), 1).await.unwrap();
    assert_eq!(running.handle.state().revision(), creation.revision);
    assert_eq!(store.load().await.unwrap().revision, creation.revision);
    assert_eq!(ids(&running.handle), [task_id(1)]);
}

#[tokio::test]
async fn commands_that_come_during_a_commit_share_the_next_one() {
    let (running, gate, callers) = held(1..=20).await;
    assert!(callers.iter().all(|caller| !caller.is_finished()), "nobody is answered before the commit");
    assert!(ids(&running.handle).is_empty(), "nothing is published before the commit");
    gate.permits.add_permits(2);
    for caller in callers {
        caller.await.unwrap().unwrap();
    }
    assert_eq!(gate.commits.load(Ordering::SeqCst), 2);
    assert_eq!(ids(&running.handle).len(), 20);
}

#[tokio::test]
async fn a_refused_command_does_not_keep_others_of_its_batch_from_being_committed() {
    let (running, gate, callers) = held(1..=1).await;
    let handle = running.handle.clone();
    let refused = tokio::spawn(async move { handle.write(|draft| stop_task(draft, task_id(99))).await });
    let created = tokio::spawn(create(running.handle.clone(), 2));
    gate.permits.add_permits(10);
    for caller in callers {
        caller.await.unwrap().unwrap();
    }
    let not_found = commands::Error::TaskNotFound { task_id: task_id(99) };
    assert_eq!(refused.await.unwrap().unwrap_err(), WriteError::Refused(not_found));
    created.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_failing_store_changes_nothing_and_the_manager_says_why_until_it_recovers() {
    let fault = Fault::default();
    let store = Arc::new(FaultyStore::new(MemoryStore::default(), fault.clone()));
    let running = start(Arc::clone(&store) as Arc<dyn Store>).await;
    create(running.handle.clone(), 1).await.unwrap();
    let before = running.handle.state();

    fault.set("the disk is full");
    let unavailable = Error::Unavailable { problem: "the disk is full".to_owned() };
    let failed = create(running.handle.clone(), 2).await;
    assert_eq!(failed, Err(WriteError::NotCommitted(unavailable.clone())));
    assert!(Arc::ptr_eq(&before, &running.handle.state()), "nothing was published");
    assert_eq!(store.load().await.unwrap().revision, before.revision());
    let mut readiness = running.readiness.watch();
    let told = readiness.wait_for(|state| *state != ReadyState::Ready).await.unwrap().clone();
    assert_eq!(told, ReadyState::NotReady { reason: unavailable.to_string() });

    fault.clear();
    tokio::time::timeout(Duration::from_secs(10), running.readiness.wait_ready()).await.expect("it looks by itself");
    let creation = create(running.handle.clone(), 3).await.unwrap();
    assert_eq!(creation.revision, before.revision().next(), "the failed write left no gap");
    assert_eq!(ids(&running.handle), [task_id(1), task_id(3)]);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_fails_is_not_tried_by_every_command() {
    let (commits, fault) = (Arc::new(AtomicUsize::new(0)), Fault::default());
    let store = GatedStore { commits: Arc::clone(&commits), fault: fault.clone(), ..GatedStore::default() };
    let running = start(Arc::new(store)).await;
    fault.set("the disk is full");
    for number in 0..100 {
        assert!(matches!(create(running.handle.clone(), number).await, Err(WriteError::NotCommitted(_))));
    }
    assert_eq!(commits.load(Ordering::SeqCst), 1);
    fault.clear();
    running.readiness.wait_ready().await;
    create(running.handle.clone(), 1).await.unwrap();
}

#[tokio::test]
async fn nobody_is_answered_by_a_change_that_was_not_committed() {
    let (running, gate, callers) = held(1..=1).await;
    let handles = [running.handle.clone(), running.handle.clone()];
    let [deleting, stopping] = handles;
    // Both in one batch: the second finds nothing, because of a deletion that then is not committed.
    let deleted = tokio::spawn(async move { deleting.write(|draft| delete_task(draft, task_id(1), true)).await });
    let commands = running.handle.queue.commands.clone();
    until(|| commands.max_capacity() - commands.capacity() == 1).await;
    let stopped = tokio::spawn(async move { stopping.write(|draft| stop_task(draft, task_id(1))).await });
    until(|| commands.max_capacity() - commands.capacity() == 2).await;
    gate.permits.add_permits(1);
    for caller in callers {
        caller.await.unwrap().unwrap();
    }
    gate.fault.set("the disk is full");
    gate.permits.add_permits(1);
    assert!(matches!(deleted.await.unwrap(), Err(WriteError::NotCommitted(_))));
    assert!(matches!(stopped.await.unwrap(), Err(WriteError::NotCommitted(_))));
    assert_eq!(ids(&running.handle), [task_id(1)]);
}

#[tokio::test]
async fn effects_happen_after_the_commit_and_only_if_it_worked() {
    let fault = Fault::default();
    let running = start(Arc::new(FaultyStore::new(MemoryStore::default(), fault.clone()))).await;
    let seen = Arc::new(AtomicUsize::new(0));
    let join = |number: u64| {
        let (seen, handle) = (Arc::clone(&seen), running.handle.clone());
        async move {
            let joined = handle.write_with_effects(move |draft, effects| {
                let node = register_node(draft, registration(number), LEASE);
                effects.push(Box::new(move |_, state| {
                    assert!(state.node(node_id(number)).is_some(), "an effect sees the new state");
                    seen.fetch_add(1, Ordering::SeqCst);
                }));
                node
            });
            joined.await
        }
    };
    join(1).await.unwrap();
    assert_eq!(seen.load(Ordering::SeqCst), 1);
    fault.set("the disk is full");
    join(2).await.unwrap_err();
    assert_eq!(seen.load(Ordering::SeqCst), 1);
}

/// A session that looks at what the cluster publishes in the very moment in which it is told of something.
struct Hasty {
    handle: Handle,
    seen: AtomicU64,
}

impl Wake for Hasty {
    fn wake(self: Arc<Self>) {
        self.seen.store(self.handle.state().revision().0, Ordering::SeqCst);
    }
}

#[tokio::test]
async fn what_a_worker_is_told_of_is_published_by_then() {
    let running = start(Arc::new(MemoryStore::default())).await;
    let outbox = Arc::new(Outbox::new(SessionId(Uuid::from_u128(1))));
    let of_session = Arc::clone(&outbox);
    let registered = running.handle.write_with_effects(move |draft, effects| {
        effects.push(Box::new(move |router, state| router.attach(node_id(1), of_session, state)));
        register_node(draft, registration(1), LEASE)
    });
    registered.await.unwrap();
    assert!(matches!(outbox.next().await, Delivery::FullSet(..)));
    create(running.handle.clone(), 1).await.unwrap();
    let hasty = Arc::new(Hasty { handle: running.handle.clone(), seen: AtomicU64::new(0) });
    let waker = Waker::from(Arc::clone(&hasty));
    let mut next = Box::pin(outbox.next());
    assert!(next.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    let key = running.handle.state().task(task_id(1)).unwrap().key();
    let place = move |draft: &mut Draft| {
        Ok::<_, Infallible>(commit_placements(draft, &[Placement { key, node_id: node_id(1) }]).committed)
    };
    assert_eq!(running.handle.write(place).await.unwrap(), 1);
    assert_eq!(hasty.seen.load(Ordering::SeqCst), running.handle.state().revision().0);
    assert!(next.as_mut().poll(&mut Context::from_waker(&waker)).is_ready());
}

#[tokio::test]
async fn after_shutdown_nothing_is_written_and_callers_are_told() {
    let (running, gate, mut callers) = held(1..=3).await;
    running.shutdown.trigger();
    gate.permits.add_permits(1);
    running.task.await.unwrap();
    let waiting = callers.split_off(1);
    callers.remove(0).await.unwrap().expect("what was being committed is answered");
    for caller in waiting {
        assert_eq!(caller.await.unwrap(), Err(WriteError::Stopping));
    }
    assert_eq!(create(running.handle.clone(), 9).await, Err(WriteError::Stopping));
    assert_eq!(ids(&running.handle), [task_id(1)]);
}

#[tokio::test(start_paused = true)]
async fn a_commit_that_does_not_end_is_told_as_long_as_it_hangs() {
    let (running, gate, callers) = held(1..=1).await;
    assert!(running.readiness.is_ready(), "it may be slow and no more");
    tokio::time::sleep(Duration::from_secs(11)).await;
    let ReadyState::NotReady { reason } = running.readiness.get() else { panic!("nobody is told") };
    assert!(reason.contains("the store hangs") && reason.contains("10 s"), "{reason}");
    assert_eq!(ids(&running.handle), [], "reads go on");
    gate.permits.add_permits(1);
    for caller in callers {
        caller.await.unwrap().unwrap();
    }
    assert!(running.readiness.is_ready());
    // One that hangs and then fails is one that fails.
    let failing = tokio::spawn(create(running.handle.clone(), 2));
    tokio::time::sleep(Duration::from_secs(11)).await;
    gate.fault.set("the disk is gone");
    gate.permits.add_permits(1);
    assert!(matches!(failing.await.unwrap(), Err(WriteError::NotCommitted(_))));
    let ReadyState::NotReady { reason } = running.readiness.get() else { panic!("nobody is told") };
    assert!(reason.contains("the disk is gone"), "{reason}");
    gate.fault.clear();
    running.readiness.wait_ready().await;
}

#[tokio::test(start_paused = true)]
async fn a_commit_that_never_ends_does_not_keep_the_writer_from_stopping() {
    let (running, _gate, callers) = held(1..=1).await;
    let began = Instant::now();
    running.shutdown.trigger();
    running.task.await.unwrap();
    assert_eq!(began.elapsed(), LAST_BATCH_TIME);
    for caller in callers {
        assert!(caller.await.unwrap().is_err());
    }
}

#[tokio::test]
async fn a_command_without_a_change_commits_nothing() {
    let (running, gate, callers) = held(1..=1).await;
    gate.permits.add_permits(1);
    for caller in callers {
        caller.await.unwrap().unwrap();
    }
    let revision = running.handle.write(|draft| Ok::<_, Infallible>(draft.state().revision())).await;
    assert_eq!(revision, Ok(Revision(1)));
    assert_eq!(gate.commits.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn what_its_caller_took_back_before_its_turn_is_never_done() {
    let (running, gate, mut callers) = held(1..=3).await;
    // The second is queued: its caller goes, as one does whose deadline has passed. What it held is free at once.
    let (kept, held_by_command) = (Arc::new(()), Arc::new(()));
    let also_held = Arc::clone(&held_by_command);
    let handle = running.handle.clone();
    let gone = tokio::spawn(async move {
        handle
            .write(move |draft| {
                let _held = also_held;
                stop_task(draft, task_id(1))
            })
            .await
    });
    let commands = running.handle.queue.commands.clone();
    until(|| commands.max_capacity() - commands.capacity() == 3).await;
    gone.abort();
    assert!(gone.await.unwrap_err().is_cancelled());
    assert_eq!(Arc::strong_count(&held_by_command), Arc::strong_count(&kept), "its memory is held by the queue");
    let second = callers.remove(1);
    second.abort();
    assert!(second.await.unwrap_err().is_cancelled());
    gate.permits.add_permits(2);
    for caller in callers {
        caller.await.unwrap().unwrap();
    }
    assert_eq!(ids(&running.handle), [task_id(1), task_id(3)]);
    let first = running.handle.state().task(task_id(1)).cloned().unwrap();
    assert_eq!(first.desired_state, davit_core::task::DesiredState::Running);
}

#[tokio::test]
async fn what_was_begun_is_done_though_its_caller_is_gone() {
    let (running, gate, callers) = held(1..=1).await;
    for caller in callers {
        caller.abort();
        assert!(caller.await.unwrap_err().is_cancelled());
    }
    gate.permits.add_permits(1);
    until(|| ids(&running.handle) == [task_id(1)]).await;
}

#[tokio::test(start_paused = true)]
async fn behind_a_store_that_hangs_everyone_is_answered_and_exactly_what_was_answered_ok_is_there() {
    const CALLERS: u64 = 10_000;
    let (running, gate, first) = held(1..=1).await;
    let users = running.handle.for_users();
    let callers: Vec<_> = (2..=CALLERS).map(|number| tokio::spawn(create(users.clone(), number))).collect();
    let queue = users.queue.commands.clone();
    until(|| queue.capacity() == 0).await;
    let mut told = Vec::new();
    for caller in callers {
        match caller.await.unwrap() {
            Err(WriteError::Overloaded { retry_after }) => told.push(retry_after),
            other => panic!("{other:?}"),
        }
    }
    assert!(told.iter().all(|delay| *delay > Duration::from_secs(1)), "the store hangs for seconds already");
    // The cluster's own commands have a queue that users do not fill.
    let own = tokio::spawn(create(running.handle.clone(), CALLERS + 1));
    gate.permits.add_permits(10);
    for caller in first {
        caller.await.unwrap().unwrap();
    }
    own.await.unwrap().unwrap();
    assert_eq!(ids(&running.handle), [task_id(1), task_id(CALLERS + 1)]);
    create(users, CALLERS + 2).await.unwrap();
}

#[tokio::test]
async fn neither_users_nor_the_cluster_itself_hold_up_the_other() {
    let (running, gate, callers) = held(1..=1).await;
    let (own, users) = (running.handle.clone(), running.handle.for_users());
    let fill = |handle: &Handle, from: u64| -> Vec<_> {
        (from..from + QUEUE as u64).map(|number| tokio::spawn(create(handle.clone(), number))).collect()
    };
    let mut waiting = fill(&own, 10_000);
    waiting.extend(fill(&users, 20_000));
    until(|| own.queue.commands.capacity() == 0 && users.queue.commands.capacity() == 0).await;
    gate.permits.add_permits(2);
    for caller in callers.into_iter().chain(waiting) {
        caller.await.unwrap().unwrap();
    }
    assert_eq!(gate.commits.load(Ordering::SeqCst), 2, "both queues went in one batch");
}

#[tokio::test]
async fn what_changes_nothing_says_nothing_of_a_store_that_fails() {
    let fault = Fault::default();
    let running = start(Arc::new(FaultyStore::new(MemoryStore::default(), fault.clone()))).await;
    fault.set("disk full");
    create(running.handle.clone(), 1).await.unwrap_err();
    until(|| !running.readiness.is_ready()).await;
    running.handle.write(|_| Ok::<_, Infallible>(())).await.unwrap();
    // Commands are run one after the other, so that the first one's outcome was noted when the second one is done.
    running.handle.write(|_| Ok::<_, Infallible>(())).await.unwrap();
    assert!(!running.readiness.is_ready());
    running.shutdown.trigger();
    running.task.await.unwrap();
}

#[tokio::test]
async fn a_clock_that_is_set_does_not_end_a_lease() {
    let clock = Arc::new(ManualClock::default());
    let running = start_with(Arc::new(MemoryStore::default()), Arc::clone(&clock)).await;
    let leased = TaskSpec { on_node_loss: OnNodeLoss::StopAndReplace, ..spec() };
    let tasks = NewTasks { spec: keyed(leased), task_ids: vec![task_id(1)], gang_id: None };
    let place = |draft: &mut Draft| {
        let key = draft.state().task(task_id(1)).unwrap().key();
        Ok::<_, Infallible>(commit_placements(draft, &[Placement { key, node_id: node_id(1) }]).committed)
    };
    let another = Registration { worker_run: Some(Uuid::from_u128(2)), ..registration(1) };
    running.handle.write(|draft| register_node(draft, registration(1), LEASE)).await.unwrap();
    running.handle.write(move |draft| create_tasks(draft, &[tasks], None, Limits::NONE)).await.unwrap();
    assert_eq!(running.handle.write(place).await.unwrap(), 1);
    running.handle.write(|draft| register_node(draft, another, LEASE)).await.unwrap();
    let wait = running.handle.state().task(task_id(1)).unwrap().leased_until.unwrap().duration_since(clock.now());
    clock.set(clock.now() + wait * 2);
    assert_eq!(running.handle.write(place).await.unwrap(), 0);
    clock.advance(wait.unsigned_abs());
    assert_eq!(running.handle.write(place).await.unwrap(), 1);
}

#[tokio::test]
async fn that_a_deployment_was_looked_at_is_kept_without_a_commit_and_wakes_nobody() {
    let store = GatedStore::default();
    let commits = Arc::clone(&store.commits);
    let running = start(Arc::new(store)).await;
    let deployment_id = DeploymentId(Uuid::from_u128(7));
    let process = ProcessSpec { command: vec!["true".to_owned()], env: [].into(), working_dir: String::new() };
    let task = Arc::new(TaskSpec::new("web", RuntimeSpec::Process(process)));
    let spec = DeploymentSpec {
        labels: [].into(),
        mode: DeploymentMode::Global,
        task: Arc::clone(&task),
        update: UpdatePolicy::default(),
        rollback: None,
        kept_versions: 1,
        app: String::new(),
        start_after: Vec::new(),
    };
    let wanted = Wanted { spec, task: KeyedSpec::new(task), author: String::new() };
    let new = NewDeployment { deployment_id, name: "web".to_owned(), wanted, request: None };
    running.handle.write(move |draft| create_deployment(draft, new, Limits::NONE)).await.unwrap();
    assert_eq!(running.handle.state().deployments_to_look_at(Timestamp::MIN), [deployment_id]);
    let (mut changes, before) = (running.handle.watch(), commits.load(Ordering::SeqCst));
    changes.mark_unchanged();
    let note = move |draft: &mut Draft| {
        draft.note_looked_at(deployment_id, None);
        Ok::<(), Infallible>(())
    };
    running.handle.write(note).await.unwrap();
    assert_eq!(running.handle.state().deployments_to_look_at(Timestamp::MAX), []);
    assert!(!changes.has_changed().unwrap() && commits.load(Ordering::SeqCst) == before);
}
