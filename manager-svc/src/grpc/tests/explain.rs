//! Where tasks could go: what the scheduler is asked, and what becomes of its answers.

use std::collections::BTreeMap;
use std::time::Duration;

use davit_core::state::TaskState;
use davit_core::validate::Violations;
use davit_proto::v1;
use davit_proto::v1::cluster_service_server::ClusterService as _;
use davit_proto::v1::task_service_server::TaskService as _;
use davit_svc_kit::grpc::{ApiError, Deadline};
use davit_svc_kit::net::Dialer;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tonic::{Code, Request, Response, Status};
use tonic_types::StatusExt as _;

use super::fake_scheduler::FakeScheduler;
use super::{Rig, fields, reason, refused, spec};
use crate::explainer::{Error, SchedulerClient};
use crate::placer::{Algorithms, SchedulerStatus};

fn answer() -> v1::ExplainResponse {
    let node = v1::NodeExplanation { node_name: "one".to_owned(), fits: true, rank: 1, ..Default::default() };
    let explanation = v1::PlacementExplanation {
        summary: "fits 1 of 2 nodes: 1 lacks memory".to_owned(),
        fitting_count: 1,
        node_count: 2,
        algorithm: "spread".to_owned(),
        nodes: vec![node],
    };
    let placement = v1::GroupPlacement {
        group_id: "0".to_owned(),
        runs: vec![v1::PlacementRun { node_id: "a".to_owned(), count: 2 }],
        unplaced_count: 1,
        unplaced_reason: "full".to_owned(),
        preemptions: vec![v1::Preemption { node_id: "a".to_owned(), ..Default::default() }],
    };
    v1::ExplainResponse { explanation: Some(explanation), placement: Some(placement) }
}

async fn rig() -> (Rig, FakeScheduler) {
    let scheduler = FakeScheduler::default();
    scheduler.answers_explain(Ok(answer()));
    let rig = Rig::with_scheduler(&scheduler.serve().await).await;
    (rig, scheduler)
}

async fn explain_task(rig: &Rig, task_id: &str) -> Result<Response<v1::ExplainTaskResponse>, Status> {
    let request = v1::ExplainTaskRequest { task_id: task_id.to_owned(), max_nodes: 7 };
    rig.tasks.explain_task(Request::new(request)).await
}

async fn explain_placement(
    rig: &Rig,
    request: v1::ExplainPlacementRequest,
) -> Result<Response<v1::ExplainPlacementResponse>, Status> {
    rig.cluster.explain_placement(Request::new(request)).await
}

fn reserving(name: &str, cpu_millis: u64) -> v1::TaskSpec {
    let reservation = Some(v1::Resources { cpu_millis, ..Default::default() });
    let resources = Some(v1::ResourceRequirements { reservation, limit: None });
    v1::TaskSpec { resources, ..spec(name) }
}

fn with_policy(name: &str, policy: v1::PlacementPolicy) -> v1::TaskSpec {
    v1::TaskSpec { placement: Some(policy), ..spec(name) }
}

fn node<'a>(question: &'a v1::ExplainRequest, name: &str) -> &'a v1::PlacementNode {
    question.nodes.iter().find(|node| node.name == name).unwrap()
}

fn reserved_cpu(node: &v1::PlacementNode) -> u64 {
    node.reserved.as_ref().unwrap().cpu_millis
}

#[tokio::test]
async fn a_waiting_task_is_explained_with_all_nodes_as_the_placer_would_ask() {
    let (rig, scheduler) = rig().await;
    rig.join("two").await;
    rig.join("one").await;
    let task = rig.create(reserving("web", 500)).await;
    let answer = explain_task(&rig, &task.task_id).await.unwrap().into_inner();
    assert_eq!(answer.task.unwrap().task_id, task.task_id);
    assert_eq!(answer.explanation.unwrap().summary, "fits 1 of 2 nodes: 1 lacks memory");

    let question = scheduler.explained();
    let names: Vec<_> = question.nodes.iter().map(|node| node.name.as_str()).collect();
    assert_eq!((names, question.max_nodes), (vec!["one", "two"], 7));
    assert_eq!(question.seed, rig.api.writer.state().revision().0);
    let group = question.group.unwrap();
    assert_eq!((group.count, group.algorithm.as_str()), (1, "spread"));
    assert_eq!(group.requirements.unwrap().reservation.unwrap().cpu_millis, 500);
}

