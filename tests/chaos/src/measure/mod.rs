//! How long it takes to get over the death of a node, of the manager and of a worker: with hollow nodes, few and many, and with
//! containers on real engines, beside what the engines' own Swarm mode does there in the same run.

mod crowd;
mod davit;
mod replicas;
mod swarm;

use std::time::Duration;

use crate::error::Result;
use crate::report::quantile;
use crate::sweep;

/// What is measured.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    /// How often each figure is taken with hollow nodes.
    #[arg(long, default_value_t = 10)]
    rounds: usize,
    /// How often with real engines.
    #[arg(long, default_value_t = 5)]
    engine_rounds: usize,
    /// With how many hollow nodes; may be given several times.
    #[arg(long = "nodes", value_name = "COUNT", default_values_t = [3, 500])]
    nodes: Vec<usize>,
    /// Leave out real engines, Swarm mode too.
    #[arg(long)]
    hollow_only: bool,
}

/// One line of the result.
#[derive(Debug)]
struct Figure {
    what: &'static str,
    on: String,
    times: Vec<Duration>,
    /// How many runs of tasks ended that nobody had asked to end, in all rounds.
    disturbed: usize,
}

/// Measures everything and prints a table.
///
/// # Errors
/// When something does not come up, or does not recover at all.
pub(crate) async fn run(options: &Options) -> Result<()> {
    let mut figures = Vec::new();
    for count in &options.nodes {
        figures.extend(Box::pin(crowd::measure((*count).max(2), options.rounds)).await?);
        sweep::all().await?;
    }
    if !options.hollow_only {
        figures.extend(Box::pin(davit::measure(options.engine_rounds)).await?);
        sweep::all().await?;
        figures.extend(Box::pin(swarm::measure(options.engine_rounds)).await?);
        sweep::all().await?;
    }
    println!("\n{}", table(&figures));
    Ok(())
}

fn table(figures: &[Figure]) -> String {
    let mut table = "| what | on | n | median s | p99 s | worst s | tasks disturbed |\n".to_owned();
    table += "| --- | --- | ---: | ---: | ---: | ---: | ---: |\n";
    for Figure { what, on, times, disturbed } in figures {
        let mut times = times.clone();
        times.sort_unstable();
        let [median, p99, worst] = [50, 99, 100].map(|percent| quantile(&times, percent).as_secs_f64());
        let n = times.len();
        table += &format!("| {what} | {on} | {n} | {median:.2} | {p99:.2} | {worst:.2} | {disturbed} |\n");
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_is_a_row_with_its_quantiles() {
        let times = [3, 1, 2].map(Duration::from_secs).to_vec();
        let figure = Figure { what: "node killed", on: "3 nodes".to_owned(), times, disturbed: 7 };
        assert!(table(&[figure]).ends_with("| node killed | 3 nodes | 3 | 2.00 | 3.00 | 3.00 | 7 |\n"));
    }
}
