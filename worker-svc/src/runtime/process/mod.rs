//! Plain processes, each the leader of a process group of its own, each with a supervisor beside the worker.
//!
//! - Processes outlive the worker: its supervisor is the parent of each, keeps its log, and tells any later worker how it
//!   ended. [`contract`] says what the two agree on. Should the supervisor be killed, the process is ended too.
//! - Output is kept in files of bounded size under the data directory and stays readable after the end.
//! - When the leader ends, all that it left is killed, as a container's processes end with its first one.
//! - No limit is enforced; cpu, memory and disk count for placement alone.
//! - Before its first answer a runtime looks for what earlier workers left.

pub(super) mod contract;
mod entry;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod launch;
mod leftover;
mod link;
mod log_format;
mod log_read;
mod log_write;
pub(super) mod os;
mod probe;
mod supervisor;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use davit_core::id::{AttemptKey, ClusterId, NodeId};
use davit_core::spec::{OnNodeLoss, Probe, ProcessSpec, RuntimeSpec, StopPolicy, TaskSpec};
use futures::StreamExt as _;
use nix::sys::signal::Signal;
use parking_lot::Mutex;
use tokio::fs;
use tokio::sync::OnceCell;

use self::contract::{Durable, SPEC, SpecRecord, WORK};
use self::entry::Entry;
use self::link::StopOrder;
use super::{
    AttemptSpec, Error, Exit, Instance, InstanceState, LogOptions, LogStream, Owner, Probed, ProgressSender,
    PulledImage, Runtime, RuntimeInfo, RuntimeKind, SharedClock, Sighting, Started, Survey,
};
use crate::engine_turns::StopTurns;
use crate::reexec::Reexec;

/// How many attempts of earlier workers are looked at side by side.
const FINDS_AT_ONCE: usize = 16;
/// Longer graces are as good as this one: a year.
const LONGEST_GRACE: Duration = Duration::from_secs(366 * 24 * 3600);

/// Where and how processes are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessConfig {
    /// Holds a directory for each attempt: its log files and, unless its spec names one, its working directory.
    pub data_dir: PathBuf,
    /// A new log file of a process is begun at this size.
    pub log_max_bytes: u64,
    /// How many log files are kept of a process.
    pub log_max_files: u32,
    /// How supervisors are started.
    pub reexec: Reexec,
    /// Whether processes outlive this program, or are stopped when it ends in whatever way.
    pub outlive_worker: bool,
    /// The node's lease: processes that must never run twice are stopped when it has ended, also without a worker. `None`:
    /// there is none, and only the agent stops them.
    pub lease_file: Option<PathBuf>,
}

impl ProcessConfig {
    /// The defaults, with this directory.
    #[must_use]
    pub fn new(data_dir: PathBuf, reexec: Reexec) -> Self {
        Self {
            data_dir,
            log_max_bytes: 10 * 1024 * 1024,
            log_max_files: 3,
            reexec,
            outlive_worker: true,
            lease_file: None,
        }
    }
}

/// Runs attempts as plain processes.
pub struct ProcessRuntime {
    /// The owner's part of the data directory.
    dir: PathBuf,
    node_id: NodeId,
    config: ProcessConfig,
    clock: SharedClock,
    entries: Mutex<BTreeMap<AttemptKey, Arc<Entry>>>,
    /// Set when what earlier workers left has been found.
    found: OnceCell<()>,
}

impl std::fmt::Debug for ProcessRuntime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ProcessRuntime").field("dir", &self.dir).finish_non_exhaustive()
    }
}

impl ProcessRuntime {
    /// A runtime over what is in its owner's part of the data directory.
    #[must_use]
    pub fn new(owner: &Owner, config: &ProcessConfig, clock: SharedClock) -> Self {
        let dir = config.data_dir.join(&owner.cluster).join(owner.node_id.to_string());
        Self {
            dir: absolute(&dir),
            node_id: owner.node_id,
            config: config.clone(),
            clock,
            entries: Mutex::default(),
            found: OnceCell::new(),
        }
    }

    async fn find(&self, key: AttemptKey) -> Result<Arc<Entry>, Error> {
        self.find_all().await?;
        self.entries.lock().get(&key).cloned().ok_or(Error::NotFound { key })
    }

