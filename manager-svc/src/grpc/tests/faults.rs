//! A store that can't be written.

use davit_proto::v1;
use davit_proto::v1::cluster_service_server::ClusterService as _;
use davit_proto::v1::node_service_server::NodeService as _;
use davit_proto::v1::task_service_server::TaskService as _;
use tonic::{Code, Request};
use tonic_types::StatusExt as _;

use super::{Rig, reason, refused, spec};

#[tokio::test]
async fn what_can_not_be_stored_is_unavailable_and_changes_nothing() {
    let rig = Rig::new().await;
    rig.join("one").await;
    let task_id = rig.create(spec("a")).await.task_id;
    let before = rig.api.writer.state();
    rig.fault.set("no space left");
    let create = v1::CreateTaskRequest { spec: Some(spec("b")), request_id: "b".into(), validate_only: false };
    let statuses = [
        refused(rig.tasks.create_task(Request::new(create.clone())).await),
        refused(rig.tasks.stop_task(Request::new(v1::StopTaskRequest { task_id: task_id.clone() })).await),
        refused(
            rig.tasks.delete_task(Request::new(v1::DeleteTaskRequest { task_id: task_id.clone(), force: true })).await,
        ),
        refused(rig.nodes.cordon_node(Request::new(v1::CordonNodeRequest { node: "one".into() })).await),
    ];
    for status in statuses {
        assert_eq!((status.code(), reason(&status).as_str()), (Code::Unavailable, "NOT_COMMITTED"));
        assert!(status.get_details_retry_info().unwrap().retry_delay.is_some());
        assert!(status.message().contains("no space left"), "{}", status.message());
    }
    let after = rig.api.writer.state();
    assert_eq!((after.revision(), after.tasks().count()), (before.revision(), 1));
    // Reads go on, and the cluster says why.
    let told = rig.cluster.get_cluster(Request::new(v1::GetClusterRequest {})).await.unwrap().into_inner();
    assert!(told.cluster.unwrap().read_only_reason.contains("no space left"));
    let answer = rig.tasks.get_task(Request::new(v1::GetTaskRequest { task_id })).await.unwrap().into_inner();
    assert_eq!(answer.task.unwrap().desired_state(), v1::DesiredState::Running);
    // And the same call works once the store does.
    rig.fault.clear();
    rig.api.readiness.wait_ready().await;
    rig.tasks.create_task(Request::new(create)).await.unwrap();
    let told = rig.cluster.get_cluster(Request::new(v1::GetClusterRequest {})).await.unwrap().into_inner();
    assert_eq!(told.cluster.unwrap().read_only_reason, "");
}

#[tokio::test]
async fn a_manager_that_stops_says_so() {
    let rig = Rig::new().await;
    rig.shutdown.trigger();
    let create = v1::CreateTaskRequest { spec: Some(spec("a")), ..Default::default() };
    let status = refused(rig.tasks.create_task(Request::new(create)).await);
    assert_eq!((status.code(), reason(&status).as_str()), (Code::Unavailable, "STOPPING"));
}
