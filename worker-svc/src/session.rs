//! The session with the manager: dials, registers, feeds the agent, and brings up what it reports. A session may break at
//! any time; the next one begins with a registration and sends anew what was not acknowledged.

mod active;
mod alarm;
mod files;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod heartbeats;
mod logs;
mod pulse;

use std::sync::Arc;
use std::time::Duration;

use davit_core::placement::RuntimeKind;
use davit_core::validate::Violations;
use davit_proto::convert::{
    LAST_REGISTRATION_NUMBER, REGISTRATION_OVERTAKEN, RuntimeHealth, SECOND_WORKER, Welcome, welcome_from_proto,
};
use davit_proto::v1;
use davit_proto::v1::session_request::Message as Request;
use davit_proto::v1::session_response::Message as Response;
use davit_proto::v1::worker_session_service_client::WorkerSessionServiceClient;
use davit_svc_kit::client;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status, Streaming};
use tonic_types::StatusExt as _;

use self::active::Active;
use crate::agent::Unfound;
use crate::identity::Membership;
use crate::node::{JoinError, Node};

const FIRST_REDIAL: Duration = Duration::from_millis(100);
/// A node counts as DOWN after three seconds without its worker: a manager that is back must be found well before.
const LONGEST_REDIAL: Duration = Duration::from_secs(1);
/// So long at most a manager that has too much to do is left alone.
const LONGEST_ASKED: Duration = Duration::from_secs(5);
/// Before another try of what is not mended by trying again at once, such as a name in use.
const REFUSED_REDIAL: Duration = Duration::from_secs(15);
/// Before another try of a worker that is refused because another one is in touch as its node: it may turn out to be gone.
const FIRST_SECOND_REDIAL: Duration = Duration::from_secs(1);
/// How long the manager may take to answer a registration.
const WELCOME_TIME: Duration = Duration::from_secs(30);
/// How long the runtimes may take to answer for the first time before a worker that was in its cluster before is back without
/// their word.
const FIRST_HEALTH_TIME: Duration = Duration::from_millis(500);
/// Messages that wait to be sent.
const REQUEST_QUEUE: usize = 16;
/// Assignments come in parts of the manager's choice, each with whole specs.
const MAX_MESSAGE_BYTES: usize = 64 << 20;

