//! The single writer: runs commands one after the other on a draft, commits what they changed in one batch, then answers and
//! publishes. While a batch is being committed the next commands gather, so one commit carries many of them (group commit).

mod command;
mod handle;
mod pace;
mod set_clock;
mod store_health;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use davit_svc_kit::clock::Clock;
use davit_svc_kit::readiness::Readiness;
use davit_svc_kit::shutdown::Shutdown;
use davit_svc_kit::world::World;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use self::command::{Entry, Reply};
pub use self::handle::Handle;
use self::handle::{Pace, Queue};
use self::set_clock::SetClock;
use self::store_health::StoreHealth;
use crate::commands::{shift_leases, shift_rollouts, shift_runs};
use crate::dispatch::Router;
use crate::state::{Batch, ClusterState, Draft, KeptEvents};
use crate::store::{self, Store};

/// Commands of each kind (the cluster's own, users') that may wait for the writer. Beyond it callers wait, and then are told to
/// come back.
const QUEUE: usize = 1024;
/// Commands of each kind that one batch carries at most, so that neither kind holds up the other.
const MAX_COMMANDS_PER_BATCH: usize = 1024;

/// For a batch that is being committed when the writer is to stop. Nobody is left by then who could be answered: the servers have
/// given their calls longer than this.
const LAST_BATCH_TIME: Duration = Duration::from_secs(2);

/// Why a command has no answer of its own.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WriteError<E> {
    /// The command was refused. Nothing changed.
    #[error(transparent)]
    Refused(E),
    /// The change could not be committed. Nothing changed.
    #[error("nothing was changed: {0}")]
    NotCommitted(#[from] store::Error),
    /// Too many commands wait, or the store hangs. Nothing changed.
    #[error("the manager is overloaded; nothing was changed")]
    Overloaded {
        /// About when it may go better.
        retry_after: Duration,
    },
    /// The manager is stopping. Nothing changed.
    #[error("the manager is stopping; nothing was changed")]
    Stopping,
}

/// What happens outside the state once a batch is committed.
pub type Effects = Vec<Box<dyn FnOnce(&mut Router, &ClusterState) + Send>>;

/// The writer. Owns the newest version of the cluster.
pub struct Writer {
    inlets: Inlets,
    pace: Arc<Pace>,
    published: watch::Sender<Arc<ClusterState>>,
    state: ClusterState,
    store: Arc<dyn Store>,
    router: Router,
    clock: Arc<dyn Clock>,
    set_clock: SetClock,
    store_health: StoreHealth,
}

/// Where commands come in.
struct Inlets {
    /// The cluster's own.
    own: mpsc::Receiver<Entry>,
    users: mpsc::Receiver<Entry>,
}

impl Inlets {
    /// Waits for commands and takes those that are there, the cluster's own first. `None` when no more can come. May be dropped
    /// without losing any.
    async fn gather(&mut self) -> Option<Vec<Entry>> {
        let (first, of_own) = tokio::select! {
            biased;
            first = self.own.recv() => (first?, 1),
            first = self.users.recv() => (first?, 0),
        };
        let mut gathered = vec![first];
        for (inlet, taken) in [(&mut self.own, of_own), (&mut self.users, 1 - of_own)] {
            let more = std::iter::from_fn(|| inlet.try_recv().ok());
            gathered.extend(more.take(MAX_COMMANDS_PER_BATCH - taken));
        }
        Some(gathered)
    }
}

impl Writer {
    /// Loads what the store holds.
    ///
    /// # Errors
    /// When the store can't be read.
    pub async fn load(
        store: Arc<dyn Store>,
        router: Router,
        world: &World,
        readiness: Readiness,
        kept_events: KeptEvents,
    ) -> Result<(Self, Handle), store::Error> {
        let snapshot = store.load().await?;
        let state = ClusterState::from_snapshot(snapshot, kept_events);
        let (own_to, own) = mpsc::channel(QUEUE);
        let (users_to, users) = mpsc::channel(QUEUE);
        let (inlets, pace) = (Inlets { own, users }, Arc::new(Pace::default()));
        let published = watch::Sender::new(Arc::new(state.clone()));
        let handle = Handle::new(Queue::new(own_to), Queue::new(users_to), Arc::clone(&pace), published.subscribe());
        let (clock, store_health) = (Arc::clone(&world.clock), StoreHealth::new(readiness, world));
        let set_clock = SetClock::new(clock.now(), clock.uptime());
        Ok((Self { inlets, pace, published, state, store, router, clock, set_clock, store_health }, handle))
    }

