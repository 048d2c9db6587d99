//! One process: started once, watched to its end.

use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use davit_core::id::AttemptKey;
use davit_core::spec::ProcessSpec;
use nix::errno::Errno;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::process::{Child, Command};
use tokio::sync::{Mutex, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::leftover;
use super::log_write::{Bounds, LogHead, LogWriter, pump};
use crate::runtime::{Error, Exit, InstanceState, SharedClock, Started};

/// How long output may still come after the end. Only a process that left the group can keep it open for longer.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(1);

/// What a process finds when the worker's own environment does not say.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// An attempt's process.
#[derive(Debug)]
pub(super) struct Entry {
    dir: PathBuf,
    spec: ProcessSpec,
    state: watch::Sender<InstanceState>,
    log: watch::Sender<LogHead>,
    /// The group until its leader is reaped. Its lock is held while signals are sent and it is emptied right after the
    /// reaping, so that no signal goes to a number that the kernel has given to someone else.
    group: parking_lot::Mutex<Option<Pid>>,
    /// Held while it is started or removed; true once it is to go.
    retired: Mutex<bool>,
}

impl Entry {
    pub(super) fn new(dir: PathBuf, spec: ProcessSpec) -> Self {
        Self {
            dir,
            spec,
            state: watch::Sender::new(InstanceState::Created),
            log: watch::Sender::new(LogHead { generation: 0, len: 0, closed: false }),
            group: parking_lot::Mutex::new(None),
            retired: Mutex::new(false),
        }
    }

    pub(super) fn state(&self) -> InstanceState {
        self.state.borrow().clone()
    }

    pub(super) fn log_head(&self) -> watch::Receiver<LogHead> {
        self.log.subscribe()
    }

    /// `None` if it was dropped before its end.
    pub(super) async fn ended(&self) -> Option<Exit> {
        let mut state = self.state.subscribe();
        match &*state.wait_for(|state| matches!(state, InstanceState::Exited(_))).await.ok()? {
            InstanceState::Exited(exit) => Some(exit.clone()),
            InstanceState::Created | InstanceState::Running(_) => None,
        }
    }

    pub(super) async fn start(
        self: std::sync::Arc<Self>,
        key: AttemptKey,
        bounds: Bounds,
        clock: &SharedClock,
    ) -> Result<Started, Error> {
        let retired = self.retired.lock().await;
        if *retired {
            return Err(Error::NotFound { key });
        }
        match self.state() {
            InstanceState::Running(started) => return Ok(started),
            InstanceState::Exited(_) => return Err(Error::AlreadyExited { key }),
            InstanceState::Created => {}
        }
        let writer = LogWriter::open(self.dir.clone(), bounds, self.log.clone())
            .await
            .map_err(|source| Error::Io { action: "start", source })?;
        let mut child = self.spawn()?;
        let started = Started { started_at: clock.now(), ports: Vec::new() };
        let group = child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw);
        *self.group.lock() = group;
        self.state.send_replace(InstanceState::Running(started.clone()));
        let stop = CancellationToken::new();
        let output = match (child.stdout.take(), child.stderr.take()) {
            (Some(stdout), Some(stderr)) => {
                Some(tokio::spawn(pump(writer, stdout, stderr, clock.clone(), stop.clone())))
            }
            _ => None,
        };
        let (entry, clock, started_at) = (std::sync::Arc::clone(&self), clock.clone(), started.started_at);
        tokio::spawn(async move {
            // Here, since whoever waits for the start may be dropped.
            if let Some(leader) = group
                && let Err(error) = leftover::note(&entry.dir, leader).await
            {
                tracing::warn!(%key, %error, "can't note a process; it would outlive a worker that is killed");
            }
            entry.watch(child, output, stop, started_at, &clock).await;
        });
        Ok(started)
    }

    fn spawn(&self) -> Result<Child, Error> {
        let rejected = |message: String| Error::Rejected { action: "start", message };
        let Some((program, arguments)) = self.spec.command.split_first() else {
            return Err(rejected("the command is empty".to_owned()));
        };
        let working_dir = match self.spec.working_dir.as_str() {
            "" => self.dir.join("work"),
            dir => PathBuf::from(dir),
        };
        if !working_dir.is_dir() {
            // exec's own error would not say which of the two is missing.
            return Err(rejected(format!("working directory {} is not there", working_dir.display())));
        }
        let inherited = |name: &str, otherwise: &str| std::env::var_os(name).unwrap_or_else(|| otherwise.into());
        Command::new(program)
            .args(arguments)
            .env_clear()
            .env("PATH", inherited("PATH", DEFAULT_PATH))
            .env("HOME", inherited("HOME", "/"))
            .envs(&self.spec.env)
            .current_dir(working_dir)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .map_err(|source| match source.raw_os_error().map(Errno::from_raw) {
                Some(Errno::EAGAIN | Errno::ENOMEM | Errno::EMFILE | Errno::ENFILE) => {
                    Error::Io { action: "start", source }
                }
                _ => rejected(format!("cannot start `{program}`: {source}")),
            })
    }

    /// Follows the process to its end.
    async fn watch(
        &self,
        mut child: Child,
        output: Option<JoinHandle<()>>,
        stop: CancellationToken,
        started_at: jiff::Timestamp,
        clock: &SharedClock,
    ) {
        let status = child.wait().await;
        let finished_at = clock.now();
        if let Some(group) = self.group.lock().take() {
            // The number stays taken as long as the group has a member; without one this finds nothing.
            let _ = killpg(group, Signal::SIGKILL);
        }
        if let Some(mut output) = output
            && tokio::time::timeout(DRAIN_TIMEOUT, &mut output).await.is_err()
        {
            stop.cancel();
            let _ = output.await;
        }
        let (exit_code, error) = match status {
            Ok(status) => (exit_code(status), String::new()),
            Err(error) => (-1, format!("cannot learn how it ended: {error}")),
        };
        let exit = Exit { exit_code, oom_killed: false, error, started_at: Some(started_at), finished_at };
        self.state.send_replace(InstanceState::Exited(exit));
    }

    /// Sends a signal to the whole group. False if it does not run.
    pub(super) fn signal(&self, signal: Signal) -> Result<bool, Error> {
        let group = self.group.lock();
        let Some(pid) = *group else { return Ok(false) };
        match killpg(pid, signal) {
            Ok(()) | Err(Errno::ESRCH) => Ok(true),
            Err(errno) => Err(Error::Io { action: "stop", source: errno.into() }),
        }
    }

    /// Kills it if it runs, and keeps it from being started any more.
    pub(super) async fn retire(&self) -> Result<(), Error> {
        *self.retired.lock().await = true;
        self.signal(Signal::SIGKILL)?;
        if matches!(self.state(), InstanceState::Running(_)) {
            self.ended().await;
        }
        // Ends whoever still follows the log of one that never started.
        self.log.send_modify(|head| head.closed = true);
        Ok(())
    }
}

/// As a shell tells it: 128 + N if signal N ended it.
fn exit_code(status: ExitStatus) -> i32 {
    status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(-1)
}
