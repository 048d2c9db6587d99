//! What goes wrong: a random fault after random times, each for a while. At the end all of them are over.

use std::sync::Arc;
use std::time::Duration;

use davit_core::id::NodeId;
use davit_svc_kit::ids::{IdSource as _, SeededSource};
use jiff::SignedDuration;

use crate::cluster::{CLIENT, CLONE, Cluster, MANAGER, MANAGER_PORT, NAME, SCHEDULER, STALE_SCHEDULER};
use crate::history::Event;
use crate::net::Host;
use crate::rng::Rng;

/// How far a wall clock jumps. A back-off is counted by the wall clock, so a longer one would only make runs wait longer.
const MAX_JUMP_SECONDS: u64 = 30;

/// Injects faults until the time is up, then ends all of them.
pub async fn inject(cluster: &Arc<Cluster>, rng: &Rng, time: Duration) {
    let end = tokio::time::Instant::now() + time;
    while tokio::time::Instant::now() < end {
        one(cluster, rng);
        tokio::time::sleep(rng.millis(100, 2500)).await;
    }
    heal(cluster);
}

/// Ends all faults.
pub fn heal(cluster: &Arc<Cluster>) {
    cluster.net.heal();
    cluster.disk.set_full(false);
    cluster.disk.set_slow(Duration::ZERO);
    for clock in cluster.clocks.values() {
        clock.set_offset(SignedDuration::ZERO);
    }
    for (host, machine) in &cluster.machines {
        machine.engine.set_down(None);
        machine.engine.set_hanging(false);
        machine.engine.set_starts_late(false);
        cluster.history.note(Event::Engine { host, is_down: false });
    }
    // Somebody finds the copy and switches its machine off.
    cluster.end_clone();
    // It would go on keeping changes from the other scheduler.
    cluster.retire(STALE_SCHEDULER);
    for host in cluster.hosts() {
        cluster.start(host);
    }
    cluster.history.note(Event::Fault("all are over".to_owned()));
}

fn one(cluster: &Arc<Cluster>, rng: &Rng) {
    let workers: Vec<Host> = cluster.machines.keys().copied().collect();
    let Some(worker) = rng.pick(&workers).copied() else { return };
    let other = rng.pick(&[SCHEDULER, CLIENT, CLONE, worker, worker, worker]).copied().unwrap_or(worker);
    let host = rng.pick(&cluster.hosts()).copied().unwrap_or(MANAGER);
    let told = match rng.below(109) {
        0..=13 => cut(cluster, rng, other, true, true),
        14..=22 => {
            let outwards = rng.percent(50);
            cut(cluster, rng, other, outwards, !outwards)
        }
        23..=29 => slow_link(cluster, rng, other),
        30..=37 => {
            cluster.net.reset_one(MANAGER, other);
            format!("connection of {other} is reset")
        }
        38..=42 => {
            let time = rng.millis(500, 8000);
            cluster.net.stall(worker, MANAGER, time);
            format!("what {worker} says on its open connections is {time:?} late")
        }
        43..=47 => {
            format!("a connection of {worker} is played again: {}", cluster.net.replay(worker, MANAGER, MANAGER_PORT))
        }
        48..=57 => end_process(cluster, rng, host, false),
        58..=62 => stop_process(cluster, rng, worker),
        63..=74 => end_process(cluster, rng, host, true),
        75..=82 => jump(cluster, rng, host),
        83..=88 => slow_disk(cluster, rng),
        89..=93 => full_disk(cluster, rng),
        94..=99 => engine_down(cluster, rng, worker),
        100..=102 => late_while_cut_off(cluster, rng, worker),
        103..=105 => lose_files(cluster, rng, worker),
        _ => clone(cluster, rng, worker),
    };
    cluster.history.note(Event::Fault(told));
}

