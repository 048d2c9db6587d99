//! Jobs.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use davit_core::deployment::Dependency;
use davit_core::job::{
    DEFAULT_KEPT_RUNS, DEFAULT_MAX_RETRIES, DEFAULT_ON_NODE_LOSS, Indexes, Job, JobSpec, MAX_ARGUMENT_BYTES,
    MAX_ARGUMENTS, MAX_COMPLETIONS, MAX_KEPT_RUNS, Missed, Run, RunState, Schedule, Times,
};
use davit_core::spec::{TaskSpec, check_app_name, check_name};
use davit_core::validate::Violations;
use jiff::Timestamp;
use prost::Message;

use super::common::{
    MAX_LABELS, duration_to_proto, labels_from_proto, required, timestamp_from_proto, timestamp_to_proto,
};
use super::deployment::{dependencies_from_proto, dependency_to_proto};
use super::enums::{missed_runs_from_proto, missed_runs_to_proto, overlap_from_proto, overlap_to_proto};
use super::path::{FieldPath, field};
use super::policy::{bounded, on_node_loss_to_proto};
use super::task_spec::{MAX_SPEC_BYTES, task_spec_from_proto, task_spec_to_proto};
use crate::v1;

/// The longest time that a job may be told of, and its words.
const YEAR: (Duration, &str) = (Duration::from_secs(365 * 24 * 3600), "365 days");

/// By how much the lengths of a task's parts grow when arguments come to its command.
const FRAMING_BYTES: usize = 64;

/// The most that an index may be tried again.
const MAX_RETRIES: u32 = 1_000_000;

/// Reads what a user wants of a job; with the name, which the task gets unless it has one.
pub fn job_spec_from_proto<'a>(
    mut spec: v1::JobSpec,
    path: impl Into<FieldPath<'a>>,
    violations: &mut Violations,
) -> Option<(String, JobSpec)> {
    let path = &path.into();
    let before = violations.0.len();
    let name = std::mem::take(&mut spec.name);
    let name_read = violations.check(field(path, "name"), check_name(&name));
    let task_path = field(path, "task");
    let attempts = spec.max_retries.unwrap_or(DEFAULT_MAX_RETRIES).saturating_add(1);
    let task = required(spec.task.take(), task_path, violations).and_then(|mut task| {
        if task.name.is_empty() {
            // A name that is wrong is told once.
            task.name = name_read.map_or("unnamed", |()| name.as_str()).to_owned();
        }
        retry_as_the_job_says(&mut task, attempts, &task_path, violations);
        task.on_node_loss.get_or_insert_with(|| on_node_loss_to_proto(DEFAULT_ON_NODE_LOSS));
        task_spec_from_proto(task, task_path, violations)
    });
    let longest = spec.arguments.iter().map(Message::encoded_len).max();
    let settings = job_settings_from_proto(spec, path, violations);
    let (settings, task) = (settings?, task.filter(|_| violations.0.len() == before)?);
    let bytes = task_spec_to_proto(&task).encoded_len().saturating_add(longest.unwrap_or(0));
    if longest.is_some() && bytes > MAX_SPEC_BYTES - FRAMING_BYTES {
        let most = MAX_SPEC_BYTES - FRAMING_BYTES;
        let what = format!("with the task has at most {most} bytes encoded for each index, this has up to {bytes}");
        violations.add(field(path, "arguments"), what);
        return None;
    }
    Some((name, settings.with_task(Arc::new(task))))
}

/// Has the restart policy of a job's task be that of the job.
fn retry_as_the_job_says(task: &mut v1::TaskSpec, attempts: u32, path: &FieldPath<'_>, violations: &mut Violations) {
    let policy = task.restart_policy.get_or_insert_default();
    let path = field(path, "restart_policy");
    if policy.mode == i32::from(v1::RestartMode::Always) {
        violations.add(field(&path, "mode"), "is not for the task of a job: it would never finish");
    }
    if ![0, attempts].contains(&policy.max_attempts) {
        violations.add(field(&path, "max_attempts"), "is not for the task of a job: `max_retries` says it");
    }
    if policy.mode == i32::from(v1::RestartMode::Unspecified) {
        policy.mode = v1::RestartMode::OnFailure.into();
    }
    policy.max_attempts = attempts;
}

