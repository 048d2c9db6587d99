//! The services as programs: started as an operator starts them, stopped by signals.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::wait::eventually;

const LIMIT: Duration = Duration::from_secs(20);
/// Within this a program has stopped: what operators are promised.
const STOP_LIMIT: Duration = Duration::from_secs(10);

/// The path of one of this build's programs.
///
/// # Panics
/// When it was not built.
#[must_use]
pub fn path_of(name: &str) -> PathBuf {
    // Test programs are in target/<profile>/deps, programs in target/<profile>.
    let tests = std::env::current_exe().expect("this program has a path");
    let path = tests.ancestors().nth(2).expect("a folder above").join(name);
    assert!(path.exists(), "{} was not built; run `cargo build --workspace`", path.display());
    path
}

/// Ports for the programs of tests: below those that workers give to tasks, and that the kernel gives to connections.
const PORTS: Range<u16> = 10_240..20_000;
/// How many of them a process likely needs.
const PORTS_OF_A_PROCESS: u32 = 16;

/// An address that is free, and that no other program of this process gets.
#[must_use]
pub fn free_address() -> SocketAddr {
    static GIVEN: AtomicU32 = AtomicU32::new(0);
    // Each process begins elsewhere: a program takes its port only after a while, and until then nobody else may find it free.
    let first = std::process::id().wrapping_mul(PORTS_OF_A_PROCESS);
    let next = |_| first.wrapping_add(GIVEN.fetch_add(1, Ordering::Relaxed)) as usize % PORTS.len();
    let address = |nth| Some(SocketAddr::from((Ipv4Addr::LOCALHOST, PORTS.clone().nth(nth)?)));
    let is_free = |address: &SocketAddr| TcpListener::bind(address).is_ok();
    PORTS.map(next).filter_map(address).find(is_free).expect("a free port")
}

/// A program that runs. Killed when dropped.
#[derive(Debug)]
pub struct Service {
    name: &'static str,
    child: Child,
    arguments: Vec<String>,
    /// Where its log goes; `None`: to this program's standard error.
    log: Option<PathBuf>,
    /// A manager's, unless the arguments say where it keeps its state.
    data_dir: Option<TempDir>,
    /// Where its gRPC services are.
    pub address: SocketAddr,
    /// Where its metrics and health are.
    pub http: SocketAddr,
}

impl Service {
    /// Starts a program on free ports, with further arguments.
    pub fn start(name: &'static str, arguments: &[String]) -> Self {
        Self::start_logging(name, arguments, None)
    }

    /// The same, with its log appended to a file.
    pub fn start_logging(name: &'static str, arguments: &[String], log: Option<&Path>) -> Self {
        let (address, http) = (free_address(), free_address());
        let says_where = arguments.iter().any(|argument| argument == "--data-dir");
        let data_dir = (name == "davit-manager" && !says_where).then(|| tempfile::tempdir().expect("a directory"));
        Self::start_at(name, arguments, log.map(Path::to_owned), data_dir, (address, http))
    }

    fn start_at(
        name: &'static str,
        arguments: &[String],
        log: Option<PathBuf>,
        data_dir: Option<TempDir>,
        (address, http): (SocketAddr, SocketAddr),
    ) -> Self {
        let mut command = Command::new(path_of(name));
        if let Some(data_dir) = &data_dir {
            command.arg("--data-dir").arg(data_dir.path());
        }
        let log_to = |path: &PathBuf| File::options().create(true).append(true).open(path).expect("a log").into();
        let child = command
            .args(["--listen", &address.to_string(), "--http-listen", &http.to_string()])
            .args(arguments)
            .env_remove("DAVIT_LOG")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log.as_ref().map_or_else(Stdio::inherit, log_to))
            .kill_on_drop(true)
            .spawn()
            .expect("the program starts");
        Self { name, child, arguments: arguments.to_vec(), log, data_dir, address, http }
    }

    /// Ends it by SIGTERM, as an upgrade does, and starts it again as it was. Returns when it is ready.
    ///
    /// # Panics
    /// When it does not end well, or is not ready in time.
    pub async fn restart(mut self) -> Self {
        self.signal(Signal::SIGTERM);
        assert!(self.ended(STOP_LIMIT).await.success(), "{} did not end well", self.name);
        self.start_again().await
    }

    /// Ends it by SIGKILL, in the middle of whatever it does, and starts it again as it was. Returns when it is ready.
    ///
    /// # Panics
    /// When it had ended before, or is not ready in time.
    pub async fn crash(mut self) -> Self {
        self.child.kill().await.expect("it ran");
        self.start_again().await
    }

    async fn start_again(self) -> Self {
        let Self { name, arguments, log, data_dir, address, http, .. } = self;
        let next = Self::start_at(name, &arguments, log, data_dir, (address, http));
        next.ready().await;
        next
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When it does not end within this time.
    pub async fn ended(&mut self, within: Duration) -> ExitStatus {
        let ended = tokio::time::timeout(within, self.child.wait()).await;
        ended.unwrap_or_else(|_| panic!("{} did not stop within {within:?}", self.name)).expect("its exit status")
    }

    /// Waits until `/readyz` says so.
    pub async fn ready(&self) {
        eventually(&format!("{} is ready", self.name), LIMIT, async || {
            davit_svc_kit::http::check_ready(self.http).await.map_err(|problem| problem.to_string())
        })
        .await;
    }

    /// How much memory it holds.
    ///
    /// # Panics
    /// When it has ended.
    #[must_use]
    pub fn resident_bytes(&self) -> u64 {
        let pid = self.child.id().expect("it runs");
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("it says how much it holds");
        line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1024
    }

    /// Ends it as SIGKILL does, in the middle of whatever it does.
    ///
    /// # Panics
    /// When it has ended already.
    pub async fn kill(mut self) {
        self.child.kill().await.expect("it ran");
    }

    /// Sends it a signal, such as SIGSTOP.
    ///
    /// # Panics
    /// When it has ended.
    pub fn signal(&self, signal: Signal) {
        let pid = self.child.id().and_then(|pid| i32::try_from(pid).ok()).expect("it runs");
        kill(Pid::from_raw(pid), signal).expect("the signal is sent");
    }

    /// Sends SIGTERM and waits for the end.
    ///
    /// # Panics
    /// When it does not end in time.
    pub async fn terminate(mut self) -> ExitStatus {
        self.signal(Signal::SIGTERM);
        self.ended(STOP_LIMIT).await
    }
}
