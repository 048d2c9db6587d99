use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use davit_proto::v1::place_request::Message;
use davit_proto::v1::scheduler_service_client::SchedulerServiceClient;
use davit_proto::v1::scheduler_service_server::SchedulerServiceServer;
use tokio_stream::StreamExt as _;

use super::super::SchedulerApi;
use super::*;

/// A message beyond the 32 KiB up to which a client puts several together before any is read.
fn large_batch(batch_id: u64) -> v1::PlaceRequest {
    let group = |number: u32| v1::PlacementGroup {
        group_id: format!("a-group-with-a-name-of-some-length-{number}"),
        requirements: Some(v1::PlacementRequirements {
            runtime: v1::RuntimeKind::Docker.into(),
            ..v1::PlacementRequirements::default()
        }),
        count: 1,
        algorithm: "spread".to_owned(),
        ..v1::PlacementGroup::default()
    };
    let groups = (0..1000).map(group).collect();
    v1::PlaceRequest { message: Some(Message::Batch(v1::PlaceBatch { batch_id, groups, seed: 1 })) }
}

/// Time is paused: it passes once nothing is left to do without it.
#[tokio::test(start_paused = true)]
async fn of_answers_that_nobody_reads_four_wait_and_one_message_is_read_ahead() {
    const BATCHES: u64 = 50;
    let read = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&read);
    let snapshot = v1::PlaceRequest { message: Some(Message::Snapshot(v1::PlaceSnapshot::default())) };
    let requests = tokio_stream::iter(std::iter::once(snapshot).chain((1..=BATCHES).map(large_batch)));
    let requests = requests.map(move |request| {
        count.fetch_add(1, Ordering::Relaxed);
        request
    });
    let scheduler = SchedulerServiceServer::new(SchedulerApi::new(None, Shutdown::new()));
    let mut client = SchedulerServiceClient::new(scheduler);
    let mut answers = client.place(requests).await.unwrap().into_inner();
    tokio::time::sleep(Duration::from_secs(60)).await;
    // The snapshot; four answers wait, and one for its place among them; one message is read ahead, and one for its place there.
    assert_eq!(read.load(Ordering::Relaxed), 1 + (4 + 1) + (1 + 1));

    for batch_id in 1..=BATCHES {
        assert_eq!(answers.message().await.unwrap().unwrap().batch_id, batch_id);
    }
    assert_eq!(answers.message().await.unwrap(), None);
}
