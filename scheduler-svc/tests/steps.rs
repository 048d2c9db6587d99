//! The three steps over gRPC, with three nodes and a task by hand; health, reflection's neighbours and metrics.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests fail the test")]

mod support;

use davit_proto::v1;
use davit_svc_kit::http::check_ready;
use support::{Scheduler, node, node_id, requirements, resources, wrong_fields};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

/// One that fits, one that is too full, one that is cordoned and in the wrong zone.
fn three_nodes() -> Vec<v1::PlacementNode> {
    let mut full = node(2);
    full.reserved = Some(resources(0, (8 << 30) - (1 << 20)));
    let mut cordoned = node(3);
    cordoned.cordoned = true;
    vec![node(1), full, cordoned]
}

fn in_zone_a() -> v1::PlacementRequirements {
    v1::PlacementRequirements { constraints: vec!["zone == a".to_owned()], ..requirements() }
}

#[tokio::test]
async fn every_node_gets_a_verdict_with_every_reason() {
    let scheduler = Scheduler::start().await;
    let request = v1::SelectCandidateNodesRequest { requirements: Some(in_zone_a()), nodes: three_nodes() };
    let response = scheduler.client().await.select_candidate_nodes(request).await.unwrap().into_inner();
    assert_eq!(response.candidate_node_ids, [node_id(1)]);
    let verdicts: Vec<_> = response
        .verdicts
        .iter()
        .map(|verdict| {
            let failures = verdict.failures.iter().map(|one| (one.filter.as_str(), one.reason.as_str())).collect();
            (verdict.node_id.clone(), verdict.fits, failures)
        })
        .collect();
    let expected: [(_, _, Vec<(&str, &str)>); 3] = [
        (node_id(1), true, vec![]),
        (node_id(2), false, vec![("memory", "memory: needs 1.0 GiB, 1.0 MiB free")]),
        (node_id(3), false, vec![("cordoned", "cordoned"), ("constraint", "constraint node.labels.zone == a: is b")]),
    ];
    assert_eq!(verdicts, expected);
    assert!(response.summary.starts_with("fits 1 of 3 nodes"), "{}", response.summary);
    scheduler.stops().await;
}

#[tokio::test]
async fn scores_can_be_picked_from_with_every_algorithm() {
    let scheduler = Scheduler::start().await;
    let mut client = scheduler.client().await;
    let algorithms = client.list_algorithms(v1::ListAlgorithmsRequest {}).await.unwrap().into_inner().algorithms;
    let names: Vec<_> = algorithms.iter().map(|algorithm| algorithm.name.as_str()).collect();
    assert_eq!(names, ["binpack", "epvm", "epvm-classic", "least-stranded", "round-robin", "spread"]);
    assert!(algorithms.iter().all(|algorithm| !algorithm.description.is_empty()));

    for algorithm in ["", "epvm", "round-robin", "spread"] {
        let nodes = three_nodes();
        let request = v1::ScoreRequest {
            requirements: Some(in_zone_a()),
            nodes,
            algorithm: algorithm.to_owned(),
            preferences: None,
        };
        let scores = client.score(request).await.unwrap().into_inner().scores;
        let ids: Vec<_> = scores.iter().map(|score| score.node_id.clone()).collect();
        assert_eq!(ids, [node_id(1), node_id(2), node_id(3)]);
        for score in &scores {
            let sum: f64 = score.terms.iter().map(|term| term.value).sum();
            assert!((score.cost - sum).abs() <= sum.abs() * 1e-9, "{score:?}");
        }
        let picked = client.pick(v1::PickRequest { scores, seed: 9 }).await.unwrap().into_inner();
        assert_eq!(picked.node_id, node_id(1), "{algorithm}");
    }
    scheduler.stops().await;
}

#[tokio::test]
async fn without_nodes_the_answers_are_empty_and_say_so() {
    let scheduler = Scheduler::start().await;
    let mut client = scheduler.client().await;
    let request = v1::SelectCandidateNodesRequest { requirements: Some(requirements()), nodes: Vec::new() };
    let selection = client.select_candidate_nodes(request).await.unwrap().into_inner();
    assert!(selection.candidate_node_ids.is_empty() && selection.verdicts.is_empty());
    assert!(selection.summary.contains("node"), "{}", selection.summary);
    let request = v1::ScoreRequest { requirements: Some(requirements()), ..Default::default() };
    assert!(client.score(request).await.unwrap().into_inner().scores.is_empty());
    scheduler.stops().await;
}