#[tokio::test]
async fn a_task_that_waits_while_nothing_can_be_written_is_told_so() {
    let (rig, _scheduler) = rig().await;
    rig.join("one").await;
    let task_id = rig.create(spec("web")).await.task_id;
    assert_eq!(explain_task(&rig, &task_id).await.unwrap().into_inner().held_up_by, "");
    rig.fault.set("no space left");
    let create = v1::CreateTaskRequest { spec: Some(spec("b")), ..Default::default() };
    refused(rig.tasks.create_task(Request::new(create)).await);
    let told = explain_task(&rig, &task_id).await.unwrap().into_inner().held_up_by;
    assert!(told.contains("no space left"), "{told}");
    rig.fault.clear();
    rig.api.readiness.wait_ready().await;
    assert_eq!(explain_task(&rig, &task_id).await.unwrap().into_inner().held_up_by, "");
}

#[tokio::test]
async fn a_waiting_gang_is_explained_whole() {
    let (rig, scheduler) = rig().await;
    rig.join("one").await;
    let group = v1::TaskGroup { spec: Some(reserving("web", 500)), count: Some(3), all_or_nothing: true };
    let request = v1::BatchCreateTasksRequest { groups: vec![group], ..Default::default() };
    let created = rig.tasks.batch_create_tasks(Request::new(request)).await.unwrap().into_inner();
    let answer = explain_task(&rig, &created.task_ids[1]).await.unwrap().into_inner();
    assert_eq!((answer.unplaced_count, answer.unplaced_reason.as_str()), (1, "full"));
    let group = scheduler.explained().group.unwrap();
    assert_eq!((group.count, group.all_or_nothing), (3, true));
}

#[tokio::test]
async fn a_waiting_task_that_may_preempt_is_explained_with_what_it_may_stop() {
    let (rig, scheduler) = rig().await;
    let (node_id, _session) = rig.join("one").await;
    let lower = rig.create(reserving("lower", 500)).await;
    rig.run_on(&lower.task_id, node_id, &[TaskState::Preparing, TaskState::Running]).await;
    let policy = v1::PlacementPolicy { priority: 5, may_preempt: true, ..Default::default() };
    let task = rig.create(with_policy("web", policy)).await;
    assert_eq!(explain_task(&rig, &task.task_id).await.unwrap().into_inner().preemptions.len(), 1);
    let told: Vec<_> = scheduler.explained().nodes[0].tasks.iter().map(|task| task.task_id.clone()).collect();
    assert_eq!(told, [lower.task_id]);

    // What runs is not asked for again.
    rig.run_on(&task.task_id, node_id, &[TaskState::Preparing, TaskState::Running]).await;
    explain_task(&rig, &task.task_id).await.unwrap();
    assert!(!scheduler.explained().group.unwrap().may_preempt);
}

#[tokio::test]
async fn a_gang_that_would_preempt_is_refused() {
    let (rig, _scheduler) = rig().await;
    let policy = v1::PlacementPolicy { may_preempt: true, ..Default::default() };
    let group = v1::TaskGroup { spec: Some(with_policy("web", policy.clone())), count: Some(2), all_or_nothing: true };
    let request = v1::BatchCreateTasksRequest { groups: vec![group], ..Default::default() };
    let status = refused(rig.tasks.batch_create_tasks(Request::new(request)).await);
    assert_eq!(fields(&status), ["groups[0].spec.placement.may_preempt"]);
    let spec = Some(with_policy("web", policy));
    let request = v1::ExplainPlacementRequest { spec, all_or_nothing: true, ..Default::default() };
    assert_eq!(fields(&refused(explain_placement(&rig, request).await)), ["all_or_nothing"]);
}

#[tokio::test]
async fn a_task_on_a_node_is_explained_as_if_it_were_not() {
    let (rig, scheduler) = rig().await;
    let (node_id, _session) = rig.join("one").await;
    let task = rig.create(reserving("web", 500)).await;
    let other = rig.create(reserving("other", 300)).await;
    rig.run_on(&task.task_id, node_id, &[TaskState::Preparing, TaskState::Running]).await;
    rig.run_on(&other.task_id, node_id, &[TaskState::Preparing]).await;
    explain_task(&rig, &task.task_id).await.unwrap();
    let question = scheduler.explained();
    assert_eq!((reserved_cpu(node(&question, "one")), node(&question, "one").task_count), (300, 1));
}

