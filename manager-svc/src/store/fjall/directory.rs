//! The directory of a store: what belongs in it, and who has it.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{Read as _, Seek as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use davit_core::id::Revision;
use davit_proto::store_v1::StoreIdentity;
use davit_svc_kit::mark::{Mark, sync_parent};

use super::super::Error;
use super::engine::{self, Engine};
use super::making;

const LOCK_FILE: &str = "lock";
pub(super) const MARK_FILE: &str = "mark";
pub(super) const ENGINE_DIR: &str = "fjall";
/// In which the engine of a new store is made.
pub(super) const MAKING: &str = "fjall.new";
/// In which a backup is restored; while it is there, the rest is not whole.
pub(super) const UNFINISHED: &str = "restoring";
/// What a file system puts into its own root.
const NOT_OURS_BUT_FINE: &str = "lost+found";

/// A store's directory, locked against other processes until this is dropped.
#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
    mark: Mark,
    _lock: File,
}

impl Directory {
    /// Locks the directory and finds its mark. Where there is no store yet, one is made that says this of itself ([`making`]).
    pub(super) fn open(path: PathBuf, new: impl FnOnce() -> StoreIdentity) -> Result<Self, Error> {
        std::fs::create_dir_all(&path).map_err(unusable(&path, "can't be made"))?;
        let found = entries(&path).map_err(unusable(&path, "can't be read"))?;
        if found.iter().any(|name| name == UNFINISHED) {
            let problem = "a restore into it was not finished, which has to be run again".to_owned();
            return Err(Error::Foreign { path, problem });
        }
        let is_known = |name: &String| [LOCK_FILE, MARK_FILE, ENGINE_DIR, MAKING].contains(&name.as_str());
        if let Some(stranger) = found.iter().find(|name| !is_known(name) && !name.starts_with("mark.")) {
            return Err(Error::Foreign { path, problem: format!("it holds `{stranger}`") });
        }
        let lock = lock(&path)?;
        // Read again, since whoever had the lock until now may have made a store.
        let found = entries(&path).map_err(unusable(&path, "can't be read"))?;
        let mark = find_or_make(&path, &found, new)?;
        Ok(Self { path, mark, _lock: lock })
    }

    /// Opens the engine, and keeps others of this machine from its files: they hold secrets.
    pub(super) fn open_engine(&self) -> Result<Engine, Error> {
        if let Err(problem) = std::fs::set_permissions(self.engine_dir(), Permissions::from_mode(0o700)) {
            tracing::warn!(%problem, "the store holds secrets, and can't be kept from other users of this machine");
        }
        Engine::open(&self.engine_dir()).map_err(|problem| unreadable(&self.path, &problem))
    }

    /// Where the engine's files are.
    pub(super) fn engine_dir(&self) -> PathBuf {
        self.path.join(ENGINE_DIR)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Something stored is wrong.
    pub(super) fn corrupt(&self, problem: String) -> Error {
        Error::Corrupt { path: self.path.clone(), problem }
    }

    /// How far the store once was, at least.
    pub(super) fn marked(&self) -> Revision {
        Revision(self.mark.number())
    }

    /// Notes how far the store is. That may fail: then less is known of it, and nothing wrong.
    pub(super) fn mark(&mut self, revision: Revision) {
        if let Err(problem) = self.mark.set(revision.0) {
            tracing::warn!(%problem, "the mark beside the store can't be written");
        }
    }
}

/// The mark of the store of which this was found in its directory. What is in its place is never made anew.
fn find_or_make(path: &Path, found: &[String], new: impl FnOnce() -> StoreIdentity) -> Result<Mark, Error> {
    let is_there = |name: &str| found.iter().any(|found| found == name);
    let corrupt = |problem: String| Error::Corrupt { path: path.to_owned(), problem };
    let is_missing = |name: &str| corrupt(format!("its `{name}` is missing"));
    let (mark_path, making) = (path.join(MARK_FILE), path.join(MAKING));
    let mark = match (is_there(MARK_FILE), is_there(ENGINE_DIR)) {
        (true, true) => Mark::open(&mark_path).map_err(corrupt)?,
        (false, true) => return Err(is_missing(MARK_FILE)),
        (true, false) => {
            let mark = Mark::open(&mark_path).map_err(corrupt)?;
            if mark.number() > 0 {
                let (path, marked) = (path.to_owned(), Revision(mark.number()));
                return Err(Error::Lost { path, stored: Revision::default(), marked });
            }
            if !is_there(MAKING) {
                return Err(is_missing(ENGINE_DIR));
            }
            tracing::info!(path = %path.display(), "a new store that was whole, but not in its place yet, is put there");
            mark
        }
        (false, false) => {
            making::make(&making, &new()).map_err(|problem| unreadable(path, &problem))?;
            Mark::create(&mark_path).map_err(unusable(path, "can't be written"))?
        }
    };
    if !is_there(ENGINE_DIR) {
        std::fs::rename(&making, path.join(ENGINE_DIR)).map_err(unusable(path, "can't be written"))?;
    }
    // Also where it was in its place: whoever put it there may have ended before this.
    sync_parent(&mark_path).map_err(unusable(path, "can't be synced"))?;
    Ok(mark)
}

fn unusable(path: &Path, what: &str) -> impl FnOnce(std::io::Error) -> Error {
    move |problem| Error::Unavailable { problem: format!("{} {what}: {problem}", path.display()) }
}

fn unreadable(path: &Path, problem: &engine::Problem) -> Error {
    match problem {
        engine::Problem::Io(problem) => Error::Unavailable { problem: format!("{}: {problem}", path.display()) },
        engine::Problem::Damaged(problem) => Error::Corrupt { path: path.to_owned(), problem: problem.clone() },
    }
}

/// What is in a directory, by name.
pub(super) fn entries(path: &Path) -> std::io::Result<Vec<String>> {
    let mut names: Vec<String> = std::fs::read_dir(path)?
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect::<std::io::Result<_>>()?;
    names.retain(|name| name != NOT_OURS_BUT_FINE);
    names.sort();
    Ok(names)
}

fn lock(path: &Path) -> Result<File, Error> {
    let unusable = |problem: std::io::Error| Error::Unavailable {
        problem: format!("{} can't be locked: {problem}", path.join(LOCK_FILE).display()),
    };
    let options = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path.join(LOCK_FILE));
    let mut file = options.map_err(unusable)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(std::fs::TryLockError::WouldBlock) => {
            let mut holder = String::new();
            // A process that has just locked it has not said yet who it is.
            let _unknown = file.read_to_string(&mut holder);
            let holder = match holder.trim() {
                "" => "another process".to_owned(),
                pid => format!("process {pid}"),
            };
            return Err(Error::Locked { path: path.to_owned(), holder });
        }
        Err(std::fs::TryLockError::Error(problem)) => return Err(unusable(problem)),
    }
    let named = file.set_len(0).and_then(|()| file.rewind()).and_then(|()| write!(file, "{}", std::process::id()));
    if let Err(problem) = named {
        // On a full disk too: it only helps whoever finds it locked.
        tracing::debug!(%problem, "the lock file does not say who has it");
    }
    Ok(file)
}
