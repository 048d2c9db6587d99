//! The single writer: runs commands one after the other on a draft, commits what they changed in one batch, then answers and
//! publishes. While a batch is being committed the next commands gather, so one commit carries many of them (group commit).

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use davit_svc_kit::clock::Clock;
use davit_svc_kit::readiness::Readiness;
use davit_svc_kit::shutdown::Shutdown;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;
use tracing::{error, info, warn};

use crate::dispatch::Router;
use crate::state::{Batch, ClusterState, Draft};
use crate::store::{self, Store};

/// Commands that may wait for the writer. Beyond it callers wait, and then are told to come back.
const QUEUE: usize = 1024;
/// Commands that one batch carries at most.
const MAX_COMMANDS_PER_BATCH: usize = 1024;
/// How long a caller waits for a place in the queue.
const ADMISSION_TIMEOUT: Duration = Duration::from_secs(2);
/// How often a store that failed is looked at again.
const RECHECK_PERIOD: Duration = Duration::from_millis(500);

/// Why a command has no answer of its own.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WriteError<E> {
    /// The command was refused. Nothing changed.
    #[error(transparent)]
    Refused(E),
    /// The change could not be committed. Nothing changed.
    #[error("nothing was changed: {0}")]
    NotCommitted(#[from] store::Error),
    /// Too many commands wait. Nothing changed.
    #[error("the manager is overloaded; nothing was changed")]
    Overloaded,
    /// The manager is stopping. Nothing changed.
    #[error("the manager is stopping; nothing was changed")]
    Stopping,
}

type Reply = Box<dyn FnOnce(Result<(), store::Error>) + Send>;
type Command = Box<dyn FnOnce(&mut Draft, &mut Effects) -> Reply + Send>;

/// What happens outside the state once a batch is committed.
pub type Effects = Vec<Box<dyn FnOnce(&mut Router, &ClusterState) + Send>>;

/// Gives commands to the writer and looks at what it committed. Clones share the writer.
#[derive(Debug, Clone)]
pub struct Handle {
    commands: mpsc::Sender<Command>,
    state: watch::Receiver<Arc<ClusterState>>,
}

impl Handle {
    /// The cluster as last committed.
    #[must_use]
    pub fn state(&self) -> Arc<ClusterState> {
        Arc::clone(&self.state.borrow())
    }

    /// A receiver that sees every version from now on (or the newest of several).
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Arc<ClusterState>> {
        self.state.clone()
    }

    /// Runs a command and answers when what it changed is durable and published.
    ///
    /// # Errors
    /// When it was refused or could not be committed; nothing changed then.
    pub async fn write<T, E>(
        &self,
        command: impl FnOnce(&mut Draft) -> Result<T, E> + Send + 'static,
    ) -> Result<T, WriteError<E>>
    where
        T: Send + 'static,
        E: Send + 'static,
    {
        self.write_with_effects(|draft, _| command(draft)).await
    }

    /// As [`Handle::write`]; the command may also leave effects for the moment after the commit.
    ///
    /// # Errors
    /// When it was refused or could not be committed; nothing changed then.
    pub async fn write_with_effects<T, E>(
        &self,
        command: impl FnOnce(&mut Draft, &mut Effects) -> Result<T, E> + Send + 'static,
    ) -> Result<T, WriteError<E>>
    where
        T: Send + 'static,
        E: Send + 'static,
    {
        let (answer_to, mut answer) = oneshot::channel();
        let boxed: Command = Box::new(move |draft, effects| {
            let outcome = command(draft, effects);
            Box::new(move |committed| {
                let outcome = match (outcome, committed) {
                    // Also a refusal: what it went by may be a change of the same batch that never was.
                    (_, Err(failed)) => Err(WriteError::NotCommitted(failed)),
                    (Err(refused), Ok(())) => Err(WriteError::Refused(refused)),
                    (Ok(value), Ok(())) => Ok(value),
                };
                // The caller may have gone; the change stands all the same.
                let _ = answer_to.send(outcome);
            })
        });
        match tokio::time::timeout(ADMISSION_TIMEOUT, self.commands.reserve()).await {
            Ok(Ok(place)) => place.send(boxed),
            Ok(Err(_)) => return Err(WriteError::Stopping),
            Err(_) => return Err(WriteError::Overloaded),
        }
        tokio::select! {
            biased;
            outcome = &mut answer => outcome.unwrap_or(Err(WriteError::Stopping)),
            // A command that got into the queue just as the writer ended is never run nor dropped: don't wait for it.
            () = self.commands.closed() => answer.try_recv().unwrap_or(Err(WriteError::Stopping)),
        }
    }
}

