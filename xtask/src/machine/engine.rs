//! The Docker engine: the one that answers, or one that is started for the run and stopped after it.

use std::{
    fs::{self, File},
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::Child,
    thread,
    time::{Duration, Instant},
};

use super::debian;
use crate::{
    failure::Failure,
    shell::{capture, command, not_started, run, succeeds},
    workspace,
};

/// How long an engine may take to answer, or to stop.
const PATIENCE: Duration = Duration::from_secs(60);

/// A Docker engine that answers.
pub(super) enum Engine {
    /// Someone else's: left alone.
    Found,
    /// Of an earlier recipe that could not stop it.
    Inherited(u32),
    /// Started by this recipe.
    Started(Child),
}

/// Whether an engine answers.
pub(super) fn answers() -> bool {
    version().is_some()
}

fn version() -> Option<String> {
    capture(command("docker").args(["version", "--format", "{{.Server.Version}}"]))
}

fn pid_file() -> PathBuf {
    workspace::tools().join("dockerd.pid")
}

impl Engine {
    /// The engine that answers already.
    pub(super) fn find() -> Option<Self> {
        answers().then(|| inherited().map_or(Self::Found, Self::Inherited))
    }

    /// Starts an engine in the background and waits until it answers.
    pub(super) fn start() -> Result<Self, Failure> {
        if !debian::cgroups_are_mounted() {
            println!("no cgroups are mounted: mounting them");
            run(&mut command("cgroupfs-mount"))?;
        }
        let (pid_file, log) = (pid_file(), workspace::tools().join("dockerd.log"));
        let broken =
            |error: std::io::Error| Failure::new(format!("{}: {error}", log.display()), "make target writable");
        fs::create_dir_all(workspace::tools()).map_err(broken)?;
        let out = File::create(&log).map_err(broken)?;
        let err = out.try_clone().map_err(broken)?;
        println!("no Docker engine answers: starting dockerd in the background, its log is {}", log.display());
        let mut dockerd = command("dockerd");
        // A group of its own, so that Ctrl-C on the recipe does not take it away under running containers.
        dockerd.arg("--pidfile").arg(pid_file).stdout(out).stderr(err).process_group(0);
        let mut child = dockerd.spawn().map_err(|error| not_started(&dockerd, &error))?;
        let ended = wait_until(|| answers() || matches!(child.try_wait(), Ok(Some(_))));
        if ended && answers() {
            println!("the Docker engine answers; it is stopped at the end");
            return Ok(Self::Started(child));
        }
        Self::Started(child).stop();
        let log = fs::read_to_string(&log).unwrap_or_default();
        let last: Vec<&str> = log.lines().rev().take(15).collect();
        let last: Vec<&str> = last.into_iter().rev().collect();
        Err(Failure::new(
            format!("dockerd did not come up; the end of its log:\n{}", last.join("\n")),
            "start a Docker engine by hand and run this again",
        ))
    }

    /// Its version, and whose it is.
    pub(super) fn version(&self) -> String {
        let whose = match self {
            Self::Found => "was running",
            Self::Inherited(_) => "left running by an earlier run",
            Self::Started(_) => "started for this run",
        };
        format!("{} ({whose})", version().unwrap_or_else(|| "gone".to_owned()))
    }

    /// Stops it, unless it is someone else's.
    pub(super) fn stop(self) {
        let (pid, stopped) = match self {
            Self::Found => return,
            Self::Inherited(pid) => (pid, terminate(pid) && wait_until(|| !is_dockerd(pid))),
            Self::Started(mut child) => {
                let pid = child.id();
                (pid, terminate(pid) && wait_until(|| !matches!(child.try_wait(), Ok(None))))
            }
        };
        if stopped {
            println!("stopped the Docker engine (process {pid})");
        } else {
            println!(
                "WARNING: the Docker engine (process {pid}) does not stop; its log is in target/tools/dockerd.log"
            );
        }
    }
}

/// The engine that the pid file tells of, if it still runs.
fn inherited() -> Option<u32> {
    let pid = fs::read_to_string(pid_file()).ok()?.trim().parse().ok()?;
    is_dockerd(pid).then_some(pid)
}

fn is_dockerd(pid: u32) -> bool {
    fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("comm")).is_ok_and(|name| name.trim() == "dockerd")
}

fn terminate(pid: u32) -> bool {
    succeeds(command("kill").args(["-TERM", &pid.to_string()]))
}

fn wait_until(mut done: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + PATIENCE;
    while !done() {
        if Instant::now() >= end {
            return false;
        }
        thread::sleep(Duration::from_millis(200));
    }
    true
}
