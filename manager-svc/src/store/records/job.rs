//! Jobs. The specs of their tasks are kept apart, as those of all tasks are.

use std::sync::Arc;

use davit_core::deployment::CreateRequest;
use davit_core::id::{JobId, Revision};
use davit_core::job::{Indexes, Job, JobSpec, Run, RunState};
use davit_core::validate::Violations;
use davit_proto::store_v1::RunPhase;
use davit_proto::{convert, store_v1, v1};

use super::{Malformed, SpecKey, SpecSource, malformed, optional_time_from, read, time_from, time_to, uuid_from};

/// Writes a job; `spec_keys` are those of its tasks' specs: of what it wants, then of each run that keeps one.
pub(in crate::store) fn job_to_record(job: &Job, spec_keys: &[SpecKey]) -> store_v1::JobRecord {
    let Job {
        job_id,
        name,
        spec,
        generation,
        is_paused,
        runs,
        last_run,
        scheduled_through,
        awaited,
        missed,
        created_by,
        waits,
        waits_in_vain,
        is_deleted,
        created_at,
        updated_at,
        revision,
    } = job;
    let mut keys = spec_keys.iter().copied();
    let own_spec = keys.next().map(|key| spec_to_record(name, spec, key));
    let run_to_record = |run: &Run| {
        let key = run.spec.as_ref().and_then(|_| keys.next());
        // Most runs have what the job wants: that is written once.
        let other = run.spec.as_ref().filter(|of_run| *of_run != spec);
        run_to_record(run, other.zip(key).map(|(spec, key)| spec_to_record(name, spec, key)))
    };
    store_v1::JobRecord {
        job_id: job_id.0.as_bytes().to_vec(),
        name: name.clone(),
        spec: own_spec,
        generation: *generation,
        is_paused: *is_paused,
        runs: runs.iter().map(run_to_record).collect(),
        last_run: *last_run,
        scheduled_through_time: Some(time_to(*scheduled_through)),
        missed: missed.as_ref().map(convert::missed_to_proto),
        is_deleted: *is_deleted,
        request_id: created_by.as_ref().map(|request| request.request_id.clone()).unwrap_or_default(),
        request_fingerprint: created_by.as_ref().map_or(0, |request| request.fingerprint),
        create_time: Some(time_to(*created_at)),
        update_time: Some(time_to(*updated_at)),
        revision: revision.0,
        awaited_time: awaited.map(time_to),
        waits: *waits,
        waits_in_vain: *waits_in_vain,
    }
}

/// Reads a job. Says also which specs it keeps.
pub(in crate::store) fn job_from_record(
    record: store_v1::JobRecord,
    specs: &impl SpecSource,
) -> Result<(Job, Vec<SpecKey>), Malformed> {
    let Some(spec) = record.spec else { return malformed("spec is missing") };
    let (spec, spec_key) = spec_from_record(spec, "spec", specs)?;
    let mut spec_keys = vec![spec_key];
    let mut runs = Vec::with_capacity(record.runs.len());
    for run in record.runs {
        let (run, key) = run_from_record(run, (&spec, spec_key), specs)?;
        runs.push(run);
        spec_keys.extend(key);
    }
    let mut violations = Violations::new();
    let missed = record.missed.and_then(|missed| convert::missed_from_proto(missed, "missed", &mut violations));
    let missed = read(Some(missed), &violations)?;
    let job = Job {
        job_id: JobId(uuid_from(&record.job_id, "job_id")?),
        name: record.name,
        spec,
        generation: record.generation,
        is_paused: record.is_paused,
        runs,
        last_run: record.last_run,
        scheduled_through: time_from(record.scheduled_through_time, "scheduled_through_time")?,
        awaited: optional_time_from(record.awaited_time, "awaited_time")?,
        missed,
        created_by: CreateRequest::given(record.request_id, record.request_fingerprint),
        waits: record.waits,
        waits_in_vain: record.waits_in_vain,
        is_deleted: record.is_deleted,
        created_at: time_from(record.create_time, "create_time")?,
        updated_at: time_from(record.update_time, "update_time")?,
        revision: Revision(record.revision),
    };
    Ok((job, spec_keys))
}

fn spec_to_record(name: &str, spec: &JobSpec, spec_key: SpecKey) -> store_v1::JobSpecRecord {
    store_v1::JobSpecRecord {
        spec: Some(convert::job_spec_without_task(name, spec)),
        task_spec_key: spec_key.as_bytes().to_vec(),
    }
}

