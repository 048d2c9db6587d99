//! The manager's gRPC services. Each turns a request into domain types, hands a command to the writer or looks at the newest
//! version of the cluster, and turns the outcome into a response or an error with details.

mod app_calls;
mod app_placement;
mod app_source;
mod backup;
mod cluster_service;
mod config_service;
mod deployment_service;
mod deployment_view;
mod errors;
mod event_convert;
mod event_service;
mod event_watch;
mod explain;
mod fields;
mod files;
mod foreign;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod job_service;
mod node_service;
mod node_stats;
mod paging;
mod rebalance;
mod report_inbox;
mod rollout_watch;
mod second_worker;
mod session_in;
mod session_out;
mod session_writes;
mod task_filter;
mod task_logs;
mod task_service;
#[cfg(test)]
mod tests;
mod volume_service;
mod worker_session_service;

use std::collections::BTreeMap;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use davit_core::id::ClusterId;
use davit_core::placement::NodeView;
use davit_core::spec::TaskSpec;
use davit_core::task::Task;
use davit_core::validate::Violations;
use davit_proto::v1::cluster_service_server::ClusterServiceServer;
use davit_proto::v1::config_service_server::ConfigServiceServer;
use davit_proto::v1::deployment_service_server::DeploymentServiceServer;
use davit_proto::v1::event_service_server::EventServiceServer;
use davit_proto::v1::job_service_server::JobServiceServer;
use davit_proto::v1::node_service_server::NodeServiceServer;
use davit_proto::v1::task_service_server::TaskServiceServer;
use davit_proto::v1::volume_service_server::VolumeServiceServer;
use davit_proto::v1::worker_session_service_server::WorkerSessionServiceServer;
use davit_svc_kit::grpc::{ApiError, GrpcServer, MAX_REQUEST_BYTES};
use davit_svc_kit::readiness::{Readiness, ReadyState};
use davit_svc_kit::shutdown::Shutdown;
use davit_svc_kit::world::World;
use futures::Stream;
use tokio::sync::watch;
use tonic::Status;
use tonic::server::NamedService;

pub use self::cluster_service::ClusterApi;
pub use self::config_service::ConfigApi;
pub use self::deployment_service::DeploymentApi;
pub use self::event_service::EventApi;
pub use self::job_service::JobApi;
pub use self::node_service::NodeApi;
pub use self::task_service::TaskApi;
pub use self::volume_service::VolumeApi;
pub use self::worker_session_service::WorkerSessions;
use crate::commands::Limits;
use crate::contacts::Contacts;
use crate::explainer::{self, SchedulerClient, Turn};
use crate::logs::LogRelay;
use crate::placer::SchedulerStatus;
use crate::state::{ClusterState, Draft};
use crate::writer::Handle;

/// The largest message of a worker: its registration names every attempt that it holds.
const MAX_WORKER_MESSAGE_BYTES: usize = 32 * 1024 * 1024;

/// Sessions and outputs that workers bring at once; users' calls do not take away from it.
const MAX_SESSION_CALLS: usize = 16_384;
const SESSION_SERVICE: &str = <WorkerSessionServiceServer<WorkerSessions> as NamedService>::NAME;
/// Contents of configs and secrets on their way to workers at once, each of 500 KiB at most. A worker that is refused asks again.
const MAX_FILES_UNDER_WAY: usize = 256;
const FETCH_FILE: &str = "davit.v1.WorkerSessionService/FetchFile";
/// A stream of answers. It is pulled by its reader: one that does not read holds nothing but its place.
type Responses<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// What all services share.
#[derive(Clone)]
pub struct Api {
    pub(crate) writer: Handle,
    pub(crate) contacts: Contacts,
    pub(crate) logs: LogRelay,
    pub(crate) world: World,
    pub(crate) cluster: ClusterFacts,
    pub(crate) scheduler: SchedulerClient,
    pub(crate) shutdown: Shutdown,
    /// Whether workers have had their time to come back after the manager's start.
    pub(crate) settled: watch::Receiver<bool>,
    /// Whether the manager takes changes.
    pub(crate) readiness: Readiness,
}

/// What the configuration, the store and the placer say of the cluster.
#[derive(Debug, Clone)]
pub struct ClusterFacts {
    pub(crate) name: String,
    pub(crate) cluster_id: ClusterId,
    pub(crate) heartbeat_period: Duration,
    pub(crate) lease_duration: Duration,
    pub(crate) limits: Limits,
    pub(crate) scheduler: watch::Receiver<SchedulerStatus>,
}

