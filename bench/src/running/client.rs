//! What the measurement asks of the manager, as any client would.

use std::collections::BTreeMap;
use std::time::Duration;

use davit_proto::v1;
use davit_proto::v1::cluster_service_client::ClusterServiceClient;
use davit_proto::v1::event_service_client::EventServiceClient;
use davit_proto::v1::node_service_client::NodeServiceClient;
use davit_proto::v1::task_service_client::TaskServiceClient;
use davit_svc_kit::client;
use tokio::time::Instant;
use tonic::transport::Channel;
use tonic::{Code, Status, Streaming};
use tonic_types::StatusExt as _;
use uuid::Uuid;

use crate::error::Error;

/// What a client is told as it happens.
pub(crate) type Watch = Streaming<v1::WatchEventsResponse>;

/// Answer of a create of many.
#[derive(Debug)]
pub(crate) struct Created {
    pub(crate) task_ids: Vec<Uuid>,
    /// From the first time that it was sent to its answer, when all are durable.
    pub(crate) answered: Duration,
    /// How often the manager had too much to do and said when to come back.
    pub(crate) refusals: u32,
}

/// A client with one connection.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    tasks: TaskServiceClient<Channel>,
    nodes: NodeServiceClient<Channel>,
    cluster: ClusterServiceClient<Channel>,
    events: EventServiceClient<Channel>,
}

impl Client {
    pub(crate) fn new(address: &str) -> Result<Self, Error> {
        let endpoint = client::endpoint(address).map_err(|error| Error::Unreachable(error.to_string()))?;
        let channel = endpoint.connect_lazy();
        Ok(Self {
            tasks: TaskServiceClient::new(channel.clone()),
            nodes: NodeServiceClient::new(channel.clone()),
            cluster: ClusterServiceClient::new(channel.clone()),
            events: EventServiceClient::new(channel),
        })
    }

    /// Creates like tasks, once, however often the manager says that it has too much to do.
    pub(crate) async fn create(&mut self, spec: &v1::TaskSpec, count: u32, request_id: &str) -> Result<Created, Error> {
        let began = Instant::now();
        let mut refusals = 0;
        loop {
            let group = v1::TaskGroup { spec: Some(spec.clone()), count: Some(count), all_or_nothing: false };
            let request = v1::BatchCreateTasksRequest {
                groups: vec![group],
                request_id: request_id.to_owned(),
                ..Default::default()
            };
            match self.tasks.batch_create_tasks(request).await {
                Ok(answer) => {
                    let task_ids =
                        answer.into_inner().task_ids.iter().map(|id| parse_id(id)).collect::<Result<_, _>>()?;
                    return Ok(Created { task_ids, answered: began.elapsed(), refusals });
                }
                Err(status) => tokio::time::sleep(again_after(status)?).await,
            }
            refusals += 1;
        }
    }

    /// Creates one task. Answers it as it was created.
    pub(crate) async fn create_one(&mut self, spec: &v1::TaskSpec) -> Result<v1::Task, Error> {
        let request = v1::CreateTaskRequest { spec: Some(spec.clone()), ..Default::default() };
        let answer = self.tasks.create_task(request).await?.into_inner();
        answer.task.ok_or_else(|| Error::WrongAnswer("an answer without a task".to_owned()))
    }

    /// One task.
    pub(crate) async fn task(&mut self, task_id: &str) -> Result<v1::Task, Error> {
        let answer = self.tasks.get_task(v1::GetTaskRequest { task_id: task_id.to_owned() }).await?.into_inner();
        let task = answer.task.filter(|task| task.task_id == task_id);
        task.ok_or_else(|| Error::WrongAnswer("an answer without the task".to_owned()))
    }

    /// The first page of all tasks.
    pub(crate) async fn first_tasks(&mut self, page_size: u32) -> Result<Vec<v1::Task>, Error> {
        let request = v1::ListTasksRequest { page_size, ..Default::default() };
        Ok(self.tasks.list_tasks(request).await?.into_inner().tasks)
    }

    /// Asks a task to stop, once, however often the manager says that it has too much to do.
    pub(crate) async fn stop(&mut self, task_id: Uuid) -> Result<(), Error> {
        loop {
            match self.tasks.stop_task(v1::StopTaskRequest { task_id: task_id.to_string() }).await {
                Ok(_) => return Ok(()),
                Err(status) => tokio::time::sleep(again_after(status)?).await,
            }
        }
    }

