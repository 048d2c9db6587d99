//! One run from one seed: faults and users side by side, then quiet, then what must hold in quiet.

use std::collections::BTreeSet;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use davit_core::id::AttemptKey;
use davit_core::node::NodeState;
use davit_core::spec::OnNodeLoss;
use davit_svc_kit::bugs::Bug;

use crate::check::{self, Violation, Violations};
use crate::cluster::{BEGIN_TIMEOUT, Cluster, MANAGER, NAME};
use crate::entropy;
use crate::faults::{self, Trouble};
use crate::history::{Event, History};
use crate::net::Host;
use crate::panics;
use crate::rng::Rng;
use crate::workload::Users;

/// How long the cluster may take to settle once all faults are over. Waits of workers that were refused, back-offs, wall clocks
/// that were wrong and all jobs that wait for room come together here.
const SETTLE_TIME: Duration = Duration::from_secs(300);
/// It is settled when it stayed so for this long.
const STILL_TIME: Duration = Duration::from_secs(2);
const LOOK_PERIOD: Duration = Duration::from_millis(250);
/// Three heartbeats of a second, and what it takes to look and to write it down.
const DEATH_TIME: Duration = Duration::from_millis(3300);

/// How long a worker is away that is stopped in order.
const AWAY_TIME: Duration = Duration::from_millis(3600);

/// Until a worker tells that an engine hangs: it asks twice, waits for each answer, and rests in between.
const NOTICE_TIME: Duration = Duration::from_secs(14);
/// A lease, what is added to it, and what it takes to begin elsewhere.
const CUT_TIME: Duration = Duration::from_secs(15);

/// What it takes to look, to write it down, to find a place and to begin there.
const MOVE_TIME: Duration = Duration::from_secs(4);

/// The manager's default, and a little.
const RESTART_GRACE: Duration = Duration::from_secs(11);

/// What came of a run.
#[derive(Debug, Clone)]
pub struct Report {
    /// Its seed.
    pub seed: u64,
    /// Promises that were broken.
    pub violations: Vec<Violation>,
    /// One number for all that happened.
    pub digest: u64,
    /// How many events the history has.
    pub events: usize,
    /// How much time passed in the simulation.
    pub simulated: Duration,
}

/// What a run is to be like, beside its seed.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// A deliberate bug of the services.
    pub bug: Option<Bug>,
    /// Prints all that happens.
    pub trace: bool,
}

/// Runs one seed on a thread of its own. Only the first run of a process can be repeated: tokio counts runtimes by process and
/// draws from that too, so the program runs each seed in a process of its own.
#[must_use]
pub fn seed(seed: u64, options: Options) -> Report {
    let thread = std::thread::Builder::new().name(format!("seed-{seed}")).spawn(move || {
        entropy::seed_this_thread(seed);
        set_bug(options.bug);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        let ended = std::panic::catch_unwind(AssertUnwindSafe(|| {
            runtime.map(|runtime| runtime.block_on(run(seed, options))).map_err(|error| error.to_string())
        }));
        let mut report = match ended {
            Ok(Ok(report)) => report,
            Ok(Err(problem)) => broken(seed, problem),
            Err(_) => broken(seed, "the simulation panicked".to_owned()),
        };
        let panics = panics::take().into_iter().map(|what| Violation { promise: 0, what });
        report.violations.extend(panics);
        report
    });
    let joined = thread.map_err(|error| error.to_string());
    joined
        .and_then(|thread| thread.join().map_err(|_| "the thread panicked".to_owned()))
        .unwrap_or_else(|problem| broken(seed, problem))
}

#[cfg(feature = "sim-bugs")]
fn set_bug(bug: Option<Bug>) {
    davit_svc_kit::bugs::set(bug);
}

#[cfg(not(feature = "sim-bugs"))]
fn set_bug(_: Option<Bug>) {}

fn broken(seed: u64, what: String) -> Report {
    let violations = vec![Violation { promise: 0, what }];
    Report { seed, violations, digest: 0, events: 0, simulated: Duration::ZERO }
}

async fn run(seed: u64, options: Options) -> Report {
    let rng = Rng::new(seed);
    let history = History::new(options.trace);
    let workers = usize::try_from(rng.between(2, 4)).unwrap_or(3);
    let cluster = Cluster::new(&rng, workers, rng.percent(40), history.clone());
    let mut violations = Violations::default();
    play(&cluster, &rng, &mut violations).await;
    check::all(&cluster, &mut violations);
    Report {
        seed,
        violations: violations.into_vec(),
        digest: history.digest(),
        events: history.entries().len(),
        simulated: history.elapsed(),
    }
}

