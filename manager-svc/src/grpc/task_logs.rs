//! A task's output, from the worker that has it to one reader. The worker is asked to bring it, and only while someone reads.

use std::collections::VecDeque;
use std::time::Duration;

use davit_core::id::{Attempt, AttemptKey};
use davit_core::task::{AttemptStatus, Task};
use davit_core::validate::Violations;
use davit_proto::{convert, v1};
use davit_svc_kit::grpc::{ApiError, ErrorKind};
use davit_svc_kit::shutdown::Shutdown;
use futures::{Stream, stream};
use tonic::Status;

use super::Api;
use super::errors::{RETRY_AFTER, no_task, stopping};
use crate::dispatch::LogOrder;
use crate::logs::Reading;

/// How long a worker has to begin.
const FIRST_MESSAGE: Duration = Duration::from_secs(10);
const BROKE_OFF: &str = "the worker went before it had brought all of the output";

/// One reader's way through a task's output.
pub(super) struct TaskLogs {
    reading: Reading,
    shutdown: Shutdown,
    begun: bool,
    /// The worker will say when it has sent everything, and did not yet.
    to_be_ended: bool,
    pieces: VecDeque<v1::LogPiece>,
    /// What the worker said went wrong; told after the pieces.
    problem: Option<ApiError>,
    /// The attempt had ended when the reading began. Before, a worker may just not have heard of it yet.
    ended: bool,
}

impl TaskLogs {
    /// Asks the worker that has the attempt to bring its output.
    ///
    /// # Errors
    /// When there is no such attempt, it never reached a node, or its node can't be reached.
    pub(super) fn begin(api: &Api, request: &v1::StreamTaskLogsRequest) -> Result<Self, ApiError> {
        let mut violations = Violations::new();
        let task_id = convert::parse_task_id(&request.task_id, "task_id", &mut violations);
        let since = request.since.and_then(|since| convert::timestamp_from_proto(since, "since", &mut violations));
        let task_id = violations.finish(task_id)?;
        let state = api.writer.state();
        let task = state.task(task_id).ok_or_else(|| no_task(task_id))?;
        let status = find_attempt(task, request.attempt)?;
        let key = AttemptKey { task_id, attempt: status.attempt };
        let Some(node_id) = status.node_id else {
            let (reason, problem) = if status.state.is_terminal() {
                ("ATTEMPT_NOT_ON_NODE", "never reached a node: it wrote nothing")
            } else {
                ("ATTEMPT_NOT_ON_NODE_YET", "is not on a node yet: it has written nothing")
            };
            let message = format!("attempt {} of task {task_id} {problem}", key.attempt);
            return Err(ApiError::new(ErrorKind::FailedPrecondition, reason, message.clone()).with_precondition(
                "ATTEMPT_ON_NODE",
                format!("task/{task_id}"),
                message,
            ));
        };
        let node = state.node(node_id).map_or_else(|| node_id.to_string(), |node| node.description.name.clone());
        let Some(session) = api.contacts.session(node_id) else {
            let message = format!("node {node}, which has the output, can't be reached now");
            return Err(ApiError::new(ErrorKind::Unavailable, "NODE_UNREACHABLE", message)
                .with_resource("node", node)
                .with_retry_after(RETRY_AFTER));
        };
        let log_id = api.world.ids.next_uuid();
        let Some(reading) = api.logs.begin(log_id) else {
            return Err(too_many_readers("too many outputs are read at once".to_owned()).with_resource("node", node));
        };
        let order = LogOrder { log_id, key, tail_lines: request.tail_lines, follow: request.follow, since };
        if !session.order_logs(order) {
            let message = format!("too many readers wait for output of node {node}");
            return Err(too_many_readers(message).with_resource("node", node));
        }
        Ok(Self {
            reading,
            shutdown: api.shutdown.clone(),
            begun: false,
            to_be_ended: false,
            pieces: VecDeque::new(),
            problem: None,
            ended: status.state.is_terminal(),
        })
    }

    /// The pieces, as the reader asks for them. Ends when the worker's call ends, or after an error.
    pub(super) fn into_stream(self) -> impl Stream<Item = Result<v1::StreamTaskLogsResponse, Status>> + Send {
        stream::unfold(Some(self), async |logs| {
            let mut logs = logs?;
            match logs.next().await {
                Ok(piece) => piece.map(|piece| (Ok(piece), Some(logs))),
                Err(error) => Some((Err(error.into()), None)),
            }
        })
    }

    async fn next(&mut self) -> Result<Option<v1::StreamTaskLogsResponse>, ApiError> {
        loop {
            if let Some(v1::LogPiece { time, stream, data }) = self.pieces.pop_front() {
                return Ok(Some(v1::StreamTaskLogsResponse { time, stream, data }));
            }
            if let Some(problem) = self.problem.take() {
                return Err(problem);
            }
            let message = tokio::select! {
                biased;
                () = self.shutdown.triggered() => return Err(stopping()),
                message = self.reading.messages.recv() => message,
                () = tokio::time::sleep(FIRST_MESSAGE), if !self.begun => {
                    return Err(unavailable("the worker did not begin to bring the output within 10 s".to_owned()));
                }
            };
            let Some(message) = message else {
                // As when the worker is stopped. Said once: after an error nothing is asked for any more.
                return if self.to_be_ended { Err(unavailable(BROKE_OFF.to_owned())) } else { Ok(None) };
            };
            self.begun = true;
            self.to_be_ended = (self.to_be_ended || message.says_ended) && !message.ended;
            self.pieces.extend(message.pieces);
            if !message.error.is_empty() {
                let gone = message.gone && self.ended;
                self.problem = Some(if gone { logs_gone(message.error) } else { unavailable(message.error) });
            }
        }
    }
}

fn find_attempt(task: &Task, number: u32) -> Result<&AttemptStatus, ApiError> {
    if number == 0 {
        return Ok(&task.status);
    }
    let mut known = task.past_attempts.iter().chain([&task.status]);
    known.find(|status| status.attempt == Attempt(number)).ok_or_else(|| {
        let oldest = task.past_attempts.first().unwrap_or(&task.status).attempt;
        let newest = task.status.attempt;
        ApiError::invalid_field("attempt", format!("attempts {oldest} to {newest} are known, not {number}"))
    })
}

fn unavailable(problem: String) -> ApiError {
    ApiError::new(ErrorKind::Unavailable, "LOGS_UNAVAILABLE", problem).with_retry_after(RETRY_AFTER)
}

fn too_many_readers(problem: String) -> ApiError {
    ApiError::new(ErrorKind::ResourceExhausted, "TOO_MANY_READERS", problem).with_retry_after(RETRY_AFTER)
}

fn logs_gone(problem: String) -> ApiError {
    ApiError::new(ErrorKind::NotFound, "LOGS_GONE", problem)
}
