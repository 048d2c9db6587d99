//! The loop that keeps deployments as they are wanted: whenever something of one changed, or its time has come, what is to be done
//! is planned on the newest state and committed. It keeps nothing: all that it must know stands in the deployments.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use davit_core::id::DeploymentId;
use davit_svc_kit::shutdown::Shutdown;
use davit_svc_kit::world::World;
use tracing::warn;

use crate::commands::{self, Limits};
use crate::writer::Handle;

/// How many deployments are brought forward by one command, so that others get their turns.
const PER_COMMAND: usize = 16;
/// Between two rounds: many changes come together.
const PAUSE: Duration = Duration::from_millis(20);
/// The longest sleep: the time of day, by which deployments are due, may be set meanwhile.
const LONGEST_SLEEP: Duration = Duration::from_secs(1);
/// How long the store gets to recover when a change could not be committed.
const RECOVERY: Duration = Duration::from_millis(500);

/// Keeps deployments as they are wanted.
#[derive(Clone)]
pub(crate) struct Deployer {
    writer: Handle,
    world: World,
    limits: Limits,
}

impl Deployer {
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

    /// Brings all deployments forward that are due. Says for how long to wait at least before the next round.
    async fn round(&self) -> Duration {
        let due = self.writer.state().deployments_to_look_at(self.world.clock.now());
        for some in due.chunks(PER_COMMAND) {
            let some: Vec<DeploymentId> = some.to_vec();
            let (ids, limits) = (Arc::clone(&self.world.ids), self.limits);
            let reconcile = move |draft: &mut _| {
                let mut ids = std::iter::repeat_with(|| ids.task_id());
                for deployment_id in some {
                    commands::reconcile_deployment(draft, deployment_id, &mut ids, limits);
                }
                Ok::<(), Infallible>(())
            };
            if let Err(problem) = self.writer.write(reconcile).await {
                warn!(%problem, "deployments could not be brought forward; trying again");
                return RECOVERY;
            }
        }
        PAUSE
    }

    /// Waits until time alone makes a deployment due; for ever, if it makes none.
    async fn until_due(&self) {
        loop {
            let (state, now) = (self.writer.state(), self.world.clock.now());
            if !state.deployments_to_look_at(now).is_empty() {
                return;
            }
            let Some(at) = state.next_deployment_look() else { return std::future::pending().await };
            drop(state);
            let wait = Duration::try_from(at.duration_since(now)).unwrap_or_default();
            tokio::time::sleep(wait.min(LONGEST_SLEEP)).await;
        }
    }
}
