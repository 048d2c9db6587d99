//! Where workers that are programs keep what they have. Their processes outlive them on purpose, but not their test.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

/// So long a supervisor is left to put the end of its process on record, before it is killed too.
const LOOKS: u32 = 250;
const PAUSE: Duration = Duration::from_millis(20);

/// The directory of a worker, or of several, each in a folder of it. When it is dropped, all that workers started from it and that
/// is still there ends, and then it is removed; its workers have to be gone by then.
#[derive(Debug)]
pub struct WorkerDir(TempDir);

impl WorkerDir {
    /// An empty one.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "it is made on the disk")]
    pub fn new() -> Self {
        Self(tempfile::tempdir().expect("a directory"))
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for WorkerDir {
    #[expect(clippy::disallowed_methods, reason = "nothing can be awaited here")]
    fn drop(&mut self) {
        for look in 0..LOOKS {
            let processes = Process::all();
            let own: Vec<_> = processes.iter().filter(|(_, process)| process.looks_after(self.path())).collect();
            if own.is_empty() {
                return;
            }
            for (pid, process) in own {
                // A supervisor ends by itself when what it looks after has ended, and sees to it that nothing of that is left.
                if process.is_guard || look + 1 == LOOKS {
                    end(*pid);
                }
                for child in descendants(*pid, &processes) {
                    end(child);
                }
            }
            std::thread::sleep(PAUSE);
        }
    }
}

/// A process of this machine.
#[derive(Debug)]
struct Process {
    parent: i32,
    /// Its arguments, up to the third.
    directory: Option<String>,
    is_guard: bool,
}

impl Process {
    fn all() -> BTreeMap<i32, Self> {
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        pids.filter_map(|pid| Some((pid, Self::read(pid)?))).collect()
    }

    /// `None`: it is gone, or has ended and only waits for its parent to notice.
    fn read(pid: i32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
        let state = fields.next()?;
        let parent = fields.next()?.parse().ok()?;
        let line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        let mut arguments = line.split(|byte| *byte == 0).skip(1).map(String::from_utf8_lossy);
        let what = arguments.next().unwrap_or_default();
        let is_guard = what == "guard";
        let directory = (is_guard || what == "supervise").then(|| arguments.next().unwrap_or_default().into_owned());
        (state != "Z").then_some(Self { parent, directory, is_guard })
    }

    /// Whether it is a worker's supervisor or lease guard, and its directory in this one.
    fn looks_after(&self, dir: &Path) -> bool {
        self.directory.as_ref().is_some_and(|directory| Path::new(directory).starts_with(dir))
    }
}

fn descendants(pid: i32, processes: &BTreeMap<i32, Process>) -> Vec<i32> {
    let mut found = vec![pid];
    let mut next = 0;
    while let Some(parent) = found.get(next).copied() {
        found.extend(processes.iter().filter(|(_, process)| process.parent == parent).map(|(pid, _)| *pid));
        next += 1;
    }
    found.split_off(1)
}

fn end(pid: i32) {
    // It may have ended meanwhile.
    let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
}
