//! Plans of moves, and moves.

use davit_core::state::TaskState;
use davit_proto::v1;
use davit_proto::v1::cluster_service_server::ClusterService as _;
use davit_proto::v1::node_service_server::NodeService as _;
use davit_proto::v1::task_service_server::TaskService as _;
use tonic::{Code, Request, Response, Status};
use tonic_types::StatusExt as _;

use super::fake_scheduler::FakeScheduler;
use super::{Rig, fields, reason, refused, spec};

async fn rig() -> (Rig, FakeScheduler) {
    let scheduler = FakeScheduler::default();
    scheduler.answers_moves(Ok(v1::PlanMovesResponse::default()));
    let rig = Rig::with_scheduler(&scheduler.serve().await).await;
    (rig, scheduler)
}

async fn plan(rig: &Rig, max_moves: u32, min_gain: f64) -> Result<Response<v1::PlanRebalanceResponse>, Status> {
    rig.cluster.plan_rebalance(Request::new(v1::PlanRebalanceRequest { max_moves, min_gain })).await
}

fn move_to(task_id: &str, node: &str) -> v1::MoveTaskRequest {
    v1::MoveTaskRequest { task_id: task_id.to_owned(), node: node.to_owned(), ..Default::default() }
}

async fn move_task(rig: &Rig, request: v1::MoveTaskRequest) -> Result<Response<v1::MoveTaskResponse>, Status> {
    rig.tasks.move_task(Request::new(request)).await
}

#[tokio::test]
async fn a_plan_names_tasks_attempts_and_nodes() {
    let (rig, scheduler) = rig().await;
    let (one, _one) = rig.join("one").await;
    let (two, _two) = rig.join("two").await;
    let task = rig.create(spec("web")).await;
    rig.run_on(&task.task_id, one, &[TaskState::Preparing, TaskState::Running]).await;
    scheduler.answers_moves(Ok(v1::PlanMovesResponse {
        moves: vec![v1::PlannedMove {
            task_id: task.task_id.clone(),
            from_node_id: one.to_string(),
            to_node_id: two.to_string(),
            gain: 0.5,
            reason: "one is 80% full".to_owned(),
        }],
        imbalance_before: 0.75,
        imbalance_after: 0.25,
        more: true,
        note: "1 task stays where it is".to_owned(),
    }));
    let answer = plan(&rig, 0, 0.0).await.unwrap().into_inner();
    let expected = v1::TaskMove {
        task_id: task.task_id.clone(),
        attempt: 1,
        task_name: "web".to_owned(),
        from_node_id: one.to_string(),
        from_node_name: "one".to_owned(),
        to_node_id: two.to_string(),
        to_node_name: "two".to_owned(),
        gain: 0.5,
        reason: "one is 80% full".to_owned(),
    };
    assert_eq!(answer.moves, [expected]);
    assert_eq!((answer.imbalance_before, answer.imbalance_after, answer.more), (0.75, 0.25, true));
    assert_eq!(answer.note, "1 task stays where it is");
    assert_eq!(answer.revision, rig.api.writer.state().revision().0);

    let question = scheduler.planned();
    assert_eq!((question.max_moves, question.min_gain), (100, 0.01));
    let told: Vec<_> = question.nodes.iter().map(|node| (node.name.as_str(), node.tasks.len())).collect();
    assert_eq!(told, [("one", 1), ("two", 0)]);
    assert_eq!(question.nodes[0].tasks[0].task_id, task.task_id);
    assert!(question.nodes[0].tasks[0].requirements.is_some());
}

