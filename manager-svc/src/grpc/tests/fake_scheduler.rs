//! A scheduler that answers what it is told to, and remembers what it was asked.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use davit_proto::v1::scheduler_service_server::{SchedulerService, SchedulerServiceServer};
use davit_proto::{MAX_SCHEDULER_MESSAGE_BYTES, v1};
use futures::Stream;
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status, Streaming};

/// A handle on a scheduler that runs as long as the test.
#[derive(Clone, Default)]
pub(super) struct FakeScheduler {
    script: Arc<Mutex<Script>>,
}

#[derive(Default)]
struct Script {
    explanation: Option<Result<v1::ExplainResponse, Status>>,
    moves: Option<Result<v1::PlanMovesResponse, Status>>,
    hangs: bool,
    explained: Vec<v1::ExplainRequest>,
    planned: Vec<v1::PlanMovesRequest>,
    /// How long the caller of the last question waits.
    timeout: Option<String>,
}

impl FakeScheduler {
    /// Serves on a free port; the address.
    pub(super) async fn serve(&self) -> String {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let service = SchedulerServiceServer::new(self.clone())
            .max_decoding_message_size(MAX_SCHEDULER_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_SCHEDULER_MESSAGE_BYTES);
        let server = tonic::transport::Server::builder().add_service(service);
        tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        address
    }

    pub(super) fn answers_explain(&self, answer: Result<v1::ExplainResponse, Status>) {
        self.script.lock().explanation = Some(answer);
    }

    pub(super) fn answers_moves(&self, answer: Result<v1::PlanMovesResponse, Status>) {
        self.script.lock().moves = Some(answer);
    }

    pub(super) fn hangs(&self) {
        self.script.lock().hangs = true;
    }

    /// How long the caller of the last question waits, as it is told on the wire.
    pub(super) fn timeout(&self) -> Option<String> {
        self.script.lock().timeout.clone()
    }

    fn note_timeout<T>(&self, request: &Request<T>) {
        let timeout = request.metadata().get("grpc-timeout");
        self.script.lock().timeout = timeout.map(|value| value.to_str().unwrap().to_owned());
    }

    pub(super) fn goes_on(&self) {
        self.script.lock().hangs = false;
    }

    pub(super) fn explain_count(&self) -> usize {
        self.script.lock().explained.len()
    }

    /// The last question of `Explain`.
    /// All that it was asked to explain, in this order.
    pub(super) fn all_explained(&self) -> Vec<v1::ExplainRequest> {
        self.script.lock().explained.clone()
    }

    pub(super) fn explained(&self) -> v1::ExplainRequest {
        self.script.lock().explained.last().cloned().unwrap()
    }

    /// The last question of `PlanMoves`.
    pub(super) fn planned(&self) -> v1::PlanMovesRequest {
        self.script.lock().planned.last().cloned().unwrap()
    }

    async fn hang_if_told(&self) {
        let hangs = self.script.lock().hangs;
        if hangs {
            tokio::time::sleep(Duration::from_secs(3600)).await;
        }
    }
}

#[tonic::async_trait]
impl SchedulerService for FakeScheduler {
    type PlaceStream = Pin<Box<dyn Stream<Item = Result<v1::PlaceResponse, Status>> + Send>>;

    async fn explain(&self, request: Request<v1::ExplainRequest>) -> Result<Response<v1::ExplainResponse>, Status> {
        self.note_timeout(&request);
        self.script.lock().explained.push(request.into_inner());
        self.hang_if_told().await;
        let answer = self.script.lock().explanation.clone();
        answer.unwrap_or_else(|| Err(Status::unimplemented("no answer is set"))).map(Response::new)
    }

    async fn plan_moves(
        &self,
        request: Request<v1::PlanMovesRequest>,
    ) -> Result<Response<v1::PlanMovesResponse>, Status> {
        self.note_timeout(&request);
        self.script.lock().planned.push(request.into_inner());
        self.hang_if_told().await;
        let answer = self.script.lock().moves.clone();
        answer.unwrap_or_else(|| Err(Status::unimplemented("no answer is set"))).map(Response::new)
    }

    async fn select_candidate_nodes(
        &self,
        _: Request<v1::SelectCandidateNodesRequest>,
    ) -> Result<Response<v1::SelectCandidateNodesResponse>, Status> {
        Err(Status::unimplemented("only asked by users"))
    }

    async fn score(&self, _: Request<v1::ScoreRequest>) -> Result<Response<v1::ScoreResponse>, Status> {
        Err(Status::unimplemented("only asked by users"))
    }

    async fn pick(&self, _: Request<v1::PickRequest>) -> Result<Response<v1::PickResponse>, Status> {
        Err(Status::unimplemented("only asked by users"))
    }

    async fn place(&self, _: Request<Streaming<v1::PlaceRequest>>) -> Result<Response<Self::PlaceStream>, Status> {
        Err(Status::unimplemented("only asked by the placer"))
    }

    async fn list_algorithms(
        &self,
        _: Request<v1::ListAlgorithmsRequest>,
    ) -> Result<Response<v1::ListAlgorithmsResponse>, Status> {
        Err(Status::unimplemented("only asked by users"))
    }
}
