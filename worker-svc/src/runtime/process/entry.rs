//! What a worker knows of one attempt's process.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use davit_core::id::AttemptKey;
use davit_core::task::Ports;
use parking_lot::Mutex as SyncMutex;
use tokio::net::UnixStream;
use tokio::process::ChildStdin;
use tokio::sync::{Mutex, Notify, mpsc, watch};
use tokio_util::task::AbortOnDropHandle;

use super::contract::{self, Reply, StartRecord};
use super::launch::{self, Found, Launched};
use super::link::{Link, StopOrder};
use super::log_write::LogHead;
use crate::reexec::Reexec;
use crate::runtime::{Error, Exit, InstanceState, SharedClock, Started};

/// Orders that may wait for the supervisor to read them.
const MAX_ORDERS: usize = 16;
/// A supervisor that has not ended its process so long after the grace is killed with all below it.
const FORCE_AFTER: Duration = Duration::from_secs(10);

/// An attempt's process.
pub(super) struct Entry {
    key: AttemptKey,
    dir: PathBuf,
    clock: SharedClock,
    state: watch::Sender<InstanceState>,
    log: watch::Sender<LogHead>,
    followed: Arc<Notify>,
    /// To the line with the supervisor, while there is one.
    line: SyncMutex<Option<Line>>,
    /// Held while it is started or removed; true once it is to go.
    retired: Mutex<bool>,
}

/// The worker's end of a [`Link`].
#[derive(Debug)]
struct Line {
    orders: mpsc::Sender<StopOrder>,
    /// Ends the listening.
    _listener: AbortOnDropHandle<()>,
}

impl Entry {
    /// One that was created just now.
    pub(super) fn new(key: AttemptKey, dir: PathBuf, clock: SharedClock) -> Self {
        Self {
            key,
            dir,
            clock,
            state: watch::Sender::new(InstanceState::Created),
            log: watch::Sender::new(LogHead::START),
            followed: Arc::new(Notify::new()),
            line: SyncMutex::new(None),
            retired: Mutex::new(false),
        }
    }

    /// One that an earlier worker left.
    pub(super) async fn find(key: AttemptKey, dir: PathBuf, clock: SharedClock) -> std::io::Result<Arc<Self>> {
        let found = launch::look(&dir, key, &clock).await?;
        let entry = Arc::new(Self::new(key, dir, clock));
        entry.take_up(found)?;
        Ok(entry)
    }

    fn take_up(self: &Arc<Self>, found: Found) -> std::io::Result<()> {
        match found {
            Found::Created => {}
            Found::Running(start, stream) => self.follow(&start, stream, None),
            Found::Exited(exit) => {
                self.log.send_replace(super::log_write::closed_head(&self.dir)?);
                self.state.send_replace(InstanceState::Exited(exit.into()));
            }
        }
        Ok(())
    }

    /// Keeps a line to its supervisor from now on.
    fn follow(self: &Arc<Self>, start: &StartRecord, stream: UnixStream, held_open: Option<ChildStdin>) {
        let (sender, orders) = mpsc::channel(MAX_ORDERS);
        let started = Started { started_at: start.started_at, ports: Ports::new() };
        let link = Link {
            key: self.key,
            dir: self.dir.clone(),
            orders,
            log: self.log.clone(),
            followed: Arc::clone(&self.followed),
            clock: Arc::clone(&self.clock),
        };
        // Before the listener may tell of the end.
        self.state.send_replace(InstanceState::Running(started));
        let entry = Arc::downgrade(self);
        let started_at = start.started_at;
        let listener = tokio::spawn(async move {
            let mut exit = link.until_end(stream).await;
            exit.started_at.get_or_insert(started_at);
            drop(held_open);
            if let Some(entry) = entry.upgrade() {
                entry.state.send_replace(InstanceState::Exited(exit.into()));
            }
        });
        *self.line.lock() = Some(Line { orders: sender, _listener: AbortOnDropHandle::new(listener) });
    }

    pub(super) fn state(&self) -> InstanceState {
        self.state.borrow().clone()
    }

    /// Where the log is; changes as it grows.
    pub(super) fn follow_log(&self) -> watch::Receiver<LogHead> {
        let head = self.log.subscribe();
        self.followed.notify_one();
        head
    }

    /// Where the log ends now.
    pub(super) fn log_end(&self) -> std::io::Result<watch::Receiver<LogHead>> {
        Ok(watch::Sender::new(super::log_write::closed_head(&self.dir)?).subscribe())
    }