/// Why a session ended or did not begin.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EndReason {
    #[error("the worker stops")]
    Stopped,
    #[error("the manager's address can't be used: {0}")]
    Address(#[from] client::AddressError),
    #[error("can't reach the manager: {0}")]
    Connect(String),
    #[error("the manager refused the registration: {0}")]
    Refused(String),
    #[error("the manager refused the registration: {0}")]
    SecondWorker(String),
    #[error("the manager knows of a later registration of this node, of number {last}")]
    Overtaken { last: u64 },
    #[error("the manager did not answer the registration in time")]
    NoWelcome,
    #[error("the manager's answer can't be understood: {0}")]
    Unreadable(String),
    #[error("can't join the cluster: {0}")]
    Join(#[from] JoinError),
    #[error("the {kind} runtime does not answer: {problem}")]
    RuntimeMissing { kind: RuntimeKind, problem: String },
    #[error(transparent)]
    Unfound(#[from] Unfound),
    #[error("the session broke: {0}")]
    Broken(String),
    #[error("the manager ended the session")]
    Closed,
    #[error("the manager ended the session: {reason}")]
    Disconnected { reason: String, retry_after: Duration },
    #[error("nothing can be sent to the manager")]
    Stuck,
    #[error("the manager has too much to do: {problem}")]
    Overloaded { problem: String, retry_after: Duration },
}

/// An open session.
struct Opened {
    /// Where the manager is.
    manager: Endpoint,
    requests: mpsc::Sender<v1::SessionRequest>,
    responses: Streaming<v1::SessionResponse>,
    welcome: Welcome,
    /// The uptime of the machine when it registered.
    registered_at: Duration,
    /// What the registration did not tell of the runtimes is news to it.
    health: watch::Receiver<Option<RuntimeHealth>>,
}

/// What the session is told of the worker's end.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ending {
    /// The worker wants to go once its node is drained: the manager is asked for that, in every session anew.
    pub(crate) drains: CancellationToken,
    /// The worker stops its tasks and then goes: the manager is to know at once, and still to hear how they end.
    pub(crate) leaves: CancellationToken,
    /// The worker goes now.
    pub(crate) stop: CancellationToken,
}

/// Keeps a session open until the stop; then says goodbye, unless it has or leaves containers running.
pub(crate) async fn run(node: Arc<Node>, ending: Ending) {
    let stop = &ending.stop;
    let mut backoff = node.world.backoff(FIRST_REDIAL, LONGEST_REDIAL);
    let mut refused = node.world.backoff(REFUSED_REDIAL, REFUSED_REDIAL * 2);
    let mut second = node.world.backoff(FIRST_SECOND_REDIAL, REFUSED_REDIAL * 2);
    let mut said = None;
    loop {
        let Some(opened) = stop.run_until_cancelled(open(&node, &ending)).await else { return };
        let ended = match opened {
            Ok(opened) => {
                backoff.reset();
                second.reset();
                said = None;
                active(&node, opened, &ending).await
            }
            Err(reason) => reason,
        };
        // First, or what is another worker's could be stopped meanwhile.
        if let (EndReason::SecondWorker(_), Some(agent)) = (&ended, node.agent()) {
            agent.has_rival();
        }
        node.set_disconnected(&ended.to_string());
        let delay = match &ended {
            EndReason::Stopped => return,
            EndReason::Refused(_) | EndReason::Address(_) | EndReason::Join(_) => {
                tracing::error!(reason = %ended, "this worker can't join");
                refused.next_delay()
            }
            EndReason::SecondWorker(_) => {
                tracing::error!(reason = %ended, "this worker can't join");
                second.next_delay()
            }
            EndReason::Disconnected { retry_after, .. } => {
                tracing::info!(reason = %ended, "session ended");
                *retry_after + backoff.next_delay()
            }
            EndReason::Overloaded { retry_after, .. } => {
                tracing::warn!(reason = %ended, "no session with the manager");
                (*retry_after).min(LONGEST_ASKED) + backoff.next_delay()
            }
            _ => {
                // The same reason over and over is said once.
                if said.as_ref() == Some(&ended.to_string()) {
                    tracing::debug!(reason = %ended, "still no session with the manager");
                } else {
                    tracing::warn!(reason = %ended, "no session with the manager");
                }
                backoff.next_delay()
            }
        };
        if stop.run_until_cancelled(tokio::time::sleep(delay)).await.is_none() {
            return;
        }
        said = Some(ended.to_string());
    }
}

/// Dials and registers. A worker that was restarted does not know how often the one before it registered: the manager refuses
/// the number that it begins with and tells from which to go on.
async fn open(node: &Node, ending: &Ending) -> Result<Opened, EndReason> {
    if let Some(agent) = node.agent() {
        agent.find_lost().await?;
    }
    let health = runtime_health(node).await?;
    let manager = client::endpoint(&node.config.manager)?;
    let channel = node.world.dialer.connect(&manager).await.map_err(|error| EndReason::Connect(causes(&error)))?;
    let client = WorkerSessionServiceClient::new(channel).max_decoding_message_size(MAX_MESSAGE_BYTES);
    match register(node, ending, &manager, client.clone(), health.clone()).await {
        Err(EndReason::Overtaken { last }) => {
            node.count_registrations_from(last);
            register(node, ending, &manager, client, health).await
        }
        answered => answered,
    }
}

async fn register(
    node: &Node,
    ending: &Ending,
    manager: &Endpoint,
    mut client: WorkerSessionServiceClient<Channel>,
    mut health: watch::Receiver<Option<RuntimeHealth>>,
) -> Result<Opened, EndReason> {
    let (requests, stream) = mpsc::channel(REQUEST_QUEUE);
    let registered_at = node.world.clock.uptime();
    let told = health.borrow_and_update().clone().unwrap_or_default();
    let register = Request::Register(node.registration(&told, ending.drains.is_cancelled()));
    requests.send(v1::SessionRequest { message: Some(register) }).await.map_err(|_| EndReason::Stuck)?;
    let welcomed = async {
        let mut responses =
            client.session(ReceiverStream::new(stream)).await.map_err(|status| refusal(&status))?.into_inner();
        let first = responses.message().await.map_err(|status| refusal(&status))?.ok_or(EndReason::Closed)?;
        Ok::<_, EndReason>((responses, first))
    };
    let answer = tokio::time::timeout(WELCOME_TIME, welcomed).await.map_err(|_| EndReason::NoWelcome)?;
    let (responses, first) = answer?;
    let welcome = match first.message {
        Some(Response::Welcome(welcome)) => {
            let mut violations = Violations::new();
            welcome_from_proto(welcome, "welcome", &mut violations)
                .ok_or_else(|| EndReason::Unreadable(violations.to_string()))?
        }
        Some(Response::Disconnect(disconnect)) => return Err(active::disconnected(disconnect)),
        _ => return Err(EndReason::Unreadable("its first message is no welcome".to_owned())),
    };
    Ok(Opened { manager: manager.clone(), requests, responses, welcome, registered_at, health })
}

/// What this worker can run now, as it was told last. Who was in its cluster before may have attempts there: it is back at once,
/// and tells of its runtimes when they have answered. A newcomer waits for what it has to offer.
async fn runtime_health(node: &Node) -> Result<watch::Receiver<Option<RuntimeHealth>>, EndReason> {
    let mut health = node.health();
    if node.agent().is_some() {
        // That the wait was too long is no news.
        let _ = tokio::time::timeout(FIRST_HEALTH_TIME, health.wait_for(Option::is_some)).await;
        return Ok(health);
    }
    let known = health.wait_for(Option::is_some).await.map_err(|_| EndReason::Stopped)?.clone().unwrap_or_default();
    if node.config.require_runtimes
        && let Some((kind, problem)) = known.problems.into_iter().next()
    {
        return Err(EndReason::RuntimeMissing { kind, problem });
    }
    Ok(health)
}

async fn active(node: &Arc<Node>, opened: Opened, ending: &Ending) -> EndReason {
    let membership = Membership { cluster: opened.welcome.cluster.clone(), cluster_id: opened.welcome.cluster_id };
    let agent = match node.join(&membership).await {
        Ok(agent) => agent,
        Err(error) => return error.into(),
    };
    tracing::info!(
        cluster = opened.welcome.cluster, session_id = %opened.welcome.session_id,
        "session with the manager is open"
    );
    metrics::counter!("davit_worker_sessions_total", "node" => node.config.name.clone()).increment(1);
    Active::new(Arc::clone(node), agent, opened).await.run(ending).await
}

fn refusal(status: &Status) -> EndReason {
    if let Some(info) = status.get_details_error_info()
        && info.reason == REGISTRATION_OVERTAKEN
        && let Some(last) = info.metadata.get(LAST_REGISTRATION_NUMBER).and_then(|last| last.parse().ok())
    {
        return EndReason::Overtaken { last };
    }
    if status.get_details_error_info().is_some_and(|info| info.reason == SECOND_WORKER) {
        return EndReason::SecondWorker(status.message().to_owned());
    }
    let retry_after = status.get_details_retry_info().and_then(|retry| retry.retry_delay);
    match status.code() {
        Code::ResourceExhausted | Code::Unavailable if retry_after.is_some() => {
            EndReason::Overloaded { problem: status.message().to_owned(), retry_after: retry_after.unwrap_or_default() }
        }
        Code::AlreadyExists | Code::InvalidArgument | Code::PermissionDenied | Code::Unauthenticated => {
            EndReason::Refused(status.message().to_owned())
        }
        code => EndReason::Broken(format!("{code:?}: {}", status.message())),
    }
}

/// The error and what lies beneath: transport errors say little by themselves.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        text.push_str(": ");
        text.push_str(&source.to_string());
        next = source.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use davit_svc_kit::backoff::Backoff;
    use davit_svc_kit::grpc::{ApiError, ErrorKind};

    use super::*;

    #[test]
    fn a_manager_that_has_too_much_to_do_is_given_the_time_that_it_asks_for() {
        let refused = |kind, after| {
            let error = ApiError { retry_after: after, ..ApiError::new(kind, "OVERLOADED", "it is behind") };
            refusal(&error.into())
        };
        let second = Duration::from_secs(1);
        for kind in [ErrorKind::ResourceExhausted, ErrorKind::Unavailable] {
            let EndReason::Overloaded { retry_after, .. } = refused(kind, Some(second)) else { panic!("{kind:?}") };
            assert_eq!(retry_after, second);
            assert!(matches!(refused(kind, None), EndReason::Broken(_)));
        }
    }

    #[test]
    fn a_manager_that_is_back_is_found_before_the_node_counts_as_down() {
        let mut backoff = Backoff::new(FIRST_REDIAL, LONGEST_REDIAL);
        let longest = (0..100).map(|_| backoff.next_delay()).max().unwrap();
        assert!(longest < Duration::from_secs(2), "{longest:?}");
    }
}
