//! `davit job logs --follow`: what the tasks of a run write, until the run has ended.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use davit_proto::v1;
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use tokio::time::Instant;

use super::super::gone::is_gone;
use super::super::logs::{Written, of_attempt};
use super::logs::{LogsArgs, label, past_attempts, tasks_of};
use crate::client::Manager;
use crate::error::Error;
use crate::output::Output;

/// So many outputs are read at one time; others wait until one of them has ended, and are read from their beginning.
const AT_ONCE: usize = 16;
/// How long after a look at the run the next one is taken, at least.
const LOOK: Duration = Duration::from_millis(300);
/// Looks at a run of many tasks take a while: of the time, only one part in so many is spent with them.
const LOOK_SHARE: u32 = 5;

/// What is known of a run whose output is followed.
#[derive(Debug, Default)]
struct Followed {
    /// The attempts that are read or were, by index and number.
    known: BTreeSet<(u32, u32)>,
    waiting: VecDeque<Written>,
    /// Several indexes write at one time, so each line says whose it is.
    several: bool,
    /// Nothing new comes.
    has_ended: bool,
}

impl Followed {
    /// Takes in the run as it was, and its tasks as they were after that. A run that is gone has ended.
    fn see(&mut self, run: Option<&v1::JobRun>, index: Option<u32>, tasks: &[(u32, v1::Task)]) {
        self.several = index.is_none() && run.is_none_or(|run| run.completions > 1);
        self.has_ended =
            run.is_none_or(|run| run.finish_time.is_some() || index.is_some_and(|index| is_over(run, index)));
        for (index, task) in tasks {
            let current = task.status.as_ref().is_some_and(writes).then_some(task.attempt);
            for attempt in past_attempts(task).into_iter().chain(current) {
                if self.known.insert((*index, attempt)) {
                    let label = self.several.then(|| label(*index, attempt));
                    self.waiting.push_back(Written { task_id: task.task_id.clone(), attempt, label });
                }
            }
        }
    }

    /// How many are read at one time: attempts of a single index come one after the other.
    fn at_once(&self) -> usize {
        if self.several { AT_ONCE } else { 1 }
    }
}

/// Whether an attempt may write something now, or did. One that waits to do so would keep others from being read.
fn writes(status: &v1::TaskStatus) -> bool {
    use v1::TaskState::{Pending, Preparing, Scheduled, Unspecified};
    !status.node_id.is_empty() && ![Unspecified, Pending, Scheduled, Preparing].contains(&status.state())
}

/// Whether an index of a run runs no more.
fn is_over(run: &v1::JobRun, index: u32) -> bool {
    let ranges = [&run.completed, &run.failed, &run.stopped];
    ranges.into_iter().flatten().any(|range| (range.first..=range.last).contains(&index))
}

/// Shows what the tasks of a run write until it has ended. Whether any task did.
pub(super) async fn follow(
    manager: &Manager,
    job_id: &str,
    run: u32,
    args: &LogsArgs,
    output: &Output,
) -> Result<bool, Error> {
    let show = async |written: Written| {
        if written.label.is_none() && written.attempt > 1 {
            output.note(&format!("attempt {}:", written.attempt));
        }
        match of_attempt(manager, &written, &args.options, output).await {
            Err(Error::OutputClosed) => Err(Error::OutputClosed),
            // The others go on.
            Err(error) => {
                let label = written.label.unwrap_or_else(|| format!("attempt {}", written.attempt));
                output.note(&format!("{label}: {error}"));
                Ok(false)
            }
            Ok(()) => Ok(true),
        }
    };
    let mut any_is_shown = false;
    let mut followed = Followed::default();
    let mut reading = FuturesUnordered::new();
    let next_look = tokio::time::sleep(Duration::ZERO);
    tokio::pin!(next_look);
    loop {
        tokio::select! {
            () = &mut next_look, if !followed.has_ended => {
                let began = Instant::now();
                look(manager, job_id, run, args.index, &mut followed).await?;
                let wait = LOOK.max(began.elapsed() * (LOOK_SHARE - 1));
                next_look.as_mut().reset(Instant::now() + wait);
            }
            Some(shown) = reading.next() => any_is_shown |= shown?,
        }
        while reading.len() < followed.at_once()
            && let Some(written) = followed.waiting.pop_front()
        {
            reading.push(show(written));
        }
        if followed.has_ended && reading.is_empty() {
            return match followed.known.is_empty() {
                false if !any_is_shown => Err(Error::failed("none of its output could be read")),
                is_empty => Ok(!is_empty),
            };
        }
    }
}

