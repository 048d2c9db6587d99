//! Asks the scheduler for nodes and commits what it answers.
//!
//! One long stream to the scheduler: a snapshot of the nodes, then changes, and one batch of waiting tasks at a time. The
//! stream may break at any moment: nothing is lost, since the truth is here and every answer is re-checked at its commit.

mod algorithms;
mod answer;
mod batch;
mod claims;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod known;
mod queue;
mod status;
mod stream;
mod telling;
#[cfg(test)]
mod tests;
mod window;
mod work;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use davit_core::state::TaskState;
use davit_svc_kit::backoff::Backoff;
use davit_svc_kit::shutdown::Shutdown;
use davit_svc_kit::world::World;
use jiff::Timestamp;
use tokio::sync::watch;
use tokio::time::Instant;
use tracing::{debug, error, info, warn};

pub use self::algorithms::Algorithms;
use self::answer::{Resolved, resolve};
use self::batch::Group;
pub(crate) use self::claims::keep_claims;
use self::known::{Delta, Known};
use self::queue::Queue;
pub use self::status::SchedulerStatus;
use self::stream::{PlaceStream, StreamError};
use self::window::Window;
use self::work::Budget;
use crate::contacts::Contacts;
use crate::metrics;
use crate::state::ClusterState;
use crate::writer::Handle;

/// First and longest wait before the schedulers are dialled again.
const REDIAL: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));
/// So long at most a scheduler that has too much to do is left alone.
const LONGEST_ASKED: Duration = Duration::from_secs(5);
/// First and longest wait before tasks are placed again whose placements could not be committed.
const NOT_COMMITTED: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));
/// First and longest wait before a scheduler is asked again of whose placements none held.
const REJECTED: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));
/// How long tasks that fitted nowhere wait at most before they are tried again after a change that makes no room: a scheduler may
/// judge by what is measured, or place not all at once.
const RETRY_BLOCKED: Duration = Duration::from_secs(10);

/// So long at most workers are waited for: those that take nothing must not keep tasks from others.
const LONGEST_WAIT_FOR_WORKERS: Duration = Duration::from_secs(1);
/// Single placements that are not committed after so long are asked for anew: more important tasks may wait by then.
const LONGEST_COMMITTING: Duration = Duration::from_secs(5);

/// Places tasks.
pub(crate) struct Placer {
    pub(crate) writer: Handle,
    pub(crate) contacts: Contacts,
    pub(crate) world: World,
    pub(crate) status: watch::Sender<SchedulerStatus>,
    /// Where schedulers are; when one fails, the next is dialled. At least one.
    pub(crate) addresses: Vec<String>,
}

/// What the scheduler, and workers, do in good time; outlives a stream, which may have broken for that.
#[derive(Default)]
struct Pace {
    budget: Budget,
    window: Window,
}

/// What is known while a stream is open.
struct Session {
    stream: PlaceStream,
    algorithms: Algorithms,
    known: Known,
    /// The number of the newest measurement that `known` has.
    measured: u64,
    queue: Queue,
    /// Whether anything changed, be it what the scheduler did itself, since what fitted nowhere was last tried again for that.
    changed: bool,
    /// Grows while the scheduler proposes nothing but what does not hold.
    rejected: Backoff,
    /// Grows while nothing can be committed.
    not_committed: Backoff,
}

impl Placer {
    /// Runs until shutdown.
    pub(crate) async fn run(self, shutdown: Shutdown) {
        let mut backoff = self.world.backoff(REDIAL.0, REDIAL.1);
        let mut pace = Pace::default();
        while !shutdown.is_triggered() {
            let mut asked = LONGEST_ASKED;
            for (index, address) in self.addresses.iter().enumerate() {
                let Some(outcome) = shutdown.or_stop(self.serve_stream(address, &mut backoff, &mut pace)).await else {
                    return;
                };
                let Err(problem) = outcome;
                if matches!(problem, StreamError::Timeout) {
                    pace.budget.was_late();
                }
                self.note_lost(address, &problem);
                asked = asked.min(problem.retry_after());
                // Only when none is left, so that waiting tasks are not told of what passes in a moment.
                if index + 1 == self.addresses.len()
                    && shutdown.or_stop(self.tell_waiting_tasks(&problem)).await.is_none()
                {
                    return;
                }
            }
            if shutdown.or_stop(tokio::time::sleep(backoff.next_delay().max(asked))).await.is_none() {
                return;
            }
        }
    }

