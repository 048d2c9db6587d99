//! `davit rm`: deletes tasks.

use clap::Args;
use davit_proto::v1;

use crate::args::Format;
use crate::client::{Manager, call};
use crate::error::Error;
use crate::output::{Output, has_ended, state_of, task_name, task_state};
use crate::resolve;

/// Arguments of `davit rm`.
#[derive(Debug, Args)]
pub struct RmArgs {
    /// Stop those that have not ended; they vanish when they have
    #[arg(short, long)]
    force: bool,
    /// The tasks
    #[arg(required = true, value_name = "TASK")]
    tasks: Vec<String>,
}

pub(super) async fn run(manager: &Manager, args: &RmArgs, output: &Output) -> Result<(), Error> {
    let tasks = resolve::tasks_to_change(manager, &args.tasks).await?;
    if let Some(task) = tasks.iter().find(|task| !args.force && !has_ended(state_of(task))) {
        // Before anything is deleted, and with the way out.
        let (name, state) = (task_name(task), task_state(task));
        return Err(Error::failed(format!(
            "task `{name}` ({}) is {state}; stop it first, or use --force",
            task.task_id
        )));
    }
    for task in &tasks {
        let request = v1::DeleteTaskRequest { task_id: task.task_id.clone(), force: args.force };
        manager.tasks().delete_task(call(request)).await.map_err(|status| manager.error(status))?;
    }
    match output.format {
        Format::Table => output.print(&super::id_lines(&tasks)),
        // As they were: there may be nothing left to ask for.
        Format::Json | Format::Yaml => output.list(&tasks, |_| String::new()),
    }
}
