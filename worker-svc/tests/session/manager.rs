//! A manager that does what a test tells it, over a real connection.

use std::net::SocketAddr;

use davit_core::id::AttemptKey;
use davit_core::spec::TaskSpec;
use davit_core::state::TaskState;
use davit_core::task::{AttemptStatus, DesiredState, Part, Ports};
use davit_core::validate::Violations;
use davit_proto::convert::{
    assignment_to_proto, attempt_ref_to_proto, attempt_report_from_proto, duration_to_proto, register_from_proto,
    task_spec_to_proto,
};
use davit_proto::v1;
use davit_proto::v1::session_request::Message as Request;
use davit_proto::v1::session_response::Message as Response;
use davit_proto::v1::worker_session_service_server::{WorkerSessionService, WorkerSessionServiceServer};
use davit_svc_kit::ids::{IdSource, UuidV7Source};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tokio_util::task::AbortOnDropHandle;
use tonic::{Request as Call, Response as Answer, Status, Streaming};

use super::{CLUSTER_ID, HEARTBEAT, LEASE, in_time};

type Outbound = mpsc::Sender<Result<v1::SessionResponse, Status>>;

pub(crate) struct Manager {
    pub(crate) address: SocketAddr,
    sessions: mpsc::Receiver<Dialled>,
    readings: mpsc::Receiver<Reading>,
    _server: AbortOnDropHandle<()>,
}

/// A worker that has dialled and waits for an answer.
pub(crate) struct Dialled {
    requests: Streaming<v1::SessionRequest>,
    answer: oneshot::Sender<Result<ReceiverStream<Result<v1::SessionResponse, Status>>, Status>>,
}

/// One call of PublishLogs; dropping it ends the call.
pub(crate) struct Reading {
    pub(crate) messages: Streaming<v1::PublishLogsRequest>,
    _end: oneshot::Sender<()>,
}

struct Service {
    sessions: mpsc::Sender<Dialled>,
    readings: mpsc::Sender<Reading>,
}

#[tonic::async_trait]
impl WorkerSessionService for Service {
    type SessionStream = ReceiverStream<Result<v1::SessionResponse, Status>>;

    async fn session(&self, call: Call<Streaming<v1::SessionRequest>>) -> Result<Answer<Self::SessionStream>, Status> {
        let (answer, answered) = oneshot::channel();
        let dialled = Dialled { requests: call.into_inner(), answer };
        self.sessions.send(dialled).await.map_err(|_| Status::unavailable("the test is over"))?;
        answered.await.map_err(|_| Status::unavailable("not now"))?.map(Answer::new)
    }

    async fn publish_logs(
        &self,
        call: Call<Streaming<v1::PublishLogsRequest>>,
    ) -> Result<Answer<v1::PublishLogsResponse>, Status> {
        let (end, ended) = oneshot::channel();
        let reading = Reading { messages: call.into_inner(), _end: end };
        self.readings.send(reading).await.map_err(|_| Status::unavailable("the test is over"))?;
        // An error means that the test has dropped the reading.
        let _ = ended.await;
        Ok(Answer::new(v1::PublishLogsResponse {}))
    }
}

impl Manager {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (to_sessions, sessions) = mpsc::channel(1);
        let (to_readings, readings) = mpsc::channel(16);
        let service = Service { sessions: to_sessions, readings: to_readings };
        let server = tonic::transport::Server::builder()
            .add_service(WorkerSessionServiceServer::new(service))
            .serve_with_incoming(TcpListenerStream::new(listener));
        let server = AbortOnDropHandle::new(tokio::spawn(async move { server.await.unwrap() }));
        Self { address, sessions, readings, _server: server }
    }

    pub(crate) async fn dialled(&mut self) -> Dialled {
        in_time("a worker that dials", self.sessions.recv()).await.unwrap()
    }

    pub(crate) async fn reading(&mut self) -> Reading {
        in_time("a reading of output", self.readings.recv()).await.unwrap()
    }

    /// Welcomes the next worker that dials.
    pub(crate) async fn session(&mut self, cluster: &str) -> Session {
        self.dialled().await.welcome(cluster).await
    }

    /// The same, and tells it at once that this is all that it is to have.
    pub(crate) async fn session_with(
        &mut self,
        cluster: &str,
        all: &[(AttemptKey, DesiredState, &TaskSpec)],
    ) -> Session {
        let session = self.session(cluster).await;
        session.assign(true, true, all, &[]).await;
        session
    }
}

impl Dialled {
    pub(crate) fn refuse(self, status: Status) {
        self.answer.send(Err(status)).unwrap();
    }

    pub(crate) async fn welcome(mut self, cluster: &str) -> Session {
        let first = in_time("a registration", self.requests.message()).await.unwrap().unwrap().message;
        let Some(Request::Register(register)) = first else { panic!("it begins with {first:?}") };
        let mut violations = Violations::new();
        register_from_proto(register.clone(), "register", &mut violations);
        assert!(violations.is_empty(), "{violations}");
        let (responses, stream) = mpsc::channel(64);
        let session = Session {
            register,
            requests: self.requests,
            responses,
            given: [].into(),
            acknowledges: true,
            statuses: Vec::new(),
        };
        let welcome = v1::Welcome {
            cluster: cluster.to_owned(),
            heartbeat_period: Some(duration_to_proto(HEARTBEAT)),
            session_id: UuidV7Source.session_id().to_string(),
            lease_duration: Some(duration_to_proto(LEASE)),
            cluster_id: CLUSTER_ID.to_string(),
        };
        session.send(Response::Welcome(welcome)).await;
        let _ = self.answer.send(Ok(ReceiverStream::new(stream)));
        session
    }
}

