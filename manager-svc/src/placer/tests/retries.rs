//! What does not work is tried again, ever later, and tasks say what they wait for. Time is paused: it passes once nothing is
//! left to do without it.

use davit_svc_kit::net::Dialer;
use tokio::time::Instant;

use super::moody_scheduler::{Mood, MoodyScheduler};
use super::*;
use crate::commands::test_support::{LEASE, keyed};
use crate::store::{Fault, FaultyStore, MemoryStore};

const MINUTE: Duration = Duration::from_secs(60);

/// A manager with one node, its placer, and the scheduler that it asks.
struct Bench {
    writer: Handle,
    fault: Fault,
    scheduler: MoodyScheduler,
    shutdown: Shutdown,
}

impl Bench {
    async fn start(mood: Mood) -> Self {
        let (scheduler, fault, shutdown) = (MoodyScheduler::new(mood), Fault::default(), Shutdown::new());
        let world = World {
            clock: Arc::new(ManualClock::new(Timestamp::from_second(1_000_000).unwrap())),
            // Every wait is as long as it may be.
            fractions: Arc::new(|| 1.0),
            dialer: Dialer::new(Arc::new(scheduler.clone())),
            ..World::real()
        };
        let store = Arc::new(FaultyStore::new(MemoryStore::default(), fault.clone()));
        let loaded = Writer::load(store, Router::default(), &world, Readiness::new(), KeptEvents::default()).await;
        let (it, writer) = loaded.unwrap();
        tokio::spawn(it.run(shutdown.clone()));
        start_placer(writer.clone(), world, "http://scheduler:7410".to_owned(), &shutdown);
        let bench = Self { writer, fault, scheduler, shutdown };
        bench.write(|draft| register_node(draft, registration(1), LEASE).unwrap()).await;
        bench
    }

    async fn write<T: Send + 'static>(&self, command: impl FnOnce(&mut Draft) -> T + Send + 'static) -> T {
        self.writer.write(move |draft| Ok::<T, Infallible>(command(draft))).await.unwrap()
    }

    async fn create_task(&self) {
        self.create_tasks(1).await;
    }

    async fn create_tasks(&self, count: u64) {
        let task_ids = (1..=count).map(task_id).collect();
        let tasks = [NewTasks { spec: keyed(spec()), task_ids, gang_id: None }];
        self.write(move |draft| create_tasks(draft, &tasks, None, Limits::NONE).unwrap()).await;
    }

    /// Waits until the task is in this state with this in its reason; how long that took.
    async fn until(&self, state: TaskState, reason: &str) -> Duration {
        let (began, mut versions) = (Instant::now(), self.writer.watch());
        let status = |cluster: &ClusterState| cluster.task(task_id(1)).unwrap().status.clone();
        let holds = |cluster: &Arc<ClusterState>| {
            let status = status(cluster);
            status.state == state && status.reason.contains(reason)
        };
        if tokio::time::timeout(MINUTE, versions.wait_for(holds)).await.is_err() {
            panic!("not {state} for `{reason}`: {:?}", status(&self.writer.state()));
        }
        began.elapsed()
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.shutdown.trigger();
    }
}

/// How long it was from each to the next.
fn gaps(times: &[Instant]) -> Vec<Duration> {
    times.windows(2).map(|pair| pair[1] - pair[0]).collect()
}

#[tokio::test(start_paused = true)]
async fn a_scheduler_that_is_busy_is_left_alone_for_as_long_as_it_asks_and_the_task_says_what_it_waits_for() {
    let bench = Bench::start(Mood::Busy(Duration::from_secs(3))).await;
    bench.create_task().await;
    let told = bench.until(TaskState::Pending, "no scheduler: 64 streams are open (ResourceExhausted)").await;
    assert!(told < Duration::from_secs(4), "{told:?}");
    tokio::time::sleep(MINUTE).await;
    let opened = bench.scheduler.opened();
    assert!(gaps(&opened).iter().all(|gap| *gap == Duration::from_secs(3)), "{opened:?}");
    assert!(opened.len() > 15, "nor is it given up: {opened:?}");

    // However long it asks for, it may be free before.
    bench.scheduler.set_mood(Mood::Busy(10 * MINUTE));
    tokio::time::sleep(MINUTE).await;
    bench.scheduler.set_mood(Mood::Places);
    assert!(bench.until(TaskState::Scheduled, "").await <= LONGEST_ASKED);
}

