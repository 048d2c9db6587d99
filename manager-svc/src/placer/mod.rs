//! Asks the scheduler for nodes and commits what it answers.
//!
//! One long stream to the scheduler: a snapshot of the nodes, then changes, and one batch of waiting tasks at a time. The
//! stream may break at any moment: nothing is lost, since the truth is here and every answer is re-checked at its commit.

mod batch;
mod status;
mod stream;

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use davit_core::placement::Requirements;
use davit_svc_kit::backoff::Backoff;
use davit_svc_kit::clock::Clock;
use davit_svc_kit::shutdown::Shutdown;
use tokio::sync::watch;
use tracing::{debug, info, warn};

use self::batch::{Group, Known, gather, resolve};
pub use self::status::SchedulerStatus;
use self::stream::{PlaceStream, StreamError};
use crate::commands::{self, PlacementReport};
use crate::contacts::Contacts;
use crate::metrics;
use crate::state::ClusterState;
use crate::writer::Handle;

/// First and longest wait before the scheduler is dialled again.
const REDIAL: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));
/// How long tasks that fitted nowhere wait at most before they are tried again although no node changed.
const RETRY_BLOCKED: Duration = Duration::from_secs(10);

/// Places tasks.
pub(crate) struct Placer {
    pub(crate) writer: Handle,
    pub(crate) contacts: Contacts,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) status: watch::Sender<SchedulerStatus>,
}

impl Placer {
    /// Runs until shutdown.
    pub(crate) async fn run(self, shutdown: Shutdown) {
        let mut backoff = Backoff::new(REDIAL.0, REDIAL.1);
        while !shutdown.is_triggered() {
            let Some(outcome) = shutdown.or_stop(self.serve_stream(&mut backoff)).await else { return };
            let Err(problem) = outcome;
            let was_connected = self.status.borrow().connected;
            if was_connected {
                warn!(%problem, "lost the scheduler");
            } else {
                debug!(%problem, "the scheduler can't be reached");
            }
            self.status.send_modify(|status| {
                status.connected = false;
                status.reason = problem.to_string();
            });
            metrics::scheduler_connected(false);
            self.tell_waiting_tasks(&problem).await;
            if shutdown.or_stop(tokio::time::sleep(backoff.next_delay())).await.is_none() {
                return;
            }
        }
    }

    /// Dials the scheduler and places tasks until the stream breaks.
    async fn serve_stream(&self, backoff: &mut Backoff) -> Result<Infallible, StreamError> {
        let address = self.status.borrow().address.clone();
        let mut state_changes = self.writer.watch();
        let mut known = Known::default();
        let snapshot = known.update(self.views(&self.writer.state())).upserted;
        let mut stream = PlaceStream::open(&address, snapshot).await?;
        info!(%address, "connected to the scheduler");
        backoff.reset();
        self.status.send_modify(|status| {
            status.connected = true;
            status.reason.clear();
        });
        metrics::scheduler_connected(true);
        let mut blocked: BTreeSet<Requirements> = BTreeSet::new();
        let mut retry_blocked = tokio::time::interval(RETRY_BLOCKED);
        loop {
            let state = Arc::clone(&state_changes.borrow_and_update());
            let groups = self.gather(&state, &mut known, &mut blocked, &mut stream).await?;
            if !groups.is_empty() {
                self.place(&state, groups, &mut known, &mut blocked, &mut stream).await?;
                continue;
            }
            let now = self.clock.now();
            let next_due = state.next_due(now).and_then(|due| Duration::try_from(due.duration_since(now)).ok());
            tokio::select! {
                changed = state_changes.changed() => changed.map_err(|_| StreamError::Closed)?,
                () = tokio::time::sleep(next_due.unwrap_or(RETRY_BLOCKED)), if next_due.is_some() => {}
                problem = stream.broken() => return Err(problem),
                _ = retry_blocked.tick() => blocked.clear(),
            }
        }
    }

    /// What may be placed now; tells the scheduler of nodes that changed, if there is anything to place.
    async fn gather(
        &self,
        state: &ClusterState,
        known: &mut Known,
        blocked: &mut BTreeSet<Requirements>,
        stream: &mut PlaceStream,
    ) -> Result<Vec<Group>, StreamError> {
        let now = self.clock.now();
        if state.placeable(now).next().is_none() {
            return Ok(Vec::new());
        }
        let delta = known.update(self.views(state));
        if delta.is_substantial {
            blocked.clear();
        }
        if !delta.upserted.is_empty() || !delta.removed.is_empty() {
            stream.send_delta(&delta).await?;
        }
        Ok(gather(state, now, blocked))
    }

    /// Has one batch placed and commits the answer.
    async fn place(
        &self,
        state: &ClusterState,
        groups: Vec<Group>,
        known: &mut Known,
        blocked: &mut BTreeSet<Requirements>,
        stream: &mut PlaceStream,
    ) -> Result<(), StreamError> {
        let algorithm = self.status.borrow().default_algorithm.clone();
        let answers = stream.place(&groups, &algorithm, state.revision().0).await?;
        let mut placements = Vec::new();
        let mut unplaced = Vec::new();
        for (group, answer) in groups.iter().zip(&answers) {
            let (placed, rest) = resolve(group, answer);
            known.placed(&group.requirements, &placed);
            if !rest.is_empty() {
                blocked.insert(group.requirements.clone());
            }
            placements.extend(placed);
            unplaced.extend(rest);
        }
        let outcome = self
            .writer
            .write(move |draft| {
                commands::note_unplaced(draft, &unplaced);
                Ok::<PlacementReport, Infallible>(commands::commit_placements(draft, &placements))
            })
            .await;
        match outcome {
            Ok(report) => {
                metrics::placements(&report);
                for (placement, why) in &report.rejected {
                    debug!(task_id = %placement.key.task_id, node_id = %placement.node_id, ?why, "placement rejected");
                }
            }
            Err(problem) => {
                // The tasks are still waiting; the next round asks again, once the store had time to recover.
                warn!(%problem, "placements could not be committed");
                tokio::time::sleep(REDIAL.0).await;
            }
        }
        Ok(())
    }

    fn views(&self, state: &ClusterState) -> Vec<davit_core::placement::NodeView> {
        state.nodes().map(|node| state.node_view(node, self.contacts.stats(node.node_id))).collect()
    }

    /// Says on every waiting task that there is no scheduler.
    async fn tell_waiting_tasks(&self, problem: &StreamError) {
        let state = self.writer.state();
        let reason = format!("no scheduler: {problem}");
        let reasons: Vec<_> = state
            .placeable(self.clock.now())
            .filter(|task| task.status.reason != reason)
            .take(batch::MAX_TASKS_PER_BATCH)
            .map(|task| (task.key(), reason.clone()))
            .collect();
        if reasons.is_empty() {
            return;
        }
        let outcome = self
            .writer
            .write(move |draft| {
                commands::note_unplaced(draft, &reasons);
                Ok::<(), Infallible>(())
            })
            .await;
        if let Err(problem) = outcome {
            debug!(%problem, "waiting tasks could not be told why");
        }
    }
}
