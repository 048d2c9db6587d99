//! The cluster that is measured: its processes, and what they have used.

use std::collections::BTreeMap;

use serde::Serialize;
use tokio::time::Instant;

use crate::error::Error;
use crate::running::client::Client;
use crate::running::control_plane::ControlPlane;
use crate::running::places::Places;
use crate::running::programs::{self, Program, Used};
use crate::running::work::wait_joined;

/// What the node's name begins with that is killed.
const VICTIM: &str = "victim";

/// A running cluster.
pub(super) struct Cluster {
    control: ControlPlane,
    hollow: Program,
    /// One node in a process of its own, until it is killed.
    victim: Option<Program>,
    pub(super) client: Client,
    /// Nodes that are alive.
    nodes: u32,
}

/// What one process did in the time of a measurement.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Share {
    pub(super) name: &'static str,
    pub(super) cpu_s: f64,
    /// At the end of that time.
    pub(super) resident_bytes: u64,
    /// The most that was resident since the process started, which may have been earlier.
    pub(super) peak_since_start_bytes: u64,
    /// How often it warned in that time.
    pub(super) warnings: usize,
}

/// What all processes had used at some time.
pub(super) struct Before {
    used: Vec<(&'static str, Used)>,
    client_cpu_s: f64,
}

/// What the manager looked at.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Visited {
    pub(super) tasks: u64,
    pub(super) nodes: u64,
}

/// How long a killed manager is missed.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Back {
    pub(super) serving_s: f64,
    pub(super) all_nodes_s: f64,
}

impl Cluster {
    /// Starts one of so many nodes, one of them in a process of its own, and waits until all have joined.
    pub(super) async fn start(places: &Places, nodes: u32) -> Result<Self, Error> {
        let control = ControlPlane::start(places).await?;
        let began = Instant::now();
        let victim = Some(control.hollow_node(VICTIM).await?);
        let hollow = control.hollow_nodes(nodes - 1).await?;
        let mut client = control.client.clone();
        wait_joined(&mut client, nodes).await?;
        println!("{nodes} nodes joined within {:.2} s", began.elapsed().as_secs_f64());
        Ok(Self { control, hollow, victim, client, nodes })
    }

    /// Another client with a connection of its own: its calls don't wait behind those of others.
    pub(super) fn another_client(&self) -> Result<Client, Error> {
        Client::new(&self.control.address)
    }

    /// Kills the manager, starts it at once, and waits until every worker has found it again.
    pub(super) async fn restart_manager(&mut self) -> Result<Back, Error> {
        let began = Instant::now();
        self.control.manager.restart().await?;
        let serving_s = began.elapsed().as_secs_f64();
        wait_joined(&mut self.client, self.nodes).await?;
        let back = Back { serving_s, all_nodes_s: began.elapsed().as_secs_f64() };
        println!(
            "manager killed: it serves again after {:.2} s, and has all nodes after {:.2} s",
            back.serving_s, back.all_nodes_s
        );
        Ok(back)
    }

    /// Kills the node that has a process of its own. Answers when that was: from then on it is dead.
    pub(super) async fn kill_victim(&mut self) -> Result<Instant, Error> {
        let began = Instant::now();
        if let Some(mut victim) = self.victim.take() {
            victim.kill().await?;
            self.nodes -= 1;
        }
        Ok(began)
    }

    /// The name of the node that has a process of its own.
    pub(super) fn victim_name() -> String {
        format!("{VICTIM}-0")
    }

    /// Nodes that were killed.
    pub(super) fn dead(&self) -> Vec<String> {
        if self.victim.is_some() { Vec::new() } else { vec![Self::victim_name()] }
    }

    /// How many attempts the workers themselves say that they run, by the name of the node.
    pub(super) async fn running_on_workers(&self) -> Result<BTreeMap<String, u64>, Error> {
        let mut running = BTreeMap::new();
        for worker in [&self.hollow].into_iter().chain(&self.victim) {
            let metrics = worker.metrics().await?;
            let sums = metrics.sums_by("node", "davit_worker_attempts", "state=\"RUNNING\"");
            running.extend(sums.into_iter().map(|(node, count)| (node, count as u64)));
        }
        Ok(running)
    }

    /// How many tasks and nodes the manager has looked at since it was started.
    pub(super) async fn visited(&self) -> Result<Visited, Error> {
        let metrics = self.control.manager.metrics().await?;
        let tasks = metrics.sum("davit_manager_visited_tasks_total", "") as u64;
        let nodes = metrics.sum("davit_manager_visited_nodes_total", "") as u64;
        Ok(Visited { tasks, nodes })
    }

    fn programs(&self) -> impl Iterator<Item = &Program> {
        [&self.control.manager, &self.control.scheduler, &self.hollow].into_iter().chain(&self.victim)
    }

    /// What all have used up to now.
    pub(super) fn used(&self) -> Result<Before, Error> {
        let used = self.programs().map(|program| Ok((program.name, program.used()?))).collect::<Result<_, Error>>()?;
        Ok(Before { used, client_cpu_s: programs::cpu_s(std::process::id())? })
    }

    /// What each that lives has done since.
    pub(super) fn shares(&self, before: &Before) -> Result<Vec<Share>, Error> {
        let share = |program: &Program| {
            let now = program.used()?;
            let then = before.used.iter().find(|(name, _)| *name == program.name);
            Ok(Share {
                name: program.name,
                warnings: now.warnings.saturating_sub(then.map_or(0, |(_, then)| then.warnings)),
                cpu_s: now.cpu_s - then.map_or(0.0, |(_, then)| then.cpu_s),
                resident_bytes: now.resident_bytes,
                peak_since_start_bytes: now.peak_since_start_bytes,
            })
        };
        self.programs().map(share).collect()
    }

    /// Ends all processes and removes the store, so that the next cluster has the machine to itself.
    pub(super) async fn end(self) -> Result<(), Error> {
        let Self { control: ControlPlane { mut manager, mut scheduler, folder, .. }, mut hollow, mut victim, .. } =
            self;
        for program in [&mut hollow, &mut scheduler, &mut manager].into_iter().chain(&mut victim) {
            program.kill().await?;
        }
        folder.remove()
    }
}

impl Before {
    /// CPU seconds of this process since, which is the client.
    pub(super) fn client_cpu_s(&self) -> Result<f64, Error> {
        Ok(programs::cpu_s(std::process::id())? - self.client_cpu_s)
    }
}

/// CPU seconds of all these.
pub(super) fn total_cpu_s(shares: &[Share]) -> f64 {
    shares.iter().map(|share| share.cpu_s).sum()
}
