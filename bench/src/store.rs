//! How quickly a manager starts from what it has stored, and how quickly it stores it: a store is filled by the manager's own
//! commands and its own store, and then the real program is started on it.

mod fill;
mod start;

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;
use serde_json::{Value, json};

use self::fill::{Filler, Times};
use crate::error::Error;
use crate::memory::Memory;
use crate::started::Folder;

/// What a start from a million tasks may take.
const START_BUDGET: Duration = Duration::from_secs(5);
/// Tasks of one commit while the store is filled.
const BATCH: usize = 1_000;
/// Commits of each smaller size that are timed.
const TIMED_COMMITS: usize = 100;

/// Options of `store`.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// How many tasks, all of them running
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(1_000..=10_000_000))]
    tasks: u32,
    /// On how many nodes
    #[arg(long, default_value_t = 5_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    nodes: u32,
    /// Of how many shapes
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    shapes: u32,
    /// How often the manager is started; each counts
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    starts: u32,
    /// The manager's program [default: davit-manager beside this one]
    #[arg(long, value_name = "FILE")]
    manager: Option<PathBuf>,
    /// Where the store is made and removed [default: beside this program's folder, on the same disk as the build]
    #[arg(long, value_name = "FOLDER")]
    scratch: Option<PathBuf>,
}

/// Commits of one size.
#[derive(Debug, Serialize)]
struct CommitRate {
    tasks_per_commit: usize,
    commits_per_s: f64,
    tasks_per_s: f64,
    slowest_commit_ms: f64,
}

/// Fills a store and starts managers on it. Whether it held the budget is part of the result, and no failure.
pub(crate) async fn measure(options: &Options) -> Result<Value, Error> {
    let folder = scratch(options)?;
    let data_dir = folder.path().join("data");
    let mut filler = Filler::open(&data_dir, options.nodes, options.shapes).await?;
    let mut rates = Vec::new();
    println!(
        "TASKS A COMMIT   COMMITS/S    TASKS/S      SLOWEST   (each task created, placed and RUNNING: three changes, two commits)"
    );
    for (size, commits) in [(1, TIMED_COMMITS), (100, TIMED_COMMITS), (BATCH, remaining(options))] {
        let Times { total, slowest } = filler.fill(size, commits).await?;
        let per_s = |count: usize| count as f64 / total.as_secs_f64();
        let rate = CommitRate {
            tasks_per_commit: size,
            commits_per_s: per_s(2 * commits),
            tasks_per_s: per_s(size * commits),
            slowest_commit_ms: slowest.as_secs_f64() * 1e3,
        };
        let CommitRate { commits_per_s, tasks_per_s, slowest_commit_ms, .. } = rate;
        println!("{size:>14} {commits_per_s:>11.0} {tasks_per_s:>10.0} {slowest_commit_ms:>9.1} ms");
        rates.push(rate);
    }
    let tasks = filler.close();
    let stored_bytes = size_of(&data_dir)?;
    let program = options.manager.clone().unwrap_or_else(|| crate::options::beside().join("davit-manager"));
    println!(
        "\nSTART   READY AFTER   MOST SINCE START   RESIDENT   (davit-manager on {tasks} tasks, {} nodes)",
        options.nodes
    );
    let mut starts = Vec::new();
    for number in 1..=options.starts {
        let (ready, Memory { peak_since_start_bytes, resident_bytes }) = start::start(&program, &data_dir).await?;
        let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        println!(
            "{number:>5} {:>11.2} s {:>14.0} MiB {:>6.0} MiB",
            ready.as_secs_f64(),
            mib(peak_since_start_bytes),
            mib(resident_bytes)
        );
        starts.push((ready, peak_since_start_bytes, resident_bytes));
    }
    let worst = starts.iter().map(|(ready, ..)| *ready).max().unwrap_or_default();
    let peak_since_start_bytes = starts.iter().map(|(_, peak, _)| *peak).max().unwrap_or_default();
    let resident_bytes = starts.iter().map(|(.., resident)| *resident).max().unwrap_or_default();
    let held = if worst <= START_BUDGET { "held" } else { "MISSED" };
    println!("\nbudget: ready within {} s of its start: {held}; {stored_bytes} bytes on disk", START_BUDGET.as_secs());
    Ok(json!({
        "store": {
            "tasks": tasks,
            "nodes": options.nodes,
            "shapes": options.shapes,
            "commits": rates,
            "start_s": starts.iter().map(|(ready, ..)| ready.as_secs_f64()).collect::<Vec<_>>(),
            "start_budget_s": START_BUDGET.as_secs(),
            "peak_since_start_bytes": peak_since_start_bytes,
            "resident_bytes": resident_bytes,
            "stored_bytes": stored_bytes,
            "stored_bytes_per_task": stored_bytes / tasks.max(1),
        }
    }))
}

/// Commits of whole batches after those of the smaller sizes.
fn remaining(options: &Options) -> usize {
    let tasks = usize::try_from(options.tasks).unwrap_or(usize::MAX);
    tasks.saturating_sub(TIMED_COMMITS * 101).div_ceil(BATCH)
}

/// A folder on a real disk, removed when dropped: `/tmp` may be memory.
fn scratch(options: &Options) -> Result<Folder, Error> {
    Folder::new(&options.scratch.clone().unwrap_or_else(crate::options::beside), "davit-bench-store-")
}

fn size_of(path: &Path) -> Result<u64, Error> {
    let unreadable = |source| Error::Unreadable { path: path.to_owned(), source };
    let mut bytes = 0;
    for entry in std::fs::read_dir(path).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        let metadata = entry.metadata().map_err(unreadable)?;
        bytes += if metadata.is_dir() { size_of(&entry.path())? } else { metadata.len() };
    }
    Ok(bytes)
}