    /// Finds what earlier workers left, once. What can't be told of is left alone, and looked at again when it is asked for.
    async fn find_all(&self) -> Result<(), Error> {
        let find = || async {
            let mut dirs = match fs::read_dir(&self.dir).await {
                Ok(dirs) => dirs,
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
                Err(error) => return Err(error),
            };
            let mut keys = Vec::new();
            while let Some(entry) = dirs.next_entry().await? {
                keys.extend(entry.file_name().to_str().and_then(contract::key_of));
            }
            let found = futures::stream::iter(keys)
                .map(|key| async move { (key, Entry::find(key, self.dir_of(key), Arc::clone(&self.clock)).await) });
            let found: Vec<_> = found.buffer_unordered(FINDS_AT_ONCE).collect().await;
            for (key, found) in found {
                match found {
                    Ok(entry) => drop(self.entries.lock().insert(key, entry)),
                    // One that is unknown must not be taken for gone, or it might be run elsewhere beside this one.
                    Err(error) => return Err(io::Error::new(error.kind(), format!("attempt {key}: {error}"))),
                }
            }
            Ok(())
        };
        let found = self.found.get_or_try_init(find).await;
        found
            .copied()
            .map_err(|source| Error::Io { action: "look for what earlier workers left", source: source.into() })
    }

    fn dir_of(&self, key: AttemptKey) -> PathBuf {
        self.dir.join(key.container_name())
    }

    fn spec_record(&self, dir: &Path, attempt: &AttemptSpec) -> Result<SpecRecord, Error> {
        let process = process(&attempt.spec)?;
        let stop = &attempt.spec.stop;
        Ok(SpecRecord {
            version: contract::VERSION,
            command: process.command.clone(),
            env: attempt.env_of(&process.env).map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
            working_dir: match process.working_dir.as_str() {
                "" => dir.join(WORK),
                named => PathBuf::from(named),
            },
            stop_signal: signal(&stop.signal)?.as_str().to_owned(),
            stop_grace_millis: millis(stop.grace),
            log_max_bytes: self.config.log_max_bytes,
            log_max_files: self.config.log_max_files,
            ends_with_worker: !self.config.outlive_worker,
            lease: match attempt.spec.on_node_loss {
                OnNodeLoss::StopAndReplace => self.config.lease_file.as_ref().map(|path| absolute(path)),
                OnNodeLoss::Replace | OnNodeLoss::Wait(_) => None,
            },
        })
    }
}

#[async_trait]
impl Runtime for ProcessRuntime {
    fn kind(&self) -> RuntimeKind {
        RuntimeKind::Process
    }

