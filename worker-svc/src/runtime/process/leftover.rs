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
    let members = of_attempt(&processes, start, |pid| os::has_variable(pid, MARK, mark));
    Ok(members.into_iter().map(|(pid, stat)| (*pid, stat.start_time)).collect())
}

/// Those of `processes` that belong to an attempt: who bears its mark, who is on its record, and whoever shares with one of
/// them the session that its supervisor began.
fn of_attempt<'a>(
    processes: &'a [(i32, Stat)],
    start: Option<&StartRecord>,
    is_marked: impl Fn(i32) -> bool,
) -> Vec<&'a (i32, Stat)> {
    let is = |one: Option<ProcessRef>, pid: i32, stat: &Stat| {
        one.is_some_and(|one| one == ProcessRef { pid, start_time: stat.start_time })
    };
    let known = |pid: i32, stat: &Stat| {
        let (supervisor, leader) = (start.map(|start| start.supervisor), start.and_then(|start| start.leader));
        is(supervisor, pid, stat) || is(leader, pid, stat) || is_marked(pid)
    };
    let alive = processes.iter().filter(|(_, stat)| !stat.zombie);
    let (mut ours, others): (Vec<_>, Vec<_>) = alive.partition(|(pid, stat)| known(*pid, stat));
    // A session that the supervisor began; never one that the worker itself is in. The kernel tells session 0 of all whose
    // session began outside of this pid namespace, so that 0 names no session.
    let session = start.map(|start| start.supervisor.pid).filter(|pid| *pid > 0);
    let is_in = |stat: &Stat| session == Some(stat.session);
    if ours.iter().any(|(_, stat)| is_in(stat)) {
        ours.extend(others.into_iter().filter(|(_, stat)| is_in(stat)));
    }
    ours
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
        let supervisor = ProcessRef { pid: i32::MAX, start_time: 1 };
        let started_at = Timestamp::UNIX_EPOCH;
        let start = StartRecord { version: VERSION, boot_id, supervisor, leader, started_at };
        contract::write(dir, START, &start, Durable::No).unwrap();
    }

    fn process(pid: i32, session: i32) -> (i32, Stat) {
        (pid, Stat { zombie: false, parent: 1, session, start_time: 7 })
    }

    fn led_by(supervisor: i32) -> StartRecord {
        let supervisor = ProcessRef { pid: supervisor, start_time: 7 };
        let (boot_id, started_at) = (String::new(), Timestamp::UNIX_EPOCH);
        StartRecord { version: VERSION, boot_id, supervisor, leader: None, started_at }
    }

    fn pids(processes: &[(i32, Stat)], start: &StartRecord, marked: &[i32]) -> Vec<i32> {
        of_attempt(processes, Some(start), |pid| marked.contains(&pid)).into_iter().map(|(pid, _)| *pid).collect()
    }

    #[test]
    fn who_is_in_the_supervisors_session_belongs_to_the_attempt() {
        let processes = [process(5, 5), process(6, 5), process(7, 5), process(8, 8)];
        assert_eq!(pids(&processes, &led_by(5), &[]), [5, 6, 7]);
        assert_eq!(pids(&processes[1..], &led_by(5), &[7]), [7, 6], "the supervisor is gone");
        assert_eq!(pids(&processes[1..], &led_by(5), &[]), [0; 0], "the number is another's now");
    }

    #[test]
    fn a_session_from_outside_of_the_namespace_is_nobodys() {
        let processes = [process(5, 0), process(6, 0), process(7, 7)];
        assert_eq!(pids(&processes, &led_by(0), &[6]), [6]);
        assert_eq!(pids(&processes, &led_by(-1), &[6]), [6]);
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
