//! `davit node drain`: all tasks of a node move to others, and a person sees how far that is.

use std::io::{self, IsTerminal as _};
use std::time::Duration;

use clap::Args;
use davit_proto::v1;
use indicatif::ProgressBar;

use crate::client::{Manager, backoff, call, no_content};
use crate::commands::INTERRUPTED;
use crate::error::Error;
use crate::output::{Output, drain_line};
use crate::retry::{may_pass, wait_after};
use crate::{args, resolve};

/// The exit code of a drain whose deadline stopped tasks that fitted nowhere else.
const FORCED: u8 = 4;
/// How often it is looked how far a drain is.
const LOOK_PERIOD: Duration = Duration::from_millis(500);
/// So many looks in a row may fail while the manager is away.
const TRIES_IN_ROW: u32 = 20;

/// Arguments of `davit node drain`.
#[derive(Debug, Args)]
pub struct DrainArgs {
    /// Stop what is left after so long, such as 10m: it waits then for a place elsewhere. Without it, what fits nowhere else
    /// stays until it does
    #[arg(long, value_name = "TIME", value_parser = args::duration)]
    deadline: Option<prost_types::Duration>,
    /// How many tasks are on the move at one time [default: 5]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    max_parallel: Option<u32>,
    /// Do not wait until it is drained
    #[arg(short, long)]
    detach: bool,
    /// End its drain instead. It stays cordoned
    #[arg(long, conflicts_with_all = ["deadline", "max_parallel", "detach"])]
    cancel: bool,
    /// The node
    #[arg(value_name = "NODE")]
    node: String,
}

pub(super) async fn run(manager: &Manager, args: &DrainArgs, output: &Output) -> Result<u8, Error> {
    let node = resolve::node(manager, &args.node).await?;
    let request = v1::DrainNodeRequest {
        node: node.node_id,
        max_parallel: args.max_parallel.unwrap_or_default(),
        deadline: args.deadline,
        cancel: args.cancel,
    };
    let answer = manager.nodes().drain_node(call(request)).await.map_err(|status| manager.error(status))?;
    let begun = answer.into_inner().node.ok_or_else(|| no_content("node"))?;
    if args.detach || args.cancel {
        return super::print_changed(&[begun], output).map(|()| 0);
    }
    let name = begun.name.clone();
    let mut view = View::new(output);
    let ended = tokio::select! {
        ended = until_drained(manager, begun, &mut view) => ended?,
        _ = tokio::signal::ctrl_c() => {
            view.clear();
            output.note(&format!(
                "The drain goes on. `davit node inspect {name}` shows how far it is, `davit node drain --cancel {name}` \
                 ends it."
            ));
            return Ok(INTERRUPTED);
        }
    };
    view.clear();
    let forced = ended.drain.as_ref().map_or(0, |drain| drain.forced_count);
    if forced > 0 {
        let what = if forced == 1 { "1 task was".to_owned() } else { format!("{forced} tasks were") };
        output.note(&format!(
            "The deadline passed: {what} stopped without a place elsewhere. `davit ps` shows where they are."
        ));
    }
    super::print_changed(&[ended], output)?;
    Ok(if forced > 0 { FORCED } else { 0 })
}

/// Looks at a node until it is drained, also past a manager that is away for a while.
async fn until_drained(manager: &Manager, mut node: v1::Node, view: &mut View) -> Result<v1::Node, Error> {
    let mut backoff = backoff();
    let mut failures = 0;
    loop {
        let Some(drain) = &node.drain else {
            return Err(Error::failed(format!("the drain of node `{}` was cancelled", node.name)));
        };
        view.show(&node, drain);
        if drain.state() == v1::DrainState::Drained {
            return Ok(node);
        }
        tokio::time::sleep(LOOK_PERIOD).await;
        let looked = manager.nodes().get_node(call(v1::GetNodeRequest { node: node.node_id.clone() })).await;
        match looked {
            Ok(answer) => {
                (failures, node) = (0, answer.into_inner().node.ok_or_else(|| no_content("node"))?);
                backoff.reset();
            }
            Err(status) if may_pass(&status) && failures < TRIES_IN_ROW => {
                failures += 1;
                tokio::time::sleep(wait_after(&status, backoff.next_delay())).await;
            }
            Err(status) => return Err(manager.error(status)),
        }
    }
}

/// Shows how far a drain is: one line that changes on a terminal, a line for each change elsewhere.
struct View {
    output: Output,
    bar: Option<ProgressBar>,
    said: String,
}

impl View {
    fn new(output: &Output) -> Self {
        let bar = io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new_spinner();
            bar.enable_steady_tick(Duration::from_millis(100));
            bar
        });
        Self { output: *output, bar, said: String::new() }
    }

    fn show(&mut self, node: &v1::Node, drain: &v1::NodeDrain) {
        let text = format!("{}: {}", node.name, drain_line(drain));
        if text == self.said {
            return;
        }
        match &self.bar {
            Some(bar) => bar.set_message(self.output.message(&text).into_owned()),
            None => self.output.note(&text),
        }
        self.said = text;
    }

    fn clear(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
            self.output.note(&self.said);
        }
    }
}

impl Drop for View {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
