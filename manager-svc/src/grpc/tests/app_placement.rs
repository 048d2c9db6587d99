//! Where the tasks of a planned app would be placed, as a scheduler that is there says.

use davit_proto::v1;
use davit_proto::v1::deployment_service_server::DeploymentService as _;
use davit_proto::v1::scheduler_service_server::SchedulerServiceServer;
use davit_svc_kit::shutdown::Shutdown;
use scheduler_svc::grpc::SchedulerApi;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::Request;

use super::Rig;
use crate::grpc::DeploymentApi;

/// Serves on a free port; the address.
async fn serve_scheduler() -> String {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let service = SchedulerServiceServer::new(SchedulerApi::new(None, Shutdown::new()));
    let server = tonic::transport::Server::builder().add_service(service);
    tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
    address
}

/// With two nodes, each with 4 cores and 1 GiB.
async fn cluster() -> Rig {
    let rig = Rig::with_scheduler(&serve_scheduler().await).await;
    for name in ["one", "two"] {
        rig.join(name).await;
    }
    rig
}

fn source(services: &str) -> Option<v1::AppSource> {
    let content = format!("name: col\nservices:\n{services}");
    let files = vec![v1::ComposeFile { name: "compose.yaml".to_owned(), content }];
    Some(v1::AppSource { files, ..Default::default() })
}

async fn plan(rig: &Rig, services: &str) -> v1::PlanAppResponse {
    let request = v1::PlanAppRequest { source: source(services), ..Default::default() };
    let service = DeploymentApi::new(rig.api.clone());
    let plan = service.plan_app(Request::new(request)).await.unwrap().into_inner();
    assert_eq!(plan.placement_problem, "");
    plan
}

/// How many were placed on how many nodes, how many were not, and why.
fn told(placement: Option<&v1::PlannedPlacement>) -> (u32, usize, u32, &str) {
    let placement = placement.expect("it was asked about");
    let placed = placement.nodes.iter().map(|node| node.count).sum();
    (placed, placement.nodes.len(), placement.unplaced_count, &placement.unplaced_reason)
}

#[tokio::test]
async fn who_needs_others_beside_it_is_placed_whatever_the_names_are() {
    let rig = cluster().await;
    let services = |first: &str, second: &str, third: &str| {
        format!(
            "  {first}: {{image: 'x:1', x-davit: {{colocate: [{second}]}}}}\n  \
               {second}: {{image: 'x:1', x-davit: {{colocate: [{third}]}}}}\n  {third}: {{image: 'x:1'}}\n"
        )
    };
    for (first, second, third) in [("a", "b", "c"), ("c", "b", "a"), ("b", "c", "a")] {
        let plan = plan(&rig, &services(first, second, third)).await;
        let nodes: Vec<_> = plan.deployments.iter().map(|planned| planned.placement.clone().unwrap().nodes).collect();
        assert_eq!(nodes[0].len(), 1, "{first} {second} {third}");
        assert!(nodes.iter().all(|all| *all == nodes[0]), "{nodes:?}");
    }
}

#[tokio::test]
async fn who_needs_what_has_no_place_has_none_either_and_nobody_is_asked_for_ever() {
    let rig = cluster().await;
    let services = "  a: {image: 'x:1', x-davit: {colocate: [b]}}\n  \
                    b: {image: 'x:1', mem_reservation: 90g}\n  c: {image: 'x:1'}\n";
    let plan = plan(&rig, services).await;
    let told: Vec<_> = plan.deployments.iter().map(|planned| told(planned.placement.as_ref())).collect();
    assert_eq!((told[0].2, told[1].2, told[2]), (1, 1, (1, 1, 0, "")));
    assert!(told[0].3.contains("the tasks it needs beside it"), "{told:?}");
    assert!(told[1].3.contains("memory"), "{told:?}");
}

#[tokio::test]
async fn jobs_that_run_are_placed_beside_deployments_and_those_with_a_schedule_are_not() {
    let rig = cluster().await;
    let services = "  big: {image: 'x:1', deploy: {mode: replicated-job, resources: {reservations: {memory: 90G}}}}\n  \
                    late: {image: 'x:1', mem_reservation: 90g, x-davit: {job: {schedule: '@daily'}}}\n  \
                    many: {image: 'x:1', mem_reservation: 256m, deploy: {replicas: 9}, x-davit: {job: {parallelism: 7}}}\n  \
                    web: {image: 'x:1', mem_reservation: 256m, deploy: {replicas: 2}}\n";
    let plan = plan(&rig, services).await;
    assert_eq!(told(plan.deployments[0].placement.as_ref()), (2, 2, 0, ""));
    let [big, late, many] = plan.jobs.as_slice() else { panic!("three jobs") };
    let (placed, _, unplaced, why) = told(big.placement.as_ref());
    assert_eq!((big.started_tasks, placed, unplaced), (1, 0, 1));
    assert!(why.contains("lack memory"), "{why}");
    assert_eq!((late.started_tasks, &late.placement), (0, &None));
    // Beside two tasks there is room for six more.
    let (placed, nodes, unplaced, _) = told(many.placement.as_ref());
    assert_eq!((many.started_tasks, placed, nodes, unplaced), (7, 6, 2, 1));
}

#[tokio::test]
async fn a_job_that_changes_and_runs_again_is_placed_anew_and_one_that_does_not_is_not() {
    let rig = cluster().await;
    let job = |image: &str| {
        format!("  job: {{image: '{image}', mem_reservation: 600m, deploy: {{mode: replicated-job, replicas: 2}}}}\n")
    };
    let request = v1::ApplyAppRequest { source: source(&job("x:1")), ..Default::default() };
    let service = DeploymentApi::new(rig.api.clone());
    let applied = service.apply_app(Request::new(request)).await.unwrap().into_inner();
    assert_eq!((applied.jobs[0].started_tasks, &applied.jobs[0].placement), (2, &None));

    let again = plan(&rig, &job("x:2")).await;
    assert_eq!((again.jobs[0].action(), again.jobs[0].begins_run), (v1::PlannedAction::Update, true));
    assert_eq!(told(again.jobs[0].placement.as_ref()), (2, 2, 0, ""));
    let same = plan(&rig, &job("x:1")).await;
    assert_eq!((same.jobs[0].started_tasks, &same.jobs[0].placement), (0, &None));
}
