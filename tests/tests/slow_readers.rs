//! Readers of output that ask for it and then read nothing: they cost bounded memory and disturb nobody.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail the test")]

use std::time::Duration;

use davit_proto::v1;
use davit_proto::v1::event_service_client::EventServiceClient;
use davit_proto::v1::node_service_client::NodeServiceClient;
use davit_proto::v1::task_service_client::TaskServiceClient;
use davit_tests::binaries::Service;
use davit_tests::wait::eventually;
use tonic::Streaming;
use tonic::transport::Channel;

const LIMIT: Duration = Duration::from_secs(60);
/// As many as one worker brings output to at once, but one.
const SLOW: usize = 31;
/// What the task writes, and each reader is sent: together far more than either process may hold.
const LINES: usize = 20_000;
const LINE_BYTES: usize = 1_000;
const MOST_GROWTH: u64 = 160 << 20;

struct Cluster {
    _scheduler: Service,
    manager: Service,
    worker: Service,
    _data_dir: tempfile::TempDir,
}

impl Cluster {
    async fn start() -> Self {
        let scheduler = Service::start("davit-scheduler", &[]);
        let arguments = ["--scheduler", &scheduler.address.to_string(), "--cluster", "davit-slow-readers"];
        let manager = Service::start("davit-manager", &arguments.map(str::to_owned));
        manager.ready().await;
        let data_dir = tempfile::tempdir().unwrap();
        let (to, kept) = (manager.address.to_string(), data_dir.path().to_str().unwrap());
        let arguments = ["--manager", &to, "--data-dir", kept, "--name", "node", "--docker", "off"];
        let arguments = [&arguments[..], &["--process-runtime", "true"]].concat();
        let worker = Service::start("davit-worker", &arguments.into_iter().map(str::to_owned).collect::<Vec<_>>());
        worker.ready().await;
        Self { _scheduler: scheduler, manager, worker, _data_dir: data_dir }
    }

    /// A connection of its own.
    fn channel(&self) -> Channel {
        davit_svc_kit::client::endpoint(&self.manager.address.to_string()).unwrap().connect_lazy()
    }

    async fn create(&self, script: &str) -> String {
        let command = ["sh", "-c", script].map(str::to_owned).to_vec();
        let runtime = v1::task_spec::Runtime::Process(v1::ProcessSpec { command, ..Default::default() });
        let spec = v1::TaskSpec { name: "writes".to_owned(), runtime: Some(runtime), ..Default::default() };
        let request = v1::CreateTaskRequest { spec: Some(spec), ..Default::default() };
        let created = TaskServiceClient::new(self.channel()).create_task(request).await.unwrap();
        created.into_inner().task.unwrap().task_id
    }

    async fn until(&self, task_id: &str, state: v1::TaskState) {
        let mut tasks = TaskServiceClient::new(self.channel());
        eventually(&format!("the task is {state:?}"), LIMIT, async || {
            let got = tasks.get_task(v1::GetTaskRequest { task_id: task_id.to_owned() }).await.unwrap().into_inner();
            let status = got.task.unwrap().status.unwrap();
            if status.state() == state { Ok(()) } else { Err(status) }
        })
        .await;
    }

    async fn read(&self, task_id: &str) -> Streaming<v1::StreamTaskLogsResponse> {
        let request = v1::StreamTaskLogsRequest { task_id: task_id.to_owned(), follow: true, ..Default::default() };
        TaskServiceClient::new(self.channel()).stream_task_logs(request).await.unwrap().into_inner()
    }
}

/// Reads to the last line. Says how many bytes there were.
async fn read_all(mut output: Streaming<v1::StreamTaskLogsResponse>) -> usize {
    let mut bytes = 0;
    loop {
        let piece = tokio::time::timeout(LIMIT, output.message()).await.unwrap().unwrap().unwrap();
        bytes += piece.data.len();
        if piece.data.starts_with(b"the end") {
            return bytes;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_that_read_nothing_are_paused_and_disturb_nobody() {
    let cluster = Cluster::start().await;
    let script = format!("yes $(printf %0{LINE_BYTES}d 0) | head -n {LINES}; echo the end; sleep 1000");
    let task_id = cluster.create(&script).await;
    cluster.until(&task_id, v1::TaskState::Running).await;
    let whole = read_all(cluster.read(&task_id).await).await;
    let before = [cluster.manager.resident_bytes(), cluster.worker.resident_bytes()];
    let mut slow = Vec::new();
    for _ in 0..SLOW {
        let mut output = cluster.read(&task_id).await;
        // It has begun; from here on it is not read.
        tokio::time::timeout(LIMIT, output.message()).await.unwrap().unwrap().unwrap();
        slow.push(output);
    }
    // Another reader of the same worker gets all of it, and the worker's session does its work.
    assert_eq!(read_all(cluster.read(&task_id).await).await, whole);
    let other = cluster.create("exit 0").await;
    cluster.until(&other, v1::TaskState::Completed).await;
    let after = [cluster.manager.resident_bytes(), cluster.worker.resident_bytes()];
    for (before, after) in before.into_iter().zip(after) {
        let grown = after.saturating_sub(before);
        assert!(grown <= MOST_GROWTH, "memory grew by {} MiB of {} MiB", grown >> 20, (SLOW * whole) >> 20);
    }
    let node = NodeServiceClient::new(cluster.channel()).get_node(v1::GetNodeRequest { node: "node".to_owned() }).await;
    assert_eq!(node.unwrap().into_inner().node.unwrap().state(), v1::NodeState::Ready);
    let request = v1::ListEventsRequest { page_size: 1000, ..Default::default() };
    let events = EventServiceClient::new(cluster.channel()).list_events(request).await.unwrap().into_inner().events;
    let of_nodes: Vec<_> = events.iter().filter(|event| event.message.contains("SUSPECT")).collect();
    assert!(of_nodes.is_empty(), "its node seemed to be gone: {of_nodes:?}");
    // Who reads on after all gets the rest.
    let reading: Vec<_> = slow.into_iter().take(2).map(|output| tokio::spawn(read_all(output))).collect();
    for bytes in reading {
        assert!(bytes.await.unwrap() > whole / 2);
    }
}
