//! Streams that break, workers that die, managers that change.

use std::time::Duration;

use davit_core::id::AttemptKey;
use davit_core::spec::{PortProtocol, TaskSpec};
use davit_core::state::TaskState;
use davit_core::task::DesiredState::{Running, Stopped};
use davit_core::task::PortBinding;
use davit_proto::v1::session_response::Message as Response;
use davit_proto::{convert, v1};
use tokio::time::Instant;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};
use worker_svc::Config;
use worker_svc::runtime::fake::Step;
use worker_svc::runtime::{InstanceState, RuntimeKind};

use crate::manager::Manager;
use crate::worker::{Machine, Worker, container, new_key, process};
use crate::{CLUSTER, in_time, until};

/// Has a worker run an attempt, and kills it.
async fn killed_while_running(manager: &mut Manager, machine: &Machine, spec: &TaskSpec) -> AttemptKey {
    let worker = machine.worker(manager).await;
    let key = new_key();
    let mut session = manager.session_with(CLUSTER, &[(key, Running, spec)]).await;
    session.until(key, TaskState::Running).await;
    worker.kill().await;
    key
}

#[tokio::test]
async fn a_cut_stream_loses_no_status() {
    let (mut manager, machine) = (Manager::start().await, Machine::new());
    let _worker = machine.worker(&manager).await;
    let (key, spec) = (new_key(), container(&[]));
    let mut session = manager.session_with(CLUSTER, &[(key, Running, &spec)]).await;
    session.acknowledges = false;
    // How far it is then is a matter of moments.
    session.until_told(key).await;
    drop(session);
    until("its start", || machine.engine.running(&machine.owner()) == [key]).await;
    machine.engine.end(&machine.owner(), key, 5);

    let mut session = manager.session_with(CLUSTER, &[(key, Running, &spec)]).await;
    let registered = session.register.attempts.clone();
    assert_eq!(registered.len(), 1);
    let failed = session.until(key, TaskState::Failed).await;
    assert_eq!(failed.exit_code, Some(5));
    // Told durably: not told again.
    drop(session);
    let mut session = manager.session_with(CLUSTER, &[]).await;
    let other = new_key();
    session.change(other, Running, &spec).await;
    session.until(other, TaskState::Running).await;
    assert!(session.statuses.iter().all(|(of, _)| *of == other), "{:?}", session.statuses);
}

#[tokio::test]
async fn a_stream_cut_twenty_times_runs_everything_once() {
    let (mut manager, machine) = (Manager::start().await, Machine::new());
    let _worker = machine.worker(&manager).await;
    let (mut all, spec) = (Vec::new(), container(&[]));
    for _ in 0..20 {
        all.push(new_key());
        let assigned: Vec<_> = all.iter().map(|key| (*key, Running, &spec)).collect();
        drop(manager.session_with(CLUSTER, &assigned).await);
    }
    let assigned: Vec<_> = all.iter().map(|key| (*key, Running, &spec)).collect();
    let mut session = manager.session_with(CLUSTER, &assigned).await;
    for key in &all {
        session.until(*key, TaskState::Running).await;
    }
    assert_eq!(machine.engine.running(&machine.owner()), all);
    let starts = machine.engine.calls().into_iter().filter(|call| call.step == Step::Start).count();
    assert_eq!(starts, all.len());
}

#[tokio::test]
async fn every_registration_has_a_greater_number_than_those_before_and_than_the_manager_tells() {
    let (mut manager, machine) = (Manager::start().await, Machine::new());
    let _worker = machine.worker(&manager).await;
    let mut numbers = Vec::new();
    for _ in 0..2 {
        numbers.push(manager.session(CLUSTER).await.register.registration_number);
    }
    // An earlier worker of this node came further.
    let last = [(convert::LAST_REGISTRATION_NUMBER.to_owned(), "7".to_owned())];
    let details = ErrorDetails::with_error_info(convert::REGISTRATION_OVERTAKEN, "davit.dev", last);
    manager.dialled().await.refuse(Status::with_error_details(Code::Aborted, "too late", details));
    numbers.push(manager.session(CLUSTER).await.register.registration_number);
    assert_eq!(numbers, [1, 2, 8]);
}

