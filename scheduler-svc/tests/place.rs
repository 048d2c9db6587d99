//! The placement stream over gRPC: order, what it remembers, what it refuses, and how it ends.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests fail the test")]

mod support;

use davit_proto::v1;
use davit_proto::v1::place_request::Message;
use support::{HANG, Place, Scheduler, batch, group, node, node_id, runs, wrong_fields};
use tonic::Code;
use tonic_types::StatusExt;

#[tokio::test]
async fn a_batch_sees_the_batches_and_the_deltas_before_it() {
    let scheduler = Scheduler::start().await;
    let mut client = scheduler.client().await;
    let mut place = Place::with_nodes(&mut client, vec![node(1), node(2)]).await;

    // 4 + 4 cores: two groups of 3 leave room for 2.
    let answer = place.batch(10, vec![group("a", 3), group("b", 3)]).await;
    let ids: Vec<_> = answer.placements.iter().map(|placement| placement.group_id.as_str()).collect();
    assert_eq!(ids, ["a", "b"]);
    assert!(answer.placements.iter().all(|one| one.unplaced_count == 0 && one.unplaced_reason.is_empty()));

    let delta = v1::PlaceDelta { upserted: vec![node(3)], removed_node_ids: vec![node_id(1)] };
    place.send(Message::Delta(delta)).await;
    let answer = place.batch(11, vec![group("c", 7)]).await;
    let placement = &answer.placements[0];
    assert_eq!(runs(placement), [(2, 1), (3, 4)], "one core was left on node 2, node 3 is new");
    assert_eq!(placement.unplaced_count, 2);
    assert!(placement.unplaced_reason.starts_with("fits 0 of 2 nodes"), "{}", placement.unplaced_reason);

    drop(place.requests);
    let end = tokio::time::timeout(HANG, place.answers.message()).await.unwrap().unwrap();
    assert!(end.is_none(), "the stream ends when the client is done");
    scheduler.stops().await;
}

#[tokio::test]
async fn batches_are_answered_once_and_in_order() {
    let scheduler = Scheduler::start().await;
    let mut client = scheduler.client().await;
    let Place { requests, mut answers } = Place::with_nodes(&mut client, (1..=50).map(node).collect()).await;
    // Small and large ones in turn, so that some run on another thread; nobody reads while they are sent.
    let sender = tokio::spawn(async move {
        for id in 0..40_u64 {
            let count = if id % 2 == 0 { 1 } else { 5000 };
            requests.send(v1::PlaceRequest { message: Some(batch(id, vec![group("g", count)])) }).await.unwrap();
        }
    });
    let mut ids = Vec::new();
    while let Some(answer) = tokio::time::timeout(HANG, answers.message()).await.unwrap().unwrap() {
        ids.push(answer.batch_id);
    }
    sender.await.unwrap();
    assert_eq!(ids, (0..40).collect::<Vec<_>>());
    scheduler.stops().await;
}

#[tokio::test]
async fn a_snapshot_beyond_the_default_message_limit_is_taken() {
    let scheduler = Scheduler::start().await;
    let mut client = scheduler.client().await;
    let nodes: Vec<_> = (0..5000)
        .map(|number| {
            let mut node = node(number);
            node.labels.extend((0..20).map(|label| (format!("label-{label}"), "a-value-of-some-length".to_owned())));
            node
        })
        .collect();
    let mut place = Place::with_nodes(&mut client, nodes).await;
    let answer = place.batch(1, vec![group("g", 20_001)]).await;
    let placement = &answer.placements[0];
    assert_eq!((placement.runs.len(), placement.unplaced_count), (5000, 1));
    assert!(placement.runs.iter().all(|run| run.count == 4));
    drop(place);
    scheduler.stops().await;
}

#[tokio::test]
async fn the_first_message_is_the_snapshot_and_only_the_first() {
    let scheduler = Scheduler::start().await;
    let mut client = scheduler.client().await;
    let snapshot = || Message::Snapshot(v1::PlaceSnapshot { nodes: vec![node(1)] });
    for messages in [vec![batch(1, vec![group("g", 1)])], vec![snapshot(), snapshot()]] {
        let mut place = Place::open(&mut client).await;
        for message in messages {
            place.send(message).await;
        }
        assert_eq!(wrong_fields(&place.answer().await.unwrap_err()), ["snapshot"]);
    }
    let mut place = Place::open(&mut client).await;
    place.requests.send(v1::PlaceRequest { message: None }).await.unwrap();
    assert_eq!(wrong_fields(&place.answer().await.unwrap_err()), ["snapshot"]);
    drop(place);
    scheduler.stops().await;
}