#[tokio::test]
async fn a_task_that_has_ended_releases_nothing_twice() {
    let (rig, scheduler) = rig().await;
    let (node_id, _session) = rig.join("one").await;
    let task = rig.create(reserving("web", 500)).await;
    let other = rig.create(reserving("other", 300)).await;
    rig.run_on(&other.task_id, node_id, &[TaskState::Preparing]).await;
    rig.run_on(&task.task_id, node_id, &[TaskState::Preparing, TaskState::Running, TaskState::Completed]).await;
    explain_task(&rig, &task.task_id).await.unwrap();
    assert_eq!(reserved_cpu(node(&scheduler.explained(), "one")), 300);
}

#[tokio::test]
async fn tasks_that_are_not_there_are_told_apart_from_wrong_ids() {
    let (rig, _scheduler) = rig().await;
    let status = refused(explain_task(&rig, "web").await);
    assert_eq!((status.code(), fields(&status)), (Code::InvalidArgument, vec!["task_id".to_owned()]));
    let status = refused(explain_task(&rig, "0193a5c0-1c1e-7d3a-9a53-0f5be2f0a111").await);
    assert_eq!((status.code(), reason(&status).as_str()), (Code::NotFound, "TASK_NOT_FOUND"));
}

#[tokio::test]
async fn a_spec_is_explained_without_being_created() {
    let (rig, scheduler) = rig().await;
    rig.join("one").await;
    let before = rig.api.writer.state().revision();
    let policy = v1::PlacementPolicy { algorithm: "binpack".to_owned(), priority: 5, ..Default::default() };
    let request = v1::ExplainPlacementRequest {
        spec: Some(with_policy("web", policy)),
        count: 3,
        max_nodes: 2,
        ..Default::default()
    };
    let told = explain_placement(&rig, request).await.unwrap().into_inner();
    let placement = answer().placement.unwrap();
    assert_eq!(told.explanation, answer().explanation);
    assert_eq!((told.runs, told.preemptions), (placement.runs, placement.preemptions));
    assert_eq!((told.unplaced_count, told.unplaced_reason.as_str()), (1, "full"));
    let question = scheduler.explained();
    assert_eq!((question.seed, question.max_nodes), (before.0, 2));
    let group = question.group.unwrap();
    assert_eq!((group.count, group.algorithm.as_str(), group.priority), (3, "binpack", 5));
    let after = rig.api.writer.state();
    assert_eq!((after.revision(), after.tasks().count()), (before, 0));
}

#[tokio::test]
async fn tasks_that_the_spec_is_the_first_to_refer_to_are_counted() {
    let (rig, scheduler) = rig().await;
    let (node_id, _session) = rig.join("one").await;
    let labels = BTreeMap::from([("app".to_owned(), "db".to_owned())]);
    let db = rig.create(v1::TaskSpec { labels, ..spec("db") }).await;
    rig.run_on(&db.task_id, node_id, &[TaskState::Preparing]).await;
    let policy = v1::PlacementPolicy { task_anti_affinities: vec!["app == db".to_owned()], ..Default::default() };
    let request = v1::ExplainPlacementRequest { spec: Some(with_policy("web", policy)), ..Default::default() };
    explain_placement(&rig, request).await.unwrap();
    let question = scheduler.explained();
    assert_eq!(node(&question, "one").marks, [v1::MarkCount { mark: "app == db".to_owned(), count: 1 }]);
    assert_eq!(question.group.unwrap().requirements.unwrap().refused_marks, ["app == db"]);
}

