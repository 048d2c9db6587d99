//! The cluster: one machine with manager and scheduler, and machines with workers, some of them with an engine.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::api::Api;
use crate::disk::Disk;
use crate::engine::{self, Engine};
use crate::error::{Error, Result, io_at};
use crate::names::{CLUSTER, base};
use crate::net::{Net, Place};
use crate::process::Process;
use crate::shell::until;
use crate::witness;

/// How long the cluster may take to come up.
const PATIENCE: Duration = Duration::from_secs(60);
const MANAGER_PORT: u16 = 7400;

/// What is to be built.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Size {
    /// Machines with a worker.
    pub(crate) workers: usize,
    /// The first so many of them have an engine.
    pub(crate) engines: usize,
}

/// Where manager and scheduler run.
#[derive(Debug)]
pub(crate) struct Control {
    /// In the network.
    pub(crate) place: Place,
    /// Holds the manager's data directory.
    pub(crate) disk: Disk,
    /// The manager.
    pub(crate) manager: Process,
    /// The scheduler.
    pub(crate) scheduler: Process,
}

/// A machine with a worker.
#[derive(Debug)]
pub(crate) struct Machine {
    /// In the network; its name is that of the node.
    pub(crate) place: Place,
    /// Holds the worker's data directory.
    pub(crate) disk: Disk,
    /// The worker.
    pub(crate) worker: Process,
    /// Its engine, if it has one.
    pub(crate) engine: Option<Engine>,
}

/// All of it.
#[derive(Debug)]
pub(crate) struct Cluster {
    /// Manager and scheduler.
    pub(crate) control: Control,
    /// Workers.
    pub(crate) machines: Vec<Machine>,
    /// Where tasks leave evidence.
    pub(crate) evidence: PathBuf,
    /// Where programs log to.
    pub(crate) logs: PathBuf,
}

impl Cluster {
    /// Builds and starts it, and waits until all nodes are READY.
    ///
    /// # Errors
    /// When something of it can't be made or does not come up.
    pub(crate) async fn start(size: Size) -> Result<Self> {
        let (logs, evidence) = (base().join("logs"), base().join("evidence"));
        std::fs::create_dir_all(&logs).map_err(io_at("make", &logs))?;
        witness::prepare(&evidence)?;
        let image = engine::make_image(&base()).await?;
        let mut net = Net::make().await?;
        let control = Control::start(&mut net, &logs).await?;
        let manager = control.address();
        let mut machines = Vec::new();
        for index in 0..size.workers {
            let name = format!("n{}", index + 1);
            machines.push(Machine::make(&mut net, &name, index < size.engines, &manager, &logs).await?);
        }
        // Engines come up side by side.
        for machine in &mut machines {
            if let Some(engine) = &mut machine.engine {
                engine.process.start()?;
            }
        }
        for machine in &mut machines {
            if let Some(engine) = &machine.engine {
                engine.answers().await?;
                engine.import(&image).await?;
            }
            machine.worker.start()?;
        }
        let cluster = Self { control, machines, evidence, logs };
        let mut api = cluster.api()?;
        until("all nodes are READY", PATIENCE, async || api.all_is_well(size.workers).await).await?;
        Ok(cluster)
    }

    /// A client of the manager.
    ///
    /// # Errors
    /// Never, with the addresses that we give.
    pub(crate) fn api(&self) -> Result<Api> {
        Api::new(&self.control.address())
    }

    /// All programs.
    pub(crate) fn processes(&mut self) -> impl Iterator<Item = &mut Process> {
        let workers = self.machines.iter_mut().flat_map(|machine| {
            [Some(&mut machine.worker), machine.engine.as_mut().map(|engine| &mut engine.process)].into_iter().flatten()
        });
        [&mut self.control.manager, &mut self.control.scheduler].into_iter().chain(workers)
    }

