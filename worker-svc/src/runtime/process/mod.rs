//! Plain processes, each the leader of a process group of its own.
//!
//! - Output is kept in files of bounded size under the data directory and stays readable after the end.
//! - When the leader ends, what is left of its group is killed, as a container's processes end with its first one.
//!   A process that made itself a new group escapes that.
//! - No limit is enforced; cpu, memory and disk count for placement alone.
//! - A worker that ends does not end its processes: that is the agent's job at shutdown. Those of a worker that was
//!   killed are killed by the first `list` of the next one. So `list` knows only what this object started.

mod leftover;
mod log_format;
mod log_read;
mod log_write;
mod supervise;

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use davit_core::id::AttemptKey;
use davit_core::spec::{ProcessSpec, RuntimeSpec, StopPolicy, TaskSpec};
use nix::sys::signal::Signal;
use parking_lot::Mutex;
use tokio::fs;
use tokio::sync::{OnceCell, watch};

use self::log_write::{Bounds, LogHead};
use self::supervise::Entry;
use super::{
    AttemptSpec, Error, Exit, Instance, InstanceState, LogOptions, LogStream, Owner, ProgressSender, Runtime,
    RuntimeInfo, RuntimeKind, SharedClock, Started,
};

/// Where and how processes are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessConfig {
    /// Holds a directory for each attempt: its log files and, unless its spec names one, its working directory.
    pub data_dir: PathBuf,
    /// A new log file of a process is begun at this size.
    pub log_max_bytes: u64,
    /// How many log files are kept of a process.
    pub log_max_files: u32,
}

impl ProcessConfig {
    /// The defaults, with this directory.
    #[must_use]
    pub fn new(data_dir: PathBuf) -> Self {
        Self { data_dir, log_max_bytes: 10 * 1024 * 1024, log_max_files: 3 }
    }
}

/// Runs attempts as plain processes.
pub struct ProcessRuntime {
    /// The owner's part of the data directory.
    dir: PathBuf,
    bounds: Bounds,
    clock: SharedClock,
    entries: Mutex<BTreeMap<AttemptKey, Arc<Entry>>>,
    /// Set when what a killed worker left has been ended.
    tidied: OnceCell<()>,
}

impl std::fmt::Debug for ProcessRuntime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ProcessRuntime").field("dir", &self.dir).finish_non_exhaustive()
    }
}

impl ProcessRuntime {
    /// A runtime without processes.
    #[must_use]
    pub fn new(owner: &Owner, config: &ProcessConfig, clock: SharedClock) -> Self {
        Self {
            dir: config.data_dir.join(owner.node_id.to_string()),
            bounds: Bounds { max_bytes: config.log_max_bytes, max_files: config.log_max_files },
            clock,
            entries: Mutex::default(),
            tidied: OnceCell::new(),
        }
    }

    fn find(&self, key: AttemptKey) -> Result<Arc<Entry>, Error> {
        self.entries.lock().get(&key).cloned().ok_or(Error::NotFound { key })
    }

    async fn end_leftovers(&self) {
        let Ok(mut found) = fs::read_dir(&self.dir).await else { return };
        while let Ok(Some(entry)) = found.next_entry().await {
            if let Some(leader) = leftover::end(&entry.path(), nix::unistd::getpid()).await {
                tracing::warn!(%leader, dir = %entry.path().display(), "killed a process that an earlier worker left");
            }
        }
    }

    fn dir_of(&self, key: AttemptKey) -> PathBuf {
        self.dir.join(key.container_name())
    }
}

#[async_trait]
impl Runtime for ProcessRuntime {
    fn kind(&self) -> RuntimeKind {
        RuntimeKind::Process
    }

    async fn check(&self) -> Result<RuntimeInfo, Error> {
        fs::create_dir_all(&self.dir).await.map_err(|source| Error::Io { action: "check", source })?;
        Ok(RuntimeInfo { version: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH) })
    }

    async fn list(&self) -> Result<Vec<Instance>, Error> {
        self.tidied.get_or_init(|| self.end_leftovers()).await;
        let entries = self.entries.lock();
        Ok(entries.iter().map(|(key, entry)| Instance { key: *key, state: entry.state() }).collect())
    }

    /// A program is on the node or not: there is nothing to get.
    async fn prepare(&self, attempt: &AttemptSpec, _progress: &ProgressSender) -> Result<(), Error> {
        process(&attempt.spec).map(|_| ())
    }

    async fn create(&self, attempt: &AttemptSpec) -> Result<(), Error> {
        let spec = process(&attempt.spec)?;
        signal(&attempt.spec.stop.signal)?;
        let dir = self.dir_of(attempt.key);
        fs::create_dir_all(dir.join("work")).await.map_err(|source| Error::Io { action: "create", source })?;
        self.entries.lock().entry(attempt.key).or_insert_with(|| Arc::new(Entry::new(dir, spec.clone())));
        Ok(())
    }

    async fn start(&self, key: AttemptKey) -> Result<Started, Error> {
        self.find(key)?.start(key, self.bounds, &self.clock).await
    }

    async fn wait(&self, key: AttemptKey) -> Result<Exit, Error> {
        let entry = self.find(key)?;
        if entry.state() == InstanceState::Created {
            return Err(Error::NotStarted { key });
        }
        entry.ended().await.ok_or(Error::NotFound { key })
    }

    async fn stop(&self, key: AttemptKey, how: &StopPolicy) -> Result<(), Error> {
        let entry = self.find(key)?;
        if !entry.signal(signal(&how.signal)?)? {
            return Ok(());
        }
        if tokio::time::timeout(how.grace, entry.ended()).await.is_err() {
            entry.signal(Signal::SIGKILL)?;
            entry.ended().await;
        }
        Ok(())
    }

    async fn remove(&self, key: AttemptKey) -> Result<(), Error> {
        // Known or not: an earlier worker may have left its directory.
        if let Ok(entry) = self.find(key) {
            entry.retire().await?;
        }
        match fs::remove_dir_all(self.dir_of(key)).await {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(Error::Io { action: "remove", source }),
        }
        self.entries.lock().remove(&key);
        Ok(())
    }

    async fn logs(&self, key: AttemptKey, options: LogOptions) -> Result<LogStream, Error> {
        let dir = self.dir_of(key);
        let head = match self.find(key) {
            Ok(entry) => entry.log_head(),
            // Of an earlier worker: what is there is all there will be.
            Err(missing) => {
                let found =
                    log_write::generations(&dir).await.map_err(|source| Error::Io { action: "logs", source })?;
                let generation = found.last().copied().ok_or(missing)?;
                watch::Sender::new(LogHead { generation, len: 0, closed: true }).subscribe()
            }
        };
        log_read::stream(dir, head, options).await
    }
}

/// The process in a task's spec.
fn process(spec: &TaskSpec) -> Result<&ProcessSpec, Error> {
    match &spec.runtime {
        RuntimeSpec::Process(process) => Ok(process),
        RuntimeSpec::Container(_) => {
            Err(Error::Unsupported { what: "the process runtime runs processes, not containers".to_owned() })
        }
    }
}

/// The signal of that name; an empty name means `SIGTERM`.
pub(super) fn signal(name: &str) -> Result<Signal, Error> {
    match name {
        "" => Ok(Signal::SIGTERM),
        name => name.parse().map_err(|_| Error::Unsupported { what: format!("there is no signal `{name}`") }),
    }
}
