//! A cluster of real services in this process: real gRPC on free ports, the fake runtime behind each worker.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use davit_core::placement::RuntimeKind;
use davit_proto::v1;
use davit_proto::v1::cluster_service_client::ClusterServiceClient;
use davit_proto::v1::event_service_client::EventServiceClient;
use davit_proto::v1::node_service_client::NodeServiceClient;
use davit_proto::v1::task_service_client::TaskServiceClient;
use davit_svc_kit::clock::SystemClock;
use davit_svc_kit::shutdown::Shutdown;
use davit_svc_kit::world::World;
use manager_svc::store::{Fault, FaultyStore, MemoryStore};
use parking_lot::Mutex;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use tonic::transport::Channel;
use worker_svc::RuntimeFactory;
use worker_svc::runtime::fake::Step;
use worker_svc::runtime::{FakeEngine, Owner};

use crate::proxy::Proxy;
use crate::wait::eventually;

/// How long a condition may take to come true.
const LIMIT: Duration = Duration::from_secs(20);

/// What the cluster is to be.
#[derive(Debug)]
pub struct Builder {
    workers: usize,
    cores: u64,
    heartbeat: Duration,
    drain_on_shutdown: Option<Duration>,
    kept_events: usize,
}

impl Builder {
    /// How many workers; named worker-0, worker-1, …
    #[must_use]
    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = workers;
        self
    }

    /// How many cores each worker offers to tasks.
    #[must_use]
    pub fn cores(mut self, cores: u64) -> Self {
        self.cores = cores;
        self
    }

    /// The heartbeat period; a third of the time until a silent node is DOWN.
    #[must_use]
    pub fn heartbeat(mut self, period: Duration) -> Self {
        self.heartbeat = period;
        self
    }

    /// How many events the manager keeps for watchers.
    #[must_use]
    pub fn kept_events(mut self, count: usize) -> Self {
        self.kept_events = count;
        self
    }

    /// Workers that are stopped have their node drained first, for at most so long.
    #[must_use]
    pub fn drain_on_shutdown(mut self, limit: Duration) -> Self {
        self.drain_on_shutdown = Some(limit);
        self
    }

    /// Starts it and waits until every worker is READY.
    pub async fn start(self) -> Cluster {
        let manager_listener = listen(free()).await;
        let manager_address = manager_listener.local_addr().expect("a bound port");
        let scheduler = SchedulerHandle::start(free()).await;
        let fault = Fault::default();
        let config = manager_svc::config::Config {
            scheduler: vec![format!("http://{}", scheduler.address)],
            cluster: "test".to_owned(),
            heartbeat_period: self.heartbeat,
            kept_events: self.kept_events,
            ..manager_svc::config::Config::default()
        };
        let shutdown = Shutdown::new();
        let store = Arc::new(FaultyStore::new(MemoryStore::default(), fault.clone()));
        let stop = shutdown.clone();
        let manager = tokio::spawn(async move {
            manager_svc::run(World::real(), config, store, manager_listener, None, stop)
                .await
                .expect("the manager serves");
        });
        let channel = davit_svc_kit::client::endpoint(&manager_address.to_string()).expect("an address").connect_lazy();
        let mut cluster =
            Cluster { manager_address, manager, shutdown, scheduler, fault, workers: Vec::new(), channel };
        for index in 0..self.workers {
            let worker = Worker::new(index, &self, manager_address).await;
            cluster.workers.push(worker);
            cluster.start_worker(index).await;
        }
        eventually("the manager answers", LIMIT, async || {
            let mut client = ClusterServiceClient::new(cluster.channel.clone());
            client.get_cluster(v1::GetClusterRequest {}).await.map(drop)
        })
        .await;
        cluster
    }
}

/// A running cluster.
#[derive(Debug)]
pub struct Cluster {
    manager_address: SocketAddr,
    manager: JoinHandle<()>,
    shutdown: Shutdown,
    scheduler: SchedulerHandle,
    fault: Fault,
    workers: Vec<Worker>,
    channel: Channel,
}

#[derive(Debug)]
struct SchedulerHandle {
    address: SocketAddr,
    running: Option<JoinHandle<()>>,
}

