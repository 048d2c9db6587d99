//! From what went wrong in the manager to an error of the API: one table.

use std::time::Duration;

use davit_core::id::TaskId;
use davit_proto::convert;
use davit_svc_kit::grpc::{ApiError, ErrorKind};

use crate::commands::{self, JobError, Kind};
use crate::explainer;
use crate::writer::WriteError;

/// When a retry makes sense after an error that passes by itself.
pub(super) const RETRY_AFTER: Duration = Duration::from_secs(1);

/// What a caller is told when a command has no answer.
pub(super) fn to_api_error(error: WriteError<commands::Error>) -> ApiError {
    let message = error.to_string();
    let (kind, reason, retry_after) = match error {
        WriteError::Refused(refused) => return refusal(&refused),
        WriteError::Overloaded { retry_after } => (ErrorKind::ResourceExhausted, "OVERLOADED", retry_after),
        WriteError::NotCommitted(_) => (ErrorKind::Unavailable, "NOT_COMMITTED", RETRY_AFTER),
        WriteError::Stopping => (ErrorKind::Unavailable, "STOPPING", RETRY_AFTER),
    };
    ApiError::new(kind, reason, message).with_retry_after(retry_after)
}

/// What a caller is told when a command was refused.
pub(super) fn refusal(error: &commands::Error) -> ApiError {
    let kind = match error.kind() {
        Kind::NotFound => ErrorKind::NotFound,
        Kind::AlreadyExists => ErrorKind::AlreadyExists,
        Kind::FailedPrecondition => ErrorKind::FailedPrecondition,
        Kind::Aborted => ErrorKind::Aborted,
        Kind::ResourceExhausted => ErrorKind::ResourceExhausted,
    };
    let message = error.to_string();
    let api_error = ApiError::new(kind, error.reason(), message.clone());
    match error {
        commands::Error::TaskNotFound { task_id } => api_error.with_resource("task", task_id.to_string()),
        commands::Error::TaskHasEnded { task_id, .. }
        | commands::Error::TaskHasNotEnded { task_id, .. }
        | commands::Error::TaskIsBeingDeleted { task_id }
        | commands::Error::TaskIsBeingStopped { task_id }
        | commands::Error::TaskIsThere { task_id, .. }
        | commands::Error::TaskIsReplaced { task_id }
        | commands::Error::TaskIsPinned { task_id }
        | commands::Error::TaskIsLeased { task_id, .. } => {
            api_error.with_precondition("TASK_STATE", format!("task/{task_id}"), message)
        }
        commands::Error::DoesNotFit { task_id, .. } => {
            api_error.with_precondition("PLACEMENT", format!("task/{task_id}"), message)
        }
        commands::Error::AttemptHasChanged { task_id, actual, .. } => {
            api_error.with_resource("task", task_id.to_string()).with_metadata("attempt", actual.to_string())
        }
        commands::Error::TooManyTasks { max_tasks, .. } => {
            api_error.with_resource("limit", "max-tasks").with_metadata("max_tasks", max_tasks.to_string())
        }
        commands::Error::TooManySpecBytes { max_spec_bytes, .. } => api_error
            .with_resource("limit", "max-spec-bytes")
            .with_metadata("max_spec_bytes", max_spec_bytes.to_string()),
        commands::Error::TooManyDeployments { max_deployments } => api_error
            .with_resource("limit", "deployments")
            .with_metadata("max_deployments", max_deployments.to_string()),
        commands::Error::RequestIdReused { request_id } => api_error.with_resource("request_id", request_id.as_str()),
        commands::Error::NodeNotFound { node } => api_error.with_resource("node", node.as_str()),
        commands::Error::NotDrained { node }
        | commands::Error::NodeInUse { node, .. }
        | commands::Error::NodeIsLeased { node, .. } => {
            api_error.with_precondition("NODE_STATE", format!("node/{node}"), message)
        }
        commands::Error::NodeNameInUse { name, .. } | commands::Error::NodeNameIsLeased { name, .. } => {
            api_error.with_resource("node", name.as_str())
        }
        commands::Error::RegistrationOvertaken { node, last, .. } => {
            let api_error = api_error.with_resource("node", node.as_str());
            api_error.with_metadata(convert::LAST_REGISTRATION_NUMBER, last.to_string())
        }
        commands::Error::Job(error) => of_job(api_error, error, message),
        commands::Error::DeploymentNotFound { deployment } => {
            api_error.with_resource("deployment", deployment.as_str())
        }
        commands::Error::VolumeNotFound { volume } => api_error.with_resource("volume", volume.as_str()),
        commands::Error::VolumeIsInUse { volume, .. } => {
            api_error.with_precondition("VOLUME_STATE", format!("volume/{volume}"), message)
        }
        commands::Error::AppNotFound { app } | commands::Error::PlanHasChanged { app } => {
            api_error.with_resource("app", app.as_str())
        }
        commands::Error::DeploymentExists { name }
        | commands::Error::VersionNotFound { name, .. }
        | commands::Error::OfAnotherApp { name, .. } => api_error.with_resource("deployment", name.as_str()),
        commands::Error::DeploymentHasChanged { name, actual, .. } => {
            api_error.with_resource("deployment", name.as_str()).with_metadata("etag", actual.as_str())
        }
        commands::Error::DeploymentIsBeingDeleted { name }
        | commands::Error::NoReplicas { name }
        | commands::Error::ModeChanges { name }
        | commands::Error::NothingToPromote { name, .. }
        | commands::Error::NothingToPause { name, .. }
        | commands::Error::NothingToResume { name, .. } => {
            api_error.with_precondition("DEPLOYMENT_STATE", format!("deployment/{name}"), message)
        }
        commands::Error::ConfigNotFound { config }
        | commands::Error::ConfigVersionGone { config, .. }
        | commands::Error::ConfigOfAnotherApp { config, .. } => {
            api_error.with_resource(config.kind.to_string(), config.name.as_str())
        }
        commands::Error::ConfigInUse { config, .. } => {
            api_error.with_precondition("CONFIG_STATE", format!("{}/{}", config.kind, config.name), message)
        }
        commands::Error::TooManyConfigs { max_configs } => {
            api_error.with_resource("limit", "configs").with_metadata("max_configs", max_configs.to_string())
        }
        commands::Error::TooManyConfigBytes { max_bytes, .. } => {
            api_error.with_resource("limit", "config-bytes").with_metadata("max_config_bytes", max_bytes.to_string())
        }
        commands::Error::TooManyVolumes { max_volumes, .. } => {
            api_error.with_resource("limit", "volumes").with_metadata("max_volumes", max_volumes.to_string())
        }
        commands::Error::NodeHasChanged { node, actual, .. } => {
            api_error.with_resource("node", node.as_str()).with_metadata("etag", actual.as_str())
        }
    }
}

