//! Watching and listing events.

use std::collections::BTreeMap;
use std::time::Duration;

use davit_proto::v1;
use davit_proto::v1::event_service_server::EventService as _;
use davit_proto::v1::task_service_server::TaskService as _;
use davit_proto::v1::watch_events_response::Message;
use futures::StreamExt as _;
use tokio::time::Instant;
use tonic::{Code, Request, Status};
use tonic_types::StatusExt as _;

use super::{Rig, fields, in_turns, reason, refused, spec};
use crate::grpc::Responses;
use crate::state::KeptEvents;

async fn watch(
    rig: &Rig,
    after_revision: Option<u64>,
    filter: Option<v1::EventFilter>,
) -> Result<Responses<v1::WatchEventsResponse>, Status> {
    let request = v1::WatchEventsRequest { after_revision, filter };
    Ok(rig.events.watch_events(Request::new(request)).await?.into_inner())
}

async fn next(stream: &mut Responses<v1::WatchEventsResponse>) -> Message {
    stream.next().await.expect("the watch ended").expect("the watch broke").message.expect("has a message")
}

async fn bookmark(stream: &mut Responses<v1::WatchEventsResponse>) -> u64 {
    match next(stream).await {
        Message::Bookmark(bookmark) => bookmark.revision,
        Message::Event(event) => panic!("{event:?}"),
    }
}

async fn event(stream: &mut Responses<v1::WatchEventsResponse>) -> v1::Event {
    match next(stream).await {
        Message::Event(event) => event,
        Message::Bookmark(bookmark) => panic!("{bookmark:?}"),
    }
}

#[tokio::test]
async fn a_watch_tells_what_happens_from_now_on() {
    let rig = Rig::new().await;
    rig.create(spec("before")).await;
    let mut stream = watch(&rig, None, None).await.unwrap();
    assert_eq!(bookmark(&mut stream).await, 1);
    let task = rig.create(spec("after")).await;
    let event = event(&mut stream).await;
    assert_eq!((event.revision, event.r#type()), (2, v1::EventType::TaskCreated));
    assert_eq!(event.object, Some(v1::event::Object::Task(task)));
}

#[tokio::test]
async fn a_list_that_finds_nothing_among_many_lets_others_go_on() {
    let rig = Rig::new().await;
    let group = v1::TaskGroup { spec: Some(spec("web")), count: Some(10_000), ..Default::default() };
    let request = v1::BatchCreateTasksRequest { groups: vec![group], ..Default::default() };
    rig.tasks.batch_create_tasks(Request::new(request)).await.unwrap();

    let filter = v1::EventFilter { types: vec![v1::EventType::NodeJoined.into()], ..Default::default() };
    let request = v1::ListEventsRequest { filter: Some(filter), ..Default::default() };
    let (listed, turns) = in_turns(rig.events.list_events(Request::new(request))).await;
    assert!(listed.unwrap().into_inner().events.is_empty());
    assert!(turns > 4, "{turns}");
}

#[tokio::test]
async fn a_watch_resumes_without_a_gap() {
    let rig = Rig::new().await;
    for _ in 0..600 {
        rig.create(spec("a")).await;
    }
    let mut stream = watch(&rig, Some(7), None).await.unwrap();
    assert_eq!(bookmark(&mut stream).await, 7);
    for revision in 8..=600 {
        assert_eq!(event(&mut stream).await.revision, revision);
    }
}

#[tokio::test]
async fn a_filter_lets_only_its_events_through() {
    let rig = Rig::new().await;
    let first = rig.create(spec("a")).await.task_id;
    let (node_id, _session) = rig.join("one").await;
    rig.run_on(&first, node_id, &[]).await;
    let filter = v1::EventFilter { task_id: first, ..Default::default() };
    let mut stream = watch(&rig, Some(0), Some(filter)).await.unwrap();
    assert_eq!(bookmark(&mut stream).await, 0);
    assert_eq!(event(&mut stream).await.revision, 1);
    assert_eq!(event(&mut stream).await.revision, 3);
    let filter = v1::EventFilter { node_id: node_id.to_string(), ..Default::default() };
    let mut stream = watch(&rig, Some(0), Some(filter)).await.unwrap();
    assert_eq!(bookmark(&mut stream).await, 0);
    let joined = event(&mut stream).await;
    let Some(v1::event::Object::Node(node)) = joined.object else { panic!("{joined:?}") };
    assert!(node.allocated.is_none() && node.stats.is_none());
    assert_eq!(event(&mut stream).await.r#type(), v1::EventType::TaskStateChanged);
}

#[tokio::test(start_paused = true)]
async fn a_quiet_watch_says_how_far_it_is() {
    let rig = Rig::new().await;
    let filter = v1::EventFilter { types: vec![v1::EventType::NodeJoined.into()], ..Default::default() };
    let mut stream = watch(&rig, None, Some(filter)).await.unwrap();
    assert_eq!(bookmark(&mut stream).await, 0);
    rig.create(spec("a")).await;
    let started = Instant::now();
    assert_eq!(bookmark(&mut stream).await, 1);
    assert!(started.elapsed() <= Duration::from_millis(5_010), "{:?}", started.elapsed());
}

#[tokio::test]
async fn what_was_compacted_is_out_of_range_and_a_slow_reader_is_cut_off() {
    let rig = Rig::with_kept_events(KeptEvents::up_to(10)).await;
    let mut slow = watch(&rig, None, None).await.unwrap();
    assert_eq!(bookmark(&mut slow).await, 0);
    for _ in 0..20 {
        rig.create(spec("a")).await;
    }
    let status = match watch(&rig, Some(9), None).await {
        Err(status) => status,
        Ok(_) => panic!("was not refused"),
    };
    assert_eq!((status.code(), reason(&status).as_str()), (Code::OutOfRange, "REVISION_IS_COMPACTED"));
    assert_eq!(status.get_details_error_info().unwrap().metadata["oldest_revision"], "11");
    assert!(watch(&rig, Some(10), None).await.is_ok());

    let status = slow.next().await.unwrap().unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::ResourceExhausted, "WATCH_TOO_SLOW"));
    assert!(slow.next().await.is_none());
}

#[tokio::test]
async fn events_beyond_the_bytes_that_they_may_take_are_compacted_too() {
    let rig = Rig::with_kept_events(KeptEvents { bytes: 100_000, ..KeptEvents::default() }).await;
    let padded = |name: &str| {
        let env = BTreeMap::from([("PADDING".to_owned(), "x".repeat(60_000))]);
        let container = v1::ContainerSpec { image: "busybox".to_owned(), env, ..Default::default() };
        v1::TaskSpec { runtime: Some(v1::task_spec::Runtime::Container(container)), ..spec(name) }
    };
    let tasks = [rig.create(padded("a")).await, rig.create(padded("b")).await];
    for task in tasks {
        assert!(watch(&rig, Some(0), None).await.is_ok(), "what tasks have does not count for events");
        let request = v1::DeleteTaskRequest { task_id: task.task_id, force: true };
        rig.tasks.delete_task(Request::new(request)).await.unwrap();
    }
    let status = match watch(&rig, Some(0), None).await {
        Err(status) => status,
        Ok(_) => panic!("was not refused"),
    };
    assert_eq!((status.code(), reason(&status).as_str()), (Code::OutOfRange, "REVISION_IS_COMPACTED"));
}

#[tokio::test]
async fn a_revision_that_is_yet_to_come_is_out_of_range() {
    let rig = Rig::new().await;
    rig.create(spec("a")).await;
    let status = match watch(&rig, Some(2), None).await {
        Err(status) => status,
        Ok(_) => panic!("was not refused"),
    };
    assert_eq!((status.code(), reason(&status).as_str()), (Code::OutOfRange, "REVISION_IS_AHEAD"));
    assert!(status.message().contains("at revision 1"), "{}", status.message());
    let request = v1::ListEventsRequest { after_revision: 2, ..Default::default() };
    assert_eq!(refused(rig.events.list_events(Request::new(request)).await).code(), Code::OutOfRange);
}

#[tokio::test]
async fn a_watch_ends_with_the_manager() {
    let rig = Rig::new().await;
    let mut stream = watch(&rig, None, None).await.unwrap();
    assert_eq!(bookmark(&mut stream).await, 0);
    rig.shutdown.trigger();
    let status = stream.next().await.unwrap().unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::Unavailable, "STOPPING"));
}