/// A worker, its machine (engine, disk) and its link to the manager.
#[derive(Debug)]
struct Worker {
    name: String,
    cores: u64,
    drain_on_shutdown: Option<Duration>,
    engine: FakeEngine,
    owner: Arc<Mutex<Option<Owner>>>,
    data_dir: TempDir,
    proxy: Proxy,
    running: Option<RunningWorker>,
}

/// A worker's process: a runtime of its own, so that all of it can be killed at once.
#[derive(Debug)]
struct RunningWorker {
    process: Runtime,
    main: JoinHandle<()>,
    shutdown: Shutdown,
}

impl RunningWorker {
    async fn end(self) {
        let ended = tokio::task::spawn_blocking(move || self.process.shutdown_timeout(LIMIT));
        ended.await.expect("the process ends");
    }
}

impl Cluster {
    /// Three workers of 64 cores, heartbeats every half second.
    #[must_use]
    pub fn builder() -> Builder {
        Builder {
            workers: 3,
            cores: 64,
            heartbeat: Duration::from_millis(500),
            drain_on_shutdown: None,
            kept_events: 100_000,
        }
    }

    /// Where the manager's API is.
    #[must_use]
    pub fn manager_address(&self) -> SocketAddr {
        self.manager_address
    }

    /// A channel to the manager, apart from the one that is used here.
    #[must_use]
    pub fn new_channel(&self) -> Channel {
        davit_svc_kit::client::endpoint(&self.manager_address.to_string()).expect("an address").connect_lazy()
    }

    /// The switch that makes the store fail or hang.
    #[must_use]
    pub fn store_fault(&self) -> &Fault {
        &self.fault
    }

    /// Stops everything in good order.
    pub async fn stop(mut self) {
        for index in 0..self.workers.len() {
            if self.workers[index].running.is_some() {
                self.stop_worker(index).await;
            }
        }
        self.shutdown.trigger();
        (&mut self.manager).await.expect("the manager stops");
        self.kill_scheduler_task().await;
    }

    /// Kills a worker without a goodbye; its machine goes on. Answers its node's id.
    pub async fn kill_worker(&mut self, index: usize) -> String {
        let worker = &mut self.workers[index];
        worker.running.take().expect("the worker runs").end().await;
        let owner = worker.owner.lock().clone().expect("the worker had joined");
        owner.node_id.to_string()
    }

    /// Stops a worker in good order, as with SIGTERM; its machine goes on.
    pub async fn stop_worker(&mut self, index: usize) {
        let mut running = self.workers[index].running.take().expect("the worker runs");
        running.shutdown.trigger();
        (&mut running.main).await.expect("the worker stops");
        running.end().await;
    }

    /// Starts a worker, anew or again, and waits until its node is READY.
    pub async fn start_worker(&mut self, index: usize) {
        let worker = &mut self.workers[index];
        worker.start();
        let name = worker.name.clone();
        let mut client = NodeServiceClient::new(self.channel.clone());
        eventually(&format!("{name} is READY"), LIMIT, async || {
            let request = v1::GetNodeRequest { node: name.clone() };
            let node = client.get_node(request).await.map_err(|status| status.to_string())?;
            let state = node.into_inner().node.expect("a node").state();
            if state == v1::NodeState::Ready { Ok(()) } else { Err(format!("{state:?}")) }
        })
        .await;
    }

    /// Cuts a worker's connections and waits until it has dialled again.
    pub async fn cut_session(&self, index: usize) {
        let proxy = &self.workers[index].proxy;
        let before = proxy.accepted();
        proxy.cut();
        eventually("the worker dials again", LIMIT, async || match proxy.accepted() {
            now if now > before => Ok(()),
            now => Err(now),
        })
        .await;
    }

    /// Kills the scheduler.
    pub async fn kill_scheduler(&mut self) {
        self.kill_scheduler_task().await;
        eventually("the manager notices", LIMIT, async || {
            let scheduler = self.get_cluster().await.scheduler.expect("a scheduler");
            if scheduler.connected { Err(scheduler) } else { Ok(()) }
        })
        .await;
    }

    async fn kill_scheduler_task(&mut self) {
        if let Some(running) = self.scheduler.running.take() {
            running.abort();
            let _ = running.await;
        }
    }

