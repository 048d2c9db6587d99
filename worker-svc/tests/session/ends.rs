//! A worker that is told to stop.

use std::time::Duration;

use davit_core::state::TaskState;
use davit_core::task::AttemptStatus;
use davit_core::task::DesiredState::{Running, Stopped};
use davit_proto::convert::duration_to_proto;
use davit_proto::v1;
use davit_proto::v1::session_request::Message as Request;
use tokio::time::Instant;
use worker_svc::Config;
use worker_svc::runtime::RuntimeKind;
use worker_svc::runtime::fake::{Call, Step};

use crate::CLUSTER;
use crate::manager::{Manager, Session};
use crate::worker::{Machine, container, new_key, process};

/// Reads on until the worker says goodbye.
async fn goodbye(session: &mut Session) {
    loop {
        match session.next().await {
            Some(Request::Goodbye(goodbye)) => {
                assert!(!goodbye.reason.is_empty());
                break;
            }
            Some(_) => {}
            None => panic!("it ended without a goodbye"),
        }
    }
}

/// Reads on until the worker asks for its node to be drained.
async fn asks_for_drain(session: &mut Session) {
    loop {
        match session.next().await {
            Some(Request::Drain(_)) => break,
            Some(Request::Goodbye(_)) | None => panic!("it goes without a drain"),
            Some(_) => {}
        }
    }
}

/// Reads on until the worker ends the stream, without a goodbye.
async fn end(session: &mut Session) {
    while let Some(message) = session.next().await {
        assert!(!matches!(message, Request::Goodbye(_)), "it says goodbye");
    }
}

/// Reads on until the worker ends the stream: how long it means to be away, if that is its last word.
async fn last_word(session: &mut Session) -> Option<v1::Away> {
    let mut last = None;
    while let Some(message) = session.next().await {
        assert!(!matches!(message, Request::Goodbye(_)), "it says goodbye");
        last = match message {
            Request::Away(away) => Some(away),
            _ => None,
        };
    }
    last
}

#[tokio::test]
async fn a_worker_that_means_to_be_missed_at_once_says_nothing_of_being_back() {
    let (mut manager, machine) = (Manager::start().await, Machine::new());
    let worker = machine.worker_with(Config { away_time: Duration::ZERO, ..machine.config(&manager) }).await;
    let key = new_key();
    let mut session = manager.session_with(CLUSTER, &[(key, Running, &container(&[]))]).await;
    session.until(key, TaskState::Running).await;
    worker.shutdown.trigger();
    assert_eq!(last_word(&mut session).await, None);
    worker.ended().await.unwrap();
}

#[tokio::test]
async fn containers_and_processes_outlive_the_worker() {
    let (mut manager, mut machine) = (Manager::start().await, Machine::new());
    machine.kinds = vec![RuntimeKind::Docker, RuntimeKind::Process];
    let worker = machine.worker(&manager).await;
    let keys = [new_key(), new_key()];
    let all = [(keys[0], Running, &container(&[])), (keys[1], Running, &process(&[]))];
    let mut session = manager.session_with(CLUSTER, &all).await;
    for key in keys {
        session.until(key, TaskState::Running).await;
    }
    worker.shutdown.trigger();
    // After a goodbye the manager would replace what is left at once.
    assert_eq!(
        last_word(&mut session).await,
        Some(v1::Away { back_within: Some(duration_to_proto(machine.config(&manager).away_time)) })
    );
    drop(session);
    worker.ended().await.unwrap();
    let mut running = machine.engine.running(&machine.owner());
    running.sort_unstable();
    let mut expected = keys;
    expected.sort_unstable();
    assert_eq!(running, expected);

    let calls = machine.engine.calls().len();
    let _worker = machine.worker(&manager).await;
    let session = manager.session_with(CLUSTER, &all).await;
    for key in keys {
        assert_eq!(session.registered(key).state, TaskState::Running);
    }
    let touched = |call: &Call| call.key.is_some() && call.step != Step::Wait && call.step != Step::List;
    assert!(!machine.engine.calls().iter().skip(calls).any(touched), "a restart disturbs nothing");
}

#[tokio::test]
async fn a_worker_that_takes_its_tasks_along_says_goodbye_first_and_still_tells_how_they_end() {
    let (mut manager, machine) = (Manager::start().await, Machine::new());
    let mut config = machine.config(&manager);
    config.stop_tasks_on_shutdown = true;
    let worker = machine.worker_with(config).await;
    let (key, ignores) = (new_key(), new_key());
    let all = [(key, Running, &container(&[])), (ignores, Running, &container(&[("ignores_stop", "true")]))];
    let mut session = manager.session_with(CLUSTER, &all).await;
    session.until(key, TaskState::Running).await;
    session.until(ignores, TaskState::Running).await;
    worker.shutdown.trigger();
    goodbye(&mut session).await;
    let ended = |statuses: &[(_, AttemptStatus)]| statuses.iter().any(|(_, status)| status.state.is_terminal());
    assert!(!ended(&session.statuses), "the goodbye comes before the tasks end");
    session.until(key, TaskState::Stopped).await;
    // It begins nothing new on its way out.
    session.change(new_key(), Running, &container(&[])).await;
    session.until(ignores, TaskState::Stopped).await;
    end(&mut session).await;
    drop(session);
    worker.ended().await.unwrap();
    // Nothing is left of them, since nobody would remove it later.
    for left in [key, ignores] {
        assert!(!machine.engine.print(&machine.owner(), left, ""), "{left} is still there");
    }
    assert!(machine.kept().await.is_empty());
}