    fn note_lost(&self, address: &str, problem: &StreamError) {
        if self.status.borrow().connected {
            warn!(%problem, %address, "lost the scheduler");
        } else {
            debug!(%problem, %address, "the scheduler can't be reached");
        }
        self.status.send_modify(|status| {
            status.connected = false;
            status.reason = problem.to_string();
        });
        metrics::scheduler_connected(false);
    }

    /// Dials a scheduler and places tasks until the stream breaks.
    async fn serve_stream(
        &self,
        address: &str,
        backoff: &mut Backoff,
        pace: &mut Pace,
    ) -> Result<Infallible, StreamError> {
        self.status.send_modify(|status| address.clone_into(&mut status.address));
        let mut state_changes = self.writer.watch();
        let mut known = Known::default();
        let mut measured = 0;
        let snapshot = self.tell(&mut known, &mut measured, &self.writer.state()).upserted;
        let (stream, names) = PlaceStream::open(&self.world.dialer, address, snapshot).await?;
        let algorithms = Algorithms::new(names, self.status.borrow().algorithms.default_name());
        info!(%address, "connected to the scheduler");
        let problem = algorithms.problem_of_default();
        if let Some(problem) = &problem {
            error!(%problem, "tasks that name no algorithm are not placed");
        }
        self.status.send_modify(|status| {
            status.connected = true;
            status.reason = problem.unwrap_or_default();
            status.algorithms = algorithms.clone();
        });
        metrics::scheduler_connected(true);
        let rejected = self.world.backoff(REJECTED.0, REJECTED.1);
        let not_committed = self.world.backoff(NOT_COMMITTED.0, NOT_COMMITTED.1);
        let (queue, changed) = (Queue::default(), false);
        let mut session = Session { stream, algorithms, known, measured, queue, changed, rejected, not_committed };
        let mut retry_blocked = tokio::time::interval(RETRY_BLOCKED);
        let mut retries = false;
        loop {
            let (state, now) = (Arc::clone(&state_changes.borrow_and_update()), self.world.clock.now());
            let groups = self.gather(&state, now, &mut session, pace.budget, std::mem::take(&mut retries)).await?;
            let asks = !groups.is_empty();
            if asks {
                self.place(state, now, groups, &mut session, &mut pace.window).await?;
                pace.budget.was_in_time();
                // Not before: one that takes a stream and breaks it would be sent all nodes over and over.
                backoff.reset();
            }
            if self.tell_some(&mut session).await || asks {
                continue;
            }
            let next_due = session.queue.next_due().map(|due| due.duration_since(self.world.clock.now()));
            let next_due = next_due.map(|wait| Duration::try_from(wait).unwrap_or_default());
            tokio::select! {
                changed = state_changes.changed() => changed.map_err(|_| StreamError::Closed)?,
                () = tokio::time::sleep(next_due.unwrap_or(RETRY_BLOCKED)), if next_due.is_some() => {}
                problem = session.stream.broken() => return Err(problem),
                _ = retry_blocked.tick() => {
                    retries = true;
                    session.known.tell_only_tasks_below(self.writer.state().highest_preempting_priority());
                }
            }
        }
    }

    /// What may be placed now; tells the scheduler of nodes that changed, if there is anything to place. What fitted nowhere is tried
    /// again if what changed may make room; `retries`: after any change.
    async fn gather(
        &self,
        state: &ClusterState,
        now: Timestamp,
        session: &mut Session,
        budget: Budget,
        retries: bool,
    ) -> Result<Vec<Group>, StreamError> {
        session.queue.follow(state, now);
        if !session.queue.has_due() {
            return Ok(Vec::new());
        }
        session.known.tell_tasks_below(state.highest_preempting_priority());
        let delta = self.tell(&mut session.known, &mut session.measured, state);
        let differs = !delta.upserted.is_empty() || !delta.removed.is_empty();
        session.changed |= differs;
        if delta.is_substantial || retries && std::mem::take(&mut session.changed) {
            session.queue.unblock(state, now);
        }
        if differs {
            session.stream.send_delta(&delta).await?;
        }
        Ok(session.queue.gather(state, now, &session.algorithms, budget))
    }