async fn play(cluster: &Arc<Cluster>, rng: &Rng, violations: &mut Violations) {
    let note = |phase| cluster.history.note(Event::Phase(phase));
    note("start");
    cluster.guard();
    for host in cluster.hosts() {
        cluster.start(host);
    }
    let Some(users) = Users::new(cluster, rng.fork("users")) else { return };
    tokio::time::sleep(rng.millis(0, 2000)).await;
    note("faults");
    let time = rng.millis(10_000, 40_000);
    let fault_rng = rng.fork("faults");
    tokio::join!(users.act(time), faults::inject(cluster, &fault_rng, time + Duration::from_secs(1)));
    faults::heal(cluster);
    note("quiet");
    for host in cluster.machines.keys() {
        for _ in 0..20 {
            if users.set_cordon(host, false).await {
                break;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }
    let unsettled = settle(cluster).await;
    if !unsettled.is_empty() {
        return violations.add(5, format!("not settled after {SETTLE_TIME:?}: {}", unsettled.join("; ")));
    }
    note("restarts");
    restarts_disturb_nothing(cluster, violations).await;
    note("trouble");
    what_cant_be_begun_goes_elsewhere(cluster, rng, &users, violations).await;
    note("lease");
    a_cut_outlasts_a_lease(cluster, rng, violations).await;
    note("death");
    a_death_is_acted_on(cluster, rng, violations).await;
    note("late restart");
    a_restart_that_comes_late(cluster, rng).await;
}

/// Something crashes while the manager is away, and its engine does not answer that it is to restart it; the manager is back, and is told
/// the end. What the engine does then is judged with the rest of the history.
async fn a_restart_that_comes_late(cluster: &Arc<Cluster>, rng: &Rng) {
    let all: Vec<_> = running(cluster).into_iter().collect();
    let Some((host, key)) = rng.pick(&all).copied() else { return };
    let Some(machine) = cluster.machines.get(host) else { return };
    cluster.kill(MANAGER);
    faults::set_trouble(cluster, host, Trouble::StartsLate, true);
    // Not before its worker knows that the manager is away, or it reports the end at once.
    tokio::time::sleep(Duration::from_secs(1)).await;
    machine.engine.end(&machine.owner(NAME), key, 3);
    // For longer than after which its worker restarts it.
    tokio::time::sleep(Duration::from_secs(5)).await;
    cluster.start(MANAGER);
    tokio::time::sleep(Duration::from_secs(5)).await;
    faults::set_trouble(cluster, host, Trouble::StartsLate, false);
    tokio::time::sleep(Duration::from_secs(1)).await;
}

/// Waits until all is as it is to be, and stays so. Else tells what is not.
async fn settle(cluster: &Cluster) -> Vec<String> {
    let deadline = tokio::time::Instant::now() + SETTLE_TIME;
    let mut still_since = None;
    loop {
        let unsettled = check::unsettled(cluster);
        let now = tokio::time::Instant::now();
        if unsettled.is_empty() {
            let since = *still_since.get_or_insert(now);
            if now.duration_since(since) >= STILL_TIME {
                return Vec::new();
            }
        } else {
            still_since = None;
            if now >= deadline {
                return unsettled;
            }
        }
        tokio::time::sleep(LOOK_PERIOD).await;
    }
}

fn running(cluster: &Cluster) -> BTreeSet<(Host, AttemptKey)> {
    let on = |(host, machine): (&Host, &crate::machine::WorkerMachine)| {
        let host = *host;
        machine.running(NAME).into_iter().map(move |(_, key)| (host, key)).collect::<Vec<_>>()
    };
    cluster.machines.iter().flat_map(on).collect()
}

/// 6: killing a worker or the manager and starting it again disturbs no container.
async fn restarts_disturb_nothing(cluster: &Arc<Cluster>, violations: &mut Violations) {
    let before = running(cluster);
    let hosts: Vec<Host> = cluster.machines.keys().copied().chain([MANAGER]).collect();
    for host in hosts {
        cluster.kill(host);
        tokio::time::sleep(Duration::from_millis(500)).await;
        cluster.start(host);
        tokio::time::sleep(Duration::from_secs(3)).await;
    }
    // One that is stopped in order may stay away for longer than one that died; less than the lease lasts here.
    for host in cluster.machines.keys().copied() {
        cluster.stop(host);
        tokio::time::sleep(AWAY_TIME).await;
        cluster.start(host);
        tokio::time::sleep(Duration::from_secs(3)).await;
    }
    // As long as a manager that was restarted waits for its workers.
    tokio::time::sleep(RESTART_GRACE).await;
    let after = running(cluster);
    if before != after {
        let list = |one: &BTreeSet<(Host, AttemptKey)>, other: &BTreeSet<(Host, AttemptKey)>| {
            one.difference(other).map(|(host, key)| format!("{key} on {host}")).collect::<Vec<_>>().join(", ")
        };
        let (gone, new) = (list(&before, &after), list(&after, &before));
        violations.add(6, format!("restarts of workers and manager ended [{gone}] and started [{new}]"));
    }
}

/// 5: what a node can't begin, because its engine refuses or hangs, runs elsewhere in the time that the manager allows.
async fn what_cant_be_begun_goes_elsewhere(
    cluster: &Arc<Cluster>,
    rng: &Rng,
    users: &Users,
    violations: &mut Violations,
) {
    let hosts: Vec<Host> = cluster.machines.keys().copied().collect();
    let Some(host) = rng.pick(&hosts).copied() else { return };
    let way = if rng.percent(50) { Trouble::Refuses } else { Trouble::Hangs };
    faults::set_trouble(cluster, host, way, true);
    let task_ids = users.create_near(host, 3).await;
    let time = NOTICE_TIME + BEGIN_TIMEOUT + MOVE_TIME;
    tokio::time::sleep(time).await;
    let run: BTreeSet<_> = running(cluster).into_iter().map(|(_, key)| key.task_id).collect();
    for task_id in task_ids.iter().filter(|task_id| !run.contains(task_id)) {
        violations.add(5, format!("{task_id} runs nowhere {time:?} after the engine of {host} {way:?}"));
    }
    if task_ids.is_empty() {
        violations.add(5, format!("no task could be created while the engine of {host} {way:?}"));
    }
    faults::set_trouble(cluster, host, way, false);
}

/// 5: a node that has what must never run twice is cut off until that runs elsewhere, and when it is back all is as it is to be. That
/// it never ran twice is judged with the rest of the history.
async fn a_cut_outlasts_a_lease(cluster: &Arc<Cluster>, rng: &Rng, violations: &mut Violations) {
    let model = cluster.disk.model();
    let is_leased = |host: &Host| {
        let node_id = cluster.machines.get(host).map(|machine| machine.owner(NAME).node_id);
        let placed = node_id.into_iter().flat_map(|node_id| model.placed_on(node_id).collect::<Vec<_>>());
        placed.into_iter().any(|task| task.spec.on_node_loss == OnNodeLoss::StopAndReplace)
    };
    let hosts: Vec<Host> = cluster.machines.keys().copied().filter(is_leased).collect();
    let Some(host) = rng.pick(&hosts).copied() else { return };
    let set = |is_cut| {
        cluster.net.set_cut(host, MANAGER, is_cut);
        cluster.net.set_cut(MANAGER, host, is_cut);
    };
    set(true);
    tokio::time::sleep(CUT_TIME).await;
    set(false);
    let unsettled = settle(cluster).await;
    if !unsettled.is_empty() {
        violations.add(5, format!("not settled {SETTLE_TIME:?} after {host} was cut off: {}", unsettled.join("; ")));
    }
}

/// 6: when a machine dies, the manager knows within three seconds.
async fn a_death_is_acted_on(cluster: &Arc<Cluster>, rng: &Rng, violations: &mut Violations) {
    let hosts: Vec<Host> = cluster.machines.keys().copied().collect();
    let Some(host) = rng.pick(&hosts).copied() else { return };
    let Some(node_id) = cluster.machines.get(host).map(|machine| machine.owner(NAME).node_id) else { return };
    cluster.lose_power(host);
    tokio::time::sleep(DEATH_TIME).await;
    let model = cluster.disk.model();
    let state = model.nodes.get(&node_id).map(|node| node.state);
    if state != Some(NodeState::Down) {
        violations.add(6, format!("{DEATH_TIME:?} after {host} died it is {state:?}"));
    }
    let left = model.placed_on(node_id).filter(|task| task.spec.on_node_loss == OnNodeLoss::Replace).count();
    if left > 0 {
        violations.add(6, format!("{DEATH_TIME:?} after {host} died it still holds {left} tasks"));
    }
}