#[tokio::test]
async fn a_watch_that_is_far_behind_ends_with_the_manager_too() {
    let rig = Rig::new().await;
    for _ in 0..300 {
        rig.create(spec("a")).await;
    }
    let mut stream = watch(&rig, Some(0), None).await.unwrap();
    assert_eq!(bookmark(&mut stream).await, 0);
    assert_eq!(event(&mut stream).await.revision, 1);
    rig.shutdown.trigger();
    assert_eq!(stream.next().await.unwrap().unwrap_err().code(), Code::Unavailable);
    assert!(stream.next().await.is_none());
}

#[tokio::test]
async fn past_events_are_listed_in_pages_from_the_oldest_kept() {
    let rig = Rig::with_kept_events(KeptEvents::up_to(25)).await;
    for _ in 0..30 {
        rig.create(spec("a")).await;
    }
    let (mut seen, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = v1::ListEventsRequest { page_size: 10, page_token, ..Default::default() };
        let answer = rig.events.list_events(Request::new(request)).await.unwrap().into_inner();
        assert_eq!(answer.revision, 30);
        seen.extend(answer.events.into_iter().map(|event| event.revision));
        page_token = answer.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(seen, (6..=30).collect::<Vec<_>>());
    let filter = v1::EventFilter { types: vec![0], node_id: "one".into(), ..Default::default() };
    let request = v1::ListEventsRequest { filter: Some(filter), page_token: "00".into(), ..Default::default() };
    let status = refused(rig.events.list_events(Request::new(request)).await);
    assert_eq!(fields(&status), ["page_token", "filter.types[0]", "filter.node_id"]);
}
