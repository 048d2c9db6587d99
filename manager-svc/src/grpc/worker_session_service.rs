//! The workers' side of the manager: sessions, and the output that workers bring.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use davit_core::drain::DEFAULT_MAX_PARALLEL;
use davit_core::id::{SessionId, TaskId};
use davit_core::task::AttemptStatus;
use davit_core::validate::Violations;
use davit_proto::convert;
use davit_proto::v1;
use davit_proto::v1::session_request::Message as FromWorker;
use davit_proto::v1::session_response::Message as ToWorker;
use davit_proto::v1::worker_session_service_server::WorkerSessionService;
use davit_svc_kit::grpc::ApiError;
use davit_svc_kit::shutdown::Shutdown;
use futures::Stream;
use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};
use tracing::{Instrument as _, debug, info, warn};

use super::errors::to_api_error;
use super::report_inbox::{Full, ReportInbox};
use super::session_out::SessionWriter;
use super::{Api, foreign, second_worker};
use crate::commands::{
    self, Registered, apply_reports, drain_for_worker, note_away, note_goodbye, register_node, set_runtime_health,
};
use crate::dispatch::Outbox;
use crate::state::Draft;
use crate::writer::WriteError;

/// How long a worker has to say who it is.
const REGISTER_TIMEOUT: Duration = Duration::from_secs(10);
/// Messages on their way to one worker.
const OUT_BUFFER: usize = 4;
/// Until what a worker says is written again after the store failed.
const FIRST_RETRY: Duration = Duration::from_millis(50);
const LONGEST_RETRY: Duration = Duration::from_secs(2);
/// So long at most a session waits until it is durable that its worker goes.
const GOING_WRITE_TIME: Duration = Duration::from_secs(5);

/// Serves workers.
#[derive(Debug, Clone)]
pub struct WorkerSessions {
    api: Api,
}

impl WorkerSessions {
    /// On top of what all services share.
    #[must_use]
    pub fn new(api: Api) -> Self {
        Self { api }
    }
}

#[tonic::async_trait]
impl WorkerSessionService for WorkerSessions {
    type SessionStream = Pin<Box<dyn Stream<Item = Result<v1::SessionResponse, Status>> + Send>>;

    async fn session(
        &self,
        request: Request<Streaming<v1::SessionRequest>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let (out, outgoing) = mpsc::channel(OUT_BUFFER);
        let api = self.api.clone();
        let incoming = request.into_inner();
        let span = tracing::info_span!("session", node_id = tracing::field::Empty, session_id = tracing::field::Empty);
        tokio::spawn(
            async move {
                if let Err(problem) = serve(&api, incoming, &out).await {
                    debug!(%problem, "session refused or broken");
                    // A worker that is gone needs no answer.
                    let _ = out.send(Err(problem.into())).await;
                }
            }
            .instrument(span),
        );
        Ok(Response::new(Box::pin(ReceiverStream::new(outgoing))))
    }

    async fn publish_logs(
        &self,
        request: Request<Streaming<v1::PublishLogsRequest>>,
    ) -> Result<Response<v1::PublishLogsResponse>, Status> {
        let mut incoming = request.into_inner();
        let first = tokio::time::timeout(REGISTER_TIMEOUT, incoming.message()).await;
        let first = first.map_err(|_| ApiError::invalid_field("log_id", "no message came within 10 s"))??;
        let first = first.ok_or_else(|| ApiError::invalid_field("log_id", "is needed in the first message"))?;
        let log_id = uuid::Uuid::try_parse(&first.log_id)
            .map_err(|_| ApiError::invalid_field("log_id", "is the id that `start_logs` gave"))?;
        // Nobody reads any more: the call just ends.
        let Some(reader) = self.api.logs.take(log_id) else { return Ok(Response::new(v1::PublishLogsResponse {})) };
        let mut next = Some(first);
        while let Some(message) = next {
            tokio::select! {
                () = reader.closed() => break,
                () = self.api.shutdown.triggered() => break,
                sent = reader.send(message) => if sent.is_err() { break },
            }
            next = tokio::select! {
                () = reader.closed() => break,
                () = self.api.shutdown.triggered() => break,
                message = incoming.message() => match message {
                    Ok(message) => message,
                    Err(status) => {
                        let error = format!("the worker's connection broke: {}", status.message());
                        let last = v1::PublishLogsRequest { error, ..Default::default() };
                        let _ = reader.send(last).await;
                        break;
                    }
                },
            };
        }
        Ok(Response::new(v1::PublishLogsResponse {}))
    }
}

