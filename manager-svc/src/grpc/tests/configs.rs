//! Configs and secrets: what is given back, what is refused, and what workers get.

use davit_core::id::Attempt;
use davit_core::state::TaskState;
use davit_core::task::AttemptStatus;
use davit_proto::v1;
use davit_proto::v1::config_service_server::ConfigService as _;
use davit_proto::v1::deployment_service_server::DeploymentService as _;
use davit_proto::v1::event_service_server::EventService as _;
use davit_proto::v1::task_service_server::TaskService as _;
use davit_proto::v1::worker_session_service_server::WorkerSessionService as _;
use tonic::{Code, Request, Status};
use tonic_types::StatusExt as _;

use super::{Rig, reason, refused};
use crate::commands::{self, apply_reports};
use crate::grpc::{ConfigApi, DeploymentApi, WorkerSessions};
use crate::state::Draft;

const SECRET: &str = "swordfish-of-the-api";
const CONFIG: i32 = v1::ConfigKind::Config as i32;
const SECRET_KIND: i32 = v1::ConfigKind::Secret as i32;

fn configs(rig: &Rig) -> ConfigApi {
    ConfigApi::new(rig.api.clone())
}

async fn create(rig: &Rig, name: &str, kind: i32, content: &str) -> Result<v1::Config, Status> {
    let (name, content) = (name.to_owned(), content.as_bytes().to_vec());
    let request = v1::CreateConfigRequest { name, kind, content, ..Default::default() };
    let created = configs(rig).create_config(Request::new(request)).await?;
    Ok(created.into_inner().config.unwrap())
}

fn spec(grants: &[v1::FileGrant]) -> v1::TaskSpec {
    let container = v1::ContainerSpec { image: "busybox".to_owned(), files: grants.to_vec(), ..Default::default() };
    v1::TaskSpec {
        name: "web".to_owned(),
        runtime: Some(v1::task_spec::Runtime::Container(container)),
        ..Default::default()
    }
}

fn grant(name: &str, secret: bool) -> v1::FileGrant {
    v1::FileGrant { name: name.to_owned(), secret, ..Default::default() }
}

fn files(spec: Option<v1::TaskSpec>) -> Vec<v1::FileGrant> {
    match spec.unwrap().runtime.unwrap() {
        v1::task_spec::Runtime::Container(container) => container.files,
        v1::task_spec::Runtime::Process(_) => panic!("a container"),
    }
}

fn violations(status: &Status) -> Vec<String> {
    let bad = status.get_details_bad_request().unwrap();
    bad.field_violations.iter().map(|each| format!("{}: {}", each.field, each.description)).collect()
}

