//! A cluster's state as one file: what a store holds, at one revision, without the events.
//!
//! Its records are those of the store, so a restored one is checked as any store is when it is loaded. A restored cluster
//! begins [`REVISION_JUMP`] revisions later: what happened after the backup is lost, and nobody who saw it may believe that the
//! cluster's events go on from there.

#[cfg(any(test, feature = "fuzzing"))]
pub(super) mod fuzzing;
mod read;
#[cfg(test)]
mod tests;
mod write;

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use davit_core::id::{ClusterId, Revision};
use jiff::Timestamp;

pub(super) use self::read::BackupReader;
pub use self::write::BackupWriter;
pub use crate::state::REVISION_JUMP;

/// What every backup begins with.
const MAGIC: &[u8; 8] = b"davitbk1";

/// Of what a backup is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupInfo {
    /// The cluster's name.
    pub cluster: String,
    /// The cluster's id, which it keeps.
    pub cluster_id: ClusterId,
    /// The version of the manager that made it.
    pub manager_version: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// The revision at which it is.
    pub revision: Revision,
    /// The schema of its records.
    pub(super) schema_version: u32,
}

/// Why a backup can't be read.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The disk, or what stands for it, refused.
    #[error("it can't be read: {0}")]
    Io(#[from] std::io::Error),
    /// It is something else.
    #[error("it is no backup of a cluster")]
    Foreign,
    /// It ends early.
    #[error("it is cut: it ends after {bytes} bytes, before its end was told")]
    Cut {
        /// How long it is.
        bytes: u64,
    },
    /// It is not what was written.
    #[error("it is damaged: {0}")]
    Damaged(String),
}

/// Reads a backup to its end. Says of what it is.
///
/// # Errors
/// When it is not whole.
pub fn check_backup(file: &Path) -> Result<BackupInfo, BackupError> {
    let reader = BackupReader::begin(BufReader::new(File::open(file)?))?;
    let info = reader.info().clone();
    reader.check()?;
    Ok(info)
}