#[tokio::test]
async fn only_a_spec_that_may_preempt_is_told_of_tasks_of_lower_priority() {
    let (rig, scheduler) = rig().await;
    let (node_id, _session) = rig.join("one").await;
    let low = rig.create(spec("low")).await;
    let high = rig.create(with_policy("high", v1::PlacementPolicy { priority: 10, ..Default::default() })).await;
    rig.run_on(&low.task_id, node_id, &[TaskState::Preparing]).await;
    rig.run_on(&high.task_id, node_id, &[TaskState::Preparing]).await;
    for (may_preempt, expected) in [(false, vec![]), (true, vec![low.task_id.clone()])] {
        let policy = v1::PlacementPolicy { priority: 10, may_preempt, ..Default::default() };
        let request = v1::ExplainPlacementRequest { spec: Some(with_policy("new", policy)), ..Default::default() };
        explain_placement(&rig, request).await.unwrap();
        let question = scheduler.explained();
        let told: Vec<_> = node(&question, "one").tasks.iter().map(|task| task.task_id.clone()).collect();
        assert_eq!(told, expected);
        assert_eq!(question.group.unwrap().may_preempt, may_preempt);
    }
}

#[tokio::test]
async fn nodes_can_be_otherwise() {
    let (rig, scheduler) = rig().await;
    rig.join("one").await;
    rig.join("two").await;
    let overrides = vec![
        v1::NodeOverride {
            node: "one".to_owned(),
            state: v1::NodeState::Down.into(),
            cordoned: Some(true),
            labels: BTreeMap::from([("disk".to_owned(), String::new()), ("zone".to_owned(), "a".to_owned())]),
            reserved: Some(v1::Resources { cpu_millis: 77, ..Default::default() }),
            ..Default::default()
        },
        v1::NodeOverride { node: "two".to_owned(), absent: true, ..Default::default() },
        v1::NodeOverride {
            node: "three".to_owned(),
            allocatable: Some(v1::Resources { cpu_millis: 8000, ..Default::default() }),
            ..Default::default()
        },
    ];
    let request = v1::ExplainPlacementRequest { spec: Some(spec("web")), overrides, ..Default::default() };
    explain_placement(&rig, request).await.unwrap();
    let question = scheduler.explained();
    let names: Vec<_> = question.nodes.iter().map(|node| node.name.as_str()).collect();
    assert_eq!(names, ["one", "three"]);
    let one = node(&question, "one");
    assert_eq!((one.state(), one.cordoned, reserved_cpu(one)), (v1::NodeState::Down, true, 77));
    assert_eq!(one.labels, BTreeMap::from([("zone".to_owned(), "a".to_owned())]));
    let three = node(&question, "three");
    assert_eq!((three.state(), three.allocatable.as_ref().unwrap().cpu_millis), (v1::NodeState::Ready, 8000));
}

#[tokio::test]
async fn everything_that_is_wrong_is_named_at_once_and_nothing_is_asked() {
    let (rig, scheduler) = rig().await;
    rig.join("one").await;
    let too_much = Some(v1::Resources { cpu_millis: u64::MAX, ..Default::default() });
    let overrides = vec![
        v1::NodeOverride { node: "unknown".to_owned(), ..Default::default() },
        v1::NodeOverride {
            node: "one".to_owned(),
            state: 99,
            labels: BTreeMap::from([("no good".to_owned(), String::new())]),
            reserved: too_much,
            ..Default::default()
        },
        v1::NodeOverride { node: "three".to_owned(), allocatable: too_much, ..Default::default() },
    ];
    let request =
        v1::ExplainPlacementRequest { spec: Some(spec("no good")), count: 1_000_001, overrides, ..Default::default() };
    let status = refused(explain_placement(&rig, request).await);
    assert_eq!((status.code(), reason(&status).as_str()), (Code::InvalidArgument, "INVALID_REQUEST"));
    let expected = [
        "spec.name",
        "count",
        "overrides[1].state",
        "overrides[1].labels[\"no good\"]",
        "overrides[1].reserved.cpu_millis",
        "overrides[2].allocatable.cpu_millis",
        "overrides[0].node",
    ];
    assert_eq!(fields(&status), expected);

    let status = refused(explain_placement(&rig, v1::ExplainPlacementRequest::default()).await);
    assert_eq!(fields(&status), ["spec"]);
    let overrides = vec![v1::NodeOverride::default(); 10_001];
    let request = v1::ExplainPlacementRequest { spec: Some(spec("web")), overrides, ..Default::default() };
    assert_eq!(fields(&refused(explain_placement(&rig, request).await)), ["overrides"]);
    assert_eq!(scheduler.explain_count(), 0);
}

