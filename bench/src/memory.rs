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
pub(crate) const BUDGET_BYTES_PER_NODE: u64 = 1024;

/// What a process uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Memory {
    /// Resident now (VmRSS).
    pub(crate) resident_bytes: u64,
    /// The most that was resident (VmHWM).
    pub(crate) peak_bytes: u64,
}

/// What the engine keeps for a node.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct PerNode {
    /// At how many nodes.
    pub(crate) nodes: u32,
    /// All that the engine holds once it has placed tasks, by their number.
    pub(crate) bytes_per_node: u64,
    /// What it may be.
    pub(crate) budget_bytes_per_node: u64,
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
    Memory { resident_bytes: bytes("VmRSS:").unwrap_or(0), peak_bytes: bytes("VmHWM:").unwrap_or(0) }
}

/// How much this process grows by a mirror of 20,000 nodes that has placed a batch, with its columns for one algorithm and
/// what it remembers of three constraints. Only right while this process has freed little.
pub(crate) fn engine_bytes_per_node(seed: u64) -> Result<PerNode, Error> {
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
    Ok(PerNode { nodes: NODES, bytes_per_node: grown / u64::from(NODES), budget_bytes_per_node: BUDGET_BYTES_PER_NODE })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_table_is_read() {
        let status = "Name:\tx\nVmHWM:\t    2048 kB\nVmRSS:\t    1024 kB\n";
        assert_eq!(parse(status), Memory { resident_bytes: 1 << 20, peak_bytes: 2 << 20 });
        assert!(own().unwrap().resident_bytes > 0);
    }
}