    /// Starts the scheduler again, at the same address.
    pub async fn start_scheduler(&mut self) {
        self.scheduler = SchedulerHandle::start(self.scheduler.address).await;
    }

    /// How many instances run on all machines, whoever wants them.
    #[must_use]
    pub fn running_instances(&self) -> usize {
        self.workers.iter().map(Worker::running_instances).sum()
    }

    /// How many instances were ever started on all machines.
    #[must_use]
    pub fn started_instances(&self) -> usize {
        let started = |worker: &Worker| {
            let calls = worker.engine.calls().into_iter().filter(|call| call.step == Step::Start);
            calls.filter_map(|call| call.key).collect::<BTreeSet<_>>().len()
        };
        self.workers.iter().map(started).sum()
    }

    /// Attempts that were sent their stop signal, on all machines: the task, and which attempt.
    #[must_use]
    pub fn signalled(&self) -> BTreeSet<(String, u32)> {
        let calls = self.workers.iter().flat_map(|worker| worker.engine.calls());
        let keys = calls.filter(|call| call.step == Step::Stop).filter_map(|call| call.key);
        keys.map(|key| (key.task_id.to_string(), key.attempt.0)).collect()
    }

    /// A task for the fake runtime, with orders for it.
    #[must_use]
    pub fn fake_spec(&self, orders: &[(&str, &str)]) -> v1::TaskSpec {
        let container = v1::ContainerSpec { image: "fake".to_owned(), ..Default::default() };
        v1::TaskSpec {
            name: "fake".to_owned(),
            labels: orders.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
            runtime: Some(v1::task_spec::Runtime::Container(container)),
            ..Default::default()
        }
    }

    /// Creates one task with orders for the fake runtime.
    pub async fn create_task(&self, orders: &[(&str, &str)]) -> String {
        self.create(self.fake_spec(orders)).await
    }

    /// Creates one task.
    pub async fn create(&self, spec: v1::TaskSpec) -> String {
        self.try_create(spec).await.expect("the task is created")
    }

    /// Tries to create one task.
    ///
    /// # Errors
    /// The manager's.
    pub async fn try_create(&self, spec: v1::TaskSpec) -> Result<String, tonic::Status> {
        let request = v1::CreateTaskRequest { spec: Some(spec), ..Default::default() };
        let response = self.tasks().create_task(request).await?;
        Ok(response.into_inner().task.expect("a task").task_id)
    }

    /// Creates many like tasks.
    pub async fn create_tasks(&self, count: u32, orders: &[(&str, &str)]) -> Vec<String> {
        self.create_many(count, self.fake_spec(orders)).await
    }

    /// Creates so many tasks of one spec.
    pub async fn create_many(&self, count: u32, spec: v1::TaskSpec) -> Vec<String> {
        self.create_group(v1::TaskGroup { spec: Some(spec), count: Some(count), all_or_nothing: false }).await
    }

    /// Creates so many tasks of one spec that are placed together or not at all.
    pub async fn create_gang(&self, count: u32, spec: v1::TaskSpec) -> Vec<String> {
        self.create_group(v1::TaskGroup { spec: Some(spec), count: Some(count), all_or_nothing: true }).await
    }

    async fn create_group(&self, group: v1::TaskGroup) -> Vec<String> {
        let request = v1::BatchCreateTasksRequest { groups: vec![group], ..Default::default() };
        self.tasks().batch_create_tasks(request).await.expect("the tasks are created").into_inner().task_ids
    }

    /// One task as it is.
    pub async fn get_task(&self, task_id: &str) -> v1::Task {
        let request = v1::GetTaskRequest { task_id: task_id.to_owned() };
        self.tasks().get_task(request).await.expect("the task").into_inner().task.expect("a task")
    }

    /// What a task's current attempt is at.
    pub async fn status_of(&self, task_id: &str) -> v1::TaskStatus {
        self.get_task(task_id).await.status.expect("a status")
    }

    /// What speaks for and against each node for a task.
    pub async fn explain(&self, task_id: &str) -> v1::PlacementExplanation {
        let request = v1::ExplainTaskRequest { task_id: task_id.to_owned(), ..Default::default() };
        let response = self.tasks().explain_task(request).await.expect("the task is explained").into_inner();
        response.explanation.expect("an explanation")
    }

