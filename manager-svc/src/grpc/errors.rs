//! From what went wrong in the manager to an error of the API: one table.

use std::time::Duration;

use davit_core::id::TaskId;
use davit_svc_kit::grpc::{ApiError, ErrorKind};

use crate::commands::{self, Kind};
use crate::writer::WriteError;

/// When a retry makes sense after an error that passes by itself.
pub(super) const RETRY_AFTER: Duration = Duration::from_secs(1);

/// What a caller is told when a command has no answer.
pub(super) fn to_api_error(error: WriteError<commands::Error>) -> ApiError {
    let message = error.to_string();
    let (kind, reason) = match error {
        WriteError::Refused(refused) => return refusal(&refused),
        WriteError::Overloaded => (ErrorKind::ResourceExhausted, "OVERLOADED"),
        WriteError::NotCommitted(_) => (ErrorKind::Unavailable, "NOT_COMMITTED"),
        WriteError::Stopping => (ErrorKind::Unavailable, "STOPPING"),
    };
    ApiError::new(kind, reason, message).with_retry_after(RETRY_AFTER)
}

/// What a caller is told when a command was refused.
pub(super) fn refusal(error: &commands::Error) -> ApiError {
    let kind = match error.kind() {
        Kind::NotFound => ErrorKind::NotFound,
        Kind::AlreadyExists => ErrorKind::AlreadyExists,
        Kind::FailedPrecondition => ErrorKind::FailedPrecondition,
        Kind::Aborted => ErrorKind::Aborted,
    };
    let message = error.to_string();
    let api_error = ApiError::new(kind, error.reason(), message.clone());
    match error {
        commands::Error::TaskNotFound { task_id } => api_error.with_resource("task", task_id.to_string()),
        commands::Error::TaskHasEnded { task_id, .. }
        | commands::Error::TaskHasNotEnded { task_id, .. }
        | commands::Error::TaskIsBeingDeleted { task_id } => {
            api_error.with_precondition("TASK_STATE", format!("task/{task_id}"), message)
        }
        commands::Error::RequestIdReused { request_id } => api_error.with_resource("request_id", request_id.as_str()),
        commands::Error::NodeNotFound { node } => api_error.with_resource("node", node.as_str()),
        commands::Error::NodeNameInUse { name, .. } => api_error.with_resource("node", name.as_str()),
        commands::Error::NodeHasChanged { node, actual, .. } => {
            api_error.with_resource("node", node.as_str()).with_metadata("etag", actual.as_str())
        }
    }
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