    /// Deletes a task, once, and has it stopped first if it has not ended.
    pub(crate) async fn delete(&mut self, task_id: Uuid) -> Result<(), Error> {
        loop {
            let request = v1::DeleteTaskRequest { task_id: task_id.to_string(), force: true };
            match self.tasks.delete_task(request).await {
                Ok(_) => return Ok(()),
                Err(status) => tokio::time::sleep(again_after(status)?).await,
            }
        }
    }

    /// Tells of every event of these types from now on.
    pub(crate) async fn watch(&mut self, types: &[v1::EventType]) -> Result<Watch, Error> {
        self.watch_after(None, types, "").await
    }

    /// Tells of every change of this one's state since it was as it is given.
    pub(crate) async fn watch_task(&mut self, task: &v1::Task) -> Result<Watch, Error> {
        self.watch_after(Some(task.revision), &[v1::EventType::TaskStateChanged], &task.task_id).await
    }

    async fn watch_after(
        &mut self,
        after_revision: Option<u64>,
        types: &[v1::EventType],
        task_id: &str,
    ) -> Result<Watch, Error> {
        let types = types.iter().map(|kind| (*kind).into()).collect();
        let filter = Some(v1::EventFilter { types, task_id: task_id.to_owned(), ..Default::default() });
        let request = v1::WatchEventsRequest { after_revision, filter };
        let mut events = self.events.watch_events(request).await?.into_inner();
        // The first bookmark: from here on it sees all.
        events.message().await?;
        Ok(events)
    }

    pub(crate) async fn cluster(&mut self) -> Result<v1::Cluster, Error> {
        let answer = self.cluster.get_cluster(v1::GetClusterRequest {}).await?.into_inner();
        answer.cluster.ok_or_else(|| Error::WrongAnswer("an answer without a cluster".to_owned()))
    }

    /// All nodes, by their ids.
    pub(crate) async fn nodes(&mut self) -> Result<BTreeMap<String, v1::Node>, Error> {
        let (mut nodes, mut page_token) = (BTreeMap::new(), String::new());
        loop {
            let request = v1::ListNodesRequest { page_size: 1000, page_token, ..Default::default() };
            let page = self.nodes.list_nodes(request).await?.into_inner();
            nodes.extend(page.nodes.into_iter().map(|node| (node.node_id.clone(), node)));
            if page.next_page_token.is_empty() {
                return Ok(nodes);
            }
            page_token = page.next_page_token;
        }
    }

    /// All tasks that pass the filter, a page at a time.
    pub(crate) async fn each_task(
        &mut self,
        filter: v1::TaskFilter,
        mut look: impl FnMut(v1::Task),
    ) -> Result<(), Status> {
        let mut page_token = String::new();
        loop {
            let request = v1::ListTasksRequest { page_size: 1000, page_token, filter: Some(filter.clone()) };
            let page = self.tasks.list_tasks(request).await?.into_inner();
            page.tasks.into_iter().for_each(&mut look);
            if page.next_page_token.is_empty() {
                return Ok(());
            }
            page_token = page.next_page_token;
        }
    }
}

/// When a call that was refused may be sent again.
fn again_after(status: Status) -> Result<Duration, Error> {
    let asked = status.get_details_retry_info().and_then(|info| info.retry_delay);
    match (status.code(), asked) {
        (Code::ResourceExhausted, Some(delay)) => Ok(delay),
        _ => Err(status.into()),
    }
}

/// A task's id as it is kept here.
pub(crate) fn parse_id(text: &str) -> Result<Uuid, Error> {
    Uuid::try_parse(text).map_err(|error| Error::WrongAnswer(format!("{text:?} is no id of a task: {error}")))
}

/// How many tasks are in a state.
pub(crate) fn count(cluster: &v1::Cluster, state: v1::TaskState) -> u64 {
    cluster.tasks.iter().filter(|row| row.state() == state).map(|row| row.count).sum()
}

/// How many nodes are READY.
pub(crate) fn ready(cluster: &v1::Cluster) -> u64 {
    cluster.nodes.iter().filter(|row| row.state() == v1::NodeState::Ready).map(|row| row.count).sum()
}
