//! Processes that a killed worker left behind: noted when they start, ended before their attempts are reported.

use std::io;
use std::path::Path;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::fs;

/// In an attempt's directory: the leader's number, and when it started, since numbers are given anew.
const FILE: &str = "pid";

/// Notes the leader of a group that was started just now.
pub(super) async fn note(dir: &Path, leader: Pid) -> io::Result<()> {
    let Some(stat) = Stat::of(leader).await else { return Ok(()) };
    fs::write(dir.join(FILE), format!("{leader} {}\n", stat.start_time)).await
}

/// Kills the group noted in this directory, if its leader still lives and is no child of `parent`, which watches its own.
pub(super) async fn end(dir: &Path, parent: Pid) -> Option<Pid> {
    let text = fs::read_to_string(dir.join(FILE)).await.ok()?;
    let (leader, start_time) = text.trim().split_once(' ')?;
    let leader = leader.parse().ok().filter(|leader| *leader > 1).map(Pid::from_raw)?;
    let stat = Stat::of(leader).await?;
    if stat.start_time != start_time || stat.parent == parent.to_string() {
        return None;
    }
    killpg(leader, Signal::SIGKILL).ok().map(|()| leader)
}

struct Stat {
    parent: String,
    start_time: String,
}

impl Stat {
    async fn of(process: Pid) -> Option<Self> {
        let text = fs::read_to_string(format!("/proc/{process}/stat")).await.ok()?;
        // The name may hold anything; what follows it begins with field 3.
        let fields: Vec<_> = text.rsplit_once(')')?.1.split_whitespace().collect();
        Some(Self { parent: (*fields.get(1)?).to_owned(), start_time: (*fields.get(19)?).to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use super::*;

    #[tokio::test]
    async fn a_process_of_a_killed_worker_is_ended_and_a_stranger_with_its_number_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let mut child = tokio::process::Command::new("sleep").arg("600").process_group(0).spawn().unwrap();
        let leader = Pid::from_raw(i32::try_from(child.id().unwrap()).unwrap());
        note(dir.path(), leader).await.unwrap();
        assert_eq!(end(dir.path(), nix::unistd::getpid()).await, None, "this process watches it");
        let noted = std::fs::read_to_string(dir.path().join(FILE)).unwrap();
        std::fs::write(dir.path().join(FILE), format!("{leader} 1\n")).unwrap();
        assert_eq!(end(dir.path(), Pid::from_raw(0)).await, None, "its start time is another");
        std::fs::write(dir.path().join(FILE), noted).unwrap();
        assert_eq!(end(dir.path(), Pid::from_raw(0)).await, Some(leader));
        assert_eq!(child.wait().await.unwrap().signal(), Some(9));
    }
}