    /// All tasks, page by page.
    pub async fn list_tasks(&self) -> Vec<v1::Task> {
        let mut tasks = Vec::new();
        let mut request = v1::ListTasksRequest { page_size: 77, ..Default::default() };
        loop {
            let page = self.tasks().list_tasks(request.clone()).await.expect("a page").into_inner();
            tasks.extend(page.tasks);
            if page.next_page_token.is_empty() {
                return tasks;
            }
            request.page_token = page.next_page_token;
        }
    }

    /// Asks a task to stop.
    pub async fn stop_task(&self, task_id: &str) {
        let request = v1::StopTaskRequest { task_id: task_id.to_owned() };
        self.tasks().stop_task(request).await.expect("the task is asked to stop");
    }

    /// Waits until a task is in a state.
    pub async fn wait_for_state(&self, task_id: &str, state: v1::TaskState) {
        self.wait_for_all(&[task_id.to_owned()], state).await;
    }

    /// Waits until all these tasks are in a state at once.
    pub async fn wait_for_all(&self, task_ids: &[String], state: v1::TaskState) {
        let wanted: BTreeSet<&String> = task_ids.iter().collect();
        eventually(&format!("{} tasks are {state:?}", task_ids.len()), LIMIT, async || {
            let tasks = self.list_tasks().await;
            let other = tasks.iter().filter(|task| wanted.contains(&task.task_id)).filter_map(|task| {
                task.status
                    .as_ref()
                    .filter(|status| status.state() != state)
                    .map(|status| (task.attempt, status.clone()))
            });
            let other: Vec<_> = other.take(3).collect();
            let all_there = tasks.iter().filter(|task| wanted.contains(&task.task_id)).count() == wanted.len();
            if other.is_empty() && all_there { Ok(()) } else { Err(other) }
        })
        .await;
    }

    /// What a task wrote.
    pub async fn read_logs(&self, task_id: &str, tail_lines: Option<u32>) -> String {
        let request = v1::StreamTaskLogsRequest { task_id: task_id.to_owned(), tail_lines, ..Default::default() };
        let mut stream = self.tasks().stream_task_logs(request).await.expect("a stream").into_inner();
        let mut text = Vec::new();
        while let Some(piece) = stream.message().await.expect("a piece") {
            text.extend(piece.data);
        }
        String::from_utf8(text).expect("text")
    }

    /// All nodes.
    pub async fn list_nodes(&self) -> Vec<v1::Node> {
        let mut client = NodeServiceClient::new(self.channel.clone());
        client.list_nodes(v1::ListNodesRequest::default()).await.expect("nodes").into_inner().nodes
    }

    /// One node as it is.
    pub async fn get_node(&self, node: &str) -> v1::Node {
        let request = v1::GetNodeRequest { node: node.to_owned() };
        self.nodes().get_node(request).await.expect("the node").into_inner().node.expect("a node")
    }

    /// Has a node drained.
    pub async fn drain_node(&self, node: &str, max_parallel: u32, time_limit: Option<Duration>) -> v1::Node {
        let deadline = time_limit.map(davit_proto::convert::duration_to_proto);
        let request = v1::DrainNodeRequest { node: node.to_owned(), max_parallel, deadline, cancel: false };
        self.nodes().drain_node(request).await.expect("the node is drained").into_inner().node.expect("a node")
    }

    /// Lets a node take tasks again.
    pub async fn uncordon_node(&self, node: &str) {
        let request = v1::UncordonNodeRequest { node: node.to_owned() };
        self.nodes().uncordon_node(request).await.expect("the node is uncordoned");
    }

    /// Sets a node's user labels.
    pub async fn label_node(&self, node: &str, labels: &[(&str, &str)]) {
        let user_labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let request = v1::UpdateNodeRequest { node: node.to_owned(), user_labels, ..Default::default() };
        NodeServiceClient::new(self.channel.clone()).update_node(request).await.expect("the node is labelled");
    }

    /// The cluster as a whole.
    pub async fn get_cluster(&self) -> v1::Cluster {
        let mut client = ClusterServiceClient::new(self.channel.clone());
        let response = client.get_cluster(v1::GetClusterRequest {}).await.expect("the cluster");
        response.into_inner().cluster.expect("a cluster")
    }

