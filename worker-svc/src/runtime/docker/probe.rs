//! Probes of containers: at their own address, or by a command inside.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use bollard::Docker;
use bollard::container::LogOutput;
use bollard::exec::{StartExecOptions, StartExecResults};
use bollard::models::{ExecConfig, ExecInspectResponse};
use davit_core::id::AttemptKey;
use davit_core::spec::Probe;
use davit_svc_kit::backoff::Backoff;
use futures::StreamExt as _;

use super::containers::{in_time, timed};
use super::error::{refused, status, unavailable};
use super::{DockerRuntime, Error, InstanceState, QUICK_TIME};
use crate::runtime::Probed;
use crate::runtime::probing::{self, OutputEnd};
use crate::runtime::process::os;

/// How often the engine is asked whether a command has ended, which it learns a moment after its output has.
const FIRST_LOOK: Duration = Duration::from_millis(10);
const LONGEST_LOOK: Duration = Duration::from_millis(200);

/// What is asked of a container that runs.
struct Target {
    id: String,
    address: Option<IpAddr>,
}

impl DockerRuntime {
    pub(super) async fn probe_container(
        &self,
        key: AttemptKey,
        probe: &Probe,
        limit: Duration,
    ) -> Result<Probed, Error> {
        let target = self.target(key).await?;
        // One without an address of its own shares the node's.
        let address = async { Ok(target.address.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST))) };
        probing::run(probe, limit, address, |command| self.exec(key, &target.id, command, limit)).await
    }

    /// As it was when it was looked at last, which is after its start: an address lasts as long as the run.
    async fn target(&self, key: AttemptKey) -> Result<Target, Error> {
        let known = self.known.lock().get(&key).and_then(|known| {
            let run = known.run.as_ref()?;
            Some(Target { id: known.id.clone(), address: run.address })
        });
        if let Some(target) = known {
            return Ok(target);
        }
        let own = self.own(key).await?;
        match own.state {
            InstanceState::Running(_) => {
                let address = super::observe::address(&own.inspected);
                Ok(Target { id: own.id, address })
            }
            InstanceState::Created => Err(Error::NotStarted { key }),
            InstanceState::Exited(_) => Err(Error::AlreadyExited { key }),
        }
    }

    async fn exec(
        &self,
        key: AttemptKey,
        container_id: &str,
        command: &[String],
        limit: Duration,
    ) -> Result<Probed, Error> {
        let engine = self.engine().await?;
        // Bound first: the guard must not live across an await.
        let before = self.execs.lock().get(&key).cloned();
        if let Some(before) = before {
            // One that was killed ends in a moment.
            match tokio::time::timeout(limit, until_end(engine, &before)).await {
                Ok(ended) => {
                    ended?;
                }
                Err(_) => return Ok(Probed::Failing("can't be tried: the one before has not ended".to_owned())),
            }
            self.execs.lock().remove(&key);
        }
        let config = ExecConfig {
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            cmd: Some(command.to_vec()),
            ..ExecConfig::default()
        };
        let creating = async {
            timed("exec", engine.create_exec(container_id, config)).await.map_err(|error| match status(&error) {
                Some(404) => Error::NotFound { key },
                // It is paused, or has ended a moment ago.
                Some(409) => unavailable("exec", &error),
                _ => refused("exec", &error),
            })
        };
        let exec_id = in_time("exec", QUICK_TIME, creating).await?.id;
        // Whoever drops this leaves a command that may run on.
        self.execs.lock().insert(key, exec_id.clone());
        let mut output = OutputEnd::default();
        let running = run(engine, &exec_id, &mut output);
        match tokio::time::timeout(limit, running).await {
            Ok(ended) => {
                let exit_code = ended?;
                self.execs.lock().remove(&key);
                Ok(probing::returned(exit_code, &output))
            }
            Err(_) => {
                if let Some(pid) = inspect(engine, &exec_id).await?.and_then(|exec| exec.pid) {
                    kill(pid, container_id).await;
                }
                Ok(probing::too_long(limit, &output))
            }
        }
    }
}

/// Runs a command to its end. Answers its exit code.
async fn run(engine: &Docker, exec_id: &str, output: &mut OutputEnd) -> Result<i64, Error> {
    let started = engine.start_exec(exec_id, None::<StartExecOptions>).await;
    if let StartExecResults::Attached { output: mut lines, .. } = started.map_err(|error| refused("exec", &error))? {
        while let Some(line) = lines.next().await {
            match line.map_err(|error| unavailable("exec", &error))? {
                LogOutput::StdOut { message } | LogOutput::StdErr { message } | LogOutput::Console { message } => {
                    output.push(&message);
                }
                LogOutput::StdIn { .. } => {}
            }
        }
    }
    let unknown = || Error::Unavailable { action: "exec", reason: "the engine does not tell its exit code".to_owned() };
    until_end(engine, exec_id).await?.ok_or_else(unknown)
}

/// Waits until a command does not run, of which the engine tells nobody. Answers its exit code, where the engine has one.
async fn until_end(engine: &Docker, exec_id: &str) -> Result<Option<i64>, Error> {
    let mut backoff = Backoff::new(FIRST_LOOK, LONGEST_LOOK);
    loop {
        match inspect(engine, exec_id).await? {
            Some(exec) if exec.running == Some(true) => {}
            ended => return Ok(ended.and_then(|exec| exec.exit_code)),
        }
        tokio::time::sleep(backoff.next_delay()).await;
    }
}

/// What the engine knows of a command; `None`: nothing any more.
async fn inspect(engine: &Docker, exec_id: &str) -> Result<Option<ExecInspectResponse>, Error> {
    let inspecting = async {
        match engine.inspect_exec(exec_id).await {
            Ok(exec) => Ok(Some(exec)),
            Err(error) if status(&error) == Some(404) => Ok(None),
            Err(error) => Err(unavailable("inspect", &error)),
        }
    };
    in_time("inspect", QUICK_TIME, inspecting).await
}

/// Kills a command in a container, and what it began, which the engine offers no call for. Only where the engine's processes are
/// this worker's to see, which those tell whose control group has the container's id in its name.
async fn kill(pid: i64, container_id: &str) {
    let Ok(pid) = i32::try_from(pid) else { return };
    let id = container_id.to_owned();
    let groups = |pid: i32| std::fs::read_to_string(format!("/proc/{pid}/cgroup"));
    let killing = move || os::kill_tree(pid, |pid| groups(pid).is_ok_and(|groups| has_container(&groups, &id)));
    let killed = tokio::task::spawn_blocking(killing).await.unwrap_or_else(|error| Err(std::io::Error::other(error)));
    if let Err(error) = killed {
        tracing::debug!(%error, "can't kill a probe that takes too long");
    }
}

/// Whether control groups are those of a container: `…/docker/ID`, `…/docker-ID.scope`, or below.
fn has_container(groups: &str, id: &str) -> bool {
    let scope = format!("docker-{id}.scope");
    groups.lines().flat_map(|line| line.split('/')).any(|part| part == id || part == scope)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_control_group_names_its_container() {
        for (groups, inside) in [
            ("12:pids:/docker/abc\n0::/system.slice\n", true),
            ("0::/system.slice/docker-abc.scope\n", true),
            ("0::/docker/abc/nested\n", true),
            ("0::/docker/abcd\n", false),
            ("0::/\n", false),
        ] {
            assert_eq!(has_container(groups, "abc"), inside, "{groups}");
        }
    }
}
