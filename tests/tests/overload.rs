//! A manager of which more is asked than it can do.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests fail the test")]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use davit_proto::v1;
use davit_proto::v1::event_service_client::EventServiceClient;
use davit_proto::v1::session_request::Message as FromWorker;
use davit_proto::v1::session_response::Message as ToWorker;
use davit_proto::v1::task_service_client::TaskServiceClient;
use davit_proto::v1::watch_events_response::Message;
use davit_proto::v1::worker_session_service_client::WorkerSessionServiceClient;
use davit_svc_kit::ids::{IdSource as _, UuidV7Source};
use davit_tests::cluster::Cluster;
use davit_tests::wait::eventually;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming};
use tonic_types::StatusExt as _;

const LIMIT: Duration = Duration::from_secs(60);
const HEARTBEAT: Duration = Duration::from_millis(500);

/// What this process holds in memory: manager and clients together.
fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

fn assert_bounded(before: u64, growth: u64) {
    let now = resident_bytes();
    let grown = now.saturating_sub(before);
    assert!(grown <= growth, "memory grew by {} MiB", grown >> 20);
}

fn reason(status: &Status) -> String {
    status.get_details_error_info().map(|info| info.reason).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_a_store_that_hangs_ten_thousand_creates_are_all_answered_and_exactly_those_answered_ok_are_there() {
    const CONNECTIONS: usize = 50;
    const CREATES_OF_EACH: usize = 200;
    let cluster = Cluster::builder().workers(0).start().await;
    let before = resident_bytes();
    cluster.store_fault().hang();
    let mut creates = JoinSet::new();
    for connection in 0..CONNECTIONS {
        let channel = cluster.new_channel();
        for number in 0..CREATES_OF_EACH {
            let mut tasks = TaskServiceClient::new(channel.clone());
            let mut spec = cluster.fake_spec(&[]);
            spec.name = format!("c{connection}-{number}");
            creates.spawn(async move {
                let name = spec.name.clone();
                let request = v1::CreateTaskRequest { spec: Some(spec), ..Default::default() };
                (name, tasks.create_task(request).await.map(drop))
            });
        }
    }
    let mut created = BTreeSet::new();
    let (mut refused, mut reasons) = (0, BTreeMap::new());
    while let Some(answered) = tokio::time::timeout(LIMIT, creates.join_next()).await.expect("someone is not answered")
    {
        match answered.unwrap() {
            (name, Ok(())) => {
                created.insert(name);
            }
            (name, Err(status)) => {
                assert_eq!(status.code(), Code::ResourceExhausted, "{name}: {status:?}");
                assert!(status.get_details_retry_info().unwrap().retry_delay.is_some(), "{name}: {status:?}");
                *reasons.entry(reason(&status)).or_insert(0) += 1;
                refused += 1;
            }
        }
        if refused == 8_000 {
            assert_bounded(before, 512 << 20);
            cluster.store_fault().clear();
        }
    }
    assert!(reasons.contains_key("OVERLOADED"), "{reasons:?}");
    assert_eq!(refused + created.len(), CONNECTIONS * CREATES_OF_EACH);
    let there: BTreeSet<String> = cluster.list_tasks().await.into_iter().map(|task| task.spec.unwrap().name).collect();
    assert_eq!(there, created);
    // And it goes on.
    cluster.create_task(&[]).await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manager_whose_store_hangs_for_ever_stops_in_time() {
    let cluster = Cluster::builder().workers(0).start().await;
    cluster.store_fault().hang();
    let (mut tasks, spec) = (TaskServiceClient::new(cluster.new_channel()), Some(cluster.fake_spec(&[])));
    let create =
        tokio::spawn(
            async move { tasks.create_task(v1::CreateTaskRequest { spec, ..Default::default() }).await.map(drop) },
        );
    let hangs = cluster.store_fault().clone();
    eventually("its commit hangs", LIMIT, async || if hangs.hanging() > 0 { Ok(()) } else { Err("not yet") }).await;
    tokio::time::timeout(Duration::from_secs(10), cluster.stop()).await.expect("it does not stop");
    assert!(create.await.unwrap().is_err(), "it was never done");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watcher_that_reads_nothing_is_told_where_to_go_on() {
    let cluster = Cluster::builder().workers(0).kept_events(100).start().await;
    let mut events = EventServiceClient::new(cluster.new_channel());
    let request = v1::WatchEventsRequest { after_revision: Some(0), filter: None };
    let mut slow = events.watch_events(request).await.unwrap().into_inner();
    let before = resident_bytes();
    let mut spec = cluster.fake_spec(&[]);
    spec.labels.insert("padding".to_owned(), "x".repeat(250));
    // Far more than the windows and buffers between the two hold.
    for _ in 0..2 {
        cluster.create_many(10_000, spec.clone()).await;
    }
    assert_bounded(before, 512 << 20);
    let (mut last, mut count) = (0, 0);
    let status = loop {
        match slow.message().await {
            Ok(Some(v1::WatchEventsResponse { message: Some(Message::Event(event)) })) => {
                assert_eq!(event.revision, last + 1, "a gap");
                (last, count) = (event.revision, count + 1);
            }
            Ok(Some(_)) => {}
            Ok(None) => panic!("it ended without a word"),
            Err(status) => break status,
        }
    };
    assert!(count < 20_000, "it was buffered without end");
    assert_eq!((status.code(), reason(&status).as_str()), (Code::ResourceExhausted, "WATCH_TOO_SLOW"));
    let told = status.get_details_error_info().unwrap().metadata;
    assert_eq!(told["last_revision"], last.to_string());
    assert!(told["oldest_revision"].parse::<u64>().unwrap() > last + 1, "{told:?}");
    // Each is told once that there is no node for it; then it is quiet.
    let revision = eventually("every task is told why it waits", LIMIT, async || match cluster.revision().await {
        revision if revision < 40_000 => Err(revision),
        revision => Ok(revision),
    })
    .await;
    // As it says: list anew, then watch from there.
    let request = v1::WatchEventsRequest { after_revision: Some(revision), filter: None };
    let mut again = events.watch_events(request).await.unwrap().into_inner();
    let task_id = cluster.create_task(&[]).await;
    let seen = loop {
        if let Some(Message::Event(event)) = again.message().await.unwrap().unwrap().message {
            break event;
        }
    };
    let Some(v1::event::Object::Task(task)) = seen.object else { panic!("{:?}", seen.object) };
    assert_eq!((seen.revision, task.task_id), (revision + 1, task_id));
    cluster.stop().await;
}

/// A worker of which the test says every word.
struct RawWorker {
    requests: mpsc::Sender<v1::SessionRequest>,
    responses: Streaming<v1::SessionResponse>,
    heartbeat_id: u64,
}

impl RawWorker {
    async fn register(cluster: &Cluster) -> Self {
        let (requests, stream) = mpsc::channel(64);
        let resources = v1::Resources { cpu_millis: 64_000, memory_bytes: 1 << 40, ..Default::default() };
        let register = v1::Register {
            node_id: UuidV7Source.node_id().to_string(),
            name: "raw".to_owned(),
            address: "127.0.0.1".to_owned(),
            os: "linux".to_owned(),
            arch: "x86_64".to_owned(),
            worker_version: "0.1.0".to_owned(),
            capacity: Some(resources),
            allocatable: Some(resources),
            runtimes: vec![v1::RuntimeKind::Docker.into()],
            ..Default::default()
        };
        send(&requests, FromWorker::Register(register)).await;
        let mut client = WorkerSessionServiceClient::new(cluster.new_channel());
        let responses = client.session(ReceiverStream::new(stream)).await.unwrap().into_inner();
        Self { requests, responses, heartbeat_id: 0 }
    }

    async fn next(&mut self) -> ToWorker {
        let message = tokio::time::timeout(LIMIT, self.responses.message()).await.expect("the manager says nothing");
        message.unwrap().expect("the session ended").message.unwrap()
    }

    /// Reads until it has so many assignments.
    async fn assigned(&mut self, count: usize) -> Vec<String> {
        let mut assigned = BTreeSet::new();
        while assigned.len() < count {
            if let ToWorker::Assignments(assignments) = self.next().await {
                assigned.extend(assignments.assignments.into_iter().map(|assignment| assignment.task_id));
            }
            self.heartbeat().await;
        }
        assigned.into_iter().collect()
    }

    async fn heartbeat(&mut self) {
        self.heartbeat_id += 1;
        let heartbeat = v1::Heartbeat { stats: None, heartbeat_id: self.heartbeat_id };
        send(&self.requests, FromWorker::Heartbeat(heartbeat)).await;
    }
}

async fn send(requests: &mpsc::Sender<v1::SessionRequest>, message: FromWorker) {
    let sent = requests.send(v1::SessionRequest { message: Some(message) });
    tokio::time::timeout(LIMIT, sent).await.expect("the manager reads nothing").expect("the session ended");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storm_of_statuses_neither_fills_the_memory_nor_makes_the_node_look_dead() {
    const TASKS: usize = 100;
    const REPORTS: u64 = 1000;
    let cluster = Cluster::builder().workers(0).heartbeat(HEARTBEAT).start().await;
    let mut worker = RawWorker::register(&cluster).await;
    cluster.create_tasks(TASKS as u32, &[]).await;
    let task_ids = worker.assigned(TASKS).await;
    let begin = cluster.revision().await;
    let before = resident_bytes();
    // Each commit takes almost as long as a node may be silent: one for each report would take twenty minutes.
    cluster.store_fault().slow_down(HEARTBEAT * 5 / 2);
    for report_id in 1..=REPORTS {
        let ends = report_id == REPORTS;
        let state = if ends { v1::TaskState::Running } else { v1::TaskState::Preparing };
        let status = v1::TaskStatus { ready: ends, ..Default::default() };
        let reports = task_ids.iter().map(|task_id| v1::AttemptReport {
            task_id: task_id.clone(),
            attempt: 1,
            sequence: report_id,
            status: Some(v1::TaskStatus {
                state: state.into(),
                reason: format!("report {report_id}"),
                ..status.clone()
            }),
        });
        let report = v1::StatusReport { report_id, reports: reports.collect(), heartbeat: None };
        send(&worker.requests, FromWorker::StatusReport(report)).await;
        if report_id.is_multiple_of(10) {
            worker.heartbeat().await;
        }
    }
    assert_bounded(before, 256 << 20);
    // The newest report is acknowledged, and with it all before it; heartbeats are acknowledged all the while.
    let mut ticks = tokio::time::interval(HEARTBEAT);
    loop {
        tokio::select! {
            _ = ticks.tick() => worker.heartbeat().await,
            message = worker.next() => if let ToWorker::StatusAck(ack) = message && ack.report_id == REPORTS {
                break;
            },
        }
    }
    cluster.store_fault().clear();
    eventually("every task is as reported last", LIMIT, async || {
        worker.heartbeat().await;
        let tasks = cluster.list_tasks().await;
        let other =
            tasks.into_iter().filter_map(|task| task.status).find(|status| status.state() != v1::TaskState::Running);
        other.map_or(Ok(()), Err)
    })
    .await;
    let reasons: BTreeSet<_> =
        cluster.list_tasks().await.into_iter().filter_map(|task| Some(task.status?.reason)).collect();
    assert_eq!(reasons, BTreeSet::from([format!("report {REPORTS}")]));
    let happened = cluster.watch_until(begin, cluster.revision().await).await;
    assert!(happened.len() < TASKS * 20, "{} changes were written for {TASKS} tasks", happened.len());
    let of_nodes: Vec<_> =
        happened.iter().filter(|event| matches!(event.object, Some(v1::event::Object::Node(_)))).collect();
    assert!(of_nodes.is_empty(), "the node's state changed: {of_nodes:?}");
    drop(worker);
    cluster.stop().await;
}
