//! The stream to the scheduler, in domain types.

use std::time::Duration;

use davit_core::placement::NodeView;
use davit_proto::convert;
use davit_proto::v1;
use davit_proto::v1::place_request::Message;
use davit_proto::v1::scheduler_service_client::SchedulerServiceClient;
use davit_svc_kit::net::Dialer;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic_types::StatusExt as _;

use super::answer::Answer;
use super::batch::Group;
use super::known::Delta;

/// Longest wait for the answer to one batch; a scheduler that takes longer is taken for dead.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// Messages on the way to the scheduler.
const BUFFER: usize = 4;
/// The largest answer that is read.
const MAX_ANSWER_BYTES: usize = 64 * 1024 * 1024;

/// Why the stream can't be used any more.
#[derive(Debug, thiserror::Error)]
pub(super) enum StreamError {
    /// The address is wrong.
    #[error("{0}")]
    Address(#[from] davit_svc_kit::client::AddressError),
    /// Nobody there.
    #[error("{address} can't be reached: {}", root_cause(.source))]
    Unreachable { address: String, source: tonic::transport::Error },
    /// The scheduler ended the stream with an error.
    #[error("{} ({:?})", .0.message(), .0.code())]
    Status(Box<tonic::Status>),
    /// The stream ended.
    #[error("the placement stream ended")]
    Closed,
    /// No answer in time.
    #[error("no answer within {} s", ANSWER_TIMEOUT.as_secs())]
    Timeout,
    /// An answer that makes no sense.
    #[error("its answer makes no sense: {problem}")]
    Nonsense { problem: String },
}

impl StreamError {
    /// How long a scheduler that has too much to do asks to be left alone.
    pub(super) fn retry_after(&self) -> Duration {
        let Self::Status(status) = self else { return Duration::ZERO };
        status.get_details_retry_info().and_then(|retry| retry.retry_delay).unwrap_or_default()
    }
}

impl From<tonic::Status> for StreamError {
    fn from(status: tonic::Status) -> Self {
        Self::Status(Box::new(status))
    }
}

fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

pub(super) struct PlaceStream {
    requests: mpsc::Sender<v1::PlaceRequest>,
    answers: Streaming<v1::PlaceResponse>,
    batch_id: u64,
}

impl PlaceStream {
    /// Dials the scheduler, asks which algorithms it has, and sends it all nodes.
    pub(super) async fn open(
        dialer: &Dialer,
        address: &str,
        nodes: Vec<NodeView>,
    ) -> Result<(Self, Vec<String>), StreamError> {
        let endpoint = davit_svc_kit::client::endpoint(address)?;
        let channel = dialer
            .connect(&endpoint)
            .await
            .map_err(|source| StreamError::Unreachable { address: address.to_owned(), source })?;
        let mut client = SchedulerServiceClient::new(channel).max_decoding_message_size(MAX_ANSWER_BYTES);
        let listed = client.list_algorithms(v1::ListAlgorithmsRequest {});
        let listed = tokio::time::timeout(ANSWER_TIMEOUT, listed).await.map_err(|_| StreamError::Timeout)??;
        let names = listed.into_inner().algorithms.into_iter().map(|algorithm| algorithm.name).collect();
        let (requests, outgoing) = mpsc::channel(BUFFER);
        let snapshot = v1::PlaceSnapshot { nodes: nodes.iter().map(convert::node_view_to_proto).collect() };
        send(&requests, Message::Snapshot(snapshot)).await?;
        let opened = tokio::time::timeout(ANSWER_TIMEOUT, client.place(ReceiverStream::new(outgoing))).await;
        let answers = opened.map_err(|_| StreamError::Timeout)??.into_inner();
        Ok((Self { requests, answers, batch_id: 0 }, names))
    }

    /// Tells of nodes that changed.
    pub(super) async fn send_delta(&self, delta: &Delta) -> Result<(), StreamError> {
        let delta = v1::PlaceDelta {
            upserted: delta.upserted.iter().map(convert::node_view_to_proto).collect(),
            removed_node_ids: delta.removed.iter().map(ToString::to_string).collect(),
        };
        send(&self.requests, Message::Delta(delta)).await
    }

    /// Has groups placed; one answer for each, in order.
    pub(super) async fn place(&mut self, groups: &[Group], seed: u64) -> Result<Vec<Answer>, StreamError> {
        self.batch_id += 1;
        let to_proto = |(index, group): (usize, &Group)| {
            convert::placement_group_to_proto(&convert::PlacementGroup {
                group_id: index.to_string(),
                request: group.request.clone(),
                count: u32::try_from(group.count()).unwrap_or(u32::MAX),
                all_or_nothing: group.gang_id.is_some(),
            })
        };
        let groups_to_send = groups.iter().enumerate().map(to_proto).collect();
        let batch = v1::PlaceBatch { batch_id: self.batch_id, groups: groups_to_send, seed };
        send(&self.requests, Message::Batch(batch)).await?;
        let answer = tokio::time::timeout(ANSWER_TIMEOUT, self.answers.message()).await;
        let answer = answer.map_err(|_| StreamError::Timeout)??.ok_or(StreamError::Closed)?;
        if answer.batch_id != self.batch_id || answer.placements.len() != groups.len() {
            let problem = format!(
                "batch {} with {} groups was asked for, batch {} with {} groups came",
                self.batch_id,
                groups.len(),
                answer.batch_id,
                answer.placements.len()
            );
            return Err(StreamError::Nonsense { problem });
        }
        let answers = answer.placements.into_iter().map(Answer::from_proto).collect::<Result<_, _>>();
        answers.map_err(|violations| StreamError::Nonsense { problem: violations.to_string() })
    }

    /// Waits until the stream breaks.
    pub(super) async fn broken(&mut self) -> StreamError {
        match self.answers.message().await {
            Ok(None) => StreamError::Closed,
            Ok(Some(_)) => StreamError::Nonsense { problem: "it answers what was not asked".to_owned() },
            Err(status) => status.into(),
        }
    }
}

async fn send(requests: &mpsc::Sender<v1::PlaceRequest>, message: Message) -> Result<(), StreamError> {
    let request = v1::PlaceRequest { message: Some(message) };
    match tokio::time::timeout(ANSWER_TIMEOUT, requests.send(request)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) => Err(StreamError::Closed),
        Err(_) => Err(StreamError::Timeout),
    }
}

#[cfg(test)]
mod tests;
