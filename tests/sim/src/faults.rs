//! What goes wrong: a random fault after random times, each for a while. At the end all of them are over.

use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;

use crate::cluster::{CLIENT, Cluster, MANAGER, MANAGER_PORT, SCHEDULER, STALE_SCHEDULER};
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
    let other = rng.pick(&[SCHEDULER, CLIENT, worker, worker, worker]).copied().unwrap_or(worker);
    let host = rng.pick(&cluster.hosts()).copied().unwrap_or(MANAGER);
    let told = match rng.below(100) {
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
        _ => engine_down(cluster, rng, worker),
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
fn engine_down(cluster: &Arc<Cluster>, rng: &Rng, worker: Host) -> String {
    let time = if rng.percent(30) { rng.millis(5000, 15_000) } else { rng.millis(200, 5000) };
    let way = rng.below(3);
    let set = move |cluster: &Arc<Cluster>, is_down: bool| {
        let Some(machine) = cluster.machines.get(worker) else { return };
        match way {
            0 => machine.engine.set_down(is_down.then_some("simulated")),
            1 => machine.engine.set_hanging(is_down),
            _ => machine.engine.set_starts_late(is_down),
        }
        cluster.history.note(Event::Engine { host: worker, is_down });
    };
    set(cluster, true);
    later(cluster, time, move |cluster| set(cluster, false));
    let what = ["refuses all calls", "hangs", "starts late what it is to start"];
    format!("the engine of {worker} {} for {time:?}", what.get(way as usize).unwrap_or(&""))
}
