//! A whole cluster on this machine: manager with its durable store, scheduler, hollow nodes and client, each a process, over
//! their real gRPC. How long it takes until all of so many tasks are RUNNING, and what that costs.

mod latency;

use davit_proto::v1;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::error::Error;
use crate::running::client::{self, Client};
use crate::running::control_plane::ControlPlane;
use crate::running::places::Places;
use crate::running::programs::{self, Program, Used, loopback_bytes};
use crate::running::work::{create, spec, wait_joined, wait_running};

/// Tasks that are created one after the other.
const SAMPLES: usize = 200;
/// Tasks that are created at once when it is compared what they cost.
const SPURT: u32 = 10_000;

/// Options of `cluster`.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// How many hollow nodes
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    nodes: u32,
    /// How many tasks
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=5_000_000))]
    tasks: u32,
    /// Of how many shapes
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    shapes: u32,
    #[command(flatten)]
    places: Places,
}

impl Options {
    /// What the result is called.
    pub(crate) fn kind(&self) -> String {
        format!("cluster-{}x{}", self.nodes, self.tasks)
    }
}

/// A running cluster.
struct Cluster {
    manager: Program,
    scheduler: Program,
    hollow: Program,
    client: Client,
    address: String,
    _folder: tempfile::TempDir,
}

/// What one process did in the time of the measurement.
#[derive(Debug, Serialize)]
struct Share {
    name: &'static str,
    cpu_s: f64,
    resident_bytes: u64,
    peak_bytes: u64,
    warnings: usize,
}

/// How quickly a few tasks run beside those that are there.
#[derive(Debug, Serialize)]
struct Probe {
    /// How many came with it.
    tasks: u64,
    one_at_a_time: latency::Latencies,
    /// Until as many as are created at once were RUNNING, and what all processes used for them.
    many_s: f64,
    cpu_s: f64,
}

/// How long a killed manager is missed.
#[derive(Debug, Serialize)]
struct Back {
    serving_s: f64,
    all_nodes_s: f64,
}

/// Measures one cell.
pub(crate) async fn measure(options: &Options) -> Result<Value, Error> {
    let mut cluster = Cluster::start(options).await?;
    let first = cluster.probe("at first", 0).await?;
    let before = cluster.used()?;
    let (own_before, wire_before) = (programs::cpu_s(std::process::id())?, loopback_bytes()?);
    let began = Instant::now();
    let (there, tasks) = (first.tasks, u64::from(options.tasks));
    let running = wait_running(cluster.client.clone(), there + tasks);
    let (created, all_running) =
        tokio::try_join!(create(&cluster.client, options.tasks, options.shapes, "bench"), running)?;
    let all_running = all_running.duration_since(began);
    let shares = cluster.shares(&before)?;
    let own_cpu_s = programs::cpu_s(std::process::id())? - own_before;
    let wire_bytes = loopback_bytes()? - wire_before;
    let tasks_f = f64::from(options.tasks);
    println!(
        "{} tasks on {} nodes: created after {:.2} s, all RUNNING after {:.2} s, {:.0} tasks/s, {:.0} bytes on the wire a task",
        options.tasks,
        options.nodes,
        created.as_secs_f64(),
        all_running.as_secs_f64(),
        tasks_f / all_running.as_secs_f64(),
        wire_bytes as f64 / tasks_f
    );
    for share in &shares {
        let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        println!(
            "{:>16} {:>7.1} CPU s {:>7.0} MiB at most {:>7.0} MiB now",
            share.name,
            share.cpu_s,
            mib(share.peak_bytes),
            mib(share.resident_bytes)
        );
    }
    println!("{:>16} {own_cpu_s:>7.1} CPU s", "client");
    let last = cluster.probe("with all of them", there + tasks).await?;
    let there = there + tasks + last.tasks;
    cluster.check(there).await?;
    let back = cluster.restart_manager(options.nodes).await?;
    println!(
        "manager killed: it serves again after {:.2} s, and has all nodes after {:.2} s",
        back.serving_s, back.all_nodes_s
    );
    cluster.check(there).await?;
    Ok(json!({
        "nodes": options.nodes,
        "tasks": options.tasks,
        "shapes": options.shapes,
        "create_s": created.as_secs_f64(),
        "create_to_all_running_s": all_running.as_secs_f64(),
        "tasks_per_s": tasks_f / all_running.as_secs_f64(),
        "wire_bytes_per_task": wire_bytes as f64 / tasks_f,
        "client_cpu_s": own_cpu_s,
        "processes": shares,
        "at_first": first,
        "with_all": last,
        "last_to_first_cpu": last.cpu_s / first.cpu_s,
        "manager_restart": back,
    }))
}

