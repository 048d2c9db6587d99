//! How a new store is made: beside its place, until it is whole and synced; then its mark is made, and then it is put in its place
//! by one rename. So what is in its place was whole once, and is never made anew, whatever it may lack; and in what is beside it
//! nothing was ever committed, whatever it may hold.

use std::fs::File;
use std::io::{ErrorKind, Result};
use std::path::Path;

use davit_proto::store_v1::StoreIdentity;
use davit_svc_kit::mark::sync_parent;

use super::engine::{Engine, Problem};
use super::schema::identity_write;

/// Makes the engine of a new store, and removes what was left of one that was not made whole.
pub(super) fn make(path: &Path, identity: &StoreIdentity) -> std::result::Result<(), Problem> {
    let io = |problem: std::io::Error| Problem::Io(problem.to_string());
    match std::fs::remove_dir_all(path) {
        Ok(()) => {
            let path = path.display();
            tracing::info!(%path, "what was left of a store that was never made whole is removed; nothing was committed to it");
        }
        Err(problem) if problem.kind() == ErrorKind::NotFound => {}
        Err(problem) => return Err(io(problem)),
    }
    let engine = Engine::make(path)?;
    engine.write(&[identity_write(identity)])?;
    drop(engine);
    sync_all(path).and_then(|()| sync_parent(path)).map_err(io)
}

/// Makes all files in a directory durable, and their names.
fn sync_all(path: &Path) -> Result<()> {
    for entry in std::fs::read_dir(path)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            sync_all(&entry.path())?;
        } else {
            File::open(entry.path())?.sync_all()?;
        }
    }
    File::open(path)?.sync_all()
}
