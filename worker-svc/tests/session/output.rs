//! An attempt's output, on its way to a reader.

use davit_core::id::AttemptKey;
use davit_core::state::TaskState;
use davit_core::task::DesiredState::Running;
use davit_proto::v1;
use davit_proto::v1::session_response::Message as Response;

use crate::manager::{Manager, Reading, Session};
use crate::worker::{Machine, container, new_key};
use crate::{CLUSTER, in_time};

async fn order(session: &Session, key: AttemptKey, tail_lines: Option<u32>, follow: bool) {
    order_with(session, key, v1::StartLogs { tail_lines, follow, ..Default::default() }).await;
}

async fn order_with(session: &Session, key: AttemptKey, which: v1::StartLogs) {
    let (task_id, attempt) = (key.task_id.to_string(), key.attempt.0);
    let order = v1::StartLogs { log_id: format!("log {attempt}"), task_id, attempt, ..which };
    session.send(Response::StartLogs(order)).await;
}

/// The next message; `None`: the worker has sent everything.
async fn next(reading: &mut Reading) -> Option<v1::PublishLogsRequest> {
    in_time("a piece of output", reading.messages.message()).await.unwrap()
}

async fn text(reading: &mut Reading, wanted: &str) -> String {
    let mut text = String::new();
    while !text.contains(wanted) {
        let Some(message) = next(reading).await else { break };
        assert_eq!(message.error, "");
        text.extend(message.pieces.iter().map(|piece| String::from_utf8_lossy(&piece.data)));
    }
    text
}

#[tokio::test]
async fn output_is_brought_from_its_tail_and_followed_to_the_end() {
    let (mut manager, machine) = (Manager::start().await, Machine::new());
    let _worker = machine.worker(&manager).await;
    let key = new_key();
    let mut session = manager.session_with(CLUSTER, &[(key, Running, &container(&[("log", "one|two|three")]))]).await;
    session.until(key, TaskState::Running).await;

    order(&session, key, Some(2), false).await;
    let mut reading = manager.reading().await;
    let first = next(&mut reading).await.unwrap();
    assert_eq!((first.log_id.as_str(), first.says_ended), ("log 1", true));
    assert_eq!(text(&mut reading, "never").await, "two\nthree\n");
    drop(reading);

    order(&session, key, None, true).await;
    let mut reading = manager.reading().await;
    assert_eq!(text(&mut reading, "three").await, "one\ntwo\nthree\n");
    machine.engine.print(&machine.owner(), key, "four");
    assert_eq!(text(&mut reading, "four").await, "four\n");
    machine.engine.end(&machine.owner(), key, 0);
    assert!(next(&mut reading).await.is_some_and(|last| last.ended));
    assert_eq!(next(&mut reading).await, None);
}

#[tokio::test]
async fn output_is_brought_from_a_time_on() {
    let (mut manager, machine) = (Manager::start().await, Machine::new());
    let _worker = machine.worker(&manager).await;
    let key = new_key();
    let mut session = manager.session_with(CLUSTER, &[(key, Running, &container(&[("log", "one")]))]).await;
    session.until(key, TaskState::Running).await;
    machine.engine.print(&machine.owner(), key, "two");
    order(&session, key, Some(1), false).await;
    let mut reading = manager.reading().await;
    next(&mut reading).await.unwrap();
    let last = next(&mut reading).await.unwrap().pieces.pop().unwrap().time.unwrap();
    let mut before = last;
    before.nanos -= 1;
    for (since, expected) in [(before, "two\n"), (last, "")] {
        order_with(&session, key, v1::StartLogs { since: Some(since), ..Default::default() }).await;
        let mut reading = manager.reading().await;
        next(&mut reading).await.unwrap();
        assert_eq!(text(&mut reading, "never").await, expected);
    }
    let mut wrong = last;
    wrong.nanos = -1;
    order_with(&session, key, v1::StartLogs { since: Some(wrong), ..Default::default() }).await;
    let mut reading = manager.reading().await;
    next(&mut reading).await.unwrap();
    let told = next(&mut reading).await.unwrap().error;
    assert!(told.contains("since"), "{told}");
}

#[tokio::test]
async fn a_follower_waits_for_the_start_and_learns_what_is_not_there() {
    let (mut manager, machine) = (Manager::start().await, Machine::new());
    let _worker = machine.worker(&manager).await;
    let (key, unknown) = (new_key(), new_key());
    machine.engine.set_failing(worker_svc::runtime::fake::Step::Start, Some("busy"));
    let mut session = manager.session_with(CLUSTER, &[(key, Running, &container(&[("log", "hello")]))]).await;
    order(&session, key, None, true).await;
    let mut reading = manager.reading().await;
    assert_eq!(next(&mut reading).await.unwrap().log_id, "log 1");
    machine.engine.set_failing(worker_svc::runtime::fake::Step::Start, None);
    // Nothing is begun by a worker that hears nothing of its manager.
    assert_eq!(session.during(text(&mut reading, "hello")).await, "hello\n");

    order(&session, unknown, None, false).await;
    let mut reading = manager.reading().await;
    next(&mut reading).await.unwrap();
    let last = next(&mut reading).await.unwrap();
    assert!(last.gone && !last.ended && last.error.contains(&unknown.to_string()), "{last:?}");
    assert_eq!(next(&mut reading).await, None);
}
