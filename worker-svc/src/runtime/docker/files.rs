//! Configs and secrets of containers: files in a directory of each attempt's own, in memory, that are mounted into its container.
//!
//! Whatever an attempt is given goes with its container. What a worker left that died between the two is found when all containers
//! are looked at for the first time.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::{self, DirBuilder, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bollard::models::{Mount, MountType};
use davit_core::file::{ConfigKind, FileContent, FileGrant};
use davit_core::id::{AttemptKey, NodeId};
use nix::sys::statfs::{FsType, TMPFS_MAGIC, statfs};
use parking_lot::Mutex;

use crate::runtime::{AttemptSpec, Error};

/// Where files are unless the configuration says otherwise: the first that is in memory.
const DEFAULT_DIRS: [&str; 2] = ["/run/davit", "/dev/shm/davit"];
/// A file system that is nothing but the kernel's cache.
const RAMFS_MAGIC: FsType = FsType(0x8584_58f6);

/// The files of one owner's attempts.
#[derive(Debug, Clone)]
pub(super) struct Files(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    node_id: NodeId,
    /// As configured.
    dir: Option<PathBuf>,
    /// Attempts that this process has given files, until they are removed.
    given: Mutex<BTreeSet<AttemptKey>>,
    /// The owner is this worker's: what nobody needs may be removed.
    in_charge: AtomicBool,
    swept: AtomicBool,
}

/// Where files can be.
struct Place {
    dir: PathBuf,
    in_memory: bool,
}

impl Files {
    pub(super) fn new(node_id: NodeId, dir: Option<PathBuf>) -> Self {
        let (given, in_charge, swept) = (Mutex::default(), AtomicBool::default(), AtomicBool::default());
        Self(Arc::new(Inner { node_id, dir, given, in_charge, swept }))
    }

    /// Writes an attempt's files. Says where the engine is to mount them.
    pub(super) async fn give(&self, attempt: &AttemptSpec) -> Result<Vec<Mount>, Error> {
        let files = attempt.given_files()?;
        if files.is_empty() {
            return Ok(Vec::new());
        }
        let (inner, key) = (Arc::clone(&self.0), attempt.key);
        blocking(move || inner.give(key, &files)).await
    }

    /// Removes what an attempt was given.
    pub(super) async fn take_away(&self, key: AttemptKey) -> Result<(), Error> {
        self.take_away_of(self.0.node_id, key).await
    }

    /// The same of any node that uses the same directory.
    pub(super) async fn take_away_of(&self, node_id: NodeId, key: AttemptKey) -> Result<(), Error> {
        let inner = Arc::clone(&self.0);
        blocking(move || {
            for root in inner.roots() {
                absent_is_fine(fs::remove_dir_all(attempt_dir(&root, node_id, key))).map_err(failed)?;
            }
            inner.given.lock().remove(&key);
            Ok(())
        })
        .await
    }

    /// The owner is this worker's.
    pub(super) fn take_charge(&self) {
        self.0.in_charge.store(true, Ordering::Relaxed);
    }

    /// Whether it is to be looked for what a worker left that died.
    pub(super) fn wants_sweep(&self) -> bool {
        self.0.in_charge.load(Ordering::Relaxed) && !self.0.swept.load(Ordering::Relaxed)
    }

    /// Removes what belongs to none of these attempts, which are all that have a container.
    pub(super) async fn sweep(&self, there: BTreeSet<AttemptKey>) {
        let inner = Arc::clone(&self.0);
        match blocking(move || inner.sweep(&there)).await {
            Ok(()) => self.0.swept.store(true, Ordering::Relaxed),
            Err(error) => tracing::warn!(%error, "configs and secrets that nobody needs are still there"),
        }
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, Error> + Send + 'static) -> Result<T, Error> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|broken| Err(failed(io::Error::other(broken))))
}

fn failed(source: io::Error) -> Error {
    Error::Io { action: "write or remove configs and secrets", source: Arc::new(source) }
}

impl Inner {
    /// Where files may be, or may have been.
    fn roots(&self) -> Vec<PathBuf> {
        match &self.dir {
            Some(dir) => vec![dir.clone()],
            None => DEFAULT_DIRS.map(PathBuf::from).into(),
        }
    }

