//! A scheduler in this process, a client of it, and messages to bend one thing of.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests fail the test")]
#![allow(dead_code, unreachable_pub, reason = "each test file uses a part")]

use std::collections::HashMap;
use std::time::Duration;

use davit_proto::v1::place_request::Message;
use davit_proto::v1::scheduler_service_client::SchedulerServiceClient;
use davit_proto::{MAX_SCHEDULER_MESSAGE_BYTES, v1};
use davit_svc_kit::client;
use davit_svc_kit::shutdown::Shutdown;
use scheduler_svc::config::Config;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Code, Status, Streaming};
use tonic_types::StatusExt;

/// Long enough for any machine; only a hang reaches it.
pub const HANG: Duration = Duration::from_secs(60);

pub type Client = SchedulerServiceClient<Channel>;

pub struct Scheduler {
    pub address: String,
    pub http_address: std::net::SocketAddr,
    pub shutdown: Shutdown,
    server: JoinHandle<Result<(), scheduler_svc::Error>>,
}

impl Scheduler {
    pub async fn start() -> Self {
        Self::start_with(Config::default(), Shutdown::new()).await
    }

    pub async fn start_with(config: Config, shutdown: Shutdown) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let http = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, http_address) = (listener.local_addr().unwrap().to_string(), http.local_addr().unwrap());
        let server = tokio::spawn(scheduler_svc::run(config, listener, Some(http), shutdown.clone()));
        Self { address, http_address, shutdown, server }
    }

    /// A client with a connection of its own.
    pub async fn client(&self) -> Client {
        let channel = client::endpoint(&self.address).unwrap().connect().await.unwrap();
        SchedulerServiceClient::new(channel).max_decoding_message_size(MAX_SCHEDULER_MESSAGE_BYTES)
    }

    pub async fn stops(self) {
        self.shutdown.trigger();
        tokio::time::timeout(HANG, self.server).await.expect("the scheduler hangs").unwrap().unwrap();
    }
}

/// An open placement stream.
pub struct Place {
    pub requests: mpsc::Sender<v1::PlaceRequest>,
    pub answers: Streaming<v1::PlaceResponse>,
}

impl Place {
    pub async fn open(client: &mut Client) -> Self {
        let (requests, outgoing) = mpsc::channel(8);
        let answers = client.place(ReceiverStream::new(outgoing)).await.unwrap().into_inner();
        Self { requests, answers }
    }

    /// Opens one and tells it these nodes.
    pub async fn with_nodes(client: &mut Client, nodes: Vec<v1::PlacementNode>) -> Self {
        let place = Self::open(client).await;
        place.send(Message::Snapshot(v1::PlaceSnapshot { nodes })).await;
        place
    }

    pub async fn send(&self, message: Message) {
        self.requests.send(v1::PlaceRequest { message: Some(message) }).await.unwrap();
    }

    pub async fn answer(&mut self) -> Result<Option<v1::PlaceResponse>, Status> {
        tokio::time::timeout(HANG, self.answers.message()).await.expect("no answer")
    }

    pub async fn batch(&mut self, batch_id: u64, groups: Vec<v1::PlacementGroup>) -> v1::PlaceResponse {
        self.send(batch(batch_id, groups)).await;
        let answer = self.answer().await.unwrap().expect("the stream ended");
        assert_eq!(answer.batch_id, batch_id);
        answer
    }
}

pub fn node_id(number: u32) -> String {
    format!("00000000-0000-7000-8000-{number:012}")
}

/// A ready node of 4 cores and 8 GiB.
pub fn node(number: u32) -> v1::PlacementNode {
    v1::PlacementNode {
        node_id: node_id(number),
        name: format!("node-{number}"),
        os: "linux".to_owned(),
        arch: "x86_64".to_owned(),
        labels: HashMap::from([("zone".to_owned(), if number == 3 { "b" } else { "a" }.to_owned())])
            .into_iter()
            .collect(),
        state: v1::NodeState::Ready.into(),
        runtimes: vec![v1::RuntimeKind::Docker.into()],
        allocatable: Some(resources(4000, 8 << 30)),
        ..Default::default()
    }
}

pub fn resources(cpu_millis: u64, memory_bytes: u64) -> v1::Resources {
    v1::Resources { cpu_millis, memory_bytes, ..Default::default() }
}

/// A container with one core and 1 GiB.
pub fn requirements() -> v1::PlacementRequirements {
    v1::PlacementRequirements {
        runtime: v1::RuntimeKind::Docker.into(),
        reservation: Some(resources(1000, 1 << 30)),
        ..Default::default()
    }
}

pub fn group(group_id: &str, count: u32) -> v1::PlacementGroup {
    v1::PlacementGroup {
        group_id: group_id.to_owned(),
        requirements: Some(requirements()),
        count,
        algorithm: "spread".to_owned(),
        ..Default::default()
    }
}

pub fn batch(batch_id: u64, groups: Vec<v1::PlacementGroup>) -> Message {
    Message::Batch(v1::PlaceBatch { batch_id, groups, seed: 1 })
}

/// How many tasks of one group go where, by the nodes' numbers.
pub fn runs(placement: &v1::GroupPlacement) -> Vec<(u32, u32)> {
    let number = |id: &str| id.rsplit('-').next().unwrap().parse().unwrap();
    placement.runs.iter().map(|run| (number(&run.node_id), run.count)).collect()
}

/// Checks code and reason, and gives the fields that are wrong.
pub fn wrong_fields(status: &Status) -> Vec<String> {
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    let details = status.get_error_details();
    assert_eq!(details.error_info().expect("no ErrorInfo").reason, "INVALID_REQUEST");
    let violations = &details.bad_request().expect("no BadRequest").field_violations;
    violations.iter().map(|violation| violation.field.clone()).collect()
}
