//! Registrations of one node that overtake each other on their way to the manager, or come from two machines.

#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

use std::path::Path;
use std::time::Duration;

use davit_proto::convert::duration_to_proto;
use davit_proto::v1;
use davit_proto::v1::node_service_client::NodeServiceClient;
use davit_proto::v1::session_request::Message as Request;
use davit_proto::v1::session_response::Message as Response;
use davit_proto::v1::worker_session_service_client::WorkerSessionServiceClient;
use davit_tests::binaries::Service;
use davit_tests::cluster::Cluster;
use davit_tests::wait::eventually;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming};
use tonic_types::StatusExt as _;

const LIMIT: Duration = Duration::from_secs(20);
const NODE_ID: &str = "018f4e7a-0000-7000-8000-000000000001";

/// A worker's side of a session, driven by hand.
struct Session {
    requests: mpsc::Sender<v1::SessionRequest>,
    responses: Streaming<v1::SessionResponse>,
}

impl Session {
    async fn open(cluster: &Cluster, registration_number: u64) -> Result<Self, Status> {
        Self::open_by(cluster, registration_number, "").await
    }

    async fn open_by(cluster: &Cluster, registration_number: u64, run: &str) -> Result<Self, Status> {
        let channel = davit_svc_kit::client::endpoint(&cluster.manager_address().to_string()).unwrap().connect_lazy();
        let (requests, stream) = mpsc::channel(4);
        let resources = Some(v1::Resources { cpu_millis: 1000, memory_bytes: 1 << 30, disk_bytes: 1 << 30 });
        let register = v1::Register {
            node_id: NODE_ID.to_owned(),
            name: "by-hand".to_owned(),
            address: "127.0.0.1".to_owned(),
            os: "linux".to_owned(),
            arch: "x86_64".to_owned(),
            worker_version: "0.1.0".to_owned(),
            capacity: resources,
            allocatable: resources,
            registration_number,
            worker_run: run.to_owned(),
            ..Default::default()
        };
        requests.send(v1::SessionRequest { message: Some(Request::Register(register)) }).await.unwrap();
        let mut client = WorkerSessionServiceClient::new(channel);
        let mut responses = client.session(ReceiverStream::new(stream)).await?.into_inner();
        match responses.message().await? {
            Some(v1::SessionResponse { message: Some(Response::Welcome(_)) }) => Ok(Self { requests, responses }),
            other => panic!("it begins with {other:?}"),
        }
    }

    async fn say(&self, message: Request) {
        // The manager may have ended the session meanwhile.
        let _ = self.requests.send(v1::SessionRequest { message: Some(message) }).await;
    }

    /// Ends the worker's side, and waits until the manager has read everything.
    async fn end(self) {
        let Self { requests, mut responses } = self;
        drop(requests);
        while let Ok(Some(_)) = responses.message().await {}
    }

