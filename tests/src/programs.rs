//! Clusters of programs: a manager, a scheduler, and workers on Docker engines or with processes.

use std::path::{Path, PathBuf};
use std::time::Duration;

use davit_proto::v1;
use davit_proto::v1::cluster_service_client::ClusterServiceClient;
use davit_proto::v1::event_service_client::EventServiceClient;
use davit_proto::v1::node_service_client::NodeServiceClient;
use davit_proto::v1::task_service_client::TaskServiceClient;
use tonic::transport::Channel;

use crate::binaries::Service;
use crate::engine::IMAGE;
use crate::wait::eventually;

/// How long a condition may take to come true.
const LIMIT: Duration = Duration::from_secs(40);

/// A manager with a scheduler. Workers come and go.
#[derive(Debug)]
pub struct Programs {
    _scheduler: Service,
    manager: Service,
    channel: Channel,
    log: Option<PathBuf>,
}

impl Programs {
    /// Starts them, the manager with further arguments.
    pub async fn start(cluster: &str, more: &[&str]) -> Self {
        Self::start_logging(cluster, more, None).await
    }

    /// The same, with the logs of the manager and of workers appended to a file.
    pub async fn start_logging(cluster: &str, more: &[&str], log: Option<&Path>) -> Self {
        let scheduler = Service::start("davit-scheduler", &[]);
        let address = scheduler.address.to_string();
        let arguments = [&["--scheduler", &address, "--cluster", cluster][..], more].concat();
        let arguments: Vec<String> = arguments.into_iter().map(str::to_owned).collect();
        let manager = Service::start_logging("davit-manager", &arguments, log);
        manager.ready().await;
        let endpoint = davit_svc_kit::client::endpoint(&manager.address.to_string()).expect("an address");
        Self { _scheduler: scheduler, manager, channel: endpoint.connect_lazy(), log: log.map(Path::to_owned) }
    }

    /// Starts a worker of this name on the engine behind a socket, which need not answer yet.
    #[must_use]
    pub fn worker(&self, name: &str, data_dir: &Path, socket: &Path, more: &[&str]) -> Service {
        let (data_dir, socket) = (data_dir.display().to_string(), socket.display().to_string());
        let arguments = ["--name", name, "--data-dir", &data_dir, "--docker-socket", &socket];
        self.worker_with(&[&arguments[..], &["--docker", "on", "--cpus", "4", "--memory", "1GiB"], more].concat())
    }

    /// Starts a worker of this name that has no engine, and runs processes.
    pub async fn process_worker(&self, name: &str, data_dir: &Path, more: &[&str]) -> Service {
        let data_dir = data_dir.display().to_string();
        let arguments = ["--name", name, "--data-dir", &data_dir, "--docker", "off", "--process-runtime", "true"];
        let worker = self.worker_with(&[&arguments[..], more].concat());
        worker.ready().await;
        worker
    }

    /// Starts a worker with these arguments.
    #[must_use]
    pub fn worker_with(&self, arguments: &[&str]) -> Service {
        let manager = self.manager.address.to_string();
        let arguments = [&["--manager", &manager][..], arguments].concat();
        let arguments: Vec<String> = arguments.into_iter().map(str::to_owned).collect();
        Service::start_logging("davit-worker", &arguments, self.log.as_deref())
    }

    /// Ends the manager by SIGKILL and starts it again as it was. Returns when it is ready.
    #[must_use]
    pub async fn with_crashed_manager(self) -> Self {
        Self { manager: self.manager.crash().await, ..self }
    }

    /// Ends the manager by SIGTERM and starts it again as it was. Returns when it is ready.
    #[must_use]
    pub async fn with_restarted_manager(self) -> Self {
        Self { manager: self.manager.restart().await, ..self }
    }

    /// The manager.
    #[must_use]
    pub fn manager(&self) -> &Service {
        &self.manager
    }

    /// The cluster as a whole.
    pub async fn cluster(&self) -> v1::Cluster {
        let mut client = ClusterServiceClient::new(self.channel.clone());
        let got = client.get_cluster(v1::GetClusterRequest {}).await.expect("the cluster");
        got.into_inner().cluster.expect("a cluster")
    }

