//! Creating, getting, stopping, restarting and deleting tasks.

use davit_core::state::TaskState;
use davit_proto::v1;
use davit_proto::v1::task_service_server::TaskService as _;
use tonic::{Code, Request, Response, Status};
use tonic_types::StatusExt as _;

use super::{MAX_SPEC_BYTES, Rig, fields, reason, refused, spec};

fn with_id(spec: v1::TaskSpec, request_id: &str) -> v1::CreateTaskRequest {
    v1::CreateTaskRequest { spec: Some(spec), request_id: request_id.to_owned(), validate_only: false }
}

fn batch(groups: &[(&str, u32)], request_id: &str) -> v1::BatchCreateTasksRequest {
    let group = |(name, count): &(&str, u32)| v1::TaskGroup {
        spec: Some(spec(name)),
        count: Some(*count),
        all_or_nothing: false,
    };
    v1::BatchCreateTasksRequest {
        groups: groups.iter().map(group).collect(),
        request_id: request_id.to_owned(),
        validate_only: false,
    }
}

async fn get(rig: &Rig, task_id: &str) -> Result<Response<v1::GetTaskResponse>, Status> {
    rig.tasks.get_task(Request::new(v1::GetTaskRequest { task_id: task_id.to_owned() })).await
}

async fn stop(rig: &Rig, task_id: &str) -> Result<Response<v1::StopTaskResponse>, Status> {
    rig.tasks.stop_task(Request::new(v1::StopTaskRequest { task_id: task_id.to_owned() })).await
}

async fn delete(rig: &Rig, task_id: &str, force: bool) -> Result<Response<v1::DeleteTaskResponse>, Status> {
    rig.tasks.delete_task(Request::new(v1::DeleteTaskRequest { task_id: task_id.to_owned(), force })).await
}

#[tokio::test]
async fn a_created_task_is_pending_and_can_be_had() {
    let rig = Rig::new().await;
    let task = rig.create(spec("web")).await;
    assert_eq!(task.status.as_ref().unwrap().state(), v1::TaskState::Pending);
    assert_eq!(get(&rig, &task.task_id).await.unwrap().into_inner().task, Some(task));
}

#[tokio::test]
async fn every_mistake_of_a_create_is_named_and_nothing_is_created() {
    let rig = Rig::new().await;
    let request = with_id(v1::TaskSpec { name: "no good".to_owned(), ..Default::default() }, &"x".repeat(129));
    let status = refused(rig.tasks.create_task(Request::new(request)).await);
    assert_eq!((status.code(), reason(&status).as_str()), (Code::InvalidArgument, "INVALID_REQUEST"));
    let fields = fields(&status);
    assert!(fields.contains(&"request_id".to_owned()) && fields.contains(&"spec.name".to_owned()), "{fields:?}");
    let status = refused(rig.tasks.create_task(Request::new(v1::CreateTaskRequest::default())).await);
    assert_eq!(super::fields(&status), ["spec"]);
    let status = refused(rig.tasks.create_task(Request::new(with_id(spec("a"), "a\nb"))).await);
    assert_eq!(super::fields(&status), ["request_id"]);
    assert_eq!(rig.api.writer.state().revision().0, 0);
}

#[tokio::test]
async fn a_repeated_create_answers_the_same_task_as_it_is_now() {
    let rig = Rig::new().await;
    let create = async || rig.tasks.create_task(Request::new(with_id(spec("web"), "once"))).await;
    let first = create().await.unwrap().into_inner().task.unwrap();
    stop(&rig, &first.task_id).await.unwrap();
    let second = create().await.unwrap().into_inner().task.unwrap();
    assert_eq!(second.task_id, first.task_id);
    assert_eq!(second.status.unwrap().state(), v1::TaskState::Stopped);
    assert_eq!(rig.api.writer.state().tasks().count(), 1);

    let status = refused(rig.tasks.create_task(Request::new(with_id(spec("other"), "once"))).await);
    assert_eq!((status.code(), reason(&status).as_str()), (Code::AlreadyExists, "REQUEST_ID_REUSED"));

    delete(&rig, &first.task_id, false).await.unwrap();
    let status = refused(create().await);
    assert_eq!((status.code(), reason(&status).as_str()), (Code::NotFound, "TASK_NOT_FOUND"));
}

