//! What is to be measured.

use std::path::PathBuf;
use std::time::Duration;

use clap::ValueEnum;
use scheduler_svc::placement::Algorithm;
use scheduler_svc::placement::algorithms::{self, UnknownAlgorithm};
use serde::Serialize;

/// The axes of the grid.
const NODES: [u32; 4] = [100, 1_000, 5_000, 20_000];
const TASKS: [u32; 3] = [1_000, 100_000, 1_000_000];
const QUICK_NODES: [u32; 2] = [1_000, 5_000];
const QUICK_TASKS: [u32; 1] = [100_000];

/// How tasks differ from each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
pub(crate) enum Shapes {
    /// All alike
    #[serde(rename = "like")]
    Like,
    /// Of 100 shapes
    #[value(name = "100")]
    #[serde(rename = "100")]
    Hundred,
    /// No two alike
    #[serde(rename = "all")]
    All,
}

impl Shapes {
    const EACH: [Self; 3] = [Self::Like, Self::Hundred, Self::All];

    /// As the options call it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Like => "like",
            Self::Hundred => "100",
            Self::All => "all",
        }
    }
}

/// How the engine is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) enum Transport {
    /// The `Place` stream of a `davit-scheduler` process, over loopback.
    #[serde(rename = "grpc")]
    Grpc,
    /// Calls in this process.
    #[serde(rename = "in-process")]
    InProcess,
}

impl Transport {
    /// As reports call it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Grpc => "grpc",
            Self::InProcess => "in-process",
        }
    }
}

/// One measurement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cell {
    pub(crate) nodes: u32,
    pub(crate) tasks: u32,
    pub(crate) shapes: Shapes,
    pub(crate) algorithm: &'static str,
    pub(crate) constraints: bool,
    pub(crate) transport: Transport,
}

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Plan {
    /// Only how densely is packed.
    Quality,
    /// One cell alone.
    One(Cell),
    /// All of these, memory, and how densely is packed.
    Grid(Vec<Cell>),
}

/// Options of `scheduler`. With any of --nodes, --tasks, --shapes, --algorithm and --constraints one cell is measured
/// alone, otherwise all of them.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// How many nodes [default of a cell alone: 1000]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    nodes: Option<u32>,
    /// How many tasks [default of a cell alone: 100000]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    tasks: Option<u32>,
    /// How tasks differ [default of a cell alone: like]
    #[arg(long)]
    shapes: Option<Shapes>,
    /// Which algorithm scores nodes [default of a cell alone: spread]
    #[arg(long, value_parser = algorithm)]
    algorithm: Option<&'static str>,
    /// Tasks demand something that a third of the nodes have
    #[arg(long)]
    constraints: bool,
    /// Calls the engine in this process instead of through the gRPC stream; with the grid: only so
    #[arg(long)]
    in_process: bool,
    /// The grid's cells that the budgets are about, in less than two minutes
    #[arg(long)]
    quick: bool,
    /// Only how densely is packed, against first-fit-decreasing and dot-product packing
    #[arg(long)]
    quality: bool,
    /// Each cell this often; the fastest counts
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(crate) repeat: u32,
    /// Tasks in one batch
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) batch_size: u32,
    /// No further batch is sent after this time; the rate is that of what was placed [default: 60 for a cell alone, 3 each
    /// in the grid]
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    cap_seconds: Option<u64>,
    /// Decides on nodes, tasks and ties
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// The scheduler's program [default: davit-scheduler beside this one]
    #[arg(long, value_name = "FILE")]
    pub(crate) scheduler: Option<PathBuf>,
    /// Where the result is written [default: bench beside this program's folder]
    #[arg(long, value_name = "FOLDER")]
    output: Option<PathBuf>,
}

/// The algorithm of this name.
pub(crate) fn algorithm(name: &str) -> Result<&'static str, UnknownAlgorithm> {
    algorithms::find(name).map(Algorithm::name)
}

impl Options {
    /// What these options ask for.
    pub(crate) fn plan(&self) -> Plan {
        if self.quality {
            return Plan::Quality;
        }
        if self.is_one_cell() {
            return Plan::One(Cell {
                nodes: self.nodes.unwrap_or(1_000),
                tasks: self.tasks.unwrap_or(100_000),
                shapes: self.shapes.unwrap_or(Shapes::Like),
                algorithm: self.algorithm.unwrap_or(algorithms::DEFAULT.name()),
                constraints: self.constraints,
                transport: if self.in_process { Transport::InProcess } else { Transport::Grpc },
            });
        }
        Plan::Grid(self.grid())
    }

