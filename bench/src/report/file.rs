//! The result as a file, to compare with later ones.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::error::Error;
use crate::machine::Machine;

/// Writes `scheduler-<date>.json`. One of the same date and kind is replaced.
pub(crate) fn write(folder: &Path, machine: &Machine, result: &Value) -> Result<PathBuf, Error> {
    let kind = if result.get("cells").is_some() {
        "scheduler"
    } else if result.get("quality").is_some() {
        "scheduler-quality"
    } else {
        "scheduler-cell"
    };
    let path = folder.join(format!("{kind}-{}.json", machine.date));
    let written = std::fs::create_dir_all(folder).and_then(|()| std::fs::write(&path, format!("{result:#}\n")));
    match written {
        Ok(()) => Ok(path),
        Err(source) => Err(Error::Unwritable { path, source }),
    }
}