/// Looks at the run first: when it had ended before, its tasks were all there were.
async fn look(
    manager: &Manager,
    job_id: &str,
    run: u32,
    index: Option<u32>,
    followed: &mut Followed,
) -> Result<(), Error> {
    let runs = match manager.get_job(job_id).await {
        Ok(job) => job.runs,
        Err(error) if is_gone(&error) => Vec::new(),
        Err(error) => return Err(error),
    };
    let found = runs.iter().find(|known| known.run == run);
    let tasks = match tasks_of(manager, job_id, run, index).await {
        Err(error) if is_gone(&error) => Vec::new(),
        tasks => tasks?,
    };
    followed.see(found, index, &tasks);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(completed: &[(u32, u32)]) -> v1::JobRun {
        let range = |(first, last): &(u32, u32)| v1::IndexRange { first: *first, last: *last };
        v1::JobRun { completions: 3, completed: completed.iter().map(range).collect(), ..Default::default() }
    }

    fn task(index: u32, attempt: u32, state: v1::TaskState) -> (u32, v1::Task) {
        let on_node = |state: v1::TaskState| {
            Some(v1::TaskStatus { state: state.into(), node_id: "n".to_owned(), ..Default::default() })
        };
        let past = |attempt| v1::TaskAttempt { attempt, status: on_node(v1::TaskState::Failed) };
        let task = v1::Task {
            task_id: format!("t{index}"),
            attempt,
            status: on_node(state),
            past_attempts: (1..attempt).map(past).collect(),
            ..Default::default()
        };
        (index, task)
    }

    fn labels(followed: &mut Followed) -> Vec<String> {
        followed.waiting.drain(..).map(|written| written.label.unwrap_or_default()).collect()
    }

    #[test]
    fn each_attempt_is_read_once_when_it_writes() {
        use v1::TaskState::{Completed, Pending, Running};
        let mut followed = Followed::default();
        followed.see(Some(&run(&[])), None, &[task(0, 1, Running), task(1, 2, Pending)]);
        assert_eq!(labels(&mut followed), ["index 0", "index 1"], "the second attempt has not begun");
        followed.see(Some(&run(&[(0, 0)])), None, &[task(0, 1, Completed), task(1, 2, Running), task(2, 1, Running)]);
        assert_eq!(labels(&mut followed), ["index 1, attempt 2", "index 2"]);
        assert!(!followed.has_ended);
        let ended = v1::JobRun { finish_time: Some(prost_types::Timestamp::default()), ..run(&[(0, 2)]) };
        followed.see(Some(&ended), None, &[task(2, 1, Completed)]);
        assert!(followed.has_ended && followed.waiting.is_empty());
    }

    #[test]
    fn one_index_is_read_attempt_by_attempt_until_it_is_over() {
        let mut followed = Followed::default();
        followed.see(Some(&run(&[(0, 1)])), Some(2), &[task(2, 3, v1::TaskState::Running)]);
        assert_eq!((followed.at_once(), followed.has_ended), (1, false));
        let attempts: Vec<u32> = followed.waiting.iter().map(|written| written.attempt).collect();
        assert_eq!(attempts, [1, 2, 3]);
        assert!(followed.waiting.iter().all(|written| written.label.is_none()));
        followed.see(Some(&run(&[(0, 2)])), Some(2), &[]);
        assert!(followed.has_ended);
        followed.see(None, Some(2), &[]);
        assert!(followed.has_ended, "a run that is gone");
    }
}