#[tokio::test]
async fn a_worker_that_is_to_be_drained_asks_for_it_in_every_session_and_goes_when_nothing_is_left() {
    let (mut manager, machine) = (Manager::start().await, Machine::new());
    let mut config = machine.config(&manager);
    config.drain_on_shutdown = Some(Duration::from_secs(60));
    let worker = machine.worker_with(config).await;
    let (key, spec) = (new_key(), container(&[]));
    let mut session = manager.session_with(CLUSTER, &[(key, Running, &spec)]).await;
    session.until(key, TaskState::Running).await;
    assert!(!session.register.draining);
    worker.shutdown.trigger();
    asks_for_drain(&mut session).await;
    assert_eq!(machine.engine.running(&machine.owner()), [key], "it stops nothing by itself");
    // The manager is restarted meanwhile.
    drop(session);
    let mut session = manager.session_with(CLUSTER, &[(key, Running, &spec)]).await;
    assert!(session.register.draining, "nothing is to be placed on it in between");
    asks_for_drain(&mut session).await;
    session.change(key, Stopped, &spec).await;
    session.until(key, TaskState::Stopped).await;
    goodbye(&mut session).await;
    end(&mut session).await;
    drop(session);
    worker.ended().await.unwrap();
}

#[tokio::test]
async fn a_drain_that_takes_too_long_leaves_what_a_plain_stop_would_leave() {
    let (mut manager, machine) = (Manager::start().await, Machine::new());
    let mut config = machine.config(&manager);
    config.drain_on_shutdown = Some(Duration::from_millis(200));
    let worker = machine.worker_with(config).await;
    let key = new_key();
    let mut session = manager.session_with(CLUSTER, &[(key, Running, &container(&[]))]).await;
    session.until(key, TaskState::Running).await;
    worker.shutdown.trigger();
    asks_for_drain(&mut session).await;
    end(&mut session).await;
    drop(session);
    worker.ended().await.unwrap();
    assert_eq!(machine.engine.running(&machine.owner()), [key]);
}

#[tokio::test]
async fn a_drain_that_takes_too_long_is_followed_by_the_stop_of_what_is_left_if_the_worker_takes_its_tasks_along() {
    let (mut manager, machine) = (Manager::start().await, Machine::new());
    let mut config = machine.config(&manager);
    (config.drain_on_shutdown, config.stop_tasks_on_shutdown) = (Some(Duration::from_millis(200)), true);
    let worker = machine.worker_with(config).await;
    let key = new_key();
    let mut session = manager.session_with(CLUSTER, &[(key, Running, &container(&[]))]).await;
    session.until(key, TaskState::Running).await;
    worker.shutdown.trigger();
    asks_for_drain(&mut session).await;
    goodbye(&mut session).await;
    session.until(key, TaskState::Stopped).await;
    end(&mut session).await;
    drop(session);
    worker.ended().await.unwrap();
    assert_eq!(machine.engine.running(&machine.owner()), []);
}

#[tokio::test]
async fn a_worker_without_a_manager_stops_at_once() {
    let (manager, machine) = (Manager::start().await, Machine::new());
    let config = machine.config(&manager);
    drop(manager);
    let worker = machine.worker_with(config).await;
    worker.shutdown.trigger();
    worker.ended().await.unwrap();
}

#[tokio::test]
async fn a_task_that_ignores_its_stop_does_not_hold_up_the_worker_for_long() {
    let (mut manager, mut machine) = (Manager::start().await, Machine::new());
    machine.kinds = vec![RuntimeKind::Process];
    let mut config = machine.config(&manager);
    (config.stop_tasks_on_shutdown, config.stop_tasks_within) = (true, Duration::from_millis(500));
    let worker = machine.worker_with(config).await;
    let (key, mut spec) = (new_key(), process(&[("ignores_stop", "true")]));
    spec.stop.grace = Duration::from_secs(3600);
    let mut session = manager.session_with(CLUSTER, &[(key, Running, &spec)]).await;
    session.until(key, TaskState::Running).await;
    let since = Instant::now();
    worker.shutdown.trigger();
    goodbye(&mut session).await;
    session.until(key, TaskState::Stopped).await;
    end(&mut session).await;
    drop(session);
    worker.ended().await.unwrap();
    assert!(since.elapsed() < Duration::from_secs(10));
    assert_eq!(machine.engine.running(&machine.owner()), []);
}
