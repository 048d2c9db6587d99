//! Deployments through the service: what a reader of a rollout is told.

use davit_core::deployment::RolloutState;
use davit_proto::v1;
use davit_proto::v1::deployment_service_server::DeploymentService as _;
use futures::{Stream, StreamExt as _, pin_mut};
use tonic::{Code, Request, Status};

use super::{Rig, fields, reason, refused, spec};
use crate::commands::{self, Limits, reconcile_deployment};
use crate::grpc::DeploymentApi;
use crate::state::Draft;

fn service(rig: &Rig) -> DeploymentApi {
    DeploymentApi::new(rig.api.clone())
}

/// Creates `web`, for which nothing is done yet.
async fn create(rig: &Rig, update_policy: Option<v1::UpdatePolicy>) -> v1::Deployment {
    let spec = v1::DeploymentSpec {
        name: "web".to_owned(),
        task: Some(spec("web")),
        mode: Some(v1::deployment_spec::Mode::Replicated(v1::ReplicatedMode { replicas: Some(2) })),
        update_policy,
        ..Default::default()
    };
    let request = v1::CreateDeploymentRequest { spec: Some(spec), ..Default::default() };
    service(rig).create_deployment(Request::new(request)).await.unwrap().into_inner().deployment.unwrap()
}

async fn scale(rig: &Rig, replicas: u32) {
    let request = v1::ScaleDeploymentRequest { deployment: "web".to_owned(), replicas, ..Default::default() };
    service(rig).scale_deployment(Request::new(request)).await.unwrap();
}

async fn watch(
    rig: &Rig,
    through_promotion: bool,
) -> impl Stream<Item = Result<v1::WatchRolloutResponse, Status>> + use<> {
    let request = v1::WatchRolloutRequest { deployment: "web".to_owned(), through_promotion };
    service(rig).watch_rollout(Request::new(request)).await.unwrap().into_inner()
}

/// Brings the rollout of `web` into a state, as if all had come to that.
async fn bring(rig: &Rig, state: RolloutState) {
    let command = move |draft: &mut Draft| {
        let mut web = (**draft.state().deployment_by_name("web").unwrap()).clone();
        let task = draft.state().specs().keyed(&web.current().unwrap().spec.task);
        web.rollout.state = state;
        draft.put_deployment(web, &task, crate::state::EventType::DeploymentRolloutChanged, "");
        Ok::<(), commands::Error>(())
    };
    rig.api.writer.write(command).await.unwrap();
}

#[tokio::test]
async fn a_reader_of_a_rollout_is_told_the_newest_state_only() {
    let rig = Rig::new().await;
    create(&rig, None).await;
    let watch = watch(&rig, false).await;
    pin_mut!(watch);
    let version = |message: v1::WatchRolloutResponse| message.deployment.unwrap().version;
    assert_eq!(version(watch.next().await.unwrap().unwrap()), 1);
    for replicas in 3..8 {
        scale(&rig, replicas).await;
    }
    assert_eq!(version(watch.next().await.unwrap().unwrap()), 6);
}

#[tokio::test]
async fn the_stream_ends_with_the_rollout() {
    let rig = Rig::new().await;
    create(&rig, None).await;
    let watch = watch(&rig, false).await;
    pin_mut!(watch);
    watch.next().await.unwrap().unwrap();
    bring(&rig, RolloutState::Complete).await;
    let last = watch.next().await.unwrap().unwrap();
    assert_eq!(last.deployment.unwrap().rollout.unwrap().state(), v1::RolloutState::Complete);
    assert!(watch.next().await.is_none());
}

#[tokio::test]
async fn one_that_waits_for_its_promotion_ends_the_stream_unless_it_is_to_be_seen_through() {
    let rig = Rig::new().await;
    create(&rig, None).await;
    bring(&rig, RolloutState::AwaitingPromotion).await;
    let (short, long) = (watch(&rig, false).await, watch(&rig, true).await);
    pin_mut!(short, long);
    assert!(short.next().await.unwrap().is_ok());
    assert!(short.next().await.is_none());
    assert!(long.next().await.unwrap().is_ok());
    bring(&rig, RolloutState::Complete).await;
    assert!(long.next().await.unwrap().is_ok());
    assert!(long.next().await.is_none());
}

#[tokio::test]
async fn the_end_of_a_deployment_and_of_the_manager_are_told() {
    let rig = Rig::new().await;
    let created = create(&rig, None).await;
    let gone = watch(&rig, false).await;
    pin_mut!(gone);
    gone.next().await.unwrap().unwrap();
    let request = v1::DeleteDeploymentRequest { deployment: "web".to_owned(), ..Default::default() };
    service(&rig).delete_deployment(Request::new(request)).await.unwrap();
    let deployment_id = created.deployment_id.parse().unwrap();
    let command = move |draft: &mut Draft| {
        reconcile_deployment(draft, deployment_id, &mut std::iter::empty(), Limits::NONE);
        Ok::<(), commands::Error>(())
    };
    rig.api.writer.write(command).await.unwrap();
    let last = loop {
        let message = gone.next().await.expect("ended without a word").unwrap();
        if message.deleted {
            break message;
        }
    };
    assert_eq!(last.deployment.unwrap().spec.unwrap().name, "web");
    assert!(gone.next().await.is_none());

    create(&rig, None).await;
    let cut = watch(&rig, false).await;
    pin_mut!(cut);
    cut.next().await.unwrap().unwrap();
    rig.shutdown.trigger();
    let status = cut.next().await.unwrap().unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::Unavailable, "STOPPING"));
    assert!(cut.next().await.is_none());
}

#[tokio::test]
async fn what_is_no_policy_is_refused_by_its_field_and_creates_nothing() {
    let rig = Rig::new().await;
    let policy = v1::UpdatePolicy { max_failure_ratio: 1.5, ..Default::default() };
    let spec = v1::DeploymentSpec {
        name: "web".to_owned(),
        task: Some(spec("web")),
        mode: Some(v1::deployment_spec::Mode::Replicated(v1::ReplicatedMode { replicas: Some(100_001) })),
        update_policy: Some(policy),
        ..Default::default()
    };
    let request = v1::CreateDeploymentRequest { spec: Some(spec), ..Default::default() };
    let status = refused(service(&rig).create_deployment(Request::new(request)).await);
    assert_eq!(status.code(), Code::InvalidArgument);
    assert_eq!(fields(&status), ["spec.replicated.replicas", "spec.update_policy.max_failure_ratio"]);
    assert_eq!(rig.api.writer.state().deployment_count(), 0);
}
