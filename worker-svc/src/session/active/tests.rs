//! A session through which nothing goes. Time is paused: it passes once nothing is left to do without it.

use davit_core::id::{Attempt, AttemptKey, ClusterId, Revision, TaskId};
use davit_core::spec::{ContainerSpec, RuntimeSpec, TaskSpec};
use davit_core::task::{DesiredState, Part};
use davit_proto::convert::{Assignment, Welcome};
use davit_proto::v1::worker_session_service_server::{WorkerSessionService, WorkerSessionServiceServer};
use davit_svc_kit::ids::{IdSource as _, SeededSource};
use davit_svc_kit::world::World;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request as Call, Response as Answer};
use uuid::Uuid;

use super::super::REQUEST_QUEUE;
use super::super::pulse::STUCK_TIME;
use super::*;
use crate::Config;
use crate::identity::Membership;
use crate::test_support;

const HEARTBEAT: Duration = Duration::from_secs(1);

/// A manager that says nothing for as long as this is there.
type Silence = mpsc::Sender<Result<v1::SessionResponse, Status>>;

struct SilentManager(std::sync::Mutex<Option<mpsc::Receiver<Result<v1::SessionResponse, Status>>>>);

#[tonic::async_trait]
impl WorkerSessionService for SilentManager {
    type SessionStream = ReceiverStream<Result<v1::SessionResponse, Status>>;

    async fn session(&self, _: Call<Streaming<v1::SessionRequest>>) -> Result<Answer<Self::SessionStream>, Status> {
        Ok(Answer::new(ReceiverStream::new(self.0.lock().unwrap().take().unwrap())))
    }

    async fn publish_logs(
        &self,
        _: Call<Streaming<v1::PublishLogsRequest>>,
    ) -> Result<Answer<v1::PublishLogsResponse>, Status> {
        Err(Status::unimplemented("nobody reads output"))
    }

    async fn fetch_file(&self, _: Call<v1::FetchFileRequest>) -> Result<Answer<v1::FetchFileResponse>, Status> {
        Err(Status::unimplemented("nobody needs a file"))
    }
}

/// A session that is open, its agent, and the connection that is to take its messages.
async fn session() -> (Active, Arc<Agent>, mpsc::Receiver<v1::SessionRequest>, Silence) {
    let (_, machine) = test_support::machine();
    let config = Config::new("127.0.0.1:1", "node-1", "/nowhere");
    let node = Arc::new(Node::open(World::real(), config, machine).await.unwrap());
    let ids = SeededSource::new(1);
    let membership = Membership { cluster: "test".to_owned(), cluster_id: Some(ClusterId(Uuid::from_u128(3))) };
    let agent = node.join(&membership).await.unwrap();
    let (silence, responses) = mpsc::channel(1);
    let manager = SilentManager(std::sync::Mutex::new(Some(responses)));
    let mut client = WorkerSessionServiceClient::new(WorkerSessionServiceServer::new(manager));
    let responses = client.session(tokio_stream::empty()).await.unwrap().into_inner();
    let (requests, connection) = mpsc::channel(REQUEST_QUEUE);
    let welcome = Welcome {
        cluster: membership.cluster,
        heartbeat_period: HEARTBEAT,
        session_id: ids.session_id(),
        lease_duration: None,
        cluster_id: membership.cluster_id,
    };
    let opened = Opened {
        manager: davit_svc_kit::client::endpoint(&node.config.manager).unwrap(),
        requests,
        responses,
        welcome,
        registered_at: Duration::ZERO,
        health: node.health(),
    };
    (Active::new(node, Arc::clone(&agent), opened).await, agent, connection, silence)
}

fn assignment(task: u128) -> Assignment {
    let container = ContainerSpec::new("busybox".parse().unwrap());
    Assignment {
        part: Part::Alone,
        key: AttemptKey { task_id: TaskId(Uuid::from_u128(task)), attempt: Attempt::FIRST },
        revision: Revision(1),
        desired_state: DesiredState::Running,
        spec: TaskSpec::new("web", RuntimeSpec::Container(container)).into(),
        ports: [].into(),
    }
}

#[tokio::test(start_paused = true)]
async fn when_nothing_can_be_sent_sixteen_messages_wait_and_after_ten_seconds_the_session_is_given_up() {
    let (active, agent, mut connection, _silence) = session().await;
    let began = Instant::now();
    let ended = tokio::spawn(async move { active.run(&Ending::default()).await });
    agent.assign(Batch { full: true, last: true, assignments: vec![assignment(1)], ..Batch::default() });
    assert!(matches!(ended.await.unwrap(), EndReason::Stuck));
    let mut waited = Vec::new();
    while let Some(request) = connection.recv().await {
        waited.push(request.message.unwrap());
    }
    assert_eq!(waited.len(), 16);
    let heartbeats = waited.iter().filter(|message| matches!(message, Request::Heartbeat(_))).count();
    assert!(heartbeats < 16, "the reports are among them");
    // The first went at once, the last of them so many periods later.
    let last = HEARTBEAT * u32::try_from(heartbeats - 1).unwrap();
    assert_eq!(began.elapsed().as_secs(), (last + Duration::from_secs(10)).as_secs());
}

