//! Containers that must never run twice stop when the node's lease has ended, also when nobody is there but the lease guard. And
//! a worker that is cut off restarts what ends. With a real Docker engine.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that can't go on fails")]

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use davit_proto::convert::duration_to_proto;
use davit_proto::v1;
use davit_proto::v1::task_service_client::TaskServiceClient;
use davit_proto::v1::worker_service_client::WorkerServiceClient;
use davit_tests::binaries::Service;
use davit_tests::wait::eventually;
use davit_tests::worker_dir::WorkerDir;
use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::Signal;
use tonic::transport::Channel;

const IMAGE: &str = "davit-test/busybox:guard";
const LIMIT: Duration = Duration::from_secs(60);
const LEASE: Duration = Duration::from_secs(4);
const GRACE: Duration = Duration::from_secs(1);

/// A manager with a scheduler, and the directory of a worker that comes and goes. Its containers go with it.
struct Cluster {
    name: String,
    _scheduler: Service,
    manager: Service,
    data_dir: WorkerDir,
    tasks: TaskServiceClient<Channel>,
}

fn docker(arguments: &[&str]) -> String {
    let output = Command::new("docker").args(arguments).output().expect("these tests need docker");
    assert!(output.status.success(), "docker {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn make_image() {
    let script =
        format!("docker inspect {IMAGE} > /dev/null 2>&1 || tar -C / -c bin/busybox | docker import - {IMAGE}");
    let made = Command::new("sh").args(["-c", &script]).output().expect("a shell");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}

impl Cluster {
    async fn start(name: &str) -> Self {
        make_image();
        let name = format!("davit-{name}-{}", std::process::id());
        let scheduler = Service::start("davit-scheduler", &[]);
        let lease = format!("{}s", LEASE.as_secs());
        let arguments = ["--scheduler", &scheduler.address.to_string(), "--cluster", &name, "--lease-duration", &lease];
        let manager = Service::start("davit-manager", &arguments.map(str::to_owned));
        manager.ready().await;
        let channel = davit_svc_kit::client::endpoint(&manager.address.to_string()).unwrap().connect_lazy();
        let data_dir = WorkerDir::new();
        Self { name, _scheduler: scheduler, manager, data_dir, tasks: TaskServiceClient::new(channel) }
    }

    fn start_worker(&self) -> Service {
        self.start_worker_on(self.data_dir.path())
    }

    fn start_worker_on(&self, data_dir: &Path) -> Service {
        let (manager, data_dir) = (self.manager.address.to_string(), data_dir.to_str().unwrap());
        let arguments = ["--manager", &manager, "--data-dir", data_dir, "--name", "node", "--docker", "on"];
        let arguments = [&arguments[..], &["--process-runtime", "true"]].concat();
        Service::start("davit-worker", &arguments.into_iter().map(str::to_owned).collect::<Vec<_>>())
    }

    async fn worker(&self) -> Service {
        let worker = self.start_worker();
        worker.ready().await;
        worker
    }

    /// A container that runs until it is stopped, and ignores a stop signal; or what the spec names.
    async fn run(&self, spec: v1::TaskSpec) -> String {
        let container = v1::ContainerSpec {
            image: IMAGE.to_owned(),
            command: ["/bin/busybox", "sleep", "100000"].map(str::to_owned).to_vec(),
            pull_policy: v1::PullPolicy::Never.into(),
            ..Default::default()
        };
        let grace = Some(duration_to_proto(GRACE));
        let spec = v1::TaskSpec {
            name: "once".to_owned(),
            runtime: spec.runtime.or(Some(v1::task_spec::Runtime::Container(container))),
            stop_policy: Some(v1::StopPolicy { grace, ..Default::default() }),
            ..spec
        };
        let request = v1::CreateTaskRequest { spec: Some(spec), ..Default::default() };
        let task_id = self.tasks.clone().create_task(request).await.unwrap().into_inner().task.unwrap().task_id;
        eventually("it runs", LIMIT, async || {
            let task = self.task(&task_id).await;
            let runs = task.status.as_ref().is_some_and(|status| status.state() == v1::TaskState::Running);
            if runs { Ok(()) } else { Err(task) }
        })
        .await;
        task_id
    }

    async fn run_once(&self) -> String {
        let action = v1::NodeLossAction::StopAndReplace.into();
        let on_node_loss = Some(v1::NodeLossPolicy { action, wait: None });
        self.run(v1::TaskSpec { on_node_loss, ..Default::default() }).await
    }

    async fn task(&self, task_id: &str) -> v1::Task {
        let request = v1::GetTaskRequest { task_id: task_id.to_owned() };
        self.tasks.clone().get_task(request).await.unwrap().into_inner().task.unwrap()
    }

    /// Waits for the end of the first attempt's container, which has to come before the manager begins the next.
    async fn until_stopped(&self, task_id: &str) {
        eventually("its container has stopped", LEASE + GRACE + LIMIT, async || {
            // In this order: what is told of the container is newer.
            let attempt = self.task(task_id).await.attempt;
            let state = state_of(task_id);
            assert!(attempt == 1 || state != "running", "attempt {attempt} has begun while the first runs");
            if state == "exited" { Ok(()) } else { Err(state) }
        })
        .await;
    }

    /// Waits until nobody guards.
    async fn until_unguarded(&self) {
        let lock = self.data_dir.path().join("guard").join(&self.name).join("lock");
        eventually("the guard has ended", LIMIT, async || {
            let file = std::fs::File::open(&lock).map_err(|error| error.to_string())?;
            Flock::lock(file, FlockArg::LockExclusiveNonblock).map(drop).map_err(|(_, errno)| errno.to_string())
        })
        .await;
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let label = format!("label=dev.davit.cluster={}", self.name);
        let left = docker(&["ps", "-aq", "--filter", &label]);
        if !left.is_empty() {
            docker(&[["rm", "-f"].as_slice(), &left.lines().collect::<Vec<_>>()].concat());
        }
    }
}

fn container_of(task_id: &str) -> String {
    format!("davit-{task_id}-1")
}

fn state_of(task_id: &str) -> String {
    docker(&["inspect", "-f", "{{.State.Status}}", &container_of(task_id)])
}

fn started_at(task_id: &str) -> String {
    docker(&["inspect", "-f", "{{.State.StartedAt}}", &container_of(task_id)])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_workers_container_stops_with_the_lease_and_the_next_worker_tells_why() {
    let cluster = Cluster::start("guard-dead").await;
    let worker = cluster.worker().await;
    let task_id = cluster.run_once().await;
    worker.kill().await;
    cluster.until_stopped(&task_id).await;
    cluster.until_unguarded().await;
    // The manager hangs, so that it can't have what is left removed.
    cluster.manager.signal(Signal::SIGSTOP);
    let worker = cluster.start_worker();
    let channel = davit_svc_kit::client::endpoint(&worker.address.to_string()).unwrap().connect_lazy();
    eventually("the worker tells why", LIMIT, async || {
        let request = v1::ListLocalTasksRequest::default();
        let listed = WorkerServiceClient::new(channel.clone()).list_local_tasks(request).await;
        let tasks = listed.map_err(|status| status.to_string())?.into_inner().tasks;
        let status = tasks.first().and_then(|task| task.status.clone()).ok_or("no task")?;
        let stopped = status.state() == v1::TaskState::Stopped && status.reason.contains("lease ended");
        if stopped { Ok(()) } else { Err(format!("{status:?}")) }
    })
    .await;
    cluster.manager.signal(Signal::SIGCONT);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hanging_workers_container_stops_with_the_lease() {
    let cluster = Cluster::start("guard-hangs").await;
    let worker = cluster.worker().await;
    let task_id = cluster.run_once().await;
    worker.signal(Signal::SIGSTOP);
    cluster.until_stopped(&task_id).await;
    worker.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_container_of_a_worker_that_is_back_in_time_is_not_disturbed() {
    let cluster = Cluster::start("guard-back").await;
    let worker = cluster.worker().await;
    let task_id = cluster.run_once().await;
    let started = started_at(&task_id);
    worker.kill().await;
    let _worker = cluster.worker().await;
    // Twice as long as it would have had without the second worker.
    let mut looks = tokio::time::interval(Duration::from_millis(250));
    for _ in 0..(LEASE + GRACE).as_millis() * 2 / 250 {
        looks.tick().await;
        assert_eq!((state_of(&task_id).as_str(), started_at(&task_id)), ("running", started.clone()));
    }
    assert_eq!(cluster.task(&task_id).await.attempt, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_off_worker_restarts_a_container_that_ends() {
    let cluster = Cluster::start("restarts").await;
    let _worker = cluster.worker().await;
    let short = Some(duration_to_proto(Duration::from_millis(100)));
    let restart = v1::RestartPolicy {
        mode: v1::RestartMode::OnFailure.into(),
        initial_delay: short,
        max_delay: short,
        ..Default::default()
    };
    let task_id = cluster.run(v1::TaskSpec { restart_policy: Some(restart), ..Default::default() }).await;
    let started = started_at(&task_id);
    cluster.manager.signal(Signal::SIGSTOP);
    // Three heartbeats long the worker takes its session for open, and what ends meanwhile for the manager's business.
    tokio::time::sleep(Duration::from_secs(5)).await;
    docker(&["kill", &container_of(&task_id)]);
    eventually("it runs anew", LIMIT, async || {
        let again = state_of(&task_id) == "running" && started_at(&task_id) != started;
        if again { Ok(()) } else { Err(state_of(&task_id)) }
    })
    .await;
    cluster.manager.signal(Signal::SIGCONT);
    eventually("the manager knows of it", LIMIT, async || {
        let task = cluster.task(&task_id).await;
        let restarts = task.status.as_ref().map_or(0, |status| status.local_restarts);
        assert_eq!(task.attempt, 1, "{task:?}");
        if restarts == 1 { Ok(()) } else { Err(task) }
    })
    .await;
    assert_eq!(state_of(&task_id), "running");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_with_a_copy_of_the_data_directory_disturbs_neither_container_nor_process() {
    let cluster = Cluster::start("guard-copy").await;
    let worker = cluster.worker().await;
    let container = cluster.run_once().await;
    let command = ["sleep", "100000"].map(str::to_owned).to_vec();
    let process = v1::ProcessSpec { command, ..Default::default() };
    let runtime = Some(v1::task_spec::Runtime::Process(process));
    let process = cluster.run(v1::TaskSpec { runtime, ..Default::default() }).await;
    let started = started_at(&container);
    let parent = WorkerDir::new();
    let copy = parent.path().join("copy");
    let copied = Command::new("cp").arg("-a").args([cluster.data_dir.path(), &copy]).status().unwrap();
    assert!(copied.success());
    // One is started at once, the other when the lease in the copy has long ended.
    for pause in [Duration::ZERO, LEASE + Duration::from_secs(1)] {
        tokio::time::sleep(pause).await;
        let second = cluster.start_worker_on(&copy);
        eventually("the second is refused", LIMIT, async || {
            let told = davit_svc_kit::http::check_ready(second.http).await.map_err(|told| told.to_string());
            match told {
                Err(told) if told.contains("is a copy") => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await;
        let mut looks = tokio::time::interval(Duration::from_millis(250));
        for _ in 0..(LEASE + GRACE).as_millis() * 2 / 250 {
            looks.tick().await;
            assert_eq!((state_of(&container).as_str(), started_at(&container)), ("running", started.clone()));
            for task in [&container, &process] {
                let task = cluster.task(task).await;
                let state = task.status.as_ref().map(v1::TaskStatus::state);
                assert_eq!((state, task.attempt), (Some(v1::TaskState::Running), 1), "{task:?}");
            }
        }
        second.kill().await;
    }
    worker.ready().await;
}