    /// The cluster's id.
    pub async fn cluster_id(&self) -> String {
        self.cluster().await.cluster_id
    }

    /// To the manager.
    #[must_use]
    pub fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// Calls about nodes.
    #[must_use]
    pub fn nodes(&self) -> NodeServiceClient<Channel> {
        NodeServiceClient::new(self.channel.clone())
    }

    /// Calls about tasks.
    #[must_use]
    pub fn tasks(&self) -> TaskServiceClient<Channel> {
        TaskServiceClient::new(self.channel.clone())
    }

    /// One node.
    pub async fn node(&self, name: &str) -> Result<v1::Node, String> {
        let request = v1::GetNodeRequest { node: name.to_owned() };
        let got = self.nodes().get_node(request).await.map_err(|status| status.message().to_owned())?;
        got.into_inner().node.ok_or_else(|| "no node".to_owned())
    }

    /// Waits until a node is as it should be.
    pub async fn until_node(&self, what: &str, name: &str, holds: impl Fn(&v1::Node) -> bool) -> v1::Node {
        eventually(&format!("{name} {what}"), LIMIT, async || {
            let node = self.node(name).await?;
            if holds(&node) { Ok(node) } else { Err(format!("{node:?}")) }
        })
        .await
    }

    /// Creates a task of a shell script in [`IMAGE`], and lets it be bent first.
    pub async fn create(&self, name: &str, script: &str, bend: impl FnOnce(&mut v1::TaskSpec)) -> String {
        let container = v1::ContainerSpec {
            image: IMAGE.to_owned(),
            entrypoint: ["/bin/busybox", "sh", "-c"].map(str::to_owned).to_vec(),
            command: vec![script.to_owned()],
            ..Default::default()
        };
        self.create_with(name, v1::task_spec::Runtime::Container(container), bend).await
    }

    /// Creates a task of a shell script that runs as a process, and lets it be bent first.
    pub async fn create_process(&self, name: &str, script: &str, bend: impl FnOnce(&mut v1::TaskSpec)) -> String {
        let command = ["sh", "-c", script].map(str::to_owned).to_vec();
        let process = v1::ProcessSpec { command, ..Default::default() };
        self.create_with(name, v1::task_spec::Runtime::Process(process), bend).await
    }

    async fn create_with(
        &self,
        name: &str,
        runtime: v1::task_spec::Runtime,
        bend: impl FnOnce(&mut v1::TaskSpec),
    ) -> String {
        let mut spec = v1::TaskSpec { name: name.to_owned(), runtime: Some(runtime), ..Default::default() };
        bend(&mut spec);
        let request = v1::CreateTaskRequest { spec: Some(spec), ..Default::default() };
        let created = self.tasks().create_task(request).await.expect("the task is taken");
        created.into_inner().task.expect("a task").task_id
    }

    /// One task.
    pub async fn task(&self, task_id: &str) -> v1::Task {
        let request = v1::GetTaskRequest { task_id: task_id.to_owned() };
        self.tasks().get_task(request).await.expect("the task").into_inner().task.expect("a task")
    }

    /// Waits until a task is in a state, and answers its status.
    pub async fn until(&self, task_id: &str, state: v1::TaskState) -> v1::TaskStatus {
        let is = |task: &v1::Task| task.status.as_ref().is_some_and(|status| status.state() == state);
        let task = self.until_task(&format!("is {state:?}"), task_id, is).await;
        task.status.expect("a status")
    }

    /// Waits until a task is as it should be.
    pub async fn until_task(&self, what: &str, task_id: &str, holds: impl Fn(&v1::Task) -> bool) -> v1::Task {
        eventually(&format!("the task {what}"), LIMIT, async || {
            let task = self.task(task_id).await;
            if holds(&task) { Ok(task) } else { Err(task) }
        })
        .await
    }

    /// All that happened so far, oldest first, of a cluster in which little did.
    pub async fn events(&self) -> Vec<v1::Event> {
        let request = v1::ListEventsRequest { page_size: 1000, ..Default::default() };
        let listed = EventServiceClient::new(self.channel.clone()).list_events(request).await.expect("events");
        listed.into_inner().events
    }
}
