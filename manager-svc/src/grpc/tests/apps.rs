//! Apps: what is refused and how that is told, and what comes of files.

use davit_proto::v1;
use davit_proto::v1::deployment_service_server::DeploymentService as _;
use tonic::{Code, Request, Response, Status};
use tonic_types::StatusExt as _;

use super::fake_scheduler::FakeScheduler;
use super::{Rig, reason, refused};
use crate::grpc::DeploymentApi;

const SHOP: &str = "\
name: shop
services:
  web:
    image: web:${TAG:-1}
    env_file: web.env
    depends_on: {db: {condition: service_healthy}}
    deploy: {replicas: 2}
  db:
    image: db:1
    healthcheck: {test: [CMD, ready]}
";

fn source(content: &str) -> v1::AppSource {
    v1::AppSource {
        files: vec![v1::ComposeFile { name: "compose.yaml".to_owned(), content: content.to_owned() }],
        referenced_files: [("web.env".to_owned(), b"COLOR=red\n".to_vec())].into(),
        ..Default::default()
    }
}

fn service(rig: &Rig) -> DeploymentApi {
    DeploymentApi::new(rig.api.clone())
}

async fn plan(rig: &Rig, source: v1::AppSource) -> Result<Response<v1::PlanAppResponse>, Status> {
    let request = v1::PlanAppRequest { source: Some(source), ..Default::default() };
    service(rig).plan_app(Request::new(request)).await
}

async fn apply(rig: &Rig, request: v1::ApplyAppRequest) -> Result<Response<v1::ApplyAppResponse>, Status> {
    service(rig).apply_app(Request::new(request)).await
}

fn of(content: &str) -> v1::ApplyAppRequest {
    v1::ApplyAppRequest { source: Some(source(content)), author: "me".to_owned(), ..Default::default() }
}

fn actions(planned: &[v1::PlannedDeployment]) -> Vec<(&str, v1::PlannedAction)> {
    planned.iter().map(|planned| (planned.deployment.as_str(), planned.action())).collect()
}

fn violations(status: &Status) -> Vec<String> {
    let bad = status.get_details_bad_request().unwrap();
    bad.field_violations.iter().map(|each| format!("{}: {}", each.field, each.description)).collect()
}

#[tokio::test]
async fn an_app_is_planned_applied_listed_and_deleted() {
    use v1::PlannedAction::{Create, Remove, Roll, Unchanged};
    let rig = Rig::new().await;
    let planned = plan(&rig, source(SHOP)).await.unwrap().into_inner();
    assert_eq!(
        (planned.app.as_str(), actions(&planned.deployments)),
        ("shop", vec![("shop_db", Create), ("shop_web", Create)])
    );
    // There is no scheduler: that is told, and is no failure.
    assert!(planned.placement_problem.contains("scheduler"), "{}", planned.placement_problem);
    assert_eq!(rig.api.writer.state().deployment_count(), 0);

    let request = v1::ApplyAppRequest { plan_token: planned.plan_token.clone(), ..of(SHOP) };
    let applied = apply(&rig, request).await.unwrap().into_inner();
    assert_eq!(actions(&applied.deployments), [("shop_db", Create), ("shop_web", Create)]);
    assert_eq!(applied.deployments[1].created_tasks, 2);
    let request = v1::GetDeploymentRequest { deployment: "shop_web".to_owned() };
    let web = service(&rig).get_deployment(Request::new(request)).await.unwrap().into_inner().deployment.unwrap();
    assert_eq!((web.versions[0].author.as_str(), web.waiting), ("me", true));
    let spec = web.spec.unwrap();
    assert_eq!((spec.app.as_str(), spec.start_after[0].deployment.as_str()), ("shop", "shop_db"));
    let Some(v1::task_spec::Runtime::Container(container)) = spec.task.unwrap().runtime else { panic!("a container") };
    assert_eq!(container.env.get("COLOR").map(String::as_str), Some("red"));

    let before = rig.api.writer.state().revision();
    let again = apply(&rig, of(SHOP)).await.unwrap().into_inner();
    assert_eq!(actions(&again.deployments), [("shop_db", Unchanged), ("shop_web", Unchanged)]);
    assert_eq!(rig.api.writer.state().revision(), before);

    let stale = v1::ApplyAppRequest { plan_token: planned.plan_token, ..of(SHOP) };
    let status = refused(apply(&rig, stale).await);
    assert_eq!((status.code(), reason(&status).as_str()), (Code::Aborted, "PLAN_HAS_CHANGED"));

    let next = "name: shop\nservices: {db: {image: 'db:2'}}\n";
    let planned = plan(&rig, source(next)).await.unwrap().into_inner();
    assert_eq!(actions(&planned.deployments), [("shop_db", Roll), ("shop_web", Remove)]);
    let image = &planned.deployments[0].changes[0];
    assert_eq!(
        (image.path.as_str(), image.before.as_deref(), image.after.as_deref()),
        ("task.container.image", Some("db:1"), Some("db:2"))
    );

    let listed = service(&rig).list_apps(Request::new(v1::ListAppsRequest::default())).await.unwrap().into_inner();
    assert_eq!((listed.apps[0].name.as_str(), listed.apps[0].deployments.len()), ("shop", 2));
    assert_eq!((listed.apps[0].desired_tasks, listed.apps[0].state()), (3, v1::RolloutState::InProgress));
    let filter = v1::DeploymentFilter { app: "other".to_owned(), ..Default::default() };
    let request = v1::ListDeploymentsRequest { filter: Some(filter), ..Default::default() };
    assert!(service(&rig).list_deployments(Request::new(request)).await.unwrap().into_inner().deployments.is_empty());

    let delete = |app: &str| Request::new(v1::DeleteAppRequest { app: app.to_owned() });
    let deleted = service(&rig).delete_app(delete("shop")).await.unwrap().into_inner();
    assert_eq!(deleted.deployments, ["shop_db", "shop_web"]);
    let status = refused(service(&rig).delete_app(delete("shop_x")).await);
    assert_eq!((status.code(), reason(&status).as_str()), (Code::NotFound, "APP_NOT_FOUND"));
    let status = refused(apply(&rig, of(SHOP)).await);
    assert_eq!(reason(&status), "DEPLOYMENT_IS_BEING_DELETED");
}

