//! WorkerService: a look at this node from close by. Works also while the manager is away.

use std::sync::Arc;

use davit_core::id::AttemptKey;
use davit_proto::convert::{
    attempt_status_to_proto, desired_state_to_proto, node_stats_to_proto, resources_to_proto, runtime_kind_to_proto,
    timestamp_to_proto,
};
use davit_proto::v1;
use davit_proto::v1::worker_service_server::WorkerService;
use davit_svc_kit::grpc::ApiError;
use tonic::{Request, Response, Status};

use crate::VERSION;
use crate::agent::LocalAttempt;
use crate::node::{Checked, Node};

const DEFAULT_PAGE_SIZE: u32 = 100;
const MAX_PAGE_SIZE: u32 = 1000;

/// The handlers.
pub(crate) struct Worker {
    node: Arc<Node>,
}

impl Worker {
    pub(crate) fn new(node: Arc<Node>) -> Self {
        Self { node }
    }
}

#[tonic::async_trait]
impl WorkerService for Worker {
    async fn get_worker(
        &self,
        _request: Request<v1::GetWorkerRequest>,
    ) -> Result<Response<v1::GetWorkerResponse>, Status> {
        let runtimes = self.node.check().await.into_iter().map(runtime_status).collect();
        let link = self.node.link();
        Ok(Response::new(v1::GetWorkerResponse {
            node_id: self.node.node_id().to_string(),
            name: self.node.config.name.clone(),
            worker_version: VERSION.to_owned(),
            runtimes,
            capacity: Some(resources_to_proto(self.node.capacity())),
            allocatable: Some(resources_to_proto(self.node.allocatable())),
            manager_address: self.node.config.manager.clone(),
            connected: link.connected,
            connected_time: Some(timestamp_to_proto(link.since)),
            disconnect_reason: link.reason,
            cluster: self.node.cluster(),
        }))
    }

    async fn list_local_tasks(
        &self,
        request: Request<v1::ListLocalTasksRequest>,
    ) -> Result<Response<v1::ListLocalTasksResponse>, Status> {
        let (size, after) = read_page(&request.into_inner())?;
        let mut attempts = match self.node.agent() {
            // One more tells whether there is a next page.
            Some(agent) => agent.local_attempts(after, size + 1),
            None => Vec::new(),
        };
        let more = attempts.len() > size;
        attempts.truncate(size);
        let next_page_token = match attempts.last() {
            Some(last) if more => token_of(last.key),
            _ => String::new(),
        };
        let tasks = attempts.into_iter().map(local_task).collect();
        Ok(Response::new(v1::ListLocalTasksResponse { tasks, next_page_token }))
    }

    async fn get_stats(
        &self,
        _request: Request<v1::GetStatsRequest>,
    ) -> Result<Response<v1::GetStatsResponse>, Status> {
        let stats = self.node.measure().await;
        Ok(Response::new(v1::GetStatsResponse { stats: Some(node_stats_to_proto(stats)) }))
    }
}

/// How long the page is, and after which attempt it begins.
fn read_page(request: &v1::ListLocalTasksRequest) -> Result<(usize, Option<AttemptKey>), ApiError> {
    let size = match request.page_size {
        0 => DEFAULT_PAGE_SIZE,
        size if size <= MAX_PAGE_SIZE => size,
        size => {
            return Err(ApiError::invalid_field("page_size", format!("is at most {MAX_PAGE_SIZE}, this is {size}")));
        }
    };
    let after = match request.page_token.as_str() {
        "" => None,
        token => {
            let unknown = || ApiError::invalid_field("page_token", "is none that this method gave");
            Some(page_token(token).ok_or_else(unknown)?)
        }
    };
    Ok((usize::try_from(size).unwrap_or(usize::MAX), after))
}

fn page_token(token: &str) -> Option<AttemptKey> {
    let (task_id, attempt) = token.split_once('/')?;
    Some(AttemptKey { task_id: task_id.parse().ok()?, attempt: davit_core::id::Attempt(attempt.parse().ok()?) })
}

fn token_of(key: AttemptKey) -> String {
    format!("{}/{}", key.task_id, key.attempt)
}

fn runtime_status(checked: Checked) -> v1::RuntimeStatus {
    let (version, problem) = match checked.result {
        Ok(version) => (version, String::new()),
        Err(problem) => (String::new(), problem),
    };
    v1::RuntimeStatus { kind: runtime_kind_to_proto(checked.kind).into(), version, problem }
}

fn local_task(attempt: LocalAttempt) -> v1::LocalTask {
    let desired = attempt.wanted.map_or(v1::DesiredState::Unspecified, desired_state_to_proto);
    v1::LocalTask {
        task_id: attempt.key.task_id.to_string(),
        attempt: attempt.key.attempt.0,
        name: attempt.name,
        desired_state: desired.into(),
        status: Some(attempt_status_to_proto(&attempt.status, None)),
        acknowledged: attempt.acknowledged,
    }
}

#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing {
    use prost::Message as _;

    use super::*;

    /// A request for a page. Says whether it was accepted.
    ///
    /// # Panics
    /// When the token of the page after it would be another one.
    pub(crate) fn page(bytes: &[u8]) -> bool {
        let Ok(request) = v1::ListLocalTasksRequest::decode(bytes) else { return false };
        let Ok((size, after)) = read_page(&request) else { return false };
        assert!((1..=1000).contains(&size));
        assert_eq!(after.and_then(|key| page_token(&token_of(key))), after);
        true
    }
}