#[tokio::test(start_paused = true)]
async fn a_heartbeat_that_is_due_soon_goes_with_a_report_if_the_one_before_is_acknowledged() {
    let (active, agent, mut connection, manager) = session().await;
    let ending = Ending::default();
    let stop = ending.stop.clone();
    let ended = tokio::spawn(async move { active.run(&ending).await });
    let ack = |heartbeat_id| v1::HeartbeatAck { heartbeat_id, heartbeat_every: None };
    let say = |message| manager.send(Ok(v1::SessionResponse { message: Some(message) }));
    let Some(Request::Heartbeat(first)) = connection.recv().await.unwrap().message else { panic!("no heartbeat") };
    say(Response::HeartbeatAck(ack(first.heartbeat_id))).await.unwrap();

    let mut heartbeat_id = first.heartbeat_id;
    for task in 1..=2 {
        tokio::time::sleep(HEARTBEAT * 3 / 4).await;
        agent.assign(Batch { assignments: vec![assignment(task)], ..Batch::default() });
        let Some(Request::StatusReport(report)) = connection.recv().await.unwrap().message else { panic!("no report") };
        let along = report.heartbeat.expect("it was due in a quarter of a period");
        assert_eq!(along.heartbeat_id, heartbeat_id + 1);
        heartbeat_id = along.heartbeat_id;
        let heartbeat_ack = (task == 1).then(|| ack(heartbeat_id));
        say(Response::StatusAck(v1::StatusAck { report_id: report.report_id, heartbeat_ack })).await.unwrap();
    }
    let went_along = Instant::now();
    let Some(Request::Heartbeat(by_itself)) = connection.recv().await.unwrap().message else { panic!("no heartbeat") };
    assert_eq!((by_itself.heartbeat_id, went_along.elapsed()), (heartbeat_id + 1, HEARTBEAT / 2), "in its stead");
    tokio::time::sleep(HEARTBEAT * 3 / 4).await;
    agent.assign(Batch { assignments: vec![assignment(3)], ..Batch::default() });
    let Some(Request::StatusReport(report)) = connection.recv().await.unwrap().message else { panic!("no report") };
    assert_eq!(report.heartbeat, None, "the newest is not acknowledged");
    stop.cancel();
    assert!(matches!(ended.await.unwrap(), EndReason::Stopped));
}

#[tokio::test(start_paused = true)]
async fn what_found_no_room_goes_when_there_is_some_again() {
    let (active, agent, mut connection, _silence) = session().await;
    let ending = Ending::default();
    let stop = ending.stop.clone();
    let ended = tokio::spawn(async move { active.run(&ending).await });
    // Almost all the time for which a session may be stuck.
    tokio::time::sleep(HEARTBEAT * 15 + STUCK_TIME - HEARTBEAT).await;
    assert_eq!(connection.len(), 16, "nothing but heartbeats");
    agent.assign(Batch { full: true, last: true, assignments: vec![assignment(1)], ..Batch::default() });
    tokio::time::sleep(HEARTBEAT / 10).await;
    let reads = tokio::spawn(async move {
        let mut read = Vec::new();
        while let Some(request) = connection.recv().await {
            read.push(request.message.unwrap());
        }
        read
    });
    tokio::time::sleep(STUCK_TIME).await;
    assert!(!ended.is_finished());
    stop.cancel();
    assert!(matches!(ended.await.unwrap(), EndReason::Stopped));
    let read = reads.await.unwrap();
    let reported = |message: &Request| matches!(message, Request::StatusReport(report) if !report.reports.is_empty());
    assert!(read.iter().skip(16).any(reported), "{read:?}");
}

#[tokio::test(start_paused = true)]
async fn heartbeats_are_as_far_apart_as_the_manager_asks_unless_it_asks_for_what_can_not_be() {
    let (active, _agent, mut connection, manager) = session().await;
    let ask = async |every: Duration| {
        let ack = v1::HeartbeatAck { heartbeat_id: 0, heartbeat_every: Some(duration_to_proto(every)) };
        manager.send(Ok(v1::SessionResponse { message: Some(Response::HeartbeatAck(ack)) })).await.unwrap();
    };
    let slow = HEARTBEAT * 140 / 100;
    let asks = async {
        let mut last = Instant::now();
        let mut apart = async || loop {
            if let Some(Request::Heartbeat(_)) = connection.recv().await.unwrap().message {
                return std::mem::replace(&mut last, Instant::now()).elapsed();
            }
        };
        apart().await;
        assert_eq!(apart().await, HEARTBEAT);
        ask(slow).await;
        apart().await;
        assert_eq!(apart().await, slow);
        ask(HEARTBEAT * 3).await;
        apart().await;
        assert_eq!(apart().await, slow, "a silence of three periods is a death");
    };
    let ending = Ending::default();
    tokio::select! {
        ended = active.run(&ending) => panic!("the session ended: {ended}"),
        () = asks => {}
    }
}
