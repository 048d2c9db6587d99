//! Docker engines for tests: the machine's own, and such that a test may stop, freeze and start again.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::wait::eventually;

/// The image that tests run: nothing but a static busybox.
pub const IMAGE: &str = "davit-test/busybox:latest";

const HOST_SOCKET: &str = "/var/run/docker.sock";
const START_LIMIT: Duration = Duration::from_secs(60);
const STOP_LIMIT: Duration = Duration::from_secs(40);

/// An engine of the test's own, in a network of its own. Gone with all that it ran when dropped.
#[derive(Debug)]
pub struct Engine {
    dir: TempDir,
    live_restore: bool,
    process: Option<Child>,
}

impl Engine {
    /// One that does not run yet.
    #[must_use]
    pub fn new(live_restore: bool) -> Self {
        let dir = tempfile::Builder::new().prefix("davit-engine-").tempdir().expect("a directory");
        Self { dir, live_restore, process: None }
    }

    /// One that runs and has [`IMAGE`].
    pub async fn started(live_restore: bool) -> Self {
        let mut engine = Self::new(live_restore);
        engine.start().await;
        import_image(&engine.socket());
        engine
    }

    /// One that runs, has [`IMAGE`] and keeps all that it has on a small disk of its own, which takes root.
    pub async fn on_small_disk(megabytes: usize) -> Self {
        let mut engine = Self::new(false);
        std::fs::create_dir(engine.data()).expect("a directory");
        let size = format!("size={megabytes}m");
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", &size, "davit-test"]).arg(engine.data()).status();
        assert!(mounted.expect("a command").success(), "this mounts a small tmpfs, which takes root");
        engine.start().await;
        import_image(&engine.socket());
        engine
    }

    /// Where it keeps images and containers.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// Where it listens.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.dir.path().join("sock")
    }

    /// Starts it, also anew, and waits until it answers.
    pub async fn start(&mut self) {
        let path = |name: &str| self.dir.path().join(name).display().to_string();
        // A new network alone hides no mounts, as other ways to get one do: the engine needs those of the control groups.
        let mut command = Command::new("unshare");
        command.args(["--net", "sh", "-c", "ip link set lo up && exec dockerd \"$@\"", "dockerd"]);
        command.args(["--data-root", &path("data"), "--exec-root", &path("exec"), "--pidfile", &path("pid")]);
        command.args(["--host", &format!("unix://{}", path("sock")), "--bridge=none", "--iptables=false"]);
        if self.live_restore {
            command.arg("--live-restore");
        }
        let log = std::fs::File::options().create(true).append(true).open(path("log")).expect("a log");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        self.process = Some(command.spawn().expect("the engine starts; these tests need root, dockerd and unshare"));
        let socket = self.socket();
        eventually("the engine answers", START_LIMIT, async || try_docker(&socket, &["version"])).await;
    }

    /// Stops it in good order.
    pub async fn stop(&mut self) {
        self.signal(Signal::SIGTERM);
        let Some(mut process) = self.process.take() else { return };
        eventually("the engine stops", STOP_LIMIT, async || match process.try_wait() {
            Ok(Some(_)) => Ok(()),
            other => Err(other),
        })
        .await;
    }

    /// Freezes it: it takes connections and answers none.
    pub fn freeze(&self) {
        self.signal(Signal::SIGSTOP);
    }

    /// Lets it go on.
    pub fn thaw(&self) {
        self.signal(Signal::SIGCONT);
    }

    fn signal(&self, signal: Signal) {
        let pid = self.process.as_ref().and_then(|process| i32::try_from(process.id()).ok());
        if let Some(pid) = pid {
            kill(Pid::from_raw(pid), signal).expect("the engine runs");
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let socket = self.socket();
        if let Some(process) = &mut self.process {
            let pid = Pid::from_raw(i32::try_from(process.id()).unwrap_or(0));
            let _ = kill(pid, Signal::SIGCONT);
            let all = try_docker(&socket, &["ps", "--all", "--quiet"]).unwrap_or_default();
            for container in all.lines() {
                let _ = try_docker(&socket, &["rm", "--force", "--volumes", container]);
            }
            // Nothing is left that it would have to stop.
            let _ = process.kill();
            let _ = process.wait();
        }
        // It is the engine's child, and does not end with it.
        let containerd = std::fs::read_to_string(self.dir.path().join("exec/containerd/containerd.pid"));
        if let Some(pid) = containerd.ok().and_then(|text| text.trim().parse().ok()) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        let mounts = std::fs::read_to_string("/proc/mounts").unwrap_or_default();
        let prefix = self.dir.path().display().to_string();
        for mount in mounts.lines().filter_map(|line| line.split(' ').nth(1)).filter(|path| path.starts_with(&prefix)) {
            let _ = Command::new("umount").args(["--lazy", mount]).status();
        }
    }
}

/// Removes the containers and networks that bear a label when it is dropped: the machine's own engine goes on after the test.
#[derive(Debug)]
pub struct Cleared {
    /// Where the engine listens.
    pub socket: PathBuf,
    /// `KEY=VALUE`.
    pub label: String,
}

impl Drop for Cleared {
    fn drop(&mut self) {
        let filter = format!("label={}", self.label);
        let left = try_docker(&self.socket, &["ps", "--all", "--quiet", "--filter", &filter]).unwrap_or_default();
        for container in left.lines() {
            let _ = try_docker(&self.socket, &["rm", "--force", container]);
        }
        let left = try_docker(&self.socket, &["network", "ls", "--quiet", "--filter", &filter]).unwrap_or_default();
        for network in left.lines() {
            let _ = try_docker(&self.socket, &["network", "rm", network]);
        }
    }
}

/// The machine's own engine, which other tests use too.
#[must_use]
pub fn host_socket() -> PathBuf {
    PathBuf::from(HOST_SOCKET)
}

/// Calls the docker command of the engine behind a socket.
///
/// # Errors
/// With what it wrote, when it failed.
pub fn try_docker(socket: &Path, arguments: &[&str]) -> Result<String, String> {
    let mut command = Command::new("timeout");
    command.args(["20", "docker", "--host", &format!("unix://{}", socket.display())]).args(arguments);
    let output = command.stdin(Stdio::null()).output().map_err(|problem| problem.to_string())?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

/// The same, where it must work.
///
/// # Panics
/// When it fails.
#[must_use]
pub fn docker(socket: &Path, arguments: &[&str]) -> String {
    try_docker(socket, arguments).unwrap_or_else(|problem| panic!("docker {arguments:?}: {problem}"))
}

/// Gives an engine [`IMAGE`], if it does not have it.
///
/// # Panics
/// When it can't be made.
pub fn import_image(socket: &Path) {
    if try_docker(socket, &["image", "inspect", IMAGE]).is_ok() {
        return;
    }
    let made = Command::new("sh")
        .args(["-c", IMPORT, "import", &format!("unix://{}", socket.display()), IMAGE])
        .output()
        .expect("a shell");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}

/// Makes an image of the machine's own static busybox.
const IMPORT: &str = r#"
set -e
dir=$(mktemp -d)
trap 'rm -r "$dir"' EXIT
mkdir "$dir/bin" "$dir/tmp" "$dir/etc"
cp /bin/busybox "$dir/bin/"
for name in sh sleep echo true; do ln -s busybox "$dir/bin/$name"; done
tar -C "$dir" -c . | docker --host "$1" import - "$2"
"#;
