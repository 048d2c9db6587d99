//! What the command line can do, one file a command.

pub mod app;
pub mod cluster;
pub mod completion;
pub mod config;
pub mod demo;
pub mod deployment;
pub mod dev;
pub mod events;
pub mod explain;
mod gone;
pub mod inspect;
pub mod job;
pub mod logs;
pub mod r#move;
pub mod node;
pub mod ps;
pub mod rebalance;
pub mod restart;
pub mod rm;
pub mod rollout;
pub mod run;
pub mod spec;
pub mod stop;
pub mod volume;

use davit_proto::convert::MAX_AUTHOR_BYTES;
use davit_proto::v1;
use davit_svc_kit::clock::{Clock as _, SystemClock};
use jiff::Timestamp;

use crate::args::{Cli, Command, Format};
use crate::client::Manager;
use crate::error::Error;
use crate::output::Output;

/// The exit code of a command that was interrupted, as shells have it: 128 + SIGINT.
pub const INTERRUPTED: u8 = 130;

/// Runs a command and tells the exit code.
///
/// # Errors
/// When it can't be done.
pub async fn run(cli: Cli, output: &Output) -> Result<u8, Error> {
    let connect = async || Manager::connect(&cli.global.manager, output).await;
    let done = |()| 0;
    match cli.command {
        // What needs no manager.
        Command::Completion(args) => completion::run(&args, output).map(done),
        Command::Dev(args) => dev::run(args, output).await,
        Command::Demo(args) => demo::run(args, output).await,
        Command::Run(args) => run::run(&connect().await?, *args, output).await,
        Command::Ps(args) => ps::run(&connect().await?, &args, output).await.map(done),
        Command::Logs(args) => logs::run(&connect().await?, &args, output).await.map(done),
        Command::Inspect(args) => inspect::run(&connect().await?, &args, output).await.map(done),
        Command::Stop(args) => stop::run(&connect().await?, &args, output).await,
        Command::Restart(args) => restart::run(&connect().await?, &args, output).await,
        Command::Rm(args) => rm::run(&connect().await?, &args, output).await.map(done),
        Command::Move(args) => r#move::run(&connect().await?, &args, output).await,
        Command::Explain(args) => explain::run(&connect().await?, args, output).await,
        Command::Rebalance(args) => rebalance::run(&connect().await?, &args, output).await,
        Command::Deployment(command) => deployment::run(&connect().await?, command, output).await,
        Command::Job(command) => job::run(&connect().await?, command, output).await,
        Command::Rollout(args) => rollout::run(&connect().await?, &args, output).await,
        Command::Plan(args) => app::plan(&connect().await?, args, output).await,
        Command::Up(args) => app::up(&connect().await?, args, output).await,
        Command::Down(args) => app::down(&connect().await?, args, output).await,
        Command::Apps { no_trunc } => app::list(&connect().await?, no_trunc, output).await.map(done),
        Command::Events(args) => events::run(&connect().await?, args, output).await.map(done),
        Command::Volume(command) => volume::run(&connect().await?, command, output).await.map(done),
        Command::Node(command) => node::run(&connect().await?, command, output).await,
        Command::Config(command) => config::config(&connect().await?, command, output).await.map(done),
        Command::Secret(command) => config::secret(&connect().await?, command, output).await.map(done),
        Command::Cluster => cluster::run(&connect().await?, output).await.map(done),
    }
}

/// The time now, against which ages are told.
fn now() -> Timestamp {
    SystemClock.now()
}

/// Who makes a version, as far as this machine knows.
fn author() -> String {
    let name = std::env::var("USER").or_else(|_| std::env::var("LOGNAME")).unwrap_or_default();
    // As many as fit into what the manager takes, whatever they are.
    name.chars().filter(|c| !c.is_control()).take(MAX_AUTHOR_BYTES / 4).collect()
}

/// Ids, one a line, for the next command of a script.
fn id_lines(tasks: &[v1::Task]) -> String {
    tasks.iter().map(|task| format!("{}\n", task.task_id)).collect()
}

/// The ids of tasks for people, the tasks as they are now for programs.
async fn print_tasks(manager: &Manager, tasks: &[v1::Task], output: &Output) -> Result<(), Error> {
    if output.format == Format::Table {
        return output.print(&id_lines(tasks));
    }
    let mut current = Vec::with_capacity(tasks.len());
    for task in tasks {
        current.push(manager.get_task(&task.task_id).await?);
    }
    output.list(&current, |_| String::new())
}