    /// `None` if it was dropped before its end.
    pub(super) async fn ended(&self) -> Option<Exit> {
        let mut state = self.state.subscribe();
        match &*state.wait_for(|state| matches!(state, InstanceState::Exited(_))).await.ok()? {
            InstanceState::Exited(exit) => Some(exit.clone()),
            InstanceState::Created | InstanceState::Running(_) => None,
        }
    }

    /// Starts it, to the end also if nobody waits any more: else a process would run that nobody follows.
    pub(super) async fn start(self: Arc<Self>, reexec: Reexec, with_line: bool) -> Result<Started, Error> {
        let starting = tokio::spawn(async move { self.start_now(&reexec, with_line, false).await });
        starting
            .await
            .map_err(|problem| Error::Io { action: "start", source: Arc::new(std::io::Error::other(problem)) })?
    }

    /// Starts one that has ended once more, with a supervisor of its own.
    pub(super) async fn restart(self: Arc<Self>, reexec: Reexec, with_line: bool) -> Result<Started, Error> {
        let starting = tokio::spawn(async move { self.start_now(&reexec, with_line, true).await });
        starting
            .await
            .map_err(|problem| Error::Io { action: "restart", source: Arc::new(std::io::Error::other(problem)) })?
    }

    async fn start_now(self: Arc<Self>, reexec: &Reexec, with_line: bool, again: bool) -> Result<Started, Error> {
        let key = self.key;
        let retired = self.retired.lock().await;
        if *retired {
            return Err(Error::NotFound { key });
        }
        let failed = |source| Error::Io { action: "start", source: Arc::new(source) };
        if again && matches!(self.state(), InstanceState::Exited(_)) {
            let dir = self.dir.clone();
            contract::blocking(move || contract::forget_run(&dir)).await.map_err(failed)?;
            self.log.send_replace(LogHead::START);
            self.state.send_replace(InstanceState::Created);
        }
        if let Some(known) = self.started() {
            return known;
        }
        let (launched, line) = launch::launch(reexec, &self.dir, key, with_line).await?;
        let complaint = match launched {
            Launched::Replied(Reply::Failed { passing: true, message }) => {
                return Err(failed(std::io::Error::other(message)));
            }
            Launched::Replied(Reply::Failed { passing: false, message }) => {
                return Err(Error::Rejected { action: "start", message });
            }
            Launched::Replied(Reply::Started(_) | Reply::Taken) => None,
            Launched::Silent(complaint) => Some(complaint),
        };
        match launch::look(&self.dir, key, &self.clock).await.map_err(failed)? {
            Found::Running(start, stream) => self.follow(&start, stream, line),
            Found::Created => {
                let told = complaint.unwrap_or_default();
                return Err(Error::Rejected { action: "start", message: format!("its supervisor ended: {told}") });
            }
            ended => self.take_up(ended).map_err(failed)?,
        }
        self.started().unwrap_or(Err(Error::NotStarted { key }))
    }

    /// `None`: not yet.
    fn started(&self) -> Option<Result<Started, Error>> {
        match self.state() {
            InstanceState::Created => None,
            InstanceState::Running(started) => Some(Ok(started)),
            InstanceState::Exited(_) => Some(Err(Error::AlreadyExited { key: self.key })),
        }
    }

    /// Has it stopped, and waits for its end.
    pub(super) async fn stop(&self, order: StopOrder) -> Result<(), Error> {
        let limit = order.grace.saturating_add(FORCE_AFTER);
        let orders = self.line.lock().as_ref().map(|line| line.orders.clone());
        let stopping = async {
            if let Some(orders) = orders {
                // Fails for one that has ended.
                let _ = orders.send(order).await;
            }
            self.ended().await;
        };
        if !matches!(self.state(), InstanceState::Running(_)) || tokio::time::timeout(limit, stopping).await.is_ok() {
            return Ok(());
        }
        tracing::warn!(key = %self.key, "a supervisor does not obey; killing it and all below it");
        let killed = launch::kill_all(&self.dir, self.key).await;
        killed.map_err(|source| Error::Io { action: "stop", source: source.into() })?;
        self.ended().await;
        Ok(())
    }

    /// Kills it if it runs, and keeps it from being started any more.
    pub(super) async fn retire(&self) -> Result<(), Error> {
        *self.retired.lock().await = true;
        self.stop(StopOrder { signal: "SIGKILL", grace: Duration::ZERO }).await?;
        // Ends whoever still follows the log of one that never started.
        self.log.send_modify(|head| head.closed = true);
        Ok(())
    }
}
