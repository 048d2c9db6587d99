//! Backups of a live manager, and clusters that go on from one.

#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

use std::path::Path;
use std::process::Output;
use std::time::Duration;

use davit_proto::v1;
use davit_proto::v1::cluster_service_client::ClusterServiceClient;
use davit_proto::v1::event_service_client::EventServiceClient;
use davit_proto::v1::task_service_client::TaskServiceClient;
use davit_tests::binaries::{Service, path_of};
use davit_tests::wait::eventually;
use davit_tests::worker_dir::WorkerDir;
use tokio::process::Command;
use tonic::Code;
use tonic::transport::Channel;

const LIMIT: Duration = Duration::from_secs(20);

async fn manager(data_dir: &Path, scheduler: &Service) -> Service {
    let arguments = ["--data-dir", &data_dir.display().to_string(), "--scheduler", &scheduler.address.to_string()];
    let manager = Service::start("davit-manager", &arguments.map(str::to_owned));
    manager.ready().await;
    manager
}

async fn worker(dir: &Path, manager: &Service) -> Service {
    let (manager, data_dir) = (manager.address.to_string(), dir.display().to_string());
    let arguments = ["--manager", &manager, "--data-dir", &data_dir, "--name", "node"];
    let arguments = [&arguments[..], &["--docker", "off", "--process-runtime", "true"]].concat();
    let worker = Service::start("davit-worker", &arguments.into_iter().map(str::to_owned).collect::<Vec<_>>());
    worker.ready().await;
    worker
}

async fn channel(manager: &Service) -> Channel {
    Channel::from_shared(format!("http://{}", manager.address)).unwrap().connect().await.unwrap()
}

async fn davit_manager(arguments: &[&str]) -> Output {
    Command::new(path_of("davit-manager")).args(arguments).output().await.unwrap()
}

async fn create(channel: &Channel, name: &str) -> v1::Task {
    let process = v1::ProcessSpec { command: ["sleep", "600"].map(str::to_owned).to_vec(), ..Default::default() };
    let spec = v1::TaskSpec {
        name: name.to_owned(),
        runtime: Some(v1::task_spec::Runtime::Process(process)),
        ..Default::default()
    };
    let request = v1::CreateTaskRequest { spec: Some(spec), ..Default::default() };
    TaskServiceClient::new(channel.clone()).create_task(request).await.unwrap().into_inner().task.unwrap()
}

async fn running(channel: &Channel, task_id: &str) -> v1::Task {
    eventually("it runs", LIMIT, async || {
        let request = v1::GetTaskRequest { task_id: task_id.to_owned() };
        let answer = TaskServiceClient::new(channel.clone()).get_task(request).await;
        let task = answer.map_err(|status| status.to_string())?.into_inner().task.unwrap();
        let status = task.status.clone().unwrap_or_default();
        if status.state() == v1::TaskState::Running { Ok(task) } else { Err(format!("{status:?}")) }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_goes_on_from_a_backup_and_what_runs_is_not_disturbed() {
    let dir = WorkerDir::new();
    let file = dir.path().join("cluster.backup");
    let file_text = file.display().to_string();
    let scheduler = Service::start("davit-scheduler", &[]);
    scheduler.ready().await;
    let first = manager(&dir.path().join("first"), &scheduler).await;
    let first_worker = worker(&dir.path().join("worker"), &first).await;
    let api = channel(&first).await;
    let task_id = create(&api, "kept").await.task_id;
    let before = running(&api, &task_id).await;

    let address = first.address.to_string();
    let made = davit_manager(&["backup", &file_text, "--manager", &address]).await;
    assert!(made.status.success(), "{made:?}");
    assert!(String::from_utf8_lossy(&made.stdout).contains("holds cluster `davit` at revision"), "{made:?}");
    let other_file = dir.path().join("other.backup").display().to_string();
    let other = davit_manager(&["backup", &other_file, "--manager", &address, "--cluster", "prod"]).await;
    assert!(
        String::from_utf8_lossy(&other.stderr).contains("is of cluster `davit`, and --cluster says `prod`"),
        "{other:?}"
    );
    assert!(!other.status.success() && !Path::new(&other_file).exists());
    let again = davit_manager(&["backup", &file_text, "--manager", &address]).await;
    assert!(String::from_utf8_lossy(&again.stderr).contains("never written over another"), "{again:?}");

    // What comes after the backup is lost with the manager's disk.
    let later = create(&api, "later").await.task_id;
    let lost_revision = running(&api, &later).await.revision;
    first.kill().await;
    first_worker.kill().await;

    let restored = dir.path().join("restored").display().to_string();
    let other = davit_manager(&["restore", &file_text, "--data-dir", &restored, "--cluster", "prod"]).await;
    assert!(String::from_utf8_lossy(&other.stderr).contains("is a backup of cluster `davit`"), "{other:?}");
    assert!(!other.status.success() && !Path::new(&restored).exists());
    let made = davit_manager(&["restore", &file_text, "--data-dir", &restored]).await;
    assert!(made.status.success(), "{made:?}");
    assert!(String::from_utf8_lossy(&made.stdout).contains("it goes on with revision 10000"), "{made:?}");
    let over = davit_manager(&["restore", &file_text, "--data-dir", &restored]).await;
    assert!(!over.status.success() && String::from_utf8_lossy(&over.stderr).contains("is not empty"), "{over:?}");

    let second = manager(Path::new(&restored), &scheduler).await;
    let _second_worker = worker(&dir.path().join("worker"), &second).await;
    let api = channel(&second).await;
    let after = running(&api, &task_id).await;
    let start = |task: &v1::Task| task.status.as_ref().and_then(|status| status.start_time);
    assert_eq!((after.attempt, start(&after)), (before.attempt, start(&before)), "the same process");
    let unknown = TaskServiceClient::new(api.clone()).get_task(v1::GetTaskRequest { task_id: later }).await;
    assert_eq!(unknown.unwrap_err().code(), Code::NotFound);
    let totals = ClusterServiceClient::new(api.clone()).get_cluster(v1::GetClusterRequest {}).await.unwrap();
    assert_eq!(totals.into_inner().cluster.unwrap().totals.unwrap().created, 1);

    // Nobody who saw what was lost goes on from there.
    let request = v1::WatchEventsRequest { after_revision: Some(lost_revision), ..Default::default() };
    let watched = match EventServiceClient::new(api.clone()).watch_events(request).await {
        Ok(stream) => stream.into_inner().message().await.map(drop),
        Err(status) => Err(status),
    };
    assert_eq!(watched.unwrap_err().code(), Code::OutOfRange);
    create(&api, "anew").await;
    let stop = v1::StopTaskRequest { task_id };
    TaskServiceClient::new(api).stop_task(stop).await.unwrap();
}