/// The writer. Owns the newest version of the cluster.
pub struct Writer {
    commands: mpsc::Receiver<Command>,
    published: watch::Sender<Arc<ClusterState>>,
    state: ClusterState,
    store: Arc<dyn Store>,
    router: Router,
    clock: Arc<dyn Clock>,
    readiness: Readiness,
}

impl Writer {
    /// Loads what the store holds.
    ///
    /// # Errors
    /// When the store can't be read.
    pub async fn load(
        store: Arc<dyn Store>,
        router: Router,
        clock: Arc<dyn Clock>,
        readiness: Readiness,
        kept_events: usize,
    ) -> Result<(Self, Handle), store::Error> {
        let snapshot = store.load().await?;
        let state = ClusterState::from_snapshot(snapshot, kept_events);
        let (commands_to, commands) = mpsc::channel(QUEUE);
        let published = watch::Sender::new(Arc::new(state.clone()));
        let handle = Handle { commands: commands_to, state: published.subscribe() };
        Ok((Self { commands, published, state, store, router, clock, readiness }, handle))
    }

    /// Runs until shutdown; commands that wait then are answered [`WriteError::Stopping`].
    pub async fn run(mut self, shutdown: Shutdown) {
        self.readiness.set_ready();
        let mut gathered = Vec::with_capacity(MAX_COMMANDS_PER_BATCH);
        let mut recheck = tokio::time::interval(RECHECK_PERIOD);
        recheck.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut writable = true;
        loop {
            tokio::select! {
                biased;
                () = shutdown.triggered() => return,
                count = self.commands.recv_many(&mut gathered, MAX_COMMANDS_PER_BATCH) => {
                    if count == 0 {
                        return;
                    }
                    let committed = self.run_batch(gathered.drain(..)).await;
                    self.note_health(&mut writable, committed);
                }
                _ = recheck.tick(), if !writable => {
                    let checked = self.store.check().await;
                    self.note_health(&mut writable, checked);
                }
            }
        }
    }

    async fn run_batch(&mut self, commands: impl Iterator<Item = Command>) -> Result<(), store::Error> {
        let mut draft = Draft::new(self.state.clone(), self.clock.now());
        let mut effects = Effects::new();
        let replies: Vec<Reply> = commands.map(|command| command(&mut draft, &mut effects)).collect();
        let (state, batch) = draft.finish();
        let committed = self.commit(&state, batch).await;
        if committed.is_ok() {
            for effect in effects {
                effect(&mut self.router, &state);
            }
        }
        for reply in replies {
            reply(committed.clone());
        }
        committed
    }

    /// Makes a version durable and the newest. On failure the version is forgotten, and the old one stands.
    async fn commit(&mut self, state: &ClusterState, batch: Batch) -> Result<(), store::Error> {
        if batch.is_empty() {
            return Ok(());
        }
        let batch = Arc::new(batch);
        let began = Instant::now();
        let committed = self.store.commit(Arc::clone(&batch)).await;
        crate::metrics::commit(batch.changes.len(), began.elapsed(), committed.is_ok());
        committed?;
        self.state = state.clone();
        self.router.route(&batch.changes);
        self.published.send_replace(Arc::new(state.clone()));
        Ok(())
    }

    fn note_health(&self, writable: &mut bool, outcome: Result<(), store::Error>) {
        match outcome {
            Ok(()) if !*writable => {
                info!("the store can be written again");
                *writable = true;
                self.readiness.set_ready();
            }
            Ok(()) => {}
            Err(problem) => {
                if *writable {
                    error!(%problem, "a batch could not be committed; the manager is read-only");
                } else {
                    warn!(%problem, "the manager is still read-only");
                }
                *writable = false;
                self.readiness.set_not_ready(problem.to_string());
            }
        }
    }
}
