//! A whole cluster on this machine: manager with its durable store, scheduler, hollow nodes and client, each a process, over
//! their real gRPC. How long it takes until all of so many tasks are RUNNING, and what that costs.

mod client;
mod programs;

use std::path::PathBuf;
use std::time::Duration;

use davit_proto::v1;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::Instant;

use self::client::{Client, count};
use self::programs::{Program, Used, free_address, loopback_bytes};
use crate::error::Error;

/// Tasks of one request.
const BATCH: u32 = 5_000;
/// Requests on their way at once.
const AT_ONCE: usize = 4;
/// Between two looks at how many run.
const LOOK: Duration = Duration::from_millis(50);
/// Between two words on how far they are.
const WORD: Duration = Duration::from_secs(2);
/// Nothing changes for so long: it hangs.
const HANG: Duration = Duration::from_secs(60);

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
    /// Where the programs are [default: beside this one]
    #[arg(long, value_name = "FOLDER")]
    programs: Option<PathBuf>,
    /// Where the programs' logs go and stay [default: they are removed with the store]
    #[arg(long, value_name = "FOLDER")]
    logs: Option<PathBuf>,
    /// Where the store is made and removed [default: beside this program's folder, on the same disk as the build]
    #[arg(long, value_name = "FOLDER")]
    scratch: Option<PathBuf>,
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

/// How long a killed manager is missed.
#[derive(Debug, Serialize)]
struct Back {
    serving_s: f64,
    all_nodes_s: f64,
}

