//! The workers' side of the manager: sessions, and the output that workers bring.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use davit_core::validate::Violations;
use davit_proto::convert;
use davit_proto::v1;
use davit_proto::v1::session_request::Message as FromWorker;
use davit_proto::v1::session_response::Message as ToWorker;
use davit_proto::v1::worker_session_service_server::WorkerSessionService;
use davit_svc_kit::grpc::ApiError;
use futures::stream::FuturesUnordered;
use futures::{FutureExt as _, Stream, StreamExt as _};
use tokio::sync::{Notify, mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};
use tracing::{Instrument as _, debug, info};

use super::errors::to_api_error;
use super::files::file_for_worker;
use super::report_inbox::Receipt;
use super::session_in::{Told, read};
use super::session_out::{Out, Pace, SessionWriter};
use super::session_writes::{Reports, SessionWrites};
use super::{Api, foreign, second_worker};
use crate::commands::{self, Registered, register_node};
use crate::dispatch::Outbox;
use crate::writer::WriteError;

/// How long a worker has to say who it is.
const REGISTER_TIMEOUT: Duration = Duration::from_secs(10);
/// Messages on their way to one worker.
const OUT_BUFFER: usize = 4;

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
        let outgoing = ReceiverStream::new(outgoing).map(|message| message.map(|message: Box<_>| *message));
        Ok(Response::new(Box::pin(outgoing)))
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

    async fn fetch_file(
        &self,
        request: Request<v1::FetchFileRequest>,
    ) -> Result<Response<v1::FetchFileResponse>, Status> {
        let content = file_for_worker(&self.api.writer.state(), request.get_ref())?;
        Ok(Response::new(v1::FetchFileResponse { content: content.reveal().to_vec() }))
    }
}

/// One session, from the registration to its end.
async fn serve(api: &Api, mut incoming: Streaming<v1::SessionRequest>, out: &Out) -> Result<(), ApiError> {
    let gone = async || {
        tokio::select! {
            () = out.closed() => {}
            () = api.shutdown.triggered() => {}
        }
    };
    let turns = api.contacts.registrations();
    // Before anything is read: what many have to say waits where it costs nothing here.
    let Some(mut turn) = turns.turn(gone()).await else { return Ok(()) };
    let registration = read_registration(&mut incoming).await?;
    if second_worker::is_possible(api, &registration) {
        // It takes seconds to know, in which others have their turn.
        drop(turn);
        second_worker::refuse(api, &registration).await?;
        let Some(next) = turns.turn(gone()).await else { return Ok(()) };
        turn = next;
    }
    let node_id = registration.node_id;
    let name = registration.description.name.clone();
    let specs = registration.takes_spec_numbers.then(convert::SentSpecs::new);
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
    drop(turn);
    info!(name, registration_number = registered.number, "worker registered");
    let _counted = crate::metrics::OpenSession::count();
    let writes = SessionWrites { api, registered };
    let (reports, (acks_to, acks)) = (Reports::default(), watch::channel(Receipt::default()));
    let (health_to, health) = watch::channel(None);
    let (heard_to, heard) = watch::channel(0);
    let (foreign_to, foreign) = watch::channel(Vec::new());
    let (abandoned_to, abandoned) = mpsc::channel(1);
    let drain = Notify::new();
    let sender = SessionWriter {
        outbox: Arc::clone(&outbox),
        acks,
        heard,
        pace: Pace::new(api.contacts.clone(), api.cluster.heartbeat_period),
        specs,
        abandoned,
        out: out.clone(),
        shutdown: api.shutdown.clone(),
    };
    let told_to =
        Told { reports: &reports, heartbeats: &heard_to, health: health_to, foreign: foreign_to, drain: &drain };
    let no_goodbye = |()| false;
    // Each is polled only when there is something for it, and not whenever there is for any of them: there are thousands of sessions.
    let mut parts = FuturesUnordered::from_iter([
        read(writes, session_id, &mut incoming, told_to).boxed(),
        writes.health(health).map(no_goodbye).boxed(),
        writes.drains(&drain).map(no_goodbye).boxed(),
        foreign::judge(api, foreign, abandoned_to).map(no_goodbye).boxed(),
        writes.reports(&reports, &acks_to).map(no_goodbye).boxed(),
        sender.run(welcome).map(no_goodbye).boxed(),
    ]);
    let said_goodbye = parts.next().await.unwrap_or_default();
    drop(parts);
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
