//! `davit job logs`: what the tasks of a run wrote, index by index.

use clap::Args;
use davit_proto::v1;

use super::super::logs::{LogOptions, of_task};
use crate::args::Format;
use crate::client::Manager;
use crate::error::Error;
use crate::output::Output;

/// Arguments of `davit job logs`.
#[derive(Debug, Args)]
pub struct LogsArgs {
    /// Which run; the newest unless given
    #[arg(long, value_name = "RUN", value_parser = clap::value_parser!(u32).range(1..))]
    run: Option<u32>,
    /// Only this index; all that have a task unless given, one after the other
    #[arg(long, value_name = "INDEX")]
    index: Option<u32>,
    #[command(flatten)]
    options: LogOptions,
    /// The job, by name or id
    #[arg(value_name = "JOB")]
    job: String,
}

pub(super) async fn run(manager: &Manager, args: &LogsArgs, output: &Output) -> Result<(), Error> {
    let job = manager.get_job(&args.job).await?;
    let newest = job.runs.last().map(|run| run.run);
    let Some(run) = args.run.or(newest) else {
        return Err(Error::failed(format!("job `{}` has not run yet", args.job)));
    };
    let filter = v1::TaskFilter { job: job.job_id, ..Default::default() };
    let (tasks, _) = manager.list_tasks(filter).await?;
    let index = |task: &v1::Task| task.job.as_ref().map(|job| (job.run, job.index));
    let is_asked = |task: &v1::Task| {
        index(task).is_some_and(|(of, index)| of == run && args.index.is_none_or(|asked| asked == index))
    };
    let mut tasks: Vec<v1::Task> = tasks.into_iter().filter(is_asked).collect();
    tasks.sort_by_key(index);
    if tasks.is_empty() {
        let what = args.index.map(|index| format!("index {index} of ")).unwrap_or_default();
        let why = "it has not begun, or ended longer ago than the manager keeps tasks that have ended";
        return Err(Error::failed(format!("{what}run {run} of job `{}` has no task: {why}", args.job)));
    }
    let several = tasks.len() > 1 && output.format == Format::Table;
    for task in tasks {
        if several && let Some((_, index)) = index(&task) {
            output.note(&format!("index {index}:"));
        }
        match of_task(manager, &task, None, &args.options, output).await {
            // What waits for a node has written nothing; the others have.
            Err(error) if several => output.note(&format!("  {error}")),
            shown => shown?,
        }
    }
    Ok(())
}
