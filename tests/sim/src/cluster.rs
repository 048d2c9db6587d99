//! The hosts of one simulated cluster and the processes on them: the real manager, scheduler and workers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use davit_core::id::NodeId;
use davit_core::resources::Resources;
use davit_svc_kit::ids::{IdSource, SeededSource};
use davit_svc_kit::net::Dialer;
use davit_svc_kit::shutdown::Shutdown;
use davit_svc_kit::world::World;
use parking_lot::Mutex;

use crate::clock::WallClock;
use crate::disk::Disk;
use crate::gate::Gate;
use crate::history::{Event, History};
use crate::machine::WorkerMachine;
use crate::net::{Host, Net};
use crate::rng::Rng;
use crate::stale_scheduler;

/// The manager's host.
pub const MANAGER: Host = "manager";
/// The scheduler's host.
pub const SCHEDULER: Host = "scheduler";
/// The host of a scheduler that is out of date.
pub const STALE_SCHEDULER: Host = "stale-scheduler";
/// Where the client is.
pub const CLIENT: Host = "client";
/// Hosts of workers; a run takes some of them.
pub const WORKERS: [Host; 5] = ["worker-0", "worker-1", "worker-2", "worker-3", "worker-4"];
/// The host of a machine on which a copy of a worker's data directory is started.
pub const CLONE: Host = "clone";
/// The manager's port.
pub const MANAGER_PORT: u16 = 7400;
/// The cluster's name.
pub const NAME: &str = "sim";

const SCHEDULER_PORT: u16 = 7410;
const WORKER_PORT: u16 = 7420;

/// Short, so that many a cut outlasts it and all that is added to it.
const LEASE: Duration = Duration::from_secs(5);

/// Shorter than many a trouble of an engine.
pub const BEGIN_TIMEOUT: Duration = Duration::from_secs(5);

/// What a worker offers: little, so that room is short.
pub const ALLOCATABLE: Resources = Resources { cpu_millis: 2000, memory_bytes: 4 << 30, disk_bytes: 8 << 30 };

/// One cluster.
pub struct Cluster {
    /// Its network.
    pub net: Net,
    /// The manager's disk.
    pub disk: Disk,
    /// What happens in it.
    pub history: History,
    /// Machines of its workers.
    pub machines: BTreeMap<Host, WorkerMachine>,
    /// The machine of [`CLONE`], which is there only while some machine's data directory is copied to it.
    pub clone: WorkerMachine,
    /// Whose name its worker has: as a machine that was cloned, that of the other.
    clone_of: Mutex<Host>,
    /// Wall clocks of all hosts.
    pub clocks: BTreeMap<Host, Arc<WallClock>>,
    rng: Rng,
    ids: BTreeMap<Host, Arc<SeededSource>>,
    processes: Mutex<BTreeMap<Host, Process>>,
    /// Hosts whose process never runs again.
    retired: Mutex<BTreeSet<Host>>,
    schedulers: Vec<String>,
}

struct Process {
    gate: Gate,
    shutdown: Shutdown,
    /// It was asked to start while it was stopping: it does when it has stopped.
    starts_again: bool,
}

impl Cluster {
    /// A cluster of which nothing runs yet.
    #[must_use]
    pub fn new(rng: &Rng, workers: usize, has_stale_scheduler: bool, history: History) -> Arc<Self> {
        let hosts = || [MANAGER, SCHEDULER, STALE_SCHEDULER, CLIENT, CLONE].into_iter().chain(WORKERS);
        let clocks: BTreeMap<Host, Arc<WallClock>> = hosts().map(|host| (host, Arc::default())).collect();
        let ids = hosts().map(|host| (host, Arc::new(SeededSource::new(rng.next())))).collect();
        let machine = |host| {
            let node_id = NodeId(SeededSource::new(rng.next()).next_uuid());
            let clock = clocks.get(host).cloned().unwrap_or_default();
            WorkerMachine::new(host, node_id, ALLOCATABLE, clock, rng.fork(host), history.clone())
        };
        let machines = WORKERS.into_iter().take(workers).map(|host| (host, machine(host))).collect();
        let clone = machine(CLONE);
        let address = |host| format!("http://{host}:{SCHEDULER_PORT}");
        let stale = has_stale_scheduler.then(|| address(STALE_SCHEDULER));
        Arc::new(Self {
            net: Net::new(rng.fork("net")),
            disk: Disk::new(rng.fork("disk"), history.clone()),
            clone,
            clone_of: Mutex::new(CLONE),
            machines,
            rng: rng.fork("processes"),
            ids,
            processes: Mutex::default(),
            retired: Mutex::default(),
            history,
            clocks,
            schedulers: stale.into_iter().chain([address(SCHEDULER)]).collect(),
        })
    }

