//! `davit node drain`: all tasks of a node move to others, and a person sees how far that is.

use std::io::{self, IsTerminal as _};
use std::time::Duration;

use clap::Args;
use davit_core::words::counted;
use davit_proto::v1;
use indicatif::ProgressBar;

use crate::client::{Manager, backoff, call, no_content};
use crate::commands::INTERRUPTED;
use crate::error::Error;
use crate::output::{Output, drain_line};
use crate::retry::{may_pass, wait_after};
use crate::{args, resolve};

/// The exit code of a drain that did not move every task: its deadline stopped some that fitted nowhere else, or the node went down.
const NOT_ALL_MOVED: u8 = 4;
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
        ended = until_over(manager, begun, &mut view) => ended?,
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
    let remarks = remarks(&ended);
    for remark in &remarks {
        output.note(remark);
    }
    super::print_changed(&[ended], output)?;
    Ok(if remarks.is_empty() { 0 } else { NOT_ALL_MOVED })
}

/// What a person has to know of a drain that did not move every task.
fn remarks(node: &v1::Node) -> Vec<String> {
    let Some(drain) = &node.drain else { return Vec::new() };
    let were = |count: u64| counted(count, "task was", "tasks were");
    let mut remarks = Vec::new();
    if drain.forced_count > 0 {
        remarks.push(format!(
            "The deadline passed: {} stopped without a place elsewhere. `davit ps` shows where they are.",
            were(drain.forced_count)
        ));
    }
    if drain.lost_count > 0 {
        remarks.push(format!(
            "The node went down: {} LOST with it. `davit ps` shows where they are.",
            were(drain.lost_count)
        ));
    }
    if drain.state() != v1::DrainState::Drained {
        let name = &node.name;
        remarks.push(format!(
            "Node {name} is DOWN: what it had may still run there. It is stopped once the node is back, which is called \
             drained then; `davit node rm {name}` forgets the node."
        ));
    }
    remarks
}

/// Whether nothing happens any more before the node is back: it is down, and the manager has given up all that it had.
fn is_cut_short(node: &v1::Node, drain: &v1::NodeDrain) -> bool {
    node.state() == v1::NodeState::Down && node.task_count == 0 && drain.moving_count == 0
}

/// Looks at a node until its drain is over, also past a manager that is away for a while.
async fn until_over(manager: &Manager, mut node: v1::Node, view: &mut View) -> Result<v1::Node, Error> {
    let mut backoff = backoff();
    let mut failures = 0;
    loop {
        let Some(drain) = &node.drain else {
            return Err(Error::failed(format!("the drain of node `{}` was cancelled", node.name)));
        };
        view.show(&node, drain);
        if drain.state() == v1::DrainState::Drained || is_cut_short(&node, drain) {
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
            Some(bar) => bar.set_message(self.output.live_message(&text)),
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

#[cfg(test)]
mod tests {
    use super::*;

    fn node(state: v1::NodeState, drain: v1::NodeDrain) -> v1::Node {
        v1::Node { name: "one".to_owned(), state: state.into(), drain: Some(drain), ..Default::default() }
    }

    #[test]
    fn a_drain_that_moved_every_task_needs_no_remark_and_any_other_says_what_became_of_them() {
        let drained = v1::NodeDrain { state: v1::DrainState::Drained.into(), moved_count: 9, ..Default::default() };
        assert_eq!(remarks(&node(v1::NodeState::Ready, drained.clone())), Vec::<String>::new());
        let forced = v1::NodeDrain { forced_count: 1, ..drained.clone() };
        let told = remarks(&node(v1::NodeState::Ready, forced));
        assert!(told.len() == 1 && told[0].starts_with("The deadline passed: 1 task was stopped"), "{told:?}");
        let lost = v1::NodeDrain { lost_count: 2, ..drained };
        let told = remarks(&node(v1::NodeState::Ready, lost.clone()));
        assert!(told.len() == 1 && told[0].starts_with("The node went down: 2 tasks were LOST"), "{told:?}");
        let told =
            remarks(&node(v1::NodeState::Down, v1::NodeDrain { state: v1::DrainState::Draining.into(), ..lost }));
        assert!(told.len() == 2 && told[1].contains("`davit node rm one`"), "{told:?}");
    }

    #[test]
    fn nobody_waits_for_a_node_that_is_down_and_given_up() {
        let cut_short = |state, task_count, moving_count| {
            let drain = v1::NodeDrain { moving_count, ..Default::default() };
            is_cut_short(&v1::Node { task_count, ..node(state, drain.clone()) }, &drain)
        };
        assert!(cut_short(v1::NodeState::Down, 0, 0));
        // The policy of a task may keep it there for a while, and what moves still has to run elsewhere.
        assert!(!cut_short(v1::NodeState::Down, 1, 0));
        assert!(!cut_short(v1::NodeState::Down, 0, 1));
        assert!(!cut_short(v1::NodeState::Ready, 0, 0));
    }
}