#[tokio::test]
async fn a_start_that_a_worker_without_records_knows_nothing_of_never_takes_place_after_the_stop_was_reported() {
    let (mut manager, machine) = (Manager::start().await, Machine::new());
    machine.engine.set_starts_late(true);
    let worker = machine.worker(&manager).await;
    let (key, spec) = (new_key(), container(&[]));
    let mut session = manager.session_with(CLUSTER, &[(key, Running, &spec)]).await;
    session.until_reason(key, "timed out").await;
    worker.kill().await;
    drop(session);
    std::fs::remove_dir_all(machine.data_dir().join("store").join(CLUSTER)).unwrap();
    let _worker = machine.worker(&manager).await;
    let mut session = manager.session_with(CLUSTER, &[(key, Stopped, &spec)]).await;
    session.until(key, TaskState::Stopped).await;
    machine.engine.set_starts_late(false);
    assert_eq!(machine.engine.running(&machine.owner()), []);
}

/// Before that the manager would take for lost, and place anew, what runs.
#[tokio::test]
async fn a_worker_that_lost_its_records_is_not_back_before_its_engine_tells_what_runs() {
    let (mut manager, machine) = (Manager::start().await, Machine::new());
    let spec = container(&[]);
    let key = killed_while_running(&mut manager, &machine, &spec).await;
    std::fs::remove_dir_all(machine.data_dir().join("store").join(CLUSTER)).unwrap();
    machine.engine.set_hanging(true);

    let told = async |worker: &Worker| {
        let client = worker.client().await;
        let told = async || {
            let answer = client.clone().get_worker(v1::GetWorkerRequest {}).await.unwrap().into_inner();
            answer.disconnect_reason.contains("its docker runtime does not tell what runs here")
        };
        in_time("the reason why it is not back", async { while !told().await {} }).await;
    };
    let worker = machine.worker(&manager).await;
    told(&worker).await;
    worker.kill().await;
    // It was killed before it had found out: the next one still knows of the loss.
    let worker = machine.worker(&manager).await;
    told(&worker).await;
    machine.engine.set_hanging(false);
    let session = manager.session_with(CLUSTER, &[(key, Running, &spec)]).await;
    assert_eq!(session.registered(key).state, TaskState::Running);
    worker.kill().await;
    drop(session);

    // And once is enough: it knows again what it has, and an engine that hangs does not keep it away.
    machine.engine.set_hanging(true);
    let _worker = machine.worker(&manager).await;
    let session = manager.session(CLUSTER).await;
    assert_eq!(session.register.attempts.len(), 1);
}

#[tokio::test]
async fn a_worker_that_is_refused_as_a_second_one_says_so_and_tries_again_soon_as_the_same_run() {
    let (mut manager, machine) = (Manager::start().await, Machine::new());
    let worker = machine.worker(&manager).await;
    let run = manager.session(CLUSTER).await.register.worker_run;
    let details = ErrorDetails::with_error_info(convert::SECOND_WORKER, "davit.dev", []);
    let status = Status::with_error_details(Code::AlreadyExists, "its data directory is a copy", details);
    manager.dialled().await.refuse(status);
    let client = worker.client().await;
    let told = async {
        loop {
            let answer = client.clone().get_worker(v1::GetWorkerRequest {}).await.unwrap().into_inner();
            if answer.disconnect_reason.contains("is a copy") {
                return;
            }
        }
    };
    in_time("the reason", told).await;
    // Sooner than after what can't pass by itself.
    let began = Instant::now();
    let session = manager.session(CLUSTER).await;
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    assert_eq!(session.register.worker_run, run);
    worker.kill().await;
    drop(session);
    let _worker = machine.worker(&manager).await;
    let anew = manager.session(CLUSTER).await.register.worker_run;
    assert!(!run.is_empty() && anew != run);
}