    /// Hosts whose processes can be started and killed.
    #[must_use]
    pub fn hosts(&self) -> Vec<Host> {
        let stale = (self.schedulers.len() > 1).then_some(STALE_SCHEDULER);
        [MANAGER, SCHEDULER].into_iter().chain(stale).chain(self.machines.keys().copied()).collect()
    }

    /// The outside of one process.
    #[must_use]
    pub fn world(&self, host: Host, gate: &Gate) -> World {
        let fractions = self.rng.fork(host);
        World {
            clock: self.clocks.get(host).cloned().unwrap_or_default(),
            ids: self.ids.get(host).cloned().unwrap_or_else(|| Arc::new(SeededSource::new(0))),
            fractions: Arc::new(move || fractions.fraction()),
            dialer: Dialer::new(Arc::new(self.net.dialer(host, gate.clone()))),
        }
    }

    /// Whether a host's process runs.
    #[must_use]
    pub fn runs(&self, host: Host) -> bool {
        self.processes.lock().contains_key(host)
    }

    /// Starts a host's process, if it does not run and was not retired.
    pub fn start(self: &Arc<Self>, host: Host) {
        if let Some(process) = self.processes.lock().get_mut(host) {
            process.starts_again = process.shutdown.is_triggered();
            return;
        }
        if self.retired.lock().contains(host) {
            return;
        }
        self.net.host_back(host);
        let (gate, shutdown) = (Gate::new(), Shutdown::new());
        let process = Process { gate: gate.clone(), shutdown: shutdown.clone(), starts_again: false };
        self.processes.lock().insert(host, process);
        let world = self.world(host, &gate);
        let cluster = Arc::clone(self);
        tokio::spawn(async move {
            let ended = cluster.run(host, world, &gate, shutdown.clone()).await;
            // What a killed process still does is nobody's concern.
            if gate.is_closed() {
                return;
            }
            if shutdown.is_triggered() {
                let starts_again = cluster.processes.lock().get(host).is_some_and(|process| process.starts_again);
                cluster.end(host, false);
                if starts_again {
                    cluster.start(host);
                }
            } else {
                cluster.history.note(Event::Broke(format!("{host} ended: {ended:?}")));
            }
        });
    }

