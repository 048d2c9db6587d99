//! A Docker engine of a machine's own.

use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::error::{Result, io_at};
use crate::names::PREFIX;
use crate::process::Process;
use crate::shell::{run, until};

/// How long an engine may take to come up.
const PATIENCE: Duration = Duration::from_secs(60);
const CONTAINERD_PID: &str = "exec/containerd/containerd.pid";
/// What its containers are made from: busybox alone.
pub(crate) const IMAGE: &str = "davit-chaos/busybox:1";

/// An engine, with its directories.
#[derive(Debug)]
pub(crate) struct Engine {
    /// The engine itself.
    pub(crate) process: Process,
    /// Where it listens.
    pub(crate) socket: PathBuf,
    /// The cgroup under which its containers are.
    pub(crate) cgroup: String,
    dir: PathBuf,
}

impl Engine {
    /// An engine that does not run yet.
    pub(crate) fn new(machine: &str, dir: &Path, log: PathBuf) -> Self {
        let socket = dir.join("sock");
        let cgroup = format!("{PREFIX}-{machine}");
        let path = |name: &str| dir.join(name).display().to_string();
        let command = [
            "dockerd",
            "--data-root",
            &path("data"),
            "--exec-root",
            &path("exec"),
            "--pidfile",
            &path("pid"),
            "--host",
            &format!("unix://{}", socket.display()),
            // Two engines with bridges of the same name fight over it.
            "--bridge=none",
            "--iptables=false",
            "--exec-opt",
            "native.cgroupdriver=cgroupfs",
            "--cgroup-parent",
            &format!("/{cgroup}"),
        ]
        .map(str::to_owned);
        let process = Process::new(format!("engine {machine}"), machine, log, command.to_vec());
        Self { process, socket, cgroup, dir: dir.to_owned() }
    }

    /// Starts it and waits until it answers.
    ///
    /// # Errors
    /// When it does not.
    pub(crate) async fn start(&mut self) -> Result<()> {
        // Whoever has that process id now, it is no engine; and a containerd that nobody reaped is none either.
        for file in ["pid", CONTAINERD_PID] {
            let path = self.dir.join(file);
            if path.exists() {
                std::fs::remove_file(&path).map_err(io_at("remove", &path))?;
            }
        }
        self.process.start()?;
        self.answers().await
    }

    /// Ends it by SIGKILL, with the containerd below it. Containers live on, until it is started again.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub(crate) async fn kill(&mut self) -> Result<()> {
        self.process.kill().await?;
        let pid = std::fs::read_to_string(self.dir.join(CONTAINERD_PID)).ok().and_then(|text| text.trim().parse().ok());
        if let Some(pid) = pid.map(Pid::from_raw) {
            // It may have ended with its parent.
            let _ = kill(pid, Signal::SIGKILL);
        }
        Ok(())
    }

    /// Waits until it answers.
    ///
    /// # Errors
    /// When it does not.
    pub(crate) async fn answers(&self) -> Result<()> {
        let what = format!("{} answers", self.process.name);
        until(&what, PATIENCE, async || {
            self.docker(&["version", "--format", "{{.Server.Version}}"]).await.map_err(|error| error.to_string())
        })
        .await
        .map(drop)
    }

    /// Runs the client of it.
    ///
    /// # Errors
    /// When it fails.
    pub(crate) async fn docker(&self, arguments: &[&str]) -> Result<String> {
        let host = format!("unix://{}", self.socket.display());
        let arguments: Vec<&str> = ["--host", &host].into_iter().chain(arguments.iter().copied()).collect();
        run("docker", &arguments).await
    }

    /// Gives it the image.
    ///
    /// # Errors
    /// When it does not take it.
    pub(crate) async fn import(&self, archive: &Path) -> Result<()> {
        self.docker(&["import", &archive.display().to_string(), IMAGE]).await.map(drop)
    }

    /// Ids of all containers of this cluster, running or not.
    ///
    /// # Errors
    /// When the engine does not answer.
    pub(crate) async fn containers(&self, cluster: &str) -> Result<Vec<String>> {
        let filter = format!("label=dev.davit.cluster={cluster}");
        let ids = self.docker(&["ps", "--all", "--quiet", "--filter", &filter]).await?;
        Ok(ids.lines().map(str::to_owned).collect())
    }
}

/// Makes the archive that the image is imported from.
///
/// # Errors
/// When there is no static busybox, or the disk is full.
pub(crate) async fn make_image(dir: &Path) -> Result<PathBuf> {
    let (root, archive) = (dir.join("image"), dir.join("image.tar"));
    let bin = root.join("bin");
    std::fs::create_dir_all(&bin).map_err(io_at("make", &bin))?;
    let busybox = run("sh", &["-c", "command -v busybox"]).await?;
    std::fs::copy(&busybox, bin.join("busybox")).map_err(io_at("copy", Path::new(&busybox)))?;
    run("tar", &["-C", &root.display().to_string(), "-cf", &archive.display().to_string(), "."]).await?;
    Ok(archive)
}
