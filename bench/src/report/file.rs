//! The result as a file, to compare with later ones.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::error::Error;
use crate::machine::Machine;

/// Where results go unless an option says otherwise.
pub(crate) fn usual_folder() -> PathBuf {
    let beside = crate::options::beside();
    beside.parent().map_or(beside.clone(), PathBuf::from).join("bench")
}

/// Writes `<kind>-<date>.json`. One of the same date and kind is replaced.
pub(crate) fn write(folder: &Path, kind: &str, machine: &Machine, result: &Value) -> Result<PathBuf, Error> {
    let path = folder.join(format!("{kind}-{}.json", machine.date));
    let written = std::fs::create_dir_all(folder).and_then(|()| std::fs::write(&path, format!("{result:#}\n")));
    match written {
        Ok(()) => Ok(path),
        Err(source) => Err(Error::Unwritable { path, source }),
    }
}
