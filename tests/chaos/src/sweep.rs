//! Ends and removes everything of a run: its own at its end, and what is left of one that was killed. Found by our names alone.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::error::{Error, Result};
use crate::names::{DEVICE_PREFIX, EVIDENCE_VARIABLE, PREFIX, base};
use crate::shell::run;

/// How often everything is ended and unmounted before it is given up: what is being ended may start something once more.
const TRIES: u32 = 50;

/// Ends all processes, unmounts, and removes namespaces, cgroups, devices and files.
///
/// # Errors
/// Names what is still there.
pub(crate) async fn all() -> Result<()> {
    let mut left = String::new();
    for _ in 0..TRIES {
        left = round().await;
        if left.is_empty() {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    Err(Error::Machine(format!("could not clean up: {left}")))
}

/// Tries all of it once. Tells what is still there.
async fn round() -> String {
    let mut left = Vec::new();
    let namespaces = names_in("/var/run/netns");
    let pids = our_processes(&namespaces);
    for pid in &pids {
        // It may be gone by now, which is as good.
        let _ = kill(*pid, Signal::SIGKILL);
    }
    if !pids.is_empty() {
        // What holds mounts and cgroups open goes first.
        return format!("{} processes", pids.len());
    }
    for mount in mounts_below(&base()) {
        if let Err(error) = run("umount", &["--lazy", &mount]).await {
            left.push(error.to_string());
        }
    }
    for cgroup in cgroups() {
        remove_cgroup(&cgroup, &mut left);
    }
    for device in names_in("/sys/class/net").iter().filter(|name| name.starts_with(DEVICE_PREFIX)) {
        // Its other end may have taken it along.
        let _ = run("ip", &["link", "del", device]).await;
    }
    for namespace in &namespaces {
        if let Err(error) = run("ip", &["netns", "del", namespace]).await {
            left.push(error.to_string());
        }
    }
    if left.is_empty()
        && base().exists()
        && let Err(error) = fs::remove_dir_all(base())
    {
        left.push(format!("{}: {error}", base().display()));
    }
    left.join("; ")
}

/// Processes in our namespaces or cgroups, and those that were told where to leave evidence.
fn our_processes(namespaces: &[String]) -> BTreeSet<Pid> {
    let inodes: BTreeSet<u64> = namespaces
        .iter()
        .filter_map(|name| fs::metadata(Path::new("/var/run/netns").join(name)).ok())
        .map(|file| file.ino())
        .collect();
    let mut pids: BTreeSet<Pid> = cgroups().iter().flat_map(|cgroup| processes_of_cgroup(cgroup)).collect();
    pids.extend(all_processes().into_iter().filter(|pid| {
        let proc = PathBuf::from(format!("/proc/{pid}"));
        let inside = fs::metadata(proc.join("ns/net")).is_ok_and(|file| inodes.contains(&file.ino()));
        inside || has_evidence_variable(&proc)
    }));
    // Neither this program nor what started it.
    pids.remove(&Pid::this());
    pids.remove(&Pid::parent());
    pids
}

/// Processes of tasks, wherever they are.
pub(crate) fn task_processes() -> Vec<Pid> {
    let is_task = |pid: &Pid| has_evidence_variable(&PathBuf::from(format!("/proc/{pid}")));
    all_processes().into_iter().filter(is_task).collect()
}

fn has_evidence_variable(proc: &Path) -> bool {
    let mark = format!("{EVIDENCE_VARIABLE}={}", base().display());
    let environment = fs::read(proc.join("environ")).unwrap_or_default();
    environment.split(|byte| *byte == 0).any(|variable| variable.starts_with(mark.as_bytes()))
}

fn all_processes() -> Vec<Pid> {
    names_of(Path::new("/proc")).iter().filter_map(|name| name.parse().ok()).map(Pid::from_raw).collect()
}

/// The top directories of our engines' containers, in each hierarchy of cgroups.
fn cgroups() -> Vec<PathBuf> {
    let root = Path::new("/sys/fs/cgroup");
    let hierarchies = names_of(root).into_iter().map(|name| root.join(name)).chain([root.to_owned()]);
    hierarchies
        .flat_map(|hierarchy| {
            let ours = names_of(&hierarchy).into_iter().filter(|name| name.starts_with(PREFIX));
            ours.map(|name| hierarchy.join(name)).collect::<Vec<_>>()
        })
        .collect()
}

/// All processes in a cgroup and those below it.
fn processes_of_cgroup(cgroup: &Path) -> Vec<Pid> {
    let listed = fs::read_to_string(cgroup.join("cgroup.procs")).unwrap_or_default();
    let own = listed.lines().filter_map(|line| line.parse().ok()).map(Pid::from_raw);
    own.chain(below(cgroup).iter().flat_map(|cgroup| processes_of_cgroup(cgroup))).collect()
}

/// All processes in the cgroup of this name, whatever the hierarchy.
pub(crate) fn processes_of(cgroup: &str) -> BTreeSet<Pid> {
    let named = cgroups().into_iter().filter(|path| path.file_name().is_some_and(|name| name == cgroup));
    named.flat_map(|path| processes_of_cgroup(&path)).collect()
}

/// All processes in the namespace of this name.
pub(crate) fn processes_in(namespace: &str) -> BTreeSet<Pid> {
    let Ok(ours) = fs::metadata(Path::new("/var/run/netns").join(namespace)) else { return BTreeSet::new() };
    let inside = |pid: &Pid| fs::metadata(format!("/proc/{pid}/ns/net")).is_ok_and(|file| file.ino() == ours.ino());
    all_processes().into_iter().filter(inside).collect()
}

fn remove_cgroup(cgroup: &Path, left: &mut Vec<String>) {
    for inner in below(cgroup) {
        remove_cgroup(&inner, left);
    }
    if let Err(error) = fs::remove_dir(cgroup)
        && cgroup.exists()
    {
        left.push(format!("{}: {error}", cgroup.display()));
    }
}

fn below(dir: &Path) -> Vec<PathBuf> {
    names_of(dir).into_iter().map(|name| dir.join(name)).filter(|path| path.is_dir()).collect()
}

/// The innermost first.
fn mounts_below(dir: &Path) -> Vec<String> {
    let table = fs::read_to_string("/proc/mounts").unwrap_or_default();
    let dir = format!("{}/", dir.display());
    let mounts = table.lines().filter_map(|line| line.split(' ').nth(1)).filter(|mount| mount.starts_with(&dir));
    let mut mounts: Vec<String> = mounts.map(str::to_owned).collect();
    mounts.reverse();
    mounts
}

/// Names in a directory that begin as ours do.
fn names_in(dir: &str) -> Vec<String> {
    let ours = |name: &String| name.starts_with(PREFIX) || name.starts_with(DEVICE_PREFIX);
    names_of(Path::new(dir)).into_iter().filter(ours).collect()
}

fn names_of(dir: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    entries.filter_map(|entry| Some(entry.ok()?.file_name().to_string_lossy().into_owned())).collect()
}
