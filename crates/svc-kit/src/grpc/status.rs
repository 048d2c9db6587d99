//! From an error to a `google.rpc.Status`: one table from kind to code, and details that a program can act on.

use std::collections::HashMap;
use std::time::Duration;

use davit_core::validate::Violations;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

/// The `domain` of every `ErrorInfo`.
pub const ERROR_DOMAIN: &str = "davit.dev";

/// The entry of an `ErrorInfo`'s metadata that says how many violations are left out of the details.
pub const VIOLATIONS_LEFT_OUT: &str = "violations_left_out";

/// Details travel in a header, and common clients refuse more than 8 KiB of headers. What goes beyond is cut, and said.
const MAX_MESSAGE_BYTES: usize = 1024;
const MAX_VIOLATIONS_BYTES: usize = 3072;
const MAX_DESCRIPTION_BYTES: usize = 512;

/// What kind of error it is: what the caller can do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The request is wrong whatever the state; change it.
    InvalidArgument,
    /// No such thing.
    NotFound,
    /// A thing with this id or name exists.
    AlreadyExists,
    /// The state does not allow it; change the state first.
    FailedPrecondition,
    /// Somebody else changed it in between; read again and retry.
    Aborted,
    /// A limit or quota is reached.
    ResourceExhausted,
    /// Try again later, with back-off.
    Unavailable,
    /// Not done in the caller's time.
    DeadlineExceeded,
    /// The caller gave up.
    Cancelled,
    /// Beyond what is kept, such as a compacted revision.
    OutOfRange,
    /// Not offered by this server.
    Unimplemented,
    /// The caller did not say who it is.
    Unauthenticated,
    /// The caller may not do this.
    PermissionDenied,
    /// Data is lost or corrupt.
    DataLoss,
    /// A bug or a broken promise of something beneath; a person must look.
    Internal,
}

/// The table from kind to code, with the reason that stands in `ErrorInfo` when nothing better is known.
const TABLE: [(ErrorKind, Code, &str); 15] = [
    (ErrorKind::InvalidArgument, Code::InvalidArgument, "INVALID_ARGUMENT"),
    (ErrorKind::NotFound, Code::NotFound, "NOT_FOUND"),
    (ErrorKind::AlreadyExists, Code::AlreadyExists, "ALREADY_EXISTS"),
    (ErrorKind::FailedPrecondition, Code::FailedPrecondition, "FAILED_PRECONDITION"),
    (ErrorKind::Aborted, Code::Aborted, "ABORTED"),
    (ErrorKind::ResourceExhausted, Code::ResourceExhausted, "RESOURCE_EXHAUSTED"),
    (ErrorKind::Unavailable, Code::Unavailable, "UNAVAILABLE"),
    (ErrorKind::DeadlineExceeded, Code::DeadlineExceeded, "DEADLINE_EXCEEDED"),
    (ErrorKind::Cancelled, Code::Cancelled, "CANCELLED"),
    (ErrorKind::OutOfRange, Code::OutOfRange, "OUT_OF_RANGE"),
    (ErrorKind::Unimplemented, Code::Unimplemented, "UNIMPLEMENTED"),
    (ErrorKind::Unauthenticated, Code::Unauthenticated, "UNAUTHENTICATED"),
    (ErrorKind::PermissionDenied, Code::PermissionDenied, "PERMISSION_DENIED"),
    (ErrorKind::DataLoss, Code::DataLoss, "DATA_LOSS"),
    (ErrorKind::Internal, Code::Internal, "INTERNAL"),
];

impl ErrorKind {
    /// The gRPC code of this kind.
    #[must_use]
    pub fn code(self) -> Code {
        TABLE.iter().find(|row| row.0 == self).map_or(Code::Internal, |row| row.1)
    }

    /// The kind that has a gRPC code; `Internal` for codes that no kind has.
    #[must_use]
    pub fn from_code(code: Code) -> Self {
        TABLE.iter().find(|row| row.1 == code).map_or(Self::Internal, |row| row.0)
    }

    /// The reason that stands in `ErrorInfo` when nothing better is known.
    #[must_use]
    pub fn default_reason(self) -> &'static str {
        TABLE.iter().find(|row| row.0 == self).map_or("INTERNAL", |row| row.2)
    }
}

