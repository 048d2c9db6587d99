//! Registrations of one node that overtake each other on their way to the manager.

#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

use std::time::Duration;

use davit_proto::convert::duration_to_proto;
use davit_proto::v1;
use davit_proto::v1::session_request::Message as Request;
use davit_proto::v1::session_response::Message as Response;
use davit_proto::v1::worker_session_service_client::WorkerSessionServiceClient;
use davit_tests::cluster::Cluster;
use davit_tests::wait::eventually;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming};
use tonic_types::StatusExt as _;

const NODE_ID: &str = "018f4e7a-0000-7000-8000-000000000001";

/// A worker's side of a session, driven by hand.
struct Session {
    requests: mpsc::Sender<v1::SessionRequest>,
    responses: Streaming<v1::SessionResponse>,
}

impl Session {
    async fn open(cluster: &Cluster, registration_number: u64) -> Result<Self, Status> {
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
            if response.message == Some(Response::HeartbeatAck(v1::HeartbeatAck { heartbeat_id })) {
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
async fn a_worker_that_said_when_it_is_back_is_not_missed_before() {
    let period = Duration::from_millis(100);
    let cluster = Cluster::builder().workers(0).heartbeat(period).start().await;
    let session = Session::open(&cluster, 1).await.unwrap();
    session.say(Request::Away(v1::Away { back_within: Some(duration_to_proto(Duration::from_secs(2))) })).await;
    session.end().await;
    let began = Instant::now();
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
