//! Davit's measurements. `cargo xtask bench scheduler` builds and runs them; docs/benchmarks.md says what they mean.
//!
//! Tables and progress are for people; the last line is one JSON object for programs.
#![allow(clippy::print_stdout, reason = "a measurement talks to the person who runs it")]

mod api;
mod cells;
mod chart;
mod cluster;
mod engine;
mod error;
mod idle;
mod interrupt;
mod machine;
mod memory;
mod options;
mod phase;
mod quality;
mod report;
mod run;
mod running;
mod speed;
mod started;
mod store;
mod workload;

use std::path::Path;
use std::process::ExitCode;

use clap::Parser;
use serde_json::{Value, json};

use crate::error::Error;
use crate::machine::Machine;
use crate::options::{Cell, Options, Plan};
use crate::report::{CellReport, file, json as to_json, table};
use crate::speed::Around;

/// Davit's measurements
#[derive(Debug, Parser)]
#[command(name = "davit-bench", version)]
struct Args {
    #[command(subcommand)]
    subject: Subject,
}

#[derive(Debug, clap::Subcommand)]
enum Subject {
    /// Placements per second, memory, and how densely is packed
    Scheduler(Box<Options>),
    /// How quickly tasks run on a whole cluster of hollow nodes, with a durable store
    Cluster(cluster::Options),
    /// How many requests a manager answers, how quickly, and how quickly many watchers have an event
    Api(api::Options),
    /// What the programs use while nothing goes on: memory and processor time
    Idle(idle::Options),
    /// How quickly real containers start and stop: by Davit, by the engine's bare API, by Swarm mode, by `docker run`
    Engine(engine::Options),
    /// Many cells under one API, in this process with the real placement code: what that costs against one of all nodes
    Cells(cells::Options),
    /// How quickly a manager starts from a million stored tasks, and how quickly they are stored
    Store(store::Options),
    /// How fast this machine is just now
    Speed,
    /// Draws what `cluster` measured
    Chart(chart::Options),
}

#[tokio::main]
async fn main() -> ExitCode {
    let Args { subject } = Args::parse();
    let shutdown = match interrupt::watch() {
        Ok(shutdown) => shutdown,
        Err(error) => {
            println!("davit-bench: signals can't be handled: {error}");
            return ExitCode::FAILURE;
        }
    };
    let run = async {
        match &subject {
            Subject::Scheduler(options) => scheduler(options).await,
            Subject::Cluster(options) => checked(&options.kind(), Box::pin(cluster::measure(options))).await,
            Subject::Api(options) => alone("api", Box::pin(api::measure(options))).await,
            Subject::Idle(options) => alone("idle", Box::pin(idle::measure(options))).await,
            Subject::Engine(options) => alone("engine", Box::pin(engine::measure(options))).await,
            Subject::Cells(options) => alone(&options.kind(), Box::pin(cells::measure(options))).await,
            Subject::Store(options) => alone("store", Box::pin(store::measure(options))).await,
            Subject::Speed => speed(),
            Subject::Chart(options) => chart::draw(options),
        }
    };
    // What is dropped on a signal ends and removes all that was started.
    let outcome = shutdown.or_stop(run).await;
    started::left_behind().iter().for_each(|line| println!("{line}"));
    // What fails after a signal fails because of it: what was started may have had it too.
    match outcome.filter(|_| !shutdown.is_triggered()) {
        None => ExitCode::from(interrupt::EXIT_CODE),
        Some(Ok(true)) => ExitCode::SUCCESS,
        Some(Ok(false)) => ExitCode::FAILURE,
        Some(Err(error)) => {
            println!("davit-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Whether all that was measured is as it has to be. A missed budget of time is told and no failure: it says as much about
/// the machine as about the code.
async fn scheduler(options: &Options) -> Result<bool, Error> {
    let machine = Machine::look()?;
    println!("{machine}");
    let (kind, (result, good)) = match options.plan() {
        Plan::Quality => ("scheduler-quality", quality(options)),
        Plan::One(cell) => ("scheduler-cell", (one(options, &cell).await?, true)),
        Plan::Grid(cells) => ("scheduler", grid(options, &cells).await?),
    };
    tell(&options.output_folder(), kind, &machine, result)?;
    Ok(good)
}

/// Writes the result into a file, and prints it as the last line.
fn tell(folder: &Path, kind: &str, machine: &Machine, result: Value) -> Result<(), Error> {
    let speed = Around { before: machine.speed_before, after: speed::measure_apart()? };
    println!("\nthe machine's speed after: {}", speed.after);
    let result = to_json::with_machine(result, machine, &speed);
    match file::write(folder, kind, machine, &result) {
        Ok(path) => println!("written to {}", path.display()),
        Err(error) => println!("NOT WRITTEN: {error}"),
    }
    println!("{result}");
    Ok(())
}

/// A measurement of one thing alone.
async fn alone(kind: &str, measured: impl Future<Output = Result<Value, Error>>) -> Result<bool, Error> {
    checked(kind, async { Ok((measured.await?, true)) }).await
}

/// A measurement that also says whether all is as it has to be.
async fn checked(kind: &str, measured: impl Future<Output = Result<(Value, bool), Error>>) -> Result<bool, Error> {
    let machine = Machine::look()?;
    println!("{machine}");
    let (result, good) = measured.await?;
    tell(&file::usual_folder(), kind, &machine, result)?;
    Ok(good)
}

/// How fast this machine is, as the last line too.
fn speed() -> Result<bool, Error> {
    let speed = speed::measure();
    println!("{speed}");
    println!("{}", json!(speed));
    Ok(true)
}

fn quality(options: &Options) -> (Value, bool) {
    let rows = quality::measure(options.seed);
    table::quality(&rows);
    let good = rows.iter().all(quality::Row::is_good);
    (json!({ "quality": rows }), good)
}

async fn one(options: &Options, cell: &Cell) -> Result<Value, Error> {
    table::cells_header();
    let report = measure(options, cell).await?;
    table::cell(&report);
    Ok(to_json::cell(&report))
}

async fn grid(options: &Options, cells: &[Cell]) -> Result<(Value, bool), Error> {
    // First, while this process has hardly allocated anything.
    let mut memory = memory::engine(options.seed)?;
    memory.idle_bytes = run::idle_bytes(options).await?;
    table::memory(&memory);
    let (count, cap, repeat) = (cells.len(), options.cap().as_secs(), options.repeat);
    println!(
        "{count} cells, each {repeat} time(s); one that takes more than {cap} s is stopped early, and its row says so\n"
    );
    table::cells_header();
    let mut reports = Vec::with_capacity(cells.len());
    for cell in cells {
        let report = measure(options, cell).await?;
        table::cell(&report);
        reports.push(report);
    }
    table::budgets(&report::budgets(&reports));
    let rows = quality::measure(options.seed);
    table::quality(&rows);
    let good = rows.iter().all(quality::Row::is_good);
    Ok((to_json::grid(&reports, &memory, &rows), good))
}

/// Measures a cell as often as asked and keeps the fastest: whatever else the machine does only ever slows it down.
async fn measure(options: &Options, cell: &Cell) -> Result<CellReport, Error> {
    let workload = workload::generate(cell, options.batch_size, options.seed);
    let mut best: Option<CellReport> = None;
    for _ in 0..options.repeat.max(1) {
        let measured = run::run(cell, &workload, options).await?;
        let report = CellReport::new(cell, &workload, measured)?;
        if best.as_ref().is_none_or(|best| report.placements_per_s > best.placements_per_s) {
            best = Some(report);
        }
    }
    best.ok_or(Error::NothingMeasured)
}