/// A thing that an error is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resource {
    /// Such as `task`.
    pub resource_type: String,
    /// Its id or name.
    pub name: String,
}

/// A condition that did not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Precondition {
    /// Such as `TASK_STATE`.
    pub condition_type: String,
    /// What it was checked on, such as `task/0193…`.
    pub subject: String,
    /// What is, and what would have to be.
    pub description: String,
}

/// An error as the API tells it. `Into<Status>` is its end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}: {message}")]
pub struct ApiError {
    /// Decides the code.
    pub kind: ErrorKind,
    /// `ErrorInfo.reason`, in `UPPER_SNAKE`: a name for programs that never changes.
    pub reason: &'static str,
    /// For people: what is wrong and what to do.
    pub message: String,
    /// `ErrorInfo.metadata`: what a program may want to know.
    pub metadata: HashMap<String, String>,
    /// `BadRequest.field_violations`.
    pub violations: Option<Violations>,
    /// `ResourceInfo`.
    pub resource: Option<Resource>,
    /// `RetryInfo.retry_delay`.
    pub retry_after: Option<Duration>,
    /// `PreconditionFailure.violations`.
    pub precondition: Option<Precondition>,
}

impl ApiError {
    /// An error with only the parts that every one has.
    pub fn new(kind: ErrorKind, reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            kind,
            reason,
            message: message.into(),
            metadata: HashMap::new(),
            violations: None,
            resource: None,
            retry_after: None,
            precondition: None,
        }
    }

    /// A request with these things wrong.
    #[must_use]
    pub fn invalid(violations: Violations) -> Self {
        let message = violations.to_string();
        let mut error = Self::new(ErrorKind::InvalidArgument, "INVALID_REQUEST", message);
        error.violations = Some(violations);
        error
    }

    /// A request with one field wrong.
    pub fn invalid_field(field: impl Into<String>, description: impl Into<String>) -> Self {
        let mut violations = Violations::new();
        violations.add(field, description);
        Self::invalid(violations)
    }

    /// No such thing.
    pub fn not_found(reason: &'static str, resource_type: impl Into<String>, name: impl Into<String>) -> Self {
        let (resource_type, name) = (resource_type.into(), name.into());
        Self::new(ErrorKind::NotFound, reason, format!("there is no {resource_type} `{name}`"))
            .with_resource(resource_type, name)
    }

    /// A bug or a broken promise of something beneath.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Internal, "INTERNAL", message)
    }

    /// Adds one entry to the metadata.
    #[must_use]
    pub fn with_metadata(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.metadata.insert(key.into(), value.into());
        self
    }

    /// Says what it is about.
    #[must_use]
    pub fn with_resource(mut self, resource_type: impl Into<String>, name: impl Into<String>) -> Self {
        self.resource = Some(Resource { resource_type: resource_type.into(), name: name.into() });
        self
    }

    /// Says when a retry makes sense.
    #[must_use]
    pub fn with_retry_after(mut self, delay: Duration) -> Self {
        self.retry_after = Some(delay);
        self
    }

    /// Says which condition did not hold.
    #[must_use]
    pub fn with_precondition(
        mut self,
        condition_type: impl Into<String>,
        subject: impl Into<String>,
        description: impl Into<String>,
    ) -> Self {
        self.precondition = Some(Precondition {
            condition_type: condition_type.into(),
            subject: subject.into(),
            description: description.into(),
        });
        self
    }
}

impl From<Violations> for ApiError {
    fn from(violations: Violations) -> Self {
        Self::invalid(violations)
    }
}

impl From<ApiError> for Status {
    fn from(error: ApiError) -> Self {
        let mut details = ErrorDetails::new();
        let mut metadata: HashMap<_, _> =
            error.metadata.into_iter().map(|(key, value)| (key, cut(value, MAX_DESCRIPTION_BYTES))).collect();
        let left_out = error.violations.map_or(0, |violations| add_violations(&mut details, violations));
        if left_out > 0 {
            metadata.insert(VIOLATIONS_LEFT_OUT.to_owned(), left_out.to_string());
        }
        details.set_error_info(error.reason, ERROR_DOMAIN, metadata);
        if let Some(resource) = error.resource {
            let name = cut(resource.name, MAX_DESCRIPTION_BYTES);
            details.set_resource_info(resource.resource_type, name, "", "");
        }
        if let Some(delay) = error.retry_after {
            details.set_retry_info(Some(delay));
        }
        if let Some(precondition) = error.precondition {
            details.add_precondition_failure_violation(
                precondition.condition_type,
                cut(precondition.subject, MAX_DESCRIPTION_BYTES),
                cut(precondition.description, MAX_DESCRIPTION_BYTES),
            );
        }
        Self::with_error_details(error.kind.code(), cut(error.message, MAX_MESSAGE_BYTES), details)
    }
}

