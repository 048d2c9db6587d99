//! A real scheduler that hears late of what changes, behind a stand-in that holds back what it is told. How late is measured
//! by the manager's clock, which the test moves.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use davit_proto::v1;
use davit_proto::v1::place_request::Message;
use davit_proto::v1::scheduler_service_client::SchedulerServiceClient;
use davit_svc_kit::clock::{Clock, ManualClock};
use davit_svc_kit::grpc::GrpcServer;
use davit_svc_kit::shutdown::Shutdown;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Response, Status, Streaming};

use super::LIMIT;
use super::stand_in::{self, Answers, StandIn};

/// A scheduler, how late it hears, and what it was asked.
#[derive(Debug, Clone)]
pub(super) struct LateScheduler {
    pub(super) address: String,
    real: SchedulerServiceClient<Channel>,
    clock: Arc<ManualClock>,
    late_by: Duration,
    rests: watch::Sender<bool>,
    said: watch::Sender<Said>,
}

/// What a scheduler has said so far.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Said {
    /// How many batches it answered, whether the answer has gone out or not.
    pub(super) answers: usize,
    /// How many placements these propose.
    pub(super) proposals: usize,
}

impl LateScheduler {
    /// Starts it. It hears of a change once the clock is so much ahead; it has the nodes as they are when it is dialled.
    pub(super) async fn start(clock: Arc<ManualClock>, late_by: Duration, shutdown: &Shutdown) -> Self {
        let (listener, real_address) = listen().await;
        let stop = shutdown.clone();
        tokio::spawn(async move {
            let config = scheduler_svc::config::Config::default();
            scheduler_svc::run(config, listener, None, stop).await.expect("the scheduler serves");
        });
        let real = davit_svc_kit::client::endpoint(&real_address).expect("an address").connect_lazy();
        let (listener, address) = listen().await;
        let late = Self {
            address,
            real: SchedulerServiceClient::new(real),
            clock,
            late_by,
            rests: watch::Sender::new(false),
            said: watch::Sender::new(Said::default()),
        };
        let server = GrpcServer::builder().service(stand_in::service(late.clone()));
        let stop = shutdown.clone();
        tokio::spawn(async move { server.serve(listener, stop).await.expect("its stand-in serves") });
        late
    }

    /// While it rests it keeps its answers to itself.
    pub(super) fn rest(&self, rests: bool) {
        self.rests.send_replace(rests);
    }

    pub(super) fn said(&self) -> Said {
        *self.said.borrow()
    }

    /// Waits until it has answered a batch more than it had.
    pub(super) async fn answers_after(&self, before: Said) {
        let mut said = self.said.subscribe();
        let answered = said.wait_for(|said| said.answers > before.answers);
        tokio::time::timeout(LIMIT, answered).await.expect("it is asked in time").expect("it runs");
    }
}

#[tonic::async_trait]
impl StandIn for LateScheduler {
    async fn answer(self, mut asked: Streaming<v1::PlaceRequest>, answers: &Answers) -> Result<(), Status> {
        let (tell, told) = mpsc::channel(4);
        let gone = |_| Status::unavailable("the scheduler is gone");
        tell.send(asked.message().await?.ok_or_else(|| Status::cancelled("nothing was asked"))?).await.map_err(gone)?;
        let mut real = self.real.clone().place(ReceiverStream::new(told)).await?.into_inner();
        let mut held = VecDeque::new();
        while let Some(request) = asked.message().await? {
            if !matches!(request.message, Some(Message::Batch(_))) {
                held.push_back((self.clock.now() + self.late_by, request));
                continue;
            }
            while let Some((_, due)) = held.pop_front_if(|(at, _)| *at <= self.clock.now()) {
                tell.send(due).await.map_err(gone)?;
            }
            tell.send(request).await.map_err(gone)?;
            let answer = real.message().await?.ok_or_else(|| Status::unavailable("the scheduler is gone"))?;
            let proposals =
                answer.placements.iter().flat_map(|group| &group.runs).map(|run| run.count as usize).sum::<usize>();
            self.said.send_modify(|said| {
                said.answers += 1;
                said.proposals += proposals;
            });
            let _ = self.rests.subscribe().wait_for(|rests| !rests).await;
            answers.send(Ok(answer)).await.map_err(|_| Status::cancelled("nobody waits for the answer"))?;
        }
        Ok(())
    }

    async fn algorithms(&self) -> Result<v1::ListAlgorithmsResponse, Status> {
        self.real.clone().list_algorithms(v1::ListAlgorithmsRequest {}).await.map(Response::into_inner)
    }
}

async fn listen() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("a bound port");
    (listener, format!("http://{address}"))
}