/// One session, from the registration to its end.
async fn serve(
    api: &Api,
    mut incoming: Streaming<v1::SessionRequest>,
    out: &mpsc::Sender<Result<v1::SessionResponse, Status>>,
) -> Result<(), ApiError> {
    let registration = read_registration(&mut incoming).await?;
    second_worker::refuse(api, &registration).await?;
    let node_id = registration.node_id;
    let name = registration.description.name.clone();
    let session_id = api.world.ids.session_id();
    tracing::Span::current().record("node_id", node_id.to_string()).record("session_id", session_id.to_string());
    let outbox = Arc::new(Outbox::new(session_id));
    let welcome = convert::welcome_to_proto(&convert::Welcome {
        cluster: api.cluster.name.clone(),
        heartbeat_period: api.cluster.heartbeat_period,
        session_id,
        lease_duration: Some(api.cluster.lease_duration),
        cluster_id: Some(api.cluster.cluster_id),
    });
    let welcome = v1::SessionResponse { message: Some(ToWorker::Welcome(welcome)) };
    let registered = register(api, registration, Arc::clone(&outbox)).await.map_err(to_api_error)?;
    info!(name, registration_number = registered.number, "worker registered");
    let _counted = crate::metrics::OpenSession::count();
    let ended = Shutdown::new();
    let (reports, (acks_to, acks)) = (Reports::default(), watch::channel(0));
    let (health_to, health) = watch::channel(None);
    let (heard_to, heard) = watch::channel(0);
    let (foreign_to, foreign) = watch::channel(Vec::new());
    let (abandoned_to, abandoned) = mpsc::channel(1);
    let drain = Notify::new();
    let sender = SessionWriter {
        outbox: Arc::clone(&outbox),
        acks,
        heard,
        abandoned,
        out: out.clone(),
        shutdown: api.shutdown.clone(),
    };
    let told_to =
        Told { reports: &reports, heartbeats: &heard_to, health: health_to, foreign: foreign_to, drain: &drain };
    let said_goodbye = tokio::select! {
        goodbye = read(api, registered, session_id, &mut incoming, told_to) => goodbye,
        () = write_health(api, registered, health, &ended) => false,
        () = begin_drains(api, registered, &drain) => false,
        () = foreign::judge(api, foreign, abandoned_to) => false,
        () = write_reports(api, registered, &reports, &acks_to, &ended) => false,
        () = sender.run(welcome) => false,
    };
    ended.trigger();
    info!(name, said_goodbye, "session ended");
    api.contacts.closed(node_id, session_id);
    let detached = api
        .writer
        .write_with_effects(move |_, effects| {
            effects.push(Box::new(move |router, _| router.detach(node_id, session_id)));
            Ok::<(), Infallible>(())
        })
        .await;
    if let Err(problem) = detached {
        debug!(%problem, "the session stays attached until the node's next one");
    }
    Ok(())
}

/// Makes the node READY and opens its session, both in the writer's turn.
pub(super) async fn register(
    api: &Api,
    registration: convert::Registration,
    outbox: Arc<Outbox>,
) -> Result<Registered, WriteError<commands::Error>> {
    let (node_id, run, contacts) = (registration.node_id, registration.worker_run, api.contacts.clone());
    let lease_duration = api.cluster.lease_duration;
    api.writer
        .write_with_effects(move |draft, effects| {
            let (node, counts) = register_node(draft, registration, lease_duration)?;
            // A judgement of the same batch comes before the session is open: it must not go by the silence before.
            contacts.registers(node_id);
            effects.push(Box::new(move |router, state| {
                crate::metrics::reports(counts);
                contacts.opened(node_id, Arc::clone(&outbox), run);
                router.attach(node_id, outbox, state);
            }));
            Ok(Registered::newest_of(&node))
        })
        .await
}

async fn read_registration(incoming: &mut Streaming<v1::SessionRequest>) -> Result<convert::Registration, ApiError> {
    let needed = || ApiError::invalid_field("register", "is needed as the first message");
    let first = tokio::time::timeout(REGISTER_TIMEOUT, incoming.message()).await.map_err(|_| needed())?;
    let first = first.map_err(|status| ApiError::invalid_field("register", status.message()))?;
    let Some(FromWorker::Register(register)) = first.and_then(|request| request.message) else {
        return Err(needed());
    };
    let mut violations = Violations::new();
    let registration = convert::register_from_proto(register, "register", &mut violations);
    Ok(violations.finish(registration)?)
}