fn spec_from_record(
    record: store_v1::JobSpecRecord,
    field: &'static str,
    specs: &impl SpecSource,
) -> Result<(Arc<JobSpec>, SpecKey), Malformed> {
    let spec_key = SpecKey::from_bytes(record.task_spec_key.as_slice())?;
    let Some(task) = specs.spec(spec_key) else { return malformed(format!("its spec {spec_key:?} is missing")) };
    let Some(spec) = record.spec else { return malformed(format!("{field}.spec is missing")) };
    let mut violations = Violations::new();
    let settings = convert::job_settings_from_proto(spec, field, &mut violations);
    Ok((Arc::new(read(settings, &violations)?.with_task(task)), spec_key))
}

fn run_to_record(run: &Run, spec: Option<store_v1::JobSpecRecord>) -> store_v1::RunRecord {
    let Run {
        number,
        spec: _,
        state,
        reason,
        scheduled_at,
        request_id,
        completions,
        next_index,
        completed,
        failed,
        stopped,
        started_at,
        finished_at,
        deadline,
    } = run;
    let phase = match state {
        RunState::Running => RunPhase::Running,
        RunState::Failing => RunPhase::Failing,
        RunState::Stopping => RunPhase::Stopping,
        RunState::Completed => RunPhase::Completed,
        RunState::Failed => RunPhase::Failed,
        RunState::Stopped => RunPhase::Stopped,
    };
    store_v1::RunRecord {
        run: *number,
        spec,
        phase: phase.into(),
        reason: reason.clone(),
        scheduled_time: scheduled_at.map(time_to),
        request_id: request_id.clone(),
        completions: *completions,
        next_index: *next_index,
        completed: convert::ranges_to_proto(completed),
        failed: convert::ranges_to_proto(failed),
        stopped: convert::ranges_to_proto(stopped),
        start_time: Some(time_to(*started_at)),
        finish_time: finished_at.map(time_to),
        deadline: deadline.map(time_to),
    }
}

/// Reads a run; one that goes on and says not what it runs, runs what its job wants.
fn run_from_record(
    record: store_v1::RunRecord,
    (wanted, wanted_key): (&Arc<JobSpec>, SpecKey),
    specs: &impl SpecSource,
) -> Result<(Run, Option<SpecKey>), Malformed> {
    let state = match RunPhase::try_from(record.phase) {
        Ok(RunPhase::Running) => RunState::Running,
        Ok(RunPhase::Failing) => RunState::Failing,
        Ok(RunPhase::Stopping) => RunState::Stopping,
        Ok(RunPhase::Completed) => RunState::Completed,
        Ok(RunPhase::Failed) => RunState::Failed,
        Ok(RunPhase::Stopped) => RunState::Stopped,
        Ok(RunPhase::Unspecified) | Err(_) => return malformed(format!("runs.phase {} is not known", record.phase)),
    };
    let (spec, key) = match record.spec {
        _ if state.has_ended() => (None, None),
        Some(spec) => {
            let (spec, key) = spec_from_record(spec, "runs.spec", specs)?;
            (Some(spec), Some(key))
        }
        None => (Some(Arc::clone(wanted)), Some(wanted_key)),
    };
    let run = Run {
        number: record.run,
        spec,
        state,
        reason: record.reason,
        scheduled_at: optional_time_from(record.scheduled_time, "runs.scheduled_time")?,
        request_id: record.request_id,
        completions: record.completions,
        next_index: record.next_index,
        completed: indexes_from(&record.completed, "runs.completed")?,
        failed: indexes_from(&record.failed, "runs.failed")?,
        stopped: indexes_from(&record.stopped, "runs.stopped")?,
        started_at: time_from(record.start_time, "runs.start_time")?,
        finished_at: optional_time_from(record.finish_time, "runs.finish_time")?,
        deadline: optional_time_from(record.deadline, "runs.deadline")?,
    };
    Ok((run, key))
}

fn indexes_from(ranges: &[v1::IndexRange], field: &str) -> Result<Indexes, Malformed> {
    match Indexes::from_ranges(ranges.iter().map(|range| (range.first, range.last))) {
        Some(indexes) => Ok(indexes),
        None => malformed(format!("{field} are no ranges in order")),
    }
}
