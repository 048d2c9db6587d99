//! Explanations and planned moves over gRPC.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests fail the test")]

mod support;

use davit_proto::v1;
use support::{Scheduler, group, node, node_id, requirements, resources, wrong_fields};

#[tokio::test]
async fn every_node_is_told_with_verdicts_terms_and_rank_and_the_first_is_where_it_goes() {
    let scheduler = Scheduler::start().await;
    let mut full = node(1);
    full.reserved = full.allocatable;
    let mut liked = node(3);
    liked.labels.insert("disk".to_owned(), "ssd".to_owned());
    let mut explained = group("", 2);
    explained.preferences = Some(v1::PlacementPreferences {
        affinities: vec![v1::NodeAffinity { expression: "disk == ssd".to_owned(), weight: 50 }],
        ..Default::default()
    });
    let request =
        v1::ExplainRequest { group: Some(explained), nodes: vec![full, node(2), liked], seed: 1, max_nodes: 0 };
    let response = scheduler.client().await.explain(request.clone()).await.unwrap().into_inner();
    let explanation = response.explanation.unwrap();
    assert_eq!((explanation.fitting_count, explanation.node_count, explanation.algorithm.as_str()), (2, 3, "spread"));
    assert!(explanation.summary.starts_with("fits 2 of 3 nodes: 1 lacks"), "{}", explanation.summary);
    let order: Vec<_> = explanation.nodes.iter().map(|node| (node.node_id.clone(), node.fits, node.rank)).collect();
    assert_eq!(order, [(node_id(3), true, 1), (node_id(2), true, 2), (node_id(1), false, 0)]);
    let names: Vec<_> = explanation.nodes[0].terms.iter().map(|term| term.name.as_str()).collect();
    assert_eq!(names, ["reserved", "tasks", "prefers node.labels.disk == ssd"]);
    let failed: Vec<_> = explanation.nodes[2].verdicts.iter().filter(|verdict| !verdict.passes).collect();
    assert!(failed.iter().any(|verdict| verdict.text.starts_with("memory: needs")), "{failed:?}");
    assert_eq!(response.placement.unwrap().runs, [v1::PlacementRun { node_id: node_id(3), count: 2 }]);

    let best_only = v1::ExplainRequest { max_nodes: 1, ..request };
    let response = scheduler.client().await.explain(best_only).await.unwrap().into_inner();
    assert_eq!(response.explanation.unwrap().nodes.len(), 1);
    scheduler.stops().await;
}

#[tokio::test]
async fn an_uneven_cluster_gets_moves_and_an_even_one_none() {
    let scheduler = Scheduler::start().await;
    let task = |number: u32| v1::PlacedTask {
        task_id: format!("00000000-0000-0000-0000-{number:012}"),
        requirements: Some(requirements()),
        ..Default::default()
    };
    let mut full = node(1);
    full.tasks = (0..4).map(task).collect();
    full.task_count = 4;
    full.reserved = Some(resources(4000, 4 << 30));
    let request = v1::PlanMovesRequest { nodes: vec![full, node(2)], max_moves: 10, min_gain: 0.01 };
    let mut client = scheduler.client().await;
    let plan = client.plan_moves(request).await.unwrap().into_inner();
    assert_eq!(plan.moves.len(), 2, "{plan:?}");
    assert!(plan.moves.iter().all(|one| one.from_node_id == node_id(1) && one.to_node_id == node_id(2)));
    assert!(plan.imbalance_before > 0.4 && plan.imbalance_after < 0.01 && !plan.more, "{plan:?}");

    let even = v1::PlanMovesRequest { nodes: vec![node(1), node(2)], max_moves: 10, min_gain: 0.01 };
    assert!(client.plan_moves(even).await.unwrap().into_inner().moves.is_empty());
    scheduler.stops().await;
}

#[tokio::test]
async fn what_is_wrong_is_named() {
    let scheduler = Scheduler::start().await;
    let mut client = scheduler.client().await;
    let mut wrong = group("g", 1);
    wrong.algorithm = "best".to_owned();
    wrong.priority = 5000;
    let request = v1::ExplainRequest { group: Some(wrong), ..Default::default() };
    let fields = wrong_fields(&client.explain(request).await.unwrap_err());
    assert_eq!(fields, ["group.algorithm", "group.priority"]);
    let fields = wrong_fields(&client.plan_moves(v1::PlanMovesRequest::default()).await.unwrap_err());
    assert_eq!(fields, ["max_moves", "min_gain"]);
    scheduler.stops().await;
}
