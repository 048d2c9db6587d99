//! The gRPC shell around [`crate::placement`]: reads requests, has the core decide, writes answers.

mod answers;
mod place_session;
mod place_stream;

use std::pin::Pin;
use std::sync::Arc;

use davit_core::placement::PlacementRequest;
use davit_core::validate::Violations;
use davit_proto::v1::scheduler_service_server::{SchedulerService, SchedulerServiceServer};
use davit_proto::{MAX_SCHEDULER_MESSAGE_BYTES, convert, v1};
use davit_svc_kit::grpc::{ApiError, GrpcServer, Limits};
use davit_svc_kit::readiness::Readiness;
use davit_svc_kit::shutdown::Shutdown;
use tokio::sync::Semaphore;
use tokio_stream::Stream;
use tokio_util::task::AbortOnDropHandle;
use tonic::{Request, Response, Status, Streaming};

pub(crate) use self::place_session::ReplaySession;
use crate::placement::{self, algorithms};
use crate::record::Recorder;

/// Its callers are managers: few, with large messages. A placement stream holds a view of every node.
const LIMITS: Limits = Limits { calls: 256, streams: 64, request_bytes: 1 << 30, connections: 256 };

/// Work beyond this, in nodes looked at and tasks placed, is done off the threads that serve connections: about a
/// millisecond in a release build.
const INLINE_WORK: u64 = 2000;

/// Handlers of `SchedulerService`.
#[derive(Debug, Clone)]
pub struct SchedulerApi {
    recorder: Option<Recorder>,
    shutdown: Shutdown,
    /// Single questions that are worked on at once; placement streams work beside them.
    questions: Arc<Semaphore>,
}

impl SchedulerApi {
    /// Handlers whose streams end with the shutdown, and are recorded if a recorder is given.
    #[must_use]
    pub fn new(recorder: Option<Recorder>, shutdown: Shutdown) -> Self {
        let at_once = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self { recorder, shutdown, questions: Arc::new(Semaphore::new(at_once)) }
    }

    /// Works on a single question in its turn. What its caller no longer waits for is not begun.
    async fn answer<T: Send + 'static>(
        &self,
        work: u64,
        run: impl FnOnce() -> Result<T, Violations> + Send + 'static,
    ) -> Result<Response<T>, Status> {
        // The semaphore is never closed.
        let turn = Arc::clone(&self.questions).acquire_owned().await;
        let turn = turn.map_err(|problem| ApiError::internal(problem.to_string()))?;
        let run = move || {
            // Until it is done, also if its caller has gone meanwhile.
            let _turn = turn;
            run()
        };
        Ok(Response::new(compute(work, run).await?.map_err(ApiError::invalid)?))
    }
}

/// The server with the scheduler's one service.
pub(crate) fn server(api: SchedulerApi, readiness: Readiness) -> GrpcServer {
    let service = SchedulerServiceServer::new(api)
        .max_decoding_message_size(MAX_SCHEDULER_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_SCHEDULER_MESSAGE_BYTES);
    GrpcServer::builder()
        .descriptor_set(davit_proto::FILE_DESCRIPTOR_SET)
        .readiness(readiness)
        .limits(LIMITS)
        .service(service)
}

/// Runs a computation, on a thread of its own when it is long.
async fn compute<T: Send + 'static>(work: u64, run: impl FnOnce() -> T + Send + 'static) -> Result<T, ApiError> {
    if work <= INLINE_WORK {
        return Ok(run());
    }
    // Whoever is gone before a thread is free takes it back.
    let task = AbortOnDropHandle::new(tokio::task::spawn_blocking(run));
    task.await.map_err(|problem| ApiError::internal(format!("the computation broke: {problem}")))
}

fn select(request: v1::SelectCandidateNodesRequest) -> Result<v1::SelectCandidateNodesResponse, Violations> {
    let mut violations = Violations::new();
    let requirements = convert::required(request.requirements, "requirements", &mut violations)
        .and_then(|given| convert::requirements_from_proto(&given, "requirements", &mut violations));
    let nodes = convert::node_views_from_proto(request.nodes, "nodes", &mut violations);
    let (requirements, nodes) = violations.finish(requirements.zip(nodes))?;
    Ok(answers::selection(placement::select_candidates(&requirements, &nodes)))
}

