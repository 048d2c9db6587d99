//! A scheduler of any mood, reached without a network, so that it works with paused time.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use davit_proto::v1;
use davit_proto::v1::place_request::Message;
use davit_proto::v1::scheduler_service_server::{SchedulerService, SchedulerServiceServer};
use davit_svc_kit::grpc::{ApiError, ErrorKind};
use davit_svc_kit::net::{BoxedStream, Dial};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;
use tonic::transport::Uri;
use tonic::{Status, Streaming};

use super::stand_in::{self, Answers, StandIn};

/// How a scheduler treats whoever asks it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::placer) enum Mood {
    /// It has too many streams, and says when to come back.
    Busy(Duration),
    /// It never answers to the opening of a stream.
    Deaf,
    /// It opens streams, and takes no message.
    Silent,
    /// It breaks every stream at the first batch.
    Broken,
    /// It finds no room for anything, for this reason.
    Full(&'static str),
    /// It places all that it is asked for on the first node.
    Places,
}

/// A scheduler of a mood, and what was wanted of it. Clones are the same one.
#[derive(Debug, Clone)]
pub(in crate::placer) struct MoodyScheduler {
    mood: watch::Sender<Mood>,
    opened: Arc<Mutex<Vec<Instant>>>,
    batches: Arc<Mutex<Vec<Instant>>>,
}

impl MoodyScheduler {
    pub(in crate::placer) fn new(mood: Mood) -> Self {
        Self { mood: watch::Sender::new(mood), opened: Arc::default(), batches: Arc::default() }
    }

    pub(in crate::placer) fn service(&self) -> SchedulerServiceServer<impl SchedulerService> {
        stand_in::service(self.clone())
    }

    pub(super) fn set_mood(&self, mood: Mood) {
        self.mood.send_replace(mood);
    }

    /// When streams were asked for.
    pub(super) fn opened(&self) -> Vec<Instant> {
        self.opened.lock().clone()
    }

    /// When batches came that it answered.
    pub(super) fn batches(&self) -> Vec<Instant> {
        self.batches.lock().clone()
    }
}

#[tonic::async_trait]
impl Dial for MoodyScheduler {
    async fn dial(&self, _: &Uri) -> io::Result<BoxedStream> {
        let (near, far) = tokio::io::duplex(1 << 20);
        let server = tonic::transport::Server::builder().add_service(self.service());
        tokio::spawn(server.serve_with_incoming(tokio_stream::once(Ok::<_, io::Error>(far))));
        Ok(Box::new(near))
    }
}

#[tonic::async_trait]
impl StandIn for MoodyScheduler {
    async fn open(&self) -> Result<(), Status> {
        self.opened.lock().push(Instant::now());
        let mood = *self.mood.borrow();
        match mood {
            Mood::Busy(retry_after) => {
                let busy = ApiError::new(ErrorKind::ResourceExhausted, "TOO_MANY_STREAMS", "64 streams are open");
                Err(busy.with_retry_after(retry_after).into())
            }
            Mood::Deaf => std::future::pending().await,
            Mood::Silent | Mood::Broken | Mood::Full(_) | Mood::Places => Ok(()),
        }
    }

    async fn answer(self, mut asked: Streaming<v1::PlaceRequest>, answers: &Answers) -> Result<(), Status> {
        if *self.mood.borrow() == Mood::Silent {
            answers.closed().await;
            return Ok(());
        }
        let mut first_node = String::new();
        while let Some(request) = asked.message().await? {
            let batch = match request.message {
                Some(Message::Snapshot(snapshot)) => {
                    first_node = snapshot.nodes.into_iter().next().map(|node| node.node_id).unwrap_or_default();
                    continue;
                }
                Some(Message::Batch(batch)) => batch,
                Some(Message::Delta(_)) | None => continue,
            };
            let mood = *self.mood.borrow();
            if mood == Mood::Broken {
                return Err(Status::internal("it broke"));
            }
            self.batches.lock().push(Instant::now());
            let place = |group: v1::PlacementGroup| {
                let all = v1::PlacementRun { node_id: first_node.clone(), count: group.count };
                let placed = v1::GroupPlacement { group_id: group.group_id, ..Default::default() };
                match mood {
                    Mood::Full(reason) => {
                        v1::GroupPlacement { unplaced_count: group.count, unplaced_reason: reason.to_owned(), ..placed }
                    }
                    _ => v1::GroupPlacement { runs: vec![all], ..placed },
                }
            };
            let placements = batch.groups.into_iter().map(place).collect();
            let answer = v1::PlaceResponse { batch_id: batch.batch_id, placements };
            answers.send(Ok(answer)).await.map_err(|_| Status::cancelled("nobody waits for the answer"))?;
        }
        Ok(())
    }

    async fn algorithms(&self) -> Result<v1::ListAlgorithmsResponse, Status> {
        let algorithms = vec![v1::Algorithm { name: "spread".to_owned(), ..Default::default() }];
        Ok(v1::ListAlgorithmsResponse { algorithms })
    }
}
