//! A stream through which nothing goes. Time is paused: it passes once nothing is left to do without it.

use davit_core::placement::{PlacementRequest, Preferences, Requirements, RuntimeKind};
use tokio::time::Instant;

use super::super::tests::moody_scheduler::{Mood, MoodyScheduler};
use super::*;

/// A stream of whose messages none is taken, and where they wait.
async fn silent() -> (PlaceStream, mpsc::Receiver<v1::PlaceRequest>) {
    let scheduler = MoodyScheduler::new(Mood::Silent);
    let mut client = SchedulerServiceClient::new(scheduler.service());
    let (requests, waiting) = mpsc::channel(BUFFER);
    let answers = client.place(tokio_stream::pending()).await.unwrap().into_inner();
    (PlaceStream { requests, answers, batch_id: 0 }, waiting)
}

fn group() -> Group {
    let request = PlacementRequest {
        requirements: Requirements::of_runtime(RuntimeKind::Docker),
        preferences: Preferences::default(),
        algorithm: "spread".to_owned(),
        priority: 0,
        may_preempt: false,
    };
    Group::new(request, None)
}

#[tokio::test(start_paused = true)]
async fn four_messages_to_the_scheduler_wait_and_the_next_gives_it_up_after_ten_seconds() {
    let (stream, waiting) = silent().await;
    let began = Instant::now();
    for _ in 0..4 {
        stream.send_delta(&Delta::default()).await.unwrap();
    }
    assert_eq!((began.elapsed(), waiting.len()), (Duration::ZERO, 4));
    assert!(matches!(stream.send_delta(&Delta::default()).await, Err(StreamError::Timeout)));
    assert_eq!((began.elapsed(), waiting.len()), (Duration::from_secs(10), 4));
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_does_not_come_is_waited_for_ten_seconds() {
    let (mut stream, _waiting) = silent().await;
    let began = Instant::now();
    assert!(matches!(stream.place(&[group()], 1).await, Err(StreamError::Timeout)));
    assert_eq!(began.elapsed(), Duration::from_secs(10));
}
