//! A whole cluster in this process, for `davit dev` and `davit demo`: a manager, a scheduler and some workers that share the
//! machine, talking to each other over real gRPC as they would from process to process.

mod runtimes;

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use davit_core::placement::PortRange;
use davit_core::resources::Resources;
use davit_proto::v1;
use davit_proto::v1::node_service_client::NodeServiceClient;
use davit_svc_kit::shutdown::Shutdown;
use davit_svc_kit::world::World;
use manager_svc::config::StoreKind;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tonic::transport::Channel;
use worker_svc::reexec::Reexec;
use worker_svc::stats::{Measure as _, Meter};

pub use self::runtimes::{Docker, find_docker, get_image};

/// How long all nodes may take to join.
const JOIN_TIMEOUT: Duration = Duration::from_secs(20);
/// What is left of the machine to everything else.
const RESERVE: Resources = Resources { cpu_millis: 0, memory_bytes: 512 << 20, disk_bytes: 1 << 30 };

/// Where the services of a local cluster listen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ports {
    /// At the default addresses, for clients that expect them.
    Default,
    /// Wherever there is room.
    Free,
}

/// What a local cluster is to be.
#[derive(Debug, Clone)]
pub struct Options {
    /// The cluster's name.
    pub cluster: String,
    /// How many workers; at least one.
    pub workers: u16,
    /// Where the manager and the workers keep what they need; `None`: the manager in memory, workers in a directory that
    /// vanishes with the cluster.
    pub data_dir: Option<PathBuf>,
    /// Where the services listen.
    pub ports: Ports,
    /// The engine that containers run on; `None`: only processes.
    pub docker: Option<Docker>,
    /// What the workers run again beside them.
    pub reexec: Reexec,
}

