//! What can go wrong with the harness itself, as opposed to the cluster that it tortures.

use std::io;
use std::path::Path;

/// The harness could not do its work.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// Another program did not do what it was asked.
    #[error("`{command}` {problem}")]
    Command {
        /// As one would type it.
        command: String,
        /// What became of it, with what it printed.
        problem: String,
    },
    /// A file, directory or process.
    #[error("{what}: {source}")]
    Io {
        /// What was being done.
        what: String,
        /// Why it failed.
        source: io::Error,
    },
    /// Something did not become true in time.
    #[error("after {seconds} s still not: {what} ({last})")]
    Timeout {
        /// What was waited for.
        what: String,
        /// For how long.
        seconds: u64,
        /// What was seen last.
        last: String,
    },
    /// This machine can't do it.
    #[error("{0}")]
    Machine(String),
    /// By a signal.
    #[error("interrupted")]
    Interrupted,
}

pub(crate) type Result<T> = std::result::Result<T, Error>;

/// Says what was being done to which file.
pub(crate) fn io_at(what: &str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    let what = format!("{what} {}", path.display());
    move |source| Error::Io { what, source }
}