#[tokio::test]
async fn many_nodes_are_answered_too() {
    let scheduler = Scheduler::start().await;
    let nodes: Vec<_> = (0..5000).map(node).collect();
    let request =
        v1::ScoreRequest { requirements: Some(requirements()), nodes, algorithm: "epvm".to_owned(), preferences: None };
    let scores = scheduler.client().await.score(request).await.unwrap().into_inner().scores;
    assert_eq!(scores.len(), 5000);
    scheduler.stops().await;
}

#[tokio::test]
async fn every_wrong_field_of_a_request_is_named() {
    let scheduler = Scheduler::start().await;
    let mut client = scheduler.client().await;

    let mut nodes = vec![node(1), node(1), node(3)];
    nodes[2].state = 99;
    let requirements = v1::PlacementRequirements { constraints: vec!["zone ~ a".to_owned()], ..requirements() };
    let request = v1::ScoreRequest {
        requirements: Some(requirements),
        nodes: nodes.clone(),
        algorithm: "best".to_owned(),
        preferences: None,
    };
    let status = client.score(request).await.unwrap_err();
    let fields = wrong_fields(&status);
    for field in ["requirements.constraints[0]", "nodes[1].node_id", "nodes[2].state", "algorithm"] {
        assert!(fields.iter().any(|wrong| wrong == field), "{field}: {fields:?}");
    }
    assert!(
        status.message().contains("use one of binpack, epvm, epvm-classic, least-stranded, round-robin, spread"),
        "{status:?}"
    );

    let request = v1::SelectCandidateNodesRequest { requirements: None, nodes };
    let fields = wrong_fields(&client.select_candidate_nodes(request).await.unwrap_err());
    assert_eq!(fields, ["requirements", "nodes[1].node_id", "nodes[2].state"]);
    scheduler.stops().await;
}

#[tokio::test]
async fn what_can_not_be_picked_from_is_named() {
    let scheduler = Scheduler::start().await;
    let mut client = scheduler.client().await;
    let score = |number, cost| v1::NodeScore { node_id: node_id(number), cost, terms: Vec::new() };
    for (scores, field) in [
        (vec![], "scores"),
        (vec![score(1, 1.0), score(2, f64::NAN)], "scores[1].cost"),
        (vec![score(1, f64::INFINITY)], "scores[0].cost"),
        (vec![score(1, 1.0), score(1, 2.0)], "scores[1].node_id"),
        (vec![v1::NodeScore { node_id: "x".to_owned(), ..Default::default() }], "scores[0].node_id"),
    ] {
        let status = client.pick(v1::PickRequest { scores, seed: 0 }).await.unwrap_err();
        assert_eq!(wrong_fields(&status), [field]);
    }
    scheduler.stops().await;
}

#[tokio::test]
async fn health_readiness_and_metrics_are_served() {
    let scheduler = Scheduler::start().await;
    let channel = davit_svc_kit::client::endpoint(&scheduler.address).unwrap().connect().await.unwrap();
    let request = HealthCheckRequest { service: "davit.v1.SchedulerService".to_owned() };
    let health = HealthClient::new(channel).check(request).await.unwrap().into_inner();
    assert_eq!(health.status(), ServingStatus::Serving);
    check_ready(scheduler.http_address).await.unwrap();

    let mut client = scheduler.client().await;
    let mut place = support::Place::with_nodes(&mut client, vec![node(1)]).await;
    place.batch(1, vec![support::group("g", 9)]).await;
    let text = get(scheduler.http_address, "/metrics").await;
    for name in [
        "davit_scheduler_batches_total",
        "davit_scheduler_placements_total",
        "davit_scheduler_unplaced_total",
        "davit_scheduler_batch_seconds_bucket",
        "davit_scheduler_streams",
    ] {
        assert!(text.contains(name), "{name} is not in {text}");
    }
    drop(place);
    scheduler.stops().await;
}

async fn get(address: std::net::SocketAddr, path: &str) -> String {
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    text
}
