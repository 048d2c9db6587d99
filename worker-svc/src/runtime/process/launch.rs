//! Starting a supervisor, and finding one that an earlier worker started.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use davit_core::id::AttemptKey;
use davit_svc_kit::backoff::Backoff;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::net::UnixStream;
use tokio::process::{ChildStdin, Command};

use super::contract::{self, CONTROL, Durable, EXIT, ExitRecord, MARK, MESSAGES, Reply, START, StartRecord};
use super::leftover;
use crate::reexec::{Reexec, SUPERVISE};
use crate::runtime::{Error, Exit, SharedClock};

/// How long a supervisor may take to start its process: it waits for the disk twice.
const REPLY_TIME: Duration = Duration::from_secs(20);
/// No reply is longer.
const MAX_REPLY_BYTES: u64 = 64 * 1024;
/// How long one that has just begun, or is about to end, may leave its directory undecided.
const SETTLE_TIME: Duration = Duration::from_secs(5);
/// How long a supervisor that was killed may still be seen after its lock is free.
const DYING_TIME: Duration = Duration::from_millis(200);
/// As a shell tells the end by SIGKILL.
const KILLED: i32 = 128 + 9;

/// What an attempt's directory tells.
#[derive(Debug)]
pub(super) enum Found {
    /// It never started.
    Created,
    /// It runs, or its supervisor tells in a moment how it ended.
    Running(StartRecord, UnixStream),
    /// It ended.
    Exited(ExitRecord),
}

/// What became of a launch.
#[derive(Debug)]
pub(super) enum Launched {
    Replied(Reply),
    /// It ended without a word; this is what it complained of.
    Silent(String),
}

/// Starts the supervisor of this directory. The line, if one is asked for, ends the process when it is dropped.
pub(super) async fn launch(
    reexec: &Reexec,
    dir: &Path,
    key: AttemptKey,
    with_line: bool,
) -> Result<(Launched, Option<ChildStdin>), Error> {
    let failed = |source| Error::Io { action: "start", source: Arc::new(source) };
    let messages = File::create(dir.join(MESSAGES)).map_err(failed)?;
    let mut command = Command::new(&reexec.program);
    // Nothing of the worker's environment, which may hold its secrets, but what the process is to have.
    command.arg0(&reexec.name).arg(SUPERVISE).arg(dir).env_clear().env(MARK, key.to_string());
    for name in ["PATH", "HOME"] {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    command.stdin(if with_line { Stdio::piped() } else { Stdio::null() });
    command.stdout(Stdio::piped()).stderr(Stdio::from(messages));
    let mut child = command.spawn().map_err(|source| match source.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied => Error::Rejected {
            action: "start",
            message: format!("cannot run {} to supervise the process: {source}", reexec.program.display()),
        },
        _ => failed(source),
    })?;
    let (line, stdout) = (child.stdin.take(), child.stdout.take());
    // Reaps it when it ends, should this worker still be there.
    tokio::spawn(async move { child.wait().await });
    let mut reply = String::new();
    if let Some(stdout) = stdout {
        let mut stdout = BufReader::new(stdout).take(MAX_REPLY_BYTES);
        match tokio::time::timeout(REPLY_TIME, stdout.read_line(&mut reply)).await {
            Ok(Ok(_)) => {}
            Ok(Err(source)) => return Err(failed(source)),
            Err(_) => return Err(failed(io::ErrorKind::TimedOut.into())),
        }
    }
    let launched = match serde_json::from_str(&reply) {
        Ok(reply) => Launched::Replied(reply),
        Err(_) => Launched::Silent(std::fs::read_to_string(dir.join(MESSAGES)).map_err(failed)?),
    };
    Ok((launched, line))
}

/// Looks at an attempt's directory. What a dead supervisor left is ended first, and its end put on record.
///
/// # Errors
/// When the supervisor on record lives and does not hold the directory's lock: then it has another directory, of which this one is
/// a copy, and the attempt is another worker's.
pub(super) async fn look(dir: &Path, key: AttemptKey, clock: &SharedClock) -> io::Result<Found> {
    let began = tokio::time::Instant::now();
    let mut backoff = Backoff::new(Duration::from_millis(5), Duration::from_millis(200));
    loop {
        if let Ok(Some(exit)) = contract::read(dir, EXIT) {
            return Ok(Found::Exited(exit));
        }
        if dir.join(START).try_exists()?
            && let Ok(stream) = connect(dir).await
        {
            return Ok(Found::Running(start_record(dir, clock)?, stream));
        }
        // Nobody answers: none lives, or one is about to.
        match contract::lock(dir)? {
            Some(_none_lives) => {
                // Looked at again, now that nothing can change any more.
                match contract::read(dir, EXIT) {
                    Ok(Some(exit)) => return Ok(Found::Exited(exit)),
                    Ok(None) => {}
                    // It ended: that much is sure.
                    Err(error) => return Ok(Found::Exited(ended_somehow(dir, &error.to_string(), clock))),
                }
                if !dir.join(START).try_exists()? {
                    return Ok(Found::Created);
                }
                match living_supervisor(dir)? {
                    None => return end_leftover(dir, key, clock).await.map(Found::Exited),
                    Some(pid) if began.elapsed() >= DYING_TIME => return Err(another_ones(dir, pid)),
                    Some(_) => {}
                }
            }
            None if began.elapsed() >= SETTLE_TIME => {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "its supervisor is there but does not answer"));
            }
            None => {}
        }
        tokio::time::sleep(backoff.next_delay()).await;
    }
}

