//! A program of the cluster, started in its machine's namespace, and what faults do to it.

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::{Child, Command};

use crate::error::{Error, Result, io_at};
use crate::names::namespace_path;

/// A program that is to run. Its output goes to one file over all its lives.
#[derive(Debug)]
pub(crate) struct Process {
    /// Such as `worker n1`.
    pub(crate) name: String,
    /// Where its output goes.
    pub(crate) log: PathBuf,
    machine: String,
    command: Vec<String>,
    child: Option<Child>,
}

impl Process {
    /// One that does not run yet.
    pub(crate) fn new(name: String, machine: &str, log: PathBuf, command: Vec<String>) -> Self {
        Self { name, log, machine: machine.to_owned(), command, child: None }
    }

    /// Starts it, anew or again.
    ///
    /// # Errors
    /// When it can't be started.
    pub(crate) fn start(&mut self) -> Result<()> {
        let failed = io_at("log to", &self.log);
        let log = OpenOptions::new().create(true).append(true).open(&self.log);
        let (out, err) = log.and_then(|log| Ok((log.try_clone()?, log))).map_err(failed)?;
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", namespace_path(&self.machine))).args(&self.command);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("DAVIT_") {
                command.env_remove(name);
            }
        }
        // A group of its own, so that Ctrl-C does not reach it.
        command.stdin(Stdio::null()).stdout(out).stderr(err).process_group(0);
        let child = command.spawn().map_err(io_at("start nsenter for", Path::new(&self.name)))?;
        self.child = Some(child);
        Ok(())
    }

    /// How it ended, if it did so by itself: nobody here had killed it.
    pub(crate) fn ended_by_itself(&mut self) -> Option<ExitStatus> {
        let status = self.child.as_mut()?.try_wait().ok().flatten()?;
        self.child = None;
        Some(status)
    }

    /// Its process id, while it is to run.
    pub(crate) fn pid(&self) -> Option<Pid> {
        let pid = self.child.as_ref()?.id()?;
        i32::try_from(pid).ok().map(Pid::from_raw)
    }

    /// Sends a signal, if it runs.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub(crate) fn signal(&self, signal: Signal) -> Result<()> {
        let Some(pid) = self.pid() else { return Ok(()) };
        kill(pid, signal)
            .map_err(|errno| Error::Io { what: format!("{signal} to {}", self.name), source: errno.into() })
    }

    /// Ends it by SIGKILL and waits until it is gone.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub(crate) async fn kill(&mut self) -> Result<()> {
        let Some(mut child) = self.child.take() else { return Ok(()) };
        child.kill().await.map_err(io_at("kill", Path::new(&self.name)))
    }
}
