//! The lease guard: a small process beside the worker, of the worker's own program, that stops containers which must never run
//! twice when the node's lease has ended, also when the worker is dead or hangs. (A process task has its supervisor for that.)
//!
//! One guards all such containers of a node; it is there from the first start of one until none is left. It knows them by a
//! label, so it needs no word of the worker about each. A worker starts one only for what it starts itself, or once the manager has
//! taken it in: the guard of a worker with a copy of another's data directory would stop that one's containers, under a lease that
//! nobody renews. Until then the one before, which outlives its worker, guards what it left. This file is the worker's side, [`watch`] the guard itself.
//!
//! | file in its directory | written by | holds |
//! | --- | --- | --- |
//! | `order.json` | worker | [`Order`]: whose containers, behind which socket, under which lease |
//! | `lock` | | locked (flock) by the guard for as long as it lives |
//! | `stopped/NAME` | guard, before it stops the container of that name | nothing |
//! | `guard.err` | guard | what it has to complain of |
//!
//! What it can't help: an engine that hangs stops no container for anybody. The guard goes on trying; the manager does not know,
//! and places the next attempt when lease, grace and margin have passed.

mod watch;

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, Read as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use davit_core::id::{AttemptKey, NodeId};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

pub(crate) use self::watch::run;
use crate::reexec::{GUARD, Reexec};
use crate::runtime::process::contract::{self, Durable};
use crate::runtime::{Error, Owner};

const ORDER: &str = "order.json";
const STOPPED: &str = "stopped";
const MESSAGES: &str = "guard.err";
/// What a guard says once it holds the lock, or that another does.
const READY: &str = "guards";
/// No word is longer.
const MAX_WORD_BYTES: u64 = 64;

/// How containers that must never run twice are guarded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuardConfig {
    /// Holds a directory for each cluster.
    pub dir: PathBuf,
    /// The node's lease.
    pub lease_file: PathBuf,
    /// How the guard is started.
    pub reexec: Reexec,
}

/// What a guard is to do. It looks at it again and again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Order {
    version: u32,
    /// The owner's cluster.
    cluster: String,
    /// The owner's node.
    node_id: String,
    /// The engine's socket.
    socket: PathBuf,
    lease_file: PathBuf,
}

impl Order {
    fn owner(&self) -> io::Result<Owner> {
        let node_id: NodeId = self.node_id.parse().map_err(|_| io::Error::other("the order names no node"))?;
        Ok(Owner { cluster: self.cluster.clone(), node_id })
    }
}

/// A worker's guard.
#[derive(Debug)]
pub(super) struct Guard {
    dir: PathBuf,
    order: Order,
    reexec: Reexec,
    /// What is to be guarded, as far as this worker knows.
    guarded: Mutex<BTreeSet<AttemptKey>>,
    /// Whether what an earlier worker started is this one's.
    in_charge: AtomicBool,
}

impl Guard {
    pub(super) fn new(config: &GuardConfig, owner: &Owner, socket: &Path) -> Self {
        // The guard does not share the worker's working directory.
        let absolute = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let order = Order {
            version: contract::VERSION,
            cluster: owner.cluster.clone(),
            node_id: owner.node_id.to_string(),
            socket: absolute(socket),
            lease_file: absolute(&config.lease_file),
        };
        let dir = absolute(&config.dir).join(&owner.cluster);
        let (guarded, in_charge) = (Mutex::default(), AtomicBool::new(false));
        Self { dir, order, reexec: config.reexec.clone(), guarded, in_charge }
    }

    /// The manager has taken this worker in: what an earlier one started is its own from now on.
    pub(super) fn take_charge(&self) {
        self.in_charge.store(true, Ordering::Relaxed);
    }

    /// Makes sure that a guard is there, before the attempt's container is started.
    pub(super) async fn begin(&self, key: AttemptKey) -> Result<(), Error> {
        self.guarded.lock().insert(key);
        self.ensure().await
    }

    async fn ensure(&self) -> Result<(), Error> {
        let (dir, order, reexec) = (self.dir.clone(), self.order.clone(), self.reexec.clone());
        let ensured = contract::blocking(move || {
            fs::create_dir_all(dir.join(STOPPED))?;
            if contract::read(&dir, ORDER).ok().flatten().as_ref() != Some(&order) {
                contract::write(&dir, ORDER, &order, Durable::No)?;
            }
            match contract::lock(&dir)? {
                Some(nobody_guards) => {
                    drop(nobody_guards);
                    start(&reexec, &dir)
                }
                // One that is about to end looks once more when it has freed the lock.
                None => Ok(()),
            }
        });
        ensured.await.map_err(|source| Error::Io { action: "start the lease guard", source: source.into() })
    }

    /// Takes up what an earlier worker started.
    pub(super) async fn take_up(&self, keys: impl IntoIterator<Item = AttemptKey>) {
        self.guarded.lock().extend(keys);
        self.keep().await;
    }

    /// The attempt's container has ended.
    pub(super) fn end(&self, key: AttemptKey) {
        self.guarded.lock().remove(&key);
    }

    /// Replaces a guard that was killed, if there is anything to guard that is this worker's.
    pub(super) async fn keep(&self) {
        let needed = self.in_charge.load(Ordering::Relaxed) && !self.guarded.lock().is_empty();
        if needed && let Err(error) = self.ensure().await {
            tracing::warn!(%error, "containers that must never run twice are not guarded");
        }
    }

    /// Whether a guard stopped the attempt's container because the lease had ended.
    pub(super) fn has_stopped(&self, key: AttemptKey) -> bool {
        self.mark_of(key).exists()
    }

    /// Nothing is left of an attempt.
    pub(super) fn forget(&self, key: AttemptKey) {
        self.end(key);
        match fs::remove_file(self.mark_of(key)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(%key, %error, "can't remove a mark of the lease guard");
            }
            _ => {}
        }
    }

    fn mark_of(&self, key: AttemptKey) -> PathBuf {
        self.dir.join(STOPPED).join(key.container_name())
    }
}

/// Starts a guard, and waits until it guards.
fn start(reexec: &Reexec, dir: &Path) -> io::Result<()> {
    let messages = File::create(dir.join(MESSAGES))?;
    let mut command = Command::new(&reexec.program);
    // Nothing of the worker's environment, which may hold its secrets.
    command.arg0(&reexec.name).arg(GUARD).arg(dir).env_clear();
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::from(messages));
    let mut child = command.spawn()?;
    let mut word = String::new();
    if let Some(stdout) = child.stdout.take() {
        BufReader::new(stdout.take(MAX_WORD_BYTES)).read_line(&mut word)?;
    }
    // Reaps it when it ends, should this worker still be there.
    thread::Builder::new().name("guard".to_owned()).spawn(move || child.wait())?;
    if word.trim_end() == READY {
        return Ok(());
    }
    let complaint = fs::read_to_string(dir.join(MESSAGES)).unwrap_or_default();
    Err(io::Error::other(format!("it ended at once: {}", complaint.trim_end())))
}
