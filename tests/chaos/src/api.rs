//! The manager's API, as a client sees it: every call has a short time to answer in.

use std::collections::BTreeMap;
use std::time::Duration;

use davit_proto::v1;
use davit_proto::v1::cluster_service_client::ClusterServiceClient;
use davit_proto::v1::node_service_client::NodeServiceClient;
use davit_proto::v1::task_service_client::TaskServiceClient;
use davit_svc_kit::client;
use tonic::transport::Channel;
use tonic::{Response, Status};

use crate::error::{Error, Result};

/// How long a call may take. Nobody waits longer.
const ANSWER_TIME: Duration = Duration::from_secs(2);

/// A client.
#[derive(Debug, Clone)]
pub(crate) struct Api {
    tasks: TaskServiceClient<Channel>,
    nodes: NodeServiceClient<Channel>,
    cluster: ClusterServiceClient<Channel>,
}

impl Api {
    /// Dials when it is first used.
    ///
    /// # Errors
    /// When that is no address.
    pub(crate) fn new(address: &str) -> Result<Self> {
        let endpoint = client::endpoint(address).map_err(|error| Error::Machine(error.to_string()))?;
        let channel = endpoint.connect_lazy();
        Ok(Self {
            tasks: TaskServiceClient::new(channel.clone()),
            nodes: NodeServiceClient::new(channel.clone()),
            cluster: ClusterServiceClient::new(channel),
        })
    }

    /// Creates a task and gives its id.
    ///
    /// # Errors
    /// The manager's, or that it did not answer.
    pub(crate) async fn create(&mut self, spec: v1::TaskSpec, request_id: &str) -> std::result::Result<String, Status> {
        let request =
            v1::CreateTaskRequest { spec: Some(spec), request_id: request_id.to_owned(), ..Default::default() };
        let task = in_time(Box::pin(self.tasks.create_task(request))).await?.task;
        task.map(|task| task.task_id).ok_or_else(|| Status::internal("no task in the answer"))
    }

    /// Creates many like tasks.
    ///
    /// # Errors
    /// The manager's, or that it did not answer.
    pub(crate) async fn create_many(&mut self, spec: v1::TaskSpec, count: u32) -> std::result::Result<(), Status> {
        let group = v1::TaskGroup { spec: Some(spec), count: Some(count), all_or_nothing: false };
        let request = v1::BatchCreateTasksRequest { groups: vec![group], ..Default::default() };
        in_time(self.tasks.batch_create_tasks(request)).await.map(drop)
    }

    /// One task.
    ///
    /// # Errors
    /// The manager's, or that it did not answer.
    pub(crate) async fn task(&mut self, task_id: &str) -> std::result::Result<v1::Task, Status> {
        let task = in_time(self.tasks.get_task(v1::GetTaskRequest { task_id: task_id.to_owned() })).await?.task;
        task.ok_or_else(|| Status::internal("no task in the answer"))
    }

    /// Asks a task to stop.
    ///
    /// # Errors
    /// The manager's, or that it did not answer.
    pub(crate) async fn stop(&mut self, task_id: &str) -> std::result::Result<(), Status> {
        let request = v1::StopTaskRequest { task_id: task_id.to_owned() };
        in_time(self.tasks.stop_task(request)).await.map(drop)
    }

    /// Deletes a task, also one that runs.
    ///
    /// # Errors
    /// The manager's, or that it did not answer.
    pub(crate) async fn delete(&mut self, task_id: &str) -> std::result::Result<(), Status> {
        let request = v1::DeleteTaskRequest { task_id: task_id.to_owned(), force: true };
        in_time(self.tasks.delete_task(request)).await.map(drop)
    }

    /// All tasks, by their ids.
    ///
    /// # Errors
    /// The manager's, or that it did not answer.
    pub(crate) async fn all_tasks(&mut self) -> std::result::Result<BTreeMap<String, v1::Task>, Status> {
        let (mut tasks, mut page_token) = (BTreeMap::new(), String::new());
        loop {
            let request = v1::ListTasksRequest { page_size: 1000, page_token, ..Default::default() };
            let page = in_time(self.tasks.list_tasks(request)).await?;
            tasks.extend(page.tasks.into_iter().map(|task| (task.task_id.clone(), task)));
            if page.next_page_token.is_empty() {
                return Ok(tasks);
            }
            page_token = page.next_page_token;
        }
    }

    /// One node.
    ///
    /// # Errors
    /// The manager's, or that it did not answer.
    pub(crate) async fn node(&mut self, name: &str) -> std::result::Result<v1::Node, Status> {
        let node = in_time(self.nodes.get_node(v1::GetNodeRequest { node: name.to_owned() })).await?.node;
        node.ok_or_else(|| Status::internal("no node in the answer"))
    }

    /// All nodes, up to the most that one page has.
    ///
    /// # Errors
    /// The manager's, or that it did not answer.
    pub(crate) async fn nodes(&mut self) -> std::result::Result<Vec<v1::Node>, Status> {
        let request = v1::ListNodesRequest { page_size: 1000, ..Default::default() };
        Ok(in_time(self.nodes.list_nodes(request)).await?.nodes)
    }

    /// The cluster.
    ///
    /// # Errors
    /// The manager's, or that it did not answer.
    pub(crate) async fn cluster(&mut self) -> std::result::Result<v1::Cluster, Status> {
        let cluster = in_time(self.cluster.get_cluster(v1::GetClusterRequest {})).await?.cluster;
        cluster.ok_or_else(|| Status::internal("no cluster in the answer"))
    }

    /// A small change that has to become durable before it is answered.
    ///
    /// # Errors
    /// The manager's, or that it did not answer.
    pub(crate) async fn write(&mut self, node: &str, number: u64) -> std::result::Result<(), Status> {
        let request = v1::UpdateNodeRequest {
            node: node.to_owned(),
            user_labels: [("probe".to_owned(), number.to_string())].into(),
            ..Default::default()
        };
        in_time(self.nodes.update_node(request)).await.map(drop)
    }

    /// Whether the manager answers, has its scheduler, and all nodes are READY with runtimes that answer. Else what is not so.
    pub(crate) async fn all_is_well(&mut self, nodes: usize) -> std::result::Result<(), String> {
        let cluster = self.cluster().await.map_err(|status| format!("the manager does not answer: {status}"))?;
        let scheduler = cluster.scheduler.unwrap_or_default();
        if !scheduler.connected {
            return Err(format!("no scheduler: {}", scheduler.reason));
        }
        let listed = self.nodes().await.map_err(|status| format!("the manager does not answer: {status}"))?;
        if listed.len() != nodes {
            return Err(format!("{} of {nodes} nodes have joined", listed.len()));
        }
        for node in listed {
            if node.state() != v1::NodeState::Ready {
                return Err(format!("{} is {}: {}", node.name, node.state().as_str_name(), node.state_reason));
            }
            if let Some(problem) = node.runtime_problems.first() {
                return Err(format!("{}: {}", node.name, problem.problem));
            }
        }
        Ok(())
    }
}

async fn in_time<T>(
    call: impl Future<Output = std::result::Result<Response<T>, Status>>,
) -> std::result::Result<T, Status> {
    let answer = tokio::time::timeout(ANSWER_TIME, call).await;
    answer.unwrap_or_else(|_| Err(Status::deadline_exceeded("no answer came"))).map(Response::into_inner)
}