    async fn run(&self, host: Host, world: World, gate: &Gate, shutdown: Shutdown) -> Result<(), String> {
        match host {
            MANAGER => {
                let config = manager_svc::config::Config {
                    scheduler: self.schedulers.clone(),
                    cluster: NAME.to_owned(),
                    lease_duration: LEASE,
                    begin_timeout: BEGIN_TIMEOUT,
                    ..manager_svc::config::Config::default()
                };
                let listener = self.net.listen(host, MANAGER_PORT);
                let store = Arc::new(self.disk.store(gate.clone()));
                manager_svc::run(world, config, store, listener, None, shutdown)
                    .await
                    .map_err(|error| error.to_string())
            }
            SCHEDULER => {
                let config = scheduler_svc::config::Config::default();
                let listener = self.net.listen(host, SCHEDULER_PORT);
                scheduler_svc::run(config, listener, None, shutdown).await.map_err(|error| error.to_string())
            }
            STALE_SCHEDULER => {
                let real = format!("http://{SCHEDULER}:{SCHEDULER_PORT}");
                let listener = self.net.listen(host, SCHEDULER_PORT);
                let rng = self.rng.fork(host);
                stale_scheduler::run(&real, &world.dialer, rng, listener, shutdown)
                    .await
                    .map_err(|error| error.to_string())
            }
            worker => {
                let Some(machine) = self.machine(worker) else { return Err("no such host".to_owned()) };
                let name = if worker == CLONE { *self.clone_of.lock() } else { worker };
                let mut config = worker_svc::Config::new(format!("http://{MANAGER}:{MANAGER_PORT}"), name, "/nowhere");
                config.retention = Duration::from_secs(600);
                let listener = self.net.listen(host, WORKER_PORT);
                let machine = machine.seen_by(gate);
                config.offer.cpu_millis = Some(ALLOCATABLE.cpu_millis);
                config.offer.memory_bytes = Some(ALLOCATABLE.memory_bytes);
                config.offer.disk_bytes = Some(ALLOCATABLE.disk_bytes);
                worker_svc::run_on(machine, world, config, listener, None, shutdown)
                    .await
                    .map_err(|error| error.to_string())
            }
        }
    }

    /// Starts what needs no start of a process: the lease guards.
    pub fn guard(&self) {
        let clone = [(&CLONE, &self.clone)];
        for (host, machine) in self.machines.iter().chain(clone) {
            let clock = self.clocks.get(host).cloned().unwrap_or_default();
            tokio::spawn(machine.clone().guard(NAME, clock));
        }
    }

    /// Asks a host's process to stop, as SIGTERM does. It runs until it has.
    pub fn stop(&self, host: Host) -> bool {
        let processes = self.processes.lock();
        let Some(process) = processes.get(host) else { return false };
        process.shutdown.trigger();
        true
    }

    /// Kills a host's process as SIGKILL does. What it wrote stays, also what it did not sync.
    pub fn kill(&self, host: Host) -> bool {
        self.end(host, false)
    }

    /// The host loses power: all in memory is lost, and what was not synced.
    pub fn lose_power(&self, host: Host) -> bool {
        if !self.end(host, true) {
            return false;
        }
        if host == MANAGER {
            self.disk.lose_power();
        }
        if let Some(machine) = self.machine(host) {
            machine.lose_power(NAME);
        }
        true
    }

    /// A machine that workers run on, also the one of the clone.
    #[must_use]
    pub fn machine(&self, host: Host) -> Option<&WorkerMachine> {
        if host == CLONE { Some(&self.clone) } else { self.machines.get(host) }
    }

    /// Starts a worker on a copy of a machine's data directory, as it is now, on a machine of its own. False if there is one.
    pub fn start_clone_of(self: &Arc<Self>, host: Host) -> bool {
        let Some(machine) = self.machines.get(host) else { return false };
        if self.runs(CLONE) {
            return false;
        }
        self.clone.files.copy_from(&machine.files);
        let before = std::mem::replace(&mut *self.clone_of.lock(), host);
        self.history.note(Event::Cloned { of: before, is_there: false });
        self.history.note(Event::Cloned { of: host, is_there: true });
        self.start(CLONE);
        true
    }

    /// Switches the machine of the clone off, whether or not its worker runs.
    pub fn end_clone(&self) {
        self.end(CLONE, true);
        self.clone.lose_power(NAME);
        self.history.note(Event::Cloned { of: *self.clone_of.lock(), is_there: false });
    }

    /// Kills a host's process for good.
    pub fn retire(&self, host: Host) {
        self.retired.lock().insert(host);
        self.end(host, false);
    }

    fn end(&self, host: Host, machine_too: bool) -> bool {
        let Some(process) = self.processes.lock().remove(host) else { return false };
        process.gate.close();
        self.net.process_gone(host, machine_too);
        // Lets what is left of it come to an end; nothing of that is seen outside.
        process.shutdown.trigger();
        true
    }
}
