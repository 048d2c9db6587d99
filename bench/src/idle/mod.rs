//! What Davit's programs use while nothing goes on: alone, with three ordinary nodes, and with many hollow ones. Each is a
//! cluster of its own, so that none holds what another once needed.

mod budgets;
mod table;

use std::time::Duration;

use serde::Serialize;
use serde_json::{Value, json};
use tokio::time::Instant;

use self::budgets::Verdict;
use crate::error::Error;
use crate::phase;
use crate::report::json::rounded;
use crate::running::client::ready;
use crate::running::control_plane::ControlPlane;
use crate::running::places::Places;
use crate::running::programs::{Program, Used};
use crate::running::work::wait_joined;

/// The ordinary nodes that the budgets are about.
const WORKERS: u32 = 3;
/// What a start leaves to be done is over after this.
const SETTLE: Duration = Duration::from_secs(5);

/// Options of `idle`.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// How many hollow nodes, in one process
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    nodes: u32,
    /// How long each cluster is watched
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    seconds: u64,
    #[command(flatten)]
    places: Places,
}

/// Which nodes a cluster has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Nodes {
    /// None.
    None,
    /// So many, each a worker of its own that runs processes.
    Ordinary(u32),
    /// So many in one process.
    Hollow(u32),
}

impl Nodes {
    fn count(self) -> u32 {
        match self {
            Self::None => 0,
            Self::Ordinary(nodes) | Self::Hollow(nodes) => nodes,
        }
    }

    fn kind(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Ordinary(_) => "ordinary",
            Self::Hollow(_) => "hollow",
        }
    }
}

/// What one process used.
#[derive(Debug, Clone, Serialize)]
struct Row {
    name: &'static str,
    /// At the end.
    resident_bytes: u64,
    /// The most since its start.
    peak_since_start_bytes: u64,
    /// Of one core, on average.
    cpu_percent: f64,
    /// Where it has budgets.
    #[serde(flatten)]
    verdict: Option<Verdict>,
}

/// What the processes of one cluster used.
#[derive(Debug, Serialize)]
struct Cluster {
    nodes: u32,
    kind: &'static str,
    processes: Vec<Row>,
}

/// Measures all clusters, one after the other. Whether budgets are reached is part of the result, and no failure.
pub(crate) async fn measure(options: &Options) -> Result<Value, Error> {
    let window = Duration::from_secs(options.seconds);
    let mut clusters = Vec::new();
    table::header(window);
    for nodes in [Nodes::None, Nodes::Ordinary(WORKERS), Nodes::Hollow(options.nodes)] {
        let processes = watch(nodes, window, &options.places).await?;
        processes.iter().for_each(|row| table::row(nodes, row));
        clusters.push(Cluster { nodes: nodes.count(), kind: nodes.kind(), processes });
    }
    let mut verdicts = clusters.iter().flat_map(|cluster| &cluster.processes).filter_map(|row| row.verdict);
    let reached = verdicts.all(|verdict| verdict.reached());
    Ok(json!({ "idle": { "seconds": options.seconds, "clusters": clusters, "budgets_reached": reached } }))
}

/// Starts a cluster and watches it for that long.
async fn watch(nodes: Nodes, window: Duration, places: &Places) -> Result<Vec<Row>, Error> {
    let mut control = ControlPlane::start(places).await?;
    let mut workers = Vec::new();
    match nodes {
        Nodes::None => {}
        Nodes::Ordinary(count) => {
            for number in 1..=count {
                workers.push(
                    control.worker(&format!("worker-{number}"), &["--docker", "off", "--process-runtime"]).await?,
                );
            }
        }
        Nodes::Hollow(count) => workers.push(control.hollow_nodes(count).await?),
    }
    wait_joined(&mut control.client, nodes.count()).await?;
    tokio::time::sleep(SETTLE).await;
    let programs: Vec<&Program> = [&control.manager, &control.scheduler].into_iter().chain(&workers).collect();
    let used = || programs.iter().map(|program| program.used()).collect::<Result<Vec<_>, _>>();
    phase::begin(nodes.kind());
    let (began, before) = (Instant::now(), used()?);
    tokio::time::sleep(window).await;
    phase::begin(phase::END);
    let (elapsed, after) = (began.elapsed(), used()?);
    // Otherwise it was no idle cluster.
    let cluster = control.client.cluster().await?;
    let ready = ready(&cluster);
    if ready != u64::from(nodes.count()) {
        return Err(Error::WrongAnswer(format!("{ready} of {} nodes are READY at the end", nodes.count())));
    }
    let rows = programs.iter().zip(before).zip(after);
    Ok(rows.map(|((program, before), after)| Row::new(nodes, program.name, before, after, elapsed)).collect())
}

impl Row {
    fn new(nodes: Nodes, name: &'static str, before: Used, after: Used, elapsed: Duration) -> Self {
        let cpu_percent = rounded((after.cpu_s - before.cpu_s) / elapsed.as_secs_f64() * 100.0, 1000.0);
        let Used { resident_bytes, peak_since_start_bytes, .. } = after;
        let verdict = Verdict::on(name, nodes, resident_bytes, cpu_percent);
        Self { name, resident_bytes, peak_since_start_bytes, cpu_percent, verdict }
    }
}