fn of_job(api_error: ApiError, error: &JobError, message: String) -> ApiError {
    match error {
        JobError::NotFound { job: name }
        | JobError::Exists { name }
        | JobError::RunNotFound { name, .. }
        | JobError::OfAnotherApp { name, .. } => api_error.with_resource("job", name.as_str()),
        JobError::HasChanged { name, actual, .. } => {
            api_error.with_resource("job", name.as_str()).with_metadata("etag", actual.as_str())
        }
        JobError::IsBeingDeleted { name } | JobError::IsPaused { name } => {
            api_error.with_precondition("JOB_STATE", format!("job/{name}"), message)
        }
        JobError::TooMany { max_jobs } => {
            api_error.with_resource("limit", "jobs").with_metadata("max_jobs", max_jobs.to_string())
        }
        JobError::TooManyRuns { max_runs, .. } => {
            api_error.with_resource("limit", "runs").with_metadata("max_runs", max_runs.to_string())
        }
        JobError::IndexHasEnded { task_id } => {
            api_error.with_precondition("TASK_STATE", format!("task/{task_id}"), message)
        }
    }
}

/// What a caller is told when the scheduler has no answer.
pub(super) fn scheduler_error(error: explainer::Error) -> ApiError {
    use explainer::Error;
    let message = error.to_string();
    let (kind, reason) = match error {
        Error::UnknownAlgorithm { problem } => return ApiError::invalid_field("spec.placement.algorithm", problem),
        Error::Address(_) | Error::Unreachable { .. } => (ErrorKind::Unavailable, "SCHEDULER_UNREACHABLE"),
        Error::Timeout { .. } => (ErrorKind::Unavailable, "SCHEDULER_TIMEOUT"),
        Error::Busy => (ErrorKind::ResourceExhausted, "SCHEDULER_BUSY"),
        Error::Unsupported { .. } => (ErrorKind::Unimplemented, "SCHEDULER_TOO_OLD"),
        Error::TooLarge { .. } => (ErrorKind::ResourceExhausted, "CLUSTER_TOO_LARGE"),
        Error::Failed { .. } => (ErrorKind::Internal, "SCHEDULER_FAILED"),
        Error::Nonsense { .. } => (ErrorKind::Internal, "SCHEDULER_NONSENSE"),
    };
    let passes = matches!(reason, "SCHEDULER_BUSY" | "SCHEDULER_UNREACHABLE" | "SCHEDULER_TIMEOUT");
    let api_error = ApiError::new(kind, reason, message);
    if passes { api_error.with_retry_after(RETRY_AFTER) } else { api_error }
}

