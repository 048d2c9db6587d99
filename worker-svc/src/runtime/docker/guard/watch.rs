//! The guard itself. It waits for the end of the lease, which the worker renews, and then stops what is not to run any more.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use davit_core::spec::StopPolicy;
use davit_svc_kit::backoff::Backoff;
use davit_svc_kit::clock::{Clock as _, SystemClock};
use futures::StreamExt as _;
use nix::fcntl::Flock;
use nix::unistd::setsid;

use super::super::{DockerConfig, DockerRuntime, Leased};
use super::{ORDER, Order, READY, STOPPED};
use crate::lease::LeaseFile;
use crate::runtime::process::contract;
use crate::runtime::{Error, Runtime as _};

/// The longest wait before the lease is read again.
const READ_PERIOD: Duration = Duration::from_secs(1);
/// How often it is looked whether there is anything left to guard.
const LOOK_PERIOD: Duration = Duration::from_secs(5);
/// Waits while the engine does not answer.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(1));
/// Containers that are stopped side by side.
const STOPS_AT_ONCE: usize = 32;

/// Guards the containers of this directory's order until none is left. The whole of a program's life.
pub(crate) fn run(dir: &Path) -> ExitCode {
    match guard(dir) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&error);
            ExitCode::FAILURE
        }
    }
}

fn complain(error: &dyn std::error::Error) {
    // Standard error is a file in the directory.
    let _ = writeln!(io::stderr(), "{error}");
}

fn guard(dir: &Path) -> io::Result<()> {
    let _ = nix::sys::prctl::set_name(c"davit-guard");
    // Fails only for who leads a group already: then it was started by hand.
    let _ = setsid();
    let lock = contract::lock(dir)?;
    let mut out = io::stdout().lock();
    writeln!(out, "{READY}").and_then(|()| out.flush())?;
    match lock {
        Some(lock) => tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(watch(dir, lock)),
        // Another one was faster.
        None => Ok(()),
    }
}

/// What is guarded, as the order says now.
struct Guarded {
    order: Order,
    lease: LeaseFile,
    engine: DockerRuntime,
}

impl Guarded {
    fn new(order: Order) -> io::Result<Self> {
        let lease = LeaseFile::new(&order.lease_file)?;
        let config = DockerConfig { socket: order.socket.clone(), ..DockerConfig::default() };
        let engine = DockerRuntime::new(order.owner()?, config, Arc::new(SystemClock));
        Ok(Self { order, lease, engine })
    }

    /// How long the lease still lasts.
    fn lease_left(&self) -> Duration {
        self.lease.read().saturating_sub(SystemClock.uptime())
    }
}

async fn watch(dir: &Path, lock: Flock<File>) -> io::Result<()> {
    let mut lock = Some(lock);
    let mut guarded = Guarded::new(order(dir)?)?;
    let mut backoff = Backoff::new(RETRY.0, RETRY.1);
    let mut next_look = Duration::ZERO;
    let mut failing = false;
    loop {
        match order(dir) {
            Ok(order) if order != guarded.order => guarded = Guarded::new(order)?,
            Ok(_) => {}
            // The worker's data directory was removed, and the lease with it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => complain(&error),
        }
        let (left, now) = (guarded.lease_left(), SystemClock.uptime());
        if !left.is_zero() && now < next_look && lock.is_some() {
            tokio::time::sleep(left.min(READ_PERIOD)).await;
            continue;
        }
        let looked = if left.is_zero() {
            stop_all(dir, &guarded).await
        } else {
            // The end of the lease does not wait for an engine that is slow to tell.
            let looking = tokio::time::timeout(left, guarded.engine.leased()).await;
            let late = || Error::Unavailable { action: "list", reason: "no answer before the lease ended".to_owned() };
            looking.unwrap_or_else(|_| Err(late())).map(|found| !found.is_empty())
        };
        match looked {
            Ok(true) => {
                if lock.is_none() {
                    lock = contract::lock(dir)?;
                    if lock.is_none() {
                        // Another one guards.
                        return Ok(());
                    }
                }
                next_look = now + LOOK_PERIOD;
            }
            Ok(false) if lock.is_none() => return Ok(()),
            // Nothing is left. A container that was created meanwhile may rely on this guard while it holds the lock.
            Ok(false) => lock = None,
            Err(error) => {
                if !failing {
                    complain(&error);
                }
                failing = true;
                let pause = backoff.next_delay();
                tokio::time::sleep(if left.is_zero() { pause } else { pause.min(left) }).await;
                continue;
            }
        }
        failing = false;
        backoff.reset();
    }
}

fn order(dir: &Path) -> io::Result<Order> {
    contract::read(dir, ORDER)?.ok_or_else(|| io::ErrorKind::NotFound.into())
}

/// Stops what runs without a lease. Tells whether anything did; then it is to be looked at again.
async fn stop_all(dir: &Path, guarded: &Guarded) -> Result<bool, Error> {
    let running: Vec<Leased> =
        guarded.engine.leased().await?.into_iter().filter(|container| container.is_running).collect();
    let stops = futures::stream::iter(&running).map(|container| async move {
        // The worker may be back, and heard by the manager.
        if !guarded.lease_left().is_zero() {
            return Ok(());
        }
        // First, so that whoever finds it stopped also finds why.
        let mark = dir.join(STOPPED).join(container.key.container_name());
        fs::write(mark, "").map_err(|source| Error::Io { action: "note a stop", source: source.into() })?;
        let how = StopPolicy { signal: String::new(), grace: container.grace };
        match guarded.engine.stop(container.key, &how, None).await {
            Err(Error::NotFound { .. }) => Ok(()),
            stopped => stopped.map(drop),
        }
    });
    let stopped: Vec<Result<(), Error>> = stops.buffer_unordered(STOPS_AT_ONCE).collect().await;
    stopped.into_iter().collect::<Result<(), Error>>()?;
    Ok(!running.is_empty())
}
