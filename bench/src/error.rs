//! Why a measurement could not be made, or can't be believed.

use std::path::PathBuf;
use std::time::Duration;

/// Why a measurement could not be made, or can't be believed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// A service's program does not run.
    #[error("{} does not run: {source}; build it with `cargo build --release --bins`", path.display())]
    NotStarted {
        /// Where it was looked for.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It ended or went quiet before it said where it serves.
    #[error("the scheduler did not say where it serves: {said}")]
    NoAddress {
        /// What it said instead.
        said: String,
    },
    /// It can't be reached.
    #[error("the scheduler can't be reached: {0}")]
    Unreachable(String),
    /// A call failed.
    #[error("a call failed: {0}")]
    Stream(#[from] tonic::Status),
    /// The stream ended although answers were owed.
    #[error("the placement stream ended early")]
    StreamEnded,
    /// Nothing came for a long time.
    #[error("no answer for {0:?}")]
    Hangs(Duration),
    /// A file of the system can't be read.
    #[error("{} can't be read: {source}", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The result can't be written.
    #[error("{} can't be written: {source}", path.display())]
    Unwritable {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// An engine does not do what it is asked.
    #[error("the engine does not do what it is asked: {0}")]
    Engine(#[from] bollard::errors::Error),
    /// A command failed.
    #[error("{} failed: {said}", program.display())]
    CommandFailed {
        /// Which.
        program: PathBuf,
        /// What it said.
        said: String,
    },
    /// The figures are worth nothing, since the answers are wrong.
    #[error("WRONG ANSWER: {0}")]
    WrongAnswer(String),
    /// Not even one run.
    #[error("nothing was measured")]
    NothingMeasured,
}
