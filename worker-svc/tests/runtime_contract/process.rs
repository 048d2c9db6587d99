//! The contract on plain processes, and what only they promise.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use davit_core::spec::{ContainerSpec, ProcessSpec, RuntimeSpec, StopPolicy, TaskSpec};
use worker_svc::runtime::{
    AttemptSpec, ErrorKind, LogOptions, LogSource, Owner, ProcessConfig, ProcessRuntime, ProgressSender, Runtime,
};

use crate::harness::{Kind, Script, check, clock, new_key, task, unique};
use crate::suite::runtime_contract;

/// Removes its directory when it is dropped.
pub(crate) struct Process {
    dir: PathBuf,
}

impl Process {
    fn new() -> Self {
        Self { dir: std::env::temp_dir().join(format!("davit-process-{}", unique())) }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

impl Kind for Process {
    fn runtime(&self, owner: Owner) -> Arc<dyn Runtime> {
        Arc::new(ProcessRuntime::new(&owner, &ProcessConfig::new(self.dir.clone()), clock()))
    }

    fn spec(&self, script: Script) -> TaskSpec {
        script.shell().map_or_else(|| program(&["/no-such-program"]), |text| shell(&text))
    }
}

fn program(command: &[&str]) -> TaskSpec {
    task(RuntimeSpec::Process(process(command)))
}

fn process(command: &[&str]) -> ProcessSpec {
    let command = command.iter().map(|&word| word.to_owned()).collect();
    ProcessSpec { command, env: Default::default(), working_dir: String::new() }
}

fn shell(script: &str) -> TaskSpec {
    program(&["/bin/busybox", "sh", "-c", script])
}

runtime_contract!(Process::new());

#[tokio::test]
async fn env_and_working_directory_are_as_given_and_the_workers_env_is_not_passed_on() {
    check(Process::new(), |bench| async move {
        let mut spec = process(&["/bin/busybox", "sh", "-c", "echo $GREETING; pwd; echo ${CARGO_MANIFEST_DIR:-none}"]);
        spec.env.insert("GREETING".to_owned(), "hello davit".to_owned());
        spec.working_dir = "/usr/bin".to_owned();
        let (key, exit) = bench.run(task(RuntimeSpec::Process(spec))).await;
        assert_eq!(exit.exit_code, 0);
        assert_eq!(bench.output(key).await, "hello davit\n/usr/bin\nnone\n");
    })
    .await;
}

#[tokio::test]
async fn without_a_working_directory_a_task_gets_its_own() {
    check(Process::new(), |bench| async move {
        let (key, _) = bench.run(shell("echo data > file; pwd")).await;
        let dir = PathBuf::from(bench.output(key).await.trim_end());
        assert!(dir.join("file").exists());
        bench.runtime.remove(key).await.unwrap();
        assert!(!dir.exists());
    })
    .await;
}

#[tokio::test]
async fn a_missing_working_directory_is_named() {
    check(Process::new(), |bench| async move {
        let spec = ProcessSpec { working_dir: "/no/such/dir".to_owned(), ..process(&["/bin/busybox", "true"]) };
        let key = bench.create(task(RuntimeSpec::Process(spec))).await.key;
        let error = bench.runtime.start(key).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Permanent);
        assert!(error.to_string().contains("/no/such/dir"), "{error}");
    })
    .await;
}

#[tokio::test]
async fn standard_error_is_told_apart() {
    check(Process::new(), |bench| async move {
        let (key, _) = bench.run(shell("echo bad >&2")).await;
        let lines = bench.lines(key, LogOptions::default()).await;
        assert_eq!(lines.len(), 1);
        assert_eq!((lines[0].source, lines[0].bytes.as_slice()), (LogSource::Stderr, b"bad\n".as_slice()));
    })
    .await;
}

#[tokio::test]
async fn a_signal_that_ends_a_task_shows_in_its_exit_code() {
    check(Process::new(), |bench| async move {
        let (_, exit) = bench.run(shell("kill -USR1 $$; busybox sleep 100")).await;
        assert_eq!(exit.exit_code, 128 + 10);
    })
    .await;
}

#[tokio::test]
async fn children_do_not_outlive_their_leader() {
    check(Process::new(), |bench| async move {
        // The child ignores the stop signal; the leader tells its number and obeys.
        let script = "(trap '' TERM; while :; do busybox sleep 0.05; done) & \
                      trap 'exit 0' TERM; echo $!; echo ready; while :; do busybox sleep 0.05; done";
        let (key, _) = bench.start(shell(script)).await;
        bench.until_printed(key, "ready").await;
        let child = bench.output(key).await.lines().next().unwrap().to_owned();
        let stop = StopPolicy { grace: Duration::from_secs(20), ..StopPolicy::default() };
        bench.runtime.stop(key, &stop).await.unwrap();
        assert_eq!(bench.runtime.wait(key).await.unwrap().exit_code, 0);
        // The kernel takes a moment between the kill and the death.
        while !ended(&child) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

/// Gone, or only waits to be reaped by whoever inherited it.
fn ended(process: &str) -> bool {
    std::fs::read_to_string(format!("/proc/{process}/stat"))
        .map_or(true, |stat| stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('Z')))
}

#[tokio::test]
async fn a_container_is_not_for_this_runtime() {
    check(Process::new(), |bench| async move {
        let container = ContainerSpec::new("busybox".parse().unwrap());
        let attempt =
            AttemptSpec { key: new_key(), spec: Arc::new(task(RuntimeSpec::Container(container))), ports: Vec::new() };
        let error = bench.runtime.prepare(&attempt, &ProgressSender::new(None)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Permanent);
    })
    .await;
}