/// Measures one cell.
pub(crate) async fn measure(options: &Options) -> Result<Value, Error> {
    let mut cluster = Cluster::start(options).await?;
    let before = cluster.used()?;
    let (own_before, wire_before) = (programs::cpu_s(std::process::id())?, loopback_bytes()?);
    let began = Instant::now();
    let running = wait_running(cluster.client.clone(), u64::from(options.tasks));
    let (created, all_running) = tokio::try_join!(cluster.create(options), running)?;
    let all_running = all_running.duration_since(began);
    let shares = cluster.shares(&before)?;
    let own_cpu_s = programs::cpu_s(std::process::id())? - own_before;
    let wire_bytes = loopback_bytes()? - wire_before;
    let tasks = f64::from(options.tasks);
    println!(
        "{} tasks on {} nodes: created after {:.2} s, all RUNNING after {:.2} s, {:.0} tasks/s, {:.0} bytes on the wire a task",
        options.tasks,
        options.nodes,
        created.as_secs_f64(),
        all_running.as_secs_f64(),
        tasks / all_running.as_secs_f64(),
        wire_bytes as f64 / tasks
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
    cluster.check(options.tasks).await?;
    let back = cluster.restart_manager(options.nodes).await?;
    println!(
        "manager killed: it serves again after {:.2} s, and has all nodes after {:.2} s",
        back.serving_s, back.all_nodes_s
    );
    cluster.check(options.tasks).await?;
    Ok(json!({
        "nodes": options.nodes,
        "tasks": options.tasks,
        "shapes": options.shapes,
        "create_s": created.as_secs_f64(),
        "create_to_all_running_s": all_running.as_secs_f64(),
        "tasks_per_s": tasks / all_running.as_secs_f64(),
        "wire_bytes_per_task": wire_bytes as f64 / tasks,
        "client_cpu_s": own_cpu_s,
        "processes": shares,
        "manager_restart": back,
    }))
}

impl Cluster {
    async fn start(options: &Options) -> Result<Self, Error> {
        let programs = options.programs.clone().unwrap_or_else(crate::options::beside);
        let parent = options.scratch.clone().unwrap_or_else(crate::options::beside);
        let made = tempfile::Builder::new().prefix("davit-bench-cluster-").tempdir_in(&parent);
        let folder = made.map_err(|source| Error::Unwritable { path: parent, source })?;
        let failed = |source| Error::NotStarted { path: programs.clone(), source };
        let (listen, place) = (free_address().map_err(failed)?, free_address().map_err(failed)?);
        let logs = options.logs.as_deref().unwrap_or(folder.path());
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let scheduler =
            Program::start("davit-scheduler", &programs, logs, words(&["--listen", &place.to_string()])).await?;
        let (data_dir, address) = (folder.path().join("manager"), format!("http://{listen}"));
        let arguments = [
            "--listen",
            &listen.to_string(),
            "--scheduler",
            &format!("http://{place}"),
            "--data-dir",
            &data_dir.display().to_string(),
            "--max-tasks",
            "6000000",
        ];
        let manager = Program::start("davit-manager", &programs, logs, words(&arguments)).await?;
        let nodes = options.nodes.to_string();
        let arguments = ["--hollow", &nodes, "--name", "hollow", "--manager", &address, "--address", "127.0.0.1"];
        let began = Instant::now();
        let hollow = Program::start("davit-worker", &programs, logs, words(&arguments)).await?;
        let client = Client::new(&address)?;
        let mut cluster = Self { manager, scheduler, hollow, client, address, _folder: folder };
        cluster.wait_joined(options.nodes).await?;
        println!("{} nodes joined within {:.2} s", options.nodes, began.elapsed().as_secs_f64());
        Ok(cluster)
    }

    async fn wait_joined(&mut self, nodes: u32) -> Result<(), Error> {
        let end = Instant::now() + HANG;
        loop {
            let cluster = self.client.cluster().await?;
            let ready = cluster.nodes.iter().filter(|row| row.state() == v1::NodeState::Ready).map(|row| row.count);
            if ready.sum::<u64>() == u64::from(nodes) && cluster.scheduler.is_some_and(|scheduler| scheduler.connected)
            {
                return Ok(());
            }
            if Instant::now() > end {
                return Err(Error::Hangs(HANG));
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Kills the manager, starts it at once, and waits until every worker has found it again.
    async fn restart_manager(&mut self, nodes: u32) -> Result<Back, Error> {
        let began = Instant::now();
        self.manager.restart().await?;
        let serving_s = began.elapsed().as_secs_f64();
        self.wait_joined(nodes).await?;
        Ok(Back { serving_s, all_nodes_s: began.elapsed().as_secs_f64() })
    }

    /// Creates all tasks and says how long it took until the last was answered.
    async fn create(&self, options: &Options) -> Result<Duration, Error> {
        let began = Instant::now();
        let mut left = options.tasks;
        let mut number = 0;
        let mut calls = JoinSet::new();
        while left > 0 || !calls.is_empty() {
            while left > 0 && calls.len() < AT_ONCE {
                let size = left.min(BATCH);
                left -= size;
                let (spec, request_id) = (spec(number % options.shapes), format!("bench-{number}"));
                number += 1;
                let mut client = self.client.clone();
                calls.spawn(async move { client.create(&spec, size, &request_id).await });
            }
            if let Some(called) = calls.join_next().await {
                called.map_err(|error| Error::WrongAnswer(error.to_string()))??;
            }
        }
        Ok(began.elapsed())
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
    async fn check(&mut self, tasks: u32) -> Result<(), Error> {
        let nodes = self.client.nodes().await?;
        let (mut seen, mut wrong) = (0u32, 0u32);
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

/// Waits until so many tasks are RUNNING, and says now and then how far they are.
async fn wait_running(mut client: Client, tasks: u64) -> Result<Instant, Error> {
    let (began, mut last, mut changed) = (Instant::now(), 0, Instant::now());
    let mut next_word = began + WORD;
    loop {
        let cluster = client.cluster().await?;
        let running = count(&cluster, v1::TaskState::Running);
        if running == tasks {
            return Ok(Instant::now());
        }
        if running != last {
            (last, changed) = (running, Instant::now());
        }
        if changed.elapsed() > HANG {
            return Err(Error::WrongAnswer(format!("{running} of {tasks} tasks are RUNNING, and that for {HANG:?}")));
        }
        if Instant::now() >= next_word {
            next_word += WORD;
            let states = cluster.tasks.iter().filter(|row| row.count > 0);
            let states: Vec<_> = states.map(|row| format!("{} {}", row.count, row.state().as_str_name())).collect();
            println!("  {:>4.0} s: {}", began.elapsed().as_secs_f64(), states.join(", "));
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// A small container; shapes differ in what they reserve.
fn spec(shape: u32) -> v1::TaskSpec {
    let container = v1::ContainerSpec { image: "hollow:1".to_owned(), ..Default::default() };
    let memory_bytes = (32 + u64::from(shape)) << 20;
    let reservation = Some(v1::Resources { cpu_millis: 10 + u64::from(shape % 20), memory_bytes, disk_bytes: 0 });
    v1::TaskSpec {
        name: format!("hollow-{shape}"),
        runtime: Some(v1::task_spec::Runtime::Container(container)),
        resources: Some(v1::ResourceRequirements { reservation, limit: None }),
        ..Default::default()
    }
}
