//! Reading a task's output.

use std::sync::Arc;

use davit_core::id::NodeId;
use davit_core::state::TaskState;
use davit_proto::convert::timestamp_to_proto;
use davit_proto::v1;
use davit_proto::v1::task_service_server::TaskService as _;
use futures::StreamExt as _;
use tonic::{Code, Request, Status};

use super::{Rig, fields, reason, spec};
use crate::dispatch::{Delivery, LogOrder, Outbox};
use crate::grpc::Responses;

const SINCE: prost_types::Timestamp = prost_types::Timestamp { seconds: 7, nanos: 5 };

async fn read(rig: &Rig, task_id: &str, attempt: u32) -> Result<Responses<v1::StreamTaskLogsResponse>, Status> {
    let request = v1::StreamTaskLogsRequest {
        task_id: task_id.to_owned(),
        attempt,
        tail_lines: Some(5),
        follow: true,
        since: Some(SINCE),
    };
    Ok(rig.tasks.stream_task_logs(Request::new(request)).await?.into_inner())
}

async fn refusal(rig: &Rig, task_id: &str, attempt: u32) -> Status {
    match read(rig, task_id, attempt).await {
        Err(status) => status,
        Ok(_) => panic!("was not refused"),
    }
}

async fn running_task(rig: &Rig) -> (String, NodeId, Arc<Outbox>) {
    let (node_id, session) = rig.join("one").await;
    let task_id = rig.create(spec("a")).await.task_id;
    rig.run_on(&task_id, node_id, &[TaskState::Preparing, TaskState::Running]).await;
    (task_id, node_id, session)
}

async fn order(session: &Outbox) -> LogOrder {
    match session.next().await {
        Delivery::Logs(order) => order,
        other => panic!("{other:?}"),
    }
}

fn message(data: &[&str], error: &str) -> v1::PublishLogsRequest {
    let piece = |text: &&str| v1::LogPiece { data: text.as_bytes().to_vec(), ..Default::default() };
    v1::PublishLogsRequest { pieces: data.iter().map(piece).collect(), error: error.to_owned(), ..Default::default() }
}

#[tokio::test]
async fn the_worker_brings_what_is_read_and_its_end_is_the_end() {
    let rig = Rig::new().await;
    let (task_id, _, session) = running_task(&rig).await;
    let mut stream = read(&rig, &task_id, 0).await.unwrap();
    let order = order(&session).await;
    assert_eq!((order.key.task_id.to_string(), order.key.attempt.0), (task_id, 1));
    assert_eq!((order.tail_lines, order.follow), (Some(5), true));
    assert_eq!(order.since.map(timestamp_to_proto), Some(SINCE));
    let worker = rig.api.logs.take(order.log_id).unwrap();
    worker.send(message(&[], "")).await.unwrap();
    worker.send(message(&["one\n", "two\n"], "")).await.unwrap();
    assert_eq!(stream.next().await.unwrap().unwrap().data, b"one\n");
    assert_eq!(stream.next().await.unwrap().unwrap().data, b"two\n");
    drop(worker);
    assert!(stream.next().await.is_none());
}

#[tokio::test]
async fn what_goes_wrong_at_the_worker_is_told_after_what_was_read() {
    let rig = Rig::new().await;
    let (task_id, _, session) = running_task(&rig).await;
    let mut stream = read(&rig, &task_id, 1).await.unwrap();
    let worker = rig.api.logs.take(order(&session).await.log_id).unwrap();
    worker.send(message(&["one\n"], "the disk broke")).await.unwrap();
    assert!(stream.next().await.unwrap().is_ok());
    let status = stream.next().await.unwrap().unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::Unavailable, "the disk broke"));
    assert!(stream.next().await.is_none());
}

#[tokio::test]
async fn a_worker_that_says_when_it_has_brought_everything_and_goes_before_is_an_error() {
    let rig = Rig::new().await;
    let (task_id, _, session) = running_task(&rig).await;
    for ended in [false, true] {
        let mut stream = read(&rig, &task_id, 1).await.unwrap();
        let worker = rig.api.logs.take(order(&session).await.log_id).unwrap();
        worker.send(v1::PublishLogsRequest { says_ended: true, ..Default::default() }).await.unwrap();
        worker.send(message(&["one\n"], "")).await.unwrap();
        assert!(stream.next().await.unwrap().is_ok());
        if ended {
            worker.send(v1::PublishLogsRequest { ended, ..Default::default() }).await.unwrap();
        }
        drop(worker);
        let last = stream.next().await.map(|last| last.unwrap_err());
        let last = last.map(|status| (status.code(), reason(&status)));
        assert_eq!(last, (!ended).then(|| (Code::Unavailable, "LOGS_UNAVAILABLE".to_owned())));
    }
}

