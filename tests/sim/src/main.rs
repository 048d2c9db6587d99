//! `davit-sim`: runs many seeds side by side, or one with all that happens in it.

#![allow(clippy::print_stdout, reason = "a program for people")]

use std::process::{Command, ExitCode};
#[cfg(feature = "sim-bugs")]
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::available_parallelism;

use clap::Parser;
#[cfg(feature = "sim-bugs")]
use davit_sim::caught::{CAUGHT, Caught, WITHIN_SEEDS};
use davit_sim::{panics, run};
use davit_svc_kit::bugs::Bug;

/// How much of what a bug led to is shown.
#[cfg(feature = "sim-bugs")]
const SHOWN_CHARS: usize = 120;

/// Simulates clusters under faults and checks Davit's promises.
#[derive(Debug, Parser)]
#[command(name = "davit-sim")]
struct Args {
    /// How many seeds are run.
    #[arg(long, default_value_t = 200)]
    seeds: u64,
    /// The first of them.
    #[arg(long, default_value_t = 0)]
    first: u64,
    /// Runs this seed alone.
    #[arg(long)]
    seed: Option<u64>,
    /// Puts deliberate bugs into the services, one after the other, and tells by which seed each is caught. Fails if one is not.
    #[cfg(feature = "sim-bugs")]
    #[arg(long)]
    bugs: bool,
    /// Prints all that happens.
    #[arg(long)]
    trace: bool,
    /// Prints the logs of the services, as this filter says.
    #[arg(long, value_name = "FILTER")]
    log: Option<String>,
    /// Puts this deliberate bug into the services; for one seed.
    #[cfg(feature = "sim-bugs")]
    #[arg(long, value_name = "BUG", value_parser = bug_by_name, requires = "seed")]
    bug: Option<Bug>,
    /// How many seeds are run side by side [default: one per core].
    #[arg(long)]
    jobs: Option<u64>,
}

impl Args {
    fn jobs(&self) -> u64 {
        self.jobs.unwrap_or_else(|| available_parallelism().map_or(1, |cores| cores.get() as u64))
    }

    #[cfg(feature = "sim-bugs")]
    fn bug(&self) -> Option<Bug> {
        self.bug
    }

    #[cfg(not(feature = "sim-bugs"))]
    fn bug(&self) -> Option<Bug> {
        None
    }
}

fn main() -> ExitCode {
    let args = Args::parse();
    panics::watch();
    if let Some(filter) = &args.log {
        tracing_subscriber::fmt().with_env_filter(filter.as_str()).without_time().init();
    }
    if let Some(seed) = args.seed {
        let report = run::seed(seed, run::Options { bug: args.bug(), trace: args.trace });
        print(&report);
        println!("digest {:016x}, {} events, {:?} simulated", report.digest, report.events, report.simulated);
        return if report.violations.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    #[cfg(feature = "sim-bugs")]
    if args.bugs {
        return hunt(&args);
    }
    many(&args)
}

#[cfg(feature = "sim-bugs")]
fn bug_by_name(name: &str) -> Result<Bug, String> {
    let known = || Bug::ALL.map(|bug| format!("{bug:?}"));
    Bug::ALL.into_iter().find(|bug| format!("{bug:?}") == name).ok_or_else(|| format!("one of {}", known().join(", ")))
}

/// Runs a seed in a process of its own. Tells what it printed if a promise was broken.
fn child(seed: u64, bug: Option<Bug>) -> Result<(), String> {
    let program = std::env::current_exe().map_err(|problem| problem.to_string())?;
    let mut command = Command::new(program);
    command.args(["--seed", &seed.to_string()]);
    if let Some(bug) = bug {
        command.args(["--bug", &format!("{bug:?}")]);
    }
    let ended = command.output().map_err(|problem| problem.to_string())?;
    if ended.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&ended.stdout).into_owned()) }
}

/// Looks for each deliberate bug until a seed shows that it breaks its promise.
#[cfg(feature = "sim-bugs")]
fn hunt(args: &Args) -> ExitCode {
    let (next, missed) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let seeds = args.seeds.min(WITHIN_SEEDS);
    println!("| bug | promise | seed | what was seen |\n| --- | --- | --- | --- |");
    std::thread::scope(|scope| {
        for _ in 0..args.jobs() {
            scope.spawn(|| {
                while let Some(Caught { bug, promise }) = CAUGHT.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let mut tried = args.first..args.first + seeds;
                    match tried.find_map(|seed| Some((seed, broken(&child(seed, Some(*bug)).err()?, *promise)?))) {
                        Some((seed, what)) => println!("| `{bug:?}` | {promise} | {seed} | {what} |"),
                        None => {
                            missed.fetch_add(1, Ordering::Relaxed);
                            println!("| `{bug:?}` | {promise} | NOT CAUGHT | |");
                        }
                    }
                }
            });
        }
    });
    let missed = missed.into_inner();
    println!("{} bugs, {missed} not caught within {seeds} seeds", CAUGHT.len());
    if missed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// What a run tells of a broken promise with this number.
#[cfg(feature = "sim-bugs")]
fn broken(told: &str, promise: u32) -> Option<String> {
    let mark = format!(": promise {promise}: ");
    told.lines().find_map(|line| Some(line.split_once(&mark)?.1.chars().take(SHOWN_CHARS).collect()))
}

fn many(args: &Args) -> ExitCode {
    let (next, failed) = (AtomicU64::new(args.first), AtomicU64::new(0));
    let end = args.first + args.seeds;
    std::thread::scope(|scope| {
        for _ in 0..args.jobs() {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end {
                        return;
                    }
                    if let Err(told) = child(seed, None) {
                        failed.fetch_add(1, Ordering::Relaxed);
                        print!("{told}");
                    }
                }
            });
        }
    });
    let failed = failed.into_inner();
    println!("{} seeds, {failed} failed", args.seeds);
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn print(report: &run::Report) {
    for violation in &report.violations {
        println!("seed {}: promise {}: {}", report.seed, violation.promise, violation.what);
    }
    if !report.violations.is_empty() {
        println!("seed {}: repeat it with: cargo xtask sim --seed {} --trace", report.seed, report.seed);
    }
}
