//! The contract on plain processes, and what only they promise.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use davit_core::id::{AttemptKey, NodeId};
use davit_core::spec::{ContainerSpec, OnNodeLoss, ProcessSpec, RuntimeSpec, StopPolicy, TaskSpec};
use futures::TryStreamExt as _;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use worker_svc::lease::LeaseFile;
use worker_svc::reexec::Reexec;
use worker_svc::runtime::{
    AttemptSpec, ErrorKind, InstanceState, LogOptions, LogSource, Owner, ProcessConfig, ProcessRuntime, ProgressSender,
    Runtime,
};

use crate::harness::{Bench, Kind, Script, check, clock, new_key, task, unique};
use crate::suite::runtime_contract;

/// Removes its directory when it is dropped.
pub(crate) struct Process {
    dir: PathBuf,
}

impl Process {
    pub(crate) fn new() -> Self {
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
        Arc::new(ProcessRuntime::new(&owner, &ProcessConfig::new(self.dir.clone(), reexec()), clock()))
    }

    fn spec(&self, script: Script) -> TaskSpec {
        script.shell().map_or_else(|| program(&["/no-such-program"]), |text| shell(&text))
    }
}

fn reexec() -> Reexec {
    Reexec::program(env!("CARGO_BIN_EXE_davit-worker"))
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
        let mut spec =
            process(&["/bin/busybox", "sh", "-c", "echo $GREETING $TOLD; pwd; echo ${CARGO_MANIFEST_DIR:-none}"]);
        spec.env.insert("GREETING".to_owned(), "hello davit".to_owned());
        spec.working_dir = "/usr/bin".to_owned();
        let (key, exit) = bench.run(task(RuntimeSpec::Process(spec))).await;
        assert_eq!(exit.exit_code, 0);
        assert_eq!(bench.output(key).await, "hello davit of itself\n/usr/bin\nnone\n");
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
        bench.runtime.stop(key, &stop, None).await.unwrap();
        assert_eq!(bench.runtime.wait(key).await.unwrap().exit_code, 0);
        // The kernel takes a moment between the kill and the death.
        while !ended(&child) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

/// The number that a script has printed first.
async fn printed_pid(bench: &Bench, key: AttemptKey) -> i32 {
    bench.until_printed(key, "ready").await;
    bench.output(key).await.lines().next().unwrap().parse().unwrap()
}

/// The supervisor of a process.
fn parent_of(process: i32) -> Pid {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    Pid::from_raw(stat.rsplit(')').next().unwrap().split_whitespace().nth(1).unwrap().parse().unwrap())
}

async fn until_ended(process: i32) {
    while !ended(&process.to_string()) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

const TELL_AND_RUN: &str = "echo $$; echo ready; while :; do busybox sleep 0.05; done";

#[tokio::test]
async fn who_leaves_the_group_does_not_outlive_the_leader_either() {
    check(Process::new(), |bench| async move {
        let script = "setsid sh -c 'echo $$; setsid sleep 600 & exec sleep 600' & busybox sleep 0.3; exit 4";
        let (key, exit) = bench.run(shell(script)).await;
        assert_eq!(exit.exit_code, 4);
        let daemon: i32 = bench.output(key).await.trim().parse().unwrap();
        assert!(ended(&daemon.to_string()));
    })
    .await;
}

#[tokio::test]
async fn a_killed_supervisor_takes_its_process_along_and_the_end_says_why() {
    check(Process::new(), |bench| async move {
        let script = format!("(trap '' TERM; while :; do busybox sleep 0.05; done) & {TELL_AND_RUN}");
        let (key, started) = bench.start(shell(&script)).await;
        let pid = printed_pid(&bench, key).await;
        kill(parent_of(pid), Signal::SIGKILL).unwrap();
        let exit = bench.runtime.wait(key).await.unwrap();
        assert_eq!((exit.exit_code, exit.started_at), (137, Some(started.started_at)));
        assert!(exit.error.contains("its supervisor was killed"), "{}", exit.error);
        assert!(ended(&pid.to_string()));
        // A worker that comes later tells the same.
        assert_eq!(bench.kind.runtime(bench.owner.clone()).wait(key).await.unwrap(), exit);
        let again = bench.runtime.start(key).await.unwrap_err();
        assert_eq!(again.kind(), ErrorKind::NotFound, "it never runs twice");
    })
    .await;
}

#[tokio::test]
async fn a_supervisor_that_was_killed_while_no_worker_was_there_leaves_nothing() {
    let process = Process::new();
    let owner = Owner { cluster: "davit-contract".to_owned(), node_id: NodeId(unique()) };
    let attempt = AttemptSpec {
        key: new_key(),
        spec: Arc::new(shell(TELL_AND_RUN)),
        ports: [].into(),
        env: Vec::new(),
        files: Vec::new(),
    };
    let first = process.runtime(owner.clone());
    first.create(&attempt).await.unwrap();
    first.start(attempt.key).await.unwrap();
    let follow = LogOptions { follow: true, ..LogOptions::default() };
    let line = first.logs(attempt.key, follow).await.unwrap().try_next().await.unwrap().unwrap();
    let pid: i32 = String::from_utf8(line.bytes).unwrap().trim().parse().unwrap();
    drop(first);
    let supervisor = parent_of(pid);
    kill(supervisor, Signal::SIGKILL).unwrap();
    until_ended(supervisor.as_raw()).await;
    assert!(!ended(&pid.to_string()), "it runs on, and nobody watches it");
    let second = process.runtime(owner);
    let found = second.list().await.unwrap();
    assert!(matches!(&found[0].state, InstanceState::Exited(exit) if exit.error.contains("supervisor")), "{found:?}");
    assert!(ended(&pid.to_string()));
    second.remove(attempt.key).await.unwrap();
}

#[tokio::test]
async fn a_supervisor_that_hangs_does_not_keep_its_process_from_being_removed() {
    check(Process::new(), |bench| async move {
        let (key, _) = bench.start(shell(TELL_AND_RUN)).await;
        let pid = printed_pid(&bench, key).await;
        let supervisor = parent_of(pid);
        kill(supervisor, Signal::SIGSTOP).unwrap();
        bench.runtime.remove(key).await.unwrap();
        until_ended(pid).await;
        until_ended(supervisor.as_raw()).await;
    })
    .await;
}

#[tokio::test]
async fn a_supervisor_that_is_asked_to_stop_stops_its_process_in_good_order() {
    check(Process::new(), |bench| async move {
        let (key, _) = bench.start(shell(&format!("trap 'exit 9' TERM; {TELL_AND_RUN}"))).await;
        let pid = printed_pid(&bench, key).await;
        kill(parent_of(pid), Signal::SIGTERM).unwrap();
        let exit = bench.runtime.wait(key).await.unwrap();
        assert_eq!(exit.exit_code, 9);
        assert!(exit.error.contains("told to stop"), "{}", exit.error);
    })
    .await;
}

#[tokio::test]
async fn a_full_disk_costs_output_and_never_the_end() {
    let process = Process::new();
    std::fs::create_dir_all(&process.dir).unwrap();
    let disk = SmallDisk::mount(&process.dir);
    check(process, |bench| async move {
        let script = "echo $$; echo ready; while [ ! -e go ]; do busybox sleep 0.02; done; echo after; exit 6";
        let (key, _) = bench.start(shell(script)).await;
        let pid = printed_pid(&bench, key).await;
        let work = std::fs::read_link(format!("/proc/{pid}/cwd")).unwrap();
        // The directory's entry is made while there is room.
        std::fs::write(work.join("go.new"), "").unwrap();
        let filler = work.join("filler");
        let full = std::fs::write(&filler, vec![0; 4 << 20]).unwrap_err();
        assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
        std::fs::rename(work.join("go.new"), work.join("go")).unwrap();
        let exit = bench.runtime.wait(key).await.unwrap();
        assert_eq!((exit.exit_code, exit.error.as_str()), (6, ""));
        until_ended(pid).await;
        let record = work.parent().unwrap().join("exit.json");
        assert!(!record.exists(), "there is no room for it");
        std::fs::remove_file(filler).unwrap();
        while !record.exists() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(bench.kind.runtime(bench.owner.clone()).wait(key).await.unwrap(), exit);
    })
    .await;
    drop(disk);
}

/// A file system of 1 MiB.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(at: &Path) -> Self {
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=1m", "davit-test"]).arg(at).status();
        assert!(mounted.unwrap().success(), "this test mounts a small disk, which needs root");
        Self(at.to_owned())
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
        // Nobody else could remove what something is mounted at.
        let _ = std::fs::remove_dir(&self.0);
    }
}