#[tokio::test]
async fn every_problem_of_the_files_is_told_with_its_place() {
    let rig = Rig::new().await;
    let text =
        "services:\n  web:\n    image: web\n    biuld: .\n    secrets: [a]\n  db: {}\nsecrets: {a: {external: true}}\n";
    let named = v1::AppSource { default_name: "shop".to_owned(), ..source(text) };
    let status = refused(plan(&rig, named).await);
    assert_eq!(status.code(), Code::InvalidArgument);
    assert_eq!(
        violations(&status),
        [
            "source.files[0]: compose.yaml:4:5: services.web.biuld: unknown key; did you mean `build`?",
            "source.files[0]: compose.yaml:5:5: services.web.secrets: there is no secret `a`",
            "source.files[0]: compose.yaml:6:7: services.db: `image` is needed here",
        ]
    );
    let text = "services:\n  web:\n    image: web\n    entrypoint: []\n";
    let named = |lenient| v1::AppSource { default_name: "shop".to_owned(), lenient, ..source(text) };
    let status = refused(plan(&rig, named(false)).await);
    assert_eq!(
        violations(&status),
        [
            "source.files[0]: compose.yaml:4:5: services.web.entrypoint: taking away what the image says is not supported yet"
        ]
    );
    let planned = plan(&rig, named(true)).await.unwrap().into_inner();
    assert_eq!(
        planned.warnings,
        [
            "compose.yaml:4:5: warning: services.web.entrypoint: dropped: taking away what the image says is not supported yet"
        ]
    );
}

#[tokio::test]
async fn what_is_no_app_is_refused() {
    let rig = Rig::new().await;
    let file = |name: &str| v1::ComposeFile { name: name.to_owned(), content: SHOP.to_owned() };
    let fields_of = async |source: Option<v1::AppSource>| {
        let request = v1::PlanAppRequest { source, ..Default::default() };
        super::fields(&refused(service(&rig).plan_app(Request::new(request)).await))
    };
    assert_eq!(fields_of(None).await, ["source"]);
    assert_eq!(fields_of(Some(v1::AppSource::default())).await, ["source.files"]);
    let twice = v1::AppSource { files: vec![file("a"), file("a"), file("")], name: "No".to_owned(), ..source(SHOP) };
    assert_eq!(fields_of(Some(twice)).await, ["source.files[1].name", "source.files[2].name", "source.name"]);
    let many = v1::AppSource { files: (0..17).map(|number| file(&number.to_string())).collect(), ..source(SHOP) };
    assert_eq!(fields_of(Some(many)).await, ["source.files"]);
    let request = v1::ApplyAppRequest { author: "a".repeat(200), ..of(SHOP) };
    assert_eq!(super::fields(&refused(apply(&rig, request).await)), ["author"]);
}

#[tokio::test]
async fn the_scheduler_is_asked_about_each_deployment_as_if_those_before_were_placed() {
    let scheduler = FakeScheduler::default();
    let rig = Rig::with_scheduler(&scheduler.serve().await).await;
    let (node_id, _) = rig.join("one").await;
    let placement = v1::GroupPlacement {
        group_id: "0".to_owned(),
        runs: vec![v1::PlacementRun { node_id: node_id.to_string(), count: 1 }],
        unplaced_count: 1,
        unplaced_reason: "full".to_owned(),
        preemptions: Vec::new(),
    };
    let explanation = Some(v1::PlacementExplanation::default());
    scheduler.answers_explain(Ok(v1::ExplainResponse { explanation, placement: Some(placement) }));
    let text = "name: shop\nservices:\n  a: {image: a, mem_reservation: 100m}\n  b: {image: b, scale: 2}\n  c: {image: c, deploy: {mode: global}}\n";
    let planned = plan(&rig, source(text)).await.unwrap().into_inner();
    assert_eq!(planned.placement_problem, "");
    let placed = |index: usize| planned.deployments[index].placement.clone().unwrap();
    assert_eq!(placed(0).nodes, [v1::PlannedNode { node: "one".to_owned(), count: 1 }]);
    assert_eq!((placed(1).unplaced_count, placed(1).unplaced_reason.as_str()), (1, "full"));
    assert_eq!(placed(2).nodes, [v1::PlannedNode { node: "one".to_owned(), count: 1 }]);
    let asked = scheduler.all_explained();
    let counts: Vec<u32> = asked.iter().map(|asked| asked.group.as_ref().unwrap().count).collect();
    assert_eq!(counts, [1, 2]);
    let reserved = |index: usize| asked[index].nodes[0].reserved.unwrap_or_default().memory_bytes;
    assert_eq!((reserved(0), reserved(1)), (0, 100 << 20));
}
