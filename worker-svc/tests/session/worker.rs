//! A real worker over a fake engine.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use davit_core::id::{Attempt, AttemptKey, NodeId, TaskId};
use davit_core::spec::{ContainerSpec, Port, PortProtocol, ProcessSpec, RuntimeSpec, StopPolicy, TaskSpec};
use davit_proto::v1;
use davit_proto::v1::worker_service_client::WorkerServiceClient;
use davit_svc_kit::client;
use davit_svc_kit::clock::SystemClock;
use davit_svc_kit::ids::{IdSource, UuidV7Source};
use davit_svc_kit::shutdown::Shutdown;
use davit_svc_kit::world::World;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;
use tonic::transport::Channel;
use worker_svc::identity::DataDir;
use worker_svc::local_store::{FjallBackend, LocalStore, Record};
use worker_svc::runtime::{FakeEngine, Owner, Runtime, RuntimeKind};
use worker_svc::{Config, RuntimeFactory};

use super::{CLUSTER, in_time};
use crate::manager::{Manager, Session};

/// A machine: an engine and a disk, which outlive the worker.
pub(crate) struct Machine {
    pub(crate) engine: FakeEngine,
    disk: TempDir,
    pub(crate) kinds: Vec<RuntimeKind>,
}

impl Machine {
    pub(crate) fn new() -> Self {
        let engine = FakeEngine::new(Arc::new(SystemClock));
        Self { engine, disk: tempfile::tempdir().unwrap(), kinds: vec![RuntimeKind::Docker] }
    }

    /// The same engine, with a copy of the data directory.
    pub(crate) fn copy(&self) -> Self {
        let disk = tempfile::tempdir().unwrap();
        let copied = Command::new("cp").arg("-a").arg(self.disk.path().join(".")).arg(disk.path()).status().unwrap();
        assert!(copied.success());
        Self { engine: self.engine.clone(), disk, kinds: self.kinds.clone() }
    }

    pub(crate) fn owner(&self) -> Owner {
        let node_id = std::fs::read_to_string(self.disk.path().join("node-id")).unwrap();
        Owner { cluster: CLUSTER.to_owned(), node_id: node_id.trim().parse::<NodeId>().unwrap() }
    }

    pub(crate) fn data_dir(&self) -> &Path {
        self.disk.path()
    }

    pub(crate) fn config(&self, manager: &Manager) -> Config {
        Config::new(manager.address.to_string(), "node-1", self.disk.path())
    }

    /// What its worker, which does not run now, would find in its store.
    pub(crate) async fn kept(&self) -> BTreeMap<AttemptKey, Record> {
        let store = FjallBackend::new(self.data_dir().join("store").join(CLUSTER));
        LocalStore::open(Box::new(store)).await.unwrap().records()
    }

    pub(crate) fn factory(&self) -> RuntimeFactory {
        let (engine, kinds) = (self.engine.clone(), self.kinds.clone());
        Arc::new(move |owner| {
            let runtime = |kind: &RuntimeKind| Arc::new(engine.runtime(owner.clone(), *kind)) as Arc<dyn Runtime>;
            kinds.iter().map(runtime).collect()
        })
    }

    pub(crate) async fn worker(&self, manager: &Manager) -> Worker {
        self.worker_with(self.config(manager)).await
    }

    pub(crate) async fn worker_with(&self, config: Config) -> Worker {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let shutdown = Shutdown::new();
        let run = worker_svc::run(World::real(), config, self.factory(), listener, None, shutdown.clone());
        let run = AbortOnDropHandle::new(tokio::spawn(async move { run.await.map_err(|error| error.to_string()) }));
        Worker { run, shutdown, address, data_dir: self.disk.path().to_owned() }
    }
}

pub(crate) struct Worker {
    run: AbortOnDropHandle<Result<(), String>>,
    pub(crate) shutdown: Shutdown,
    address: String,
    data_dir: PathBuf,
}

impl Worker {
    /// Ends it as SIGKILL would.
    pub(crate) async fn kill(self) {
        self.run.abort();
        assert!(in_time("its death", self.run).await.unwrap_err().is_cancelled());
        // Its parts are dropped one after the other; the lock goes last.
        let free = async {
            while DataDir::open(&self.data_dir, &UuidV7Source).is_err() {
                tokio::task::yield_now().await;
            }
        };
        in_time("its data directory", free).await;
    }

    /// Waits until it has taken in that the manager has all that it reported.
    pub(crate) async fn until_all_acknowledged(&self, session: &mut Session) {
        let client = self.client().await;
        let reads = async {
            while !local_tasks(&client).await.iter().all(|task| task.acknowledged) {
                session.next().await;
            }
        };
        in_time("its acknowledgements", reads).await;
    }

    /// Waits until it has ended by itself.
    pub(crate) async fn ended(self) -> Result<(), String> {
        in_time("the worker's end", self.run).await.unwrap()
    }

    pub(crate) async fn client(&self) -> WorkerServiceClient<Channel> {
        WorkerServiceClient::new(client::endpoint(&self.address).unwrap().connect().await.unwrap())
    }
}

/// What a worker says that it holds.
pub(crate) async fn local_tasks(client: &WorkerServiceClient<Channel>) -> Vec<v1::LocalTask> {
    let listed = client.clone().list_local_tasks(v1::ListLocalTasksRequest::default()).await.unwrap();
    listed.into_inner().tasks
}

pub(crate) fn new_task() -> TaskId {
    UuidV7Source.task_id()
}

pub(crate) fn new_key() -> AttemptKey {
    AttemptKey { task_id: new_task(), attempt: Attempt::FIRST }
}

fn spec(runtime: RuntimeSpec, orders: &[(&str, &str)]) -> TaskSpec {
    TaskSpec {
        labels: orders.iter().map(|(order, value)| (format!("fake.{order}"), (*value).to_owned())).collect(),
        stop: StopPolicy { signal: String::new(), grace: Duration::from_millis(50) },
        ..TaskSpec::new("web", runtime)
    }
}

/// A container that follows these orders of the fake runtime.
pub(crate) fn container(orders: &[(&str, &str)]) -> TaskSpec {
    let ports = vec![Port { container_port: 80, protocol: PortProtocol::Tcp, host_port: None }];
    let container = ContainerSpec { ports, ..ContainerSpec::new("busybox".parse().unwrap()) };
    spec(RuntimeSpec::Container(container), orders)
}

/// A process that follows these orders.
pub(crate) fn process(orders: &[(&str, &str)]) -> TaskSpec {
    spec(RuntimeSpec::Process(ProcessSpec::new(vec!["sh".to_owned()])), orders)
}
