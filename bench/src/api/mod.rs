//! How many requests a manager answers, and how quickly, while tasks run on hollow nodes: an open loop, as ghz makes it, at
//! one rate after the other, until the highest is found that is kept.

mod board;
mod calls;
mod figures;
mod load;
mod pace;
mod table;
mod watchers;

use std::sync::Arc;

use davit_proto::v1;
use serde_json::{Map, Value, json};

use self::board::Board;
use self::calls::{Call, Caller, PAGE};
use self::figures::{LIMIT, Outcome, Rate};
use self::pace::{Ladder, Pace};
use self::watchers::Watchers;
use crate::error::Error;
use crate::phase;
use crate::running::client::Client;
use crate::running::control_plane::ControlPlane;
use crate::running::places::Places;
use crate::running::programs::{self, Program};
use crate::running::work::{create, wait_joined, wait_running};

/// Of how many shapes the tasks are that are there from the start.
const SHAPES: u32 = 20;

/// Options of `api`.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// How many hollow nodes
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    nodes: u32,
    /// How many tasks run from the start
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=5_000_000))]
    tasks: u32,
    /// How many watch events, a hundred of them on one connection
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    watchers: u32,
    /// Over how many connections requests are made
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    connections: u32,
    /// How long each rate is held
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    seconds: u64,
    #[command(flatten)]
    places: Places,
}

/// A running cluster and who asks it.
struct Bench {
    // Ended first, so that it does not miss its manager.
    _hollow: Program,
    control: ControlPlane,
    caller: Arc<Caller>,
    board: Arc<Board>,
    /// That are there from the start.
    tasks: u64,
    seconds: u64,
}

/// Measures all calls, one after the other.
pub(crate) async fn measure(options: &Options) -> Result<Value, Error> {
    phase::begin("start");
    let mut bench = Bench::start(options).await?;
    let mut calls = Map::new();
    table::header();
    for call in Call::EACH {
        phase::begin(call.key());
        // Nobody else pays for those who watch.
        let watchers = match call {
            Call::WatchEvents => Some(Watchers::open(&bench.control.address, options.watchers, &bench.board).await?),
            _ => None,
        };
        calls.insert(call.key().to_owned(), bench.find_rate(call).await?);
        drop(watchers);
    }
    phase::begin(phase::END);
    Ok(json!({
        "api": {
            "nodes": options.nodes,
            "tasks": options.tasks,
            "watchers": options.watchers,
            "connections": options.connections,
            "seconds": options.seconds,
            "page_size": PAGE,
            "p99_limit_ms": LIMIT.as_millis() as u64,
            "calls": calls,
        }
    }))
}

impl Bench {
    async fn start(options: &Options) -> Result<Self, Error> {
        let mut control = ControlPlane::start(&options.places).await?;
        let hollow = control.hollow_nodes(options.nodes).await?;
        wait_joined(&mut control.client, options.nodes).await?;
        create(&control.client, options.tasks, SHAPES, "api").await?;
        let tasks = u64::from(options.tasks);
        wait_running(control.client.clone(), tasks).await?;
        let mut task_ids = Vec::new();
        control.client.each_task(v1::TaskFilter::default(), |task| task_ids.push(task.task_id)).await?;
        let mut clients = Vec::new();
        for _ in 0..options.connections {
            let mut client = Client::new(&control.address)?;
            // So that the first request needs not wait for the connection.
            client.cluster().await?;
            clients.push(client);
        }
        let board = Arc::new(Board::new(options.watchers as usize));
        let caller = Arc::new(Caller::new(clients, task_ids, Arc::clone(&board)));
        Ok(Self { _hollow: hollow, control, caller, board, tasks, seconds: options.seconds })
    }

    /// Finds the highest rate that is kept.
    async fn find_rate(&mut self, call: Call) -> Result<Value, Error> {
        let (mut ladder, mut rates) = (Ladder::from(call.first_rate()), Vec::new());
        loop {
            let rate = self.measure(call, Pace { per_s: ladder.rate(), seconds: self.seconds }).await?;
            table::rate(call, &rate);
            rates.push(rate);
            // What was created is to run before more is asked.
            wait_running(self.control.client.clone(), self.tasks + self.caller.created()).await?;
            if !ladder.step(rate.outcome == Outcome::Kept) {
                break;
            }
        }
        let is_best = |rate: &&Rate| rate.outcome == Outcome::Kept && Some(rate.requests_per_s) == ladder.kept();
        let best = rates.iter().find(is_best);
        Ok(json!({
            "requests_per_s": ladder.kept().unwrap_or(0),
            "p50_ms": best.map(|rate| rate.times.p50_ms),
            "p99_ms": best.map(|rate| rate.times.p99_ms),
            "max_ms": best.map(|rate| rate.times.max_ms),
            "rates": rates,
        }))
    }

    async fn measure(&self, call: Call, pace: Pace) -> Result<Rate, Error> {
        let cpu_s = || Ok::<_, Error>((self.control.manager.used()?.cpu_s, programs::cpu_s(std::process::id())?));
        let before = cpu_s()?;
        let measured = load::run(pace, |number| Arc::clone(&self.caller).call(call, number)).await?;
        let after = cpu_s()?;
        Ok(Rate::new(pace, measured, after.0 - before.0, after.1 - before.1))
    }
}
