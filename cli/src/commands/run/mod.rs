//! `davit run`: creates tasks and, unless detached, stays with them until they have ended.

mod outcome;
pub(super) mod progress;

use clap::Args;
use clap::builder::NonEmptyStringValueParser;
use davit_proto::v1;

use self::progress::Progress;
use super::INTERRUPTED;
use super::spec::{PlacementArgs, SpecArgs, task_spec};
use crate::args::Format;
use crate::client::Manager;
use crate::error::Error;
use crate::output::{KnownNodes, Output, json_object, yaml_document};
use crate::watch;

/// As many ids of tasks that go on are named; more would hide the rest of the screen.
const NAMED_IDS: usize = 5;

/// Arguments of `davit run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// The image and the command's words; with --process only the command's
    #[arg(required = true, trailing_var_arg = true, value_name = "IMAGE [COMMAND]")]
    pub(super) words: Vec<String>,
    /// How many tasks of this kind
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    count: u32,
    /// Place all of --count at once, or none until there is room for all
    #[arg(long)]
    all_or_nothing: bool,
    /// Any text that is unique to these tasks: the same command with the same one, sent again however often, creates nothing
    /// more, and goes on with the tasks of the first time
    #[arg(long, value_name = "ID", value_parser = NonEmptyStringValueParser::new())]
    request_id: Option<String>,
    /// Only print the ids and do not stay with the tasks
    #[arg(short, long)]
    detach: bool,
    /// What is run.
    #[command(flatten)]
    pub(super) spec: SpecArgs,
    /// Where it goes.
    #[command(flatten)]
    pub(super) placement: PlacementArgs,
}

pub(super) async fn run(manager: &Manager, args: RunArgs, output: &Output) -> Result<u8, Error> {
    let spec = task_spec(args.spec, args.placement, args.words, |key| std::env::var(key).ok())?;
    let group = v1::TaskGroup { spec: Some(spec), count: Some(args.count), all_or_nothing: args.all_or_nothing };
    let created = manager.create(vec![group], args.request_id).await?;
    if args.detach {
        let text = match output.format {
            Format::Table => created.task_ids.iter().map(|task_id| format!("{task_id}\n")).collect(),
            Format::Json => json_object(&created)?,
            Format::Yaml => yaml_document(&created)?,
        };
        return output.print(&text).map(|()| 0);
    }
    let task_ids = created.task_ids;
    let nodes: KnownNodes = manager.list_nodes().await?.iter().collect();
    let mut progress = Progress::new(task_ids.len(), nodes, output);
    let waited = watch::until_ended(manager, task_ids.clone(), |task| progress.show(task));
    let watched = tokio::select! {
        watched = waited => watched,
        _ = tokio::signal::ctrl_c() => {
            progress.clear();
            output.note(&going_on(&task_ids));
            return Ok(INTERRUPTED);
        }
    };
    progress.clear();
    let watched = match watched {
        Ok(watched) => watched,
        Err(error) => {
            output.note(&going_on(&task_ids));
            return Err(error);
        }
    };
    // In the order of creation, which is that of their ids.
    let tasks: Vec<v1::Task> = watched.tasks.into_values().collect();
    match output.format {
        Format::Table => output.note(&outcome::summary(&tasks)),
        Format::Json | Format::Yaml => output.list(&tasks, |_| String::new())?,
    }
    Ok(outcome::exit_code(&tasks))
}

/// What a person must know who no longer watches.
fn going_on(task_ids: &[String]) -> String {
    let these = if task_ids.len() == 1 { "The task goes on" } else { "The tasks go on" };
    let mut named = task_ids.iter().take(NAMED_IDS).cloned().collect::<Vec<_>>().join(" ");
    if task_ids.len() > NAMED_IDS {
        named.push_str(" …");
    }
    format!("{these}. Look with `davit ps`, stop with: davit stop {named}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_goes_away_is_told_how_to_stop_what_goes_on() {
        let ids = |count: usize| (0..count).map(|number| number.to_string()).collect::<Vec<_>>();
        assert_eq!(going_on(&ids(1)), "The task goes on. Look with `davit ps`, stop with: davit stop 0");
        assert!(going_on(&ids(7)).ends_with("davit stop 0 1 2 3 4 …"));
    }
}