#[tokio::test]
async fn tasks_that_are_on_their_way_out_are_not_offered_but_count() {
    let (rig, scheduler) = rig().await;
    let (one, _one) = rig.join("one").await;
    let [stays, stopped, restarted] = [
        rig.create(spec("stays")).await.task_id,
        rig.create(spec("stopped")).await.task_id,
        rig.create(spec("restarted")).await.task_id,
    ];
    for task_id in [&stays, &stopped, &restarted] {
        rig.run_on(task_id, one, &[TaskState::Preparing, TaskState::Running]).await;
    }
    rig.tasks.stop_task(Request::new(v1::StopTaskRequest { task_id: stopped })).await.unwrap();
    rig.tasks.restart_task(Request::new(v1::RestartTaskRequest { task_id: restarted })).await.unwrap();
    plan(&rig, 7, 0.5).await.unwrap();
    let question = scheduler.planned();
    assert_eq!((question.max_moves, question.min_gain), (7, 0.5));
    let told: Vec<_> = question.nodes[0].tasks.iter().map(|task| task.task_id.clone()).collect();
    assert_eq!((told, question.nodes[0].task_count), (vec![stays], 3));
}

#[tokio::test]
async fn every_task_of_a_node_is_offered_however_few_moves_are_asked_for() {
    let (rig, scheduler) = rig().await;
    let (one, _one) = rig.join("one").await;
    for _ in 0..5 {
        let task_id = rig.create(spec("web")).await.task_id;
        rig.run_on(&task_id, one, &[]).await;
    }
    plan(&rig, 1, 0.0).await.unwrap();
    let question = scheduler.planned();
    assert_eq!((question.nodes[0].tasks.len(), question.max_moves), (5, 1));
    assert_eq!(question.nodes[0].tasks[0].algorithm, "spread", "the default is spelled out");
}

#[tokio::test]
async fn bounds_of_a_plan_are_checked() {
    let (rig, _scheduler) = rig().await;
    for (max_moves, min_gain, expected) in [
        (1001, 0.0, vec!["max_moves"]),
        (0, 1.5, vec!["min_gain"]),
        (0, -0.1, vec!["min_gain"]),
        (1001, f64::NAN, vec!["max_moves", "min_gain"]),
    ] {
        let status = refused(plan(&rig, max_moves, min_gain).await);
        assert_eq!(
            (status.code(), fields(&status)),
            (Code::InvalidArgument, expected.iter().map(|f| (*f).to_owned()).collect())
        );
    }
}

#[tokio::test]
async fn a_plan_that_makes_no_sense_is_not_passed_on() {
    let (rig, scheduler) = rig().await;
    let (one, _one) = rig.join("one").await;
    let task = rig.create(spec("web")).await;
    let good = v1::PlannedMove {
        task_id: task.task_id.clone(),
        from_node_id: one.to_string(),
        to_node_id: one.to_string(),
        ..Default::default()
    };
    let moves = [
        v1::PlannedMove { task_id: "web".to_owned(), ..good.clone() },
        // It is on no node.
        good.clone(),
    ];
    for planned in moves {
        scheduler.answers_moves(Ok(v1::PlanMovesResponse { moves: vec![planned], ..Default::default() }));
        let status = refused(plan(&rig, 0, 0.0).await);
        assert_eq!((status.code(), reason(&status).as_str()), (Code::Internal, "SCHEDULER_NONSENSE"));
    }
}

#[tokio::test]
async fn without_a_scheduler_there_is_no_plan() {
    let rig = Rig::new().await;
    let status = refused(plan(&rig, 0, 0.0).await);
    assert_eq!((status.code(), reason(&status).as_str()), (Code::Unavailable, "SCHEDULER_UNREACHABLE"));
}

#[tokio::test]
async fn a_moved_task_keeps_room_on_the_other_node_and_is_not_offered_again() {
    let (rig, scheduler) = rig().await;
    let (one, _one) = rig.join("one").await;
    let (two, _two) = rig.join("two").await;
    let task_id = rig.create(spec("web")).await.task_id;
    rig.run_on(&task_id, one, &[TaskState::Preparing, TaskState::Running]).await;
    let request = v1::MoveTaskRequest { attempt: 1, ..move_to(&task_id, "two") };
    let task = move_task(&rig, request).await.unwrap().into_inner().task.unwrap();
    let claim = task.claim.unwrap();
    assert_eq!((claim.node_id, claim.reason.as_str()), (two.to_string(), "moved to two"));
    plan(&rig, 0, 0.0).await.unwrap();
    let told: Vec<_> = scheduler.planned().nodes.iter().map(|node| (node.task_count, node.tasks.len())).collect();
    assert_eq!(told, [(1, 0), (1, 0)]);
    // Explained as if it were on neither.
    scheduler.answers_explain(Ok(v1::ExplainResponse {
        explanation: Some(v1::PlacementExplanation::default()),
        placement: Some(v1::GroupPlacement::default()),
    }));
    rig.tasks.explain_task(Request::new(v1::ExplainTaskRequest { task_id, max_nodes: 0 })).await.unwrap();
    let told: Vec<_> = scheduler.explained().nodes.iter().map(|node| node.task_count).collect();
    assert_eq!(told, [0, 0]);
}

