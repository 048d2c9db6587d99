//! Ending what a supervisor left that was killed, or that does not answer.

use std::io;
use std::path::Path;
use std::thread;
use std::time::Duration;

use davit_core::id::AttemptKey;

use super::contract::{self, MARK, START, StartRecord};
use super::os::{self, ProcessRef, Stat};

/// How often the processes of the machine are gone through before one that can't be ended is told.
const MAX_ROUNDS: u32 = 200;
const ROUND_PAUSE: Duration = Duration::from_millis(25);

/// Kills all processes of an attempt, its supervisor among them, and returns when none runs. Tells whether there was any.
///
/// Those of an attempt bear its mark; besides, they are whoever shares a session with one that does, since the supervisor
/// began that session.
///
/// # Errors
/// When one can't be ended.
pub(super) fn end(dir: &Path, key: AttemptKey) -> io::Result<bool> {
    // Without a readable record the mark has to do.
    let start: Option<StartRecord> = contract::read(dir, START).ok().flatten();
    if let Some(start) = &start
        && start.boot_id != os::boot_id()?
    {
        return Ok(false);
    }
    let mark = key.to_string();
    let (mut found, mut none_before) = (false, false);
    for _ in 0..MAX_ROUNDS {
        let members = members(start.as_ref(), &mark)?;
        // Twice, since the kernel shows the environment of a new process only after a moment.
        if members.is_empty() && none_before {
            return Ok(found);
        }
        none_before = members.is_empty();
        found |= !none_before;
        for (pid, start_time) in members {
            os::kill_if(pid, || Stat::of(pid).is_some_and(|stat| stat.start_time == start_time))?;
        }
        pause();
    }
    Err(io::Error::other(format!("processes of attempt {key} can't be killed")))
}

#[expect(clippy::disallowed_methods, reason = "strangers' children tell nobody of their end; this thread may block")]
fn pause() {
    thread::sleep(ROUND_PAUSE);
}

/// Numbers and start times of what runs of an attempt.
fn members(start: Option<&StartRecord>, mark: &str) -> io::Result<Vec<(i32, u64)>> {
    let processes: Vec<_> = os::all()?.into_iter().filter_map(|pid| Some((pid, Stat::of(pid)?))).collect();
    let alive = processes.iter().filter(|(_, stat)| !stat.zombie);
    let is = |one: Option<ProcessRef>, pid: i32, stat: &Stat| {
        one.is_some_and(|one| one == ProcessRef { pid, start_time: stat.start_time })
    };
    let known = |pid: i32, stat: &Stat| {
        let (supervisor, leader) = (start.map(|start| start.supervisor), start.and_then(|start| start.leader));
        is(supervisor, pid, stat) || is(leader, pid, stat) || os::has_variable(pid, MARK, mark)
    };
    let (ours, others): (Vec<_>, Vec<_>) = alive.partition(|(pid, stat)| known(*pid, stat));
    // A session of one of ours that the supervisor began; never one that the worker itself is in.
    let began = |session: i32| start.is_some_and(|start| start.supervisor.pid == session);
    let shared = ours.iter().any(|(_, stat)| began(stat.session));
    let by_session = others.into_iter().filter(|(_, stat)| shared && began(stat.session));
    Ok(ours.iter().copied().chain(by_session).map(|(pid, stat)| (*pid, stat.start_time)).collect())
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
    use std::process::{Child, Command};

    use davit_core::id::{Attempt, TaskId};
    use jiff::Timestamp;
    use uuid::Uuid;

    use super::super::contract::{Durable, VERSION};
    use super::*;

    fn sleeper(mark: &str) -> Child {
        Command::new("sleep").arg("600").env(MARK, mark).process_group(0).spawn().unwrap()
    }

    fn record(dir: &Path, leader: &Child, boot_id: String) {
        let leader = ProcessRef::of(i32::try_from(leader.id()).unwrap());
        // No process has this number.
        let supervisor = ProcessRef { pid: 0, start_time: 1 };
        let started_at = Timestamp::UNIX_EPOCH;
        let start = StartRecord { version: VERSION, boot_id, supervisor, leader, started_at };
        contract::write(dir, START, &start, Durable::No).unwrap();
    }

    #[test]
    fn what_bears_the_mark_or_is_on_record_is_ended_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let key = |number| AttemptKey { task_id: TaskId(Uuid::from_u128(number)), attempt: Attempt(1) };
        let unique = u128::from(std::process::id()) << 64 | 0xdead;
        let (mut marked, mut leader) = (sleeper(&key(unique).to_string()), sleeper("none"));
        let mut stranger = sleeper(&key(unique + 1).to_string());
        record(dir.path(), &leader, "another boot".to_owned());
        assert!(!end(dir.path(), key(unique)).unwrap(), "after a reboot the numbers are others'");
        record(dir.path(), &leader, os::boot_id().unwrap());
        assert!(end(dir.path(), key(unique)).unwrap());
        assert_eq!(marked.wait().unwrap().signal(), Some(9));
        assert_eq!(leader.wait().unwrap().signal(), Some(9));
        assert!(!end(dir.path(), key(unique)).unwrap(), "nothing is left");
        assert_eq!(stranger.try_wait().unwrap(), None);
        stranger.kill().unwrap();
        stranger.wait().unwrap();
    }
}