fn score(request: v1::ScoreRequest) -> Result<v1::ScoreResponse, Violations> {
    let mut violations = Violations::new();
    let requirements = convert::required(request.requirements, "requirements", &mut violations)
        .and_then(|given| convert::requirements_from_proto(&given, "requirements", &mut violations));
    let preferences = convert::preferences_from_proto(request.preferences.as_ref(), "preferences", &mut violations);
    let nodes = convert::node_views_from_proto(request.nodes, "nodes", &mut violations);
    let algorithm = violations.check("algorithm", algorithms::find(&request.algorithm));
    let read = requirements.zip(preferences).zip(nodes).zip(algorithm);
    let (((requirements, preferences), nodes), algorithm) = violations.finish(read)?;
    let request =
        PlacementRequest { requirements, preferences, algorithm: request.algorithm, priority: 0, may_preempt: false };
    Ok(answers::scores(&placement::score(algorithm, &request, &nodes)))
}

fn explain(request: v1::ExplainRequest) -> Result<v1::ExplainResponse, Violations> {
    let mut violations = Violations::new();
    let group = convert::required(request.group, "group", &mut violations).and_then(|mut group| {
        // Of one group there is nothing to tell apart.
        if group.group_id.is_empty() {
            group.group_id.push('0');
        }
        place_session::group_from_proto(group, "group", &mut violations)
    });
    let nodes = convert::node_views_from_proto(request.nodes, "nodes", &mut violations);
    let (group, nodes) = violations.finish(group.zip(nodes))?;
    let max_nodes = usize::try_from(request.max_nodes).unwrap_or(usize::MAX);
    Ok(answers::explanation(placement::explain(nodes, &group, request.seed, max_nodes)))
}

fn plan_moves(request: v1::PlanMovesRequest) -> Result<v1::PlanMovesResponse, Violations> {
    let mut violations = Violations::new();
    let nodes = convert::node_views_from_proto(request.nodes, "nodes", &mut violations);
    if request.max_moves == 0 {
        violations.add("max_moves", "is at least 1");
    }
    if !(request.min_gain.is_finite() && request.min_gain > 0.0) {
        violations.add("min_gain", "is above 0");
    }
    let nodes = violations.finish(nodes)?;
    let max_moves = usize::try_from(request.max_moves).unwrap_or(usize::MAX);
    Ok(answers::moves(placement::plan_moves(&nodes, max_moves, request.min_gain)))
}

fn pick(request: &v1::PickRequest) -> Result<v1::PickResponse, Violations> {
    let mut violations = Violations::new();
    let costs = convert::node_scores_from_proto(&request.scores, "scores", &mut violations);
    let costs = violations.finish(costs)?;
    let picked = placement::pick(costs.iter().map(|one| (one.node_id, one.cost)), request.seed);
    let mut violations = Violations::new();
    let node_id = convert::required(picked, "scores", &mut violations);
    let node_id = violations.finish(node_id)?;
    Ok(v1::PickResponse { node_id: node_id.to_string() })
}

#[tonic::async_trait]
impl SchedulerService for SchedulerApi {
    async fn select_candidate_nodes(
        &self,
        request: Request<v1::SelectCandidateNodesRequest>,
    ) -> Result<Response<v1::SelectCandidateNodesResponse>, Status> {
        let request = request.into_inner();
        let work = request.nodes.len() as u64;
        self.answer(work, || select(request)).await
    }

    async fn score(&self, request: Request<v1::ScoreRequest>) -> Result<Response<v1::ScoreResponse>, Status> {
        let request = request.into_inner();
        let work = request.nodes.len() as u64;
        self.answer(work, || score(request)).await
    }

    async fn pick(&self, request: Request<v1::PickRequest>) -> Result<Response<v1::PickResponse>, Status> {
        let request = request.into_inner();
        let work = request.scores.len() as u64;
        self.answer(work, move || pick(&request)).await
    }

    async fn explain(&self, request: Request<v1::ExplainRequest>) -> Result<Response<v1::ExplainResponse>, Status> {
        let request = request.into_inner();
        let tasks = request.group.as_ref().map_or(0, |group| u64::from(group.count));
        let work = request.nodes.len() as u64 + tasks;
        if tasks > place_session::MAX_BATCH_TASKS {
            let mut violations = Violations::new();
            violations.add("group.count", format!("is at most {}", place_session::MAX_BATCH_TASKS));
            return Err(ApiError::invalid(violations).into());
        }
        self.answer(work, || explain(request)).await
    }

