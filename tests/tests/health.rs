//! Health checks of real containers and processes: when they are ready, what becomes of those that are unhealthy, and that a
//! worker's restart changes nothing of that.

#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

use std::time::Duration;

use davit_core::validate::Violations;
use davit_proto::convert::{duration_to_proto, timestamp_from_proto};
use davit_proto::v1;
use davit_proto::v1::TaskState::{Failed, Running};
use davit_proto::v1::health_check::Probe;
use davit_tests::engine::{Cleared, docker, host_socket, import_image};
use davit_tests::programs::Programs;
use davit_tests::worker_dir::WorkerDir;

/// Serves a file, which is removed to make it unhealthy.
const SERVER: &str =
    "/bin/busybox mkdir /tmp/www; echo ok > /tmp/www/health; exec /bin/busybox httpd -f -p 8080 -h /tmp/www";
/// Its probes look for a file.
const SLEEPER: &str = "echo ok > /tmp/health; exec sleep 600";

fn check(probe: Probe) -> v1::HealthCheck {
    let interval = Some(duration_to_proto(Duration::from_millis(200)));
    v1::HealthCheck { probe: Some(probe), interval, retries: 3, ..Default::default() }
}

fn http() -> Probe {
    Probe::Http(v1::HttpProbe { port: 8080, path: "/health".to_owned(), ..Default::default() })
}

fn exec(script: &str) -> Probe {
    Probe::Exec(v1::ExecProbe { command: ["/bin/sh", "-c", script].map(str::to_owned).into() })
}

/// Restarted a second after a failure, less up to half of it.
fn restarting(spec: &mut v1::TaskSpec, probe: Probe) {
    spec.health_check = Some(check(probe).into());
    let mode = v1::RestartMode::OnFailure.into();
    spec.restart_policy = Some(v1::RestartPolicy { mode, ..Default::default() });
    let grace = Some(duration_to_proto(Duration::from_millis(500)));
    spec.stop_policy = Some(v1::StopPolicy { grace, ..Default::default() });
}

/// A cluster on the machine's own engine, whose containers go with it.
async fn cluster(name: &str) -> (Programs, Cleared) {
    import_image(&host_socket());
    let name = format!("davit-{name}-{}", std::process::id());
    let cleared = Cleared { socket: host_socket(), label: format!("dev.davit.cluster={name}") };
    (Programs::start(&name, &["--heartbeat-period", "3s"]).await, cleared)
}

async fn until_ready(programs: &Programs, task: &str, attempt: u32) -> v1::Task {
    let is_ready = |task: &v1::Task| task.attempt == attempt && task.status.as_ref().is_some_and(|status| status.ready);
    programs.until_task("is ready", task, is_ready).await
}

/// Waits for the next attempt, and answers how the first one ended.
async fn until_second(programs: &Programs, task: &str) -> v1::TaskStatus {
    let second = until_ready(programs, task, 2).await;
    let first = second.past_attempts[0].status.clone().unwrap();
    let read = |time| timestamp_from_proto(time, "time", &mut Violations::new()).unwrap();
    let (ended, began) = (read(first.finish_time.unwrap()), read(second.status.unwrap().start_time.unwrap()));
    let pause = began.duration_since(ended);
    assert!(pause.as_millis() >= 500, "its back-off was {pause}");
    first
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_is_ready_when_it_answers_and_fails_and_is_restarted_when_it_does_not() {
    let (programs, _cleared) = cluster("health-http").await;
    let dir = WorkerDir::new();
    let worker = programs.worker("node", dir.path(), &host_socket(), &[]);
    worker.ready().await;
    let task = programs.create("web", SERVER, |spec| restarting(spec, http())).await;
    let without = programs.create("plain", SLEEPER, |_| ()).await;
    programs.until(&task, Running).await;
    until_ready(&programs, &task, 1).await;
    let _ = docker(&host_socket(), &["exec", &format!("davit-{task}-1"), "/bin/busybox", "rm", "/tmp/www/health"]);
    let first = until_second(&programs, &task).await;
    assert_eq!(first.state(), Failed);
    assert_eq!(first.reason, "unhealthy: http GET :8080/health answered 404 (3 times in a row)");
    assert!(!first.ready && first.exit_code.is_some(), "{first:?}");
    assert!(programs.until(&without, Running).await.ready, "without a check it is ready as soon as it runs");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_worker_probes_on_and_disturbs_nothing() {
    let (programs, _cleared) = cluster("health-exec").await;
    let dir = WorkerDir::new();
    let start = || programs.worker("node", dir.path(), &host_socket(), &[]);
    let worker = start();
    worker.ready().await;
    let probe = exec("/bin/busybox cat /tmp/health");
    let task = programs.create("sleeper", SLEEPER, |spec| restarting(spec, probe)).await;
    let ready = until_ready(&programs, &task, 1).await;

    worker.kill().await;
    let worker = start();
    worker.ready().await;
    programs.until_node("is well", "node", |node| node.runtime_problems.is_empty()).await;
    let after = programs.task(&task).await;
    assert_eq!((after.attempt, after.status), (1, ready.status), "it is as it was");
    let _ = docker(&host_socket(), &["exec", &format!("davit-{task}-1"), "/bin/busybox", "rm", "/tmp/health"]);
    let first = until_second(&programs, &task).await;
    assert_eq!(first.state(), Failed);
    let reason = "unhealthy: exec /bin/sh returned 1: cat: can't open '/tmp/health': No such file or directory";
    assert!(first.reason.starts_with(reason), "{}", first.reason);
    drop(worker);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_is_probed_beside_its_worker() {
    let programs = Programs::start("davit-health-process", &[]).await;
    let dir = WorkerDir::new();
    let _worker = programs.process_worker("node", dir.path(), &[]).await;
    // Both are in the directory of the task's own.
    let script = "echo ok > health; exec sleep 600";
    let probe = exec("test -e health || { echo gone >&2; exit 3; }");
    let task = programs.create_process("sleeper", script, |spec| restarting(spec, probe)).await;
    until_ready(&programs, &task, 1).await;
    let of_nodes = std::fs::read_dir(dir.path().join("processes/davit-health-process")).unwrap();
    let of_node = of_nodes.map(|node| node.unwrap().path()).next().unwrap();
    std::fs::remove_file(of_node.join(format!("davit-{task}-1/work/health"))).unwrap();
    let first = until_second(&programs, &task).await;
    assert_eq!(first.reason, "unhealthy: exec /bin/sh returned 3: gone (3 times in a row)");
}
