//! `davit restart`: another attempt, now, and waits until it runs.

use std::collections::BTreeMap;

use clap::Args;
use davit_proto::v1;

use super::run::progress::Progress;
use super::{INTERRUPTED, now};
use crate::client::{Manager, call, no_content};
use crate::error::Error;
use crate::output::{KnownNodes, Output, detail, short_id, state_of, task_name, task_state};
use crate::{resolve, watch};

/// Arguments of `davit restart`.
#[derive(Debug, Args)]
pub struct RestartArgs {
    /// Do not wait until they run anew
    #[arg(short, long)]
    detach: bool,
    /// The tasks. Those that run are stopped first, those that have ended start again
    #[arg(required = true, value_name = "TASK")]
    tasks: Vec<String>,
}

pub(super) async fn run(manager: &Manager, args: &RestartArgs, output: &Output) -> Result<u8, Error> {
    let tasks = resolve::tasks_to_change(manager, &args.tasks).await?;
    let mut awaited: BTreeMap<String, u32> = BTreeMap::new();
    for task in &tasks {
        let request = v1::RestartTaskRequest { task_id: task.task_id.clone() };
        let answer = manager.tasks().restart_task(call(request)).await.map_err(|status| manager.error(status))?;
        let ordered = answer.into_inner().task.ok_or_else(|| no_content("task"))?;
        awaited.insert(task.task_id.clone(), next_attempt(&ordered));
    }
    if !args.detach {
        let nodes: KnownNodes = manager.list_nodes().await?.iter().collect();
        let mut progress = Progress::new(tasks.len(), nodes, output);
        let runs = |task: &v1::Task| awaited.get(&task.task_id).is_some_and(|attempt| runs_anew(task, *attempt));
        let waited = watch::until(manager, awaited.keys().cloned().collect(), runs, |task| progress.show(task));
        let watched = tokio::select! {
            watched = waited => watched?,
            _ = tokio::signal::ctrl_c() => {
                progress.clear();
                output.note("The tasks go on restarting; `davit ps` shows how far they are.");
                return Ok(INTERRUPTED);
            }
        };
        progress.clear();
        let problems = tasks.iter().filter_map(|task| {
            let is_gone = watched.is_deleted(&task.task_id);
            let (seen, attempt) = watched.tasks.get(&task.task_id).zip(awaited.get(&task.task_id))?;
            let problem = if is_gone { "it was deleted".to_owned() } else { outcome(seen, *attempt).err()? };
            Some(format!("task `{}` ({}) does not run anew: {problem}", task_name(task), short_id(&task.task_id)))
        });
        let problems: Vec<String> = problems.collect();
        if !problems.is_empty() {
            return Err(Error::failed(problems.join("\n")));
        }
    }
    super::print_tasks(manager, &tasks, output).await.map(|()| 0)
}

/// The attempt that is to come, of a task as it is right after the order: one that waits keeps its attempt.
fn next_attempt(ordered: &v1::Task) -> u32 {
    let is_next = state_of(ordered) == v1::TaskState::Pending;
    if is_next { ordered.attempt } else { ordered.attempt.saturating_add(1) }
}

fn runs_anew(task: &v1::Task, attempt: u32) -> bool {
    state_of(task) == v1::TaskState::Running && task.attempt >= attempt
}

/// How it went, of a task that runs anew or has ended. Inside: why it does not run.
fn outcome(task: &v1::Task, attempt: u32) -> Result<(), String> {
    match state_of(task) {
        // One that has done its work ran.
        v1::TaskState::Running | v1::TaskState::Completed if task.attempt >= attempt => Ok(()),
        _ => {
            let why = task.status.as_ref().map(|status| detail(status, now())).unwrap_or_default();
            let why = if why.is_empty() { why } else { format!(": {why}") };
            Err(format!("it ended {}{why}", task_state(task)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::test_support::{failed_task, running_task, task};

    fn waits(attempt: u32) -> v1::Task {
        v1::Task { attempt, ..task(1, "web", v1::TaskState::Pending) }
    }

    #[test]
    fn the_attempt_that_runs_already_is_not_the_new_one() {
        assert_eq!(next_attempt(&running_task()), 2);
        assert!(!runs_anew(&running_task(), 2));
        assert!(runs_anew(&v1::Task { attempt: 2, ..running_task() }, 2));
    }

    #[test]
    fn one_that_waits_comes_with_the_attempt_it_has() {
        assert_eq!(next_attempt(&waits(3)), 3);
        assert!(!runs_anew(&waits(3), 3));
    }

    #[test]
    fn one_that_ended_says_how() {
        let completed = |attempt| v1::Task { attempt, ..task(1, "web", v1::TaskState::Completed) };
        assert_eq!(outcome(&completed(2), 2), Ok(()));
        assert_eq!(outcome(&completed(1), 2), Err("it ended COMPLETED".into()));
        assert_eq!(outcome(&failed_task(), 2), Err("it ended FAILED: exited with code 3".into()));
    }
}
