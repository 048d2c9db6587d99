//! The directory of a store: what belongs in it, and who has it.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};

use davit_core::id::{ClusterId, Revision};
use davit_svc_kit::mark::Mark;

use super::super::Error;
use super::engine::{self, Engine};
use super::schema;

const LOCK_FILE: &str = "lock";
pub(super) const MARK_FILE: &str = "mark";
pub(super) const ENGINE_DIR: &str = "fjall";
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
    /// Locks the directory and finds its mark; makes both where there is nothing yet.
    pub(super) fn open(path: PathBuf) -> Result<Self, Error> {
        let unusable = |what: &str, problem: std::io::Error| Error::Unavailable {
            problem: format!("{} {what}: {problem}", path.display()),
        };
        std::fs::create_dir_all(&path).map_err(|problem| unusable("can't be made", problem))?;
        let found = entries(&path).map_err(|problem| unusable("can't be read", problem))?;
        if found.iter().any(|name| name == UNFINISHED) {
            let problem = "a restore into it was not finished, which has to be run again".to_owned();
            return Err(Error::Foreign { path, problem });
        }
        let is_known = |name: &String| [LOCK_FILE, MARK_FILE, ENGINE_DIR].contains(&name.as_str());
        if let Some(stranger) = found.iter().find(|name| !is_known(name) && !name.starts_with("mark.")) {
            return Err(Error::Foreign { path, problem: format!("it holds `{stranger}`") });
        }
        let lock = lock(&path)?;
        let mark_path = path.join(MARK_FILE);
        let has_engine = path.join(ENGINE_DIR).join(engine::VERSION_FILE).exists();
        let mark = if found.iter().any(|name| name == MARK_FILE) {
            Mark::open(&mark_path).map_err(|problem| Error::Corrupt { path: path.clone(), problem })?
        } else if has_engine {
            return Err(Error::Corrupt { path, problem: format!("its file `{MARK_FILE}` is missing") });
        } else {
            Mark::create(&mark_path).map_err(|problem| unusable("can't be written", problem))?
        };
        if !has_engine {
            if mark.number() > 0 {
                return Err(Error::Lost { path, stored: Revision::default(), marked: Revision(mark.number()) });
            }
            // What is left of a store that was never finished, and in which nothing was ever committed.
            match std::fs::remove_dir_all(path.join(ENGINE_DIR)) {
                Err(problem) if problem.kind() != std::io::ErrorKind::NotFound => {
                    return Err(unusable("can't be cleaned", problem));
                }
                Ok(()) | Err(_) => {}
            }
        }
        Ok(Self { path, mark, _lock: lock })
    }

    /// Opens the engine, and makes sure that it holds this cluster's store in the schema of this release. Answers the cluster's id
    /// too.
    pub(super) fn open_engine(&mut self, cluster: &str) -> Result<(Engine, ClusterId), Error> {
        // Something was committed, so all tables were made. Looked at before the engine writes anything.
        if self.mark.number() > 0 {
            engine::check_tables(&self.engine_dir()).map_err(|problem| self.unreadable(&problem))?;
        }
        let engine = self.reopen_engine()?;
        let cluster_id = schema::check(&engine, cluster, &self.path)?;
        Ok((engine, cluster_id))
    }

    /// Opens the engine of a store that was open before.
    pub(super) fn reopen_engine(&self) -> Result<Engine, Error> {
        Engine::open(&self.path.join(ENGINE_DIR)).map_err(|problem| self.unreadable(&problem))
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

    fn unreadable(&self, problem: &engine::Problem) -> Error {
        match problem {
            engine::Problem::Io(problem) => {
                Error::Unavailable { problem: format!("{}: {problem}", self.path.display()) }
            }
            engine::Problem::Damaged(problem) => self.corrupt(problem.clone()),
        }
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
