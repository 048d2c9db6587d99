//! `davit stop`: stops tasks and waits for their end.

use clap::Args;
use davit_proto::v1;
use tonic::Code;

use super::INTERRUPTED;
use super::run::progress::Progress;
use crate::client::{Manager, call};
use crate::error::Error;
use crate::output::{KnownNodes, Output, has_ended, state_of, task_name, task_state};
use crate::{resolve, watch};

/// Arguments of `davit stop`.
#[derive(Debug, Args)]
pub struct StopArgs {
    /// Do not wait until they ended
    #[arg(short, long)]
    detach: bool,
    /// The tasks
    #[arg(required = true, value_name = "TASK")]
    tasks: Vec<String>,
}

pub(super) async fn run(manager: &Manager, args: &StopArgs, output: &Output) -> Result<u8, Error> {
    let tasks = resolve::tasks_to_change(manager, &args.tasks).await?;
    if let Some(task) = tasks.iter().find(|task| has_ended(state_of(task))) {
        // Before anything is stopped: all or none.
        let (name, state) = (task_name(task), task_state(task));
        return Err(Error::failed(format!("task `{name}` ({}) has ended already: it is {state}", task.task_id)));
    }
    let mut stopping = Vec::new();
    for task in &tasks {
        let request = v1::StopTaskRequest { task_id: task.task_id.clone() };
        match manager.tasks().stop_task(call(request)).await {
            Ok(_) => stopping.push(task.task_id.clone()),
            // It ended by itself in between, which is what was asked for.
            Err(status) if status.code() == Code::FailedPrecondition => {}
            Err(status) => return Err(manager.error(status)),
        }
    }
    if !args.detach && !stopping.is_empty() {
        let nodes: KnownNodes = manager.list_nodes().await?.iter().collect();
        let mut progress = Progress::new(stopping.len(), nodes, output);
        let waited = watch::until_ended(manager, stopping, |task| progress.show(task));
        tokio::select! {
            watched = waited => watched?,
            _ = tokio::signal::ctrl_c() => {
                progress.clear();
                output.note("The tasks go on stopping; `davit ps` shows how far they are.");
                return Ok(INTERRUPTED);
            }
        };
        progress.clear();
    }
    super::print_tasks(manager, &tasks, output).await?;
    Ok(0)
}