/// What a job wants, but for its task.
#[derive(Debug, Clone, PartialEq)]
pub struct JobSettings {
    labels: BTreeMap<String, String>,
    completions: u32,
    parallelism: u32,
    arguments: Arc<[Vec<String>]>,
    max_retries: u32,
    max_failed_indexes: u32,
    deadline: Option<Duration>,
    time_to_live: Option<Duration>,
    schedule: Option<Schedule>,
    kept_succeeded: u32,
    kept_failed: u32,
    app: String,
    start_after: Vec<Dependency>,
}

impl JobSettings {
    /// With its task.
    #[must_use]
    pub fn with_task(self, task: Arc<TaskSpec>) -> JobSpec {
        let Self {
            labels,
            completions,
            parallelism,
            arguments,
            max_retries,
            max_failed_indexes,
            deadline,
            time_to_live,
            schedule,
            kept_succeeded,
            kept_failed,
            app,
            start_after,
        } = self;
        JobSpec {
            labels,
            task,
            completions,
            parallelism,
            arguments,
            max_retries,
            max_failed_indexes,
            deadline,
            time_to_live,
            schedule,
            kept_succeeded,
            kept_failed,
            app,
            start_after,
        }
    }
}

/// Reads what a user wants of a job but for its name and its task.
pub fn job_settings_from_proto<'a>(
    spec: v1::JobSpec,
    path: impl Into<FieldPath<'a>>,
    violations: &mut Violations,
) -> Option<JobSettings> {
    let path = &path.into();
    let before = violations.0.len();
    let labels = labels_from_proto(spec.labels, MAX_LABELS, field(path, "labels"), violations);
    let arguments = arguments_from_proto(spec.arguments, &field(path, "arguments"), violations);
    let count = u32::try_from(arguments.len()).unwrap_or(u32::MAX);
    let completions = spec.completions.unwrap_or(count.max(1));
    let mut within = |name: &'static str, number: u32, range: std::ops::RangeInclusive<u32>| {
        if !range.contains(&number) {
            violations.add(field(path, name), format!("is {} to {}, this is {number}", range.start(), range.end()));
        }
    };
    within("completions", completions, 1..=MAX_COMPLETIONS);
    // What is not given is not wrong.
    let parallelism = spec.parallelism.unwrap_or(completions.max(1));
    within("parallelism", parallelism, 1..=u32::MAX);
    let max_retries = spec.max_retries.unwrap_or(DEFAULT_MAX_RETRIES);
    within("max_retries", max_retries, 0..=MAX_RETRIES);
    let history = spec.history.unwrap_or_default();
    let kept_succeeded = history.succeeded.unwrap_or(DEFAULT_KEPT_RUNS);
    within("history.succeeded", kept_succeeded, 0..=MAX_KEPT_RUNS);
    let kept_failed = history.failed.unwrap_or(DEFAULT_KEPT_RUNS);
    within("history.failed", kept_failed, 0..=MAX_KEPT_RUNS);
    if count > 0 && completions != count {
        let what = format!("has one entry for each of the {completions} indexes, or none at all; this has {count}");
        violations.add(field(path, "arguments"), what);
    }
    let deadline = span(spec.deadline, &field(path, "deadline"), violations);
    if deadline == Some(Duration::ZERO) {
        violations.add(field(path, "deadline"), "must be above zero");
    }
    let time_to_live = span(spec.time_to_live, &field(path, "time_to_live"), violations);
    let schedule =
        spec.schedule.and_then(|schedule| schedule_from_proto(schedule, &field(path, "schedule"), violations));
    if !spec.app.is_empty() {
        violations.check(field(path, "app"), check_app_name(&spec.app));
    }
    let start_after = dependencies_from_proto(spec.start_after, &field(path, "start_after"), violations);
    let labels = labels.filter(|_| violations.0.len() == before)?;
    Some(JobSettings {
        labels,
        completions,
        parallelism,
        arguments,
        max_retries,
        max_failed_indexes: spec.max_failed_indexes,
        deadline,
        time_to_live,
        schedule,
        kept_succeeded,
        kept_failed,
        app: spec.app,
        start_after,
    })
}

