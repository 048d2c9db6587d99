//! `davit-chaos`: a cluster of real processes on real networks, engines and disks, and faults; then the promises are checked
//! from what clients were answered and from what the tasks themselves left as evidence. See docs/reliability.md.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program for people")]

mod api;
mod check;
mod cluster;
mod disk;
mod engine;
mod error;
mod evidence;
mod faults;
mod hollow;
mod ledger;
mod lock;
mod measure;
mod names;
mod net;
mod probe;
mod process;
mod report;
mod shell;
mod stamp;
mod sweep;
mod torture;
mod witness;
mod workload;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};

use crate::cluster::Size;
use crate::error::{Error, Result};
use crate::faults::Kind;
use crate::torture::{Plan, Verdict};

/// Tortures a cluster of real processes and checks what Davit promises. Needs root, and the tools of `cargo xtask test`.
#[derive(Debug, Parser)]
#[command(name = "davit-chaos")]
#[command(args_conflicts_with_subcommands = true)]
struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    torture: TortureArgs,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Measure how long recovery takes, beside the engines' own Swarm mode.
    Measure(measure::Options),
    /// Be hollow nodes, for `measure`.
    #[command(hide = true)]
    Hollow(hollow::Args),
}

#[derive(Debug, clap::Args)]
struct TortureArgs {
    /// How long there are faults, in minutes.
    #[arg(long, default_value_t = 10.0)]
    minutes: f64,
    /// Decides on faults and users [default: the time].
    #[arg(long)]
    seed: Option<u64>,
    /// Only this kind of fault; may be given several times.
    #[arg(long, value_name = "KIND")]
    only: Vec<Kind>,
    /// Machines with a worker.
    #[arg(long, default_value_t = 4)]
    workers: usize,
    /// How many of them have a Docker engine of their own.
    #[arg(long, default_value_t = 3)]
    engines: usize,
    /// Where logs, evidence and answers are kept when something is wrong.
    #[arg(long, value_name = "DIR", default_value = "target/chaos")]
    keep: PathBuf,
}

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    let done = match &args.command {
        None => Box::pin(torture(&args.torture)).await,
        Some(Command::Measure(options)) => Box::pin(measured(options)).await.map(|()| true),
        Some(Command::Hollow(hollow)) => hollow::run(hollow).await.map(|()| true),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("davit-chaos: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn measured(options: &measure::Options) -> Result<()> {
    let _lock = lock::take()?;
    sweep::all().await?;
    let measured = unless_interrupted(Box::pin(measure::run(options))).await;
    let swept = sweep::all().await;
    measured.and(swept)
}

/// True if no promise was broken.
async fn torture(args: &TortureArgs) -> Result<bool> {
    let _lock = lock::take()?;
    sweep::all().await?;
    let seed = args.seed.unwrap_or_else(|| stamp::Stamp::now().0);
    println!("seed {seed}");
    let size = Size { workers: args.workers.clamp(2, 100), engines: args.engines.min(args.workers) };
    let time = Duration::from_secs_f64((args.minutes * 60.0).clamp(1.0, 86_400.0));
    let plan = Plan { seed, time, only: args.only.clone(), size };
    let verdict = unless_interrupted(Box::pin(torture::run(plan))).await;
    let is_well = matches!(&verdict, Ok(verdict) if verdict.violations.is_empty());
    if !is_well {
        keep(&args.keep.join(format!("seed-{seed}"))).await;
    }
    let swept = sweep::all().await;
    let verdict = verdict?;
    tell(&verdict, seed);
    swept?;
    Ok(is_well)
}

fn tell(verdict: &Verdict, seed: u64) {
    println!("\n{}\n\n{}", verdict.summary, verdict.report.table());
    if verdict.violations.is_empty() {
        println!("no acknowledged task lost, no double, nothing left over, no panic, all stops hold");
        return;
    }
    let mut violations = verdict.violations.clone();
    violations.sort_unstable();
    violations.dedup();
    println!("{} VIOLATIONS (seed {seed}):", violations.len());
    for violation in violations {
        println!("  - {violation}");
    }
}

/// Runs until it is told to end at most: what was started has to be ended then, too.
async fn unless_interrupted<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    let listen = |kind| signal(kind).map_err(error::io_at("listen for", Path::new("signals")));
    let (mut interrupt, mut terminate) = (listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?);
    tokio::select! {
        done = work => done,
        _ = interrupt.recv() => Err(Error::Interrupted),
        _ = terminate.recv() => Err(Error::Interrupted),
    }
}

/// Keeps what tells how it came to that.
async fn keep(dir: &Path) {
    let target = dir.display().to_string();
    let base = names::base();
    let sources = ["logs", "evidence", "ledger.log"].map(|name| base.join(name).display().to_string());
    let mut arguments = vec!["-a"];
    arguments.extend(sources.iter().map(String::as_str));
    arguments.push(&target);
    let kept = match std::fs::create_dir_all(dir) {
        Ok(()) => shell::run("cp", &arguments).await.map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    };
    match kept {
        Ok(_) => println!("logs, evidence and answers are kept in {target}"),
        Err(error) => println!("logs could not be kept in {target}: {error}"),
    }
}
