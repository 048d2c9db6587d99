//! Workers as programs that are killed and started again, while the tasks that they run go on.

#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

use std::path::Path;
use std::time::Duration;

use davit_proto::v1;
use davit_proto::v1::task_service_client::TaskServiceClient;
use davit_tests::binaries::Service;
use davit_tests::wait::eventually;
use tonic::transport::Channel;

const LIMIT: Duration = Duration::from_secs(30);

/// A manager with a scheduler, and the directory of a worker that comes and goes.
struct Cluster {
    _scheduler: Service,
    manager: Service,
    data_dir: tempfile::TempDir,
    tasks: TaskServiceClient<Channel>,
}

impl Cluster {
    async fn start() -> Self {
        let scheduler = Service::start("davit-scheduler", &[]);
        let arguments = ["--scheduler", &scheduler.address.to_string(), "--cluster", "davit-restarts"];
        let manager = Service::start("davit-manager", &arguments.map(str::to_owned));
        manager.ready().await;
        let channel = davit_svc_kit::client::endpoint(&manager.address.to_string()).unwrap().connect_lazy();
        let data_dir = tempfile::tempdir().unwrap();
        Self { _scheduler: scheduler, manager, data_dir, tasks: TaskServiceClient::new(channel) }
    }

    async fn worker(&self, more: &[&str]) -> Service {
        let manager = self.manager.address.to_string();
        let data_dir = self.data_dir.path().to_str().unwrap();
        let arguments = ["--manager", &manager, "--data-dir", data_dir, "--name", "node"];
        let arguments = [&arguments[..], &["--docker", "off", "--process-runtime", "true"], more].concat();
        let worker = Service::start("davit-worker", &arguments.into_iter().map(str::to_owned).collect::<Vec<_>>());
        worker.ready().await;
        worker
    }

    async fn create(&self, name: &str, script: &str) -> String {
        let command = ["sh", "-c", script].map(str::to_owned).to_vec();
        let runtime = v1::task_spec::Runtime::Process(v1::ProcessSpec { command, ..Default::default() });
        let spec = v1::TaskSpec { name: name.to_owned(), runtime: Some(runtime), ..Default::default() };
        let request = v1::CreateTaskRequest { spec: Some(spec), ..Default::default() };
        self.tasks.clone().create_task(request).await.unwrap().into_inner().task.unwrap().task_id
    }

    async fn status(&self, task_id: &str) -> v1::TaskStatus {
        let request = v1::GetTaskRequest { task_id: task_id.to_owned() };
        self.tasks.clone().get_task(request).await.unwrap().into_inner().task.unwrap().status.unwrap()
    }

    async fn until(&self, task_id: &str, state: v1::TaskState) -> v1::TaskStatus {
        eventually(&format!("it is {state:?}"), LIMIT, async || {
            let status = self.status(task_id).await;
            if status.state() == state { Ok(status) } else { Err(status) }
        })
        .await
    }
}

/// The number that a script wrote into a file.
async fn number_in(path: &Path) -> i32 {
    eventually("the script has told its number", LIMIT, async || {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        text.strip_suffix('\n').and_then(|number| number.parse().ok()).ok_or(text.clone())
    })
    .await
}

fn runs(pid: i32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat.rsplit(')').next().unwrap().trim_start().starts_with('Z'))
}

#[tokio::test(flavor = "multi_thread")]
async fn processes_run_on_when_their_worker_is_killed_and_ends_meanwhile_are_told_as_they_were() {
    let cluster = Cluster::start().await;
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let worker = cluster.worker(&[]).await;
    let stays = cluster.create("stays", &format!("echo $$ > {}; exec sleep 600", path("stays").display())).await;
    let wait_for = |file: &str| format!("while [ ! -e {} ]; do sleep 0.02; done", path(file).display());
    let script = format!("echo $$ > {}; {}; exit 7", path("ends").display(), wait_for("go"));
    let ends = cluster.create("ends", &script).await;
    let before = cluster.until(&stays, v1::TaskState::Running).await;
    cluster.until(&ends, v1::TaskState::Running).await;
    let (stays_pid, ends_pid) = (number_in(&path("stays")).await, number_in(&path("ends")).await);

    worker.kill().await;
    std::fs::write(path("go"), "").unwrap();
    eventually("it ends without a worker", LIMIT, async || if runs(ends_pid) { Err("it runs") } else { Ok(()) }).await;
    let ended_by = std::fs::metadata(path("go")).unwrap().modified().unwrap();
    assert!(runs(stays_pid));

    let worker = cluster.worker(&[]).await;
    let ended = cluster.until(&ends, v1::TaskState::Failed).await;
    assert_eq!(ended.exit_code, Some(7), "{ended:?}");
    let finished = std::time::SystemTime::try_from(ended.finish_time.unwrap()).unwrap();
    let apart = finished.duration_since(ended_by).unwrap();
    assert!(apart < Duration::from_secs(2), "it is the time of the end, not of the report: {apart:?}");

    // Stopped in good order it leaves them too, and the next one says how it found them.
    assert!(worker.terminate().await.success());
    assert!(runs(stays_pid));
    let worker = cluster.worker(&[]).await;
    let after = cluster.until(&stays, v1::TaskState::Running).await;
    assert_eq!(after.start_time, before.start_time);
    assert_eq!(number_in(&path("stays")).await, stays_pid);
    assert!(runs(stays_pid));

    let request = v1::StopTaskRequest { task_id: stays.clone() };
    cluster.tasks.clone().stop_task(request).await.unwrap();
    cluster.until(&stays, v1::TaskState::Stopped).await;
    assert!(!runs(stays_pid));
    assert!(worker.terminate().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_takes_its_tasks_along_leaves_no_process() {
    let cluster = Cluster::start().await;
    let dir = tempfile::tempdir().unwrap();
    let worker = cluster.worker(&["--stop-tasks-on-shutdown"]).await;
    let pid_file = dir.path().join("pid");
    let task = cluster.create("sleeper", &format!("echo $$ > {}; exec sleep 600", pid_file.display())).await;
    cluster.until(&task, v1::TaskState::Running).await;
    let pid = number_in(&pid_file).await;
    assert!(worker.terminate().await.success());
    assert!(!runs(pid));
}