    fn give(&self, key: AttemptKey, files: &[(FileGrant, FileContent)]) -> Result<Vec<Mount>, Error> {
        let place = self.place()?;
        let secret = files.iter().find(|(grant, _)| grant.config.kind == ConfigKind::Secret);
        if let Some((grant, _)) = secret.filter(|_| !place.in_memory) {
            let dir = place.dir.display();
            let what = format!("{} is only ever in memory, and {dir} is not; set the worker's files-dir", grant.config);
            return Err(Error::Unsupported { what });
        }
        // First, so that no sweep takes them for those of a worker that died.
        self.given.lock().insert(key);
        let dir = attempt_dir(&place.dir, self.node_id, key);
        absent_is_fine(fs::remove_dir_all(&dir)).map_err(failed)?;
        DirBuilder::new().recursive(true).mode(0o700).create(&dir).map_err(failed)?;
        let mut mounts = Vec::with_capacity(files.len());
        for (number, (grant, content)) in files.iter().enumerate() {
            let path = dir.join(number.to_string());
            write(&path, grant, content)?;
            mounts.push(Mount {
                typ: Some(MountType::BIND),
                source: Some(path.to_string_lossy().into_owned()),
                target: Some(grant.target.clone()),
                read_only: Some(true),
                ..Mount::default()
            });
        }
        Ok(mounts)
    }

    /// The first directory that is in memory, else the first that can be had at all.
    fn place(&self) -> Result<Place, Error> {
        let mut problems = Vec::new();
        let mut found: Option<Place> = None;
        for dir in self.roots() {
            match open(&dir) {
                Ok(in_memory) if in_memory || found.is_none() => found = Some(Place { dir, in_memory }),
                Ok(_) => {}
                Err(problem) => problems.push(format!("{}: {problem}", dir.display())),
            }
            if found.as_ref().is_some_and(|place| place.in_memory) {
                break;
            }
        }
        found.ok_or_else(|| {
            let what = format!(
                "there is no directory for configs and secrets ({}); set the worker's files-dir",
                problems.join(", ")
            );
            Error::Unsupported { what }
        })
    }

    fn sweep(&self, there: &BTreeSet<AttemptKey>) -> Result<(), Error> {
        for root in self.roots() {
            let dir = root.join(self.node_id.to_string());
            let entries = match fs::read_dir(&dir) {
                Err(problem) if problem.kind() == io::ErrorKind::NotFound => continue,
                read => read.map_err(failed)?,
            };
            // Read before it is asked what is needed: what comes meanwhile is noted before its directory is made.
            let entries: Vec<_> = entries.collect::<Result<_, _>>().map_err(failed)?;
            let needed: BTreeSet<OsString> =
                there.iter().chain(self.given.lock().iter()).map(|key| key.container_name().into()).collect();
            for entry in entries {
                if !needed.contains(&entry.file_name()) {
                    absent_is_fine(fs::remove_dir_all(entry.path())).map_err(failed)?;
                }
            }
        }
        Ok(())
    }
}

/// Makes sure that a directory is there, and nobody else's. Says whether it is in memory.
fn open(dir: &Path) -> io::Result<bool> {
    match DirBuilder::new().mode(0o700).create(dir) {
        Err(problem) if problem.kind() != io::ErrorKind::AlreadyExists => return Err(problem),
        Ok(()) | Err(_) => {}
    }
    // Where everybody may make directories, somebody else may have made it.
    let found = fs::symlink_metadata(dir)?;
    if !found.is_dir() || found.uid() != rustix::process::geteuid().as_raw() {
        return Err(io::Error::other("it is not this worker's"));
    }
    fs::set_permissions(dir, Permissions::from_mode(0o700))?;
    let kind = statfs(dir)?.filesystem_type();
    Ok(kind == TMPFS_MAGIC || kind == RAMFS_MAGIC)
}

/// Named as the container is, so that they are told apart in the same way.
fn attempt_dir(root: &Path, node_id: NodeId, key: AttemptKey) -> PathBuf {
    root.join(node_id.to_string()).join(key.container_name())
}

fn write(path: &Path, grant: &FileGrant, content: &FileContent) -> Result<(), Error> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(failed)?;
    file.write_all(content.reveal()).map_err(failed)?;
    let made = file.metadata().map_err(failed)?;
    if (made.uid(), made.gid()) != (grant.uid, grant.gid) {
        let owned = std::os::unix::fs::fchown(&file, Some(grant.uid), Some(grant.gid));
        owned.map_err(|problem| Error::Unsupported {
            what: format!("the worker can't give {} to {}:{}: {problem}", grant.config, grant.uid, grant.gid),
        })?;
    }
    file.set_permissions(Permissions::from_mode(grant.mode)).map_err(failed)
}

