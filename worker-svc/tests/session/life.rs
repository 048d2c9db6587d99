//! From an assignment to its end.

use davit_core::id::AttemptKey;
use davit_core::state::TaskState;
use davit_core::task::DesiredState::{Running, Stopped};
use davit_proto::v1;
use davit_proto::v1::session_request::Message as Request;
use worker_svc::runtime::fake::Step;

use crate::manager::{Manager, Session};
use crate::worker::{Machine, container, new_key, process};
use crate::{CLUSTER, in_time, until};

#[tokio::test]
async fn an_assignment_runs_and_its_states_arrive() {
    let (mut manager, machine) = (Manager::start().await, Machine::new());
    let _worker = machine.worker(&manager).await;
    let mut session = manager.session_with(CLUSTER, &[]).await;
    assert_eq!(session.register.name, "node-1");
    assert!(session.register.capacity.unwrap().memory_bytes > 0);
    assert_eq!(session.register.port_range, Some(v1::PortRange { first: 20_000, last: 31_999 }));
    assert_eq!(session.register.runtimes, [v1::RuntimeKind::Docker as i32]);

    let key = new_key();
    session.change(key, Running, &container(&[("pull_ms", "40")])).await;
    let preparing = session.until(key, TaskState::Preparing).await;
    let running = session.until(key, TaskState::Running).await;
    assert!(running.ready && running.started_at.is_some() && running.sequence > preparing.sequence);
    assert_eq!(running.ports.len(), 1);
    assert_eq!(machine.engine.running(&machine.owner()), [key]);

    machine.engine.end(&machine.owner(), key, 0);
    let completed = session.until(key, TaskState::Completed).await;
    assert_eq!((completed.exit_code, completed.ready), (Some(0), false));
    assert!(completed.finished_at >= completed.started_at);
}

#[tokio::test]
async fn that_an_attempt_is_prepared_is_told_although_nothing_more_is_to_be_told_of_it() {
    let (mut manager, machine) = (Manager::start().await, Machine::new());
    let _worker = machine.worker(&manager).await;
    let mut session = manager.session_with(CLUSTER, &[]).await;
    machine.engine.set_stuck(Step::Create, true);
    let key = new_key();
    session.change(key, Running, &container(&[])).await;
    session.until(key, TaskState::Preparing).await;
    machine.engine.set_stuck(Step::Create, false);
    session.until(key, TaskState::Running).await;
}

#[tokio::test]
async fn each_end_is_told_as_what_it_was() {
    let (mut manager, machine) = (Manager::start().await, Machine::new());
    let _worker = machine.worker(&manager).await;
    let [crashes, is_killed, no_image, no_start] = [new_key(), new_key(), new_key(), new_key()];
    let assignments = [
        (crashes, Running, &container(&[("run_for_ms", "1"), ("exit_code", "3")])),
        (is_killed, Running, &container(&[("run_for_ms", "1"), ("exit_code", "137"), ("oom", "true")])),
        (no_image, Running, &container(&[("pull_fails", "no such image")])),
        (no_start, Running, &container(&[("start_fails", "exec: not found")])),
    ];
    let mut session = manager.session_with(CLUSTER, &assignments).await;
    assert_eq!(session.until(crashes, TaskState::Failed).await.exit_code, Some(3));
    assert!(session.until(is_killed, TaskState::Failed).await.oom_killed);
    let failed = session.until(no_image, TaskState::Failed).await;
    assert!(failed.reason.contains("no such image") && failed.exit_code.is_none(), "{failed:?}");
    assert!(session.until(no_start, TaskState::Failed).await.reason.contains("exec: not found"));
}

#[tokio::test]
async fn a_runtime_that_is_not_there_is_a_failure_with_a_reason() {
    let (mut manager, machine) = (Manager::start().await, Machine::new());
    let _worker = machine.worker(&manager).await;
    let key = new_key();
    let mut session = manager.session_with(CLUSTER, &[(key, Running, &process(&[]))]).await;
    assert!(session.until(key, TaskState::Failed).await.reason.contains("no process runtime"));
}

