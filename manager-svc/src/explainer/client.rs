//! Unary calls to the scheduler that the placement stream is open to, or is being dialled.

use std::sync::Arc;
use std::time::Duration;

use davit_core::validate::Violations;
use davit_proto::v1::scheduler_service_client::SchedulerServiceClient;
use davit_proto::{MAX_SCHEDULER_MESSAGE_BYTES, v1};
use davit_svc_kit::client::AddressError;
use davit_svc_kit::grpc::Deadline;
use davit_svc_kit::net::Dialer;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::Instant;
use tonic::transport::Channel;
use tonic::{Code, Request, Response, Status};
use tonic_types::StatusExt as _;

use crate::placer::{Algorithms, SchedulerStatus};

/// Longest wait for an answer, the wait for one's turn included.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// Questions that are put together or asked at once: each holds a view of every node.
const QUESTIONS_AT_ONCE: usize = 4;
/// Callers that wait for their turn; further ones are told to come back.
const MAX_WAITING: usize = 64;

/// Why a question has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The address is wrong.
    #[error("{0}")]
    Address(#[from] AddressError),
    /// Nobody there, or it is stopping.
    #[error("the scheduler at {address} can't be reached: {problem}")]
    Unreachable {
        /// Where it was dialled.
        address: String,
        /// What happened.
        problem: String,
    },
    /// No answer in time.
    #[error("the scheduler at {address} did not answer within {} s", .timeout.as_secs_f32())]
    Timeout {
        /// Where it was asked.
        address: String,
        /// How long it had.
        timeout: Duration,
    },
    /// Too many questions wait already. This one was not asked.
    #[error("too many questions to the scheduler wait for their turn; this one was not asked")]
    Busy,
    /// It has no algorithm of the name.
    #[error("{problem}")]
    UnknownAlgorithm {
        /// What it said.
        problem: String,
    },
    /// It is of a version that can't answer this.
    #[error("the scheduler at {address} is too old to answer this")]
    Unsupported {
        /// Where it was asked.
        address: String,
    },
    /// Question or answer are too large.
    #[error("the cluster is too large for one question to the scheduler: {problem}")]
    TooLarge {
        /// By how much.
        problem: String,
    },
    /// It failed, or did not understand the question.
    #[error("the scheduler answered {code:?}: {problem}")]
    Failed {
        /// Its code.
        code: Code,
        /// What it said.
        problem: String,
    },
    /// An answer that makes no sense.
    #[error("the scheduler's answer makes no sense: {problem}")]
    Nonsense {
        /// What is wrong with it.
        problem: String,
    },
}

impl From<Violations> for Error {
    fn from(violations: Violations) -> Self {
        Self::Nonsense { problem: violations.to_string() }
    }
}

/// Asks the scheduler. Clones share one connection, which is dialled when it is first needed, and again after it broke or
/// when the placer turned to a scheduler elsewhere.
#[derive(Debug, Clone)]
pub struct SchedulerClient {
    status: watch::Receiver<SchedulerStatus>,
    dialer: Dialer,
    dialled: Arc<Mutex<Option<(String, Channel)>>>,
    turns: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
    timeout: Duration,
}

/// A caller's turn to put a question together and ask it.
#[derive(Debug)]
pub struct Turn {
    client: SchedulerClient,
    /// When the answer has to be there.
    until: Instant,
    /// How long there was from the beginning.
    timeout: Duration,
    _place: OwnedSemaphorePermit,
}

impl SchedulerClient {
    /// Follows the placer from scheduler to scheduler.
    #[must_use]
    pub fn new(status: watch::Receiver<SchedulerStatus>, dialer: Dialer) -> Self {
        Self {
            status,
            dialer,
            dialled: Arc::default(),
            turns: Arc::new(Semaphore::new(QUESTIONS_AT_ONCE)),
            waiting: Arc::new(Semaphore::new(MAX_WAITING)),
            timeout: ANSWER_TIMEOUT,
        }
    }

    /// With another bound on the time for an answer.
    #[must_use]
    pub fn with_timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// The algorithms that it had when it was last dialled.
    #[must_use]
    pub fn algorithms(&self) -> Algorithms {
        self.status.borrow().algorithms.clone()
    }

