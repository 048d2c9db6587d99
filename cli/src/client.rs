//! The way to the manager.

use std::time::Duration;

use davit_proto::v1;
use davit_proto::v1::cluster_service_client::ClusterServiceClient;
use davit_proto::v1::event_service_client::EventServiceClient;
use davit_proto::v1::node_service_client::NodeServiceClient;
use davit_proto::v1::task_service_client::TaskServiceClient;
use davit_svc_kit::backoff::Backoff;
use davit_svc_kit::client::endpoint;
use davit_svc_kit::ids::{IdSource as _, UuidV7Source};
use tonic::transport::Channel;
use tonic::{Code, Request, Status};
use tonic_types::StatusExt as _;

use crate::error::{Error, is_from_manager, root_problem};

/// How long a call that answers once may take.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// A page of 1,000 tasks with large specs.
const MAX_ANSWER_BYTES: usize = 256 << 20;
const PAGE_SIZE: u32 = 1000;
const CREATE_TRIES: u32 = 6;
const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(2);

/// A manager that was reached.
#[derive(Debug, Clone)]
pub struct Manager {
    address: String,
    channel: Channel,
}

/// A call that is given up when it takes too long.
pub fn call<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(CALL_TIMEOUT);
    request
}

/// The wait before each of several tries.
#[must_use]
pub fn backoff() -> Backoff {
    Backoff::new(FIRST_WAIT, LONGEST_WAIT)
}

impl Manager {
    /// Dials a manager.
    ///
    /// # Errors
    /// When the address is none, or nobody answers there.
    pub async fn connect(address: &str) -> Result<Self, Error> {
        let channel = endpoint(address)?
            .connect()
            .await
            .map_err(|error| Error::Unreachable { address: address.to_owned(), problem: root_problem(&error) })?;
        Ok(Self { address: address.to_owned(), channel })
    }

    /// Calls about tasks.
    #[must_use]
    pub fn tasks(&self) -> TaskServiceClient<Channel> {
        TaskServiceClient::new(self.channel.clone()).max_decoding_message_size(MAX_ANSWER_BYTES)
    }

    /// Calls about nodes.
    #[must_use]
    pub fn nodes(&self) -> NodeServiceClient<Channel> {
        NodeServiceClient::new(self.channel.clone()).max_decoding_message_size(MAX_ANSWER_BYTES)
    }

    /// Calls about events.
    #[must_use]
    pub fn events(&self) -> EventServiceClient<Channel> {
        EventServiceClient::new(self.channel.clone()).max_decoding_message_size(MAX_ANSWER_BYTES)
    }

    /// Calls about the cluster.
    #[must_use]
    pub fn cluster(&self) -> ClusterServiceClient<Channel> {
        ClusterServiceClient::new(self.channel.clone()).max_decoding_message_size(MAX_ANSWER_BYTES)
    }

    /// What a failed call means: the manager's refusal, or the loss of the way to it.
    #[must_use]
    pub fn error(&self, status: Status) -> Error {
        if is_from_manager(&status) || !matches!(status.code(), Code::Unavailable | Code::Unknown) {
            return Error::Refused { status: Box::new(status) };
        }
        let problem = match std::error::Error::source(&status) {
            Some(source) => root_problem(source),
            None => status.message().to_owned(),
        };
        Error::Unreachable { address: self.address.clone(), problem }
    }

    /// Creates tasks. Tried again when the manager can't be reached or can't write now: one request id for all tries
    /// makes sure that nothing is created twice.
    ///
    /// # Errors
    /// When the manager refuses, or all tries failed.
    pub async fn create(&self, groups: Vec<v1::TaskGroup>) -> Result<v1::BatchCreateTasksResponse, Error> {
        let request_id = UuidV7Source.next_uuid().to_string();
        let request = v1::BatchCreateTasksRequest { groups, request_id, validate_only: false };
        let mut backoff = backoff();
        let mut tries = 1;
        loop {
            match self.tasks().batch_create_tasks(call(request.clone())).await {
                Ok(response) => return Ok(response.into_inner()),
                Err(status) if tries < CREATE_TRIES && may_pass(&status) => {
                    tokio::time::sleep(wait_for(&status, backoff.next_delay())).await;
                    tries += 1;
                }
                Err(status) => return Err(self.error(status)),
            }
        }
    }

