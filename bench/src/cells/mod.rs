//! Many cells under one API, in one process with the real placement engine: what docs/scale.md says of them, checked. Tasks are
//! placed by fronts that know only summaries; then a cell is lost; then all cells are filled until nothing fits, and one engine
//! with all nodes is filled with the same.

mod choose;
mod front;
mod ledger;
mod report;
mod summary;
mod workload;
mod world;

use davit_core::placement::NodeView;
use davit_core::resources::Resources;
use scheduler_svc::placement::{Group, algorithms};
use serde_json::{Value, json};

use self::choose::Policy;
use self::report::{Filled, Phase};
use self::workload::{Stream, nodes_of};
use self::world::{Running, Tally, World};
use crate::error::Error;
use crate::memory;

/// Tasks that come to a front in one turn.
const BATCH: u32 = 10_000;
/// Groups that take more than so many millionths of a cell are divided among cells.
const DIVIDE_OVER: u128 = 10_000;
/// A cell that was not heard for so many times the usual pause gets nothing.
const SILENT_AFTER: u64 = 4;
/// The cell that is lost: one of those with GPUs, which fewer others can stand in for.
const LOST: usize = 0;
/// More than fit of any shape once nodes are nearly full.
const MORE_THAN_FIT: u32 = 10_000_000;

/// Options of `cells`.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// How many cells
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(2..=100))]
    cells: u32,
    /// How many nodes in each
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    nodes: u32,
    /// How many tasks are placed before a cell is lost
    #[arg(long, default_value_t = 2_000_000, value_parser = clap::value_parser!(u32).range(1..=50_000_000))]
    tasks: u32,
    /// How many fronts take turns; none knows what the others do
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=100))]
    fronts: u32,
    /// Of how many cells that are drawn the emptiest takes a group; 1: any, as many as there are: the emptiest of all
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=100))]
    choices: u32,
    /// Each front hears each cell once in so many turns of 10,000 tasks
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    hear_every: u64,
    /// Which algorithm cells score nodes by
    #[arg(long, default_value = algorithms::DEFAULT.name(), value_parser = crate::options::algorithm)]
    algorithm: &'static str,
    /// Decides on nodes, tasks and draws
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

impl Options {
    /// What the result is called.
    pub(crate) fn kind(&self) -> String {
        format!("cells-{}x{}", self.cells, self.nodes)
    }

    fn running(&self) -> Running {
        let choices = usize::try_from(self.choices).unwrap_or(usize::MAX);
        let max_age = self.hear_every.saturating_mul(SILENT_AFTER);
        Running {
            policy: Policy { choices, divide_over: DIVIDE_OVER, max_age },
            fronts: usize::try_from(self.fronts).unwrap_or(usize::MAX),
            hear_every: self.hear_every,
            seed: self.seed,
        }
    }

    fn nodes(&self) -> Vec<Vec<NodeView>> {
        (0..self.cells).zip(0..).map(|(_, cell)| nodes_of(cell, self.nodes, self.seed)).collect()
    }

    fn stream(&self) -> Stream {
        Stream::new(self.seed, algorithms::find(self.algorithm).unwrap_or(algorithms::DEFAULT))
    }
}

/// Places, loses a cell, fills, and compares. Whatever is not as it has to be gives no figures.
pub(crate) async fn measure(options: &Options) -> Result<Value, Error> {
    report::header(options);
    let before = memory::own()?.resident_bytes;
    let mut world = World::new(options.nodes(), options.running());
    let mut stream = options.stream();
    let mut placing = Tally::default();
    let mut left = options.tasks;
    let mut engines_bytes = 0;
    while left > 0 {
        let batch = stream.batch(left.min(BATCH));
        left -= left.min(BATCH);
        world.offer(&batch, &mut placing);
        if engines_bytes == 0 {
            engines_bytes = memory::own()?.resident_bytes.saturating_sub(before);
        }
        // So that a signal is heard.
        tokio::task::yield_now().await;
    }
    let nodes = options.nodes();
    let placed = Phase::new("placed", placing, world.check(&nodes)?, world.filled());
    placed.print();
    let lost = lose(&mut world, nodes).await?;
    drop(world);

    let cells = fill(options, options.nodes(), options.running()).await?;
    cells.print("cells");
    let all = vec![options.nodes().into_iter().flatten().collect()];
    let one = fill(options, all, Running { fronts: 1, ..options.running() }).await?;
    one.print("one engine");
    let count = u64::from(options.cells) * u64::from(options.nodes);
    Ok(json!({
        "cells": options.cells,
        "nodes_a_cell": options.nodes,
        "tasks": options.tasks,
        "fronts": options.fronts,
        "choices": options.choices,
        "hear_every": options.hear_every,
        "algorithm": options.algorithm,
        "seed": options.seed,
        "engines_bytes": engines_bytes,
        "engines_bytes_per_node": engines_bytes / count.max(1),
        "placed": placed,
        "cell_lost": lost,
        "filled": { "cells": cells, "one_engine": one },
    }))
}

/// Loses a cell; all that it had is placed in the others.
async fn lose(world: &mut World, mut nodes: Vec<Vec<NodeView>>) -> Result<Phase, Error> {
    let mut tally = Tally::default();
    let groups = world.lose(LOST);
    nodes[LOST].clear();
    let mut batch = Vec::new();
    let mut tasks = 0;
    for (at, group) in groups.iter().enumerate() {
        batch.push(*group);
        tasks += world.waiting(*group);
        if tasks >= BATCH || at + 1 == groups.len() {
            world.take_turn(&batch, &mut tally);
            (batch, tasks) = (Vec::new(), 0);
            tokio::task::yield_now().await;
        }
    }
    let phase = Phase::new("a cell lost", tally, world.check(&nodes)?, world.filled());
    phase.print();
    Ok(phase)
}

/// Offers as much as there is of cpu or memory, and then of each shape more than fits: in the end nothing fits anywhere.
async fn fill(options: &Options, nodes: Vec<Vec<NodeView>>, running: Running) -> Result<Filled, Error> {
    let total = nodes.iter().flatten().fold([0.0; 2], |sum, node| add(sum, node.allocatable, 1));
    let mut world = World::new(nodes.clone(), running);
    let mut stream = options.stream();
    let mut tally = Tally::default();
    let mut asked = [0.0; 2];
    let mut first_refused = None;
    while asked[0] < total[0] && asked[1] < total[1] {
        let batch = stream.batch(BATCH);
        asked = batch.iter().fold(asked, demand);
        world.offer(&batch, &mut tally);
        if tally.unplaced > 0 && first_refused.is_none() {
            first_refused = Some(world.filled_together());
        }
        tokio::task::yield_now().await;
    }
    let filled = world.filled_together();
    for group in stream.remainder(MORE_THAN_FIT) {
        let mut rest = Tally::default();
        world.offer(&[group], &mut rest);
        if rest.unplaced == 0 {
            return Err(Error::WrongAnswer("more fits than was thought to".to_owned()));
        }
        tokio::task::yield_now().await;
    }
    let counted = world.check(&nodes)?;
    Ok(Filled { tally, first_refused, filled, counted, full: world.filled_together() })
}

fn demand(sum: [f64; 2], group: &Group) -> [f64; 2] {
    add(sum, group.request.requirements.reservation, group.count)
}

fn add(sum: [f64; 2], amounts: Resources, count: u32) -> [f64; 2] {
    let times = |amount: u64| amount as f64 * f64::from(count);
    [sum[0] + times(amounts.cpu_millis), sum[1] + times(amounts.memory_bytes)]
}

#[cfg(test)]
mod tests;