    fn grid(&self) -> Vec<Cell> {
        let (node_counts, task_counts) =
            if self.quick { (&QUICK_NODES[..], &QUICK_TASKS[..]) } else { (&NODES[..], &TASKS[..]) };
        let transports =
            if self.in_process { &[Transport::InProcess][..] } else { &[Transport::Grpc, Transport::InProcess] };
        let mut cells = Vec::new();
        for &transport in transports {
            for &nodes in node_counts {
                for &tasks in task_counts {
                    for shapes in Shapes::EACH {
                        for algorithm in algorithms::ALL.map(Algorithm::name) {
                            for constraints in [false, true] {
                                cells.push(Cell { nodes, tasks, shapes, algorithm, constraints, transport });
                            }
                        }
                    }
                }
            }
        }
        if self.quick {
            cells.retain(|cell| cell.constraints == (cell.shapes == Shapes::All));
        }
        cells
    }

    /// After how long no further batch is sent.
    pub(crate) fn cap(&self) -> Duration {
        let default = if self.is_one_cell() { 60 } else { 3 };
        Duration::from_secs(self.cap_seconds.unwrap_or(default))
    }

    fn is_one_cell(&self) -> bool {
        self.nodes.is_some()
            || self.tasks.is_some()
            || self.shapes.is_some()
            || self.algorithm.is_some()
            || self.constraints
    }

    /// Where the result is written.
    pub(crate) fn output_folder(&self) -> PathBuf {
        self.output.clone().unwrap_or_else(crate::report::file::usual_folder)
    }

    /// The scheduler's program.
    pub(crate) fn scheduler_program(&self) -> PathBuf {
        self.scheduler.clone().unwrap_or_else(|| beside().join("davit-scheduler"))
    }
}

/// The folder of this program.
pub(crate) fn beside() -> PathBuf {
    let program = std::env::current_exe().ok();
    program.and_then(|program| program.parent().map(PathBuf::from)).unwrap_or_else(|| PathBuf::from("."))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Alone {
        #[command(flatten)]
        options: Options,
    }

    fn plan(arguments: &[&str]) -> Plan {
        Alone::parse_from(["bench"].iter().chain(arguments)).options.plan()
    }

    #[test]
    fn any_parameter_of_a_cell_measures_one_alone() {
        let Plan::One(cell) = plan(&["--shapes", "100"]) else { panic!("not one cell") };
        assert_eq!((cell.nodes, cell.tasks, cell.algorithm), (1_000, 100_000, "spread"));
        assert_eq!((cell.shapes, cell.transport), (Shapes::Hundred, Transport::Grpc));
        let Plan::One(cell) = plan(&["--constraints", "--in-process"]) else { panic!("not one cell") };
        assert_eq!((cell.constraints, cell.transport), (true, Transport::InProcess));
    }

    #[test]
    fn without_parameters_the_whole_grid_is_measured_both_ways() {
        let Plan::Grid(cells) = plan(&[]) else { panic!("no grid") };
        assert_eq!(cells.len(), 4 * 3 * 3 * 6 * 2 * 2);
        let Plan::Grid(cells) = plan(&["--in-process"]) else { panic!("no grid") };
        assert!(cells.iter().all(|cell| cell.transport == Transport::InProcess));
    }

    #[test]
    fn the_quick_grid_holds_the_cells_of_the_budgets() {
        let Plan::Grid(cells) = plan(&["--quick"]) else { panic!("no grid") };
        let has = |nodes, shapes, constraints| {
            cells.iter().any(|cell| {
                (cell.nodes, cell.tasks, cell.shapes, cell.constraints) == (nodes, 100_000, shapes, constraints)
            })
        };
        assert!(has(1_000, Shapes::Like, false) && has(5_000, Shapes::All, true));
    }

    #[test]
    fn an_unknown_algorithm_is_refused() {
        assert!(Alone::try_parse_from(["bench", "--algorithm", "best"]).is_err());
    }
}