#[tokio::test]
async fn a_killed_worker_finds_its_attempts_and_disturbs_none() {
    let (mut manager, machine) = (Manager::start().await, Machine::new());
    let worker = machine.worker(&manager).await;
    let (runs, ends, unwanted) = (new_key(), new_key(), new_key());
    let spec = container(&[]);
    let all = [(runs, Running, &spec), (ends, Running, &spec), (unwanted, Running, &spec)];
    let mut session = manager.session_with(CLUSTER, &all).await;
    for (key, _, _) in all {
        session.until(key, TaskState::Running).await;
    }
    let before = session.until(runs, TaskState::Running).await;
    worker.until_all_acknowledged(&mut session).await;
    worker.kill().await;
    drop(session);
    machine.engine.end(&machine.owner(), ends, 0);
    let calls = machine.engine.calls().len();

    let _worker = machine.worker(&manager).await;
    let mut session = manager.session(CLUSTER).await;
    let mut states: Vec<_> =
        session.register.attempts.iter().map(|report| report.status.clone().unwrap().state()).collect();
    states.sort_unstable();
    assert_eq!(states, [v1::TaskState::Running, v1::TaskState::Running, v1::TaskState::Completed]);
    session.assign(true, false, &[(runs, Running, &spec)], &[]).await;
    session.assign(true, true, &[], &[]).await;
    assert!(session.until(ends, TaskState::Completed).await.sequence > before.sequence);
    assert_eq!(session.registered(runs), before);
    assert!(session.statuses.iter().all(|(key, _)| *key != runs), "the manager has it: {:?}", session.statuses);
    until("the end of what is not assigned", || machine.engine.running(&machine.owner()) == [runs]).await;
    let disturbed = machine.engine.calls().into_iter().skip(calls).any(|call| {
        call.key == Some(runs) && matches!(call.step, Step::Create | Step::Start | Step::Stop | Step::Remove)
    });
    assert!(!disturbed);
}

#[tokio::test]
async fn what_ran_and_is_gone_fails_and_is_not_run_again() {
    let (mut manager, mut machine) = (Manager::start().await, Machine::new());
    machine.kinds = vec![RuntimeKind::Process];
    let spec = process(&[]);
    let key = killed_while_running(&mut manager, &machine, &spec).await;
    // The machine is restarted, say: no process is left.
    machine.engine.forget_all();
    let _worker = machine.worker(&manager).await;
    let mut session = manager.session_with(CLUSTER, &[(key, Running, &spec)]).await;
    assert!(session.until(key, TaskState::Failed).await.reason.contains("gone"));
    let starts = machine.engine.calls().iter().filter(|call| call.step == Step::Start).count();
    assert_eq!(starts, 1, "only the first");
}

#[tokio::test]
async fn an_end_that_was_seen_is_told_also_when_the_engine_has_forgotten_it() {
    let (mut manager, machine) = (Manager::start().await, Machine::new());
    let worker = machine.worker(&manager).await;
    let (key, spec) = (new_key(), container(&[("run_for_ms", "1"), ("exit_code", "7")]));
    let mut session = manager.session_with(CLUSTER, &[(key, Running, &spec)]).await;
    session.acknowledges = false;
    session.until_told(key).await;
    until("its end", || matches!(machine.engine.state(&machine.owner(), key), Some(InstanceState::Exited(_)))).await;
    let client = worker.client().await;
    let noted = async {
        let told = |tasks: Vec<v1::LocalTask>| tasks[0].status.clone().unwrap().state() == v1::TaskState::Failed;
        while !told(crate::worker::local_tasks(&client).await) {}
    };
    in_time("its end to be noted", noted).await;
    worker.kill().await;
    drop(session);
    machine.engine.forget_all();
    let _worker = machine.worker(&manager).await;
    let mut session = manager.session_with(CLUSTER, &[(key, Running, &spec)]).await;
    assert_eq!(session.until(key, TaskState::Failed).await.exit_code, Some(7));
}

#[tokio::test]
async fn a_damaged_store_is_set_aside_and_what_runs_is_taken_up() {
    let (mut manager, machine) = (Manager::start().await, Machine::new());
    let spec = container(&[]);
    let key = killed_while_running(&mut manager, &machine, &spec).await;
    let store = machine.data_dir().join("store").join(CLUSTER);
    std::fs::write(store.join("version"), "nonsense").unwrap();
    let _worker = machine.worker(&manager).await;
    let mut session = manager.session_with(CLUSTER, &[(key, Running, &spec)]).await;
    session.until(key, TaskState::Running).await;
    assert!(store.with_file_name(format!("{CLUSTER}.damaged-1")).exists());
    assert_eq!(machine.engine.running(&machine.owner()), [key]);
}

#[tokio::test]
async fn attempts_of_an_engine_that_is_down_are_still_held() {
    let (mut manager, machine) = (Manager::start().await, Machine::new());
    let spec = container(&[]);
    let key = killed_while_running(&mut manager, &machine, &spec).await;
    machine.engine.set_down(Some("restarting"));
    let _worker = machine.worker(&manager).await;
    let mut session = manager.session_with(CLUSTER, &[(key, Running, &spec)]).await;
    assert!(session.register.runtimes.is_empty());
    assert!(session.register.runtime_problems[0].problem.contains("restarting"));
    assert_eq!(session.register.attempts.len(), 1, "the manager must not take it for lost");
    machine.engine.set_down(None);
    session.until(key, TaskState::Running).await;
    assert_eq!(machine.engine.running(&machine.owner()), [key]);
}