/// No such task.
pub(super) fn no_task(task_id: TaskId) -> ApiError {
    refusal(&commands::Error::TaskNotFound { task_id })
}

/// No such node.
pub(super) fn no_node(id_or_name: &str) -> ApiError {
    // It comes from outside and may be of any length.
    let node = id_or_name.chars().take(64).collect();
    refusal(&commands::Error::NodeNotFound { node })
}

/// A stream ends because the manager does.
pub(super) fn stopping() -> ApiError {
    ApiError::new(ErrorKind::Unavailable, "STOPPING", "the manager is stopping").with_retry_after(RETRY_AFTER)
}

#[cfg(test)]
mod tests {
    use davit_core::id::{Attempt, NodeId};
    use davit_core::state::TaskState;
    use uuid::Uuid;

    use super::*;
    use crate::commands::Error;

    #[test]
    fn what_passes_by_itself_says_when_to_come_back() {
        let problem = crate::store::Error::Unavailable { problem: "full".to_owned() };
        let table = [
            (WriteError::Overloaded { retry_after: RETRY_AFTER }, ErrorKind::ResourceExhausted),
            (WriteError::NotCommitted(problem), ErrorKind::Unavailable),
            (WriteError::Stopping, ErrorKind::Unavailable),
        ];
        for (error, kind) in table {
            let error = to_api_error(error);
            assert_eq!((error.kind, error.retry_after), (kind, Some(RETRY_AFTER)), "{error}");
        }
    }

    #[test]
    fn every_refusal_says_what_it_is_about() {
        let (task_id, state) = (TaskId(Uuid::nil()), TaskState::Running);
        let (node, name) = ("one".to_owned(), "one".to_owned());
        let holder = NodeId(Uuid::nil());
        let table = [
            (Error::TaskNotFound { task_id }, ErrorKind::NotFound),
            (Error::TaskHasEnded { task_id, state }, ErrorKind::FailedPrecondition),
            (Error::TaskHasNotEnded { task_id, state }, ErrorKind::FailedPrecondition),
            (Error::TaskIsBeingDeleted { task_id }, ErrorKind::FailedPrecondition),
            (Error::TaskIsBeingStopped { task_id }, ErrorKind::FailedPrecondition),
            (Error::TaskIsThere { task_id, node: node.clone() }, ErrorKind::FailedPrecondition),
            (Error::DoesNotFit { task_id, node: node.clone(), misfits: vec![] }, ErrorKind::FailedPrecondition),
            (Error::AttemptHasChanged { task_id, expected: Attempt(1), actual: Attempt(2) }, ErrorKind::Aborted),
            (Error::RequestIdReused { request_id: "a".to_owned() }, ErrorKind::AlreadyExists),
            (Error::TooManyTasks { there: 9, more: 2, max_tasks: 10 }, ErrorKind::ResourceExhausted),
            (Error::TooManySpecBytes { there: 9, more: 2, max_spec_bytes: 10 }, ErrorKind::ResourceExhausted),
            (Error::TooManyVolumes { volume: "a".to_owned(), max_volumes: 1 }, ErrorKind::ResourceExhausted),
            (Error::NodeNotFound { node: node.clone() }, ErrorKind::NotFound),
            (Error::NotDrained { node: node.clone() }, ErrorKind::FailedPrecondition),
            (Error::NodeInUse { node: node.clone(), hindrances: vec![] }, ErrorKind::FailedPrecondition),
            (Error::NodeIsLeased { node: node.clone(), tasks: 1 }, ErrorKind::FailedPrecondition),
            (Error::NodeNameInUse { name, holder }, ErrorKind::AlreadyExists),
            (Error::RegistrationOvertaken { node: node.clone(), number: 1, last: 1 }, ErrorKind::Aborted),
            (Error::AppNotFound { app: node.clone() }, ErrorKind::NotFound),
            (Error::PlanHasChanged { app: node.clone() }, ErrorKind::Aborted),
            (
                Error::OfAnotherApp { name: node.clone(), app: String::new(), asked: node.clone() },
                ErrorKind::AlreadyExists,
            ),
            (Error::NodeHasChanged { node, expected: "r1".to_owned(), actual: "r2".to_owned() }, ErrorKind::Aborted),
        ];
        for (error, kind) in table {
            let api_error = to_api_error(WriteError::Refused(error.clone()));
            assert_eq!((api_error.kind, api_error.reason), (kind, error.reason()));
            assert!(api_error.resource.is_some() || api_error.precondition.is_some(), "{error}");
        }
    }

    #[test]
    fn a_huge_name_is_not_repeated_whole() {
        assert!(no_node(&"x".repeat(5_000_000)).message.len() < 200);
    }
}
