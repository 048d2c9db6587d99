//! What the kernel tells of processes, and signals that cannot hit a stranger.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStringExt as _;
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use rustix::process::{Pid, PidfdFlags, Signal, getpid, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};

/// A process for good: numbers are given anew, and the time of the start tells one from the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ProcessRef {
    /// Its number.
    pub(super) pid: i32,
    /// When it started, in clock ticks after the boot, as the kernel tells it.
    pub(super) start_time: u64,
}

impl ProcessRef {
    /// The process with this number now.
    pub(super) fn of(pid: i32) -> Option<Self> {
        Stat::of(pid).map(|stat| Self { pid, start_time: stat.start_time })
    }

    /// Whether it still runs.
    pub(super) fn is_alive(self) -> bool {
        Stat::of(self.pid).is_some_and(|stat| stat.start_time == self.start_time && !stat.zombie)
    }

    /// This process.
    pub(super) fn current() -> Option<Self> {
        Self::of(getpid().as_raw_nonzero().get())
    }
}

/// What the kernel tells of a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stat {
    /// It has ended and waits for its parent to learn of it.
    pub(super) zombie: bool,
    pub(super) parent: i32,
    pub(super) session: i32,
    /// In clock ticks after the boot.
    pub(super) start_time: u64,
}

impl Stat {
    pub(super) fn of(pid: i32) -> Option<Self> {
        Self::parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
    }

    fn parse(text: &str) -> Option<Self> {
        // The name may hold anything; what follows it begins with field 3.
        let fields: Vec<_> = text.rsplit_once(')')?.1.split_whitespace().collect();
        Some(Self {
            zombie: matches!(*fields.first()?, "Z" | "X"),
            parent: fields.get(1)?.parse().ok()?,
            session: fields.get(3)?.parse().ok()?,
            start_time: fields.get(19)?.parse().ok()?,
        })
    }
}

/// The numbers of all processes that can be seen.
pub(super) fn all() -> io::Result<Vec<i32>> {
    let entries = fs::read_dir("/proc")?;
    Ok(entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect())
}

/// Whether a variable of its environment had this value when the process was started.
pub(super) fn has_variable(pid: i32, name: &str, value: &str) -> bool {
    let wanted = OsString::from(format!("{name}={value}")).into_vec();
    fs::read(format!("/proc/{pid}/environ")).is_ok_and(|all| all.split(|byte| *byte == 0).any(|one| one == wanted))
}

/// Kills the process with this number if `wanted` says so of it. The number cannot change hands between the question and
/// the kill. False if there is no such process.
pub(super) fn kill_if(pid: i32, wanted: impl FnOnce() -> bool) -> io::Result<bool> {
    let Some(pid) = Pid::from_raw(pid) else { return Ok(false) };
    let held = match pidfd_open(pid, PidfdFlags::empty()) {
        Ok(held) => held,
        Err(rustix::io::Errno::SRCH) => return Ok(false),
        Err(errno) => return Err(errno.into()),
    };
    if !wanted() {
        return Ok(false);
    }
    match pidfd_send_signal(&held, Signal::KILL) {
        Ok(()) => Ok(true),
        Err(rustix::io::Errno::SRCH) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}

/// Kills a process and all below it, those of which `wanted` says so.
///
/// # Errors
/// When one can't be killed.
pub(in crate::runtime) fn kill_tree(root: i32, wanted: impl Fn(i32) -> bool) -> io::Result<()> {
    let parents: Vec<_> = all()?.into_iter().filter_map(|pid| Some((pid, Stat::of(pid)?.parent))).collect();
    let mut doomed = vec![root];
    let mut next = 0;
    while let Some(&parent) = doomed.get(next) {
        // They were looked at one after the other, so that numbers may have changed hands meanwhile: none is taken twice.
        let below: Vec<_> = parents.iter().filter(|(pid, of)| *of == parent && !doomed.contains(pid)).collect();
        doomed.extend(below.into_iter().map(|(pid, _)| *pid));
        next += 1;
    }
    for pid in doomed {
        kill_if(pid, || wanted(pid))?;
    }
    Ok(())
}

/// Names the time from one boot of the machine to the next.
pub(super) fn boot_id() -> io::Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}

/// How long the machine has been up, sleep included. Steps of the wall clock do not touch it.
pub(super) fn since_boot() -> io::Result<Duration> {
    Ok(clock_gettime(ClockId::CLOCK_BOOTTIME)?.into())
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader};

    use super::*;

    #[test]
    fn a_name_with_brackets_and_blanks_does_not_confuse() {
        let rest = "S 7 8 9 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 12345 999";
        let stat = Stat::parse(&format!("42 (a) b (c) {rest}")).unwrap();
        assert_eq!(stat, Stat { zombie: false, parent: 7, session: 9, start_time: 12345 });
        assert_eq!(Stat::parse("42 (cut of"), None);
    }

    #[test]
    fn a_process_is_known_by_number_and_start() {
        let this = ProcessRef::current().unwrap();
        assert_eq!(ProcessRef::of(this.pid), Some(this));
        assert!(this.is_alive());
        assert!(!ProcessRef { start_time: this.start_time + 1, ..this }.is_alive(), "the number is another's now");
        let mut ended = std::process::Command::new("true").spawn().unwrap();
        let zombie = ProcessRef::of(ended.id().cast_signed()).unwrap();
        while Stat::of(zombie.pid).is_some_and(|stat| !stat.zombie) {
            std::thread::yield_now();
        }
        assert!(!zombie.is_alive(), "it has ended, and its parent has not asked for it yet");
        ended.wait().unwrap();
        assert!(all().unwrap().contains(&this.pid));
        assert!(!has_variable(this.pid, "NO_SUCH_VARIABLE", ""));
    }

    #[test]
    fn what_a_process_began_is_killed_with_it() {
        let mut shell = std::process::Command::new("sh");
        let script = "sleep 600 & echo $!; wait";
        let mut shell = shell.args(["-c", script]).stdout(std::process::Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(shell.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let child = ProcessRef::of(line.trim().parse().unwrap()).unwrap();
        let root = i32::try_from(shell.id()).unwrap();
        kill_tree(root, |_| false).unwrap();
        assert!(child.is_alive());
        kill_tree(root, |_| true).unwrap();
        while child.is_alive() {
            std::thread::yield_now();
        }
        assert!(!shell.wait().unwrap().success());
    }

    #[test]
    fn only_what_is_wanted_is_killed() {
        let mut child = std::process::Command::new("sleep").arg("600").env("MARK", "here").spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        assert!(!kill_if(pid, || false).unwrap());
        // The kernel shows the environment a moment after the start.
        while !has_variable(pid, "MARK", "here") {
            std::thread::yield_now();
        }
        assert!(kill_if(pid, || has_variable(pid, "MARK", "here")).unwrap());
        assert!(!child.wait().unwrap().success());
        assert!(!kill_if(pid, || true).unwrap(), "it is gone");
    }

    #[test]
    fn the_machine_is_up() {
        assert!(since_boot().unwrap() > Duration::ZERO);
        assert_eq!(boot_id().unwrap().len(), 36);
    }
}
