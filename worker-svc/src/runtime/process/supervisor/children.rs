//! The processes below a supervisor: it is the parent of the first, and inherits all whose parent ended.

use std::io;

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill, killpg};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;

use super::super::os::{self, Stat};

/// Reaps all that have ended. Tells the leader's exit code if it is among them: 128 + N if signal N ended it. What is left of
/// the leader's group is killed before the leader is reaped, while its number can't be another's.
pub(super) fn reap(leader: Pid) -> Option<i32> {
    let mut exit_code = None;
    loop {
        let look = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        let Ok(status) = waitid(Id::All, look) else { return exit_code };
        let Some(pid) = status.pid() else { return exit_code };
        if pid == leader {
            exit_code = Some(match status {
                WaitStatus::Exited(_, code) => code,
                WaitStatus::Signaled(_, signal, _) => 128 + signal as i32,
                _ => -1,
            });
            // Without a member besides the dead leader this changes nothing.
            let _ = killpg(leader, Signal::SIGKILL);
        }
        if waitid(Id::Pid(pid), WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG).is_err() {
            return exit_code;
        }
    }
}

/// Kills all children. Their own children come up in their place, so this is to be repeated until none is left; false then.
/// One that may not be killed (it became another user) is passed over.
pub(super) fn kill_all() -> io::Result<bool> {
    let this = Pid::this().as_raw();
    let mut left = false;
    for pid in os::all()? {
        // A child that is not reaped keeps its number.
        if Stat::of(pid).is_some_and(|stat| stat.parent == this) {
            left |= kill(Pid::from_raw(pid), Signal::SIGKILL) != Err(Errno::EPERM);
        }
    }
    Ok(left)
}
