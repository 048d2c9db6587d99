//! The engine that is measured: one of the measurement's own, in a network of its own, so that nothing of the machine's engine is
//! touched; or one that runs.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use bollard::query_parameters::{ListContainersOptionsBuilder, RemoveContainerOptionsBuilder};
use bollard::{API_DEFAULT_VERSION, Docker};
use tokio::process::Command;
use tokio::time::Instant;

use super::dockerd;
use crate::error::Error;
use crate::running::HANG;
use crate::running::control_plane::CLUSTER;
use crate::running::places::Places;
use crate::started::{self, Entry, Folder, Process, Thing};

/// What all containers are made of: busybox alone.
pub(super) const IMAGE: &str = "davit-bench/busybox:1";
/// What they do. They end by SIGKILL, for the first process of a container hears of no other signal by default.
pub(super) const COMMAND: [&str; 3] = ["busybox", "sleep", "86400"];
/// Between two looks at an engine, which costs it something.
const POLL: Duration = Duration::from_millis(50);
/// Calls by others than the contenders, before and after what is measured.
const TIMEOUT_S: u64 = 120;
/// An engine with the image.
#[derive(Debug)]
pub(super) struct Host {
    pub(super) api: Docker,
    /// For people.
    pub(super) version: String,
    engine: Engine,
}

/// An engine. When it is dropped, nothing is left of what was run on it, and of one of the measurement's own nothing at all.
#[derive(Debug)]
struct Engine {
    socket: PathBuf,
    /// Unset where it is not the measurement's own.
    process: Option<Process>,
    /// Of one that is not: what is left on it.
    _left: Option<Entry>,
    // Removed last.
    folder: Folder,
}

impl Engine {
    /// The one behind the socket, or a new one.
    fn new(socket: Option<&Path>, places: &Places) -> Result<Self, Error> {
        let folder = places.scratch()?;
        let Some(socket) = socket else {
            let process = Some(dockerd::spawn(folder.path())?);
            return Ok(Self { socket: folder.path().join("sock"), process, _left: None, folder });
        };
        let host = format!("docker --host unix://{}", socket.display());
        let labels = [bare_label(), davit_label()].map(|label| format!("{host} ps --all --filter label={label}"));
        let left = format!("containers: {}; the image: {host} image rm {IMAGE}", labels.join(", "));
        let ((), entry) = started::start(|| Ok::<_, Error>(()), |()| Thing::Other(left))?;
        Ok(Self { socket: socket.to_owned(), process: None, _left: Some(entry), folder })
    }

    /// Waits until it answers.
    async fn connect(&mut self) -> Result<Docker, Error> {
        let end = Instant::now() + HANG;
        loop {
            let answer = async {
                let api = Docker::connect_with_unix(&self.socket.to_string_lossy(), TIMEOUT_S, API_DEFAULT_VERSION)?;
                api.negotiate_version().await
            };
            let error = match answer.await {
                Ok(api) => return Ok(api),
                Err(error) => error,
            };
            let ended = self.process.as_mut().map(|process| process.try_wait().ok().flatten());
            match ended {
                // One that runs already answers at once.
                None => return Err(error.into()),
                Some(Some(status)) => {
                    let log = std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
                    let last = log.lines().last().unwrap_or_default();
                    return Err(Error::WrongAnswer(format!("dockerd ended instead of serving: {status}: {last}")));
                }
                Some(None) if Instant::now() > end => return Err(Error::Hangs(HANG)),
                Some(None) => tokio::time::sleep(POLL).await,
            }
        }
    }
}

impl Host {
    /// The engine behind the socket, or a new one.
    pub(super) async fn start(socket: Option<&Path>, places: &Places) -> Result<Self, Error> {
        let mut engine = Engine::new(socket, places)?;
        let api = engine.connect().await?;
        let version = format!("Docker {}", api.version().await?.version.unwrap_or_default());
        let host = Self { api, version, engine };
        host.import().await?;
        Ok(host)
    }

