//! A manager and a worker whose disks run full, as an operator and users meet it. Mounts small tmpfs, which takes root.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail the test")]

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use davit_proto::v1;
use davit_proto::v1::cluster_service_client::ClusterServiceClient;
use davit_proto::v1::task_service_client::TaskServiceClient;
use davit_tests::binaries::{Service, path_of};
use davit_tests::programs::Programs;
use davit_tests::wait::eventually;
use davit_tests::worker_dir::WorkerDir;
use tonic::transport::Channel;
use tonic::{Code, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_types::StatusExt as _;

const LIMIT: Duration = Duration::from_secs(30);

/// A file system of its own, unmounted when dropped.
struct SmallDisk(WorkerDir);

impl SmallDisk {
    fn mount(megabytes: usize) -> Self {
        let dir = WorkerDir::new();
        let size = format!("size={megabytes}m");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "davit-test"]).arg(dir.path()).status();
        assert!(mounted.unwrap().success(), "this test mounts a small tmpfs, which takes root");
        Self(dir)
    }

    fn data_dir(&self) -> PathBuf {
        self.0.path().join("data")
    }

    fn hog(&self) -> PathBuf {
        self.0.path().join("hog")
    }

    /// Takes all the room that is left.
    fn fill(&self) {
        let mut hog = std::fs::File::create(self.hog()).unwrap();
        for size in [1 << 16, 1 << 10, 1] {
            let block = vec![1_u8; size];
            while hog.write_all(&block).is_ok() {}
        }
    }

    fn make_room(&self) {
        std::fs::remove_file(self.hog()).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _unmounted = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

fn start(data_dir: &Path) -> Service {
    let arguments = ["--data-dir", data_dir.to_str().unwrap(), "--cluster", "davit-full-disk"];
    Service::start("davit-manager", &arguments.map(str::to_owned))
}

fn channel(manager: &Service) -> Channel {
    davit_svc_kit::client::endpoint(&manager.address.to_string()).unwrap().connect_lazy()
}

async fn create(channel: &Channel, name: String) -> Result<(), Status> {
    let command = ["sleep", "1000"].map(str::to_owned).to_vec();
    let runtime = v1::task_spec::Runtime::Process(v1::ProcessSpec { command, ..Default::default() });
    let spec = Some(v1::TaskSpec { name, runtime: Some(runtime), ..Default::default() });
    let request = v1::CreateTaskRequest { spec, ..Default::default() };
    TaskServiceClient::new(channel.clone()).create_task(request).await.map(drop)
}

async fn names(channel: &Channel) -> BTreeSet<String> {
    let (mut names, mut page_token) = (BTreeSet::new(), String::new());
    loop {
        let request = v1::ListTasksRequest { page_size: 1000, page_token, ..Default::default() };
        let page = TaskServiceClient::new(channel.clone()).list_tasks(request).await.unwrap().into_inner();
        names.extend(page.tasks.into_iter().map(|task| task.spec.unwrap().name));
        if page.next_page_token.is_empty() {
            return names;
        }
        page_token = page.next_page_token;
    }
}

/// Waits until all that tells of it says whether changes are taken: gRPC health, `/readyz`, the cluster, `davit cluster`.
async fn until_told(manager: &Service, channel: &Channel, takes_changes: bool) {
    eventually(&format!("everyone is told that changes are taken: {takes_changes}"), LIMIT, async || {
        let request = tonic_health::pb::HealthCheckRequest { service: String::new() };
        let health = HealthClient::new(channel.clone()).check(request).await.unwrap().into_inner().status();
        let readyz = davit_svc_kit::http::check_ready(manager.http).await.map_err(|refused| refused.to_string());
        let got = ClusterServiceClient::new(channel.clone()).get_cluster(v1::GetClusterRequest {}).await.unwrap();
        let reason = got.into_inner().cluster.unwrap().read_only_reason;
        let address = manager.address.to_string();
        let shown = Command::new(path_of("davit")).args(["--manager", &address, "cluster"]).output().unwrap();
        let shown = String::from_utf8(shown.stdout).unwrap();
        let shown = shown.lines().find(|line| line.starts_with("Changes:"));
        let holds = if takes_changes {
            health == ServingStatus::Serving && readyz.is_ok() && reason.is_empty() && shown.is_none()
        } else {
            let says_why = |text: &str| text.contains("No space left on device");
            health == ServingStatus::NotServing
                && readyz.as_ref().is_err_and(|told| says_why(told))
                && says_why(&reason)
                && shown.is_some_and(says_why)
        };
        if holds { Ok(()) } else { Err(format!("{health:?}, {readyz:?}, {reason:?}, {shown:?}")) }
    })
    .await;
}

#[tokio::test]
async fn a_manager_whose_disk_is_full_says_why_loses_nothing_and_goes_on_by_itself_when_there_is_room() {
    let disk = SmallDisk::mount(16);
    let manager = start(&disk.data_dir());
    manager.ready().await;
    let channel = channel(&manager);
    let mut answered = BTreeSet::new();
    for number in 0..20 {
        let name = format!("before-{number}");
        create(&channel, name.clone()).await.unwrap();
        answered.insert(name);
    }
    for round in 0..2 {
        disk.fill();
        // What the file system keeps for the journal's last page may take a few more.
        let refused = (0..).map(|number| format!("full-{round}-{number}"));
        for name in refused {
            match create(&channel, name.clone()).await {
                Ok(()) => assert!(answered.insert(name)),
                Err(status) => {
                    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
                    assert_eq!(status.get_details_error_info().unwrap().reason, "NOT_COMMITTED");
                    assert!(status.message().contains("No space left on device"), "{status:?}");
                    assert!(status.get_details_retry_info().unwrap().retry_delay.is_some());
                    break;
                }
            }
        }
        until_told(&manager, &channel, false).await;
        assert_eq!(names(&channel).await, answered, "reads go on");
        assert!(create(&channel, "still-full".to_owned()).await.is_err());
        disk.make_room();
        until_told(&manager, &channel, true).await;
        let name = format!("room-again-{round}");
        create(&channel, name.clone()).await.unwrap();
        answered.insert(name);
    }
    manager.kill().await;
    let manager = start(&disk.data_dir());
    manager.ready().await;
    assert_eq!(names(&self::channel(&manager)).await, answered);
}

#[tokio::test]
async fn a_worker_whose_disk_is_full_says_why_takes_no_new_tasks_and_is_back_after_a_restart() {
    let disk = SmallDisk::mount(32);
    let programs = Programs::start("davit-full-disk-worker", &[]).await;
    let start = || {
        let data_dir = disk.data_dir().display().to_string();
        programs.worker_with(&[
            "--name",
            "node",
            "--data-dir",
            &data_dir,
            "--docker",
            "off",
            "--process-runtime",
            "true",
        ])
    };
    let process = |spec: &mut v1::TaskSpec| {
        let command = ["sleep", "1000"].map(str::to_owned).to_vec();
        spec.runtime = Some(v1::task_spec::Runtime::Process(v1::ProcessSpec { command, ..Default::default() }));
    };
    let worker = start();
    worker.ready().await;
    let before = programs.create("before", "", process).await;
    let ran = programs.until(&before, v1::TaskState::Running).await;

    disk.fill();
    let full = |node: &v1::Node| {
        let says_why = |problem: &v1::RuntimeProblem| problem.problem.contains("No space left on device");
        node.runtime_problems.iter().any(says_why)
    };
    programs.until_node("it says that its disk is full", "node", full).await;
    let meanwhile = programs.create("meanwhile", "", process).await;
    let waits = |task: &v1::Task| task.status.as_ref().is_some_and(|status| status.reason.contains("process"));
    let waiting = programs.until_task("it waits for a node", &meanwhile, waits).await;
    assert_eq!(waiting.status.unwrap().state(), v1::TaskState::Pending);

    // A restart does not need room: what runs is taken up.
    worker.kill().await;
    let worker = start();
    worker.ready().await;
    programs.until_node("it still says that its disk is full", "node", full).await;
    let task = programs.task(&before).await;
    let still = task.status.unwrap();
    assert_eq!((task.attempt, still.state(), still.start_time), (1, v1::TaskState::Running, ran.start_time));

    disk.make_room();
    programs.until(&meanwhile, v1::TaskState::Running).await;
    for task_id in [before, meanwhile] {
        let request = v1::DeleteTaskRequest { task_id: task_id.clone(), force: true };
        programs.tasks().delete_task(request).await.unwrap();
        eventually("it is gone", LIMIT, async || {
            match programs.tasks().get_task(v1::GetTaskRequest { task_id: task_id.clone() }).await {
                Err(status) if status.code() == Code::NotFound => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await;
    }
    drop(worker);
}
