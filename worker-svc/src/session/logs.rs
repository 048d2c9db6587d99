//! Brings the output of one attempt to the manager, as long as someone reads it.

use std::sync::Arc;

use davit_core::id::AttemptKey;
use davit_core::validate::Violations;
use davit_proto::convert::{attempt_ref_from_proto, timestamp_from_proto, timestamp_to_proto};
use davit_proto::v1;
use davit_proto::v1::worker_session_service_client::WorkerSessionServiceClient;
use futures::StreamExt;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;

use crate::agent::{Agent, Output};
use crate::runtime::{Error, LogLine, LogOptions, LogSource};

/// Messages that wait for the manager; a slow reader slows down the reading.
const QUEUE: usize = 2;
/// Lines that are there already go into one message, up to so many and so many bytes.
const MAX_LINES: usize = 256;
const MAX_BYTES: usize = 256 << 10;

/// The manager ended the call: nobody reads any more.
struct NobodyReads;

/// Why output can't be read.
struct Problem {
    error: String,
    /// There is none here, and trying again does not help.
    gone: bool,
}

impl Problem {
    fn passing(error: String) -> Self {
        Self { error, gone: false }
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        Self { gone: matches!(error, Error::NotFound { .. }), error: error.to_string() }
    }
}

/// Reads and sends until the output ends, or the manager ends the call.
pub(super) async fn publish(
    mut client: WorkerSessionServiceClient<Channel>,
    agent: Arc<Agent>,
    order: v1::StartLogs,
    refused: bool,
) {
    let log_id = order.log_id.clone();
    let (pieces, stream) = mpsc::channel(QUEUE);
    let feed = async move {
        let first = v1::PublishLogsRequest { log_id: order.log_id.clone(), says_ended: true, ..Default::default() };
        if pieces.send(first).await.is_err() {
            return;
        }
        let result = if refused {
            Ok(Err(Problem::passing("too many outputs of this node are read at once; try again later".to_owned())))
        } else {
            read(&agent, &order, &pieces).await
        };
        let last = match result {
            Ok(Ok(())) => v1::PublishLogsRequest { ended: true, ..Default::default() },
            Ok(Err(Problem { error, gone })) => v1::PublishLogsRequest { error, gone, ..Default::default() },
            Err(NobodyReads) => return,
        };
        // Nobody to tell is no problem.
        let _ = pieces.send(last).await;
    };
    let call = client.publish_logs(ReceiverStream::new(stream));
    tokio::pin!(call);
    // The call's end drops the reading, also while it waits for a line.
    let ended = tokio::select! {
        ended = &mut call => ended,
        () = feed => call.await,
    };
    if let Err(status) = ended {
        tracing::debug!(log_id, %status, "the manager ended a reading of output");
    }
}

/// `Ok(Err(_))`: the output can't be read, for this reason.
async fn read(
    agent: &Agent,
    order: &v1::StartLogs,
    pieces: &mpsc::Sender<v1::PublishLogsRequest>,
) -> Result<Result<(), Problem>, NobodyReads> {
    let (key, options) = match understood(order) {
        Ok(understood) => understood,
        Err(problem) => return Ok(Err(Problem::passing(problem))),
    };
    let runtime = match agent.output_of(key, order.follow).await {
        Output::From(runtime) => runtime,
        Output::NoneYet => return Ok(Ok(())),
        Output::NotHeld => {
            return Ok(Err(Problem { error: format!("attempt {key} is not on this node any more"), gone: true }));
        }
    };
    let lines = match runtime.logs(key, options).await {
        Ok(lines) => lines,
        Err(error) => return Ok(Err(error.into())),
    };
    let mut chunks = lines.ready_chunks(MAX_LINES);
    while let Some(chunk) = chunks.next().await {
        let mut message = Message::default();
        for line in chunk {
            match line {
                Ok(line) => message.add(line, pieces).await?,
                Err(error) => {
                    message.send(pieces).await?;
                    return Ok(Err(error.into()));
                }
            }
        }
        message.send(pieces).await?;
    }
    Ok(Ok(()))
}

/// Which attempt's output is wanted, and which part of it.
pub(super) fn understood(order: &v1::StartLogs) -> Result<(AttemptKey, LogOptions), String> {
    let mut violations = Violations::new();
    let name = v1::AttemptRef { task_id: order.task_id.clone(), attempt: order.attempt };
    let key = attempt_ref_from_proto(&name, "", &mut violations);
    let since = order.since.and_then(|since| timestamp_from_proto(since, "since", &mut violations));
    let key = violations.finish(key).map_err(|violations| violations.to_string())?;
    Ok((key, LogOptions { tail: order.tail_lines.map(u64::from), follow: order.follow, since }))
}

/// A message that is being filled.
#[derive(Default)]
struct Message {
    pieces: Vec<v1::LogPiece>,
    bytes: usize,
}

impl Message {
    async fn add(&mut self, line: LogLine, to: &mpsc::Sender<v1::PublishLogsRequest>) -> Result<(), NobodyReads> {
        let stream = match line.source {
            LogSource::Stdout => v1::LogStream::Stdout,
            LogSource::Stderr => v1::LogStream::Stderr,
        };
        for part in line.bytes.chunks(MAX_BYTES) {
            if self.bytes + part.len() > MAX_BYTES {
                self.send(to).await?;
            }
            self.bytes += part.len();
            let time = line.timestamp.map(timestamp_to_proto);
            self.pieces.push(v1::LogPiece { time, stream: stream.into(), data: part.to_vec() });
        }
        Ok(())
    }

    async fn send(&mut self, to: &mpsc::Sender<v1::PublishLogsRequest>) -> Result<(), NobodyReads> {
        self.bytes = 0;
        let pieces = std::mem::take(&mut self.pieces);
        if pieces.is_empty() {
            return Ok(());
        }
        let message = v1::PublishLogsRequest { pieces, ..Default::default() };
        to.send(message).await.map_err(|_| NobodyReads)
    }
}
