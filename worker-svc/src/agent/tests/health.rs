//! Attempts that have a health check. Time is paused, and all clocks follow it.

use davit_core::restart::{RestartMode, RestartPolicy};
use davit_core::spec::{HealthCheck, Probe, StopPolicy};
use davit_svc_kit::clock::Clock;

use super::*;
use crate::memory::{IdleMeter, MemoryHome};
use crate::runtime::{Probed, RuntimeKind};

const SECOND: Duration = Duration::from_secs(1);
const OWNER: fn() -> Owner = || Owner { cluster: "test".to_owned(), node_id: NODE };

/// Goes as tokio's time does.
struct TokioClock(Instant);

impl Clock for TokioClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_second(1_000_000).unwrap().checked_add(self.0.elapsed()).unwrap()
    }

    fn uptime(&self) -> Duration {
        SECOND * 1000 + self.0.elapsed()
    }
}

/// A machine, and what is told of it by the worker that it has.
struct Bench {
    engine: FakeEngine,
    machine: Machine,
    world: World,
    agent: Arc<Agent>,
}

impl Bench {
    async fn new() -> Self {
        let clock = Arc::new(TokioClock(Instant::now()));
        let engine = FakeEngine::new(Arc::<TokioClock>::clone(&clock));
        let factory = engine.clone();
        let runtimes = move |owner: &Owner| {
            vec![Arc::new(factory.runtime(owner.clone(), RuntimeKind::Docker)) as Arc<dyn Runtime>]
        };
        let (home, meter) = (Arc::new(MemoryHome::new(NODE)), Arc::new(IdleMeter(Resources::ZERO)));
        let machine = Machine { home, meter, runtimes: Arc::new(runtimes) };
        let world = World { clock, fractions: Arc::new(|| 0.5), ..World::real() };
        let agent = start(&machine, &world).await;
        let bench = Self { engine, machine, world, agent };
        bench.begin_session();
        bench.agent.assign(Batch { full: true, last: true, ..Batch::default() });
        bench
    }

    /// With one that runs.
    async fn with(spec: TaskSpec) -> Self {
        let bench = Self::new().await;
        bench.assign(&spec, false);
        bench.until(|status| status.state == TaskState::Running).await;
        bench
    }

    fn begin_session(&self) {
        self.agent.begin_session(SECOND * 1000, None);
    }

    fn assign(&self, spec: &TaskSpec, full: bool) {
        let assignments = vec![Assignment { spec: spec.clone().into(), ..assignment(1) }];
        self.agent.assign(Batch { assignments, full, last: full, ..Batch::default() });
    }

    fn want(&self, spec: &TaskSpec, desired_state: DesiredState) {
        let assignments = vec![Assignment { spec: spec.clone().into(), desired_state, ..assignment(1) }];
        self.agent.assign(Batch { assignments, ..Batch::default() });
    }

    /// The worker is killed and started anew.
    async fn restart_worker(&mut self) {
        self.agent.shut_down().await;
        self.agent = start(&self.machine, &self.world).await;
    }

    fn status(&self) -> AttemptStatus {
        self.agent.statuses().remove(0).1
    }

    /// Waits for a status such as this one.
    async fn until(&self, holds: impl Fn(&AttemptStatus) -> bool) -> AttemptStatus {
        let mut changes = self.agent.changes();
        let waits = async {
            loop {
                changes.borrow_and_update();
                if let Some((_, status)) = self.agent.statuses().into_iter().find(|(_, status)| holds(status)) {
                    return status;
                }
                changes.changed().await.unwrap();
            }
        };
        tokio::time::timeout(SECOND * 3600, waits).await.unwrap_or_else(|_| panic!("still {:?}", self.status()))
    }

    fn probes(&self, probed: &Probed) {
        assert!(self.engine.set_probed(&OWNER(), key(1), probed));
    }

    fn count(&self, step: Step) -> usize {
        self.engine.calls().iter().filter(|call| call.step == step).count()
    }
}

async fn start(machine: &Machine, world: &World) -> Arc<Agent> {
    let parts = Parts {
        node_name: "node".to_owned(),
        runtimes: (machine.runtimes)(&OWNER()),
        owner: OWNER(),
        store: LocalStore::open(machine.home.store("test")).await.unwrap(),
        retention: SECOND * 10_000,
        allocatable: Resources::ZERO,
        lease: Duration::MAX,
        cluster_id: Some(CLUSTER_ID),
    };
    Agent::start(parts, world.clone()).await
}

fn failing() -> Probed {
    Probed::Failing("answered 503".to_owned())
}