    /// The newest revision.
    pub async fn revision(&self) -> u64 {
        self.get_cluster().await.revision
    }

    /// What happened to a task so far, oldest first.
    pub async fn events_of(&self, task_id: &str) -> Vec<v1::Event> {
        let newest = self.revision().await;
        let is_of_task = |event: &v1::Event| match &event.object {
            Some(v1::event::Object::Task(task)) => task.task_id == task_id,
            _ => false,
        };
        self.watch_until(0, newest).await.into_iter().filter(is_of_task).collect()
    }

    /// Events after one revision up to another.
    pub async fn watch_until(&self, after: u64, last: u64) -> Vec<v1::Event> {
        let mut client = EventServiceClient::new(self.channel.clone());
        let request = v1::WatchEventsRequest { after_revision: Some(after), filter: None };
        let mut stream = client.watch_events(request).await.expect("a watch").into_inner();
        let mut events = Vec::new();
        while let Some(message) = stream.message().await.expect("a message") {
            let Some(v1::watch_events_response::Message::Event(event)) = message.message else { continue };
            let reached = event.revision >= last;
            events.push(event);
            if reached {
                break;
            }
        }
        events
    }

    /// Whether gRPC health says SERVING of the manager as a whole.
    pub async fn manager_is_serving(&self) -> bool {
        let mut client = tonic_health::pb::health_client::HealthClient::new(self.channel.clone());
        let request = tonic_health::pb::HealthCheckRequest { service: String::new() };
        let response = client.check(request).await.expect("health answers").into_inner();
        response.status() == tonic_health::pb::health_check_response::ServingStatus::Serving
    }

    fn nodes(&self) -> NodeServiceClient<Channel> {
        NodeServiceClient::new(self.channel.clone())
    }

    fn tasks(&self) -> TaskServiceClient<Channel> {
        TaskServiceClient::new(self.channel.clone())
    }
}

impl SchedulerHandle {
    async fn start(address: SocketAddr) -> Self {
        let listener = listen(address).await;
        let address = listener.local_addr().expect("a bound port");
        let running = tokio::spawn(async move {
            let config = scheduler_svc::config::Config::default();
            scheduler_svc::run(config, listener, None, Shutdown::new()).await.expect("the scheduler serves");
        });
        Self { address, running: Some(running) }
    }
}

impl Worker {
    async fn new(index: usize, builder: &Builder, manager: SocketAddr) -> Self {
        Self {
            name: format!("worker-{index}"),
            cores: builder.cores,
            drain_on_shutdown: builder.drain_on_shutdown,
            engine: FakeEngine::new(Arc::new(SystemClock)),
            owner: Arc::default(),
            data_dir: tempfile::tempdir().expect("a directory"),
            proxy: Proxy::start(manager).await,
            running: None,
        }
    }

    fn start(&mut self) {
        let mut config = worker_svc::config::Config::new(
            format!("http://{}", self.proxy.address()),
            self.name.clone(),
            self.data_dir.path(),
        );
        config.drain_on_shutdown = self.drain_on_shutdown;
        config.offer.cpu_millis = Some(1000 * self.cores);
        config.offer.memory_bytes = Some(64 << 30);
        config.offer.disk_bytes = Some(1 << 40);
        let (engine, known_owner) = (self.engine.clone(), Arc::clone(&self.owner));
        let factory: RuntimeFactory = Arc::new(move |owner: &Owner| {
            *known_owner.lock() = Some(owner.clone());
            vec![Arc::new(engine.runtime(owner.clone(), RuntimeKind::Docker))]
        });
        let shutdown = Shutdown::new();
        let stop = shutdown.clone();
        let process =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
        let main = process.spawn(async move {
            let listener = listen(free()).await;
            worker_svc::run(World::real(), config, factory, listener, None, stop).await.expect("the worker serves");
        });
        self.running = Some(RunningWorker { process, main, shutdown });
    }

    fn running_instances(&self) -> usize {
        self.owner.lock().as_ref().map_or(0, |owner| self.engine.running(owner).len())
    }
}

fn free() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

async fn listen(address: SocketAddr) -> TcpListener {
    TcpListener::bind(address).await.expect("the port is free")
}