    /// Where it listens.
    pub(super) fn socket(&self) -> &Path {
        &self.engine.socket
    }

    /// Whether it was started for the measurement.
    pub(super) fn is_own(&self) -> bool {
        self.engine.process.is_some()
    }

    /// Makes the image of the machine's busybox, which must need no library.
    async fn import(&self) -> Result<(), Error> {
        let root = self.engine.folder.path().join("image");
        let script = "mkdir -p \"$1/bin\" && cp \"$(command -v busybox)\" \"$1/bin/busybox\" && tar -C \"$1\" -c . | docker import - \"$2\"";
        run(self.command("sh").args(["-c", script, "sh"]).arg(&root).arg(IMAGE)).await.map(drop)
    }

    /// A command whose `docker` talks to this engine.
    pub(super) fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .env("DOCKER_HOST", format!("unix://{}", self.engine.socket.display()))
            .stdin(Stdio::null())
            .kill_on_drop(true);
        command
    }

    /// Runs `docker` with these arguments, and answers what it printed.
    pub(super) async fn docker(&self, arguments: &[&str]) -> Result<String, Error> {
        run(self.command("docker").args(arguments)).await
    }

    /// The ids of the containers with this label: those that run, or all.
    pub(super) async fn containers(&self, label: &str, all: bool) -> Result<Vec<String>, Error> {
        let filter = HashMap::from([("label".to_owned(), vec![label.to_owned()])]);
        let options = ListContainersOptionsBuilder::new().all(all).filters(&filter).build();
        let found = self.api.list_containers(Some(options)).await?;
        Ok(found.into_iter().filter_map(|container| container.id).collect())
    }

    /// Waits until so many containers with this label run, or are there at all.
    pub(super) async fn until(&self, label: &str, all: bool, containers: u32) -> Result<(), Error> {
        let end = Instant::now() + HANG * 4;
        while self.containers(label, all).await?.len() != containers as usize {
            if Instant::now() > end {
                return Err(Error::Hangs(HANG * 4));
            }
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }

    /// Removes a container, killing it first if it runs.
    pub(super) async fn remove(&self, id: &str) -> Result<(), Error> {
        let options = RemoveContainerOptionsBuilder::new().force(true).v(true).build();
        Ok(self.api.remove_container(id, Some(options)).await?)
    }
}

/// Runs a command to its end, and answers what it printed.
async fn run(command: &mut Command) -> Result<String, Error> {
    let program = PathBuf::from(command.as_std().get_program());
    let output = command.output().await.map_err(|source| Error::NotStarted { path: program.clone(), source })?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(Error::CommandFailed { program, said })
}

impl Engine {
    /// What `docker` says, or nothing: this is for leaving nothing behind.
    fn docker(&self, arguments: &[&str]) -> String {
        let host = format!("unix://{}", self.socket.display());
        let mut command = std::process::Command::new("timeout");
        command.args(["60", "docker", "--host", &host]).args(arguments).stdin(Stdio::null());
        command.output().map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default()
    }

    fn remove_all(&self, filter: &[&str]) {
        let left = self.docker(&[&["ps", "--all", "--quiet"], filter].concat());
        let ids: Vec<&str> = left.lines().collect();
        // Few enough for the time that one call may take.
        for some in ids.chunks(50) {
            self.docker(&[&["rm", "--force", "--volumes"], some].concat());
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let Some(process) = &self.process else {
            for label in [bare_label(), davit_label()] {
                self.remove_all(&["--filter", &format!("label={label}")]);
            }
            self.docker(&["image", "rm", IMAGE]);
            return;
        };
        self.docker(&["swarm", "leave", "--force"]);
        self.remove_all(&[]);
        dockerd::end(process, self.folder.path());
    }
}

/// What the containers of the bare API and of `docker run` bear.
pub(super) fn bare_label() -> String {
    "dev.davit.bench=bare".to_owned()
}

/// What Davit's containers bear.
pub(super) fn davit_label() -> String {
    format!("dev.davit.cluster={CLUSTER}")
}