/// Reads a span of time that need not be given.
fn span(
    duration: Option<prost_types::Duration>,
    path: &FieldPath<'_>,
    violations: &mut Violations,
) -> Option<Duration> {
    duration.is_some().then(|| bounded(duration, Duration::ZERO, YEAR, path, violations)).flatten()
}

fn arguments_from_proto(
    arguments: Vec<v1::IndexArguments>,
    path: &FieldPath<'_>,
    violations: &mut Violations,
) -> Arc<[Vec<String>]> {
    let bytes: usize = arguments.iter().map(Message::encoded_len).sum();
    if arguments.len() > MAX_ARGUMENTS {
        violations.add(path, format!("has at most {MAX_ARGUMENTS} entries, this has {}", arguments.len()));
    }
    if bytes > MAX_ARGUMENT_BYTES {
        violations.add(path, format!("has at most {MAX_ARGUMENT_BYTES} bytes encoded in all, this has {bytes}"));
    }
    if arguments.iter().flat_map(|arguments| &arguments.values).any(|argument| argument.contains('\0')) {
        violations.add(path, "has no NUL characters");
    }
    arguments.into_iter().map(|arguments| arguments.values).collect()
}

fn schedule_from_proto(
    schedule: v1::JobSchedule,
    path: &FieldPath<'_>,
    violations: &mut Violations,
) -> Option<Schedule> {
    let v1::JobSchedule { cron, time_zone, overlap, start_deadline, missed_runs } = schedule;
    // Each is looked at without the other, so that both are told.
    let zone = violations.check(field(path, "time_zone"), Times::new("@daily", &time_zone));
    let times = violations.check(field(path, "cron"), Times::new(&cron, if zone.is_some() { &time_zone } else { "" }));
    let overlap = overlap_from_proto(overlap, &field(path, "overlap"), violations);
    let start_deadline = span(start_deadline, &field(path, "start_deadline"), violations);
    if start_deadline == Some(Duration::ZERO) {
        violations.add(field(path, "start_deadline"), "must be above zero");
    }
    let missed_runs = missed_runs_from_proto(missed_runs, &field(path, "missed_runs"), violations);
    zone?;
    Some(Schedule { times: times?, overlap: overlap?, start_deadline, missed_runs: missed_runs? })
}

/// Writes what a user wants of a job, with all defaults filled in.
#[must_use]
pub fn job_spec_to_proto(name: &str, spec: &JobSpec) -> v1::JobSpec {
    let mut task = task_spec_to_proto(&spec.task);
    if let Some(policy) = &mut task.restart_policy {
        // `max_retries` says it.
        policy.max_attempts = 0;
    }
    v1::JobSpec { task: Some(task), ..job_spec_without_task(name, spec) }
}

/// The same, but for the task: the store keeps that apart.
#[must_use]
pub fn job_spec_without_task(name: &str, spec: &JobSpec) -> v1::JobSpec {
    let schedule = |schedule: &Schedule| v1::JobSchedule {
        cron: schedule.times.cron().to_owned(),
        time_zone: schedule.times.zone().to_owned(),
        overlap: overlap_to_proto(schedule.overlap).into(),
        start_deadline: schedule.start_deadline.map(duration_to_proto),
        missed_runs: missed_runs_to_proto(schedule.missed_runs).into(),
    };
    v1::JobSpec {
        name: name.to_owned(),
        labels: spec.labels.clone(),
        task: None,
        completions: Some(spec.completions),
        parallelism: Some(spec.parallelism),
        arguments: spec.arguments.iter().map(|values| v1::IndexArguments { values: values.clone() }).collect(),
        max_retries: Some(spec.max_retries),
        max_failed_indexes: spec.max_failed_indexes,
        deadline: spec.deadline.map(duration_to_proto),
        time_to_live: spec.time_to_live.map(duration_to_proto),
        schedule: spec.schedule.as_ref().map(schedule),
        history: Some(v1::JobHistory { succeeded: Some(spec.kept_succeeded), failed: Some(spec.kept_failed) }),
        app: spec.app.clone(),
        start_after: spec.start_after.iter().map(dependency_to_proto).collect(),
    }
}