#[tokio::test]
async fn validate_only_creates_nothing() {
    let rig = Rig::new().await;
    let request = v1::CreateTaskRequest { validate_only: true, ..with_id(spec("web"), "") };
    let task = rig.tasks.create_task(Request::new(request)).await.unwrap().into_inner().task.unwrap();
    assert_eq!((task.task_id.as_str(), task.revision, task.etag.as_str(), task.attempt), ("", 0, "", 1));
    let request = v1::BatchCreateTasksRequest { validate_only: true, ..batch(&[("a", 5)], "") };
    let answer = rig.tasks.batch_create_tasks(Request::new(request)).await.unwrap().into_inner();
    assert!(answer.task_ids.is_empty());
    assert_eq!(rig.api.writer.state().revision().0, 0);
}

#[tokio::test]
async fn a_batch_is_created_in_order_and_equal_specs_are_kept_once() {
    let rig = Rig::new().await;
    let request = batch(&[("a", 3), ("b", 1), ("a", 2)], "batch");
    let answer = rig.tasks.batch_create_tasks(Request::new(request.clone())).await.unwrap().into_inner();
    assert_eq!((answer.task_ids.len(), answer.revision), (6, 6));
    let state = rig.api.writer.state();
    let tasks: Vec<_> = answer.task_ids.iter().map(|id| state.task(id.parse().unwrap()).unwrap()).collect();
    let names: Vec<_> = tasks.iter().map(|task| task.spec.name.as_str()).collect();
    assert_eq!(names, ["a", "a", "a", "b", "a", "a"]);
    assert!(std::sync::Arc::ptr_eq(&tasks[0].spec, &tasks[5].spec));
    let again = rig.tasks.batch_create_tasks(Request::new(request)).await.unwrap().into_inner();
    assert_eq!(again, answer);
    // Also a single create can't take a batch's request id.
    let status = refused(rig.tasks.create_task(Request::new(with_id(spec("a"), "batch"))).await);
    assert_eq!(status.code(), Code::AlreadyExists);
}

#[tokio::test]
async fn batches_out_of_bounds_are_refused_whole() {
    let rig = Rig::new().await;
    for (groups, expected) in
        [(&[][..], "groups"), (&[("a", 10_001)][..], "groups"), (&[("a", 1), ("b", 0)][..], "groups[1].count")]
    {
        let status = refused(rig.tasks.batch_create_tasks(Request::new(batch(groups, ""))).await);
        assert_eq!((status.code(), fields(&status)), (Code::InvalidArgument, vec![expected.to_owned()]));
    }
    assert_eq!(rig.api.writer.state().revision().0, 0);
}

#[tokio::test]
async fn ten_thousand_tasks_are_one_call() {
    let rig = Rig::new().await;
    let answer = rig.tasks.batch_create_tasks(Request::new(batch(&[("a", 10_000)], ""))).await.unwrap().into_inner();
    assert_eq!((answer.task_ids.len(), answer.revision), (10_000, 10_000));
}

#[tokio::test]
async fn ids_that_are_wrong_or_unknown_are_told_apart() {
    let rig = Rig::new().await;
    let unknown = "0193a5c0-1c1e-7d3a-9a53-0f5be2f0a111";
    for (task_id, code) in [("", Code::InvalidArgument), ("web", Code::InvalidArgument), (unknown, Code::NotFound)] {
        let restart = v1::RestartTaskRequest { task_id: task_id.to_owned() };
        let statuses = [
            refused(get(&rig, task_id).await),
            refused(stop(&rig, task_id).await),
            refused(rig.tasks.restart_task(Request::new(restart)).await),
            refused(delete(&rig, task_id, true).await),
        ];
        for status in statuses {
            assert_eq!(status.code(), code, "{status:?}");
            if code == Code::NotFound {
                let resource = status.get_details_resource_info().unwrap();
                assert_eq!((resource.resource_type.as_str(), resource.resource_name.as_str()), ("task", unknown));
            } else {
                assert_eq!(fields(&status), ["task_id"]);
            }
        }
    }
}

