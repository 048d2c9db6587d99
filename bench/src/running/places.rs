//! Where programs are found, and where what they leave goes.

use std::path::{Path, PathBuf};

use super::programs::free_address;
use crate::error::Error;
use crate::started::Folder;

/// Options of all that runs the real programs.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Places {
    /// Where the programs are [default: beside this one]
    #[arg(long, value_name = "FOLDER")]
    programs: Option<PathBuf>,
    /// Where the programs' logs go and stay [default: they are removed with the store]
    #[arg(long, value_name = "FOLDER")]
    logs: Option<PathBuf>,
    /// Where the store is made and removed [default: beside this program's folder, on the same disk as the build]
    #[arg(long, value_name = "FOLDER")]
    scratch: Option<PathBuf>,
}

impl Places {
    pub(super) fn programs(&self) -> PathBuf {
        self.programs.clone().unwrap_or_else(crate::options::beside)
    }

    /// The folder of logs: that of the options, or one that is removed with `scratch`.
    pub(super) fn logs(&self, scratch: &Path) -> Result<PathBuf, Error> {
        let path = self.logs.clone().unwrap_or_else(|| scratch.to_owned());
        std::fs::create_dir_all(&path).map_err(|source| Error::Unwritable { path: path.clone(), source })?;
        Ok(path)
    }

    /// A new folder, removed when dropped.
    pub(crate) fn scratch(&self) -> Result<Folder, Error> {
        Folder::new(&self.scratch.clone().unwrap_or_else(crate::options::beside), "davit-bench-cluster-")
    }

    /// An address for a program, that nobody listens on just now.
    pub(super) fn address(&self) -> Result<String, Error> {
        let address = free_address().map_err(|source| Error::NotStarted { path: self.programs(), source })?;
        Ok(address.to_string())
    }
}
