//! What processes use, as the kernel counts it.

use std::path::PathBuf;

use scheduler_svc::placement::{Mirror, algorithms, place};
use serde::Serialize;

use crate::error::Error;
use crate::options::{Cell, Shapes, Transport};
use crate::workload;

/// At how many nodes memory per node is measured.
const NODES: u32 = 20_000;
/// What one may cost.
const BYTES_PER_NODE_BUDGET: u64 = 1024;
/// What a scheduler without work may use.
pub(crate) const IDLE_SCHEDULER_BYTES: u64 = 15_000_000;

/// What a process uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Memory {
    /// Resident now (VmRSS).
    pub(crate) resident_bytes: u64,
    /// The most that was resident (VmHWM).
    pub(crate) peak_since_start_bytes: u64,
}

/// What the scheduler uses without work, and for each node.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Usage {
    /// Resident in a scheduler process that has nothing to do yet.
    pub(crate) idle_bytes: u64,
    /// What that may be.
    pub(crate) idle_bytes_budget: u64,
    /// At how many nodes.
    pub(crate) nodes: u32,
    /// All that the engine holds once it has placed tasks, by their number.
    pub(crate) bytes_per_node: u64,
    /// What that may be.
    pub(crate) bytes_per_node_budget: u64,
}

/// What this process uses.
pub(crate) fn own() -> Result<Memory, Error> {
    of_process(std::process::id())
}

/// What a process uses.
pub(crate) fn of_process(process_id: u32) -> Result<Memory, Error> {
    let path = PathBuf::from(format!("/proc/{process_id}/status"));
    let status = std::fs::read_to_string(&path).map_err(|source| Error::Unreadable { path, source })?;
    Ok(parse(&status))
}

fn parse(status: &str) -> Memory {
    let bytes = |key: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(key))?;
        let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
        Some(kib * 1024)
    };
    Memory { resident_bytes: bytes("VmRSS:").unwrap_or(0), peak_since_start_bytes: bytes("VmHWM:").unwrap_or(0) }
}

/// How much this process grows (`idle_bytes` is for the caller to fill in) by a mirror of 20,000 nodes that has placed a batch, with its columns for one algorithm and
/// what it remembers of three constraints. Only right while this process has freed little.
pub(crate) fn engine(seed: u64) -> Result<Usage, Error> {
    let cell = Cell {
        nodes: NODES,
        tasks: 1_000,
        shapes: Shapes::Hundred,
        algorithm: algorithms::DEFAULT.name(),
        constraints: true,
        transport: Transport::InProcess,
    };
    let before = own()?.resident_bytes;
    let mut workload = workload::generate(&cell, 1_000, seed);
    let mut mirror = Mirror::new(std::mem::take(&mut workload.nodes));
    for batch in &workload.batches {
        place(&mut mirror, batch, seed);
    }
    let grown = own()?.resident_bytes.saturating_sub(before);
    drop(mirror);
    Ok(Usage {
        idle_bytes: 0,
        idle_bytes_budget: IDLE_SCHEDULER_BYTES,
        nodes: NODES,
        bytes_per_node: grown / u64::from(NODES),
        bytes_per_node_budget: BYTES_PER_NODE_BUDGET,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_table_is_read() {
        let status = "Name:\tx\nVmHWM:\t    2048 kB\nVmRSS:\t    1024 kB\n";
        assert_eq!(parse(status), Memory { resident_bytes: 1 << 20, peak_since_start_bytes: 2 << 20 });
        assert!(own().unwrap().resident_bytes > 0);
    }
}