    async fn plan_moves(
        &self,
        request: Request<v1::PlanMovesRequest>,
    ) -> Result<Response<v1::PlanMovesResponse>, Status> {
        let request = request.into_inner();
        let work = request.nodes.iter().map(|node| 1 + node.tasks.len() as u64).sum();
        self.answer(work, || plan_moves(request)).await
    }

    type PlaceStream = Pin<Box<dyn Stream<Item = Result<v1::PlaceResponse, Status>> + Send>>;

    async fn place(
        &self,
        request: Request<Streaming<v1::PlaceRequest>>,
    ) -> Result<Response<Self::PlaceStream>, Status> {
        let record = self.recorder.as_ref().map(Recorder::open_stream);
        let answers = place_stream::start(request.into_inner(), record, self.shutdown.clone());
        Ok(Response::new(Box::pin(answers)))
    }

    async fn list_algorithms(
        &self,
        _: Request<v1::ListAlgorithmsRequest>,
    ) -> Result<Response<v1::ListAlgorithmsResponse>, Status> {
        Ok(Response::new(answers::algorithms()))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use davit_core::id::TaskId;
    use davit_core::placement::{Mark, PlacedTask, Requirements};
    use davit_core::resources::Resources;
    use prost::Message as _;
    use uuid::Uuid;

    use super::*;
    use crate::placement::test_support;

    /// Tasks that each ask for much.
    #[test]
    fn the_nodes_of_the_largest_cluster_with_tasks_that_may_be_stopped_are_one_message() {
        const NODES: usize = 10_000;
        /// As many as a manager tells of.
        const TASKS: u128 = 64;
        let requirements = Requirements {
            reservation: Resources { cpu_millis: 2_000, memory_bytes: 4 << 30, disk_bytes: 1 << 30 },
            constraints: vec!["disk == ssd".parse().unwrap(), "zone in (eu-west-1a, eu-west-1b)".parse().unwrap()],
            marks: [Mark::of_name("web-frontend")].into(),
            ..test_support::requirements()
        };
        let task = |number| PlacedTask {
            task_id: TaskId(Uuid::from_u128(number)),
            requirements: requirements.clone(),
            priority: -10,
            running_secs: 1_000_000,
            is_ending: false,
            algorithm: String::new(),
            affinities: Vec::new(),
        };
        let labels = (0..16).map(|number| (format!("example.org/label-{number}"), "a value".to_owned()));
        let mut node = test_support::node(0);
        node.labels = labels.collect::<std::collections::BTreeMap<_, _>>().into();
        node.stats = Some(test_support::stats(1_000, 1 << 30));
        node.tasks = (0..TASKS).map(task).collect();
        let nodes = vec![convert::node_view_to_proto(&node)];
        let bytes = NODES * v1::PlaceSnapshot { nodes }.encoded_len();
        assert!(bytes < MAX_SCHEDULER_MESSAGE_BYTES, "{bytes} bytes");
    }

    #[tokio::test]
    async fn a_question_that_nobody_waits_for_any_more_is_not_begun() {
        let api = SchedulerApi::new(None, Shutdown::new());
        let begun = Arc::new(AtomicUsize::new(0));
        let question = |work| {
            let (api, begun) = (api.clone(), Arc::clone(&begun));
            async move {
                let run = move || Ok::<_, Violations>(begun.fetch_add(1, Ordering::SeqCst));
                api.answer(work, run).await.map(Response::into_inner)
            }
        };
        let at_once = u32::try_from(api.questions.available_permits()).unwrap();
        let others = Arc::clone(&api.questions).acquire_many_owned(at_once).await.unwrap();
        for work in [1, INLINE_WORK + 1] {
            let waiting = tokio::spawn(question(work));
            tokio::task::yield_now().await;
            waiting.abort();
            assert!(waiting.await.unwrap_err().is_cancelled());
        }
        drop(others);
        assert_eq!(question(1).await.unwrap(), 0, "none was begun before this one");
        assert_eq!(question(INLINE_WORK + 1).await.unwrap(), 1);
        assert_eq!(api.questions.available_permits(), at_once as usize);
    }
}