#[tokio::test]
async fn a_task_that_has_ended_can_not_be_stopped_but_restarted_and_deleted() {
    let rig = Rig::new().await;
    let task_id = rig.create(spec("web")).await.task_id;
    let status = refused(delete(&rig, &task_id, false).await);
    assert_eq!((status.code(), reason(&status).as_str()), (Code::FailedPrecondition, "TASK_HAS_NOT_ENDED"));
    let stopped = stop(&rig, &task_id).await.unwrap().into_inner().task.unwrap();
    assert_eq!(stopped.desired_state(), v1::DesiredState::Stopped);

    let status = refused(stop(&rig, &task_id).await);
    assert_eq!((status.code(), reason(&status).as_str()), (Code::FailedPrecondition, "TASK_HAS_ENDED"));
    let violation = &status.get_details_precondition_failure().unwrap().violations[0];
    assert_eq!((violation.r#type.as_str(), violation.subject.as_str()), ("TASK_STATE", &*format!("task/{task_id}")));

    let restart = v1::RestartTaskRequest { task_id: task_id.clone() };
    let restarted = rig.tasks.restart_task(Request::new(restart)).await.unwrap().into_inner().task.unwrap();
    assert_eq!((restarted.attempt, restarted.past_attempts.len()), (2, 1));
    delete(&rig, &task_id, true).await.unwrap();
    assert_eq!(refused(get(&rig, &task_id).await).code(), Code::NotFound);
}

#[tokio::test]
async fn a_running_task_that_is_deleted_by_force_stays_until_it_has_ended() {
    let rig = Rig::new().await;
    let (node_id, _session) = rig.join("one").await;
    let task_id = rig.create(spec("web")).await.task_id;
    rig.run_on(&task_id, node_id, &[TaskState::Preparing, TaskState::Running]).await;
    let revision = delete(&rig, &task_id, true).await.unwrap().into_inner().revision;
    let task = get(&rig, &task_id).await.unwrap().into_inner().task.unwrap();
    assert_eq!((task.desired_state(), task.revision), (v1::DesiredState::Removed, revision));
    let restart = v1::RestartTaskRequest { task_id };
    let status = refused(rig.tasks.restart_task(Request::new(restart)).await);
    assert_eq!((status.code(), reason(&status).as_str()), (Code::FailedPrecondition, "TASK_IS_BEING_DELETED"));
}

#[tokio::test]
async fn an_algorithm_that_the_scheduler_does_not_have_is_refused_with_those_it_has() {
    let rig = Rig::with_algorithms(&["binpack", "spread"]).await;
    let policy = v1::PlacementPolicy { algorithm: "best".to_owned(), ..Default::default() };
    let wrong = v1::TaskSpec { placement: Some(policy), ..spec("web") };
    let create = v1::CreateTaskRequest { validate_only: true, ..with_id(wrong.clone(), "") };
    let status = refused(rig.tasks.create_task(Request::new(create)).await);
    assert_eq!((status.code(), fields(&status)), (Code::InvalidArgument, vec!["spec.placement.algorithm".to_owned()]));
    assert!(status.message().contains("use binpack or spread"), "{}", status.message());

    let mut request = batch(&[("fine", 1), ("wrong", 1)], "");
    request.groups[1].spec = Some(wrong);
    let status = refused(rig.tasks.batch_create_tasks(Request::new(request)).await);
    assert_eq!(fields(&status), ["groups[1].spec.placement.algorithm"]);
    assert_eq!(rig.api.writer.state().tasks_after(None).count(), 0);
}

#[tokio::test]
async fn specs_beyond_the_bytes_that_they_may_take_are_refused_without_a_time_to_come_back() {
    let rig = Rig::new().await;
    let large = |name: &str| {
        let command = ["true".to_owned()].into_iter().chain((0..2).map(|_| "x".repeat(100_000)));
        let runtime = v1::ProcessSpec { command: command.collect(), ..Default::default() };
        v1::TaskSpec { runtime: Some(v1::task_spec::Runtime::Process(runtime)), ..spec(name) }
    };
    for number in 0..5 {
        rig.create(large(&number.to_string())).await;
    }
    for validate_only in [false, true] {
        let request = v1::CreateTaskRequest { validate_only, ..with_id(large("more"), "") };
        let status = refused(rig.tasks.create_task(Request::new(request)).await);
        assert_eq!((status.code(), reason(&status).as_str()), (Code::ResourceExhausted, "TOO_MANY_SPEC_BYTES"));
        assert_eq!(status.get_details_error_info().unwrap().metadata["max_spec_bytes"], MAX_SPEC_BYTES.to_string());
        assert!(status.get_details_retry_info().is_none());
    }
    assert_eq!(rig.api.writer.state().tasks().count(), 5);
    rig.create(large("4")).await;
}