impl Api {
    /// A draft of the state as last committed, to try a command on and then forget.
    fn trial(&self) -> Draft {
        Draft::new((*self.writer.state()).clone(), self.world.clock.now())
    }

    /// Why no changes are taken now; empty while they are.
    fn read_only_reason(&self) -> String {
        match self.readiness.get() {
            ReadyState::Ready => String::new(),
            ReadyState::NotReady { reason } => reason,
        }
    }

    /// Notes a spec's algorithm that the scheduler does not have.
    fn check_algorithm(&self, spec: &TaskSpec, path: &str, violations: &mut Violations) {
        // A default that it does not have is the cluster's problem and not the caller's.
        let asked = &spec.placement.algorithm;
        if let Some(problem) = self.scheduler.algorithms().problem_of(asked).filter(|_| !asked.is_empty()) {
            violations.add(format!("{path}.placement.algorithm"), problem);
        }
    }

    /// What the cluster has to say to a spec that is right by itself: whether there are its algorithm, configs and secrets. Where it names
    /// no version of these, it gets the newest.
    fn check_spec(&self, spec: &mut TaskSpec, path: &str, violations: &mut Violations) {
        self.check_algorithm(spec, path, violations);
        if !spec.files().is_empty() {
            files::resolve_files(&self.writer.state(), &BTreeMap::new(), spec, &format!("{path}."), violations);
        }
    }

    /// All nodes as placement sees them, as if a task were not there.
    fn node_views(&self, state: &ClusterState, without: Option<&Arc<Task>>) -> Vec<NodeView> {
        explainer::node_views(state, |node_id| self.contacts.stats(node_id), without)
    }
}

/// Has a question put together on a thread apart: it takes a look at every node, or every task, which is too long for the threads that
/// serve connections. The turn lasts for it, also when nobody waits for the answer any more.
async fn put_together<Q: Send + 'static>(
    turn: Turn,
    question: impl FnOnce() -> Q + Send + 'static,
) -> Result<(Turn, Q), ApiError> {
    let both = tokio::task::spawn_blocking(move || (turn, question()));
    both.await.map_err(|problem| ApiError::internal(format!("the question to the scheduler broke: {problem}")))
}

impl fmt::Debug for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Api").field("cluster", &self.cluster).finish_non_exhaustive()
    }
}

/// The server with all services of the manager.
///
/// Users' commands go through the writer's queue for users, those of sessions through the cluster's own.
pub(crate) fn server(api: &Api) -> GrpcServer {
    let sessions = WorkerSessionServiceServer::new(WorkerSessions::new(api.clone()));
    let api = &Api { writer: api.writer.for_users(), ..api.clone() };
    let deployments = DeploymentServiceServer::new(DeploymentApi::new(api.clone()));
    GrpcServer::builder()
        .descriptor_set(davit_proto::FILE_DESCRIPTOR_SET)
        .readiness(api.readiness.clone())
        .reserve(SESSION_SERVICE, MAX_SESSION_CALLS)
        .reserve(FETCH_FILE, MAX_FILES_UNDER_WAY)
        .service(TaskServiceServer::new(TaskApi::new(api.clone())).max_decoding_message_size(MAX_REQUEST_BYTES))
        .service(JobServiceServer::new(JobApi::new(api.clone())).max_decoding_message_size(MAX_REQUEST_BYTES))
        .service(deployments.max_decoding_message_size(MAX_REQUEST_BYTES))
        .service(NodeServiceServer::new(NodeApi::new(api.clone())).max_decoding_message_size(MAX_REQUEST_BYTES))
        .service(EventServiceServer::new(EventApi::new(api.clone())).max_decoding_message_size(MAX_REQUEST_BYTES))
        .service(ClusterServiceServer::new(ClusterApi::new(api.clone())).max_decoding_message_size(MAX_REQUEST_BYTES))
        .service(ConfigServiceServer::new(ConfigApi::new(api.clone())).max_decoding_message_size(MAX_REQUEST_BYTES))
        .service(VolumeServiceServer::new(VolumeApi::new(api.clone())).max_decoding_message_size(MAX_REQUEST_BYTES))
        .service(sessions.max_decoding_message_size(MAX_WORKER_MESSAGE_BYTES))
}