/// Status reports on their way from the reader to the writer. The reader never waits for the writer: heartbeats come on the same
/// stream.
#[derive(Default)]
struct Reports {
    inbox: Mutex<ReportInbox>,
    filled: Notify,
}

impl Reports {
    fn put(&self, report_id: u64, statuses: Vec<(TaskId, AttemptStatus)>) -> Result<(), Full> {
        self.inbox.lock().put(report_id, statuses)?;
        self.filled.notify_one();
        Ok(())
    }

    /// Waits for what is to be written next.
    async fn next(&self) -> (u64, Vec<(TaskId, AttemptStatus)>) {
        loop {
            if let Some(waiting) = self.inbox.lock().take() {
                return waiting;
            }
            self.filled.notified().await;
        }
    }
}

/// Where what a worker says goes.
struct Told<'a> {
    reports: &'a Reports,
    /// The newest heartbeat that counts.
    heartbeats: &'a watch::Sender<u64>,
    health: watch::Sender<Option<convert::RuntimeHealth>>,
    foreign: watch::Sender<Vec<convert::ForeignAttempt>>,
    drain: &'a Notify,
}

/// Reads what the worker says until the stream ends, also after its goodbye: a worker may have attempts to stop before it
/// goes. True when it said goodbye.
async fn read(
    api: &Api,
    registered: Registered,
    session_id: SessionId,
    incoming: &mut Streaming<v1::SessionRequest>,
    told_to: Told<'_>,
) -> bool {
    let (node_id, mut said_goodbye) = (registered.node_id, false);
    loop {
        let message = match incoming.message().await {
            Ok(Some(request)) => request.message,
            Ok(None) => return said_goodbye,
            Err(status) => {
                debug!(%status, "the worker's stream broke");
                return said_goodbye;
            }
        };
        let counts = api.contacts.heard(node_id, session_id);
        let mut violations = Violations::new();
        match message {
            Some(FromWorker::Heartbeat(heartbeat)) => {
                let stats = heartbeat
                    .stats
                    .and_then(|stats| convert::node_stats_from_proto(stats, "heartbeat.stats", &mut violations));
                if let Some(stats) = stats {
                    api.contacts.measured(node_id, session_id, stats);
                }
                // Only after it is noted as heard: the node may rely on its lease from here on.
                if counts && heartbeat.heartbeat_id > 0 {
                    told_to.heartbeats.send_replace(heartbeat.heartbeat_id);
                }
            }
            Some(FromWorker::StatusReport(report)) => {
                let report = convert::status_report_from_proto(report, "status_report", &mut violations);
                if let Some((report_id, statuses)) = report
                    && let Err(problem) = told_to.reports.put(report_id, statuses)
                {
                    warn!(%problem, "the session ends");
                    return said_goodbye;
                }
            }
            Some(FromWorker::RuntimeHealth(told)) => {
                let told = convert::runtime_health_from_proto(told, "runtime_health", &mut violations);
                if told.is_some() {
                    told_to.health.send_replace(told);
                }
            }
            Some(FromWorker::ForeignAttempts(seen)) => {
                let path = "foreign_attempts.attempts";
                if let Some(seen) = convert::foreign_attempts_from_proto(&seen.attempts, path, &mut violations) {
                    told_to.foreign.send_replace(seen);
                }
            }
            Some(FromWorker::Drain(_)) => {
                info!("the worker asks for its node to be drained");
                told_to.drain.notify_one();
            }
            Some(FromWorker::Goodbye(goodbye)) => {
                info!(reason = goodbye.reason, "the worker says goodbye");
                said_goodbye = true;
                api.contacts.said_goodbye(node_id, session_id);
                // Before what it says next: that tasks have ended, whose next attempts would be placed there once more.
                write_in_turn(api, registered, move |draft| note_goodbye(draft, node_id)).await;
            }
            Some(FromWorker::Away(away)) => {
                let path = "away.back_within";
                let back_within =
                    away.back_within.and_then(|time| convert::duration_from_proto(time, path, &mut violations));
                if let Some(back_within) = back_within {
                    info!(?back_within, "the worker goes and leaves its tasks running");
                    api.contacts.goes_away(node_id, session_id, back_within);
                    // Its last word: no heartbeat comes after it that could not wait, and its session ends when it is written.
                    write_in_turn(api, registered, move |draft| note_away(draft, node_id, back_within)).await;
                }
            }
            Some(FromWorker::Register(_)) => violations.add("register", "comes once, as the first message"),
            None => violations.add("message", "is needed"),
        }
        if !violations.is_empty() {
            warn!(%violations, "the worker sent something wrong; it is ignored");
        }
    }
}