#[tokio::test]
async fn what_is_stopped_is_stopped_whatever_it_returns() {
    let (mut manager, machine) = (Manager::start().await, Machine::new());
    let _worker = machine.worker(&manager).await;
    let (key, stubborn, never) = (new_key(), new_key(), new_key());
    let spec = container(&[]);
    let ignores = container(&[("ignores_stop", "true")]);
    let mut session = manager.session_with(CLUSTER, &[(key, Running, &spec), (stubborn, Running, &ignores)]).await;
    session.until(key, TaskState::Running).await;
    session.until(stubborn, TaskState::Running).await;
    session.assign(false, false, &[(key, Stopped, &spec), (stubborn, Stopped, &ignores)], &[]).await;
    assert_eq!(session.until(key, TaskState::Stopped).await.exit_code, Some(143));
    session.until(stubborn, TaskState::Stopping).await;
    assert_eq!(session.until(stubborn, TaskState::Stopped).await.exit_code, Some(137));

    session.change(never, Stopped, &spec).await;
    assert_eq!(session.until(never, TaskState::Stopped).await.exit_code, None);
    assert!(!machine.engine.calls().iter().any(|call| call.key == Some(never)));
}

#[tokio::test]
async fn nobody_waits_for_a_pull_that_is_not_wanted_any_more() {
    let (mut manager, machine) = (Manager::start().await, Machine::new());
    let _worker = machine.worker(&manager).await;
    let (key, spec) = (new_key(), container(&[("pull_ms", "3600000")]));
    let mut session = manager.session_with(CLUSTER, &[(key, Running, &spec)]).await;
    session.until(key, TaskState::Preparing).await;
    session.change(key, Stopped, &spec).await;
    session.until(key, TaskState::Stopped).await;
    assert!(!machine.engine.calls().iter().any(|call| call.step == Step::Start));
}

#[tokio::test]
async fn what_is_removed_leaves_nothing() {
    let (mut manager, machine) = (Manager::start().await, Machine::new());
    let worker = machine.worker(&manager).await;
    let (runs, ended) = (new_key(), new_key());
    let short = container(&[("run_for_ms", "1")]);
    let mut session =
        manager.session_with(CLUSTER, &[(runs, Running, &container(&[])), (ended, Running, &short)]).await;
    session.until(runs, TaskState::Running).await;
    session.until(ended, TaskState::Completed).await;
    session.remove(runs).await;
    session.remove(ended).await;
    let client = worker.client().await;
    let forgotten = async { while !crate::worker::local_tasks(&client).await.is_empty() {} };
    in_time("an empty node", forgotten).await;
    let left = |key: &AttemptKey| machine.engine.print(&machine.owner(), *key, "");
    assert!(!left(&runs) && !left(&ended));
    worker.kill().await;
    assert!(machine.kept().await.is_empty());
}

