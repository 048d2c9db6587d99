//! An engine of the measurement's own: how it is started, and how all that belongs to it is ended.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::Command;

use crate::error::Error;
use crate::started::{Process, mounts_below, wait_ended};

/// An engine without containers needs less to end by itself.
const IN_ORDER: Duration = Duration::from_secs(10);
const KILLED: Duration = Duration::from_secs(5);

/// Starts one with all that it has in this folder. Its bridge is in a network of its own: two of one name in one network would be
/// fought over. It is in a group of its own: a terminal's signals would end it before its containers are removed.
pub(super) fn spawn(folder: &Path) -> Result<Process, Error> {
    let path = |name: &str| folder.join(name).display().to_string();
    let failed = |source| Error::NotStarted { path: PathBuf::from("dockerd"), source };
    let log = File::create(folder.join("log")).map_err(failed)?;
    let script = "ip link set lo up && exec dockerd \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["--net", "sh", "-c", script, "dockerd"]);
    command.args(["--data-root", &path("data"), "--exec-root", &path("exec"), "--pidfile", &path("pid")]);
    command.args(["--host", &format!("unix://{}", path("sock"))]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).process_group(0);
    Process::spawn(&mut command, "dockerd").map_err(failed)
}

/// Ends one in order, and at once what is left of it after that; then nothing of it is mounted any more.
pub(super) fn end(process: &Process, folder: &Path) {
    if let Some(id) = process.id() {
        signal(id, Signal::SIGTERM);
        wait_ended(id, IN_ORDER);
    }
    let folder = folder.display().to_string();
    let left = family(&running(), &folder);
    left.iter().for_each(|id| signal(*id, Signal::SIGKILL));
    left.iter().for_each(|id| {
        wait_ended(*id, KILLED);
    });
    let mounts = std::fs::read_to_string("/proc/mounts").unwrap_or_default();
    for place in mounts_below(&mounts, &folder) {
        let _ = std::process::Command::new("umount").args(["--lazy", place]).stdin(Stdio::null()).status();
    }
}

/// One that has ended needs none.
fn signal(id: u32, signal: Signal) {
    if let Ok(id) = i32::try_from(id) {
        let _ = kill(Pid::from_raw(id), signal);
    }
}

/// A process of this machine.
#[derive(Debug)]
struct Seen {
    id: u32,
    parent: u32,
    command_line: String,
}

/// All that run now. One that has just ended is left out.
fn running() -> Vec<Seen> {
    let look = |entry: std::io::Result<std::fs::DirEntry>| {
        let path = entry.ok()?.path();
        let id = path.file_name()?.to_str()?.parse().ok()?;
        let stat = std::fs::read_to_string(path.join("stat")).ok()?;
        let command_line = std::fs::read(path.join("cmdline")).ok()?;
        Some(Seen { id, parent: parent(&stat)?, command_line: String::from_utf8_lossy(&command_line).into_owned() })
    };
    std::fs::read_dir("/proc").map(|entries| entries.filter_map(look).collect()).unwrap_or_default()
}

/// The name before it may have anything in it, spaces too.
fn parent(stat: &str) -> Option<u32> {
    stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()
}

/// Those whose command line names something in this folder (the engine, its containerd, the shims of its containers), and all that
/// these have started: a container's processes name nothing.
fn family(processes: &[Seen], folder: &str) -> Vec<u32> {
    let inside = format!("{folder}/");
    let named = processes.iter().filter(|process| process.command_line.contains(&inside));
    let mut family: Vec<u32> = named.map(|process| process.id).collect();
    let mut next = 0;
    while let Some(&id) = family.get(next) {
        let children = processes.iter().filter(|process| process.parent == id).map(|process| process.id);
        let new: Vec<u32> = children.filter(|child| !family.contains(child)).collect();
        family.extend(new);
        next += 1;
    }
    family
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(id: u32, parent: u32, command_line: &str) -> Seen {
        Seen { id, parent, command_line: command_line.to_owned() }
    }

    #[test]
    fn an_engines_processes_are_those_that_name_its_folder_and_their_children() {
        let processes = [
            seen(1, 0, "init"),
            seen(10, 1, "davit-bench\0engine\0--scratch\0/x"),
            seen(11, 10, "dockerd\0--data-root\0/x/a/data"),
            seen(12, 11, "containerd\0--config\0/x/a/exec/containerd.toml"),
            seen(13, 1, "containerd-shim-runc-v2\0-address\0/x/a/exec/containerd/containerd.sock"),
            seen(14, 13, "busybox\0sleep\086400"),
            seen(15, 14, "sh"),
            seen(16, 1, "dockerd\0--data-root\0/x/ab/data"),
        ];
        let mut family = family(&processes, "/x/a");
        family.sort_unstable();
        assert_eq!(family, [11, 12, 13, 14, 15]);
    }

    #[test]
    fn the_machines_processes_are_seen_with_their_parents() {
        let own = running().into_iter().find(|process| process.id == std::process::id());
        assert!(own.is_some_and(|own| own.parent > 0 && own.command_line.contains("davit_bench")));
        assert_eq!(parent("42 (a ) b) S 7 42 42"), Some(7));
    }
}