    /// Whether the manager acknowledges this heartbeat before it ends the session.
    async fn is_heard(&mut self, heartbeat_id: u64) -> bool {
        self.say(Request::Heartbeat(v1::Heartbeat { stats: None, heartbeat_id })).await;
        while let Ok(Some(response)) = self.responses.message().await {
            if response.message
                == Some(Response::HeartbeatAck(v1::HeartbeatAck { heartbeat_id, heartbeat_every: None }))
            {
                return true;
            }
        }
        false
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registration_that_comes_late_is_told_the_last_number_and_leaves_the_session_alone() {
    let cluster = Cluster::builder().workers(0).start().await;
    let mut session = Session::open(&cluster, 5).await.unwrap();
    let before = cluster.get_node("by-hand").await.revision;
    for late in [1, 5] {
        let Err(refused) = Session::open(&cluster, late).await else { panic!("number {late} was taken in") };
        assert_eq!(refused.code(), Code::Aborted, "{refused}");
        let info = refused.get_details_error_info().unwrap();
        assert_eq!(
            (info.reason.as_str(), info.metadata["last_registration_number"].as_str()),
            ("REGISTRATION_OVERTAKEN", "5")
        );
    }
    assert_eq!(cluster.get_node("by-hand").await.revision, before);
    assert!(session.is_heard(1).await);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_overtaken_session_says_counts_for_nothing() {
    let cluster = Cluster::builder().workers(0).start().await;
    let mut overtaken = Session::open(&cluster, 1).await.unwrap();
    let mut newest = Session::open(&cluster, 2).await.unwrap();
    let problem =
        v1::RuntimeProblem { kind: v1::RuntimeKind::Docker.into(), problem: "hangs".to_owned(), start_time: None };
    overtaken.say(Request::RuntimeHealth(v1::RuntimeHealth { runtimes: vec![], problems: vec![problem] })).await;
    overtaken.say(Request::Drain(v1::Drain {})).await;
    overtaken.say(Request::Away(v1::Away { back_within: Some(duration_to_proto(Duration::from_secs(60))) })).await;
    overtaken.say(Request::Goodbye(v1::Goodbye { reason: "late".to_owned() })).await;
    assert!(!overtaken.is_heard(1).await, "its session ends without an acknowledgement");
    assert!(newest.is_heard(1).await);
    let node = cluster.get_node("by-hand").await;
    assert_eq!(node.state(), v1::NodeState::Ready, "{node:?}");
    assert!(node.drain.is_none() && node.runtime_problems.is_empty(), "{node:?}");
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_heartbeat_that_comes_with_a_report_counts_and_is_acknowledged_with_it() {
    let cluster = Cluster::builder().workers(0).start().await;
    let mut session = Session::open(&cluster, 1).await.unwrap();
    let measure_time = cluster.get_node("by-hand").await.create_time;
    let stats = Some(v1::NodeStats { measure_time, running_tasks: 7, ..Default::default() });
    let heartbeat = Some(v1::Heartbeat { stats, heartbeat_id: 3 });
    session.say(Request::StatusReport(v1::StatusReport { report_id: 5, reports: vec![], heartbeat })).await;
    session.say(Request::StatusReport(v1::StatusReport { report_id: 6, reports: vec![], heartbeat: None })).await;
    let mut heartbeats = Vec::new();
    while let Ok(Some(response)) = session.responses.message().await {
        match response.message {
            Some(Response::StatusAck(ack)) => {
                heartbeats.extend(ack.heartbeat_ack.map(|ack| ack.heartbeat_id));
                if ack.report_id == 6 {
                    break;
                }
            }
            Some(Response::HeartbeatAck(ack)) => panic!("{ack:?} by itself"),
            _ => {}
        }
    }
    assert_eq!(heartbeats, [3], "once");
    let node = cluster.get_node("by-hand").await;
    assert_eq!(node.stats.map(|stats| stats.running_tasks), Some(7));

    let mut overtaken = session;
    let mut newest = Session::open(&cluster, 2).await.unwrap();
    let heartbeat = Some(v1::Heartbeat { stats: None, heartbeat_id: 4 });
    overtaken.say(Request::StatusReport(v1::StatusReport { report_id: 7, reports: vec![], heartbeat })).await;
    while let Ok(Some(response)) = overtaken.responses.message().await {
        assert!(!matches!(response.message, Some(Response::StatusAck(_))), "{response:?}");
    }
    assert!(newest.is_heard(1).await);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_said_goodbye_is_given_nothing_more_before_anything_else_that_it_says_counts() {
    // Of that long a period nobody looks at it in between.
    let cluster = Cluster::builder().workers(0).heartbeat(Duration::from_secs(60)).start().await;
    let mut session = Session::open(&cluster, 1).await.unwrap();
    session.say(Request::Goodbye(v1::Goodbye { reason: "it is stopped".to_owned() })).await;
    assert!(session.is_heard(1).await);
    let node = cluster.get_node("by-hand").await;
    assert_eq!((node.state(), node.state_reason.as_str()), (v1::NodeState::Suspect, "its worker is about to go"));
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_said_when_it_is_back_is_not_missed_before() {
    let period = Duration::from_millis(100);
    let cluster = Cluster::builder().workers(0).heartbeat(period).start().await;
    let session = Session::open(&cluster, 1).await.unwrap();
    session.say(Request::Away(v1::Away { back_within: Some(duration_to_proto(Duration::from_secs(2))) })).await;
    session.end().await;
    let began = Instant::now();
    // Durable when the session ends: a manager that is restarted meanwhile must know it.
    let events = cluster.watch_until(0, cluster.revision().await).await;
    assert!(events.iter().any(|event| event.message.contains("means to be back within 2 s")), "{events:?}");
    until(&cluster, v1::NodeState::Suspect).await;
    until(&cluster, v1::NodeState::Down).await;
    assert!(began.elapsed() >= period * 10, "it was given up after {:?}", began.elapsed());
    let _back = Session::open(&cluster, 2).await.unwrap();
    until(&cluster, v1::NodeState::Ready).await;
    cluster.stop().await;
}

async fn until(cluster: &Cluster, state: v1::NodeState) {
    eventually("the state of the node", Duration::from_secs(20), async || {
        let node = cluster.get_node("by-hand").await;
        if node.state() == state { Ok(()) } else { Err(node) }
    })
    .await;
}

/// Two starts of a worker.
const FIRST_RUN: &str = "018f4e7a-0000-7000-8000-00000000000a";
const SECOND_RUN: &str = "018f4e7a-0000-7000-8000-00000000000b";

#[tokio::test(flavor = "multi_thread")]
async fn a_second_worker_of_a_node_is_told_while_the_first_is_in_touch_and_taken_in_when_that_is_gone() {
    let cluster = Cluster::builder().workers(0).start().await;
    drop(Session::open_by(&cluster, 1, FIRST_RUN).await.unwrap());
    // One that dials again is itself, also while its last session is still open.
    let _last = Session::open_by(&cluster, 2, FIRST_RUN).await.unwrap();
    let first = Session::open_by(&cluster, 3, FIRST_RUN).await.unwrap();
    let before = cluster.get_node("by-hand").await.revision;
    let beats = async {
        for heartbeat_id in 1.. {
            first.say(Request::Heartbeat(v1::Heartbeat { stats: None, heartbeat_id })).await;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let refused = tokio::select! {
        second = Session::open_by(&cluster, 4, SECOND_RUN) => second.map(drop).unwrap_err(),
        () = beats => unreachable!("it does not end"),
    };
    assert_eq!(refused.code(), Code::AlreadyExists, "{refused}");
    assert_eq!(refused.get_details_error_info().unwrap().reason, "SECOND_WORKER");
    assert!(
        refused.message().contains("(`by-hand` at 127.0.0.1)") && refused.message().contains("a copy"),
        "{refused}"
    );
    assert_eq!(cluster.get_node("by-hand").await.revision, before);
    // Its machine failed: its session is open, and nothing comes.
    let second = Session::open_by(&cluster, 4, SECOND_RUN).await.unwrap();
    // And now its process: its session ends with it.
    drop(second);
    let mut third = Session::open_by(&cluster, 5, FIRST_RUN).await.unwrap();
    assert!(third.is_heard(1).await);
    drop(first);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_that_was_cloned_takes_nothing_from_the_first_and_says_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let scheduler = Service::start("davit-scheduler", &[]);
    let manager = Service::start("davit-manager", &["--scheduler".to_owned(), scheduler.address.to_string()]);
    manager.ready().await;
    let start = |name: &str, data_dir: &Path| {
        let (manager, data_dir) = (manager.address.to_string(), data_dir.display().to_string());
        let arguments = ["--manager", &manager, "--data-dir", &data_dir, "--name", name, "--docker", "off"];
        Service::start("davit-worker", &arguments.map(str::to_owned))
    };
    let (original, copy) = (dir.path().join("original"), dir.path().join("copy"));
    let first = start("first", &original);
    first.ready().await;
    let copied = std::process::Command::new("cp").arg("-r").args([&original, &copy]).status().unwrap();
    assert!(copied.success());
    let second = start("second", &copy);
    eventually("the second is told", LIMIT, async || {
        let told = davit_svc_kit::http::check_ready(second.http).await.map_err(|told| told.to_string());
        match told {
            Err(told) if told.contains("data directory is a copy") && told.contains("empty --data-dir") => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    // Nobody took anything from the first, whose session is the one that it began with.
    let channel = davit_svc_kit::client::endpoint(&manager.address.to_string()).unwrap().connect_lazy();
    let request = v1::ListNodesRequest::default();
    let nodes = NodeServiceClient::new(channel).list_nodes(request).await.unwrap().into_inner().nodes;
    let [node] = &nodes[..] else { panic!("{nodes:?}") };
    assert_eq!((node.name.as_str(), node.state()), ("first", v1::NodeState::Ready));
    first.ready().await;
    // As it was told.
    second.kill().await;
    std::fs::remove_dir_all(&copy).unwrap();
    start("second", &copy).ready().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn beyond_so_many_registrations_at_once_a_worker_waits_for_its_turn_and_gets_it() {
    let cluster = Cluster::builder().workers(0).start().await;
    // As many as are worked on at once, none of which says who it is; a connection has its share of them.
    let mut silent = Vec::new();
    for _ in 0..4 {
        let channel = davit_svc_kit::client::endpoint(&cluster.manager_address().to_string()).unwrap().connect_lazy();
        for _ in 0..64 {
            let (requests, stream) = mpsc::channel::<v1::SessionRequest>(1);
            let mut client = WorkerSessionServiceClient::new(channel.clone());
            let responses = client.session(ReceiverStream::new(stream)).await.unwrap().into_inner();
            silent.push((requests, responses));
        }
    }
    let early = tokio::time::timeout(Duration::from_millis(500), Session::open(&cluster, 1)).await;
    assert!(early.is_err(), "all turns are taken");
    drop(silent);
    let mut session = tokio::time::timeout(LIMIT, Session::open(&cluster, 2)).await.unwrap().unwrap();
    assert!(session.is_heard(1).await);
    cluster.stop().await;
}
