//! The callers' side of the writer.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use super::command::{Command, Entry, ticket_for};
use super::pace::{Backlog, retry_after, typical_after};
use super::{Effects, WriteError};
use crate::state::{ClusterState, Draft};

/// How long a caller waits for a place in the queue.
const ADMISSION_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a command may wait in the queue for its turn. One that was begun is waited for as long as its caller likes.
const TURN_TIMEOUT: Duration = Duration::from_secs(5);

/// Gives commands to the writer and looks at what it committed. Clones share the writer.
#[derive(Debug, Clone)]
pub struct Handle {
    pub(super) queue: Queue,
    users: Queue,
    pace: Arc<Pace>,
    state: watch::Receiver<Arc<ClusterState>>,
}

/// The way to one of the writer's queues.
#[derive(Debug, Clone)]
pub(super) struct Queue {
    pub(super) commands: mpsc::Sender<Entry>,
    /// Callers that wait, in the queue or for a place in it.
    waiting: Arc<AtomicUsize>,
}

impl Queue {
    pub(super) fn new(commands: mpsc::Sender<Entry>) -> Self {
        Self { commands, waiting: Arc::default() }
    }
}

/// One caller that waits.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn count(waiting: &'a AtomicUsize) -> Self {
        waiting.fetch_add(1, Ordering::Relaxed);
        Self(waiting)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// How fast the writer is.
#[derive(Debug, Default)]
pub(super) struct Pace(Mutex<Times>);

#[derive(Debug, Default)]
struct Times {
    typical: Duration,
    /// When the batch under way was begun.
    begun: Option<Instant>,
}

impl Pace {
    /// A batch begins.
    pub(super) fn begin(&self) {
        self.0.lock().begun = Some(Instant::now());
    }

    /// It has ended.
    pub(super) fn end(&self) {
        let mut times = self.0.lock();
        if let Some(begun) = times.begun.take() {
            times.typical = typical_after(times.typical, begun.elapsed());
        }
    }

    fn backlog(&self, waiting: usize) -> Backlog {
        let times = self.0.lock();
        let under_way = times.begun.map_or(Duration::ZERO, |begun| begun.elapsed());
        Backlog { waiting, typical: times.typical, under_way }
    }
}

impl Handle {
    pub(super) fn new(queue: Queue, users: Queue, pace: Arc<Pace>, state: watch::Receiver<Arc<ClusterState>>) -> Self {
        Self { queue, users, pace, state }
    }

    /// The same writer for the commands of users. They have a queue of their own: however many there are, the cluster's own
    /// commands (registrations, reports, placements, health) find their places.
    #[must_use]
    pub fn for_users(&self) -> Self {
        Self { queue: self.users.clone(), ..self.clone() }
    }

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

    /// Runs a command and answers when what it changed is durable and published. A caller that is gone before the writer begins
    /// it takes it back.
    ///
    /// # Errors
    /// When it was refused, could not be committed, or not begun in time; nothing changed then.
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
    /// When it was refused, could not be committed, or not begun in time; nothing changed then.
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
        let _waiting = Waiting::count(&self.queue.waiting);
        let (entry, ticket) = ticket_for(boxed);
        match tokio::time::timeout(ADMISSION_TIMEOUT, self.queue.commands.reserve()).await {
            Ok(Ok(place)) => place.send(entry),
            Ok(Err(_)) => return Err(WriteError::Stopping),
            Err(_) => return Err(self.overloaded()),
        }
        let mut answered = std::pin::pin!(async {
            tokio::select! {
                biased;
                outcome = &mut answer => outcome.unwrap_or(Err(WriteError::Stopping)),
                // A command that got into the queue just as the writer ended is never run nor dropped: don't wait for it.
                () = self.queue.commands.closed() => answer.try_recv().unwrap_or(Err(WriteError::Stopping)),
            }
        });
        match tokio::time::timeout(TURN_TIMEOUT, &mut answered).await {
            Ok(outcome) => outcome,
            Err(_) if ticket.take_back() => Err(self.overloaded()),
            // It is being committed. How that ends only the store can tell.
            Err(_) => answered.await,
        }
    }

    fn overloaded<E>(&self) -> WriteError<E> {
        let waiting = self.queue.waiting.load(Ordering::Relaxed);
        WriteError::Overloaded { retry_after: retry_after(self.pace.backlog(waiting)) }
    }
}
