//! `davit ps`: which tasks there are.

use clap::Args;
use davit_proto::v1;

use super::{id_lines, now};
use crate::args::{Format, key_value};
use crate::client::Manager;
use crate::error::Error;
use crate::output::{KnownNodes, Output, TasksView, has_ended, state_short_name, tasks_table};
use crate::resolve;

/// Arguments of `davit ps`.
#[derive(Debug, Args)]
pub struct PsArgs {
    /// Show ended tasks too
    #[arg(short, long)]
    all: bool,
    /// Only tasks in this state; may be repeated
    #[arg(long, value_name = "STATE", value_parser = state)]
    state: Vec<v1::TaskState>,
    /// Only tasks on this node, by name or id
    #[arg(long, value_name = "NODE")]
    node: Option<String>,
    /// Only tasks with this label; may be repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = key_value)]
    label: Vec<(String, String)>,
    /// Only tasks with exactly this name
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Only tasks of this deployment, by name or id, with their slots and versions
    #[arg(long, value_name = "DEPLOYMENT")]
    deployment: Option<String>,
    /// Only tasks of this job, by name or id
    #[arg(long, value_name = "JOB")]
    job: Option<String>,
    /// Show whole details
    #[arg(long)]
    no_trunc: bool,
    /// Show only ids
    #[arg(short, long)]
    quiet: bool,
}

impl PsArgs {
    fn filter(&self) -> v1::TaskFilter {
        let mut states = self.state.clone();
        if states.is_empty() && !self.all {
            states = all_states().filter(|state| !has_ended(*state)).collect();
        }
        v1::TaskFilter {
            states: states.into_iter().map(i32::from).collect(),
            node: self.node.clone().unwrap_or_default(),
            labels: self.label.iter().cloned().collect(),
            name: self.name.clone().unwrap_or_default(),
            deployment: self.deployment.clone().unwrap_or_default(),
            job: self.job.clone().unwrap_or_default(),
            ..Default::default()
        }
    }
}

pub(super) async fn run(manager: &Manager, args: &PsArgs, output: &Output) -> Result<(), Error> {
    let mut filter = args.filter();
    if let Some(reference) = &args.node {
        filter.node = resolve::node(manager, reference).await?.node_id;
    }
    let (tasks, _) = manager.list_tasks(filter).await?;
    if args.quiet {
        return output.print(&id_lines(&tasks));
    }
    let mut nodes = KnownNodes::default();
    let mut deployment = None;
    if output.format == Format::Table && !tasks.is_empty() {
        nodes = manager.list_nodes().await?.iter().collect();
        if let Some(name) = &args.deployment {
            deployment = Some(manager.get_deployment(name).await?);
        }
    }
    let view = TasksView { whole_details: args.no_trunc, deployment: deployment.as_ref() };
    output.list(&tasks, |palette| tasks_table(&tasks, &nodes, now(), view, palette))
}

fn all_states() -> impl Iterator<Item = v1::TaskState> {
    (1..).map_while(|number| v1::TaskState::try_from(number).ok())
}

fn state(text: &str) -> Result<v1::TaskState, String> {
    all_states().find(|state| state_short_name(*state).eq_ignore_ascii_case(text)).ok_or_else(|| {
        let names: Vec<_> = all_states().map(|state| state_short_name(state).to_lowercase()).collect();
        format!("use one of {}", names.join(", "))
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::args::{Cli, Command};

    fn filter(line: &[&str]) -> v1::TaskFilter {
        let cli = Cli::try_parse_from(["davit", "ps"].iter().chain(line)).unwrap();
        let Command::Ps(args) = cli.command else { panic!("{line:?}") };
        args.filter()
    }

    #[test]
    fn ended_tasks_are_shown_only_when_asked_for() {
        assert_eq!(filter(&[]).states, [1, 2, 3, 4, 5]);
        assert_eq!(filter(&["-a"]).states, [0i32; 0]);
        assert_eq!(filter(&["--state", "Failed", "--state", "lost"]).states, [7, 9]);
    }

    #[test]
    fn every_filter_arrives() {
        let filter = filter(&["--node", "one", "--label", "a=b", "--label", "c=d", "--name", "web"]);
        assert_eq!((filter.node.as_str(), filter.name.as_str(), filter.labels.len()), ("one", "web", 2));
    }

    #[test]
    fn an_unknown_state_is_answered_with_those_there_are() {
        assert!(state("up").unwrap_err().starts_with("use one of pending, scheduled,"));
    }
}