#[tokio::test]
async fn a_move_that_can_not_be_is_refused_with_the_reason() {
    let rig = Rig::new().await;
    let (one, _one) = rig.join("one").await;
    rig.join("two").await;
    let task_id = rig.create(spec("web")).await.task_id;
    rig.run_on(&task_id, one, &[TaskState::Preparing, TaskState::Running]).await;
    let unknown = "0193a5c0-1c1e-7d3a-9a53-0f5be2f0a111";

    let request = v1::MoveTaskRequest { reason: "x".repeat(257), ..move_to("web", "") };
    let status = refused(move_task(&rig, request).await);
    assert_eq!(
        (status.code(), fields(&status)),
        (Code::InvalidArgument, ["task_id", "node", "reason"].map(str::to_owned).to_vec())
    );
    let request = v1::MoveTaskRequest { reason: "a\nb".to_owned(), ..move_to(&task_id, "two") };
    assert_eq!(fields(&refused(move_task(&rig, request).await)), ["reason"]);

    let status = refused(move_task(&rig, move_to(unknown, "two")).await);
    assert_eq!((status.code(), reason(&status).as_str()), (Code::NotFound, "TASK_NOT_FOUND"));
    let status = refused(move_task(&rig, move_to(&task_id, &"n".repeat(1_000_000))).await);
    assert_eq!((status.code(), reason(&status).as_str()), (Code::NotFound, "NODE_NOT_FOUND"));
    assert!(status.message().len() < 200);

    rig.nodes.cordon_node(Request::new(v1::CordonNodeRequest { node: "two".to_owned() })).await.unwrap();
    let status = refused(move_task(&rig, move_to(&task_id, "two")).await);
    assert_eq!(status.code(), Code::FailedPrecondition);
    assert!(status.message().contains("cordoned"), "{}", status.message());
    assert!(status.get_details_precondition_failure().is_some());

    rig.nodes.uncordon_node(Request::new(v1::UncordonNodeRequest { node: "two".to_owned() })).await.unwrap();
    let request = v1::MoveTaskRequest { attempt: 2, ..move_to(&task_id, "two") };
    let status = refused(move_task(&rig, request).await);
    assert_eq!((status.code(), reason(&status).as_str()), (Code::Aborted, "ATTEMPT_HAS_CHANGED"));

    rig.tasks.stop_task(Request::new(v1::StopTaskRequest { task_id: task_id.clone() })).await.unwrap();
    let status = refused(move_task(&rig, move_to(&task_id, "two")).await);
    assert_eq!(status.code(), Code::FailedPrecondition, "{status:?}");
}

#[tokio::test]
async fn each_group_that_is_all_or_nothing_is_a_gang_of_its_own() {
    let rig = Rig::new().await;
    let group = |name: &str, all_or_nothing| v1::TaskGroup { spec: Some(spec(name)), count: Some(2), all_or_nothing };
    let groups = vec![group("a", true), group("a", true), group("b", false)];
    let request = v1::BatchCreateTasksRequest { groups, ..Default::default() };
    let answer = rig.tasks.batch_create_tasks(Request::new(request)).await.unwrap().into_inner();
    let state = rig.api.writer.state();
    let gangs: Vec<_> = answer.task_ids.iter().map(|id| state.task(id.parse().unwrap()).unwrap().gang_id()).collect();
    assert!(gangs[0].is_some() && gangs[0] == gangs[1] && gangs[2].is_some() && gangs[2] == gangs[3]);
    assert!(gangs[0] != gangs[2] && gangs[4].is_none() && gangs[5].is_none());
}