#[tokio::test(start_paused = true)]
async fn a_scheduler_that_says_nothing_is_dialled_anew_after_ten_seconds_and_the_task_says_so() {
    for mood in [Mood::Deaf, Mood::Silent] {
        let bench = Bench::start(mood).await;
        bench.create_task().await;
        bench.until(TaskState::Pending, "no scheduler: no answer within 10 s").await;
        tokio::time::sleep(MINUTE).await;
        let opened = bench.scheduler.opened();
        let in_time = |gap: &Duration| (10..=12).contains(&gap.as_secs());
        assert!(opened.len() > 4 && gaps(&opened).iter().all(in_time), "{mood:?}: {opened:?}");
        bench.scheduler.set_mood(Mood::Places);
        bench.until(TaskState::Scheduled, "").await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_scheduler_that_breaks_every_stream_is_dialled_ever_later() {
    let bench = Bench::start(Mood::Broken).await;
    bench.create_task().await;
    bench.until(TaskState::Pending, "no scheduler: it broke (Internal)").await;
    tokio::time::sleep(MINUTE).await;
    let gaps = gaps(&bench.scheduler.opened());
    assert!(gaps.is_sorted() && gaps.first() == Some(&REDIAL.0) && gaps.last() == Some(&REDIAL.1), "{gaps:?}");
    bench.scheduler.set_mood(Mood::Places);
    bench.until(TaskState::Scheduled, "").await;
}

#[tokio::test(start_paused = true)]
async fn placements_that_cannot_be_committed_are_asked_for_again_ever_later() {
    let bench = Bench::start(Mood::Busy(Duration::ZERO)).await;
    bench.create_task().await;
    bench.fault.set("the disk is full");
    bench.scheduler.set_mood(Mood::Places);
    tokio::time::sleep(MINUTE).await;
    let gaps = gaps(&bench.scheduler.batches());
    let longest = NOT_COMMITTED.1;
    assert!(gaps.is_sorted() && gaps.first() == Some(&NOT_COMMITTED.0) && gaps.last() == Some(&longest), "{gaps:?}");
    let opened = bench.scheduler.opened();
    bench.fault.clear();
    assert!(bench.until(TaskState::Scheduled, "").await <= 2 * longest);
    assert_eq!(bench.scheduler.opened(), opened, "that is no reason to dial anew");
}

#[tokio::test(start_paused = true)]
async fn a_writer_that_is_overloaded_delays_placements_and_breaks_no_stream() {
    let bench = Bench::start(Mood::Busy(Duration::ZERO)).await;
    bench.create_task().await;
    bench.fault.hang();
    // Something else is being committed, for ever.
    let writer = bench.writer.clone();
    let other = move |draft: &mut Draft| Ok::<_, Infallible>(register_node(draft, registration(2), LEASE).unwrap());
    let other = tokio::spawn(async move { writer.write(other).await });
    tokio::time::sleep(Duration::from_secs(1)).await;
    bench.scheduler.set_mood(Mood::Places);
    tokio::time::sleep(MINUTE).await;
    let (opened, gaps) = (bench.scheduler.opened(), gaps(&bench.scheduler.batches()));
    // So long a command waits for its turn.
    let turn = Duration::from_secs(5);
    assert!(gaps.len() > 5 && gaps.iter().all(|gap| *gap > turn && *gap <= turn + NOT_COMMITTED.1), "{gaps:?}");
    bench.fault.clear();
    other.await.unwrap().unwrap();
    bench.until(TaskState::Scheduled, "").await;
    assert_eq!(bench.scheduler.opened(), opened, "that is no reason to dial anew");
}

#[tokio::test(start_paused = true)]
async fn why_a_task_fits_nowhere_is_told_once_it_can_be_written() {
    let bench = Bench::start(Mood::Busy(Duration::ZERO)).await;
    bench.create_task().await;
    bench.fault.set("the disk is full");
    bench.scheduler.set_mood(Mood::Full("fits 0 of 1 nodes"));
    tokio::time::sleep(MINUTE).await;
    bench.fault.clear();
    bench.until(TaskState::Pending, "fits 0 of 1 nodes").await;
}

#[tokio::test(start_paused = true)]
async fn what_fits_nowhere_costs_nothing_while_nothing_changes() {
    let bench = Bench::start(Mood::Full("fits 0 of 1 node: 1 lacks cpu")).await;
    bench.create_tasks(100).await;
    let all_told = |cluster: &Arc<ClusterState>| {
        let mut waiting = cluster.placeable(Timestamp::MAX);
        waiting.all(|task| task.status.reason.contains("lacks cpu"))
    };
    let mut versions = bench.writer.watch();
    drop(tokio::time::timeout(MINUTE, versions.wait_for(all_told)).await.expect("all are told").unwrap());
    // Nothing is under way any more once time passes.
    tokio::time::sleep(Duration::from_millis(1)).await;
    let (state, batches) = (bench.writer.state(), bench.scheduler.batches());
    let before = state.visited();
    tokio::time::sleep(MINUTE).await;
    assert_eq!(state.visited(), before);
    assert_eq!(bench.scheduler.batches(), batches);
    assert_eq!(bench.writer.state().revision(), state.revision());
}