fn absent_is_fine(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(problem) if problem.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

#[cfg(test)]
mod tests {
    use davit_core::file::ConfigName;
    use davit_core::id::{Attempt, TaskId};
    use uuid::Uuid;

    use super::*;

    const NODE: NodeId = NodeId(Uuid::from_u128(9));

    fn key(number: u128) -> AttemptKey {
        AttemptKey { task_id: TaskId(Uuid::from_u128(number)), attempt: Attempt::FIRST }
    }

    fn file(kind: ConfigKind, mode: u32) -> (FileGrant, FileContent) {
        let content = FileContent::new(*b"swordfish");
        let config = ConfigName { kind, name: "db".to_owned() };
        let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        let target = "/run/secrets/db".to_owned();
        (FileGrant { config, digest: Some(content.digest()), target, uid, gid, mode }, content)
    }

    fn in_memory() -> tempfile::TempDir {
        tempfile::tempdir_in("/dev/shm").unwrap()
    }

    fn files_in(dir: &Path) -> Files {
        Files::new(NODE, Some(dir.to_owned()))
    }

    #[test]
    fn files_have_their_modes_and_nobody_else_comes_near_them() {
        let dir = in_memory();
        let files = files_in(dir.path());
        for _ in 0..2 {
            let given = [file(ConfigKind::Secret, 0o400), file(ConfigKind::Config, 0o444)];
            let mounts = files.0.give(key(1), &given).unwrap();
            let paths: Vec<PathBuf> = mounts.iter().map(|mount| mount.source.clone().unwrap().into()).collect();
            let modes: Vec<u32> = paths.iter().map(|path| fs::metadata(path).unwrap().mode() & 0o7777).collect();
            assert_eq!(modes, [0o400, 0o444]);
            assert_eq!(fs::read(&paths[1]).unwrap(), b"swordfish");
            for path in paths[0].ancestors().skip(1).take_while(|path| path.starts_with(dir.path())) {
                assert_eq!(fs::metadata(path).unwrap().mode() & 0o077, 0, "{}", path.display());
            }
        }
    }

    #[test]
    fn a_secret_is_never_on_a_disk_and_a_config_may_be() {
        let dir = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        let files = files_in(dir.path());
        files.0.give(key(1), &[file(ConfigKind::Config, 0o444)]).unwrap();
        let refused = files.0.give(key(2), &[file(ConfigKind::Secret, 0o444)]).unwrap_err();
        assert!(refused.to_string().contains("secret `db` is only ever in memory"), "{refused}");
        assert_eq!(refused.kind(), crate::runtime::ErrorKind::Permanent);
        assert!(!attempt_dir(dir.path(), NODE, key(2)).exists());
    }

    #[tokio::test]
    async fn what_a_worker_left_that_died_goes_and_nothing_else() {
        let dir = in_memory();
        let earlier = files_in(dir.path());
        for number in 1..=2 {
            earlier.0.give(key(number), &[file(ConfigKind::Secret, 0o444)]).unwrap();
        }
        let files = files_in(dir.path());
        assert!(!files.wants_sweep(), "it may be another worker's");
        files.take_charge();
        assert!(files.wants_sweep());
        files.0.give(key(3), &[file(ConfigKind::Secret, 0o444)]).unwrap();
        files.sweep([key(2)].into()).await;
        assert!(!files.wants_sweep());
        let is_there = [1, 2, 3].map(|number| attempt_dir(dir.path(), NODE, key(number)).exists());
        assert_eq!(is_there, [false, true, true]);
        files.take_away(key(3)).await.unwrap();
        files.take_away(key(3)).await.unwrap();
        assert!(!attempt_dir(dir.path(), NODE, key(3)).exists());
    }
}
