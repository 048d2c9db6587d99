//! A whole cluster on this machine: manager with its durable store, scheduler, hollow nodes and client, each a process, over
//! their real gRPC. How long it takes until all of so many tasks are RUNNING, and what that costs; then what the cluster does
//! while tasks come and go, when a node dies, when the manager dies, and when everything is stopped.

mod bulk;
mod cell;
mod check;
mod churn;
mod death;
mod grid;
mod probe;
mod reserved;
mod setup;
mod stop;
mod table;
mod wanted;

use serde_json::{Value, json};

use self::grid::{Cell, Plan};
use crate::error::Error;
use crate::report::json::in_thousandths;
use crate::running::places::Places;

/// Options of `cluster`. With --nodes and --tasks one cell is measured alone, with one of them a row of the grid, otherwise
/// all of it.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// How many hollow nodes [default: 100, 1000, 5000, 10000]
    #[arg(long, value_parser = clap::value_parser!(u32).range(2..=16_000))]
    nodes: Option<u32>,
    /// How many tasks [default: 10000, 100000, 1000000]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=5_000_000))]
    tasks: Option<u32>,
    /// Of how many shapes
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    shapes: u32,
    /// How long 1 % of the tasks are replaced each second, each once at most; 0 leaves it out [default: 60 for a cell alone, 0 in
    /// the grid]
    #[arg(long, value_parser = clap::value_parser!(u32).range(0..=100))]
    churn_seconds: Option<u32>,
    #[command(flatten)]
    places: Places,
}

impl Options {
    /// What the result is called.
    pub(crate) fn kind(&self) -> String {
        match (self.nodes, self.tasks) {
            (Some(nodes), Some(tasks)) => format!("cluster-{nodes}x{tasks}"),
            (Some(nodes), None) => format!("cluster-{nodes}-nodes"),
            (None, Some(tasks)) => format!("cluster-{tasks}-tasks"),
            (None, None) => "cluster".to_owned(),
        }
    }

    /// How long tasks are replaced.
    fn churn_seconds(&self) -> u32 {
        let is_one_cell = self.nodes.is_some() && self.tasks.is_some();
        self.churn_seconds.unwrap_or(if is_one_cell { 60 } else { 0 })
    }
}

/// Measures what is asked for. Answers the figures, and whether every cell was as it has to be.
pub(crate) async fn measure(options: &Options) -> Result<(Value, bool), Error> {
    let Plan { cells, without_room } = Plan::new(options.nodes, options.tasks, options.shapes);
    for Cell { nodes, tasks } in &without_room {
        println!("left out: {tasks} tasks have no room on {nodes} nodes");
    }
    let mut rows = Vec::new();
    for cell in cells {
        let row = cell::measure(options, cell).await?;
        if let Some(failed) = &row.failed {
            println!("FAILED: {failed}");
        }
        rows.push(row);
    }
    if rows.is_empty() {
        return Err(Error::NothingMeasured);
    }
    table::rows(&rows);
    let good = rows.iter().all(|row| row.failed.is_none());
    let is_one_cell = options.nodes.is_some() && options.tasks.is_some();
    let result = match &rows[..] {
        [row] if is_one_cell => json!(row),
        rows => json!({ "cells": rows, "without_room": without_room }),
    };
    Ok((in_thousandths(result), good))
}