#[tokio::test]
async fn output_that_is_gone_is_not_to_be_asked_for_again_once_the_attempt_has_ended() {
    let rig = Rig::new().await;
    let (running, node_id, session) = running_task(&rig).await;
    let ended = rig.create(spec("b")).await.task_id;
    rig.run_on(&ended, node_id, &[TaskState::Preparing, TaskState::Failed]).await;
    for (task_id, code, expected) in
        [(running, Code::Unavailable, "LOGS_UNAVAILABLE"), (ended, Code::NotFound, "LOGS_GONE")]
    {
        let mut stream = read(&rig, &task_id, 1).await.unwrap();
        let worker = rig.api.logs.take(order(&session).await.log_id).unwrap();
        worker.send(v1::PublishLogsRequest { gone: true, ..message(&[], "no container") }).await.unwrap();
        let status = stream.next().await.unwrap().unwrap_err();
        assert_eq!((status.code(), reason(&status).as_str()), (code, expected));
    }
}

#[tokio::test]
async fn a_reader_that_goes_ends_the_workers_call() {
    let rig = Rig::new().await;
    let (task_id, _, session) = running_task(&rig).await;
    let stream = read(&rig, &task_id, 0).await.unwrap();
    let worker = rig.api.logs.take(order(&session).await.log_id).unwrap();
    drop(stream);
    worker.closed().await;
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_does_not_begin_is_given_up() {
    let rig = Rig::new().await;
    let (task_id, _, session) = running_task(&rig).await;
    let mut stream = read(&rig, &task_id, 0).await.unwrap();
    let status = stream.next().await.unwrap().unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::Unavailable, "LOGS_UNAVAILABLE"));
    drop(stream);
    assert!(rig.api.logs.take(order(&session).await.log_id).is_none());
}

#[tokio::test]
async fn a_reading_ends_with_the_manager() {
    let rig = Rig::new().await;
    let (task_id, _, _session) = running_task(&rig).await;
    let mut stream = read(&rig, &task_id, 0).await.unwrap();
    rig.shutdown.trigger();
    assert_eq!(stream.next().await.unwrap().unwrap_err().code(), Code::Unavailable);
}

#[tokio::test]
async fn there_must_be_an_attempt_a_node_and_a_session() {
    let rig = Rig::new().await;
    let waiting = rig.create(spec("a")).await.task_id;
    let status = refusal(&rig, &waiting, 0).await;
    assert_eq!((status.code(), reason(&status).as_str()), (Code::FailedPrecondition, "ATTEMPT_NOT_ON_NODE_YET"));
    let stopped = rig.create(spec("stopped")).await.task_id;
    rig.tasks.stop_task(Request::new(v1::StopTaskRequest { task_id: stopped.clone() })).await.unwrap();
    let status = refusal(&rig, &stopped, 0).await;
    assert_eq!((status.code(), reason(&status).as_str()), (Code::FailedPrecondition, "ATTEMPT_NOT_ON_NODE"));
    let request = v1::StreamTaskLogsRequest {
        task_id: waiting.clone(),
        since: Some(prost_types::Timestamp { seconds: 1, nanos: -1 }),
        ..Default::default()
    };
    let Err(status) = rig.tasks.stream_task_logs(Request::new(request)).await else { panic!("was not refused") };
    assert_eq!((status.code(), fields(&status)), (Code::InvalidArgument, vec!["since".to_owned()]));
    let status = refusal(&rig, &waiting, 2).await;
    assert_eq!((status.code(), fields(&status)), (Code::InvalidArgument, vec!["attempt".to_owned()]));
    assert_eq!(refusal(&rig, "0193a5c0-1c1e-7d3a-9a53-0f5be2f0a111", 0).await.code(), Code::NotFound);
    assert_eq!(fields(&refusal(&rig, "x", 0).await), ["task_id"]);

    let (task_id, node_id, session) = running_task(&rig).await;
    rig.api.contacts.closed(node_id, session.session_id());
    let status = refusal(&rig, &task_id, 0).await;
    assert_eq!((status.code(), reason(&status).as_str()), (Code::Unavailable, "NODE_UNREACHABLE"));
}

#[tokio::test]
async fn readers_beyond_what_a_worker_bears_are_told_to_come_back() {
    let rig = Rig::new().await;
    let (task_id, _, _session) = running_task(&rig).await;
    let mut readers = Vec::new();
    let status = loop {
        match read(&rig, &task_id, 0).await {
            Ok(stream) => readers.push(stream),
            Err(status) => break status,
        }
        assert!(readers.len() < 1_000);
    };
    assert_eq!((status.code(), reason(&status).as_str()), (Code::ResourceExhausted, "TOO_MANY_READERS"));
}
