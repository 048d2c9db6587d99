//! How runs end, and how long they are kept.

use std::time::Duration;

use davit_core::job::{Job, Run, RunState};
use davit_core::task::Task;
use davit_core::words::counted;
use jiff::{SignedDuration, Timestamp};

use super::{JobStep, MAX_STEPS, Planner};
use crate::state::ClusterState;

/// How often it is looked whether somebody still waits for a job whose time is over.
const WAITERS_PERIOD: Duration = Duration::from_secs(1);

impl Planner<'_> {
    /// Sees which runs have come to an end, or are to.
    pub(super) fn judge_runs(&mut self) {
        let now = self.now;
        let mut deadlines = Vec::new();
        for run in self.job.runs.iter_mut().filter(|run| !run.state.has_ended()) {
            let before = run.state;
            judge(run, now);
            if run.state == RunState::Running {
                deadlines.extend(run.deadline);
            }
            if run.state != before {
                self.notes.push(told(run));
            }
        }
        deadlines.into_iter().for_each(|at| self.look_at(at));
    }

    /// Lets runs go that ended long ago, or of which there are too many; with their tasks.
    pub(super) fn let_runs_go(&mut self) {
        let Job { spec, runs, .. } = &self.job;
        let newest = runs.last().map(|run| run.number);
        let (mut succeeded, mut failed) = (spec.kept_succeeded, spec.kept_failed);
        // Who waits for what it did is to see it.
        let is_awaited = self.state.is_waited_for(&self.job.name);
        let mut going = Vec::new();
        let mut expiries = Vec::new();
        // The newest first: they are the ones to keep.
        for run in runs.iter().rev().filter(|run| run.state.has_ended()) {
            let kept = if run.state == RunState::Completed { &mut succeeded } else { &mut failed };
            let too_many = *kept == 0 && Some(run.number) != newest;
            *kept = kept.saturating_sub(1);
            let expires = spec.time_to_live.zip(run.finished_at).map(|(ttl, at)| after(at, ttl));
            let is_kept = is_awaited && Some(run.number) == newest;
            match expires {
                Some(at) if at <= self.now && is_kept => expiries.push(after(self.now, WAITERS_PERIOD)),
                Some(at) if at <= self.now => going.push(run.number),
                _ if too_many => going.push(run.number),
                other => expiries.extend(other),
            }
        }
        expiries.into_iter().for_each(|at| self.look_at(at));
        for number in going.into_iter().rev() {
            self.let_run_go(number);
        }
        let had_runs = !self.before.runs.is_empty() && self.job.runs.is_empty();
        if had_runs && self.job.spec.schedule.is_none() && self.job.spec.time_to_live.is_some() {
            self.job.is_deleted = true;
            self.notes.push("it is deleted: its last run ended long enough ago".to_owned());
        }
    }

    fn let_run_go(&mut self, number: u32) {
        let tasks = || self.state.tasks_of_run(self.job.job_id, number);
        if tasks().next().is_none() {
            self.job.runs.retain(|run| run.number != number);
            return self.notes.push(format!("run {number} is kept no more"));
        }
        let free = MAX_STEPS.saturating_sub(self.steps.len());
        let why = format!("run {number} of {} is kept no more", self.job.name);
        let remove = |task: &Task| JobStep::Remove { task_id: task.task_id, why: why.clone() };
        let removed: Vec<_> = tasks().take(free).map(|(_, task)| remove(task)).collect();
        self.steps.extend(removed);
        // It goes itself when they are gone, or the rest of them.
        self.go_on_at_once();
    }
}

fn judge(run: &mut Run, now: Timestamp) {
    if run.completed.count() >= run.completions {
        return end(run, RunState::Completed, String::new(), now);
    }
    if run.state == RunState::Running {
        let not_completed = run.failed.count().saturating_add(run.stopped.count());
        let max_failed = run.spec.as_ref().map_or(0, |spec| spec.max_failed_indexes);
        let nothing_left = run.next_index >= run.completions && run.active() == 0;
        if not_completed > max_failed || nothing_left {
            (run.state, run.reason) = (RunState::Failing, failures(run));
        } else if run.deadline.is_some_and(|deadline| deadline <= now) {
            let seconds = run.deadline.map_or(0.0, |deadline| deadline.duration_since(run.started_at).as_secs_f64());
            let left = run.completions.saturating_sub(run.completed.count());
            let all = counted(run.completions.into(), "index", "indexes");
            run.reason = format!("{left} of {all} did not complete within its deadline of {seconds} s");
            run.state = RunState::Failing;
        }
    }
    if run.active() == 0 {
        match run.state {
            RunState::Failing => end(run, RunState::Failed, run.reason.clone(), now),
            RunState::Stopping => end(run, RunState::Stopped, run.reason.clone(), now),
            RunState::Running | RunState::Completed | RunState::Failed | RunState::Stopped => {}
        }
    }
}

fn end(run: &mut Run, state: RunState, reason: String, now: Timestamp) {
    (run.state, run.reason, run.finished_at, run.spec) = (state, reason, Some(now), None);
}

fn told(run: &Run) -> String {
    let number = run.number;
    let reason = if run.reason.is_empty() { String::new() } else { format!(": {}", run.reason) };
    match run.state {
        RunState::Running => format!("run {number} goes on"),
        RunState::Failing => format!("run {number} has failed, its tasks are stopped{reason}"),
        RunState::Stopping => format!("run {number} is being stopped{reason}"),
        RunState::Completed => format!("run {number} completed"),
        RunState::Failed => format!("run {number} failed{reason}"),
        RunState::Stopped => format!("run {number} was stopped{reason}"),
    }
}

/// How many indexes of a run failed, and how the first one did.
pub(super) fn failures(run: &Run) -> String {
    let mut parts = Vec::new();
    let (failed, stopped) = (run.failed.count(), run.stopped.count());
    if failed > 0 {
        parts.push(format!("{failed} of {} failed", counted(run.completions.into(), "index", "indexes")));
    }
    if stopped > 0 {
        parts.push(format!("{stopped} of {} were stopped", run.completions));
    }
    // The first failure, as long as nothing else was to be said.
    parts.extend(Some(run.reason.clone()).filter(|reason| !reason.is_empty()));
    parts.join("; ")
}

/// How an index failed.
pub(super) fn first_failure(state: &ClusterState, index: u32, task: &Task) -> String {
    let node = task.status.node_id.map(|node_id| match state.node(node_id) {
        Some(node) => format!(" on {}", node.description.name),
        None => format!(" on node {node_id}"),
    });
    let how = match (task.status.reason.as_str(), task.status.exit_code) {
        ("", Some(code)) => format!("exit code {code}"),
        ("", None) => task.status.state.to_string(),
        (reason, _) => reason.to_owned(),
    };
    format!("index {index}{}: {how}", node.unwrap_or_default())
}

/// So long after a time.
pub(super) fn after(at: Timestamp, span: Duration) -> Timestamp {
    SignedDuration::try_from(span).map_or(Timestamp::MAX, |span| at.checked_add(span).unwrap_or(Timestamp::MAX))
}