/// What changes when a user changes a job.
#[must_use]
pub fn job_etag(job: &Job) -> String {
    format!("{}-g{}", job.job_id.0.simple(), job.generation)
}

/// Writes a job with these of its runs.
#[must_use]
pub fn job_to_proto<'a>(job: &Job, runs: impl IntoIterator<Item = &'a Run>, trouble: String) -> v1::Job {
    v1::Job {
        job_id: job.job_id.to_string(),
        spec: Some(job_spec_to_proto(&job.name, &job.spec)),
        paused: job.is_paused,
        runs: runs.into_iter().map(run_to_proto).collect(),
        next_run_time: job.next_run_at().map(timestamp_to_proto),
        missed: job.missed.as_ref().map(missed_to_proto),
        deleting: job.is_deleted,
        create_time: Some(timestamp_to_proto(job.created_at)),
        update_time: Some(timestamp_to_proto(job.updated_at)),
        revision: job.revision.0,
        etag: job_etag(job),
        trouble,
        waiting: job.waits,
        waiting_in_vain: job.waits_in_vain,
    }
}

fn run_to_proto(run: &Run) -> v1::JobRun {
    let state = match run.state {
        RunState::Running => v1::JobRunState::Running,
        RunState::Failing | RunState::Stopping => v1::JobRunState::Stopping,
        RunState::Completed => v1::JobRunState::Completed,
        RunState::Failed => v1::JobRunState::Failed,
        RunState::Stopped => v1::JobRunState::Stopped,
    };
    v1::JobRun {
        run: run.number,
        state: state.into(),
        reason: run.reason.clone(),
        scheduled_time: run.scheduled_at.map(timestamp_to_proto),
        start_time: Some(timestamp_to_proto(run.started_at)),
        finish_time: run.finished_at.map(timestamp_to_proto),
        deadline: run.deadline.filter(|_| !run.state.has_ended()).map(timestamp_to_proto),
        completions: run.completions,
        completed: ranges_to_proto(&run.completed),
        failed: ranges_to_proto(&run.failed),
        active_count: run.active(),
        completed_count: run.completed.count(),
        failed_count: run.failed.count(),
        stopped: ranges_to_proto(&run.stopped),
        stopped_count: run.stopped.count(),
    }
}

/// Writes some indexes.
#[must_use]
pub fn ranges_to_proto(indexes: &Indexes) -> Vec<v1::IndexRange> {
    indexes.ranges().map(|(first, last)| v1::IndexRange { first, last }).collect()
}

/// Reads a time that was left out.
pub fn missed_from_proto<'a>(
    missed: v1::MissedRun,
    path: impl Into<FieldPath<'a>>,
    violations: &mut Violations,
) -> Option<Missed> {
    let path = &path.into();
    let path = field(path, "scheduled_time");
    let scheduled_at: Option<Timestamp> =
        required(missed.scheduled_time, path, violations).and_then(|time| timestamp_from_proto(time, path, violations));
    Some(Missed { scheduled_at: scheduled_at?, reason: missed.reason, count: missed.count })
}

/// Writes a time that was left out.
#[must_use]
pub fn missed_to_proto(missed: &Missed) -> v1::MissedRun {
    v1::MissedRun {
        scheduled_time: Some(timestamp_to_proto(missed.scheduled_at)),
        reason: missed.reason.clone(),
        count: missed.count,
    }
}
