//! A store that begins with a backup. It is made beside its place, checked as every store is when it is loaded, and then moved
//! there: a restore that ends early leaves nothing that a manager would take for a store.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use davit_core::id::Revision;
use davit_proto::store_v1::{BackupTable, StoreIdentity};
use davit_svc_kit::mark::sync_parent;
use prost::Message as _;

use super::super::Error;
use super::super::backup::{BackupError, BackupInfo, BackupReader, REVISION_JUMP};
use super::directory::{Directory, UNFINISHED};
use super::engine::{Table, Write};
use super::schema::{self, HEAD_KEY, SCHEMA};
use super::{FjallStore, directory, volumes};

/// Records that are written at once.
const BATCH: usize = 4096;

/// Why a backup was not restored. Nothing is where the store was to be.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The backup can't be used.
    #[error("{}: {problem}", path.display())]
    Backup {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: BackupError,
    },
    /// The backup was made by a later release.
    #[error("{} has schema {stored} and this release knows none above {known}: it takes a later one", path.display())]
    NewerSchema {
        /// The file.
        path: PathBuf,
        /// Its schema.
        stored: u32,
        /// The newest that is known.
        known: u32,
    },
    /// The backup is another cluster's than was named.
    #[error(
        "{} is a backup of cluster `{stored}`, and --cluster (or DAVIT_CLUSTER, or the settings' file) says `{asked}`: name \
         `{stored}`, or none, to restore it",
        path.display()
    )]
    OtherCluster {
        /// The file.
        path: PathBuf,
        /// The cluster that the backup is of.
        stored: String,
        /// The cluster that was to be restored.
        asked: String,
    },
    /// There is something already.
    #[error("{} is not empty; nothing is restored over what is there: use another --data-dir, or move it away", path.display())]
    NotEmpty {
        /// The directory.
        path: PathBuf,
    },
    /// The directory can't be written.
    #[error("{} can't be written: {problem}", path.display())]
    Io {
        /// What.
        path: PathBuf,
        /// Why.
        problem: std::io::Error,
    },
    /// The store that would come of it is none.
    #[error(transparent)]
    Store(#[from] Error),
}

/// Makes the store of a backup in a directory that is empty or not there, if it is of this cluster, where one is named. Says of
/// what it is, and the revision with which the cluster goes on. Blocks.
///
/// # Errors
/// When the backup is not whole or of another cluster, or the directory is in use or can't be written.
pub fn restore(file: &Path, data_dir: &Path, cluster: Option<&str>) -> Result<(BackupInfo, Revision), RestoreError> {
    let io = |path: &Path| {
        let path = path.to_owned();
        move |problem| RestoreError::Io { path, problem }
    };
    let of_backup = |problem| RestoreError::Backup { path: file.to_owned(), problem };
    let open = || BackupReader::begin(BufReader::new(File::open(file)?));
    let reader = open().map_err(of_backup)?;
    let info = reader.info().clone();
    if info.schema_version > SCHEMA {
        return Err(RestoreError::NewerSchema { path: file.to_owned(), stored: info.schema_version, known: SCHEMA });
    }
    if let Some(asked) = cluster.filter(|asked| *asked != info.cluster) {
        let (path, stored, asked) = (file.to_owned(), info.cluster, asked.to_owned());
        return Err(RestoreError::OtherCluster { path, stored, asked });
    }
    reader.check().map_err(of_backup)?;
    make_empty(data_dir)?;
    let unfinished = data_dir.join(UNFINISHED);
    let revision = fill(open().map_err(of_backup)?, &info, &unfinished, &of_backup)?;
    FjallStore::open(&unfinished, &info.cluster)?.inner.lock().load()?;
    // While the unfinished directory is there, no manager takes the rest for a store.
    for name in [directory::MARK_FILE, directory::ENGINE_DIR] {
        let to = data_dir.join(name);
        std::fs::rename(unfinished.join(name), &to).map_err(io(&to))?;
    }
    sync_parent(&unfinished).map_err(io(data_dir))?;
    std::fs::remove_dir_all(&unfinished).map_err(io(&unfinished))?;
    sync_parent(&unfinished).map_err(io(data_dir))?;
    Ok((info, revision))
}

/// Makes the directory, and takes away what an unfinished restore left in it.
fn make_empty(data_dir: &Path) -> Result<(), RestoreError> {
    let io = |problem| RestoreError::Io { path: data_dir.to_owned(), problem };
    std::fs::create_dir_all(data_dir).map_err(io)?;
    let found = directory::entries(data_dir).map_err(io)?;
    if !found.iter().any(|name| name == UNFINISHED) {
        return if found.is_empty() { Ok(()) } else { Err(RestoreError::NotEmpty { path: data_dir.to_owned() }) };
    }
    for name in [directory::MARK_FILE, directory::ENGINE_DIR, UNFINISHED] {
        let path = data_dir.join(name);
        let removed = if path.is_dir() { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) };
        match removed {
            Err(problem) if problem.kind() != std::io::ErrorKind::NotFound => return Err(io(problem)),
            Ok(()) | Err(_) => {}
        }
    }
    Ok(())
}

/// Writes all of a backup into a new store, the head last.
fn fill(
    mut reader: BackupReader<BufReader<File>>,
    info: &BackupInfo,
    path: &Path,
    of_backup: &impl Fn(BackupError) -> RestoreError,
) -> Result<Revision, RestoreError> {
    let identity = StoreIdentity {
        schema_version: info.schema_version,
        cluster: info.cluster.clone(),
        cluster_id: info.cluster_id.0.as_bytes().to_vec(),
    };
    let mut directory = Directory::open(path.to_owned(), || identity)?;
    let engine = directory.open_engine()?;
    let write = |writes: &[Write]| {
        let written = engine.write(writes);
        written.map_err(|problem| RestoreError::Store(Error::Unavailable { problem: problem.to_string() }))
    };
    let mut writes = Vec::with_capacity(BATCH);
    while let Some(entry) = reader.next().map_err(of_backup)? {
        let (table, key) = match entry.table {
            BackupTable::Specs => (Table::Specs, entry.key),
            BackupTable::Tasks => (Table::Tasks, entry.key),
            BackupTable::Nodes => (Table::Nodes, entry.key),
            BackupTable::Deployments => (Table::Meta, schema::deployment_key(&entry.key)),
            BackupTable::Jobs => (Table::Meta, schema::job_key(&entry.key)),
            BackupTable::Configs => (Table::Meta, schema::config_key(&entry.key)),
            BackupTable::Contents => (Table::Meta, schema::content_key(&entry.key)),
            BackupTable::Volumes => (Table::Meta, volumes::key(&entry.key)),
            BackupTable::Requests | BackupTable::Unspecified => (Table::Requests, entry.key),
        };
        writes.push(Write { table, key, value: Some(entry.value) });
        if writes.len() == BATCH {
            write(&writes)?;
            writes.clear();
        }
    }
    let mut head = reader.head().unwrap_or_default();
    let revision = Revision(info.revision.0.saturating_add(REVISION_JUMP));
    (head.revision, head.compacted_revision) = (revision.0, revision.0);
    writes.push(Write { table: Table::Meta, key: HEAD_KEY.to_vec(), value: Some(head.encode_to_vec()) });
    write(&writes)?;
    directory.mark(revision);
    Ok(revision)
}
