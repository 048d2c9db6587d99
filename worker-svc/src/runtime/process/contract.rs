//! What a worker and the supervisors of its processes agree on: the files of an attempt's directory, and the words on the
//! control socket in it. A supervisor may be older than the worker that finds it, by any number of upgrades.
//!
//! | file | written by | holds |
//! | --- | --- | --- |
//! | `spec.json` | worker, before the start | [`SpecRecord`]: what is run, and how it is stopped and logged |
//! | `start.json` | supervisor, durable before the process exists, again right after | [`StartRecord`] |
//! | `exit.json` | supervisor, durable; the worker if the supervisor is gone without | [`ExitRecord`] |
//! | `lock` | | locked (flock) by the supervisor for as long as it lives: there is never a second one |
//! | `control` | supervisor, before `start.json` | its Unix socket: who can't connect and can't see the lock held finds it dead |
//! | `log.00000001`, … | supervisor | output, see `log_format` |
//! | `supervisor.err` | supervisor | what it has to complain of |
//! | `work/` | the process | its working directory, unless the spec names another |
//!
//! The supervisor's standard output carries one line, its [`Reply`] to whoever started it. On the socket each side sends
//! lines of text. Worker: `stop SIGNAL GRACE_MILLIS`; `beyond FILE LENGTH`, to be told once the log is longer than that.
//! Supervisor: `head FILE LENGTH` in answer to `beyond`; `exited JSON` with its [`ExitRecord`], also to those who connect
//! later. It hangs up when the record is durable.
//!
//! Rules: a field or word is never given another meaning. Readers pass over fields and words that they do not know, and
//! writers add fields only with a default for their absence. What an older reader must not pass over raises [`VERSION`]; a
//! reader takes what has a greater version for unreadable, a newer worker reads all lower ones.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use davit_core::id::{Attempt, AttemptKey};
use jiff::Timestamp;
use nix::fcntl::{Flock, FlockArg};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::log_write::Bounds;
use super::os::ProcessRef;
use crate::runtime::Exit;

/// See the module's rules.
pub(in crate::runtime) const VERSION: u32 = 1;

pub(super) const SPEC: &str = "spec.json";
pub(super) const START: &str = "start.json";
pub(super) const EXIT: &str = "exit.json";
pub(super) const CONTROL: &str = "control";
pub(super) const MESSAGES: &str = "supervisor.err";
pub(super) const WORK: &str = "work";
const LOCK: &str = "lock";

/// A variable in the environment of the supervisor and of the process: `TASK_ID/ATTEMPT`. By it what a killed supervisor
/// left is found.
pub(super) const MARK: &str = "DAVIT_ATTEMPT";

/// What is run, and how.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct SpecRecord {
    pub(super) version: u32,
    /// The program, then its arguments.
    pub(super) command: Vec<String>,
    /// Added to `PATH`, `HOME` and the mark.
    pub(super) env: Vec<(String, String)>,
    /// Where it runs.
    pub(super) working_dir: PathBuf,
    /// How it is stopped when no worker says how.
    pub(super) stop_signal: String,
    /// The same: between signal and kill.
    pub(super) stop_grace_millis: u64,
    /// See [`Bounds`].
    pub(super) log_max_bytes: u64,
    /// See [`Bounds`].
    pub(super) log_max_files: u32,
    /// It is stopped when the supervisor's standard input ends, which the worker holds open.
    #[serde(default)]
    pub(super) ends_with_worker: bool,
    /// It is stopped when the lease in this file has ended, see [`crate::lease`].
    #[serde(default)]
    pub(super) lease: Option<PathBuf>,
}

impl SpecRecord {
    pub(super) fn bounds(&self) -> Bounds {
        Bounds { max_bytes: self.log_max_bytes, max_files: self.log_max_files }
    }

    pub(super) fn stop_grace(&self) -> Duration {
        Duration::from_millis(self.stop_grace_millis)
    }
}

/// A process was started, or was about to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct StartRecord {
    pub(super) version: u32,
    /// After another boot nothing of it is left.
    pub(super) boot_id: String,
    pub(super) supervisor: ProcessRef,
    /// The process itself; absent until it exists.
    pub(super) leader: Option<ProcessRef>,
    pub(super) started_at: Timestamp,
}

