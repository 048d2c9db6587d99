//! The loop that keeps deployments and jobs as they are wanted: whenever something of one changed, or its time has come, what is to
//! be done is planned on the newest state and committed. It keeps nothing: all that it must know stands in them.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use davit_core::id::{DeploymentId, JobId};
use davit_svc_kit::shutdown::Shutdown;
use davit_svc_kit::world::World;
use tokio::time::Instant;
use tracing::warn;

use crate::commands::{self, Limits};
use crate::writer::Handle;

/// How many deployments or jobs are brought forward by one command, so that others get their turns.
const PER_COMMAND: usize = 16;
/// Between two rounds: many changes come together.
const PAUSE: Duration = Duration::from_millis(20);
/// The pause is so many times as long as the round was: whatever changes, others have the writer for most of the time.
const REST: u32 = 4;
/// The longest sleep: the time of day, by which they are due, may be set meanwhile.
const LONGEST_SLEEP: Duration = Duration::from_secs(1);
/// How long the store gets to recover when a change could not be committed.
const RECOVERY: Duration = Duration::from_millis(500);

/// Something that is due.
#[derive(Debug, Clone, Copy)]
enum Due {
    Deployment(DeploymentId),
    Job(JobId),
}

/// Keeps deployments and jobs as they are wanted.
#[derive(Clone)]
pub(crate) struct Reconciler {
    writer: Handle,
    world: World,
    limits: Limits,
}

impl Reconciler {
    pub(crate) fn new(writer: Handle, world: World, limits: Limits) -> Self {
        Self { writer, world, limits }
    }

    /// Runs until shutdown.
    pub(crate) async fn run(self, shutdown: Shutdown) {
        let began = async {
            while let Err(problem) = self.begin().await {
                warn!(%problem, "deployments can't be looked at yet; trying again");
                tokio::time::sleep(RECOVERY).await;
            }
        };
        if shutdown.or_stop(began).await.is_none() {
            return;
        }
        let mut changes = self.writer.watch();
        loop {
            changes.mark_unchanged();
            let Some(paused) = shutdown.or_stop(Box::pin(self.round())).await else { return };
            let waited = async {
                tokio::time::sleep(paused).await;
                tokio::select! {
                    changed = changes.changed() => changed.is_ok(),
                    () = self.until_due() => true,
                }
            };
            if shutdown.or_stop(waited).await != Some(true) {
                return;
            }
        }
    }

    async fn begin(&self) -> Result<(), crate::writer::WriteError<Infallible>> {
        let under_way = self.writer.state().deployments().any(|deployment| !deployment.rollout.state.is_settled());
        if !under_way {
            return Ok(());
        }
        let restart = |draft: &mut _| {
            commands::restart_deadlines(draft);
            Ok(())
        };
        self.writer.write(restart).await
    }

    /// Brings all deployments and jobs forward that are due. Says for how long to wait at least before the next round.
    async fn round(&self) -> Duration {
        let began = Instant::now();
        let (state, now) = (self.writer.state(), self.world.clock.now());
        let (deployments, jobs) = (state.deployments_to_look_at(now), state.jobs_to_look_at(now));
        drop(state);
        let all = deployments.into_iter().map(Due::Deployment).chain(jobs.into_iter().map(Due::Job));
        let all: Vec<Due> = all.collect();
        for some in all.chunks(PER_COMMAND) {
            let some: Vec<Due> = some.to_vec();
            let (ids, limits) = (Arc::clone(&self.world.ids), self.limits);
            let reconcile = move |draft: &mut _| {
                let mut ids = std::iter::repeat_with(|| ids.task_id());
                for due in some {
                    match due {
                        Due::Deployment(id) => commands::reconcile_deployment(draft, id, &mut ids, limits),
                        Due::Job(id) => commands::reconcile_job(draft, id, &mut ids, limits),
                    }
                }
                Ok::<(), Infallible>(())
            };
            if let Err(problem) = self.writer.write(reconcile).await {
                warn!(%problem, "deployments and jobs could not be brought forward; trying again");
                return RECOVERY;
            }
        }
        PAUSE.max(began.elapsed() * REST)
    }

    /// Waits until time alone makes something due; for ever, if it makes nothing.
    async fn until_due(&self) {
        loop {
            let (state, now) = (self.writer.state(), self.world.clock.now());
            if !state.deployments_to_look_at(now).is_empty() || !state.jobs_to_look_at(now).is_empty() {
                return;
            }
            let next = [state.next_deployment_look(), state.next_job_look()].into_iter().flatten().min();
            let Some(at) = next else { return std::future::pending().await };
            drop(state);
            let wait = Duration::try_from(at.duration_since(now)).unwrap_or_default();
            tokio::time::sleep(wait.min(LONGEST_SLEEP)).await;
        }
    }
}