impl Cluster {
    async fn start(options: &Options) -> Result<Self, Error> {
        let control = ControlPlane::start(&options.places).await?;
        let began = Instant::now();
        let hollow = control.hollow_nodes(options.nodes).await?;
        let ControlPlane { manager, scheduler, mut client, address, folder, .. } = control;
        wait_joined(&mut client, options.nodes).await?;
        println!("{} nodes joined within {:.2} s", options.nodes, began.elapsed().as_secs_f64());
        Ok(Self { manager, scheduler, hollow, client, address, _folder: folder })
    }

    /// Kills the manager, starts it at once, and waits until every worker has found it again.
    async fn restart_manager(&mut self, nodes: u32) -> Result<Back, Error> {
        let began = Instant::now();
        self.manager.restart().await?;
        let serving_s = began.elapsed().as_secs_f64();
        wait_joined(&mut self.client, nodes).await?;
        Ok(Back { serving_s, all_nodes_s: began.elapsed().as_secs_f64() })
    }

    /// How quickly a few more tasks run when so many are there: one at a time, and many at once.
    async fn probe(&mut self, name: &str, there: u64) -> Result<Probe, Error> {
        let one_at_a_time = latency::measure(&mut self.client, &spec(0), SAMPLES).await?;
        let before: f64 = self.used()?.iter().map(|used| used.cpu_s).sum();
        let began = Instant::now();
        create(&self.client, SPURT, 1, name).await?;
        let tasks = SAMPLES as u64 + u64::from(SPURT);
        wait_running(self.client.clone(), there + tasks).await?;
        let many_s = began.elapsed().as_secs_f64();
        let cpu_s = self.used()?.iter().map(|used| used.cpu_s).sum::<f64>() - before;
        println!(
            "{name}: one task created {}; SCHEDULED {}; RUNNING {}; {SPURT} more RUNNING after {many_s:.2} s, {cpu_s:.2} CPU s",
            one_at_a_time.created, one_at_a_time.scheduled, one_at_a_time.running
        );
        Ok(Probe { tasks, one_at_a_time, many_s, cpu_s })
    }

    fn used(&self) -> Result<Vec<Used>, Error> {
        [&self.manager, &self.scheduler, &self.hollow].into_iter().map(Program::used).collect()
    }

    fn shares(&self, before: &[Used]) -> Result<Vec<Share>, Error> {
        let programs = [&self.manager, &self.scheduler, &self.hollow];
        let shares = programs.into_iter().zip(before).zip(self.used()?).map(|((program, before), now)| Share {
            name: program.name,
            warnings: program.warnings(),
            cpu_s: now.cpu_s - before.cpu_s,
            resident_bytes: now.resident_bytes,
            peak_bytes: now.peak_bytes,
        });
        Ok(shares.collect())
    }

    /// Whether all tasks run on their first attempt, and no node has more than it has room for.
    async fn check(&mut self, tasks: u64) -> Result<(), Error> {
        let nodes = self.client.nodes().await?;
        let (mut seen, mut wrong) = (0u64, 0u64);
        self.client
            .each_task(|task| {
                seen += 1;
                let status = task.status.unwrap_or_default();
                let runs = status.state() == v1::TaskState::Running && task.attempt == 1;
                if !runs || !nodes.contains_key(&status.node_id) {
                    wrong += 1;
                }
            })
            .await?;
        let over = nodes.values().filter(|node| {
            let (allocated, room) = (node.allocated.unwrap_or_default(), node.allocatable.unwrap_or_default());
            allocated.cpu_millis > room.cpu_millis || allocated.memory_bytes > room.memory_bytes
        });
        match (seen == tasks, wrong, over.count()) {
            (true, 0, 0) => Ok(()),
            (_, wrong, over) => Err(Error::WrongAnswer(format!(
                "{} has {seen} tasks, {wrong} of them do not run as they should, and {over} nodes are over-committed",
                self.address
            ))),
        }
    }
}