#[tokio::test]
async fn ended_attempts_are_removed_after_their_retention() {
    let (mut manager, machine) = (Manager::start().await, Machine::new());
    let mut config = machine.config(&manager);
    config.retention = std::time::Duration::from_millis(20);
    let worker = machine.worker_with(config).await;
    let key = new_key();
    let mut session = manager.session_with(CLUSTER, &[(key, Running, &container(&[("run_for_ms", "1")]))]).await;
    session.until(key, TaskState::Completed).await;
    until("its removal", || !machine.engine.print(&machine.owner(), key, "")).await;
    let mut client = worker.client().await;
    let listed = async {
        while !client
            .list_local_tasks(v1::ListLocalTasksRequest::default())
            .await
            .unwrap()
            .into_inner()
            .tasks
            .is_empty()
        {
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
    };
    in_time("an empty list", listed).await;
}

#[tokio::test]
async fn a_later_attempt_starts_only_after_the_earlier_one_has_ended() {
    let (mut manager, machine) = (Manager::start().await, Machine::new());
    let _worker = machine.worker(&manager).await;
    let first = new_key();
    let second = AttemptKey { attempt: first.attempt.next(), ..first };
    let spec = container(&[("ignores_stop", "true")]);
    let mut session = manager.session_with(CLUSTER, &[(first, Running, &spec)]).await;
    session.until(first, TaskState::Running).await;
    session.change(second, Running, &spec).await;
    session.until(second, TaskState::Running).await;
    assert_eq!(machine.engine.running(&machine.owner()), [second]);
    let steps: Vec<_> = machine.engine.calls().into_iter().map(|call| (call.step, call.key)).collect();
    let at = |step, key| steps.iter().position(|call| *call == (step, Some(key))).unwrap();
    assert!(at(Step::Stop, first) < at(Step::Start, second));
}

#[tokio::test]
async fn an_engine_that_is_down_for_a_while_fails_no_attempt() {
    let (mut manager, machine) = (Manager::start().await, Machine::new());
    let _worker = machine.worker(&manager).await;
    let mut session = manager.session_with(CLUSTER, &[]).await;
    machine.engine.set_down(Some("restarting"));
    let key = new_key();
    session.change(key, Running, &container(&[])).await;
    session.until_reason(key, "restarting").await;
    machine.engine.set_down(None);
    assert_eq!(session.until(key, TaskState::Running).await.reason, "");
}

#[tokio::test]
async fn a_start_that_was_not_answered_never_takes_place_after_the_stop_was_reported() {
    let (mut manager, machine) = (Manager::start().await, Machine::new());
    let _worker = machine.worker(&manager).await;
    let mut session = manager.session_with(CLUSTER, &[]).await;
    machine.engine.set_starts_late(true);
    let (key, spec) = (new_key(), container(&[]));
    session.change(key, Running, &spec).await;
    session.until_reason(key, "timed out").await;
    session.change(key, Stopped, &spec).await;
    session.until(key, TaskState::Stopped).await;
    machine.engine.set_starts_late(false);
    assert_eq!(machine.engine.running(&machine.owner()), []);
}

#[tokio::test]
async fn a_start_that_was_not_answered_never_takes_place_after_the_next_one_failed_for_good() {
    let (mut manager, machine) = (Manager::start().await, Machine::new());
    let _worker = machine.worker(&manager).await;
    let mut session = manager.session_with(CLUSTER, &[]).await;
    machine.engine.set_starts_late(true);
    let key = new_key();
    session.change(key, Running, &container(&[("start_fails", "no such program")])).await;
    session.until_reason(key, "timed out").await;
    machine.engine.answer_starts();
    let failed = session.until(key, TaskState::Failed).await;
    assert!(failed.reason.contains("no such program"), "{failed:?}");
    machine.engine.set_starts_late(false);
    assert_eq!(machine.engine.running(&machine.owner()), []);
}

/// Reads on until the worker says what it can run.
async fn told_health(session: &mut Session) -> v1::RuntimeHealth {
    let reads = async {
        loop {
            match session.next().await.expect("the session goes on") {
                Request::RuntimeHealth(health) => return health,
                _ => continue,
            }
        }
    };
    in_time("word of the runtimes", reads).await
}

#[tokio::test]
async fn an_engine_that_hangs_is_told_and_so_is_its_return_and_what_runs_is_not_disturbed() {
    let (mut manager, machine) = (Manager::start().await, Machine::new());
    let _worker = machine.worker(&manager).await;
    let (key, spec) = (new_key(), container(&[]));
    let mut session = manager.session_with(CLUSTER, &[(key, Running, &spec)]).await;
    session.until(key, TaskState::Running).await;
    let (statuses, calls) = (session.statuses.len(), machine.engine.calls().len());
    machine.engine.set_hanging(true);
    let hangs = told_health(&mut session).await;
    assert!(hangs.runtimes.is_empty());
    assert_eq!(hangs.problems[0].kind(), v1::RuntimeKind::Docker);
    assert!(hangs.problems[0].problem.contains("does not answer within"), "{hangs:?}");
    machine.engine.set_hanging(false);
    let back = told_health(&mut session).await;
    assert_eq!((back.runtimes, back.problems.len()), (vec![v1::RuntimeKind::Docker as i32], 0));
    assert_eq!(session.statuses.len(), statuses, "it keeps its state");
    let later = machine.engine.calls().split_off(calls);
    assert!(later.iter().all(|call| call.step == Step::Check), "{later:?}");
}

#[tokio::test]
async fn heartbeats_bring_what_was_measured() {
    let (mut manager, machine) = (Manager::start().await, Machine::new());
    let _worker = machine.worker(&manager).await;
    let mut session = manager.session_with(CLUSTER, &[]).await;
    let stats = async {
        loop {
            if let Some(Request::Heartbeat(v1::Heartbeat { stats: Some(stats), .. })) = session.next().await {
                return stats;
            }
        }
    };
    let stats = in_time("stats", stats).await;
    assert!(stats.measure_time.is_some() && stats.memory_used_bytes > 0);
}

#[tokio::test]
async fn the_worker_tells_of_itself() {
    let (mut manager, machine) = (Manager::start().await, Machine::new());
    let worker = machine.worker(&manager).await;
    let keys = [new_key(), new_key(), new_key()];
    let spec = container(&[]);
    let all: Vec<_> = keys.iter().map(|key| (*key, Running, &spec)).collect();
    let mut session = manager.session_with(CLUSTER, &all).await;
    for key in keys {
        session.until(key, TaskState::Running).await;
    }
    let mut client = worker.client().await;
    let told = client.get_worker(v1::GetWorkerRequest {}).await.unwrap().into_inner();
    assert!(told.connected && told.disconnect_reason.is_empty());
    assert_eq!((told.cluster.as_str(), told.name.as_str()), (CLUSTER, "node-1"));
    assert_eq!(told.runtimes[0].version, "fake");
    let stats = client.get_stats(v1::GetStatsRequest {}).await.unwrap().into_inner().stats.unwrap();
    assert_eq!(stats.running_tasks, 3);

    let mut request = v1::ListLocalTasksRequest { page_size: 2, page_token: String::new() };
    let first = client.list_local_tasks(request.clone()).await.unwrap().into_inner();
    request.page_token = first.next_page_token;
    let second = client.list_local_tasks(request.clone()).await.unwrap().into_inner();
    assert!(second.next_page_token.is_empty());
    let listed: Vec<_> = first.tasks.iter().chain(&second.tasks).map(|task| task.task_id.clone()).collect();
    assert_eq!(listed, keys.map(|key| key.task_id.to_string()));
    assert_eq!(first.tasks[0].name, "web");
    for bad in [
        v1::ListLocalTasksRequest { page_size: 1001, ..Default::default() },
        v1::ListLocalTasksRequest { page_token: "x".to_owned(), ..Default::default() },
    ] {
        assert_eq!(client.list_local_tasks(bad).await.unwrap_err().code(), tonic::Code::InvalidArgument);
    }
}

#[tokio::test]
async fn an_attempt_that_waits_for_the_one_before_says_so() {
    let (mut manager, machine) = (Manager::start().await, Machine::new());
    let _worker = machine.worker(&manager).await;
    let (old, mut stubborn) = (new_key(), container(&[("ignores_stop", "true")]));
    stubborn.stop.grace = std::time::Duration::from_millis(500);
    let new = AttemptKey { attempt: old.attempt.next(), ..old };
    let mut session = manager.session_with(CLUSTER, &[(old, Running, &stubborn)]).await;
    session.until(old, TaskState::Running).await;
    session.change(new, Running, &container(&[])).await;
    session.until_reason(new, "waits for attempt 1 to end").await;
    assert!(session.until(new, TaskState::Running).await.reason.is_empty());
    assert_eq!(machine.engine.running(&machine.owner()), [new]);
}
