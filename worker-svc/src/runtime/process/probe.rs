//! Probes of processes: at this machine's own address, or by a command beside the process.

use std::env;
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::process::ExitStatusExt as _;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use davit_core::id::AttemptKey;
use davit_core::spec::Probe;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::{Child, Command};

use super::ProcessRuntime;
use super::contract::{self, MARK, SPEC, SpecRecord};
use crate::runtime::probing::{self, OutputEnd};
use crate::runtime::{Error, InstanceState, Probed};

/// What is read of an output at a time.
const READ_BYTES: usize = 4096;

/// A command and the group that it leads, which is killed when this is dropped before the command has ended.
struct Group {
    child: Child,
    /// Until it has ended; the number is its own for as long as nobody has asked for its end.
    leader: Option<Pid>,
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(leader) = self.leader {
            // It may have ended a moment ago.
            let _ = killpg(leader, Signal::SIGKILL);
        }
    }
}

impl ProcessRuntime {
    pub(super) async fn probe_process(&self, key: AttemptKey, probe: &Probe, limit: Duration) -> Result<Probed, Error> {
        match self.find(key).await?.state() {
            InstanceState::Running(_) => {}
            InstanceState::Created => return Err(Error::NotStarted { key }),
            InstanceState::Exited(_) => return Err(Error::AlreadyExited { key }),
        }
        let address = async { Ok(IpAddr::V4(Ipv4Addr::LOCALHOST)) };
        probing::run(probe, limit, address, |command| self.run_beside(key, command, limit)).await
    }

    /// Runs a command with the environment and the working directory of the process.
    async fn run_beside(&self, key: AttemptKey, command: &[String], limit: Duration) -> Result<Probed, Error> {
        let failed = |source| Error::Io { action: "run a probe", source: Arc::new(source) };
        let dir = self.dir_of(key);
        let spec = contract::blocking(move || contract::read::<SpecRecord>(&dir, SPEC)).await.map_err(failed)?;
        let spec = spec.ok_or(Error::NotFound { key })?;
        let Some((program, arguments)) = command.split_first() else { return Err(Error::NotFound { key }) };
        let mut command = Command::new(program);
        command.args(arguments).env_clear().kill_on_drop(true).process_group(0);
        command.envs(["PATH", "HOME"].into_iter().filter_map(|name| Some((name, env::var_os(name)?))));
        command.envs(spec.env).env(MARK, key.to_string()).current_dir(&spec.working_dir);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = match command.spawn() {
            Ok(child) => child,
            Err(error) => return Ok(Probed::Failing(format!("can't be run: {error}"))),
        };
        let leader = child.id().and_then(|pid| i32::try_from(pid).ok()).map(Pid::from_raw);
        let mut group = Group { child, leader };
        let mut output = OutputEnd::default();
        let ended = tokio::time::timeout(limit, group.until_end(&mut output)).await;
        match ended {
            Ok(exit_code) => Ok(probing::returned(exit_code.map_err(failed)?, &output)),
            Err(_) => Ok(probing::too_long(limit, &output)),
        }
    }
}

impl Group {
    /// Waits until the command has ended and all have closed its output.
    async fn until_end(&mut self, output: &mut OutputEnd) -> std::io::Result<i64> {
        let (mut stdout, mut stderr) = (self.child.stdout.take(), self.child.stderr.take());
        let (mut one, mut two) = ([0; READ_BYTES], [0; READ_BYTES]);
        while stdout.is_some() || stderr.is_some() {
            tokio::select! {
                read = next(&mut stdout, &mut one), if stdout.is_some() => output.push(read?),
                read = next(&mut stderr, &mut two), if stderr.is_some() => output.push(read?),
            }
        }
        let status = self.child.wait().await?;
        self.leader = None;
        // As a shell tells it.
        let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
        Ok(code.unwrap_or(-1).into())
    }
}

/// What comes next of a stream, which is closed at its end.
async fn next<'a>(stream: &mut Option<impl AsyncRead + Unpin>, buffer: &'a mut [u8]) -> std::io::Result<&'a [u8]> {
    let Some(open) = stream else { return Ok(&[]) };
    let length = open.read(buffer).await?;
    if length == 0 {
        *stream = None;
    }
    Ok(buffer.get(..length).unwrap_or_default())
}
