//! The life of one placement stream: reads a message, has it done, sends the answer, until one of the two is gone.

use davit_proto::v1;
use davit_svc_kit::grpc::{ApiError, ErrorKind};
use davit_svc_kit::shutdown::Shutdown;
use tokio::sync::mpsc;
use tokio::time::{Duration, Instant};
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};
use tracing::Instrument;

use super::compute;
use super::place_session::{Outcome, PlaceSession};
use crate::metrics;
use crate::record::StreamRecord;

/// Answers that wait for the client to read them; beyond, no further message is read.
const WAITING_ANSWERS: usize = 4;
/// Messages that are read while the one before them is worked on.
const READ_AHEAD: usize = 1;
/// How long a client that does not read is given to take the reason why the stream ends.
const LAST_WORD_TIMEOUT: Duration = Duration::from_secs(1);

type Answers = mpsc::Sender<Result<v1::PlaceResponse, Status>>;

/// Starts a stream; gives its answers.
pub(super) fn start(
    requests: Streaming<v1::PlaceRequest>,
    record: Option<StreamRecord>,
    shutdown: Shutdown,
) -> impl Stream<Item = Result<v1::PlaceResponse, Status>> {
    let (answers, receiver) = mpsc::channel(WAITING_ANSWERS);
    let stream = async move {
        let _open = metrics::OpenStream::count();
        tracing::debug!("placement stream opened");
        match serve(requests, record, &answers, &shutdown).await {
            Ok(()) => tracing::debug!("placement stream closed"),
            Err(status) => {
                tracing::debug!(code = ?status.code(), reason = status.message(), "placement stream ended");
                // When nobody takes it, nobody is left to tell.
                let _ = tokio::time::timeout(LAST_WORD_TIMEOUT, answers.send(Err(status))).await;
            }
        }
    };
    tokio::spawn(stream.in_current_span());
    ReceiverStream::new(receiver)
}

/// Ends with `Ok` when the client is done or gone.
async fn serve(
    requests: Streaming<v1::PlaceRequest>,
    record: Option<StreamRecord>,
    answers: &Answers,
    shutdown: &Shutdown,
) -> Result<(), Status> {
    let mut session = PlaceSession::new(record);
    let mut requests = read_ahead(requests);
    loop {
        let request = tokio::select! {
            biased;
            () = shutdown.triggered() => return Err(stopping()),
            () = answers.closed() => return Ok(()),
            request = requests.recv() => request,
        };
        let Some(request) = request.transpose()? else { return Ok(()) };
        let started = Instant::now();
        let work = session.work(&request);
        let abandoned = {
            let (answers, shutdown) = (answers.clone(), shutdown.clone());
            move || answers.is_closed() || shutdown.is_triggered()
        };
        let handle = move || {
            let outcome = session.handle(request, abandoned);
            (session, outcome)
        };
        let outcome;
        (session, outcome) = compute(work, handle).await?;
        match outcome.map_err(ApiError::invalid)? {
            Outcome::Noted => {}
            Outcome::Abandoned if shutdown.is_triggered() => return Err(stopping()),
            Outcome::Abandoned => return Ok(()),
            Outcome::Answered(answer) => {
                metrics::batch(answer.placed, answer.unplaced, started.elapsed());
                match shutdown.or_stop(answers.send(Ok(answer.response))).await {
                    Some(Ok(())) => {}
                    Some(Err(_)) => return Ok(()),
                    None => return Err(stopping()),
                }
            }
        }
    }
}

/// Decodes messages beside the work on those before them. Ends with the stream, or with whoever reads from it.
fn read_ahead(mut requests: Streaming<v1::PlaceRequest>) -> mpsc::Receiver<Result<v1::PlaceRequest, Status>> {
    let (sender, receiver) = mpsc::channel(READ_AHEAD);
    tokio::spawn(async move {
        loop {
            let message = tokio::select! {
                () = sender.closed() => return,
                message = requests.message() => message,
            };
            let Some(message) = message.transpose() else { return };
            let is_last = message.is_err();
            if sender.send(message).await.is_err() || is_last {
                return;
            }
        }
    });
    receiver
}

fn stopping() -> Status {
    ApiError::new(ErrorKind::Unavailable, "SCHEDULER_STOPPING", "the scheduler is stopping; ask another one").into()
}

#[cfg(test)]
mod tests;
