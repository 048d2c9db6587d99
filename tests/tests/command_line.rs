//! `davit` as people and scripts use it: exit codes, JSON, errors that say what to do, and the demo.

#![allow(clippy::unwrap_used, reason = "a test's own helpers may fail the test")]

use std::process::{Command, Output, Stdio};
use std::time::Duration;

use davit_proto::v1::TaskState;
use davit_tests::binaries::path_of;
use davit_tests::cluster::Cluster;
use davit_tests::wait::eventually;

struct Told {
    code: i32,
    out: String,
    err: String,
}

/// Runs `davit` with a manager's address in the environment, away from the test's own threads.
async fn davit(manager: &str, arguments: &[&str]) -> Told {
    let mut command = Command::new(path_of("davit"));
    command.args(arguments).env("DAVIT_MANAGER", manager).env_remove("DAVIT_LOG").stdin(Stdio::null());
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    let Output { status, stdout, stderr } = output;
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Told { code: status.code().unwrap_or(-1), out: text(stdout), err: text(stderr) }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_is_run_looked_at_stopped_and_removed() {
    let cluster = Cluster::builder().workers(2).start().await;
    let manager = cluster.manager_address().to_string();
    let told = davit(&manager, &["run", "--detach", "--name", "web", "fake"]).await;
    assert_eq!(told.code, 0, "{}", told.err);
    let id = told.out.trim().to_owned();
    cluster.wait_for_state(&id, TaskState::Running).await;

    let short = &id[id.len() - 12..];
    let told = davit(&manager, &["ps"]).await;
    assert!(told.out.contains(short) && told.out.contains("web") && told.out.contains("RUNNING"), "{}", told.out);
    let told = davit(&manager, &["ps", "-o", "json"]).await;
    assert!(told.out.contains("\"taskId\"") && told.out.contains("TASK_STATE_RUNNING"), "{}", told.out);
    for name in [short, "web", &id] {
        let told = davit(&manager, &["inspect", name, "-o", "json"]).await;
        assert!(told.code == 0 && told.out.contains(&id), "{name}: {} {}", told.out, told.err);
    }
    let told = davit(&manager, &["node", "cordon", "worker-1"]).await;
    assert_eq!(told.code, 0, "{}", told.err);
    let told = davit(&manager, &["node", "ls"]).await;
    assert!(told.out.contains("worker-0") && told.out.contains("worker-1"), "{}", told.out);
    assert_eq!(davit(&manager, &["rm", "web"]).await.code, 1, "it still runs");
    assert_eq!(davit(&manager, &["stop", "web"]).await.code, 0);
    let told = davit(&manager, &["ps"]).await;
    assert!(!told.out.contains("web"), "ended tasks are listed only with -a: {}", told.out);
    assert!(davit(&manager, &["ps", "-a"]).await.out.contains("STOPPED"));
    assert_eq!(davit(&manager, &["rm", "web"]).await.code, 0);
    assert!(!davit(&manager, &["ps", "-a"]).await.out.contains("web"));
    let told = davit(&manager, &["events"]).await;
    assert!(told.out.contains("deleted") && told.out.contains("RUNNING"), "{}", told.out);
    assert!(davit(&manager, &["cluster"]).await.out.contains("test"));
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn run_ends_with_the_exit_code_of_its_task() {
    let cluster = Cluster::builder().workers(1).start().await;
    let manager = cluster.manager_address().to_string();
    let order = |exit_code: &str| format!("fake.exit_code={exit_code}");
    for code in [0, 7] {
        let order = order(&code.to_string());
        let told = davit(&manager, &["run", "-l", "fake.run_for_ms=10", "-l", &order, "fake"]).await;
        assert_eq!(told.code, code, "{} {}", told.out, told.err);
    }
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_say_what_to_do() {
    let cluster = Cluster::builder().workers(1).start().await;
    let manager = cluster.manager_address().to_string();
    let told = davit("127.0.0.1:1", &["ps"]).await;
    assert!(told.code == 3 && told.err.contains("davit dev") && told.err.contains("DAVIT_MANAGER"), "{}", told.err);
    let told = davit(&manager, &["stop", "nobody"]).await;
    assert!(told.code == 1 && told.err.contains("nobody"), "{}", told.err);
    let told = davit(&manager, &["run", "-d", "Not An Image"]).await;
    assert!(told.code != 0 && told.err.contains("spec.container.image"), "{}", told.err);
    assert_eq!(davit(&manager, &["frobnicate"]).await.code, 2);
    cluster.create_tasks(2, &[]).await;
    let told = davit(&manager, &["inspect", "fake"]).await;
    assert!(told.code == 1 && told.err.lines().count() >= 3, "both are named: {}", told.err);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_shows_everything_cleans_up_and_exits_0() {
    for (arguments, kind) in [
        (vec!["demo", "--process"], "Tasks are plain processes"),
        (vec!["demo", "--image", "davit-test/busybox:latest"], "Tasks are containers"),
    ] {
        let told = tokio::time::timeout(Duration::from_secs(60), davit("127.0.0.1:1", &arguments)).await.unwrap();
        assert_eq!(told.code, 0, "{}\n{}", told.out, told.err);
        assert!(told.out.contains(kind), "{}", told.out);
        for part in ["COMPLETED", "FAILED, exit code 3", "attempt 3", "fits 0 of 3", "hello from a task of davit"] {
            assert!(told.out.contains(part), "{part} is missing:\n{}", told.out);
        }
    }
    eventually("no container is left", Duration::from_secs(10), async || {
        let mut docker = Command::new("docker");
        docker.args(["ps", "-a", "-q", "--filter", "label=dev.davit.cluster=demo"]);
        let left = String::from_utf8(docker.output().unwrap().stdout).unwrap();
        if left.is_empty() { Ok(()) } else { Err(left) }
    })
    .await;
}
