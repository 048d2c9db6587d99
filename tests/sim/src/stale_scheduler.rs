//! A scheduler that is out of date: it stands before the real one, keeps changes of nodes from it, gives some answers twice,
//! and names nodes that were the best at some other time. The manager must lose nothing by it and over-commit nothing.

use std::pin::Pin;
use std::sync::Arc;

use davit_proto::v1;
use davit_proto::v1::place_request::Message;
use davit_proto::v1::scheduler_service_client::SchedulerServiceClient;
use davit_proto::v1::scheduler_service_server::{SchedulerService, SchedulerServiceServer};
use davit_svc_kit::client;
use davit_svc_kit::grpc::GrpcServer;
use davit_svc_kit::grpc::server::ServeError;
use davit_svc_kit::net::{Dialer, Listener};
use davit_svc_kit::shutdown::Shutdown;
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Request, Response, Status, Streaming};

use crate::rng::Rng;

/// How many changes of a hundred it keeps to itself, how many answers it gives twice, and for how many runs it names a node
/// that is no longer the best.
const KEPT_BACK: u64 = 80;
const TWICE: u64 = 10;
const OUTDATED: u64 = 50;

#[derive(Debug, Clone)]
struct StaleScheduler {
    real: SchedulerServiceClient<Channel>,
    rng: Rng,
}

/// Serves until the shutdown.
pub async fn run(
    real: &str,
    dialer: &Dialer,
    rng: Rng,
    listener: impl Listener,
    shutdown: Shutdown,
) -> Result<(), ServeError> {
    let Ok(endpoint) = client::endpoint(real) else { return Ok(()) };
    let real = SchedulerServiceClient::new(dialer.connect_lazy(&endpoint));
    let service = SchedulerServiceServer::new(StaleScheduler { real, rng });
    GrpcServer::builder().service(service).serve(listener, shutdown).await
}

fn not_here() -> Status {
    Status::unimplemented("this scheduler only places")
}

#[tonic::async_trait]
impl SchedulerService for StaleScheduler {
    type PlaceStream = Pin<Box<dyn Stream<Item = Result<v1::PlaceResponse, Status>> + Send>>;

    async fn place(
        &self,
        request: Request<Streaming<v1::PlaceRequest>>,
    ) -> Result<Response<Self::PlaceStream>, Status> {
        let mut asked = request.into_inner();
        let (to_real, requests) = mpsc::channel(1);
        let (to_manager, answers) = mpsc::channel(1);
        let (mut real, rng) = (self.real.clone(), self.rng.clone());
        let kept_back = rng.clone();
        let nodes: Arc<Mutex<Vec<String>>> = Arc::default();
        let known = Arc::clone(&nodes);
        tokio::spawn(async move {
            while let Ok(Some(message)) = asked.message().await {
                if let Some(Message::Snapshot(snapshot)) = &message.message {
                    *known.lock() = snapshot.nodes.iter().map(|node| node.node_id.clone()).collect();
                }
                let is_change = matches!(message.message, Some(Message::Delta(_)));
                if is_change && kept_back.percent(KEPT_BACK) {
                    continue;
                }
                if to_real.send(message).await.is_err() {
                    return;
                }
            }
        });
        tokio::spawn(async move {
            let mut placed = match real.place(ReceiverStream::new(requests)).await {
                Ok(placed) => placed.into_inner(),
                Err(status) => return drop(to_manager.send(Err(status)).await),
            };
            while let Ok(Some(mut answer)) = placed.message().await {
                for run in answer.placements.iter_mut().flat_map(|placement| &mut placement.runs) {
                    if rng.percent(OUTDATED)
                        && let Some(node_id) = rng.pick(&nodes.lock())
                    {
                        run.node_id.clone_from(node_id);
                    }
                }
                let twice = rng.percent(TWICE).then(|| answer.clone());
                for answer in [Some(answer), twice].into_iter().flatten() {
                    if to_manager.send(Ok(answer)).await.is_err() {
                        return;
                    }
                }
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(answers))))
    }

    async fn list_algorithms(
        &self,
        request: Request<v1::ListAlgorithmsRequest>,
    ) -> Result<Response<v1::ListAlgorithmsResponse>, Status> {
        self.real.clone().list_algorithms(request.into_inner()).await
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