    async fn check(&self) -> Result<RuntimeInfo, Error> {
        fs::create_dir_all(&self.dir).await.map_err(|source| Error::Io { action: "check", source: source.into() })?;
        Ok(RuntimeInfo { version: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH) })
    }

    async fn list(&self) -> Result<Vec<Instance>, Error> {
        self.find_all().await?;
        let entries = self.entries.lock();
        Ok(entries.iter().map(|(key, entry)| Instance { key: *key, state: entry.state() }).collect())
    }

    /// A program is on the node or not: there is nothing to get.
    async fn prepare(&self, attempt: &AttemptSpec, _progress: &ProgressSender) -> Result<Option<PulledImage>, Error> {
        process(&attempt.spec).map(|_| None)
    }

    async fn create(&self, attempt: &AttemptSpec) -> Result<(), Error> {
        self.find_all().await?;
        let dir = self.dir_of(attempt.key);
        let spec = self.spec_record(&dir, attempt)?;
        let failed = |source| Error::Io { action: "create", source: Arc::new(source) };
        fs::create_dir_all(dir.join(WORK)).await.map_err(failed)?;
        let entry = {
            let mut entries = self.entries.lock();
            let new = || Arc::new(Entry::new(attempt.key, dir.clone(), Arc::clone(&self.clock)));
            Arc::clone(entries.entry(attempt.key).or_insert_with(new))
        };
        if entry.state() == InstanceState::Created {
            contract::blocking(move || contract::write(&dir, SPEC, &spec, Durable::No)).await.map_err(failed)?;
        }
        Ok(())
    }

    async fn start(&self, key: AttemptKey) -> Result<Started, Error> {
        self.find(key).await?.start(self.config.reexec.clone(), !self.config.outlive_worker).await
    }

    async fn restart(&self, key: AttemptKey) -> Result<Started, Error> {
        self.find(key).await?.restart(self.config.reexec.clone(), !self.config.outlive_worker).await
    }

    async fn wait(&self, key: AttemptKey) -> Result<Exit, Error> {
        let entry = self.find(key).await?;
        if entry.state() == InstanceState::Created {
            return Err(Error::NotStarted { key });
        }
        entry.ended().await.ok_or(Error::NotFound { key })
    }

    async fn probe(&self, key: AttemptKey, probe: &Probe, limit: Duration) -> Result<Probed, Error> {
        self.probe_process(key, probe, limit).await
    }

    /// Each has a supervisor of its own, so there is nothing to take turns at.
    async fn stop(&self, key: AttemptKey, how: &StopPolicy, _turns: Option<&StopTurns>) -> Result<Option<Exit>, Error> {
        let entry = self.find(key).await?;
        let (signal, grace) = (signal(&how.signal)?.as_str(), how.grace.min(LONGEST_GRACE));
        entry.stop(StopOrder { signal, grace }).await?;
        match entry.state() {
            InstanceState::Created => Ok(None),
            InstanceState::Exited(exit) => Ok(Some(exit)),
            InstanceState::Running(_) => self.wait(key).await.map(Some),
        }
    }

    async fn remove(&self, key: AttemptKey) -> Result<(), Error> {
        match self.find(key).await {
            Ok(entry) => entry.retire().await?,
            Err(Error::NotFound { .. }) => {}
            Err(error) => return Err(error),
        }
        match fs::remove_dir_all(self.dir_of(key)).await {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(Error::Io { action: "remove", source: source.into() }),
        }
        self.entries.lock().remove(&key);
        Ok(())
    }

    async fn logs(&self, key: AttemptKey, options: LogOptions) -> Result<LogStream, Error> {
        let entry = self.find(key).await?;
        let head = match options.follow {
            true => entry.follow_log(),
            false => entry.log_end().map_err(|source| Error::Io { action: "logs", source: source.into() })?,
        };
        log_read::stream(self.dir_of(key), head, options).await
    }

    /// Processes are nobody else's: each node has a directory of its own.
    fn set_cluster_id(&self, _cluster_id: ClusterId) {}

    async fn survey(&self, _since: Option<u64>) -> Result<Survey, Error> {
        self.find_all().await?;
        let entries = self.entries.lock();
        let sighting = |(key, entry): (&AttemptKey, &Arc<Entry>)| Sighting {
            id: key.container_name(),
            cluster_id: None,
            node_id: Some(self.node_id),
            key: Some(*key),
            is_instance: true,
            running: matches!(entry.state(), InstanceState::Running(_)),
        };
        Ok(Survey { seen: entries.iter().map(sighting).collect(), of: None })
    }

    async fn remove_sighted(&self, sighting: &Sighting, grace: Duration) -> Result<bool, Error> {
        let Some(key) = sighting.key.filter(|_| sighting.node_id == Some(self.node_id)) else { return Ok(false) };
        match self.stop(key, &StopPolicy { signal: String::new(), grace }, None).await {
            Ok(_) => {}
            Err(Error::NotFound { .. }) => return Ok(false),
            Err(error) => return Err(error),
        }
        self.remove(key).await.map(|()| true)
    }
}

/// Supervises the process of an attempt, whose directory this is: the work of the hidden subcommand.
pub(crate) fn supervise(dir: &Path) -> ExitCode {
    supervisor::run(dir)
}

/// Supervisors do not share the worker's working directory.
fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

fn millis(grace: Duration) -> u64 {
    u64::try_from(grace.min(LONGEST_GRACE).as_millis()).unwrap_or(u64::MAX)
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
    signal_of(name).ok_or_else(|| Error::Unsupported { what: format!("there is no signal `{name}`") })
}

fn signal_of(name: &str) -> Option<Signal> {
    if name.is_empty() { Some(Signal::SIGTERM) } else { name.parse().ok() }
}