#[tokio::test]
async fn another_cluster_is_joined_anew_and_the_old_ones_containers_stay() {
    let (mut manager, machine) = (Manager::start().await, Machine::new());
    let _worker = machine.worker(&manager).await;
    let (key, spec) = (new_key(), container(&[]));
    let mut session = manager.session_with(CLUSTER, &[(key, Running, &spec)]).await;
    session.until(key, TaskState::Running).await;
    drop(session);
    let other = new_key();
    let mut session = manager.session_with("other", &[(other, Running, &spec)]).await;
    session.until(other, TaskState::Running).await;
    assert_eq!(machine.engine.running(&machine.owner()), [key]);
    let cluster = std::fs::read_to_string(machine.data_dir().join("cluster")).unwrap();
    assert_eq!(cluster.lines().next(), Some("other"));
}

#[tokio::test]
async fn an_answer_that_names_no_cluster_is_not_taken() {
    let (mut manager, machine) = (Manager::start().await, Machine::new());
    let worker = machine.worker(&manager).await;
    let session = manager.session("../etc").await;
    let mut client = worker.client().await;
    let told = async {
        loop {
            let told = client.get_worker(v1::GetWorkerRequest {}).await.unwrap().into_inner();
            if told.disconnect_reason.contains("../etc") {
                return;
            }
        }
    };
    in_time("the reason", told).await;
    drop(session);
}

#[tokio::test]
async fn a_disconnect_is_obeyed_and_a_refusal_is_told() {
    let (mut manager, machine) = (Manager::start().await, Machine::new());
    let worker = machine.worker(&manager).await;
    let session = manager.session_with(CLUSTER, &[]).await;
    let wait = Duration::from_millis(300);
    let disconnect =
        v1::Disconnect { reason: "moving".to_owned(), retry_after: Some(convert::duration_to_proto(wait)) };
    session.send(Response::Disconnect(disconnect)).await;
    let since = Instant::now();
    let dialled = manager.dialled().await;
    assert!(since.elapsed() >= wait);

    dialled.refuse(Status::already_exists("the name node-1 is in use"));
    let mut client = worker.client().await;
    let told = async {
        loop {
            let told = client.get_worker(v1::GetWorkerRequest {}).await.unwrap().into_inner();
            if told.disconnect_reason.contains("the name node-1 is in use") {
                assert!(!told.connected);
                return;
            }
        }
    };
    in_time("the refusal", told).await;
}

#[tokio::test]
async fn two_workers_do_not_share_a_data_directory() {
    let (mut manager, machine) = (Manager::start().await, Machine::new());
    let _first = machine.worker(&manager).await;
    let _session = manager.session(CLUSTER).await;
    let error = machine.worker(&manager).await.ended().await.unwrap_err();
    assert!(error.contains("another worker"), "{error}");
}

#[tokio::test]
async fn a_stale_attempt_is_removed_by_the_full_set() {
    let (mut manager, machine) = (Manager::start().await, Machine::new());
    let _worker = machine.worker(&manager).await;
    let (old, spec) = (new_key(), container(&[]));
    let new = AttemptKey { attempt: old.attempt.next(), ..old };
    let mut session = manager.session_with(CLUSTER, &[(old, Running, &spec)]).await;
    session.until(old, TaskState::Running).await;
    drop(session);
    let mut session = manager.session_with(CLUSTER, &[(new, Running, &spec)]).await;
    session.until(new, TaskState::Running).await;
    until("the end of the old attempt", || machine.engine.running(&machine.owner()) == [new]).await;
}

#[tokio::test]
async fn what_was_created_and_never_started_runs_after_a_restart() {
    let (mut manager, machine) = (Manager::start().await, Machine::new());
    let worker = machine.worker(&manager).await;
    let (lost, created, spec) = (new_key(), new_key(), container(&[]));
    machine.engine.set_failing(Step::Create, Some("busy"));
    let mut session = manager.session_with(CLUSTER, &[(lost, Running, &spec)]).await;
    session.until_reason(lost, "busy").await;
    machine.engine.set_failing(Step::Create, None);
    machine.engine.set_failing(Step::Start, Some("jammed"));
    session.change(created, Running, &spec).await;
    session.until_reason(created, "jammed").await;
    worker.kill().await;
    drop(session);
    machine.engine.set_failing(Step::Start, None);
    let _worker = machine.worker(&manager).await;
    let mut session = manager.session(CLUSTER).await;
    assert_eq!(session.register.attempts.len(), 2);
    session.assign(true, true, &[(lost, Running, &spec), (created, Running, &spec)], &[]).await;
    session.until(lost, TaskState::Running).await;
    // The start was tried before: whether it ran can't be known, its instance tells that it did not.
    session.until(created, TaskState::Running).await;
}