/// After a while does something to the cluster, unless all faults are over by then, which ends it too.
fn later(cluster: &Arc<Cluster>, time: Duration, what: impl FnOnce(&Arc<Cluster>) + Send + 'static) {
    let cluster = Arc::clone(cluster);
    tokio::spawn(async move {
        tokio::time::sleep(time).await;
        what(&cluster);
    });
}

fn cut(cluster: &Arc<Cluster>, rng: &Rng, other: Host, inwards: bool, outwards: bool) -> String {
    // Now and then for longer than a lease and all that is added to it.
    let time = if rng.percent(40) { rng.millis(7000, 25_000) } else { rng.millis(300, 7000) };
    let set = move |cluster: &Arc<Cluster>, is_cut| {
        if inwards {
            cluster.net.set_cut(other, MANAGER, is_cut);
        }
        if outwards {
            cluster.net.set_cut(MANAGER, other, is_cut);
        }
    };
    set(cluster, true);
    later(cluster, time, move |cluster| set(cluster, false));
    format!("{other} is cut off for {time:?}, towards the manager {inwards}, from it {outwards}")
}

fn slow_link(cluster: &Arc<Cluster>, rng: &Rng, other: Host) -> String {
    let (extra, time) = (rng.millis(10, 2500), rng.millis(500, 6000));
    let set = move |cluster: &Arc<Cluster>, extra| {
        cluster.net.set_latency(other, MANAGER, extra);
        cluster.net.set_latency(MANAGER, other, extra);
    };
    set(cluster, extra);
    later(cluster, time, move |cluster| set(cluster, Duration::ZERO));
    format!("the link to {other} is up to {extra:?} slower for {time:?}")
}

fn end_process(cluster: &Arc<Cluster>, rng: &Rng, host: Host, machine_too: bool) -> String {
    let ended = if machine_too { cluster.lose_power(host) } else { cluster.kill(host) };
    if !ended {
        return format!("{host} is down already");
    }
    let time = rng.millis(20, 6000);
    later(cluster, time, move |cluster| cluster.start(host));
    format!("{host} {} for {time:?}", if machine_too { "loses power" } else { "is killed" })
}

/// A worker that is stopped in order leaves its tasks running, and may stay away for longer than it means to.
fn stop_process(cluster: &Arc<Cluster>, rng: &Rng, worker: Host) -> String {
    if !cluster.stop(worker) {
        return format!("{worker} is down already");
    }
    let time = rng.millis(1000, 14_000);
    later(cluster, time, move |cluster| cluster.start(worker));
    format!("{worker} is stopped for {time:?}")
}

/// A worker dies, and its data directory with it or before it: all of it, its records, or some of them. What runs there runs on.
fn lose_files(cluster: &Arc<Cluster>, rng: &Rng, worker: Host) -> String {
    let Some(machine) = cluster.machines.get(worker) else { return "nothing".to_owned() };
    cluster.kill(worker);
    let what = match rng.below(3) {
        0 => {
            machine.files.lose_records();
            "its records are gone".to_owned()
        }
        1 => format!("{} of its records are damaged", machine.files.damage_records(|| rng.percent(50))),
        _ => {
            let node_id = NodeId(SeededSource::new(rng.next()).next_uuid());
            machine.files.empty(node_id);
            format!("its data directory is emptied: it will be node {node_id}")
        }
    };
    let time = rng.millis(20, 6000);
    later(cluster, time, move |cluster| cluster.start(worker));
    format!("{worker} is killed for {time:?}, and {what}")
}

/// A copy of a worker's data directory is started on another machine, beside the worker, which may be out of touch just then.
fn clone(cluster: &Arc<Cluster>, rng: &Rng, worker: Host) -> String {
    if !cluster.start_clone_of(worker) {
        return "there is a clone already".to_owned();
    }
    let time = rng.millis(1000, 20_000);
    later(cluster, time, |cluster| cluster.end_clone());
    let cut =
        if rng.percent(60) { cut(cluster, rng, worker, true, rng.percent(50)) } else { format!("{worker} is well") };
    format!("{worker} is cloned for {time:?}; {cut}")
}

