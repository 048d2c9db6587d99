//! `davit run`: creates tasks and, unless detached, stays with them until they have ended.

mod outcome;
pub(super) mod progress;
mod spec;

use clap::{Args, ValueEnum};
use davit_proto::v1;

use self::progress::Progress;
use super::INTERRUPTED;
use crate::args::{Format, bytes, cpus, duration, key_value};
use crate::client::Manager;
use crate::error::Error;
use crate::output::{NodeNames, Output, json_object, yaml_document};
use crate::watch;

/// As many ids of tasks that go on are named; more would hide the rest of the screen.
const NAMED_IDS: usize = 5;

/// Arguments of `davit run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// Name of the tasks; made from the image or program unless given
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// How many tasks of this kind
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    count: u32,
    /// Set an environment variable; KEY alone takes the value it has here. May be repeated
    #[arg(short, long, value_name = "KEY=VALUE")]
    env: Vec<String>,
    /// Publish a port of the container, on a free port of the node unless given. May be repeated
    #[arg(short, long, value_name = "[HOST:]CONTAINER[/udp]", value_parser = spec::port, conflicts_with = "process")]
    publish: Vec<v1::Port>,
    /// Cores, such as 0.5: set aside on the node, and the most it gets
    #[arg(long, value_name = "CORES", value_parser = cpus)]
    cpus: Option<u64>,
    /// Memory, such as 512m: set aside on the node, and the limit at which it is killed
    #[arg(long, value_name = "BYTES", value_parser = bytes)]
    memory: Option<u64>,
    /// What the node must be, such as 'disk == ssd' or 'node.arch in (x86_64, aarch64)'. May be repeated
    #[arg(long, value_name = "EXPRESSION")]
    constraint: Vec<String>,
    /// When it runs again after it ended: never, on-failure, on-failure:MAX (at most MAX attempts in all), always
    #[arg(long, value_name = "POLICY", value_parser = spec::restart, default_value = "never")]
    restart: v1::RestartPolicy,
    /// Set a label. May be repeated
    #[arg(short, long, value_name = "KEY=VALUE", value_parser = key_value)]
    label: Vec<(String, String)>,
    /// Mount an absolute path of the node, or a named volume. May be repeated
    #[arg(short = 'v', long, value_name = "SRC:DST[:ro]", value_parser = spec::mount, conflicts_with = "process")]
    mount: Vec<v1::Mount>,
    /// User, and optionally group, that runs it
    #[arg(short, long, value_name = "USER[:GROUP]", conflicts_with = "process")]
    user: Option<String>,
    /// Working directory
    #[arg(short, long, value_name = "PATH")]
    workdir: Option<String>,
    /// Replace the image's entrypoint
    #[arg(long, value_name = "PROGRAM", conflicts_with = "process")]
    entrypoint: Option<String>,
    /// When the image is pulled
    #[arg(long, value_enum, value_name = "WHEN", default_value_t = Pull::Missing, conflicts_with = "process")]
    pull: Pull,
    /// Signal that stops it; what the image says, else SIGTERM, unless given
    #[arg(long, value_name = "SIGNAL")]
    stop_signal: Option<String>,
    /// Time between that signal and the kill, such as 30s; 10s unless given
    #[arg(long, value_name = "TIME", value_parser = duration)]
    stop_grace: Option<prost_types::Duration>,
    /// Run a plain process instead of a container: all words are its command
    #[arg(long)]
    process: bool,
    /// Only print the ids and do not stay with the tasks
    #[arg(short, long)]
    detach: bool,
    /// The image and the command's words; with --process only the command's
    #[arg(required = true, trailing_var_arg = true, value_name = "IMAGE [COMMAND]")]
    words: Vec<String>,
}

/// When an image is pulled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Pull {
    /// When it is not on the node
    Missing,
    /// Before every start
    Always,
    /// Never
    Never,
}

pub(super) async fn run(manager: &Manager, args: RunArgs, output: &Output) -> Result<u8, Error> {
    let (count, detach) = (args.count, args.detach);
    let spec = spec::task_spec(args, |key| std::env::var(key).ok())?;
    let created = manager.create(vec![v1::TaskGroup { spec: Some(spec), count: Some(count) }]).await?;
    if detach {
        let text = match output.format {
            Format::Table => created.task_ids.iter().map(|task_id| format!("{task_id}\n")).collect(),
            Format::Json => json_object(&created)?,
            Format::Yaml => yaml_document(&created)?,
        };
        return output.print(&text).map(|()| 0);
    }
    let task_ids = created.task_ids;
    let nodes: NodeNames = manager.list_nodes().await?.iter().collect();
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