#[tokio::test]
async fn without_a_scheduler_it_is_unavailable_and_says_so() {
    let rig = Rig::new().await;
    let task = rig.create(spec("web")).await;
    let request = v1::ExplainPlacementRequest { spec: Some(spec("web")), ..Default::default() };
    let statuses = [refused(explain_task(&rig, &task.task_id).await), refused(explain_placement(&rig, request).await)];
    for status in statuses {
        assert_eq!((status.code(), reason(&status).as_str()), (Code::Unavailable, "SCHEDULER_UNREACHABLE"));
        assert!(status.message().contains("http://127.0.0.1:1"), "{}", status.message());
        assert!(status.message().contains("refused"), "{}", status.message());
        assert!(status.get_details_retry_info().unwrap().retry_delay.is_some());
    }
}

#[tokio::test]
async fn an_algorithm_that_the_scheduler_does_not_have_is_a_wrong_field_of_the_spec() {
    let (rig, scheduler) = rig().await;
    let mut violations = Violations::new();
    violations.add("group.algorithm", "there is no algorithm `best`; there are epvm and spread");
    scheduler.answers_explain(Err(ApiError::invalid(violations).into()));
    let policy = v1::PlacementPolicy { algorithm: "best".to_owned(), ..Default::default() };
    // As long as no scheduler was asked, creating such a task is fine: it waits, and says why.
    let task = rig.create(with_policy("web", policy.clone())).await;
    let request = v1::ExplainPlacementRequest { spec: Some(with_policy("web", policy)), ..Default::default() };
    let statuses = [refused(explain_task(&rig, &task.task_id).await), refused(explain_placement(&rig, request).await)];
    for status in statuses {
        assert_eq!(status.code(), Code::InvalidArgument);
        assert_eq!(fields(&status), ["spec.placement.algorithm"]);
        assert!(status.message().contains("no algorithm `best`"), "{}", status.message());
    }
}

#[tokio::test]
async fn what_else_the_scheduler_fails_with_is_told_as_what_it_is() {
    let (rig, scheduler) = rig().await;
    let task = rig.create(spec("web")).await;
    let empty = v1::ExplainResponse { placement: None, ..answer() };
    let table = [
        (Err(ApiError::invalid_field("nodes[0].name", "is bad").into()), Code::Internal, "SCHEDULER_FAILED"),
        (Err(Status::internal("broken")), Code::Internal, "SCHEDULER_FAILED"),
        (Err(Status::unavailable("stopping")), Code::Unavailable, "SCHEDULER_UNREACHABLE"),
        (Err(Status::unimplemented("")), Code::Unimplemented, "SCHEDULER_TOO_OLD"),
        (Err(Status::deadline_exceeded("late")), Code::Unavailable, "SCHEDULER_TIMEOUT"),
        (Err(Status::resource_exhausted("too large")), Code::ResourceExhausted, "CLUSTER_TOO_LARGE"),
        (Ok(empty), Code::Internal, "SCHEDULER_NONSENSE"),
    ];
    for (given, code, expected) in table {
        scheduler.answers_explain(given);
        let status = refused(explain_task(&rig, &task.task_id).await);
        assert_eq!((status.code(), reason(&status).as_str()), (code, expected), "{status:?}");
    }
}

fn status(address: &str) -> SchedulerStatus {
    SchedulerStatus {
        address: address.to_owned(),
        connected: false,
        reason: String::new(),
        algorithms: Algorithms::new([], "spread"),
    }
}

#[tokio::test]
async fn a_scheduler_that_does_not_answer_is_not_waited_for_longer_than_allowed() {
    let scheduler = FakeScheduler::default();
    scheduler.hangs();
    let timeout = Duration::from_millis(50);
    let address = scheduler.serve().await;
    let client =
        SchedulerClient::new(watch::Sender::new(status(&address)).subscribe(), Dialer::tcp()).with_timeout(timeout);
    let turn = client.turn(None).await.unwrap();
    let error = turn.explain(v1::ExplainRequest::default()).await.unwrap_err();
    assert_eq!(error, Error::Timeout { address, timeout });
    assert!(error.to_string().contains("within 0.05 s"), "{error}");
}

