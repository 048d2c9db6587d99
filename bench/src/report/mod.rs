//! What was measured, for people and for programs.

pub(crate) mod file;
pub(crate) mod json;
pub(crate) mod table;

use std::time::Duration;

use crate::error::Error;
use crate::options::{Cell, Shapes, Transport};
use crate::run::{Measured, Verified, verify};
use crate::workload::Workload;

/// The figures of one cell.
#[derive(Debug, Clone)]
pub(crate) struct CellReport {
    pub(crate) cell: Cell,
    pub(crate) placements_per_s: f64,
    pub(crate) p50_batch_ms: f64,
    pub(crate) p99_batch_ms: f64,
    pub(crate) snapshot_ms: f64,
    pub(crate) batches: usize,
    pub(crate) placed: u64,
    pub(crate) unplaced: u64,
    pub(crate) rss_bytes: u64,
    pub(crate) capped: bool,
}

impl CellReport {
    /// The figures, once the answers are found right.
    pub(crate) fn new(cell: &Cell, workload: &Workload, measured: Measured) -> Result<Self, Error> {
        let Measured { snapshot, elapsed, mut latencies, answers, rss_bytes, capped } = measured;
        let Verified { placed, unplaced } = verify(workload, &answers)?;
        latencies.sort_unstable();
        Ok(Self {
            cell: cell.clone(),
            placements_per_s: placed as f64 / elapsed.as_secs_f64().max(1e-9),
            p50_batch_ms: millis(percentile(&latencies, 50)),
            p99_batch_ms: millis(percentile(&latencies, 99)),
            snapshot_ms: millis(snapshot),
            batches: latencies.len(),
            placed,
            unplaced,
            rss_bytes,
            capped,
        })
    }
}

/// The smallest value that this many percent of all are not above.
pub(crate) fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied().unwrap_or_default()
}

/// In milliseconds.
pub(crate) fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

/// A promise of the design, and what became of it.
#[derive(Debug, Clone)]
pub(crate) struct Budget<'a> {
    pub(crate) what: &'static str,
    pub(crate) least_per_s: f64,
    /// By algorithm.
    pub(crate) cells: Vec<&'a CellReport>,
}

/// The cells that the design makes promises about, through gRPC.
pub(crate) fn budgets(reports: &[CellReport]) -> Vec<Budget<'_>> {
    let find = |nodes, shapes, constraints| {
        let wanted = move |report: &&CellReport| {
            let cell = &report.cell;
            (cell.transport, cell.nodes, cell.tasks) == (Transport::Grpc, nodes, 100_000)
                && (cell.shapes, cell.constraints) == (shapes, constraints)
        };
        reports.iter().filter(wanted).collect()
    };
    let like = "1,000 nodes, 100,000 like tasks";
    let unlike = "5,000 nodes, 100,000 tasks all different, with a constraint";
    vec![
        Budget { what: like, least_per_s: 1_000_000.0, cells: find(1_000, Shapes::Like, false) },
        Budget { what: unlike, least_per_s: 100_000.0, cells: find(5_000, Shapes::All, true) },
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_were_measured() {
        let sorted: Vec<_> = (1..=10).map(Duration::from_millis).collect();
        assert_eq!(percentile(&sorted, 50), Duration::from_millis(5));
        assert_eq!(percentile(&sorted, 99), Duration::from_millis(10));
        assert_eq!(percentile(&[], 99), Duration::ZERO);
    }
}
