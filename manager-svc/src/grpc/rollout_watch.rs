//! One reader's view of a rollout. It looks at the newest state only, so a slow reader skips what it was too slow for.

use std::sync::Arc;
use std::time::Duration;

use davit_core::deployment::{Deployment, RolloutState};
use davit_core::id::DeploymentId;
use davit_proto::v1;
use davit_svc_kit::grpc::ApiError;
use davit_svc_kit::shutdown::Shutdown;
use futures::{Stream, stream};
use tokio::sync::watch;
use tonic::Status;

use super::Api;
use super::deployment_service::no_deployment;
use super::deployment_view::{by_node, show};
use super::errors::stopping;
use crate::state::ClusterState;

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(100);

/// One reader of a rollout.
pub(super) struct RolloutWatch {
    states: watch::Receiver<Arc<ClusterState>>,
    shutdown: Shutdown,
    deployment_id: DeploymentId,
    through_promotion: bool,
    /// As it was last.
    known: Arc<Deployment>,
    /// What was told last, but for the revision.
    told: Option<v1::WatchRolloutResponse>,
    ended: bool,
}

impl RolloutWatch {
    /// Begins with what is known.
    ///
    /// # Errors
    /// When there is no such deployment.
    pub(super) fn begin(api: &Api, request: &v1::WatchRolloutRequest) -> Result<Self, ApiError> {
        if request.deployment.is_empty() {
            return Err(ApiError::invalid_field("deployment", "is needed: an id or a name"));
        }
        let states = api.writer.watch();
        let known = states.borrow().find_deployment(&request.deployment).cloned();
        let known = known.ok_or_else(|| no_deployment(&request.deployment))?;
        Ok(Self {
            states,
            shutdown: api.shutdown.clone(),
            deployment_id: known.deployment_id,
            through_promotion: request.through_promotion,
            known,
            told: None,
            ended: false,
        })
    }

    /// The messages, as the reader asks for them. Ends with the rollout, or after an error.
    pub(super) fn into_stream(self) -> impl Stream<Item = Result<v1::WatchRolloutResponse, Status>> + Send {
        stream::unfold(Some(self), async |watch| {
            let mut watch = watch.filter(|watch| !watch.ended)?;
            match watch.next().await {
                Ok(message) => Some((Ok(message), Some(watch))),
                Err(error) => Some((Err(error.into()), None)),
            }
        })
    }

    async fn next(&mut self) -> Result<v1::WatchRolloutResponse, ApiError> {
        loop {
            let (message, revision) = self.look();
            if self.told.as_ref() != Some(&message) {
                self.told = Some(message.clone());
                return Ok(v1::WatchRolloutResponse { revision, ..message });
            }
            tokio::select! {
                biased;
                () = self.shutdown.triggered() => return Err(stopping()),
                changed = self.states.changed() => changed.map_err(|_| stopping())?,
            }
            if self.shutdown.or_stop(tokio::time::sleep(PAUSE)).await.is_none() {
                return Err(stopping());
            }
        }
    }

    fn look(&mut self) -> (v1::WatchRolloutResponse, u64) {
        let state = Arc::clone(&self.states.borrow_and_update());
        let revision = state.revision().0;
        let Some(deployment) = state.deployment(self.deployment_id) else {
            self.ended = true;
            let deployment = Some(show(&state, &self.known, true));
            return (v1::WatchRolloutResponse { deployment, nodes: Vec::new(), deleted: true, revision: 0 }, revision);
        };
        self.known = Arc::clone(deployment);
        let rollout = deployment.rollout.state;
        let waits = rollout == RolloutState::AwaitingPromotion && !self.through_promotion;
        self.ended = !deployment.is_deleted && (rollout.is_settled() || waits);
        let (nodes, deployment) = (by_node(&state, deployment), Some(show(&state, deployment, true)));
        (v1::WatchRolloutResponse { deployment, nodes, deleted: false, revision: 0 }, revision)
    }
}