#[tokio::test]
async fn the_placers_next_scheduler_is_asked_next() {
    let (first, second) = (FakeScheduler::default(), FakeScheduler::default());
    second.answers_explain(Ok(answer()));
    let sender = watch::Sender::new(status("127.0.0.1:1"));
    let client = SchedulerClient::new(sender.subscribe(), Dialer::tcp());
    let ask = async || client.turn(None).await?.explain(v1::ExplainRequest::default()).await;
    assert!(matches!(ask().await, Err(Error::Unreachable { .. })));
    let address = first.serve().await;
    sender.send_modify(|status| status.address.clone_from(&address));
    assert_eq!(ask().await, Err(Error::Unsupported { address }));
    let address = second.serve().await;
    sender.send_modify(|status| status.address = address);
    assert_eq!(ask().await, Ok(answer()));
}

#[tokio::test]
async fn an_answer_of_many_megabytes_arrives() {
    let (rig, scheduler) = rig().await;
    let task = rig.create(spec("web")).await;
    let mut large = answer();
    let explanation = large.explanation.as_mut().unwrap();
    explanation.nodes = vec![explanation.nodes[0].clone(); 20_000];
    for node in &mut explanation.nodes {
        let verdict = v1::FilterVerdict { text: "x".repeat(400), ..Default::default() };
        node.verdicts = vec![verdict];
    }
    scheduler.answers_explain(Ok(large));
    let told = explain_task(&rig, &task.task_id).await.unwrap().into_inner();
    assert_eq!(told.explanation.unwrap().nodes.len(), 20_000);
}

/// As the scheduler read it: in millionths of a second, or thousandths.
fn millis(timeout: &str) -> u64 {
    let (digits, unit) = timeout.split_at(timeout.len() - 1);
    let number: u64 = digits.parse().unwrap();
    match unit {
        "n" => number / 1_000_000,
        "u" => number / 1000,
        "m" => number,
        "S" => number * 1000,
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn the_callers_deadline_goes_on_to_the_scheduler() {
    let (rig, scheduler) = rig().await;
    let task_id = rig.create(spec("web")).await.task_id;
    scheduler.answers_explain(Ok(answer()));
    let ask = async |deadline: Option<Duration>| {
        let request = v1::ExplainTaskRequest { task_id: task_id.clone(), ..Default::default() };
        let mut request = Request::new(request);
        if let Some(time) = deadline {
            request.extensions_mut().insert(Deadline::after(time));
        }
        rig.tasks.explain_task(request).await
    };
    ask(Some(Duration::from_secs(2))).await.unwrap();
    let told = millis(&scheduler.timeout().unwrap());
    assert!((1000..=2000).contains(&told), "{told} ms");
    // A caller that waits for ever does not make the manager do so.
    ask(None).await.unwrap();
    let told = millis(&scheduler.timeout().unwrap());
    assert!((29_000..=30_000).contains(&told), "{told} ms");
    scheduler.hangs();
    let status = refused(ask(Some(Duration::from_millis(100))).await);
    assert_eq!((status.code(), reason(&status).as_str()), (Code::Unavailable, "SCHEDULER_TIMEOUT"));
}

#[tokio::test]
async fn questions_beyond_the_limit_are_told_to_come_back() {
    let (rig, scheduler) = rig().await;
    let task_id = rig.create(spec("web")).await.task_id;
    scheduler.hangs();
    let mut asked = JoinSet::new();
    for _ in 0..100 {
        let (tasks, task_id) = (rig.tasks.clone(), task_id.clone());
        asked.spawn(async move {
            tasks.explain_task(Request::new(v1::ExplainTaskRequest { task_id, ..Default::default() })).await
        });
    }
    // 4 are asked, 64 wait.
    for _ in 0..32 {
        let status = refused(asked.join_next().await.unwrap().unwrap());
        assert_eq!((status.code(), reason(&status).as_str()), (Code::ResourceExhausted, "SCHEDULER_BUSY"));
        assert!(status.get_details_retry_info().unwrap().retry_delay.is_some());
    }
    assert!(asked.try_join_next().is_none());
    assert!(scheduler.explain_count() <= 4);
    // Callers that go make room.
    asked.shutdown().await;
    scheduler.goes_on();
    scheduler.answers_explain(Ok(answer()));
    explain_task(&rig, &task_id).await.unwrap();
}