/// The number of the supervisor on record, if it lives.
fn living_supervisor(dir: &Path) -> io::Result<Option<i32>> {
    let start: Option<StartRecord> = contract::read(dir, START).ok().flatten();
    let Some(StartRecord { boot_id, supervisor, .. }) = start else { return Ok(None) };
    let lives = supervisor.is_alive() && boot_id == super::os::boot_id()?;
    Ok(lives.then_some(supervisor.pid))
}

fn another_ones(dir: &Path, supervisor: i32) -> io::Error {
    io::Error::other(format!(
        "its supervisor on record (process {supervisor}) lives, but does not hold the lock of {}: this data directory is probably a \
         copy of another worker's, whose attempt is left alone",
        dir.display()
    ))
}

/// What is known of the start of a process that runs. A record that can't be read must not end it.
fn start_record(dir: &Path, clock: &SharedClock) -> io::Result<StartRecord> {
    match contract::read(dir, START) {
        Ok(Some(record)) => Ok(record),
        Ok(None) => Err(io::ErrorKind::NotFound.into()),
        Err(error) => {
            tracing::warn!(%error, "can't read when a process started");
            let written = std::fs::metadata(dir.join(START))?.modified()?;
            let started_at = jiff::Timestamp::try_from(written).unwrap_or_else(|_| clock.now());
            let supervisor = super::os::ProcessRef { pid: 0, start_time: 0 };
            Ok(StartRecord { version: contract::VERSION, boot_id: String::new(), supervisor, leader: None, started_at })
        }
    }
}

/// Of a process that ended nobody knows how.
pub(super) fn ended_somehow(dir: &Path, error: &str, clock: &SharedClock) -> ExitRecord {
    let start: Option<StartRecord> = contract::read(dir, START).ok().flatten();
    ExitRecord {
        version: contract::VERSION,
        exit_code: Exit::UNKNOWN_CODE,
        error: error.to_owned(),
        lease_ended: false,
        started_at: start.map(|start| start.started_at),
        finished_at: clock.now(),
    }
}

/// Ends what a supervisor left that is gone without a record of the end, and writes one.
async fn end_leftover(dir: &Path, key: AttemptKey, clock: &SharedClock) -> io::Result<ExitRecord> {
    let start: Option<StartRecord> = contract::read(dir, START).ok().flatten();
    let another_boot = start.as_ref().is_some_and(|start| super::os::boot_id().is_ok_and(|now| now != start.boot_id));
    let found = !another_boot && kill_all(dir, key).await?;
    let error = match (another_boot, found) {
        (true, _) => "the machine was restarted while it ran",
        (false, true) => "its supervisor was killed, and it was ended with it",
        (false, false) => "its supervisor was killed, and how it ended is not known",
    };
    let mut exit = ended_somehow(dir, error, clock);
    if found {
        exit.exit_code = KILLED;
    }
    tracing::warn!(%key, error, "an attempt's supervisor is gone");
    contract::write(dir, EXIT, &exit, Durable::Yes)?;
    Ok(exit)
}

/// Kills all that there is of an attempt, its supervisor too.
pub(super) async fn kill_all(dir: &Path, key: AttemptKey) -> io::Result<bool> {
    let dir = dir.to_owned();
    contract::blocking(move || leftover::end(&dir, key)).await
}

/// Through the open directory, since a socket's path may not be longer than 107 bytes.
async fn connect(dir: &Path) -> io::Result<UnixStream> {
    let dir = File::open(dir)?;
    UnixStream::connect(format!("/proc/self/fd/{}/{CONTROL}", dir.as_raw_fd())).await
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
    use std::sync::Arc;

    use davit_core::id::{Attempt, TaskId};
    use davit_svc_kit::clock::SystemClock;
    use jiff::Timestamp;
    use uuid::Uuid;

    use super::super::os::{self, ProcessRef};
    use super::*;

    #[tokio::test]
    async fn what_a_living_supervisor_has_is_left_alone_by_who_finds_a_copy_of_its_directory() {
        let unique = u128::from(std::process::id()) << 64 | 0xc0;
        let key = AttemptKey { task_id: TaskId(Uuid::from_u128(unique)), attempt: Attempt(1) };
        let mut process = std::process::Command::new("sleep");
        let mut process = process.arg("600").env(MARK, key.to_string()).process_group(0).spawn().unwrap();
        let clock: SharedClock = Arc::new(SystemClock);
        let copy = tempfile::tempdir().unwrap();
        let found = async |boot_id: String, supervisor| {
            let (leader, started_at) = (None, Timestamp::UNIX_EPOCH);
            let start = StartRecord { version: contract::VERSION, boot_id, supervisor, leader, started_at };
            contract::write(copy.path(), START, &start, Durable::No).unwrap();
            look(copy.path(), key, &clock).await
        };
        let (boot_id, this) = (os::boot_id().unwrap(), ProcessRef::current().unwrap());
        for _ in 0..2 {
            let error = found(boot_id.clone(), this).await.unwrap_err().to_string();
            assert!(error.contains(&format!("process {}", this.pid)) && error.contains("a copy"), "{error}");
        }
        assert_eq!(process.try_wait().unwrap(), None, "it was ended");
        assert!(!copy.path().join(EXIT).exists());
        // Another process has its number by now.
        let gone = ProcessRef { start_time: this.start_time + 1, ..this };
        let Found::Exited(exit) = found(boot_id, gone).await.unwrap() else { panic!("it is taken to run") };
        assert_eq!(exit.exit_code, KILLED);
        assert_eq!(process.wait().unwrap().signal(), Some(9));
        std::fs::remove_file(copy.path().join(EXIT)).unwrap();
        assert!(matches!(found("another boot".to_owned(), this).await, Ok(Found::Exited(_))));
    }
}