fn jump(cluster: &Arc<Cluster>, rng: &Rng, host: Host) -> String {
    let seconds = i64::try_from(rng.below(2 * MAX_JUMP_SECONDS)).unwrap_or(0) - MAX_JUMP_SECONDS as i64;
    if let Some(clock) = cluster.clocks.get(host) {
        clock.set_offset(SignedDuration::from_secs(seconds));
    }
    format!("the clock of {host} is wrong by {seconds} s")
}

fn slow_disk(cluster: &Arc<Cluster>, rng: &Rng) -> String {
    let (extra, time) = (rng.millis(20, 1500), rng.millis(500, 5000));
    cluster.disk.set_slow(extra);
    later(cluster, time, |cluster| cluster.disk.set_slow(Duration::ZERO));
    format!("syncs take up to {extra:?} longer for {time:?}")
}

fn full_disk(cluster: &Arc<Cluster>, rng: &Rng) -> String {
    let time = rng.millis(200, 4000);
    cluster.disk.set_full(true);
    later(cluster, time, |cluster| cluster.disk.set_full(false));
    format!("the manager's disk is full for {time:?}")
}

/// In one of three ways: it refuses, it hangs, or it starts late what its callers have given up.
/// What is the matter with an engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// It refuses all calls.
    Refuses,
    /// It answers none.
    Hangs,
    /// It does not answer starts, and does them once this is over.
    StartsLate,
}

/// Begins or ends an engine's trouble.
pub fn set_trouble(cluster: &Cluster, host: Host, trouble: Trouble, is_there: bool) {
    let Some(machine) = cluster.machines.get(host) else { return };
    match trouble {
        Trouble::Refuses => machine.engine.set_down(is_there.then_some("simulated")),
        Trouble::Hangs => machine.engine.set_hanging(is_there),
        Trouble::StartsLate => machine.engine.set_starts_late(is_there),
    }
    cluster.history.note(Event::Engine { host, is_down: is_there });
}

fn engine_down(cluster: &Arc<Cluster>, rng: &Rng, worker: Host) -> String {
    // Now and then for longer than a manager waits for what can't be begun.
    let time = if rng.percent(30) { rng.millis(5000, 25_000) } else { rng.millis(200, 5000) };
    let all = [Trouble::Refuses, Trouble::Hangs, Trouble::StartsLate];
    let trouble = rng.pick(&all).copied().unwrap_or(Trouble::Refuses);
    set_trouble(cluster, worker, trouble, true);
    later(cluster, time, move |cluster| set_trouble(cluster, worker, trouble, false));
    format!("the engine of {worker}: {trouble:?} for {time:?}")
}

/// Something crashes while the manager is away for so long that workers restart such, and its engine does that only once the manager is
/// back.
fn late_while_cut_off(cluster: &Arc<Cluster>, rng: &Rng, worker: Host) -> String {
    let Some(machine) = cluster.machines.get(worker) else { return "nothing".to_owned() };
    if !cluster.kill(MANAGER) {
        return format!("{MANAGER} is down already");
    }
    let (away_for, late_for) = (rng.millis(4000, 8000), rng.millis(1000, 6000));
    set_trouble(cluster, worker, Trouble::StartsLate, true);
    if let Some((owner, key)) = rng.pick(&machine.running(NAME)).cloned() {
        // Not before its worker knows that the manager is away, or it reports the end at once.
        later(cluster, Duration::from_secs(1), move |cluster| {
            if let Some(machine) = cluster.machines.get(worker) {
                machine.engine.end(&owner, key, 3);
            }
        });
    }
    later(cluster, away_for, |cluster| cluster.start(MANAGER));
    later(cluster, away_for + late_for, move |cluster| set_trouble(cluster, worker, Trouble::StartsLate, false));
    format!(
        "{MANAGER} is killed for {away_for:?}, and the engine of {worker} starts late what it is to start, {late_for:?} longer"
    )
}
