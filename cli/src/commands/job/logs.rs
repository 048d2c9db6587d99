//! `davit job logs`: what the tasks of a run wrote, or with `--follow` write until it has ended.

use clap::Args;
use davit_proto::v1;

use super::super::gone::is_gone;
use super::super::logs::{Found, LogOptions, Written, follow, one_after_the_other};
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
    let found = if args.options.follow {
        let look = async || look(manager, &job.job_id, run, args.index).await;
        follow(manager, look, &args.options, output).await?
    } else {
        let outputs = outputs_of(&tasks_of(manager, &job.job_id, run, args.index).await?);
        // One after the other, and nothing but what was written: whose it is stands before each.
        let found = Found { outputs, several: false, has_ended: true };
        one_after_the_other(manager, found, &args.options, output).await?
    };
    if found {
        return Ok(());
    }
    let what = args.index.map(|index| format!("index {index} of ")).unwrap_or_default();
    let why = "it has not begun, or ended longer ago than the manager keeps tasks that have ended";
    Err(Error::failed(format!("{what}run {run} of job `{}` has no task: {why}", args.job)))
}

/// Looks at the run first: when it had ended before, its tasks were all there were.
async fn look(manager: &Manager, job_id: &str, run: u32, index: Option<u32>) -> Result<Found, Error> {
    let runs = match manager.get_job(job_id).await {
        Ok(job) => job.runs,
        Err(error) if is_gone(&error) => Vec::new(),
        Err(error) => return Err(error),
    };
    let tasks = match tasks_of(manager, job_id, run, index).await {
        Err(error) if is_gone(&error) => Vec::new(),
        tasks => tasks?,
    };
    Ok(found(runs.iter().find(|known| known.run == run), index, &tasks))
}

/// What there is of a run as it was, and its tasks as they were after that. A run that is gone has ended.
fn found(run: Option<&v1::JobRun>, index: Option<u32>, tasks: &[(u32, v1::Task)]) -> Found {
    let has_ended = |run: &v1::JobRun| run.finish_time.is_some() || index.is_some_and(|index| is_over(run, index));
    Found {
        outputs: outputs_of(tasks),
        several: index.is_none() && run.is_none_or(|run| run.completions > 1),
        has_ended: run.is_none_or(has_ended),
    }
}

/// Whether an index of a run runs no more.
fn is_over(run: &v1::JobRun, index: u32) -> bool {
    let ranges = [&run.completed, &run.failed, &run.stopped];
    ranges.into_iter().flatten().any(|range| (range.first..=range.last).contains(&index))
}

/// Index by index, each attempt.
fn outputs_of(tasks: &[(u32, v1::Task)]) -> Vec<Written> {
    tasks.iter().flat_map(|(index, task)| Written::of_task(task, &format!("index {index}"))).collect()
}

/// The tasks of a run, or of one of its indexes, with their indexes, in that order.
async fn tasks_of(
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::test_support::{failed_task, running_task};

    fn run(completed: &[(u32, u32)]) -> v1::JobRun {
        let range = |(first, last): &(u32, u32)| v1::IndexRange { first: *first, last: *last };
        v1::JobRun { completions: 3, completed: completed.iter().map(range).collect(), ..Default::default() }
    }

    #[test]
    fn outputs_are_told_index_by_index_until_the_run_has_ended() {
        let tasks = [(0, running_task()), (1, failed_task())];
        let goes_on = found(Some(&run(&[])), None, &tasks);
        let labels: Vec<_> = goes_on.outputs.iter().map(Written::label).collect();
        assert_eq!(labels, ["index 0", "index 1", "index 1, attempt 2"]);
        assert!(goes_on.several && !goes_on.has_ended);
        let ended = v1::JobRun { finish_time: Some(prost_types::Timestamp::default()), ..run(&[(0, 2)]) };
        assert!(found(Some(&ended), None, &tasks).has_ended);
        assert!(found(None, None, &[]).has_ended, "a run that is gone");
    }

    #[test]
    fn one_index_needs_no_labels_and_is_followed_until_it_is_over() {
        let of_index = |run: Option<&v1::JobRun>| found(run, Some(2), &[]);
        let goes_on = of_index(Some(&run(&[(0, 1)])));
        assert!(!goes_on.several && !goes_on.has_ended);
        assert!(of_index(Some(&run(&[(0, 2)]))).has_ended && of_index(None).has_ended);
        let single = v1::JobRun { completions: 1, ..run(&[]) };
        assert!(!found(Some(&single), None, &[]).several, "a run of one index");
    }
}
