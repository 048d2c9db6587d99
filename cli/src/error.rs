//! What can go wrong, told so that a person knows what to do next.

use std::error::Error as StdError;
use std::io;

use davit_svc_kit::client::AddressError;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

/// What went wrong.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// What was given as the manager's address is none.
    #[error("{source}")]
    Address {
        /// What is wrong with it.
        #[from]
        source: AddressError,
    },
    /// Nobody answers there.
    #[error(
        "can't reach a manager at {address} ({problem}). Start one with `davit dev`, or name yours with --manager or \
         DAVIT_MANAGER."
    )]
    Unreachable {
        /// Where it was looked for.
        address: String,
        /// What happened.
        problem: String,
    },
    /// The manager refused.
    #[error("{}", explain(.status))]
    Refused {
        /// Its answer.
        status: Box<Status>,
    },
    /// The command line asks for something that makes no sense.
    #[error("{message}")]
    Usage {
        /// What, and what would.
        message: String,
    },
    /// It can't be done; for people.
    #[error("{message}")]
    Failed {
        /// What, and what to do.
        message: String,
    },
    /// Standard output was closed by its reader: there is nobody left to tell.
    #[error("nobody reads the output any more")]
    OutputClosed,
    /// The system refused something.
    #[error("can't {action}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// Its answer.
        source: io::Error,
    },
}

impl Error {
    /// Something can't be done.
    pub fn failed(message: impl Into<String>) -> Self {
        Self::Failed { message: message.into() }
    }

    /// The command line is wrong.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::Usage { message: message.into() }
    }

    /// The exit code that stands for it.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::OutputClosed => 0,
            Self::Refused { .. } | Self::Failed { .. } | Self::Io { .. } => 1,
            Self::Address { .. } | Self::Usage { .. } => 2,
            Self::Unreachable { .. } => 3,
        }
    }

    /// What is wrong, without what is to be done about it.
    #[must_use]
    pub fn without_advice(self) -> String {
        match self {
            Self::Unreachable { problem, .. } => problem,
            error => error.to_string(),
        }
    }

    /// The manager's answer, if it was the manager that refused.
    #[must_use]
    pub fn status(&self) -> Option<&Status> {
        if let Self::Refused { status } = self { Some(status) } else { None }
    }

    /// The manager's code, if it was the manager that refused.
    #[must_use]
    pub fn code(&self) -> Option<Code> {
        if let Self::Refused { status } = self { Some(status.code()) } else { None }
    }
}

/// Whether an answer came from a manager rather than from the way to it: every error of a manager has an `ErrorInfo`.
#[must_use]
pub fn is_from_manager(status: &Status) -> bool {
    status.get_details_error_info().is_some()
}

/// What is at the bottom of an error.
pub(crate) fn deepest<'a>(error: &'a (dyn StdError + 'static)) -> &'a (dyn StdError + 'static) {
    let mut deepest = error;
    while let Some(source) = deepest.source() {
        deepest = source;
    }
    deepest
}

/// What is at the bottom of an error, in few words.
#[must_use]
pub fn root_problem(error: &(dyn StdError + 'static)) -> String {
    let deepest = deepest(error);
    match deepest.downcast_ref::<io::Error>().map(io::Error::kind) {
        Some(io::ErrorKind::ConnectionRefused) => "connection refused".to_owned(),
        Some(io::ErrorKind::TimedOut) => "no answer in time".to_owned(),
        _ => deepest.to_string(),
    }
}

/// A refusal for people: field violations one a line, else the message.
fn explain(status: &Status) -> String {
    let mut text = match status.get_details_bad_request().filter(|bad| !bad.field_violations.is_empty()) {
        Some(bad) => {
            let line = |field: &str, description: &str| match field {
                "" => format!("\n  {description}"),
                // It says itself in which file.
                field if field.starts_with("source.files") => format!("\n  {description}"),
                // Tasks are created in a batch of one group, which is nothing that the user wrote.
                field => format!("\n  {}: {description}", field.strip_prefix("groups[0].").unwrap_or(field)),
            };
            let lines = bad.field_violations.iter().map(|each| line(&each.field, &each.description));
            format!("the manager refused the request:{}", lines.collect::<String>())
        }
        None if status.message().is_empty() => status.code().description().to_owned(),
        None => status.message().to_owned(),
    };
    if let Some(delay) = status.get_details_retry_info().and_then(|retry| retry.retry_delay) {
        text.push_str(&format!(" (try again in {} s)", delay.as_secs_f64().ceil().max(1.0)));
    }
    text
}

#[cfg(test)]
mod tests {
    use davit_svc_kit::grpc::{ApiError, ErrorKind};
    use std::time::Duration;

    use super::*;

    fn refused(error: ApiError) -> Error {
        Error::Refused { status: Box::new(error.into()) }
    }

    #[test]
    fn violations_stand_one_a_line_with_their_fields() {
        let mut error = ApiError::invalid_field("groups[0].spec.container.image", "must not be empty");
        error.violations.as_mut().unwrap().add("groups[0].count", "is at least 1");
        let text = refused(error).to_string();
        assert_eq!(
            text,
            "the manager refused the request:\n  spec.container.image: must not be empty\n  count: is at least 1"
        );
    }

    #[test]
    fn a_refusal_that_passes_says_when_to_come_back() {
        let error = ApiError::new(ErrorKind::Unavailable, "STOPPING", "the manager is stopping");
        let error = refused(error.with_retry_after(Duration::from_millis(1500)));
        assert_eq!(error.to_string(), "the manager is stopping (try again in 2 s)");
        assert_eq!((error.exit_code(), error.code()), (1, Some(Code::Unavailable)));
    }

    #[test]
    fn a_manager_that_is_not_there_has_its_own_code_and_advice() {
        let problem = root_problem(&io::Error::from(io::ErrorKind::ConnectionRefused));
        let error = Error::Unreachable { address: "127.0.0.1:7400".to_owned(), problem };
        assert_eq!(error.exit_code(), 3);
        assert_eq!(
            error.to_string(),
            "can't reach a manager at 127.0.0.1:7400 (connection refused). Start one with `davit dev`, or name yours \
             with --manager or DAVIT_MANAGER."
        );
    }
}