/// Makes it durable that a worker goes, before anything else is heard of it. A store that can't be written delays that only so long:
/// the health loop notes it later then, and a manager that is restarted meanwhile does not know of it.
async fn write_in_turn(api: &Api, registered: Registered, note: impl Fn(&mut Draft) + Clone + Send + 'static) {
    let write = async {
        let mut backoff = api.world.backoff(FIRST_RETRY, LONGEST_RETRY);
        loop {
            let note = note.clone();
            let going = move |draft: &mut Draft| {
                registered.check(draft)?;
                note(draft);
                Ok::<_, commands::Error>(())
            };
            match api.writer.write(going).await {
                Ok(()) | Err(WriteError::Refused(_) | WriteError::Stopping) => break,
                Err(problem) => debug!(%problem, "that a worker goes waits for the store"),
            }
            tokio::time::sleep(backoff.next_delay()).await;
        }
    };
    if tokio::time::timeout(GOING_WRITE_TIME, write).await.is_err() {
        warn!("that the worker goes could not be written: a manager that is restarted meanwhile does not know it");
    }
}

/// Makes it durable which runtimes answer; only the newest word counts. Ends when the node has registered anew since.
async fn write_health(
    api: &Api,
    registered: Registered,
    mut health: watch::Receiver<Option<convert::RuntimeHealth>>,
    ended: &Shutdown,
) {
    let mut backoff = api.world.backoff(FIRST_RETRY, LONGEST_RETRY);
    while health.changed().await.is_ok() {
        loop {
            let Some(told) = health.borrow_and_update().clone() else { break };
            let write = move |draft: &mut Draft| {
                registered.check(draft)?;
                set_runtime_health(draft, registered.node_id, told);
                Ok::<_, commands::Error>(())
            };
            match api.writer.write(write).await {
                Ok(()) => break backoff.reset(),
                Err(WriteError::Refused(problem)) => return debug!(%problem, "the session is overtaken"),
                Err(problem) => debug!(%problem, "what a node can run waits for the store"),
            }
            if ended.or_stop(tokio::time::sleep(backoff.next_delay())).await.is_none() {
                return;
            }
        }
    }
    // The reader is done; the session ends with it.
    std::future::pending::<()>().await;
}

/// Has the node drained whenever its worker asks for it. Does not end.
async fn begin_drains(api: &Api, registered: Registered, asked: &Notify) {
    loop {
        asked.notified().await;
        let mut backoff = api.world.backoff(FIRST_RETRY, LONGEST_RETRY);
        loop {
            let begin = move |draft: &mut Draft| {
                registered.check(draft)?;
                drain_for_worker(draft, registered.node_id, DEFAULT_MAX_PARALLEL)
            };
            match api.writer.write(begin).await {
                Ok(_) | Err(WriteError::Refused(_) | WriteError::Stopping) => break,
                Err(problem @ (WriteError::NotCommitted(_) | WriteError::Overloaded { .. })) => {
                    debug!(%problem, "a drain waits for the store");
                }
            }
            tokio::time::sleep(backoff.next_delay()).await;
        }
    }
}

/// Makes reports durable and acknowledges them. What can't be committed is tried again, with what came meanwhile. Ends when the
/// node has registered anew since.
async fn write_reports(
    api: &Api,
    registered: Registered,
    reports: &Reports,
    acks: &watch::Sender<u64>,
    ended: &Shutdown,
) {
    let mut backoff = api.world.backoff(FIRST_RETRY, LONGEST_RETRY);
    loop {
        let (report_id, statuses) = reports.next().await;
        let to_write = statuses.clone();
        let write = move |draft: &mut Draft| {
            registered.check(draft)?;
            Ok::<_, commands::Error>(apply_reports(draft, registered.node_id, to_write))
        };
        match api.writer.write(write).await {
            Ok(counts) => {
                crate::metrics::reports(counts);
                backoff.reset();
                acks.send_replace(report_id);
                continue;
            }
            Err(WriteError::Refused(problem)) => return debug!(%problem, "the session is overtaken"),
            Err(problem) => debug!(%problem, "a status report waits for the store"),
        }
        // Back to where newer statuses of the same attempts take their place.
        if let Err(problem) = reports.put(report_id, statuses) {
            return warn!(%problem, "the session ends");
        }
        if ended.or_stop(tokio::time::sleep(backoff.next_delay())).await.is_none() {
            return;
        }
    }
}