/// A process ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ExitRecord {
    pub(super) version: u32,
    /// As [`Exit`] tells it.
    pub(super) exit_code: i32,
    /// Why, if that is not the process's own doing. Else empty.
    pub(super) error: String,
    /// It was stopped because its lease had ended.
    #[serde(default)]
    pub(super) lease_ended: bool,
    pub(super) started_at: Option<Timestamp>,
    pub(super) finished_at: Timestamp,
}

impl From<ExitRecord> for Exit {
    fn from(record: ExitRecord) -> Self {
        Self {
            exit_code: record.exit_code,
            oom_killed: false,
            error: record.error,
            lease_ended: record.lease_ended,
            started_at: record.started_at,
            finished_at: record.finished_at,
        }
    }
}

/// What a supervisor answers to its start, on one line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Reply {
    /// The process runs.
    Started(StartRecord),
    /// It can't be started.
    Failed {
        /// Another try may help.
        passing: bool,
        message: String,
    },
    /// Another supervisor is, or was, at it.
    Taken,
}

/// Reads a record. `None`: it is not there.
pub(in crate::runtime) fn read<T: DeserializeOwned>(dir: &Path, name: &str) -> io::Result<Option<T>> {
    let path = dir.join(name);
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let unreadable =
        |problem: String| io::Error::new(io::ErrorKind::InvalidData, format!("{}: {problem}", path.display()));
    parse(&bytes).map(Some).map_err(unreadable)
}

/// Reads the bytes of a record, or says what is wrong with them.
pub(super) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    #[derive(Deserialize)]
    struct Version {
        version: u32,
    }
    let Version { version } = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    if version > VERSION {
        return Err(format!("its version is {version}, and this program knows up to {VERSION}"));
    }
    serde_json::from_slice(bytes).map_err(|error| error.to_string())
}

/// Whether a write survives a failure of the whole machine; all survive one of the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::runtime) enum Durable {
    Yes,
    No,
}

/// Writes a record, whole or not at all.
pub(in crate::runtime) fn write<T: Serialize>(dir: &Path, name: &str, record: &T, durable: Durable) -> io::Result<()> {
    let unfinished = dir.join(format!("{name}.new"));
    let written = write_to(&unfinished, record, durable).and_then(|()| fs::rename(&unfinished, dir.join(name)));
    if written.is_err() {
        // On a full disk the next try may need its room.
        let _ = fs::remove_file(&unfinished);
        return written;
    }
    sync_directory(dir, durable)
}

fn write_to<T: Serialize>(path: &Path, record: &T, durable: Durable) -> io::Result<()> {
    // The environment of a task may hold secrets.
    let mut file = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(path)?;
    file.write_all(&serde_json::to_vec(record)?)?;
    match durable {
        Durable::Yes => file.sync_all(),
        Durable::No => Ok(()),
    }
}

/// Removes a record, durably.
pub(super) fn remove(dir: &Path, name: &str) -> io::Result<()> {
    fs::remove_file(dir.join(name))?;
    sync_directory(dir, Durable::Yes)
}

/// Forgets that a process ran and ended, so that it may run once more. Its output stays. The record of the start goes first: a
/// directory without both tells of a process that never started, one with the end alone of one that ended.
pub(super) fn forget_run(dir: &Path) -> io::Result<()> {
    for name in [START, EXIT] {
        match remove(dir, name) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

fn sync_directory(dir: &Path, durable: Durable) -> io::Result<()> {
    match durable {
        Durable::Yes => File::open(dir)?.sync_all(),
        Durable::No => Ok(()),
    }
}

/// The lock of a directory; `None` if it is held.
pub(in crate::runtime) fn lock(dir: &Path) -> io::Result<Option<Flock<File>>> {
    let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(dir.join(LOCK))?;
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => Ok(Some(lock)),
        Err((_, nix::errno::Errno::EWOULDBLOCK)) => Ok(None),
        Err((_, errno)) => Err(errno.into()),
    }
}

/// Does what may wait for the disk apart from what must not.
pub(in crate::runtime) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}

