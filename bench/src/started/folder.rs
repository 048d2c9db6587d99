//! Folders that are removed again.

use std::path::Path;
use std::time::Duration;

use super::{Entry, Thing, start};
use crate::error::Error;

/// What still writes into it has been ended, and is gone soon: so often it is tried to remove it, with a pause.
const ATTEMPTS: u32 = 20;
const PAUSE: Duration = Duration::from_millis(100);

/// A new folder. Removed when dropped.
#[derive(Debug)]
pub(crate) struct Folder {
    path: std::path::PathBuf,
    entry: Option<Entry>,
}

impl Folder {
    /// Makes one in `parent`, whose name begins so.
    pub(crate) fn new(parent: &Path, prefix: &str) -> Result<Self, Error> {
        let make = || tempfile::Builder::new().prefix(prefix).tempdir_in(parent).map(tempfile::TempDir::keep);
        let made = start(make, |path| Thing::Folder(path.clone()));
        let (path, entry) = made.map_err(|source| Error::Unwritable { path: parent.to_owned(), source })?;
        Ok(Self { path, entry: Some(entry) })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Removes it, and says why if that can't be done.
    pub(crate) fn remove(mut self) -> Result<(), Error> {
        self.try_remove().map_err(|source| Error::Unwritable { path: self.path.clone(), source })
    }

    /// What can't be removed stays in the list of what is left behind.
    fn try_remove(&mut self) -> std::io::Result<()> {
        let Some(entry) = self.entry.take() else { return Ok(()) };
        let mut removed = std::fs::remove_dir_all(&self.path);
        for _ in 1..ATTEMPTS {
            if removed.is_ok() || !self.path.exists() {
                return Ok(());
            }
            std::thread::park_timeout(PAUSE);
            removed = std::fs::remove_dir_all(&self.path);
        }
        if removed.is_err() {
            std::mem::forget(entry);
        }
        removed
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // It is told with all that is left behind.
        let _ = self.try_remove();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::started::left_behind;

    #[test]
    fn a_folder_is_listed_until_it_is_removed_with_all_that_is_in_it() {
        let folder = Folder::new(&std::env::temp_dir(), "davit-bench-test-").unwrap();
        let path = folder.path().to_owned();
        std::fs::write(path.join("file"), "x").unwrap();
        let is_listed = || left_behind().iter().any(|line| line.contains(&path.display().to_string()));
        assert!(path.is_dir() && is_listed());
        drop(folder);
        assert!(!path.exists() && !is_listed());
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_not_listed() {
        let error = Folder::new(Path::new("/proc/davit-bench"), "x-").unwrap_err().to_string();
        assert!(error.contains("/proc/davit-bench can't be written"), "{error}");
        assert!(!left_behind().iter().any(|line| line.contains("/proc/davit-bench")));
    }
}