#[tokio::test]
async fn a_wrong_message_ends_the_stream_with_the_path_of_what_is_wrong() {
    let scheduler = Scheduler::start().await;
    let mut client = scheduler.client().await;
    let mut unknown = group("c", 1);
    unknown.algorithm = "best".to_owned();
    let mut bad_node = node(2);
    bad_node.name = String::new();
    for (message, fields) in [
        (batch(1, vec![group("a", 1), group("b", 1), unknown]), vec!["batch.groups[2].algorithm"]),
        (batch(1, vec![group("a", 1), group("a", 0)]), vec!["batch.groups[1].group_id", "batch.groups[1].count"]),
        (batch(1, vec![group("a", 1), group("a", 1)]), vec!["batch.groups[1].group_id"]),
        (
            batch(1, vec![v1::PlacementGroup { requirements: None, ..group("a", 1) }]),
            vec!["batch.groups[0].requirements"],
        ),
        (
            Message::Delta(v1::PlaceDelta { upserted: vec![bad_node], removed_node_ids: vec!["x".to_owned()] }),
            vec!["delta.upserted[0].name", "delta.removed_node_ids[0]"],
        ),
    ] {
        let mut place = Place::with_nodes(&mut client, vec![node(1)]).await;
        // What came before is answered all the same.
        place.batch(0, vec![group("first", 1)]).await;
        place.send(message).await;
        assert_eq!(wrong_fields(&place.answer().await.unwrap_err()), fields);
        assert!(place.answer().await.unwrap().is_none());
    }
    let mut place = Place::with_nodes(&mut client, vec![node(1), node(1)]).await;
    assert_eq!(wrong_fields(&place.answer().await.unwrap_err()), ["snapshot.nodes[1].node_id"]);
    drop(place);
    scheduler.stops().await;
}

#[tokio::test]
async fn a_batch_without_groups_is_answered() {
    let scheduler = Scheduler::start().await;
    let mut client = scheduler.client().await;
    let mut place = Place::with_nodes(&mut client, Vec::new()).await;
    assert!(place.batch(1, Vec::new()).await.placements.is_empty());
    let answer = place.batch(2, vec![group("g", 2)]).await;
    assert_eq!(answer.placements[0].unplaced_count, 2);
    assert!(answer.placements[0].unplaced_reason.contains("node"), "{answer:?}");
    drop(place);
    scheduler.stops().await;
}

#[tokio::test]
async fn clients_that_vanish_leave_the_scheduler_fine() {
    let scheduler = Scheduler::start().await;
    for _ in 0..10 {
        let mut client = scheduler.client().await;
        let place = Place::with_nodes(&mut client, (1..=100).map(node).collect()).await;
        // Long work under way, and answers that nobody reads.
        place.send(batch(1, vec![group("g", 1_000_000)])).await;
        place.send(batch(2, vec![group("g", 1_000_000)])).await;
        drop((place, client));
    }
    let mut client = scheduler.client().await;
    let mut place = Place::with_nodes(&mut client, vec![node(1)]).await;
    assert_eq!(runs(&place.batch(1, vec![group("g", 1)]).await.placements[0]), [(1, 1)]);
    drop(place);
    scheduler.stops().await;
}

#[tokio::test]
async fn open_streams_are_told_of_the_stop_and_do_not_hold_it_up() {
    let scheduler = Scheduler::start().await;
    let mut client = scheduler.client().await;
    let mut idle = Place::with_nodes(&mut client, vec![node(1)]).await;
    idle.batch(1, vec![group("g", 1)]).await;
    scheduler.shutdown.trigger();
    let status = idle.answer().await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
    assert_eq!(status.get_error_details().error_info().unwrap().reason, "SCHEDULER_STOPPING");
    drop(idle);
    scheduler.stops().await;
}

#[tokio::test]
async fn streams_do_not_see_each_other() {
    let scheduler = Scheduler::start().await;
    let mut client = scheduler.client().await;
    let mut one = Place::with_nodes(&mut client, vec![node(1)]).await;
    let mut other = Place::with_nodes(&mut client, vec![node(1)]).await;
    for place in [&mut one, &mut other] {
        let answer = place.batch(1, vec![group("g", 4)]).await;
        assert_eq!(runs(&answer.placements[0]), [(1, 4)]);
    }
    drop((one, other));
    scheduler.stops().await;
}