/// The attempt whose directory has this name.
pub(super) fn key_of(name: &str) -> Option<AttemptKey> {
    let (task_id, attempt) = name.strip_prefix("davit-")?.rsplit_once('-')?;
    Some(AttemptKey { task_id: task_id.parse().ok()?, attempt: Attempt(attempt.parse().ok()?) })
}

#[cfg(test)]
mod tests {
    use davit_core::id::TaskId;
    use uuid::Uuid;

    use super::*;

    fn exit() -> ExitRecord {
        let finished_at = "2026-01-02T03:04:05.678901234Z".parse().unwrap();
        ExitRecord {
            version: VERSION,
            exit_code: 7,
            error: String::new(),
            lease_ended: false,
            started_at: None,
            finished_at,
        }
    }

    #[test]
    fn what_was_written_is_read() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(read::<ExitRecord>(dir.path(), EXIT).unwrap(), None);
        write(dir.path(), EXIT, &exit(), Durable::Yes).unwrap();
        assert_eq!(read(dir.path(), EXIT).unwrap(), Some(exit()));
        remove(dir.path(), EXIT).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    /// The words of version 1. Supervisors that speak them may run for years: this test may grow, its texts never change.
    #[test]
    fn records_of_the_first_version_stay_readable() {
        let dir = tempfile::tempdir().unwrap();
        let put = |name: &str, text: &str| fs::write(dir.path().join(name), text).unwrap();
        put(
            SPEC,
            r#"{"version":1,"command":["sleep","1"],"env":[["A","b"]],"working_dir":"/w","stop_signal":"SIGINT",
            "stop_grace_millis":1500,"log_max_bytes":1000,"log_max_files":3,"added":"later"}"#,
        );
        put(
            START,
            r#"{"version":1,"boot_id":"b","supervisor":{"pid":7,"start_time":70},"leader":{"pid":8,"start_time":71},
            "started_at":"2026-01-02T03:04:05Z"}"#,
        );
        put(
            EXIT,
            r#"{"version":1,"exit_code":137,"error":"e","started_at":"2026-01-02T03:04:05Z",
            "finished_at":"2026-01-02T03:04:06Z"}"#,
        );
        let spec: SpecRecord = read(dir.path(), SPEC).unwrap().unwrap();
        assert_eq!((spec.env.len(), spec.stop_grace(), spec.ends_with_worker), (1, Duration::from_millis(1500), false));
        let start: StartRecord = read(dir.path(), START).unwrap().unwrap();
        assert_eq!(start.leader, Some(ProcessRef { pid: 8, start_time: 71 }));
        let exit: ExitRecord = read(dir.path(), EXIT).unwrap().unwrap();
        assert_eq!((exit.exit_code, exit.started_at), (137, Some(start.started_at)));
    }

    #[test]
    fn a_record_of_a_later_version_or_a_broken_one_is_told_with_its_path() {
        let dir = tempfile::tempdir().unwrap();
        for (text, told) in [(r#"{"version":2}"#, "its version is 2"), (r#"{"version":1,"#, "EOF"), ("", "EOF")] {
            fs::write(dir.path().join(EXIT), text).unwrap();
            let error = read::<ExitRecord>(dir.path(), EXIT).unwrap_err().to_string();
            assert!(error.contains(told) && error.contains("exit.json"), "{error}");
        }
    }

    #[test]
    fn a_lock_is_held_once_and_free_again() {
        let dir = tempfile::tempdir().unwrap();
        let held = lock(dir.path()).unwrap();
        assert!(held.is_some() && lock(dir.path()).unwrap().is_none());
        drop(held);
        assert!(lock(dir.path()).unwrap().is_some());
    }

    #[test]
    fn directories_are_named_after_attempts() {
        let key = AttemptKey { task_id: TaskId(Uuid::from_u128(7)), attempt: Attempt(12) };
        assert_eq!(key_of(&key.container_name()), Some(key));
        assert_eq!(key_of("lost+found"), None);
        assert_eq!(key_of("davit-x-1"), None);
    }
}