    /// One task by its whole id.
    ///
    /// # Errors
    /// When there is none, or the call fails.
    pub async fn get_task(&self, task_id: &str) -> Result<v1::Task, Error> {
        let request = v1::GetTaskRequest { task_id: task_id.to_owned() };
        let response = self.tasks().get_task(call(request)).await.map_err(|status| self.error(status))?;
        response.into_inner().task.ok_or_else(|| no_content("task"))
    }

    /// All tasks that pass a filter, oldest first, and the revision to watch from to miss nothing.
    ///
    /// # Errors
    /// When a call fails.
    pub async fn list_tasks(&self, filter: v1::TaskFilter) -> Result<(Vec<v1::Task>, u64), Error> {
        let mut tasks = Vec::new();
        let mut first_revision = None;
        let mut page_token = String::new();
        loop {
            let request = v1::ListTasksRequest { filter: Some(filter.clone()), page_size: PAGE_SIZE, page_token };
            let page = self.tasks().list_tasks(call(request)).await.map_err(|status| self.error(status))?.into_inner();
            // Later pages are newer: what changed since the first one is seen again, which does no harm.
            let revision = *first_revision.get_or_insert(page.revision);
            tasks.extend(page.tasks);
            page_token = page.next_page_token;
            if page_token.is_empty() {
                return Ok((tasks, revision));
            }
        }
    }

    /// All nodes, by name.
    ///
    /// # Errors
    /// When a call fails.
    pub async fn list_nodes(&self) -> Result<Vec<v1::Node>, Error> {
        let mut nodes = Vec::new();
        let mut page_token = String::new();
        loop {
            let request = v1::ListNodesRequest { filter: None, page_size: PAGE_SIZE, page_token };
            let page = self.nodes().list_nodes(call(request)).await.map_err(|status| self.error(status))?.into_inner();
            nodes.extend(page.nodes);
            page_token = page.next_page_token;
            if page_token.is_empty() {
                return Ok(nodes);
            }
        }
    }
}

/// An answer without what it is to carry.
#[must_use]
pub fn no_content(what: &str) -> Error {
    Error::failed(format!("the manager's answer has no {what}; do manager and command line have the same version?"))
}

/// Whether the same call may go better later.
#[must_use]
pub fn may_pass(status: &Status) -> bool {
    // A connection that breaks in the middle of a call is told as `Unknown` by the transport.
    status.code() == Code::Unavailable || (status.code() == Code::Unknown && !is_from_manager(status))
}

fn wait_for(status: &Status, wait: Duration) -> Duration {
    let asked = status.get_details_retry_info().and_then(|retry| retry.retry_delay).unwrap_or_default();
    wait.max(asked.min(LONGEST_WAIT))
}

#[cfg(test)]
mod tests {
    use davit_svc_kit::grpc::{ApiError, ErrorKind};

    use super::*;

    #[test]
    fn only_what_passes_by_itself_is_tried_again() {
        let of = |kind: ErrorKind| Status::from(ApiError::new(kind, "X", "x"));
        assert!(may_pass(&of(ErrorKind::Unavailable)));
        assert!(may_pass(&Status::unknown("transport error")));
        assert!(!may_pass(&of(ErrorKind::InvalidArgument)));
        assert!(!may_pass(&of(ErrorKind::Internal)));
    }

    #[test]
    fn the_manager_may_ask_for_a_longer_wait_but_not_for_any() {
        let asks = |seconds| {
            let error = ApiError::new(ErrorKind::Unavailable, "X", "x").with_retry_after(Duration::from_secs(seconds));
            wait_for(&error.into(), FIRST_WAIT)
        };
        assert_eq!(asks(0), FIRST_WAIT);
        assert_eq!(asks(1), Duration::from_secs(1));
        assert_eq!(asks(3600), LONGEST_WAIT);
    }
}
