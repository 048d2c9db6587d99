//! `davit restart`: another attempt, now.

use clap::Args;
use davit_proto::v1;

use crate::client::{Manager, call};
use crate::error::Error;
use crate::output::Output;
use crate::resolve;

/// Arguments of `davit restart`.
#[derive(Debug, Args)]
pub struct RestartArgs {
    /// The tasks. Those that run are stopped first, those that have ended start again
    #[arg(required = true, value_name = "TASK")]
    tasks: Vec<String>,
}

pub(super) async fn run(manager: &Manager, args: &RestartArgs, output: &Output) -> Result<(), Error> {
    let tasks = resolve::tasks(manager, &args.tasks).await?;
    for task in &tasks {
        let request = v1::RestartTaskRequest { task_id: task.task_id.clone() };
        manager.tasks().restart_task(call(request)).await.map_err(|status| manager.error(status))?;
    }
    super::print_tasks(manager, &tasks, output).await
}
