//! The binary as scripts see it: what it writes, where, and the code it ends with; against a real cluster of processes.

#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

mod apps;
mod deployments;
mod explain;
mod jobs;
mod moves;
mod nodes;
mod tasks;

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Output, Stdio};
use std::time::Duration;

use davit_cli::local::{LocalCluster, Options, Ports};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::net::{TcpSocket, TcpStream};
use tokio::process::Command;
use worker_svc::reexec::Reexec;

/// What takes longer waits for something that will not come.
const LONGEST: Duration = Duration::from_secs(60);

async fn davit(manager: &str, line: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_davit"));
    command.args(line).env("DAVIT_MANAGER", manager).stdin(Stdio::null()).kill_on_drop(true);
    let done = tokio::time::timeout(LONGEST, command.output()).await;
    done.unwrap_or_else(|_| panic!("davit {line:?} takes longer than {} s", LONGEST.as_secs())).unwrap()
}

fn code(output: &Output) -> Option<i32> {
    output.status.code()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// `name` keeps clusters of one process apart.
async fn start(name: &str) -> (LocalCluster, String) {
    let options = Options {
        cluster: format!("cli-test-{name}"),
        workers: 2,
        data_dir: None,
        ports: Ports::Free,
        docker: None,
        reexec: Reexec::program(env!("CARGO_BIN_EXE_davit")),
    };
    let cluster = LocalCluster::start(options).await.unwrap();
    let manager = cluster.manager.to_string();
    (cluster, manager)
}

#[tokio::test]
async fn without_a_manager_the_code_is_3_and_the_error_says_what_to_do() {
    let output = davit("127.0.0.1:1", &["ps"]).await;
    assert_eq!(code(&output), Some(3));
    assert_eq!(stdout(&output), "");
    let told = stderr(&output);
    let lines: Vec<_> = told.lines().collect();
    let [waits, error] = lines[..] else { panic!("{told}") };
    assert_eq!(waits, "waiting for a manager at 127.0.0.1:1: connection refused");
    assert!(error.starts_with("error: can't reach a manager at 127.0.0.1:1 ("), "{told}");
    assert!(error.contains("davit dev"), "{told}");
}

/// What `davit` writes first to standard output when a manager comes to be at its address only after it was dialled.
async fn first_line_of_late(manager: &str, line: &[&str]) -> Option<String> {
    // The port is taken, and nobody listens there yet.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let late = socket.local_addr().unwrap().to_string();
    let mut command = Command::new(env!("CARGO_BIN_EXE_davit"));
    command.args(line).env("DAVIT_MANAGER", &late).stdin(Stdio::null()).kill_on_drop(true);
    let mut davit = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut told = BufReader::new(davit.stderr.take().unwrap()).lines();
    let mut written = BufReader::new(davit.stdout.take().unwrap()).lines();
    let waits = tokio::time::timeout(LONGEST, told.next_line()).await.unwrap().unwrap();
    assert_eq!(waits, Some(format!("waiting for a manager at {late}: connection refused")), "{line:?}");
    let back = socket.listen(1).unwrap();
    let passes_on = async {
        let (mut near, _) = back.accept().await.unwrap();
        let mut far = TcpStream::connect(manager).await.unwrap();
        let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
        std::future::pending::<()>().await;
    };
    tokio::select! {
        first = tokio::time::timeout(LONGEST, written.next_line()) => first.unwrap().unwrap(),
        () = passes_on => None,
    }
}

#[tokio::test]
async fn a_manager_that_is_not_back_yet_is_waited_for() {
    let (cluster, manager) = start("late").await;
    for line in [
        &["run", "-d", "--process", "sleep", "600"][..],
        &["ps", "-q"],
        &["events", "-f", "--since", "0"],
        &["stop", "sleep"],
    ] {
        let first = first_line_of_late(&manager, line).await;
        assert!(first.is_some_and(|first| !first.is_empty()), "{line:?}");
    }
    cluster.stop().await.unwrap();
}

#[tokio::test]
async fn a_wrong_command_line_ends_with_2() {
    for line in [&["fly"][..], &["run"], &["ps", "--state", "up"], &["--manager", "nowhere", "ps"]] {
        assert_eq!(code(&davit("127.0.0.1:1", line).await), Some(2), "{line:?}");
    }
}

#[tokio::test]
async fn completion_needs_no_manager() {
    let output = davit("127.0.0.1:1", &["completion", "bash"]).await;
    assert_eq!(code(&output), Some(0));
    assert!(stdout(&output).contains("_davit()"));
}

/// What `inspect` says of one thing.
async fn shown_of(manager: &str, task: &str, key: &str) -> String {
    let shown = stdout(&davit(manager, &["inspect", task]).await);
    let value = shown.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
    value.unwrap_or_else(|| panic!("no {key} in {shown}")).trim().to_owned()
}

/// One that sleeps, for tests to take away.
fn a_program(name: &str) -> PathBuf {
    let program = std::env::temp_dir().join(format!("davit-cli-test-{name}-{}.sh", std::process::id()));
    std::fs::write(&program, "#!/bin/sh\nexec sleep 600\n").unwrap();
    std::fs::set_permissions(&program, Permissions::from_mode(0o755)).unwrap();
    program
}

async fn running_on(manager: &str, node: &str) -> usize {
    stdout(&davit(manager, &["ps", "-q", "--state", "running", "--node", node]).await).lines().count()
}
