//! The programs of one cluster, each a process of its own on ports of loopback: manager, scheduler, and hollow nodes.

use std::fs::File;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde::Serialize;
use tokio::process::Command;
use tokio::time::Instant;

use super::metrics::Metrics;
use crate::error::Error;
use crate::memory::{self, Memory};
use crate::started::Process;

/// It is asked so often whether it is ready.
const POLL: Duration = Duration::from_millis(10);
/// It is given up after this.
const HANG: Duration = Duration::from_secs(60);
/// What the kernel counts processor time in.
const TICKS_PER_S: f64 = 100.0;

/// A running program. Killed when dropped.
#[derive(Debug)]
pub(crate) struct Program {
    /// What reports and its log call it.
    pub(crate) name: &'static str,
    path: PathBuf,
    arguments: Vec<String>,
    log: PathBuf,
    process: Process,
    http: SocketAddr,
}

/// What a process has used so far.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Used {
    pub(crate) cpu_s: f64,
    /// Now.
    pub(crate) resident_bytes: u64,
    /// The most that was resident since the process started.
    pub(crate) peak_since_start_bytes: u64,
    /// How often it has warned.
    pub(crate) warnings: usize,
}

impl Program {
    /// Starts one that has a side port, and waits until it is ready.
    pub(crate) async fn start(
        name: &'static str,
        folder: &Path,
        logs: &Path,
        arguments: Vec<String>,
    ) -> Result<Self, Error> {
        Self::start_as(name, folder.join(name), logs, arguments).await
    }

    /// The same for the second of a program, which gets another name.
    pub(crate) async fn start_as(
        name: &'static str,
        path: PathBuf,
        logs: &Path,
        arguments: Vec<String>,
    ) -> Result<Self, Error> {
        let log = logs.join(format!("{name}.log"));
        let http = free_address().map_err(|source| Error::NotStarted { path: path.clone(), source })?;
        let process = spawn(name, &path, &arguments, &log, http)?;
        let mut program = Self { name, path, arguments, log, process, http };
        program.wait_ready().await?;
        Ok(program)
    }

    /// Kills it with SIGKILL, and waits until it has ended.
    pub(crate) async fn kill(&mut self) -> Result<(), Error> {
        self.process.kill().await.map_err(|source| Error::NotStarted { path: self.path.clone(), source })
    }

    /// Kills it and starts it again at once.
    pub(crate) async fn restart(&mut self) -> Result<(), Error> {
        self.kill().await?;
        self.process = spawn(self.name, &self.path, &self.arguments, &self.log, self.http)?;
        self.wait_ready().await
    }

    async fn wait_ready(&mut self) -> Result<(), Error> {
        let began = Instant::now();
        while davit_svc_kit::http::check_ready(self.http).await.is_err() {
            let ended =
                self.process.try_wait().map_err(|source| Error::NotStarted { path: self.path.clone(), source })?;
            if let Some(status) = ended {
                return Err(Error::WrongAnswer(format!("{} ended instead of serving: {status}", self.name)));
            }
            if began.elapsed() > HANG {
                return Err(Error::Hangs(HANG));
            }
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }

    /// What it counts of itself.
    pub(crate) async fn metrics(&self) -> Result<Metrics, Error> {
        Metrics::of(self.http).await
    }

    pub(crate) fn used(&self) -> Result<Used, Error> {
        let process_id = self.process.id().unwrap_or_default();
        let Memory { resident_bytes, peak_since_start_bytes } = memory::of_process(process_id)?;
        // Nothing was said as long as there is no file.
        let said = std::fs::read(&self.log).unwrap_or_default();
        let warnings = warnings(&String::from_utf8_lossy(&said));
        Ok(Used { cpu_s: cpu_s(process_id)?, resident_bytes, peak_since_start_bytes, warnings })
    }
}

fn spawn(name: &str, path: &Path, arguments: &[String], log: &Path, http: SocketAddr) -> Result<Process, Error> {
    let opened = File::options().create(true).append(true).open(log);
    let log = opened.map_err(|source| Error::Unwritable { path: log.to_owned(), source })?;
    let mut command = Command::new(path);
    command
        .env_clear()
        .args(arguments)
        .args(["--http-listen", &http.to_string(), "--log", "warn"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log);
    Process::spawn(&mut command, name).map_err(|source| Error::NotStarted { path: path.to_owned(), source })
}

/// How many lines of a log are warnings or worse: `2026-11-26T10:00:00.000000Z  WARN manager_svc::health: …`.
fn warnings(log: &str) -> usize {
    let is_one = |line: &&str| line.split_whitespace().nth(1).is_some_and(|level| ["WARN", "ERROR"].contains(&level));
    log.lines().filter(is_one).count()
}

/// An address that nobody listens on just now.
pub(crate) fn free_address() -> std::io::Result<SocketAddr> {
    TcpListener::bind("127.0.0.1:0").and_then(|bound| bound.local_addr())
}

/// Processor time of a process, its threads included.
pub(crate) fn cpu_s(process_id: u32) -> Result<f64, Error> {
    let path = PathBuf::from(format!("/proc/{process_id}/stat"));
    let stat = std::fs::read_to_string(&path).map_err(|source| Error::Unreadable { path, source })?;
    Ok(ticks(&stat).unwrap_or(0) as f64 / TICKS_PER_S)
}

/// Processor time of all that runs on this machine, in all cores together.
pub(crate) fn machine_cpu_s() -> Result<f64, Error> {
    let path = PathBuf::from("/proc/stat");
    let stat = std::fs::read_to_string(&path).map_err(|source| Error::Unreadable { path, source })?;
    let fields = stat.lines().next().unwrap_or_default().split_whitespace().skip(1);
    let ticks: Vec<u64> = fields.filter_map(|field| field.parse().ok()).collect();
    // user, nice, system; then come idle and waiting for disks; then interrupts.
    let busy: u64 = [0, 1, 2, 5, 6].iter().filter_map(|field| ticks.get(*field)).sum();
    Ok(busy as f64 / TICKS_PER_S)
}

/// User and system time; the name before them may have anything in it, spaces too.
fn ticks(stat: &str) -> Option<u64> {
    let (_, after_name) = stat.rsplit_once(") ")?;
    let mut fields = after_name.split(' ').skip(11);
    let (user, system): (u64, u64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some(user + system)
}

/// Bytes that went over loopback so far, whoever's.
pub(crate) fn loopback_bytes() -> Result<u64, Error> {
    let path = PathBuf::from("/proc/net/dev");
    let table = std::fs::read_to_string(&path).map_err(|source| Error::Unreadable { path, source })?;
    let line = table.lines().find_map(|line| line.trim_start().strip_prefix("lo:"));
    Ok(line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_are_told_from_other_lines() {
        let log = "2026-11-26T10:00:00.000000Z  WARN manager_svc::health: a node is late node=a\n\
                   2026-11-26T10:00:01.000000Z ERROR manager_svc::writer: the store can't be written\n\
                   2026-11-26T10:00:01.000000Z  INFO manager_svc: WARN\nand a second line of what was said\n\n";
        assert_eq!(warnings(log), 2);
        assert_eq!(warnings(""), 0);
    }

    #[test]
    fn the_kernels_times_are_read_behind_any_name() {
        let stat = "42 (a ) b) S 1 42 42 0 -1 4194304 100 0 0 0 150 50 0 0 20 0 1 0 100 1000 10 18446744073709551615";
        assert_eq!(ticks(stat), Some(200));
        assert_eq!(ticks("nonsense"), None);
        assert!(cpu_s(std::process::id()).is_ok());
    }
}
