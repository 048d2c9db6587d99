//! Processes that are ended again.

use std::io;
use std::os::fd::AsFd as _;
use std::process::ExitStatus;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use tokio::process::{Child, ChildStderr, Command};

use super::{Entry, Thing, start};

/// The kernel gives back what a killed process held; one with much memory takes a moment.
const KILLED: Duration = Duration::from_secs(10);

/// A running process. Killed when dropped, and then waited for: what it had, such as a folder, is free afterwards.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    entry: Option<Entry>,
}

impl Process {
    /// Starts it.
    pub(crate) fn spawn(command: &mut Command, name: &str) -> io::Result<Self> {
        let thing = |child: &Child| Thing::Process { id: child.id().unwrap_or_default(), name: name.to_owned() };
        let (child, entry) = start(|| command.spawn(), thing)?;
        Ok(Self { child, entry: Some(entry) })
    }

    /// Its id, until it was seen to have ended.
    pub(crate) fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// What it says, once.
    pub(crate) fn take_stderr(&mut self) -> Option<ChildStderr> {
        self.child.stderr.take()
    }

    /// How it has ended, if it has.
    pub(crate) fn try_wait(&mut self) -> io::Result<Option<ExitStatus>> {
        let ended = self.child.try_wait()?;
        if ended.is_some() {
            self.entry = None;
        }
        Ok(ended)
    }

    /// Kills it with SIGKILL, and waits until it has ended.
    pub(crate) async fn kill(&mut self) -> io::Result<()> {
        self.child.kill().await?;
        self.entry = None;
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let Some(id) = self.child.id() else { return };
        // An error means that it has ended.
        let _ = self.child.start_kill();
        if !wait_ended(id, KILLED) {
            // It is told with all that is left behind.
            std::mem::forget(self.entry.take());
        }
    }
}

/// Waits until a process has ended, whosever it is, but not longer. Says whether it has.
pub(crate) fn wait_ended(process_id: u32, limit: Duration) -> bool {
    let Some(pid) = i32::try_from(process_id).ok().and_then(Pid::from_raw) else { return true };
    // One that can't be found has ended.
    let Ok(handle) = pidfd_open(pid, PidfdFlags::empty()) else { return true };
    let timeout = PollTimeout::try_from(limit).unwrap_or(PollTimeout::MAX);
    loop {
        match poll(&mut [PollFd::new(handle.as_fd(), PollFlags::POLLIN)], timeout) {
            Err(Errno::EINTR) => {}
            Ok(ready) => return ready > 0,
            Err(_) => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::started::left_behind;

    fn sleeper() -> Process {
        Process::spawn(Command::new("sleep").arg("600"), "a sleeper").unwrap()
    }

    fn is_listed(id: u32) -> bool {
        left_behind().contains(&format!("  process {id}, a sleeper: kill {id}"))
    }

    #[tokio::test]
    async fn a_process_is_listed_until_it_is_killed() {
        let mut process = sleeper();
        let id = process.id().unwrap();
        assert!(is_listed(id) && !wait_ended(id, Duration::ZERO));
        process.kill().await.unwrap();
        assert!(!is_listed(id));
    }

    #[tokio::test]
    async fn a_process_that_is_dropped_has_ended() {
        let process = sleeper();
        let id = process.id().unwrap();
        drop(process);
        assert!(!is_listed(id) && wait_ended(id, Duration::ZERO));
    }
}