/// Adds as many violations as the header bears, and says how many are left out.
fn add_violations(details: &mut ErrorDetails, violations: Violations) -> usize {
    let total = violations.0.len();
    let mut used = 0;
    for (index, violation) in violations.0.into_iter().enumerate() {
        let field = cut(violation.field, MAX_DESCRIPTION_BYTES);
        let description = cut(violation.description, MAX_DESCRIPTION_BYTES);
        used += field.len() + description.len() + 8;
        if used > MAX_VIOLATIONS_BYTES && index > 0 {
            let left_out = total - index;
            let text = if left_out == 1 { "violation that is not listed" } else { "violations that are not listed" };
            details.add_bad_request_violation("", format!("and {left_out} more {text}"));
            return left_out;
        }
        details.add_bad_request_violation(field, description);
    }
    0
}

/// Cuts a text to at most `max` bytes, between characters, and marks the cut.
fn cut(mut text: String, max: usize) -> String {
    if text.len() > max {
        let end = (0..=max - '…'.len_utf8()).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
        text.truncate(end);
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_one_code_and_every_code_one_kind() {
        for (kind, code, reason) in TABLE {
            assert_eq!(kind.code(), code);
            assert_eq!(ErrorKind::from_code(code), kind);
            assert_eq!(kind.default_reason(), reason);
        }
    }

    #[test]
    fn details_arrive() {
        let error = ApiError::not_found("TASK_NOT_FOUND", "task", "web")
            .with_metadata("asked", "web")
            .with_retry_after(Duration::from_secs(2))
            .with_precondition("TASK_STATE", "task/web", "it is gone");
        let status = Status::from(error);
        assert_eq!(status.code(), Code::NotFound);
        let details = status.get_error_details();
        let info = details.error_info().unwrap();
        assert_eq!((info.reason.as_str(), info.domain.as_str()), ("TASK_NOT_FOUND", ERROR_DOMAIN));
        assert_eq!(info.metadata["asked"], "web");
        assert_eq!(details.resource_info().unwrap().resource_name, "web");
        assert_eq!(details.retry_info().unwrap().retry_delay, Some(Duration::from_secs(2)));
        assert_eq!(details.precondition_failure().unwrap().violations[0].r#type, "TASK_STATE");
    }

    #[test]
    fn violations_become_field_violations() {
        let status = Status::from(ApiError::invalid_field("spec.name", "is empty"));
        assert_eq!(status.message(), "spec.name: is empty");
        let details = status.get_error_details();
        assert_eq!(details.bad_request().unwrap().field_violations[0].field, "spec.name");
    }

    #[test]
    fn ten_thousand_violations_fit_a_header() {
        let mut violations = Violations::new();
        for index in 0..10_000 {
            violations.add(format!("specs[{index}].name"), "ü".repeat(600));
        }
        let status = Status::from(ApiError::invalid(violations));
        assert!(status.details().len() < 6000, "{}", status.details().len());
        let details = status.get_error_details();
        let listed = &details.bad_request().unwrap().field_violations;
        let last = &listed[listed.len() - 1].description;
        let left_out = 10_000 - (listed.len() - 1);
        assert_eq!(*last, format!("and {left_out} more violations that are not listed"));
        assert_eq!(details.error_info().unwrap().metadata[VIOLATIONS_LEFT_OUT], left_out.to_string());
    }

    #[test]
    fn one_violation_that_is_left_out_is_one() {
        let mut violations = Violations::new();
        for index in 0..6 {
            violations.add(format!("specs[{index}].name"), "x".repeat(500));
        }
        let status = Status::from(ApiError::invalid(violations));
        let details = status.get_error_details();
        let listed = &details.bad_request().unwrap().field_violations;
        assert_eq!(listed.len(), 6, "{listed:?}");
        assert_eq!(listed[5].description, "and 1 more violation that is not listed");
    }
}
