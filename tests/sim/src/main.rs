//! `davit-sim`: runs many seeds side by side, or one with all that happens in it.

#![allow(clippy::print_stdout, reason = "a program for people")]

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::available_parallelism;

use clap::Parser;
use davit_sim::{panics, run};
use davit_svc_kit::bugs::Bug;
use parking_lot::Mutex;

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
    /// Puts deliberate bugs into the services, one after the other, and tells after how many seeds each is found.
    #[cfg(feature = "sim-bugs")]
    #[arg(long)]
    bugs: bool,
    /// Prints all that happens.
    #[arg(long)]
    trace: bool,
    /// Prints the logs of the services, as this filter says.
    #[arg(long, value_name = "FILTER")]
    log: Option<String>,
    /// Plays again what workers said on earlier connections.
    #[arg(long)]
    replays: bool,
    /// How many seeds are run side by side [default: one per core].
    #[arg(long)]
    jobs: Option<u64>,
}

impl Args {
    fn options(&self, bug: Option<Bug>) -> run::Options {
        run::Options { bug, trace: self.trace, replays: self.replays }
    }

    fn jobs(&self) -> u64 {
        self.jobs.unwrap_or_else(|| available_parallelism().map_or(1, |cores| cores.get() as u64))
    }
}

fn main() -> ExitCode {
    let args = Args::parse();
    panics::watch();
    if let Some(filter) = &args.log {
        tracing_subscriber::fmt().with_env_filter(filter.as_str()).without_time().init();
    }
    if let Some(seed) = args.seed {
        let report = run::seed(seed, args.options(None));
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

/// Looks for each deliberate bug until a seed finds it.
#[cfg(feature = "sim-bugs")]
fn hunt(args: &Args) -> ExitCode {
    let found = Mutex::new(Vec::new());
    let next = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..args.jobs() {
            scope.spawn(|| {
                while let Some(bug) =
                    usize::try_from(next.fetch_add(1, Ordering::Relaxed)).ok().and_then(|at| Bug::ALL.get(at))
                {
                    let seeds = args.first..args.first + args.seeds;
                    let caught = seeds
                        .map(|seed| run::seed(seed, args.options(Some(*bug))))
                        .find(|report| !report.violations.is_empty());
                    let told =
                        caught.as_ref().and_then(|report| report.violations.first().map(|first| (report.seed, first)));
                    match told {
                        Some((seed, first)) => {
                            println!("{bug:?}: found by seed {seed}: promise {}: {}", first.promise, first.what);
                        }
                        None => println!("{bug:?}: NOT FOUND in {} seeds", args.seeds),
                    }
                    found.lock().push(told.is_some());
                }
            });
        }
    });
    let found = found.lock();
    let missed = found.iter().filter(|found| !**found).count();
    println!("{} bugs, {missed} not found", found.len());
    if missed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn many(args: &Args) -> ExitCode {
    let next = Arc::new(AtomicU64::new(args.first));
    let end = args.first + args.seeds;
    let failed = Arc::new(Mutex::new(Vec::new()));
    let simulated = Arc::new(AtomicU64::new(0));
    std::thread::scope(|scope| {
        for _ in 0..args.jobs() {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end {
                        return;
                    }
                    let report = run::seed(seed, args.options(None));
                    simulated.fetch_add(report.simulated.as_secs(), Ordering::Relaxed);
                    if !report.violations.is_empty() {
                        print(&report);
                        failed.lock().push(seed);
                    }
                }
            });
        }
    });
    let failed = failed.lock();
    println!("{} seeds, {} failed, {} s simulated", args.seeds, failed.len(), simulated.load(Ordering::Relaxed));
    if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn print(report: &run::Report) {
    for violation in &report.violations {
        println!("seed {}: promise {}: {}", report.seed, violation.promise, violation.what);
    }
    if !report.violations.is_empty() {
        println!("seed {}: repeat it with: cargo xtask sim --seed {} --trace", report.seed, report.seed);
    }
}