/// With an interval of 10 s, and unhealthy after three failures.
fn spec(orders: &[(&str, &str)]) -> TaskSpec {
    let headers = [].into();
    let probe = Probe::Http { port: 8080, path: "/health".to_owned(), headers };
    TaskSpec {
        labels: orders.iter().map(|(order, value)| (format!("fake.{order}"), (*value).to_owned())).collect(),
        health_check: Some(Box::new(HealthCheck::new(probe))),
        ..TaskSpec::clone(&assignment(1).spec)
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_check_it_is_ready_from_its_start_on_and_never_probed() {
    let plain = TaskSpec { health_check: None, ..spec(&[]) };
    let bench = Bench::with(plain).await;
    assert!(bench.status().ready);
    tokio::time::sleep(SECOND * 100).await;
    assert_eq!(bench.count(Step::Probe), 0);
}

#[tokio::test(start_paused = true)]
async fn it_is_ready_once_a_probe_succeeds_and_says_why_not_before() {
    let began = Instant::now();
    let bench = Bench::with(spec(&[("healthy_after_ms", "5000")])).await;
    let started = bench.status();
    assert!(!started.ready && started.reason.is_empty(), "{started:?}");
    let waits = bench.until(|status| !status.reason.is_empty()).await;
    assert_eq!(waits.reason, "not ready yet: http GET :8080/health is not ready yet");
    let ready = bench.until(|status| status.ready).await;
    assert_eq!((ready.state, ready.reason.as_str()), (TaskState::Running, ""));
    assert!(ready.sequence > waits.sequence && waits.sequence > started.sequence);
    // Probes come early at first: after 1, 3 and 7 s.
    assert_eq!(began.elapsed().as_secs(), 7);
    tokio::time::sleep(SECOND * 105).await;
    assert_eq!((bench.count(Step::Probe), bench.status()), (13, ready), "and as the check says later");
}

#[tokio::test(start_paused = true)]
async fn what_turns_unhealthy_is_stopped_and_fails_with_the_reason() {
    let bench = Bench::with(spec(&[("unhealthy_after_ms", "60000"), ("ignores_stop", "true")])).await;
    bench.until(|status| status.ready).await;
    let told = bench.until(|status| !status.ready).await;
    let reason = "unhealthy: http GET :8080/health is out of order (3 times in a row)";
    assert_eq!((told.state, told.reason.as_str()), (TaskState::Running, reason));
    let failed = bench.until(|status| status.state != TaskState::Running).await;
    assert_eq!((failed.state, failed.reason.as_str()), (TaskState::Failed, reason));
    assert_eq!((failed.exit_code, failed.ready), (Some(137), false));
    let ran_for = failed.finished_at.unwrap().duration_since(failed.started_at.unwrap()).as_secs();
    assert!((90..=100).contains(&ran_for), "three probes and the grace: {ran_for}");
    assert_eq!((bench.count(Step::Signal), bench.count(Step::Kill)), (1, 1));
    let probes = bench.count(Step::Probe);
    tokio::time::sleep(SECOND * 100).await;
    assert_eq!(bench.count(Step::Probe), probes, "what has ended is probed no more");
}

#[tokio::test(start_paused = true)]
async fn what_never_serves_fails_once_its_start_period_is_over() {
    let check = HealthCheck { start_period: SECOND * 100, ..*spec(&[]).health_check.unwrap() };
    let spec = TaskSpec { health_check: Some(Box::new(check)), ..spec(&[("healthy_after_ms", "999999")]) };
    let bench = Bench::with(spec).await;
    let failed = bench.until(|status| status.state == TaskState::Failed).await;
    let ran_for = failed.finished_at.unwrap().duration_since(failed.started_at.unwrap()).as_secs();
    assert!((120..=131).contains(&ran_for), "{ran_for}");
}

#[tokio::test(start_paused = true)]
async fn failures_that_are_not_in_a_row_leave_it_ready_and_are_not_told() {
    let bench = Bench::with(spec(&[])).await;
    let ready = bench.until(|status| status.ready).await;
    for _ in 0..5 {
        bench.probes(&failing());
        tokio::time::sleep(SECOND * 20).await;
        bench.probes(&Probed::Healthy);
        tokio::time::sleep(SECOND * 10).await;
    }
    assert_eq!(bench.status(), ready);
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_does_not_answer_says_nothing_of_what_it_runs() {
    let bench = Bench::with(spec(&[])).await;
    let ready = bench.until(|status| status.ready).await;
    bench.engine.set_failing(Step::Probe, Some("out of order"));
    tokio::time::sleep(SECOND * 1000).await;
    assert_eq!(bench.status(), ready);
    bench.engine.set_failing(Step::Probe, None);
    bench.probes(&failing());
    bench.until(|status| status.state == TaskState::Failed).await;
}

#[tokio::test(start_paused = true)]
async fn who_asks_for_a_stop_gets_one_whatever_the_check_says() {
    let stop = StopPolicy { grace: SECOND * 60, ..StopPolicy::default() };
    let spec = TaskSpec { stop, ..spec(&[("ignores_stop", "true")]) };
    let bench = Bench::with(spec.clone()).await;
    bench.until(|status| status.ready).await;
    bench.probes(&failing());
    bench.until(|status| !status.ready).await;
    bench.want(&spec, DesiredState::Stopped);
    let ended = bench.until(|status| status.state.is_terminal()).await;
    assert_eq!(ended.state, TaskState::Stopped, "{ended:?}");
}

#[tokio::test(start_paused = true)]
async fn a_restarted_worker_keeps_what_is_known_and_probes_on() {
    for is_ready in [true, false] {
        let spec = spec(&[("healthy_after_ms", if is_ready { "0" } else { "8000" })]);
        let mut bench = Bench::with(spec.clone()).await;
        bench.until(|status| status.ready == is_ready && (is_ready || !status.reason.is_empty())).await;
        bench.restart_worker().await;
        let (status, probes) = (bench.status(), bench.count(Step::Probe));
        assert_eq!((status.state, status.ready), (TaskState::Running, is_ready));
        bench.begin_session();
        bench.assign(&spec, true);
        bench.until(|status| status.ready).await;
        tokio::time::sleep(SECOND * 11).await;
        assert!(bench.count(Step::Probe) > probes);
        assert_eq!((bench.count(Step::Start), bench.count(Step::Stop)), (1, 0), "nothing was disturbed");
    }
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_is_restarted_amid_the_stop_knows_why_it_was() {
    for ends_meanwhile in [false, true] {
        let stop = StopPolicy { grace: SECOND * 60, ..StopPolicy::default() };
        let spec = TaskSpec { stop, ..spec(&[("ignores_stop", "true")]) };
        let mut bench = Bench::with(spec.clone()).await;
        bench.until(|status| status.ready).await;
        bench.probes(&failing());
        bench.until(|status| !status.ready).await;
        tokio::time::sleep(SECOND).await;
        assert_eq!(bench.count(Step::Signal), 1);
        bench.agent.shut_down().await;
        if ends_meanwhile {
            assert!(bench.engine.end(&OWNER(), key(1), 0));
        }
        bench.restart_worker().await;
        bench.begin_session();
        bench.assign(&spec, true);
        let failed = bench.until(|status| status.state.is_terminal()).await;
        assert_eq!(failed.state, TaskState::Failed, "{failed:?}");
        assert!(failed.reason.starts_with("unhealthy: http GET :8080/health answered 503"), "{}", failed.reason);
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_not_this_workers_to_stop_goes_on() {
    let spec = spec(&[]);
    let mut bench = Bench::with(spec.clone()).await;
    bench.until(|status| status.ready).await;
    bench.restart_worker().await;
    // It has not heard yet whether the manager still wants it here; another worker may be in its place.
    bench.begin_session();
    bench.agent.has_rival();
    bench.probes(&failing());
    bench.until(|status| !status.ready).await;
    tokio::time::sleep(SECOND * 100).await;
    assert_eq!(bench.count(Step::Stop), 0);
    // In charge, and told so.
    bench.begin_session();
    bench.assign(&spec, true);
    bench.until(|status| status.state == TaskState::Failed).await;
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_is_cut_off_restarts_what_is_unhealthy_and_probes_it_anew() {
    let restart = RestartPolicy { mode: RestartMode::OnFailure, ..RestartPolicy::default() };
    let spec = TaskSpec { restart, ..spec(&[("unhealthy_after_ms", "60000")]) };
    let bench = Bench::with(spec).await;
    bench.until(|status| status.ready).await;
    bench.agent.end_session();
    bench.agent.link.send_modify(|link| link.heartbeat_period = SECOND);
    let restarted = bench.until(|status| status.local_restarts == 1 && status.state == TaskState::Running).await;
    assert!(!restarted.ready);
    bench.until(|status| status.local_restarts == 1 && status.ready).await;
    bench.until(|status| status.local_restarts == 2 && status.ready).await;
    assert_eq!(bench.count(Step::Restart), 2);
}

#[tokio::test(start_paused = true)]
async fn of_many_attempts_128_are_probed_at_once() {
    let bench = Bench::new().await;
    let checked = spec(&[]);
    bench.engine.set_stuck(Step::Probe, true);
    let assigned = |task| Assignment { spec: checked.clone().into(), ..assignment(task) };
    bench.agent.assign(Batch { assignments: (0..300).map(assigned).collect(), ..Batch::default() });
    tokio::time::sleep(SECOND * 60).await;
    assert_eq!(bench.count(Step::Probe), 128);
    bench.engine.set_stuck(Step::Probe, false);
    tokio::time::sleep(SECOND * 20).await;
    assert!(bench.agent.statuses().iter().all(|(_, status)| status.ready));
}
