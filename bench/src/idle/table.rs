//! The table for people.

use std::time::Duration;

use super::budgets::Verdict;
use super::{Nodes, Row};
use crate::report::table::{reached, thousands};

/// The columns.
pub(super) fn header(window: Duration) {
    println!(
        "memory at the end of {} s in which nothing is asked of the cluster, the most since each start, CPU in them\n",
        window.as_secs()
    );
    println!(
        "{:<14} {:<16} {:>12} {:>8} {:>19} {:>10} {:>8}",
        "nodes", "process", "resident MB", "budget", "most since start MB", "CPU % core", "budget"
    );
}

/// One row, as soon as it is known.
pub(super) fn row(nodes: Nodes, row: &Row) {
    let nodes = match nodes {
        Nodes::None => nodes.kind().to_owned(),
        Nodes::Ordinary(_) | Nodes::Hollow(_) => format!("{} {}", thousands(nodes.count().into()), nodes.kind()),
    };
    let megabytes = |bytes: u64| bytes as f64 / 1e6;
    let none = || ("-".to_owned(), "-".to_owned(), "");
    let (memory, cpu, outcome) = row.verdict.map_or_else(none, |verdict| {
        let Verdict { memory_budget_bytes, cpu_budget_percent, .. } = verdict;
        let memory = format!("{:.0}", megabytes(memory_budget_bytes));
        (memory, format!("{cpu_budget_percent:.1}"), reached(verdict.reached()))
    });
    println!(
        "{nodes:<14} {:<16} {:>12.1} {memory:>8} {:>19.1} {:>10.2} {cpu:>8}  {outcome}",
        row.name,
        megabytes(row.resident_bytes),
        megabytes(row.peak_since_start_bytes),
        row.cpu_percent,
    );
}
