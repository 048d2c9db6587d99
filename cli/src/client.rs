//! The way to the manager.

use std::error::Error as StdError;
use std::time::Duration;

use davit_proto::v1;
use davit_proto::v1::cluster_service_client::ClusterServiceClient;
use davit_proto::v1::config_service_client::ConfigServiceClient;
use davit_proto::v1::deployment_service_client::DeploymentServiceClient;
use davit_proto::v1::event_service_client::EventServiceClient;
use davit_proto::v1::job_service_client::JobServiceClient;
use davit_proto::v1::node_service_client::NodeServiceClient;
use davit_proto::v1::task_service_client::TaskServiceClient;
use davit_proto::v1::volume_service_client::VolumeServiceClient;
use davit_svc_kit::backoff::Backoff;
use davit_svc_kit::client::endpoint;
use davit_svc_kit::ids::{IdSource as _, UuidV7Source};
use tokio::time::Instant;
use tonic::transport::Channel;
use tonic::{Code, Request, Response, Status};

use crate::error::{Error, is_from_manager, root_problem};
use crate::output::Output;
use crate::retry;

/// How long a call that answers once may take.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// A page of 1,000 tasks with large specs.
const MAX_ANSWER_BYTES: usize = 256 << 20;
const PAGE_SIZE: u32 = 1000;
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
    /// Dials a manager. One that is away, because it is being replaced or starts, is waited for a few seconds, and `output` says
    /// so.
    ///
    /// # Errors
    /// When the address is none, or nobody answers there.
    pub async fn connect(address: &str, output: &Output) -> Result<Self, Error> {
        let endpoint = endpoint(address)?;
        let waits = |problem: &str| output.note(&format!("waiting for a manager at {address}: {problem}"));
        let channel = reach(async || endpoint.connect().await, waits)
            .await
            .map_err(|problem| Error::Unreachable { address: address.to_owned(), problem })?;
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

    /// Calls about deployments.
    #[must_use]
    pub fn deployments(&self) -> DeploymentServiceClient<Channel> {
        DeploymentServiceClient::new(self.channel.clone()).max_decoding_message_size(MAX_ANSWER_BYTES)
    }

    /// Calls about jobs.
    #[must_use]
    pub fn jobs(&self) -> JobServiceClient<Channel> {
        JobServiceClient::new(self.channel.clone()).max_decoding_message_size(MAX_ANSWER_BYTES)
    }

    /// Calls about configs and secrets.
    #[must_use]
    pub fn configs(&self) -> ConfigServiceClient<Channel> {
        ConfigServiceClient::new(self.channel.clone()).max_decoding_message_size(MAX_ANSWER_BYTES)
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

    /// Calls about volumes.
    #[must_use]
    pub fn volumes(&self) -> VolumeServiceClient<Channel> {
        VolumeServiceClient::new(self.channel.clone()).max_decoding_message_size(MAX_ANSWER_BYTES)
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

    /// Makes a call that is safe to repeat: a read, or a create with a request id. It is sent again while the manager can't be
    /// reached or says that it has too much to do, for a bounded time. No other call is.
    ///
    /// # Errors
    /// When the manager refuses, or all tries failed.
    pub async fn repeat<T>(&self, mut call: impl AsyncFnMut() -> Result<Response<T>, Status>) -> Result<T, Error> {
        let began = Instant::now();
        let mut backoff = backoff();
        loop {
            let status = match call().await {
                Ok(response) => return Ok(response.into_inner()),
                Err(status) => status,
            };
            match retry::next_wait(&status, backoff.next_delay(), began.elapsed()) {
                Some(wait) => tokio::time::sleep(wait).await,
                None => return Err(self.error(status)),
            }
        }
    }

    /// Creates tasks. One request id for all tries, the caller's or a new one, makes sure that nothing is created twice.
    ///
    /// # Errors
    /// When the manager refuses, or all tries failed.
    pub async fn create(
        &self,
        groups: Vec<v1::TaskGroup>,
        request_id: Option<String>,
    ) -> Result<v1::BatchCreateTasksResponse, Error> {
        let request_id = request_id.unwrap_or_else(|| UuidV7Source.next_uuid().to_string());
        let request = v1::BatchCreateTasksRequest { groups, request_id, validate_only: false };
        self.repeat(async || self.tasks().batch_create_tasks(call(request.clone())).await).await
    }

    /// One task by its whole id.
    ///
    /// # Errors
    /// When there is none, or the call fails.
    pub async fn get_task(&self, task_id: &str) -> Result<v1::Task, Error> {
        let request = v1::GetTaskRequest { task_id: task_id.to_owned() };
        let response = self.repeat(async || self.tasks().get_task(call(request.clone())).await).await?;
        response.task.ok_or_else(|| no_content("task"))
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
            let page = self.repeat(async || self.tasks().list_tasks(call(request.clone())).await).await?;
            // Later pages are newer: what changed since the first one is seen again, which does no harm.
            let revision = *first_revision.get_or_insert(page.revision);
            tasks.extend(page.tasks);
            page_token = page.next_page_token;
            if page_token.is_empty() {
                return Ok((tasks, revision));
            }
        }
    }

    /// So many tasks that pass a filter, at most 1,000, oldest first.
    ///
    /// # Errors
    /// When the call fails.
    pub async fn first_tasks(&self, filter: v1::TaskFilter, count: u32) -> Result<Vec<v1::Task>, Error> {
        let request = v1::ListTasksRequest { filter: Some(filter), page_size: count, page_token: String::new() };
        let page = self.repeat(async || self.tasks().list_tasks(call(request.clone())).await).await?;
        Ok(page.tasks)
    }

    /// One deployment by its id or name.
    ///
    /// # Errors
    /// When there is none, or the call fails.
    pub async fn get_deployment(&self, deployment: &str) -> Result<v1::Deployment, Error> {
        let request = v1::GetDeploymentRequest { deployment: deployment.to_owned() };
        let response = self.repeat(async || self.deployments().get_deployment(call(request.clone())).await).await?;
        response.deployment.ok_or_else(|| no_content("deployment"))
    }

    /// All deployments that pass a filter, by name.
    ///
    /// # Errors
    /// When a call fails.
    pub async fn list_deployments(&self, filter: v1::DeploymentFilter) -> Result<Vec<v1::Deployment>, Error> {
        let mut deployments = Vec::new();
        let mut page_token = String::new();
        loop {
            let request = v1::ListDeploymentsRequest { filter: Some(filter.clone()), page_size: PAGE_SIZE, page_token };
            let page = self.repeat(async || self.deployments().list_deployments(call(request.clone())).await).await?;
            deployments.extend(page.deployments);
            page_token = page.next_page_token;
            if page_token.is_empty() {
                return Ok(deployments);
            }
        }
    }

    /// One job by its id or name.
    ///
    /// # Errors
    /// When there is none, or the call fails.
    pub async fn get_job(&self, job: &str) -> Result<v1::Job, Error> {
        let request = v1::GetJobRequest { job: job.to_owned() };
        let response = self.repeat(async || self.jobs().get_job(call(request.clone())).await).await?;
        response.job.ok_or_else(|| no_content("job"))
    }

    /// All jobs that pass a filter, by name.
    ///
    /// # Errors
    /// When a call fails.
    pub async fn list_jobs(&self, filter: v1::JobFilter) -> Result<Vec<v1::Job>, Error> {
        let mut jobs = Vec::new();
        let mut page_token = String::new();
        loop {
            let request = v1::ListJobsRequest { filter: Some(filter.clone()), page_size: PAGE_SIZE, page_token };
            let page = self.repeat(async || self.jobs().list_jobs(call(request.clone())).await).await?;
            jobs.extend(page.jobs);
            page_token = page.next_page_token;
            if page_token.is_empty() {
                return Ok(jobs);
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
            let page = self.repeat(async || self.nodes().list_nodes(call(request.clone())).await).await?;
            nodes.extend(page.nodes);
            page_token = page.next_page_token;
            if page_token.is_empty() {
                return Ok(nodes);
            }
        }
    }

    /// All volumes, or those on a node, by name.
    ///
    /// # Errors
    /// When the manager refuses, or all tries failed.
    pub async fn list_volumes(&self, node: Option<&str>) -> Result<Vec<v1::Volume>, Error> {
        let mut volumes = Vec::new();
        let mut page_token = String::new();
        loop {
            let filter = node.map(|node| v1::VolumeFilter { node: node.to_owned() });
            let request = v1::ListVolumesRequest { filter, page_size: PAGE_SIZE, page_token };
            let page = self.repeat(async || self.volumes().list_volumes(call(request.clone())).await).await?;
            volumes.extend(page.volumes);
            page_token = page.next_page_token;
            if page_token.is_empty() {
                return Ok(volumes);
            }
        }
    }
}

/// Dials until somebody answers, for a bounded time, and tells the first problem that is waited out. The error is the last one.
async fn reach<T, E: StdError + 'static>(
    mut dial: impl AsyncFnMut() -> Result<T, E>,
    waits: impl FnOnce(&str),
) -> Result<T, String> {
    let began = Instant::now();
    let mut backoff = backoff();
    let mut waits = Some(waits);
    loop {
        let error = match dial().await {
            Ok(reached) => return Ok(reached),
            Err(error) => error,
        };
        let problem = root_problem(&error);
        let Some(wait) = retry::next_dial(&error, backoff.next_delay(), began.elapsed()) else { return Err(problem) };
        if let Some(waits) = waits.take() {
            waits(&problem);
        }
        tokio::time::sleep(wait).await;
    }
}

/// An answer without what it is to carry.
#[must_use]
pub fn no_content(what: &str) -> Error {
    Error::failed(format!("the manager's answer has no {what}; do manager and command line have the same version?"))
}

#[cfg(test)]
mod tests {
    use std::io;

    use davit_svc_kit::grpc::{ApiError, ErrorKind};

    use super::*;

    fn manager() -> Manager {
        let channel = endpoint("127.0.0.1:1").unwrap().connect_lazy();
        Manager { address: "127.0.0.1:1".to_owned(), channel }
    }

    fn overloaded() -> Status {
        ApiError::new(ErrorKind::ResourceExhausted, "OVERLOADED", "x").with_retry_after(Duration::from_secs(2)).into()
    }

    fn away() -> io::Error {
        io::ErrorKind::ConnectionRefused.into()
    }

    #[tokio::test(start_paused = true)]
    async fn a_manager_that_is_away_is_dialled_until_it_is_back_and_that_is_told_once() {
        let (mut tries, mut told) = (0, Vec::new());
        let dial = async || {
            tries += 1;
            if tries < 4 { Err(away()) } else { Ok(tries) }
        };
        assert_eq!(reach(dial, |problem| told.push(problem.to_owned())).await, Ok(4));
        assert_eq!(told, ["connection refused"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_dial_is_given_up_when_the_time_is_up_and_at_once_when_the_address_is_wrong() {
        let began = Instant::now();
        let never = reach(async || Err::<(), _>(away()), |_| ()).await;
        assert_eq!(never, Err("connection refused".to_owned()));
        let took = began.elapsed();
        assert!(took > Duration::from_secs(2) && took <= retry::DIAL_FOR, "{took:?}");
        let (mut tries, mut told) = (0, 0);
        let unknown = async || {
            tries += 1;
            Err::<(), _>(io::Error::other("Name or service not known"))
        };
        assert_eq!(reach(unknown, |_| told += 1).await, Err("Name or service not known".to_owned()));
        assert_eq!((tries, told), (1, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_is_repeated_until_it_goes_through_and_not_before_the_time_that_was_asked_for() {
        let (began, mut tries) = (Instant::now(), 0);
        let call = async || {
            tries += 1;
            if tries < 4 { Err(overloaded()) } else { Ok(Response::new(tries)) }
        };
        assert_eq!(manager().repeat(call).await.unwrap(), 4);
        let took = began.elapsed();
        assert!(took > Duration::from_secs(6) && took < Duration::from_secs(12), "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_is_given_up_when_the_time_is_up_and_at_once_when_it_is_refused() {
        let began = Instant::now();
        let error = manager().repeat(async || Err::<Response<()>, _>(overloaded())).await.unwrap_err();
        assert_eq!(error.code(), Some(Code::ResourceExhausted));
        assert!(began.elapsed() <= Duration::from_secs(15), "{:?}", began.elapsed());
        let mut tries = 0;
        let refused = async || {
            tries += 1;
            Err::<Response<()>, _>(ApiError::new(ErrorKind::NotFound, "X", "x").into())
        };
        assert_eq!(manager().repeat(refused).await.unwrap_err().code(), Some(Code::NotFound));
        assert_eq!(tries, 1);
    }
}
