//! `x-davit.job`: when a service that is a job runs, how often, and how long what it did is kept.

use davit_compose::{MissedRuns, Overlap, RestartCondition, Service};
use davit_proto::{convert, v1};

use super::policy::restart_delays;

/// What follows the end of a task: how often, the job says.
pub(super) fn restart(service: &Service) -> Option<v1::RestartPolicy> {
    let policy = service.restart?;
    let mode = match policy.condition {
        RestartCondition::Never => v1::RestartMode::Never,
        // One that would always run again never finishes: of Compose it is what is written where nobody thought of jobs.
        RestartCondition::OnFailure | RestartCondition::Any => v1::RestartMode::OnFailure,
    };
    Some(v1::RestartPolicy { mode: mode.into(), ..restart_delays(policy) })
}

/// With what `x-davit.job` and `deploy` say.
pub(super) fn with_options(spec: v1::JobSpec, service: &Service) -> v1::JobSpec {
    let job = service.davit.job.clone().unwrap_or_default();
    let attempts = service.restart.and_then(|policy| policy.max_attempts);
    let schedule = job.schedule.map(|cron| v1::JobSchedule {
        cron,
        time_zone: job.time_zone.unwrap_or_default(),
        overlap: job.overlap.map_or(v1::JobOverlap::Unspecified, overlap).into(),
        start_deadline: job.start_deadline.map(convert::duration_to_proto),
        missed_runs: job.missed_runs.map_or(v1::MissedRuns::Unspecified, missed_runs).into(),
    });
    v1::JobSpec {
        completions: job.completions.or(service.deploy.replicas),
        parallelism: job.parallelism,
        max_retries: job.retries.or(attempts),
        deadline: job.deadline.map(convert::duration_to_proto),
        time_to_live: job.ttl.map(convert::duration_to_proto),
        schedule,
        history: Some(v1::JobHistory { succeeded: job.history.succeeded, failed: job.history.failed }),
        ..spec
    }
}

fn overlap(overlap: Overlap) -> v1::JobOverlap {
    match overlap {
        Overlap::Allow => v1::JobOverlap::Allow,
        Overlap::Forbid => v1::JobOverlap::Forbid,
        Overlap::Replace => v1::JobOverlap::Replace,
    }
}

fn missed_runs(missed_runs: MissedRuns) -> v1::MissedRuns {
    match missed_runs {
        MissedRuns::Skip => v1::MissedRuns::Skip,
        MissedRuns::RunOnce => v1::MissedRuns::RunOnce,
    }
}
