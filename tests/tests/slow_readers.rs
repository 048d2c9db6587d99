//! Readers of output that ask for it and then read nothing: they cost bounded memory and disturb nobody.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail the test")]

use std::time::Duration;

use davit_proto::v1;
use davit_proto::v1::task_service_client::TaskServiceClient;
use davit_tests::binaries::Service;
use davit_tests::programs::Programs;
use davit_tests::worker_dir::WorkerDir;
use tonic::Streaming;

const LIMIT: Duration = Duration::from_secs(60);
/// As many as one worker brings output to at once, but one.
const SLOW: usize = 31;
/// What the task writes, and each reader is sent: together far more than either process may hold.
const LINES: usize = 20_000;
const LINE_BYTES: usize = 1_000;
const MOST_GROWTH: u64 = 160 << 20;

struct Cluster {
    programs: Programs,
    worker: Service,
    _data_dir: WorkerDir,
}

impl Cluster {
    async fn start() -> Self {
        let programs = Programs::start("davit-slow-readers", &[]).await;
        let data_dir = WorkerDir::new();
        let worker = programs.process_worker("node", data_dir.path(), &[]).await;
        Self { programs, worker, _data_dir: data_dir }
    }

    /// What manager and worker hold.
    fn resident_bytes(&self) -> [u64; 2] {
        [self.programs.manager(), &self.worker].map(Service::resident_bytes)
    }

    /// Reads a task's output through a connection of its own.
    async fn read(&self, task_id: &str) -> Streaming<v1::StreamTaskLogsResponse> {
        let request = v1::StreamTaskLogsRequest { task_id: task_id.to_owned(), follow: true, ..Default::default() };
        let address = self.programs.manager().address.to_string();
        let channel = davit_svc_kit::client::endpoint(&address).unwrap().connect_lazy();
        TaskServiceClient::new(channel).stream_task_logs(request).await.unwrap().into_inner()
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
    let task_id = cluster.programs.create_process("writes", &script, |_| ()).await;
    cluster.programs.until(&task_id, v1::TaskState::Running).await;
    let whole = read_all(cluster.read(&task_id).await).await;
    let before = cluster.resident_bytes();
    let mut slow = Vec::new();
    for _ in 0..SLOW {
        let mut output = cluster.read(&task_id).await;
        // It has begun; from here on it is not read.
        tokio::time::timeout(LIMIT, output.message()).await.unwrap().unwrap().unwrap();
        slow.push(output);
    }
    // Another reader of the same worker gets all of it, and the worker's session does its work.
    assert_eq!(read_all(cluster.read(&task_id).await).await, whole);
    let other = cluster.programs.create_process("other", "exit 0", |_| ()).await;
    cluster.programs.until(&other, v1::TaskState::Completed).await;
    let after = cluster.resident_bytes();
    for (before, after) in before.into_iter().zip(after) {
        let grown = after.saturating_sub(before);
        assert!(grown <= MOST_GROWTH, "memory grew by {} MiB of {} MiB", grown >> 20, (SLOW * whole) >> 20);
    }
    assert_eq!(cluster.programs.node("node").await.unwrap().state(), v1::NodeState::Ready);
    let events = cluster.programs.events().await;
    let of_nodes: Vec<_> = events.iter().filter(|event| event.message.contains("SUSPECT")).collect();
    assert!(of_nodes.is_empty(), "its node seemed to be gone: {of_nodes:?}");
    // Who reads on after all gets the rest.
    let reading: Vec<_> = slow.into_iter().take(2).map(|output| tokio::spawn(read_all(output))).collect();
    for bytes in reading {
        assert!(bytes.await.unwrap() > whole / 2);
    }
}