#[tokio::test]
async fn a_config_is_given_back_and_a_secret_never() {
    let rig = Rig::new().await;
    for (name, kind) in [("web.conf", CONFIG), ("web.conf", SECRET_KIND)] {
        let created = create(&rig, name, kind, SECRET).await.unwrap();
        assert_eq!((created.name.as_str(), created.kind, created.versions[0].size_bytes), (name, kind, 20));
    }
    let get = async |kind, with_content| {
        let request = v1::GetConfigRequest { name: "web.conf".to_owned(), kind, with_content, ..Default::default() };
        configs(&rig).get_config(Request::new(request)).await
    };
    assert_eq!(get(CONFIG, true).await.unwrap().into_inner().content, SECRET.as_bytes());
    assert_eq!(get(CONFIG, false).await.unwrap().into_inner().content, b"");
    assert_eq!(get(SECRET_KIND, false).await.unwrap().into_inner().content, b"");
    let status = refused(get(SECRET_KIND, true).await);
    assert_eq!(violations(&status), ["with_content: what a secret holds is given back by no call"]);
    let list = |page_token| v1::ListConfigsRequest { page_size: 1, page_token, ..Default::default() };
    let first = configs(&rig).list_configs(Request::new(list(String::new()))).await.unwrap().into_inner();
    let second = configs(&rig).list_configs(Request::new(list(first.next_page_token.clone()))).await.unwrap();
    let kinds: Vec<i32> = first.configs.iter().chain(&second.get_ref().configs).map(|config| config.kind).collect();
    assert_eq!((kinds, second.get_ref().next_page_token.as_str()), (vec![CONFIG, SECRET_KIND], ""));
    let events = rig.events.list_events(Request::new(v1::ListEventsRequest::default())).await.unwrap().into_inner();
    assert_eq!(events.events.iter().filter(|event| event.r#type == 21).count(), 2);
    assert!(!format!("{events:?}").contains(SECRET));
    let delete = v1::DeleteConfigRequest { name: "web.conf".to_owned(), kind: CONFIG };
    configs(&rig).delete_config(Request::new(delete.clone())).await.unwrap();
    assert_eq!(refused(configs(&rig).delete_config(Request::new(delete)).await).code(), Code::NotFound);
}

#[tokio::test]
async fn what_is_wrong_is_told_with_its_place() {
    let rig = Rig::new().await;
    let request = v1::CreateConfigRequest {
        name: "a b".to_owned(),
        content: vec![0; 512_001],
        labels: [(" ".to_owned(), String::new())].into(),
        ..Default::default()
    };
    let status = refused(configs(&rig).create_config(Request::new(request)).await);
    let fields: Vec<String> =
        violations(&status).iter().map(|told| told.split([':', '[']).next().unwrap_or_default().to_owned()).collect();
    assert_eq!(fields, ["kind", "name", "content", "labels"]);
    create(&rig, "a", CONFIG, "1").await.unwrap();
    let wrong = [
        grant("b", false),
        grant("a", true),
        v1::FileGrant { digest: format!("sha256:{}", "0".repeat(64)), target: "/x".to_owned(), ..grant("a", false) },
        v1::FileGrant { digest: "1".to_owned(), ..grant("a", false) },
        v1::FileGrant { target: "x".to_owned(), mode: Some(0o1777), uid: u32::MAX, ..grant("a", false) },
    ];
    let create_task = async |grants: &[v1::FileGrant]| {
        let request = v1::CreateTaskRequest { spec: Some(spec(grants)), ..Default::default() };
        rig.tasks.create_task(Request::new(request)).await
    };
    let told = violations(&refused(create_task(&wrong[3..]).await));
    let fields: Vec<&str> = told.iter().map(|told| told.split(':').next().unwrap_or_default()).collect();
    let at = |rest: &str| format!("spec.container.files{rest}");
    assert_eq!(fields, [at("[0].digest"), at("[1].target"), at("[1].uid"), at("[1].mode")]);
    let told = violations(&refused(create_task(&wrong[..3]).await));
    assert_eq!(told[0], at("[0].name: there is no config `b`"));
    assert_eq!(told[1], at("[1].name: there is no secret `a`"));
    assert!(told[2].starts_with(&at("[2].digest: config `a` has no version sha256:0000")), "{told:?}");
}

#[tokio::test]
async fn a_spec_gets_the_newest_version_and_keeps_it() {
    let rig = Rig::new().await;
    let first = create(&rig, "a", CONFIG, "1").await.unwrap().versions[0].digest.clone();
    let task = rig.create(spec(&[grant("a", false)])).await;
    let second = create(&rig, "a", CONFIG, "2").await.unwrap().versions[0].digest.clone();
    let get = v1::GetTaskRequest { task_id: task.task_id.clone() };
    let task = rig.tasks.get_task(Request::new(get)).await.unwrap().into_inner().task.unwrap();
    let grants = files(task.spec);
    assert_eq!((grants[0].digest.as_str(), grants[0].target.as_str(), grants[0].mode), (&*first, "/a", Some(0o444)));
    let deployments = DeploymentApi::new(rig.api.clone());
    let wanted = || v1::DeploymentSpec {
        name: "web".to_owned(),
        task: Some(v1::TaskSpec { name: String::new(), ..spec(&[grant("a", false)]) }),
        ..Default::default()
    };
    let request = v1::CreateDeploymentRequest { spec: Some(wanted()), ..Default::default() };
    let created = deployments.create_deployment(Request::new(request)).await.unwrap().into_inner().deployment.unwrap();
    assert_eq!(files(created.spec.unwrap().task)[0].digest, second);
    let update = async || {
        let request =
            v1::UpdateDeploymentRequest { deployment: "web".to_owned(), spec: Some(wanted()), ..Default::default() };
        deployments.update_deployment(Request::new(request)).await.unwrap().into_inner().deployment.unwrap()
    };
    assert_eq!(update().await.versions.len(), 1, "nothing has changed");
    let third = create(&rig, "a", CONFIG, "3").await.unwrap().versions[0].digest.clone();
    let updated = update().await;
    assert_eq!(updated.versions.last().unwrap().change, format!("config `a` {} -> {}", &second[..19], &third[..19]));
    assert_eq!(files(updated.spec.unwrap().task)[0].digest, third);
    let request = v1::DeleteConfigRequest { name: "a".to_owned(), kind: CONFIG };
    let in_use = refused(configs(&rig).delete_config(Request::new(request)).await);
    assert_eq!((in_use.code(), reason(&in_use).as_str()), (Code::FailedPrecondition, "CONFIG_IN_USE"));
}

#[tokio::test]
async fn a_worker_gets_what_its_attempts_need_and_nothing_else() {
    let rig = Rig::new().await;
    let digest = create(&rig, "db", SECRET_KIND, SECRET).await.unwrap().versions[0].digest.clone();
    let other = create(&rig, "other", SECRET_KIND, "other").await.unwrap().versions[0].digest.clone();
    let (node, _) = rig.join("node-1").await;
    let (elsewhere, _) = rig.join("node-2").await;
    let task = rig.create(spec(&[grant("db", true)])).await;
    let sessions = WorkerSessions::new(rig.api.clone());
    let fetch = async |node: &str, attempt: u32, digest: &str| {
        let attempt = Some(v1::AttemptRef { task_id: task.task_id.clone(), attempt });
        let request = v1::FetchFileRequest { node_id: node.to_owned(), attempt, digest: digest.to_owned() };
        sessions.fetch_file(Request::new(request)).await
    };
    let (node_name, elsewhere) = (node.to_string(), elsewhere.to_string());
    assert_eq!(refused(fetch(&node_name, 1, &digest).await).code(), Code::NotFound, "it is nobody's yet");
    rig.run_on(&task.task_id, node, &[TaskState::Running]).await;
    assert_eq!(fetch(&node_name, 1, &digest).await.unwrap().into_inner().content, SECRET.as_bytes());
    for (node, attempt, digest) in [(&elsewhere, 1, &digest), (&node_name, 2, &digest), (&node_name, 1, &other)] {
        assert_eq!(refused(fetch(node, attempt, digest).await).code(), Code::NotFound);
    }
    assert_eq!(refused(fetch("x", 0, "y").await).code(), Code::InvalidArgument);
    let (task_id, first) = (task.task_id.parse().unwrap(), Attempt::FIRST);
    let completed =
        AttemptStatus { state: TaskState::Completed, node_id: Some(node), ..AttemptStatus::pending(first, "") };
    let report = move |draft: &mut Draft| {
        apply_reports(draft, node, vec![(task_id, completed)]);
        Ok::<(), commands::Error>(())
    };
    rig.api.writer.write(report).await.unwrap();
    assert_eq!(refused(fetch(&node_name, 1, &digest).await).code(), Code::NotFound, "it has ended");
}

#[tokio::test]
async fn an_apps_configs_come_with_it_roll_it_and_go_with_it() {
    const SHOP: &str = "name: shop\nservices:\n  web:\n    image: web:1\n    configs: [{source: web.conf, mode: 0440}]\n    \
                        secrets: [db]\nconfigs: {web.conf: {file: ./web.conf}}\nsecrets: {db: {environment: DB}}\n";
    let rig = Rig::new().await;
    let deployments = DeploymentApi::new(rig.api.clone());
    let source = |conf: &str, db: &str| v1::AppSource {
        files: vec![v1::ComposeFile { name: "compose.yaml".to_owned(), content: SHOP.to_owned() }],
        variables: [("DB".to_owned(), db.to_owned())].into(),
        referenced_files: [("./web.conf".to_owned(), conf.as_bytes().to_vec())].into(),
        ..Default::default()
    };
    let apply = async |conf: &str, db: &str| {
        let request = v1::ApplyAppRequest { source: Some(source(conf, db)), ..Default::default() };
        deployments.apply_app(Request::new(request)).await.unwrap().into_inner().deployments
    };
    let names = || {
        let state = rig.api.writer.state();
        state.configs().map(|config| (config.name.to_string(), config.is_deleted)).collect::<Vec<_>>()
    };
    let request = v1::PlanAppRequest { source: Some(source("1", SECRET)), ..Default::default() };
    let planned = deployments.plan_app(Request::new(request)).await.unwrap().into_inner();
    assert!(!format!("{planned:?}").contains(SECRET));
    assert_eq!((names(), planned.deployments[0].action()), (vec![], v1::PlannedAction::Create));
    apply("1", SECRET).await;
    let both = [("config `shop_web.conf`".to_owned(), false), ("secret `shop_db`".to_owned(), false)];
    assert_eq!(names(), both);
    assert_eq!(apply("1", SECRET).await[0].action(), v1::PlannedAction::Unchanged);
    let rolled = apply("2", SECRET).await;
    assert_eq!(rolled[0].action(), v1::PlannedAction::Roll);
    let paths: Vec<&str> = rolled[0].changes.iter().map(|change| change.path.as_str()).collect();
    assert_eq!(paths, ["task.container.files[/web.conf].digest"]);
    let delete = v1::DeleteAppRequest { app: "shop".to_owned() };
    deployments.delete_app(Request::new(delete)).await.unwrap();
    assert!(names().iter().all(|(_, is_deleted)| *is_deleted));
}
