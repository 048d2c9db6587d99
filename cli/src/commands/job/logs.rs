//! `davit job logs`: what the tasks of a run wrote.

use clap::Args;
use davit_proto::v1;

use super::super::logs::{LogOptions, Written, of_attempt};
use super::follow_logs::follow;
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
    /// Only this index; all that have a task unless given
    #[arg(long, value_name = "INDEX")]
    pub(super) index: Option<u32>,
    #[command(flatten)]
    pub(super) options: LogOptions,
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
    let found = if args.options.follow {
        follow(manager, &job.job_id, run, args, output).await?
    } else {
        one_after_the_other(manager, &job.job_id, run, args, output).await?
    };
    if found {
        return Ok(());
    }
    let what = args.index.map(|index| format!("index {index} of ")).unwrap_or_default();
    let why = "it has not begun, or ended longer ago than the manager keeps tasks that have ended";
    Err(Error::failed(format!("{what}run {run} of job `{}` has no task: {why}", args.job)))
}

/// Shows what is there, index by index, each attempt. Whether there is any task.
async fn one_after_the_other(
    manager: &Manager,
    job_id: &str,
    run: u32,
    args: &LogsArgs,
    output: &Output,
) -> Result<bool, Error> {
    let tasks = tasks_of(manager, job_id, run, args.index).await?;
    let outputs: Vec<(u32, Written)> = tasks
        .iter()
        .flat_map(|(index, task)| {
            let past = past_attempts(task).into_iter();
            let written = |attempt| (*index, Written { task_id: task.task_id.clone(), attempt, label: None });
            past.chain([task.attempt]).map(written)
        })
        .collect();
    let several = outputs.len() > 1 && output.format == Format::Table;
    for (index, written) in &outputs {
        if several {
            output.note(&format!("{}:", label(*index, written.attempt)));
        }
        match of_attempt(manager, written, &args.options, output).await {
            Err(Error::OutputClosed) => return Err(Error::OutputClosed),
            // What waits for a node has written nothing, and what is kept no more is lost; the others are there.
            Err(error) if several => output.note(&format!("  {error}")),
            shown => shown?,
        }
    }
    Ok(!outputs.is_empty())
}

/// The tasks of a run, or of one of its indexes, with their indexes, in that order.
pub(super) async fn tasks_of(
    manager: &Manager,
    job_id: &str,
    run: u32,
    index: Option<u32>,
) -> Result<Vec<(u32, v1::Task)>, Error> {
    let filter = v1::TaskFilter { job: job_id.to_owned(), ..Default::default() };
    let (tasks, _) = manager.list_tasks(filter).await?;
    let with_index = |task: v1::Task| {
        let place = task.job.as_ref().filter(|job| job.run == run && index.is_none_or(|index| index == job.index))?;
        Some((place.index, task))
    };
    let mut tasks: Vec<(u32, v1::Task)> = tasks.into_iter().filter_map(with_index).collect();
    tasks.sort_by_key(|(index, _)| *index);
    Ok(tasks)
}

/// The attempts before the current one that may have written something, oldest first: those that the manager still knows of.
pub(super) fn past_attempts(task: &v1::Task) -> Vec<u32> {
    let on_a_node = |past: &&v1::TaskAttempt| past.status.as_ref().is_some_and(|status| !status.node_id.is_empty());
    task.past_attempts.iter().filter(on_a_node).map(|past| past.attempt).collect()
}

/// Whose output it is. Most indexes have one attempt.
pub(super) fn label(index: u32, attempt: u32) -> String {
    if attempt > 1 { format!("index {index}, attempt {attempt}") } else { format!("index {index}") }
}
