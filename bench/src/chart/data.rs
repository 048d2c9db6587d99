//! The figures of results that are drawn.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

/// A result of `cluster`.
#[derive(Debug, Deserialize)]
pub(super) struct File {
    machine: Machine,
    #[serde(flatten)]
    result: Result,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Result {
    Grid { cells: Vec<Cell> },
    One(Box<Cell>),
}

/// Where it was measured.
#[derive(Debug, Deserialize)]
struct Machine {
    cpu: String,
    cores: u32,
    date: String,
    commit: String,
}

/// What is drawn of a cell. What it did not come to is missing.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Cell {
    nodes: u32,
    tasks: u32,
    pub(super) create_to_all_running_s: Option<f64>,
    pub(super) at_first: Option<Probe>,
    pub(super) with_all: Option<Probe>,
    failed: Option<String>,
}

/// What 10,000 more tasks cost.
#[derive(Debug, Clone, Copy, Deserialize)]
pub(super) struct Probe {
    /// Tasks that ran already.
    pub(super) beside: u64,
    /// Of all processes.
    pub(super) cpu_s: f64,
}

/// What several results say together.
#[derive(Debug, Default)]
pub(super) struct Measured {
    /// By nodes and tasks.
    pub(super) cells: BTreeMap<(u32, u32), Cell>,
    /// Where and when.
    pub(super) machines: BTreeSet<String>,
    /// Cells that failed, and why.
    pub(super) left_out: Vec<String>,
}

impl Measured {
    /// Adds one more; its cells take the place of like ones.
    pub(super) fn add(&mut self, file: &File) {
        let Machine { cpu, cores, date, commit } = &file.machine;
        self.machines.insert(format!("{cpu}, {cores} cores; {date}; commit {commit}"));
        let cells = match &file.result {
            Result::Grid { cells } => &cells[..],
            Result::One(cell) => std::slice::from_ref(&**cell),
        };
        for cell in cells {
            match &cell.failed {
                Some(failed) => self.left_out.push(format!("{} nodes, {} tasks: {failed}", cell.nodes, cell.tasks)),
                None => drop(self.cells.insert((cell.nodes, cell.tasks), cell.clone())),
            }
        }
    }

    /// The numbers of nodes that were measured, each one line of the chart.
    pub(super) fn node_counts(&self) -> Vec<u32> {
        let counts: BTreeSet<_> = self.cells.keys().map(|(nodes, _)| *nodes).collect();
        counts.into_iter().collect()
    }

    /// Of so many nodes: tasks, and seconds until all were RUNNING.
    pub(super) fn times(&self, nodes: u32) -> Vec<(f64, f64)> {
        let of_nodes = self.cells.range((nodes, 0)..=(nodes, u32::MAX));
        of_nodes.filter_map(|((_, tasks), cell)| Some((f64::from(*tasks), cell.create_to_all_running_s?))).collect()
    }

    /// Of so many nodes: tasks that ran already, and CPU seconds for 10,000 more, in the order of the former.
    pub(super) fn costs(&self, nodes: u32) -> Vec<(f64, f64)> {
        let of_nodes = self.cells.range((nodes, 0)..=(nodes, u32::MAX));
        let probes = of_nodes.flat_map(|(_, cell)| cell.at_first.into_iter().chain(cell.with_all));
        let mut points: Vec<_> = probes.map(|probe| (probe.beside as f64, probe.cpu_s)).collect();
        points.sort_by(|one, other| one.0.total_cmp(&other.0).then(one.1.total_cmp(&other.1)));
        points
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MACHINE: &str =
        r#""machine": {"cpu": "cpu", "cores": 2, "date": "2026-01-01", "commit": "abc", "load_before": "0"}"#;

    #[test]
    fn results_of_one_cell_and_of_several_are_read_and_what_failed_is_left_out() {
        let grid = r#"{"cells": [
            {"nodes": 5, "tasks": 7, "create_to_all_running_s": 2.0, "at_first": {"beside": 2, "cpu_s": 1.5}, "failed": null},
            {"nodes": 5, "tasks": 9, "create_to_all_running_s": 3.0, "failed": "no answer"}], "#;
        let one =
            r#"{"nodes": 5, "tasks": 7, "create_to_all_running_s": 1.0, "with_all": {"beside": 9, "cpu_s": 1.0}, "#;
        let mut measured = Measured::default();
        for text in [grid, one] {
            measured.add(&serde_json::from_str(&format!("{text}{MACHINE}}}")).unwrap());
        }
        assert_eq!(measured.node_counts(), [5]);
        assert_eq!(measured.times(5), [(7.0, 1.0)], "the later file counts");
        assert_eq!(measured.costs(5), [(9.0, 1.0)]);
        assert_eq!(measured.left_out, ["5 nodes, 9 tasks: no answer"]);
        assert_eq!(measured.machines.len(), 1);
    }
}