    /// Runs until shutdown; commands that wait then are answered [`WriteError::Stopping`]. A store that hangs does not hold up the
    /// end: how its last write went is seen when it is loaded again.
    pub async fn run(self, shutdown: Shutdown) {
        if shutdown.drain(LAST_BATCH_TIME, Box::pin(self.run_batches(&shutdown))).await.is_err() {
            tracing::error!(
                "the store did not end its last write in time; whether it is durable is seen at the next start"
            );
        }
    }

    async fn run_batches(mut self, shutdown: &Shutdown) {
        self.store_health.begin();
        loop {
            let next_look = self.store_health.next_look();
            tokio::select! {
                biased;
                () = shutdown.triggered() => return,
                // Before commands, of which there may be some at any time.
                () = tokio::time::sleep_until(next_look.unwrap_or_else(Instant::now)), if next_look.is_some() => {
                    let checked = self.store_health.watch(self.store.check()).await;
                    self.store_health.note(checked);
                }
                gathered = self.inlets.gather() => {
                    let Some(gathered) = gathered else { return };
                    self.pace.begin();
                    self.run_batch(gathered).await;
                    self.pace.end();
                }
            }
        }
    }

    /// Runs commands, commits what they changed, and answers them.
    async fn run_batch(&mut self, commands: Vec<Entry>) {
        let (now, uptime) = (self.clock.now(), self.clock.uptime());
        let mut draft = Draft::new(self.state.clone(), now);
        let set_by = self.set_clock.set_by(now, uptime);
        if let Some(by) = set_by {
            tracing::warn!(
                by_s = by.as_secs_f64(),
                "the time of day was set; waits for leases go on as if it had not been"
            );
            shift_leases(&mut draft, by);
            shift_rollouts(&mut draft, by);
            shift_runs(&mut draft, by);
        }
        let mut effects = Effects::new();
        let begun = commands.into_iter().filter_map(Entry::begin);
        let replies: Vec<Reply> = begun.map(|command| command(&mut draft, &mut effects)).collect();
        let (state, batch) = draft.finish();
        // What changes nothing needs no store, and says nothing of it.
        let committed = if batch.is_empty() {
            self.keep(&state);
            Ok(())
        } else {
            self.commit(&state, batch).await
        };
        if committed.is_ok() {
            // Clocks that drift apart were not set.
            self.set_clock = SetClock::new(now, uptime);
            for effect in effects {
                effect(&mut self.router, &state);
            }
        }
        for reply in replies {
            reply(committed.clone());
        }
    }

    /// Takes a version in which nothing changed but what is to be looked at again, and when. Nobody is woken for it.
    fn keep(&mut self, state: &ClusterState) {
        self.state = state.clone();
        self.published.send_if_modified(|newest| {
            *newest = Arc::new(state.clone());
            false
        });
    }

    /// Makes a version durable and the newest. On failure the version is forgotten, and the old one stands.
    async fn commit(&mut self, state: &ClusterState, batch: Batch) -> Result<(), store::Error> {
        if let Some(problem) = self.store_health.problem() {
            return Err(problem.clone());
        }
        let batch = Arc::new(batch);
        let began = Instant::now();
        let committed = self.store_health.watch(self.store.commit(Arc::clone(&batch))).await;
        crate::metrics::commit(batch.changes.len(), began.elapsed(), committed.is_ok());
        self.store_health.note(committed.clone().map(drop));
        committed?;
        self.state = state.clone();
        // Before workers are told: one that asks for what its new attempt needs at once has to be known to have it.
        self.published.send_replace(Arc::new(state.clone()));
        self.router.route(&batch.changes);
        Ok(())
    }
}