    /// What the scheduler has to be told, of measurements those after the `measured`th.
    fn tell(&self, known: &mut Known, measured: &mut u64, state: &ClusterState) -> Delta {
        let newer = self.contacts.measurements_after(*measured);
        *measured = newer.last().map_or(*measured, |(number, ..)| *number);
        let nodes = newer.into_iter().map(|(_, node_id, _)| node_id);
        known.update(state, nodes, |node_id| self.contacts.stats(node_id), self.world.clock.now())
    }

    /// Has one batch placed and commits the answer.
    async fn place(
        &self,
        state: Arc<ClusterState>,
        now: Timestamp,
        groups: Vec<Group>,
        session: &mut Session,
        window: &mut Window,
    ) -> Result<(), StreamError> {
        let answers = session.stream.place(&groups, state.revision().0).await?;
        let mut all = Resolved::default();
        for (group, answer) in groups.iter().zip(&answers) {
            let resolved = resolve(group, answer, &state, now);
            session.known.placed(&group.request.requirements, resolved.all_placements());
            for order in &resolved.preemptions {
                session.known.claimed(order.node_id);
            }
            if resolved.all_placements().count() < group.count() {
                session.queue.block(group, &answer.unplaced_reason);
            }
            all.append(resolved);
        }
        // All tasks that change from here on would be kept as they were.
        drop(state);
        session.changed |= all.all_placements().next().is_some();
        let (mut committed, mut rejected) = (0, 0);
        all.sort_by_node();
        let began = Instant::now();
        while !all.is_empty() {
            self.until_taken(window, all.placements.len()).await;
            if began.elapsed() >= LONGEST_COMMITTING {
                // Not gangs, nor what makes room: they come last, and might never be committed.
                all.placements.clear();
            }
            let Some(part) = all.next_part(window.part()) else { break };
            let (placed, preempted) = match self.writer.write(|draft| Ok::<_, Infallible>(part.commit(draft))).await {
                Ok(done) => done,
                Err(problem) => {
                    // The tasks are still waiting; the next round asks again, once the store or the writer had time to recover.
                    warn!(%problem, "placements could not be committed");
                    tokio::time::sleep(session.not_committed.next_delay()).await;
                    return Ok(());
                }
            };
            metrics::placements(&placed);
            metrics::preemptions(&preempted);
            for (placement, why) in &placed.rejected {
                debug!(task_id = %placement.key.task_id, node_id = %placement.node_id, ?why, "placement rejected");
            }
            for (key, why) in &preempted.left_alone {
                debug!(task_id = %key.task_id, why, "preemption rejected");
            }
            session.not_committed.reset();
            (committed, rejected) = (committed + placed.committed, rejected + placed.rejected.len());
        }
        if committed > 0 || rejected == 0 {
            session.rejected.reset();
        } else {
            tokio::time::sleep(session.rejected.next_delay()).await;
        }
        Ok(())
    }

    /// Waits, not for ever, until workers have taken most of what was placed, and are heard in good time: what is placed faster than
    /// that only waits elsewhere, in front of heartbeats.
    async fn until_taken(&self, window: &mut Window, to_commit: usize) {
        let (mut states, began) = (self.writer.watch(), Instant::now());
        let not_taken = |state: &Arc<ClusterState>| state.task_count(TaskState::Scheduled);
        let few_wait = states.wait_for(|state| window.has_room_beside(not_taken(state)));
        // A writer that is gone ends all of this.
        let in_time = tokio::time::timeout(LONGEST_WAIT_FOR_WORKERS, few_wait).await.is_ok();
        let not_taken = not_taken(&self.writer.state());
        if in_time {
            window.had_room(began.elapsed(), not_taken, to_commit >= window.part());
        } else {
            window.had_none(not_taken);
        }
        self.contacts.until_heard_in_time().await;
    }
}
