//! The cluster as a whole, for users.

use std::sync::Arc;

use davit_core::node::NodeState;
use davit_core::state::TaskState;
use davit_proto::v1::cluster_service_server::ClusterService;
use davit_proto::{convert, v1};
use davit_svc_kit::grpc::Deadline;
use tokio::sync::Semaphore;
use tonic::{Request, Response, Status};

use super::{Api, Responses, backup, explain, rebalance};
use crate::state::Totals;

/// Backups that are made at once; each keeps a version of the cluster in memory.
const MAX_BACKUPS: usize = 2;

const NODE_STATES: [NodeState; 3] = [NodeState::Ready, NodeState::Suspect, NodeState::Down];

/// Serves the look at the whole.
#[derive(Debug, Clone)]
pub struct ClusterApi {
    api: Api,
    backups: Arc<Semaphore>,
}

impl ClusterApi {
    /// On top of what all services share.
    #[must_use]
    pub fn new(api: Api) -> Self {
        Self { api, backups: Arc::new(Semaphore::new(MAX_BACKUPS)) }
    }

    fn get(&self) -> v1::Cluster {
        let state = self.api.writer.state();
        let (allocatable, allocated) = state.ready_resources();
        let task_count = |known: &TaskState| v1::TaskStateCount {
            state: convert::task_state_to_proto(*known).into(),
            count: state.task_count(*known),
        };
        let node_count = |known: &NodeState| v1::NodeStateCount {
            state: convert::node_state_to_proto(*known).into(),
            count: state.node_count_in(*known),
        };
        let facts = &self.api.cluster;
        let scheduler = facts.scheduler.borrow().clone();
        v1::Cluster {
            name: facts.name.clone(),
            manager_version: env!("CARGO_PKG_VERSION").to_owned(),
            revision: state.revision().0,
            oldest_event_revision: state.events().oldest().unwrap_or_default().0,
            tasks: TaskState::ALL.iter().map(task_count).filter(|row| row.count > 0).collect(),
            nodes: NODE_STATES.iter().map(node_count).filter(|row| row.count > 0).collect(),
            allocatable: Some(convert::resources_to_proto(allocatable)),
            allocated: Some(convert::resources_to_proto(allocated)),
            scheduler: Some(v1::SchedulerConnection {
                address: scheduler.address,
                connected: scheduler.connected,
                reason: scheduler.reason,
                default_algorithm: scheduler.algorithms.default_name().to_owned(),
            }),
            heartbeat_period: Some(convert::duration_to_proto(facts.heartbeat_period)),
            totals: Some(totals_to_proto(state.totals())),
            cluster_id: facts.cluster_id.to_string(),
            read_only_reason: self.api.read_only_reason(),
        }
    }
}

fn totals_to_proto(totals: Totals) -> v1::TaskTotals {
    let Totals { created, completed, failed, stopped, lost } = totals;
    v1::TaskTotals { created, completed, failed, stopped, lost }
}

#[tonic::async_trait]
impl ClusterService for ClusterApi {
    async fn get_cluster(
        &self,
        _request: Request<v1::GetClusterRequest>,
    ) -> Result<Response<v1::GetClusterResponse>, Status> {
        Ok(Response::new(v1::GetClusterResponse { cluster: Some(self.get()) }))
    }

    async fn explain_placement(
        &self,
        request: Request<v1::ExplainPlacementRequest>,
    ) -> Result<Response<v1::ExplainPlacementResponse>, Status> {
        let deadline = Deadline::of(&request);
        Ok(Response::new(explain::explain_placement(&self.api, request.into_inner(), deadline).await?))
    }

    async fn plan_rebalance(
        &self,
        request: Request<v1::PlanRebalanceRequest>,
    ) -> Result<Response<v1::PlanRebalanceResponse>, Status> {
        let deadline = Deadline::of(&request);
        Ok(Response::new(rebalance::plan(&self.api, request.into_inner(), deadline).await?))
    }

    type BackupClusterStream = Responses<v1::BackupClusterResponse>;

    async fn backup_cluster(
        &self,
        _request: Request<v1::BackupClusterRequest>,
    ) -> Result<Response<Self::BackupClusterStream>, Status> {
        Ok(Response::new(Box::pin(backup::begin(&self.api, &self.backups)?)))
    }
}