/// An open session. Dropping it cuts it.
pub(crate) struct Session {
    pub(crate) register: v1::Register,
    requests: Streaming<v1::SessionRequest>,
    responses: Outbound,
    /// Host ports that are sent with every assignment.
    pub(crate) given: Ports,
    /// Whether status reports are acknowledged as they come.
    pub(crate) acknowledges: bool,
    /// All statuses that came, oldest first.
    pub(crate) statuses: Vec<(AttemptKey, AttemptStatus)>,
}

impl Session {
    /// The status with which an attempt was registered.
    pub(crate) fn registered(&self, key: AttemptKey) -> AttemptStatus {
        let of = |report: &&v1::AttemptReport| report.task_id == key.task_id.to_string();
        let report = self.register.attempts.iter().find(of).unwrap().clone();
        attempt_report_from_proto(report, "report", &mut Violations::new()).unwrap().1
    }

    pub(crate) async fn send(&self, message: Response) {
        self.responses.send(Ok(v1::SessionResponse { message: Some(message) })).await.unwrap();
    }

    pub(crate) async fn assign(
        &self,
        full: bool,
        last: bool,
        assignments: &[(AttemptKey, DesiredState, &TaskSpec)],
        removed: &[AttemptKey],
    ) {
        let revision = davit_core::id::Revision(1);
        let assignment = |(key, desired, spec): &(AttemptKey, DesiredState, &TaskSpec)| {
            assignment_to_proto(*key, revision, *desired, Some(task_spec_to_proto(spec)), &self.given, Part::Alone)
        };
        let assignments = v1::Assignments {
            full,
            last,
            revision: revision.0,
            assignments: assignments.iter().map(assignment).collect(),
            removed: removed.iter().map(|key| attempt_ref_to_proto(*key)).collect(),
        };
        self.send(Response::Assignments(assignments)).await;
    }

    pub(crate) async fn change(&self, key: AttemptKey, desired: DesiredState, spec: &TaskSpec) {
        self.assign(false, false, &[(key, desired, spec)], &[]).await;
    }

    pub(crate) async fn remove(&self, key: AttemptKey) {
        self.assign(false, false, &[], &[key]).await;
    }

    /// The next message; notes and acknowledges reports. `None`: the worker ended the stream.
    pub(crate) async fn next(&mut self) -> Option<Request> {
        let message = in_time("a message", self.requests.message()).await.ok()??.message.unwrap();
        if let Request::Heartbeat(v1::Heartbeat { heartbeat_id, .. }) = message {
            self.send(Response::HeartbeatAck(v1::HeartbeatAck { heartbeat_id, heartbeat_every: None })).await;
        }
        if let Request::StatusReport(report) = &message {
            for report in &report.reports {
                let mut violations = Violations::new();
                let read = attempt_report_from_proto(report.clone(), "report", &mut violations);
                let (task_id, status) = read.unwrap_or_else(|| panic!("{violations}"));
                self.statuses.push((AttemptKey { task_id, attempt: status.attempt }, status));
            }
            if self.acknowledges {
                let heartbeat_id = report.heartbeat.as_ref().map(|heartbeat| heartbeat.heartbeat_id);
                let heartbeat_ack =
                    heartbeat_id.map(|heartbeat_id| v1::HeartbeatAck { heartbeat_id, heartbeat_every: None });
                let report_id = report.report_id;
                self.send(Response::StatusAck(v1::StatusAck { report_id, heartbeat_ack })).await;
            }
        }
        Some(message)
    }

    /// Reads on, and so stays in touch, until something else has come.
    pub(crate) async fn during<T>(&mut self, wait: impl Future<Output = T>) -> T {
        let mut wait = std::pin::pin!(wait);
        loop {
            tokio::select! {
                done = &mut wait => return done,
                message = self.next() => assert!(message.is_some(), "the worker ended the session"),
            }
        }
    }

    /// Reads on until an attempt is reported in this state.
    pub(crate) async fn until(&mut self, key: AttemptKey, state: TaskState) -> AttemptStatus {
        let reads = async {
            loop {
                let found = self.statuses.iter().find(|(of, status)| *of == key && status.state == state);
                if let Some((_, status)) = found {
                    return status.clone();
                }
                assert!(self.next().await.is_some(), "the worker ended the session before {state}");
            }
        };
        in_time(&format!("{key} {state}"), reads).await
    }

    /// Reads on until an attempt is reported.
    pub(crate) async fn until_told(&mut self, key: AttemptKey) {
        let reads = async {
            while !self.statuses.iter().any(|(of, _)| *of == key) {
                assert!(self.next().await.is_some(), "the worker ended the session before");
            }
        };
        in_time(&format!("a report of {key}"), reads).await;
    }

    /// Reads on until an attempt is reported with a reason that holds this.
    pub(crate) async fn until_reason(&mut self, key: AttemptKey, part: &str) {
        let reads = async {
            while !self.statuses.iter().any(|(of, status)| *of == key && status.reason.contains(part)) {
                assert!(self.next().await.is_some(), "the worker ended the session before it said {part}");
            }
        };
        in_time(&format!("{key}: {part}"), reads).await;
    }
}