/// Why a local cluster can't be.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A port can't be had.
    #[error("{service} can't listen on {address}: {source}; is another cluster running here?")]
    Port {
        /// Whose port.
        service: String,
        /// Which.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The directory can't be had.
    #[error("{}: {source}", path.display())]
    DataDir {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// One of the services ended.
    #[error("{0}")]
    Service(String),
    /// The nodes did not join in time.
    #[error("the nodes did not join within {} s", JOIN_TIMEOUT.as_secs())]
    Join,
}

impl From<Error> for crate::error::Error {
    fn from(problem: Error) -> Self {
        Self::failed(problem.to_string())
    }
}

/// A directory that goes with its holder, also when a cluster could not start.
#[derive(Debug)]
struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        // Whoever wants to know removes it beforehand.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A running local cluster.
#[derive(Debug)]
pub struct LocalCluster {
    /// Where the manager's API is.
    pub manager: SocketAddr,
    /// Where the manager's metrics and health are.
    pub manager_http: SocketAddr,
    /// Where the scheduler is.
    pub scheduler: SocketAddr,
    /// Where the workers are.
    pub workers: Vec<SocketAddr>,
    services: JoinSet<Result<(), Error>>,
    /// Workers stop first, so that the manager still takes their last word.
    worker_count: usize,
    stop_workers: Shutdown,
    stop_rest: Shutdown,
    temporary: Option<Temporary>,
}

impl LocalCluster {
    /// Starts everything and waits until all nodes are READY.
    ///
    /// # Errors
    /// When a port or the directory can't be had, or a service ends.
    pub async fn start(options: Options) -> Result<Self, Error> {
        let (data_dir, temporary) = match &options.data_dir {
            Some(path) => (path.clone(), None),
            None => {
                let path = std::env::temp_dir().join(format!("davit-{}-{}", options.cluster, std::process::id()));
                (path.clone(), Some(Temporary(path)))
            }
        };
        std::fs::create_dir_all(&data_dir).map_err(|source| Error::DataDir { path: data_dir.clone(), source })?;
        let address = |port| match options.ports {
            Ports::Default => SocketAddr::from(([127, 0, 0, 1], port)),
            Ports::Free => SocketAddr::from(([127, 0, 0, 1], 0)),
        };
        let (manager_listener, manager) = listen("the manager", address(7400)).await?;
        let (http_listener, manager_http) = listen("the manager's HTTP side", address(7401)).await?;
        let (scheduler_listener, scheduler) = listen("the scheduler", address(7410)).await?;
        let mut cluster = Self {
            manager,
            manager_http,
            scheduler,
            workers: Vec::new(),
            services: JoinSet::new(),
            worker_count: 0,
            stop_workers: Shutdown::new(),
            stop_rest: Shutdown::new(),
            temporary,
        };
        let stop = cluster.stop_rest.clone();
        cluster.services.spawn(async move {
            let config = scheduler_svc::config::Config::default();
            let served = scheduler_svc::run(config, scheduler_listener, None, stop).await;
            served.map_err(|problem| Error::Service(format!("the scheduler broke: {problem}")))
        });
        let config = manager_svc::config::Config {
            scheduler: vec![format!("http://{scheduler}")],
            cluster: options.cluster.clone(),
            data_dir: data_dir.join("manager"),
            // What is temporary needs no disk.
            store: if options.data_dir.is_some() { StoreKind::Fjall } else { StoreKind::Memory },
            ..manager_svc::config::Config::default()
        };
        let store = manager_svc::store::open(&config).await.map_err(|problem| Error::Service(problem.to_string()))?;
        let stop = cluster.stop_rest.clone();
        cluster.services.spawn(async move {
            let served =
                manager_svc::run(World::real(), config, store, manager_listener, Some(http_listener), stop).await;
            served.map_err(|problem| Error::Service(format!("the manager broke: {problem}")))
        });
        let share = share_of(Meter::new(&data_dir).capacity(), options.workers);
        for index in 0..options.workers {
            let name = format!("the worker of node-{}", index + 1);
            let (listener, address) = listen(&name, address(7420 + 2 * index)).await?;
            cluster.workers.push(address);
            // They share an engine too, which binds a port only once.
            let ports = PortRange::DEFAULT.part(index, options.workers);
            cluster.spawn_worker(index, &data_dir, share, ports, listener, &options);
        }
        cluster.wait_until_ready(usize::from(options.workers)).await?;
        Ok(cluster)
    }

    /// Waits until one of the services ends, which none should.
    pub async fn broken(&mut self) -> Error {
        match self.services.join_next().await {
            Some(Ok(Err(problem))) => problem,
            Some(Ok(Ok(()))) | None => Error::Service("a service ended".to_owned()),
            Some(Err(problem)) => Error::Service(format!("a service broke: {problem}")),
        }
    }

    /// Stops all tasks, then all services, and removes what was temporary.
    ///
    /// # Errors
    /// When a service did not stop in good order.
    pub async fn stop(mut self) -> Result<(), Error> {
        self.stop_workers.trigger();
        let mut outcome = Ok(());
        let mut ended = 0;
        while let Some(service) = self.services.join_next().await {
            let service = service.unwrap_or_else(|problem| Err(Error::Service(problem.to_string())));
            outcome = outcome.and(service);
            ended += 1;
            if ended == self.worker_count {
                self.stop_rest.trigger();
            }
        }
        if let Some(Temporary(path)) = &self.temporary {
            let removed = std::fs::remove_dir_all(path);
            outcome = outcome.and(removed.map_err(|source| Error::DataDir { path: path.clone(), source }));
        }
        outcome
    }

    fn spawn_worker(
        &mut self,
        index: u16,
        data_dir: &Path,
        share: Resources,
        ports: Option<PortRange>,
        listener: TcpListener,
        options: &Options,
    ) {
        let name = format!("node-{}", index + 1);
        let data_dir = data_dir.join(&name);
        let mut config = worker_svc::Config::new(format!("http://{}", self.manager), name.clone(), data_dir.clone());
        config.port_range = ports;
        config.offer.cpu_millis = Some(share.cpu_millis);
        config.offer.memory_bytes = Some(share.memory_bytes);
        config.offer.disk_bytes = Some(share.disk_bytes);
        config.labels.insert("zone".to_owned(), char::from(b'a' + u8::try_from(index % 26).unwrap_or(0)).to_string());
        // The state vanishes with this process, so nothing of it may go on.
        config.stop_tasks_on_shutdown = true;
        let factory = runtimes::factory(options.docker.clone(), data_dir.join("processes"), options.reexec.clone());
        let stop = self.stop_workers.clone();
        self.worker_count += 1;
        self.services.spawn(async move {
            let served = worker_svc::run(World::real(), config, factory, listener, None, stop).await;
            served.map_err(|problem| Error::Service(format!("the worker of {name} broke: {problem}")))
        });
    }

    async fn wait_until_ready(&mut self, count: usize) -> Result<(), Error> {
        let ready = all_ready(self.manager, count);
        tokio::select! {
            ready = tokio::time::timeout(JOIN_TIMEOUT, ready) => ready.map_err(|_| Error::Join),
            problem = self.broken() => Err(problem),
        }
    }
}

async fn listen(service: &str, address: SocketAddr) -> Result<(TcpListener, SocketAddr), Error> {
    let problem = |source| Error::Port { service: service.to_owned(), address, source };
    let listener = TcpListener::bind(address).await.map_err(problem)?;
    let address = listener.local_addr().map_err(problem)?;
    Ok((listener, address))
}

/// What one of several workers may promise of a machine that they share.
fn share_of(machine: Resources, workers: u16) -> Resources {
    let rest = machine.saturating_sub(RESERVE);
    let workers = u64::from(workers.max(1));
    Resources {
        cpu_millis: rest.cpu_millis / workers,
        memory_bytes: rest.memory_bytes / workers,
        disk_bytes: rest.disk_bytes / workers,
    }
}

async fn all_ready(manager: SocketAddr, count: usize) {
    let Ok(endpoint) = davit_svc_kit::client::endpoint(&manager.to_string()) else { return };
    let mut client: NodeServiceClient<Channel> = NodeServiceClient::new(endpoint.connect_lazy());
    let filter = v1::NodeFilter { states: vec![v1::NodeState::Ready.into()], ..Default::default() };
    let request = v1::ListNodesRequest { filter: Some(filter), ..Default::default() };
    loop {
        if let Ok(response) = client.list_nodes(request.clone()).await
            && response.into_inner().nodes.len() >= count
        {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_share_what_the_machine_has_without_promising_it_twice() {
        let machine = Resources { cpu_millis: 2_000, memory_bytes: 4 << 30, disk_bytes: 10 << 30 };
        let share = share_of(machine, 3);
        assert!(share.cpu_millis * 3 <= machine.cpu_millis);
        assert!(share.memory_bytes * 3 + RESERVE.memory_bytes <= machine.memory_bytes);
        assert_eq!(share_of(Resources::ZERO, 3), Resources::ZERO);
    }
}
