//! The worker's own small store: what it must still know after a restart, whatever the manager or an engine says.
//!
//! Of each attempt it holds the whole assignment (so a restarted worker knows what to run, how to stop it and which ports
//! are its own without asking the manager), how far the attempt was, its container, and the newest status that mattered,
//! with whether the manager has it durably (so that only what it lacks is sent again). And of each image that the worker pulled,
//! that it did and when it was used last: no others are ever removed.
//!
//! All of it is in memory and is written behind it in batches: whoever needs a write to be on disk waits for its batch, and
//! a batch takes along what gathered while the one before was written. A batch that fails is tried again with the next.
//!
//! A store that was damaged, emptied or cut is set aside, and an empty one takes its place. That breaks no promise where the
//! runtimes tell what they have: what runs is found by its labels, and is told to the manager as before. So such a worker
//! registers only after all its runtimes have told. What is lost is that an attempt was asked to stop (its end is told as it
//! was, and the manager has the last word), how often it was restarted here, and which images were pulled.
//!
//! What is synced to the disk before anything follows from it, and what need not be:
//!
//! | write | synced | why |
//! | --- | --- | --- |
//! | about to be created | no | a killed worker loses nothing; after a failure of the machine the engine's list tells of the container |
//! | about to be started, and must not run twice | yes | it may have run, also when engine or processes forgot it with the machine |
//! | about to be started | beside the start, before it is told as RUNNING | after a failure of the machine in between the engine's list tells; what forgot it too lets it begin once more |
//! | asked to stop | yes | a stopped attempt is never started again, also when the manager can't be asked |
//! | about to be restarted while the manager is out of reach | yes | restarts count against the limit of the restart policy |
//! | its end | yes, before it is reported | an end that the manager has acknowledged is never taken back |
//! | acknowledged | no | if it is lost, the status is sent once more, and the manager drops what it has |
//! | an image was pulled or used | no | if it is lost, the image stays too long |
//! | removed | no | if it is lost, what is left is a record of an end, which starts nothing and is removed again |

mod backend;
mod batches;
mod fjall;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod image;
mod record;

use std::path::PathBuf;

pub use self::backend::{Backend, Change, Entry, LOST_KEY};
pub use self::batches::LocalStore;
pub use self::fjall::FjallBackend;
pub use self::image::ImageRecord;
pub use self::record::{Known, Mark, Record, Restarts, Unhealthy};

/// The store can't be opened, read or written.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The file system does not let it.
    #[error("can't use the worker's store in {}: {problem}", path.display())]
    Unusable {
        /// Where the store is.
        path: PathBuf,
        /// Why.
        problem: String,
    },
    /// Another process has it open.
    #[error("the worker's store in {} is open in another process; give each worker its own --data-dir", path.display())]
    Locked {
        /// Where the store is.
        path: PathBuf,
    },
    /// A later version of the worker wrote it.
    #[error(
        "the worker's store in {} was written by a newer davit-worker: it has format {found}, and this one knows formats up to \
         {known}; run that version, or move the directory away to go on with what the engine alone tells",
        path.display()
    )]
    Newer {
        /// Where the store is.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// The newest format that this worker knows.
        known: u32,
    },
    /// What is on the disk is damaged.
    #[error("the worker's store in {} is damaged: {problem}", path.display())]
    Damaged {
        /// Where the store is.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// The store was closed, because the worker ends.
    #[error("the worker's store is closed")]
    Closed,
}

#[cfg(test)]
mod tests;