    /// Waits for a turn to ask. The answer has to be there by the deadline of whoever wants to know, if it has one.
    ///
    /// # Errors
    /// When too many wait, or the time is up.
    pub async fn turn(&self, deadline: Option<Deadline>) -> Result<Turn, Error> {
        let timeout = deadline.map_or(self.timeout, |deadline| deadline.left().min(self.timeout));
        let until = Instant::now() + timeout;
        let _waits = Arc::clone(&self.waiting).try_acquire_owned().map_err(|_| Error::Busy)?;
        let place = tokio::time::timeout_at(until, Arc::clone(&self.turns).acquire_owned()).await;
        // The semaphore is never closed.
        let Ok(Ok(place)) = place else { return Err(Error::Busy) };
        Ok(Turn { client: self.clone(), until, timeout, _place: place })
    }

    fn channel(&self) -> Result<(String, Channel), Error> {
        let address = self.status.borrow().address.clone();
        let mut dialled = self.dialled.lock();
        if let Some((known, channel)) = &*dialled
            && *known == address
        {
            return Ok((address, channel.clone()));
        }
        let channel = self.dialer.connect_lazy(&davit_svc_kit::client::endpoint(&address)?);
        *dialled = Some((address.clone(), channel.clone()));
        Ok((address, channel))
    }
}

impl Turn {
    /// All that speaks for and against each node.
    ///
    /// # Errors
    /// When there is no answer. [`Error::UnknownAlgorithm`] if the question names one that the scheduler does not have.
    pub async fn explain(self, question: v1::ExplainRequest) -> Result<v1::ExplainResponse, Error> {
        self.ask(question, async |client, request| client.explain(request).await).await
    }

    /// Moves of placed tasks that even the nodes out.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn plan_moves(self, question: v1::PlanMovesRequest) -> Result<v1::PlanMovesResponse, Error> {
        self.ask(question, async |client, request| client.plan_moves(request).await).await
    }

    async fn ask<Q, A>(
        self,
        question: Q,
        call: impl AsyncFnOnce(&mut SchedulerServiceClient<Channel>, Request<Q>) -> Result<Response<A>, Status>,
    ) -> Result<A, Error> {
        let (address, channel) = self.client.channel()?;
        let left = self.until.saturating_duration_since(Instant::now());
        let mut client = SchedulerServiceClient::new(channel)
            .max_decoding_message_size(MAX_SCHEDULER_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_SCHEDULER_MESSAGE_BYTES);
        let mut request = Request::new(question);
        // So that the scheduler too knows when to give up: what it has not begun by then it never begins.
        request.set_timeout(left);
        match tokio::time::timeout(left, call(&mut client, request)).await {
            Ok(Ok(response)) => Ok(response.into_inner()),
            Ok(Err(status)) => Err(read_status(&status, address, self.timeout)),
            Err(_) => Err(Error::Timeout { address, timeout: self.timeout }),
        }
    }
}

fn read_status(status: &Status, address: String, timeout: Duration) -> Error {
    let problem = status.message().to_owned();
    let source = std::error::Error::source(status);
    if let Some(broken) = source.filter(|source| source.is::<tonic::transport::Error>()) {
        // The channel bounds calls by the request's time too, and is often the first to notice.
        return if status.code() == Code::Cancelled {
            Error::Timeout { address, timeout }
        } else {
            Error::Unreachable { address, problem: root_cause(broken) }
        };
    }
    match status.code() {
        Code::Unavailable => Error::Unreachable { address, problem },
        Code::DeadlineExceeded => Error::Timeout { address, timeout },
        Code::Cancelled if problem.contains("Timeout expired") => Error::Timeout { address, timeout },
        Code::Unimplemented => Error::Unsupported { address },
        // What passes by itself says when; a question that is too large does not.
        Code::ResourceExhausted if status.get_details_retry_info().is_some() => Error::Busy,
        Code::ResourceExhausted | Code::OutOfRange => Error::TooLarge { problem },
        Code::InvalidArgument => {
            let violations = status.get_details_bad_request().map(|bad| bad.field_violations).unwrap_or_default();
            let of_algorithm = |field: &str| field == "algorithm" || field.ends_with(".algorithm");
            match violations.into_iter().find(|violation| of_algorithm(&violation.field)) {
                Some(violation) => Error::UnknownAlgorithm { problem: violation.description },
                None => Error::Failed { code: Code::InvalidArgument, problem },
            }
        }
        code => Error::Failed { code, problem },
    }
}

fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}