    /// Lines of all logs that tell of a panic.
    pub(crate) fn panics(&self) -> Vec<String> {
        let logs = std::fs::read_dir(&self.logs).into_iter().flatten().flatten().map(|entry| entry.path());
        let supervisors = self.machines.iter().flat_map(|machine| supervisor_logs(machine.disk.path()));
        logs.chain(supervisors).flat_map(|path| panics_in(&path)).collect()
    }
}

impl Control {
    /// Where the manager is dialled.
    pub(crate) fn address(&self) -> String {
        format!("http://{}:{MANAGER_PORT}", self.place.address)
    }

    /// Adds its machine and starts both.
    ///
    /// # Errors
    /// When something of it can't be made.
    pub(crate) async fn start(net: &mut Net, logs: &Path) -> Result<Self> {
        let place = net.add("m").await?;
        let disk = Disk::make(&base().join("m.img"), &base().join("m")).await?;
        let data_dir = disk.path().join("data").display().to_string();
        let listen = format!("{}:{MANAGER_PORT}", place.address);
        let command = [
            &program("davit-manager")?,
            "--listen",
            &listen,
            "--cluster",
            CLUSTER,
            "--data-dir",
            &data_dir,
            "--store",
            "fjall",
        ]
        .map(str::to_owned);
        let mut manager = Process::new("manager".to_owned(), "m", logs.join("manager.log"), command.to_vec());
        let command = vec![program("davit-scheduler")?];
        let mut scheduler = Process::new("scheduler".to_owned(), "m", logs.join("scheduler.log"), command);
        scheduler.start()?;
        manager.start()?;
        Ok(Self { place, disk, manager, scheduler })
    }
}

impl Machine {
    async fn make(net: &mut Net, name: &str, with_engine: bool, manager: &str, logs: &Path) -> Result<Self> {
        let place = net.add(name).await?;
        let disk = Disk::make(&base().join(format!("{name}.img")), &base().join(name)).await?;
        let engine = with_engine.then(|| {
            Engine::new(name, &base().join(format!("{name}-engine")), logs.join(format!("engine-{name}.log")))
        });
        let data_dir = disk.path().join("data").display().to_string();
        let mut command: Vec<String> = [
            &program("davit-worker")?,
            "--manager",
            manager,
            "--name",
            name,
            "--data-dir",
            &data_dir,
            "--process-runtime",
            "true",
            // More than there is: what runs here hardly uses anything.
            "--cpus",
            "16",
            "--memory",
            "16GiB",
            "--disk",
            "64GiB",
            // Long enough to look at, short enough to see that it is cleared away.
            "--retention",
            "10s",
        ]
        .map(str::to_owned)
        .to_vec();
        match &engine {
            Some(engine) => {
                let socket = engine.socket.display().to_string();
                command.extend(["--docker".to_owned(), "on".to_owned(), "--docker-socket".to_owned(), socket]);
            }
            None => command.extend(["--docker".to_owned(), "off".to_owned()]),
        }
        let worker = Process::new(format!("worker {name}"), name, logs.join(format!("worker-{name}.log")), command);
        Ok(Self { place, disk, worker, engine })
    }
}

/// One of the programs that were built beside this one.
///
/// # Errors
/// When it was not.
pub(crate) fn program(name: &str) -> Result<String> {
    let here = std::env::current_exe().map_err(io_at("find", Path::new("this program")))?;
    let path = here.with_file_name(name);
    if path.exists() {
        return Ok(path.display().to_string());
    }
    Err(Error::Machine(format!("{} was not built; use `cargo xtask chaos`", path.display())))
}

/// What the supervisors of processes complained of: a file in the directory of each attempt.
fn supervisor_logs(data_dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut dirs = vec![data_dir.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                dirs.push(path);
            } else if entry.file_name() == "supervisor.err" {
                found.push(path);
            }
        }
    }
    found
}

fn panics_in(path: &Path) -> Vec<String> {
    let text = std::fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines = text.lines().filter(|line| line.contains("panicked at") || line.contains("fatal runtime error"));
    lines.map(|line| format!("{}: {line}", path.display())).collect()
}