#[tokio::test]
async fn a_process_that_is_not_to_outlive_its_worker_ends_with_it() {
    let process = Process::new();
    let owner = Owner { cluster: "davit-contract".to_owned(), node_id: NodeId(unique()) };
    let config = ProcessConfig { outlive_worker: false, ..ProcessConfig::new(process.dir.clone(), reexec()) };
    let (first, second) = (ProcessRuntime::new(&owner, &config, clock()), process.runtime(owner));
    let attempt = AttemptSpec {
        key: new_key(),
        spec: Arc::new(shell(TELL_AND_RUN)),
        ports: [].into(),
        env: Vec::new(),
        files: Vec::new(),
    };
    first.create(&attempt).await.unwrap();
    first.start(attempt.key).await.unwrap();
    assert!(matches!(second.list().await.unwrap()[0].state, InstanceState::Running(_)));
    drop(first);
    let exit = second.wait(attempt.key).await.unwrap();
    assert!(exit.error.contains("its worker ended"), "{}", exit.error);
    second.remove(attempt.key).await.unwrap();
}

#[tokio::test]
async fn what_must_never_run_twice_is_stopped_without_a_worker_when_the_lease_ends() {
    let process = Process::new();
    std::fs::create_dir_all(&process.dir).unwrap();
    let lease = LeaseFile::new(process.dir.join("lease")).unwrap();
    let owner = Owner { cluster: "davit-contract".to_owned(), node_id: NodeId(unique()) };
    let config = ProcessConfig {
        lease_file: Some(lease.path().to_owned()),
        ..ProcessConfig::new(process.dir.clone(), reexec())
    };
    let runtime = ProcessRuntime::new(&owner, &config, clock());
    let start = async |on_node_loss| {
        let spec = TaskSpec { on_node_loss, ..shell("trap 'exit 5' TERM; while :; do busybox sleep 0.05; done") };
        let attempt =
            AttemptSpec { key: new_key(), spec: Arc::new(spec), ports: [].into(), env: Vec::new(), files: Vec::new() };
        runtime.create(&attempt).await.unwrap();
        runtime.start(attempt.key).await.unwrap();
        attempt.key
    };
    lease.renew(clock().uptime() + Duration::from_millis(600)).unwrap();
    let (leased, free) = (start(OnNodeLoss::StopAndReplace).await, start(OnNodeLoss::Replace).await);
    let until = clock().uptime() + Duration::from_millis(1500);
    lease.renew(until).unwrap();
    // A later worker learns of it; this one never stopped it.
    let exit = runtime.wait(leased).await.unwrap();
    assert!(clock().uptime() >= until, "it was renewed meanwhile");
    assert_eq!((exit.exit_code, exit.lease_ended), (5, true));
    assert!(exit.error.contains("lease ended"), "{}", exit.error);
    let restarted = ProcessRuntime::new(&owner, &config, clock());
    assert_eq!(restarted.wait(leased).await.unwrap(), exit);
    let states = restarted.list().await.unwrap();
    assert!(states.iter().any(|one| one.key == free && matches!(one.state, InstanceState::Running(_))), "{states:?}");
    for key in [leased, free] {
        restarted.remove(key).await.unwrap();
    }
}

/// Gone, or only waits to be reaped by whoever inherited it.
pub(crate) fn ended(process: &str) -> bool {
    std::fs::read_to_string(format!("/proc/{process}/stat"))
        .map_or(true, |stat| stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('Z')))
}

#[tokio::test]
async fn a_container_is_not_for_this_runtime() {
    check(Process::new(), |bench| async move {
        let container = ContainerSpec::new("busybox".parse().unwrap());
        let attempt = AttemptSpec {
            key: new_key(),
            spec: Arc::new(task(RuntimeSpec::Container(container))),
            ports: [].into(),
            env: Vec::new(),
            files: Vec::new(),
        };
        let error = bench.runtime.prepare(&attempt, &ProgressSender::new(None)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Permanent);
    })
    .await;
}