#[tokio::test]
async fn ports_that_were_given_are_published_also_after_a_restart() {
    let (mut manager, machine) = (Manager::start().await, Machine::new());
    let config = Config { port_range: None, ..machine.config(&manager) };
    let worker = machine.worker_with(config).await;
    let (key, lost, spec) = (new_key(), new_key(), container(&[]));
    let given = PortBinding { container_port: 80, protocol: PortProtocol::Tcp, host_port: 20_007 };
    let mut session = manager.session_with(CLUSTER, &[]).await;
    assert_eq!(session.register.port_range, None);
    session.given = [given].into();
    session.change(key, Running, &spec).await;
    assert_eq!(session.until(key, TaskState::Running).await.ports, [given]);
    let other = PortBinding { host_port: 20_008, ..given };
    session.given = [other].into();
    machine.engine.set_failing(Step::Create, Some("busy"));
    session.change(lost, Running, &spec).await;
    session.until_reason(lost, "busy").await;
    worker.kill().await;
    drop(session);

    machine.engine.set_failing(Step::Create, None);
    let _worker = machine.worker(&manager).await;
    // It has them in its records and needs not be told again.
    let mut session = manager.session_with(CLUSTER, &[(key, Running, &spec), (lost, Running, &spec)]).await;
    assert_eq!(session.registered(key).ports, [given]);
    assert_eq!(session.until(lost, TaskState::Running).await.ports, [other]);
}

#[tokio::test]
async fn what_a_restarted_worker_removes_is_stopped_as_its_own_spec_says() {
    let (mut manager, machine) = (Manager::start().await, Machine::new());
    let worker = machine.worker(&manager).await;
    // Its grace is far shorter than the default one.
    let (key, spec) = (new_key(), container(&[("ignores_stop", "true")]));
    let mut session = manager.session_with(CLUSTER, &[(key, Running, &spec)]).await;
    session.until(key, TaskState::Running).await;
    worker.kill().await;
    drop(session);
    let _worker = machine.worker(&manager).await;
    let since = Instant::now();
    let _session = manager.session_with(CLUSTER, &[]).await;
    until("its end", || machine.engine.running(&machine.owner()).is_empty()).await;
    assert!(since.elapsed() < davit_core::spec::StopPolicy::default().grace / 2);
}

#[tokio::test]
async fn a_worker_that_is_restarted_while_its_engine_hangs_is_back_before_its_node_counts_as_down() {
    let (mut manager, machine) = (Manager::start().await, Machine::new());
    let worker = machine.worker(&manager).await;
    let (key, spec) = (new_key(), container(&[]));
    let mut session = manager.session_with(CLUSTER, &[(key, Running, &spec)]).await;
    session.until(key, TaskState::Running).await;
    worker.until_all_acknowledged(&mut session).await;
    worker.kill().await;
    drop(session);
    let starts = || machine.engine.calls().iter().filter(|call| call.step == Step::Start).count();
    let before = starts();

    machine.engine.set_hanging(true);
    let began = Instant::now();
    let config = Config { require_runtimes: true, ..machine.config(&manager) };
    let _worker = machine.worker_with(config).await;
    let mut session = manager.session_with(CLUSTER, &[(key, Running, &spec)]).await;
    // To list, the engine is given two seconds at most, and to say that it works five; a busy machine gets some more.
    assert!(began.elapsed() < Duration::from_secs(5), "back after {:?}", began.elapsed());
    let registered = session.registered(key).state;
    assert!(!registered.is_terminal(), "{registered}");

    machine.engine.set_hanging(false);
    assert_eq!(machine.engine.running(&machine.owner()), [key]);
    // It is found again and looked after.
    assert!(machine.engine.end(&machine.owner(), key, 0));
    session.until(key, TaskState::Completed).await;
    assert_eq!(starts(), before);
}
