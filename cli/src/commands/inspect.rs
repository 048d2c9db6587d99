//! `davit inspect`: all that is known of tasks or nodes.

use clap::Args;

use super::now;
use crate::args::Format;
use crate::client::Manager;
use crate::error::Error;
use crate::output::{self, KnownNodes, Output};
use crate::resolve::{self, Found};

/// Arguments of `davit inspect`.
#[derive(Debug, Args)]
pub struct InspectArgs {
    /// Tasks or nodes. Where a task and a node have the same name, the task is shown
    #[arg(required = true, value_name = "TASK|NODE")]
    things: Vec<String>,
}

pub(super) async fn run(manager: &Manager, args: &InspectArgs, output: &Output) -> Result<(), Error> {
    let mut found = Vec::new();
    for reference in &args.things {
        found.push(resolve::task_or_node(manager, reference).await?);
    }
    let mut nodes = KnownNodes::default();
    if output.format == Format::Table && found.iter().any(|each| matches!(each, Found::Task(_))) {
        nodes = manager.list_nodes().await?.iter().collect();
    }
    output.list(&found, |palette| {
        let one = |found: &Found| match found {
            Found::Task(task) => output::task(task, &nodes, now(), palette),
            Found::Node(node) => output::node(node, now(), palette),
        };
        found.iter().map(one).collect::<Vec<_>>().join("\n")
    })
}
