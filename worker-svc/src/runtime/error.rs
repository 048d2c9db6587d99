//! Why a runtime could not do what it was asked, and whether asking again can help.

use std::sync::Arc;
use std::time::Duration;

use davit_core::id::AttemptKey;

/// What the caller can do about an [`Error`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// Asking again gives the same answer: the attempt failed, and the error's text says why.
    Permanent,
    /// The engine, a registry or the machine does not answer now: ask again, with back-off.
    Unavailable,
    /// There is no such instance (any more), or it is not in a state that allows the step.
    NotFound,
}

/// Why a runtime could not do what it was asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The engine did not answer, or answered that it can't now.
    #[error("{action}: the engine does not answer: {reason}")]
    Unavailable {
        /// What was tried.
        action: &'static str,
        /// In the words of whoever failed.
        reason: String,
    },
    /// The manager did not give what was asked of it.
    #[error("can't {action}: {reason}")]
    Unanswered {
        /// What was tried.
        action: &'static str,
        /// Why.
        reason: String,
    },
    /// The engine refused, or could not do it with this spec. Its own words.
    #[error("{message}")]
    Rejected {
        /// What was tried.
        action: &'static str,
        /// The engine's text.
        message: String,
    },
    /// The spec asks for what this runtime can't do.
    #[error("{what}")]
    Unsupported {
        /// What it can't do.
        what: String,
    },
    /// The image is not on the node and may not be pulled.
    #[error("image {image} is not on the node and its pull policy is never")]
    ImageMissing {
        /// The image.
        image: String,
    },
    /// The registry refused the image for good: it does not exist, or access is denied.
    #[error("cannot pull {image}: {message}")]
    PullRejected {
        /// The image.
        image: String,
        /// The engine's text.
        message: String,
    },
    /// The pull broke for a reason that may pass.
    #[error("cannot pull {image} now: {message}")]
    PullFailed {
        /// The image.
        image: String,
        /// The engine's text.
        message: String,
    },
    /// The pull made no progress for too long.
    #[error("pull of {image} made no progress for {} s", stalled_for.as_secs_f64())]
    PullStalled {
        /// The image.
        image: String,
        /// How long nothing happened.
        stalled_for: Duration,
    },
    /// The image was there when it was looked for, and is not any more.
    #[error("image {image} was removed from the node before a container could be made of it")]
    ImageGone {
        /// The image.
        image: String,
    },
    /// There is no such instance of this owner.
    #[error("attempt {key} is not on this node")]
    NotFound {
        /// What was asked for.
        key: AttemptKey,
    },
    /// It was never started.
    #[error("attempt {key} was not started")]
    NotStarted {
        /// What was asked for.
        key: AttemptKey,
    },
    /// It ran already; an attempt runs only once.
    #[error("attempt {key} has already ended")]
    AlreadyExited {
        /// What was asked for.
        key: AttemptKey,
    },
    /// The node's own file system or process table failed.
    #[error("{action}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// Why it failed.
        source: Arc<std::io::Error>,
    },
}

impl Error {
    /// What the caller can do about it.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Rejected { .. }
            | Self::Unsupported { .. }
            | Self::ImageMissing { .. }
            | Self::PullRejected { .. } => ErrorKind::Permanent,
            Self::Unavailable { .. }
            | Self::Unanswered { .. }
            | Self::PullFailed { .. }
            | Self::PullStalled { .. }
            | Self::Io { .. } => ErrorKind::Unavailable,
            Self::ImageGone { .. } | Self::NotFound { .. } | Self::NotStarted { .. } | Self::AlreadyExited { .. } => {
                ErrorKind::NotFound
            }
        }
    }
}
