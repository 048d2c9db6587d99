//! The engine through one `Place` stream of a process of its own, over loopback: as a manager reaches it.

use std::collections::VecDeque;
use std::path::Path;
use std::time::Duration;

use davit_core::id::NodeId;
use davit_proto::v1::place_request::Message;
use davit_proto::v1::scheduler_service_client::SchedulerServiceClient;
use davit_proto::{MAX_SCHEDULER_MESSAGE_BYTES, convert, v1};
use davit_svc_kit::client;
use scheduler_svc::placement::Group;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use super::scheduler::Scheduler;
use super::{Answer, Measured};
use crate::error::Error;
use crate::workload::Workload;

/// How many batches are on their way at once: while one is placed, the next is being sent.
const PIPELINED: usize = 2;
/// An answer that takes longer is none.
const HANG: Duration = Duration::from_secs(600);

pub(super) async fn run(workload: &Workload, program: &Path, cap: Duration, seed: u64) -> Result<Measured, Error> {
    // Made before the clock runs: how fast messages are written down is the manager's affair.
    let nodes = workload.nodes.iter().map(convert::node_view_to_proto).collect();
    let batches = workload.batches.iter().zip(1..).zip(seed..);
    let mut batches: VecDeque<_> = batches.map(|((groups, batch_id), seed)| batch(batch_id, groups, seed)).collect();

    let scheduler = Scheduler::start(program).await?;
    let mut stream = Stream::open(&scheduler.address).await?;
    let started = Instant::now();
    stream.send(Message::Snapshot(v1::PlaceSnapshot { nodes })).await?;
    // The answer to an empty batch says that the snapshot has been read.
    stream.send(Message::Batch(v1::PlaceBatch::default())).await?;
    stream.answer().await?;
    let snapshot = started.elapsed();

    let mut latencies = Vec::with_capacity(batches.len());
    let mut responses = Vec::with_capacity(batches.len());
    let mut capped = false;
    let mut waiting = VecDeque::with_capacity(PIPELINED);
    let started = Instant::now();
    loop {
        capped = capped || (started.elapsed() > cap && !batches.is_empty());
        while waiting.len() < PIPELINED && !capped {
            let Some(batch) = batches.pop_front() else { break };
            waiting.push_back(Instant::now());
            stream.send(Message::Batch(batch)).await?;
        }
        let Some(sent) = waiting.pop_front() else { break };
        responses.push(stream.answer().await?);
        latencies.push(sent.elapsed());
    }
    let elapsed = started.elapsed();
    let rss_bytes = scheduler.memory()?.map_or(0, |memory| memory.peak_since_start_bytes);
    let answers = responses.into_iter().zip(1..).map(|(response, batch_id)| read(response, batch_id));
    let answers = answers.collect::<Result<_, _>>()?;
    Ok(Measured { snapshot, elapsed, latencies, answers, rss_bytes, capped })
}

fn batch(batch_id: u64, groups: &[Group], seed: u64) -> v1::PlaceBatch {
    let group = |group: &Group| {
        convert::placement_group_to_proto(&convert::PlacementGroup {
            group_id: group.group_id.clone(),
            request: group.request.clone(),
            count: group.count,
            all_or_nothing: group.all_or_nothing,
        })
    };
    v1::PlaceBatch { batch_id, groups: groups.iter().map(group).collect(), seed }
}

fn read(response: v1::PlaceResponse, batch_id: u64) -> Result<Vec<Answer>, Error> {
    if response.batch_id != batch_id {
        return Err(Error::WrongAnswer(format!("batch {} instead of {batch_id}", response.batch_id)));
    }
    let run = |run: v1::PlacementRun| {
        let node_id: NodeId = run.node_id.parse().map_err(|error| Error::WrongAnswer(format!("{error}")))?;
        Ok((node_id, run.count))
    };
    let answer = |placement: v1::GroupPlacement| {
        let runs = placement.runs.into_iter().map(run).collect::<Result<_, Error>>()?;
        Ok(Answer { group_id: placement.group_id, runs, unplaced: placement.unplaced_count })
    };
    response.placements.into_iter().map(answer).collect()
}

/// An open placement stream.
struct Stream {
    requests: mpsc::Sender<v1::PlaceRequest>,
    answers: Streaming<v1::PlaceResponse>,
}

impl Stream {
    async fn open(address: &str) -> Result<Self, Error> {
        let endpoint = client::endpoint(address).map_err(|error| Error::Unreachable(error.to_string()))?;
        let channel = endpoint.connect().await.map_err(|error| Error::Unreachable(error.to_string()))?;
        let mut client = SchedulerServiceClient::new(channel).max_decoding_message_size(MAX_SCHEDULER_MESSAGE_BYTES);
        let (requests, outgoing) = mpsc::channel(PIPELINED);
        let answers = client.place(ReceiverStream::new(outgoing)).await?.into_inner();
        Ok(Self { requests, answers })
    }

    async fn send(&mut self, message: Message) -> Result<(), Error> {
        let request = v1::PlaceRequest { message: Some(message) };
        match timeout(HANG, self.requests.send(request)).await {
            Ok(Ok(())) => Ok(()),
            // The reason why nobody takes requests any more comes as the last answer.
            Ok(Err(_)) => Err(self.answer().await.err().unwrap_or(Error::StreamEnded)),
            Err(_) => Err(Error::Hangs(HANG)),
        }
    }

    async fn answer(&mut self) -> Result<v1::PlaceResponse, Error> {
        let answer = timeout(HANG, self.answers.message()).await.map_err(|_| Error::Hangs(HANG))?;
        answer?.ok_or(Error::StreamEnded)
    }
}
