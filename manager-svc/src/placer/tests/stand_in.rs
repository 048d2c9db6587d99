//! A scheduler's service of which only what placers ask for is there, for those that stand in for a scheduler.

use davit_proto::v1;
use davit_proto::v1::scheduler_service_server::{SchedulerService, SchedulerServiceServer};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

/// Where a stream's answers go.
pub(super) type Answers = mpsc::Sender<Result<v1::PlaceResponse, Status>>;

/// Stands in for a scheduler. Clones are the same one.
#[tonic::async_trait]
pub(super) trait StandIn: Clone + Send + Sync + 'static {
    /// Before a stream is opened.
    async fn open(&self) -> Result<(), Status> {
        Ok(())
    }

    /// Answers what is asked on one stream, until it ends.
    async fn answer(self, asked: Streaming<v1::PlaceRequest>, answers: &Answers) -> Result<(), Status>;

    /// Names its algorithms.
    async fn algorithms(&self) -> Result<v1::ListAlgorithmsResponse, Status>;
}

/// The service of one that stands in.
pub(super) fn service<S: StandIn>(stand_in: S) -> SchedulerServiceServer<impl SchedulerService> {
    SchedulerServiceServer::new(Service(stand_in))
}

struct Service<S>(S);

#[tonic::async_trait]
impl<S: StandIn> SchedulerService for Service<S> {
    type PlaceStream = ReceiverStream<Result<v1::PlaceResponse, Status>>;

    async fn place(
        &self,
        request: Request<Streaming<v1::PlaceRequest>>,
    ) -> Result<Response<Self::PlaceStream>, Status> {
        self.0.open().await?;
        let (answers, receiver) = mpsc::channel(4);
        let stand_in = self.0.clone();
        tokio::spawn(async move {
            if let Err(status) = stand_in.answer(request.into_inner(), &answers).await {
                let _ = answers.send(Err(status)).await;
            }
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }

    async fn list_algorithms(
        &self,
        _: Request<v1::ListAlgorithmsRequest>,
    ) -> Result<Response<v1::ListAlgorithmsResponse>, Status> {
        self.0.algorithms().await.map(Response::new)
    }

    async fn select_candidate_nodes(
        &self,
        _: Request<v1::SelectCandidateNodesRequest>,
    ) -> Result<Response<v1::SelectCandidateNodesResponse>, Status> {
        Err(not_here())
    }

    async fn score(&self, _: Request<v1::ScoreRequest>) -> Result<Response<v1::ScoreResponse>, Status> {
        Err(not_here())
    }

    async fn pick(&self, _: Request<v1::PickRequest>) -> Result<Response<v1::PickResponse>, Status> {
        Err(not_here())
    }

    async fn explain(&self, _: Request<v1::ExplainRequest>) -> Result<Response<v1::ExplainResponse>, Status> {
        Err(not_here())
    }

    async fn plan_moves(&self, _: Request<v1::PlanMovesRequest>) -> Result<Response<v1::PlanMovesResponse>, Status> {
        Err(not_here())
    }
}

fn not_here() -> Status {
    Status::unimplemented("no placer asks for it")
}
