//! What ends while the manager is out of reach is restarted within its attempt, as its restart policy says.

use std::time::Duration;

use davit_core::id::AttemptKey;
use davit_core::restart::{RestartMode, RestartPolicy};
use davit_core::spec::TaskSpec;
use davit_core::state::TaskState;
use davit_core::task::AttemptStatus;
use davit_core::task::DesiredState::{Running, Stopped};
use davit_proto::v1;
use worker_svc::runtime::fake::Step;

use crate::manager::{Dialled, Manager, Session};
use crate::worker::{Machine, container, local_tasks, new_key};
use crate::{CLUSTER, in_time, until};

fn restarting() -> TaskSpec {
    let (initial_delay, max_delay) = (Duration::from_millis(100), Duration::from_millis(200));
    let restart = RestartPolicy { mode: RestartMode::OnFailure, initial_delay, max_delay, ..RestartPolicy::default() };
    TaskSpec { restart, ..container(&[]) }
}

fn restarts_of(machine: &Machine, key: AttemptKey) -> usize {
    let of = |call: &&worker_svc::runtime::fake::Call| call.step == Step::Restart && call.key == Some(key);
    machine.engine.calls().iter().filter(of).count()
}

/// Lets an attempt crash, and waits until it runs again.
async fn crash(machine: &Machine, key: AttemptKey) {
    let before = restarts_of(machine, key);
    assert!(machine.engine.end(&machine.owner(), key, 3));
    until("its restart", || {
        restarts_of(machine, key) > before && machine.engine.running(&machine.owner()).contains(&key)
    })
    .await;
}

/// Reads on until an attempt is known to be restarted so often.
async fn told(session: &mut Session, key: AttemptKey, local_restarts: u32) -> AttemptStatus {
    let reads = async {
        loop {
            let registered = session.registered(key);
            let newest = session.statuses.iter().rev().find(|(of, _)| *of == key).map(|(_, status)| status.clone());
            let known = newest.unwrap_or(registered);
            if known.local_restarts == local_restarts {
                return known;
            }
            session.next().await.unwrap();
        }
    };
    in_time("the number of its restarts", reads).await
}

#[tokio::test]
async fn a_cut_off_worker_restarts_what_crashes_within_the_attempt_and_tells_how_often() {
    let (mut manager, machine) = (Manager::start().await, Machine::new());
    let _worker = machine.worker(&manager).await;
    let (key, other, spec, never) = (new_key(), new_key(), restarting(), container(&[]));
    let all = [(key, Running, &spec), (other, Running, &never)];
    let mut session = manager.session_with(CLUSTER, &all).await;
    session.until(key, TaskState::Running).await;
    session.until(other, TaskState::Running).await;
    drop(session);
    // It dials anew, so it knows; nobody answers.
    let dialled = manager.dialled().await;
    assert!(machine.engine.end(&machine.owner(), other, 3));
    crash(&machine, key).await;
    crash(&machine, key).await;

    let mut back = dialled.welcome(CLUSTER).await;
    back.assign(true, true, &all, &[]).await;
    let running = told(&mut back, key, 2).await;
    assert_eq!((running.state, running.ready), (TaskState::Running, true), "{running:?}");
    assert!(running.exit_code.is_none() && running.finished_at.is_none(), "{running:?}");
    assert!(back.statuses.iter().all(|(of, status)| *of != key || !status.state.is_terminal()), "{:?}", back.statuses);
    // Its policy asks for no restart.
    assert_eq!(back.until(other, TaskState::Failed).await.exit_code, Some(3));
    assert_eq!(restarts_of(&machine, other), 0);

    // In touch, the end is the manager's business again.
    assert!(machine.engine.end(&machine.owner(), key, 4));
    let failed = back.until(key, TaskState::Failed).await;
    assert_eq!((failed.exit_code, failed.local_restarts), (Some(4), 2));
    assert_eq!(restarts_of(&machine, key), 2);
}

#[tokio::test]
async fn an_end_that_was_reported_is_final_also_without_an_acknowledgement() {
    let (mut manager, machine) = (Manager::start().await, Machine::new());
    let _worker = machine.worker(&manager).await;
    let (reported, canary, spec) = (new_key(), new_key(), restarting());
    let mut session = manager.session_with(CLUSTER, &[(reported, Running, &spec), (canary, Running, &spec)]).await;
    session.until(reported, TaskState::Running).await;
    session.until(canary, TaskState::Running).await;
    session.acknowledges = false;
    assert!(machine.engine.end(&machine.owner(), reported, 3));
    session.until(reported, TaskState::Failed).await;
    drop(session);
    let _dialled = manager.dialled().await;
    crash(&machine, canary).await;
    assert_eq!(machine.engine.running(&machine.owner()), [canary]);
    assert_eq!(restarts_of(&machine, reported), 0);
}

#[tokio::test]
async fn a_worker_that_starts_cut_off_restarts_what_has_ended_and_the_number_outlives_it() {
    let (mut manager, machine) = (Manager::start().await, Machine::new());
    let worker = machine.worker(&manager).await;
    let (key, spec) = (new_key(), restarting());
    let mut session = manager.session_with(CLUSTER, &[(key, Running, &spec)]).await;
    session.until(key, TaskState::Running).await;
    worker.kill().await;
    drop(session);
    assert!(machine.engine.end(&machine.owner(), key, 3));
    // What the first may have dialled is dropped.
    let worker = machine.worker(&manager).await;
    until("its restart", || machine.engine.running(&machine.owner()) == [key]).await;
    assert_eq!(restarts_of(&machine, key), 1);
    worker.kill().await;
    let mut manager = Manager::start().await;
    let _worker = machine.worker(&manager).await;
    let session = manager.session_with(CLUSTER, &[(key, Running, &spec)]).await;
    let registered = session.registered(key);
    assert_eq!((registered.state, registered.local_restarts), (TaskState::Running, 1));
    assert_eq!(restarts_of(&machine, key), 1, "it runs, and is left alone");
}

/// Lets an attempt crash while the manager is away, and waits until its restart was tried, which the engine does not answer.
async fn crash_unanswered(machine: &Machine, key: AttemptKey) {
    machine.engine.set_starts_late(true);
    assert!(machine.engine.end(&machine.owner(), key, 3));
    until("its restart", || restarts_of(machine, key) > 0).await;
}

/// Has a worker run an attempt that crashes once the manager is away, and whose restart the engine does not answer.
async fn cut_off_and_crashed(manager: &mut Manager, machine: &Machine, spec: &TaskSpec) -> (AttemptKey, Dialled) {
    let key = new_key();
    let mut session = manager.session_with(CLUSTER, &[(key, Running, spec)]).await;
    session.until(key, TaskState::Running).await;
    drop(session);
    let dialled = manager.dialled().await;
    crash_unanswered(machine, key).await;
    (key, dialled)
}

#[tokio::test]
async fn a_restart_that_was_not_answered_never_takes_place_after_the_end_was_reported() {
    let (mut manager, machine) = (Manager::start().await, Machine::new());
    let worker = machine.worker(&manager).await;
    let (by_it, by_the_next, spec) = (new_key(), new_key(), restarting());
    let mut session = manager.session_with(CLUSTER, &[(by_it, Running, &spec), (by_the_next, Running, &spec)]).await;
    session.until(by_it, TaskState::Running).await;
    session.until(by_the_next, TaskState::Running).await;
    drop(session);
    let dialled = manager.dialled().await;
    crash_unanswered(&machine, by_it).await;
    let mut back = dialled.welcome(CLUSTER).await;
    back.assign(true, true, &[(by_it, Running, &spec), (by_the_next, Running, &spec)], &[]).await;
    let failed = back.until(by_it, TaskState::Failed).await;
    assert_eq!((failed.exit_code, failed.local_restarts), (Some(3), 0), "{failed:?}");

    drop(back);
    let _dialled = manager.dialled().await;
    crash_unanswered(&machine, by_the_next).await;
    worker.kill().await;
    let mut manager = Manager::start().await;
    let _worker = machine.worker(&manager).await;
    let mut back = manager.session_with(CLUSTER, &[(by_the_next, Running, &spec)]).await;
    let failed = back.until(by_the_next, TaskState::Failed).await;
    assert_eq!((failed.exit_code, failed.local_restarts), (Some(3), 0), "{failed:?}");
    machine.engine.set_starts_late(false);
    assert_eq!(machine.engine.running(&machine.owner()), []);
}

#[tokio::test]
async fn what_was_restarted_without_an_answer_and_ended_well_is_not_restarted_again() {
    let (mut manager, machine) = (Manager::start().await, Machine::new());
    let _worker = machine.worker(&manager).await;
    let spec = restarting();
    let (key, dialled) = cut_off_and_crashed(&mut manager, &machine, &spec).await;
    machine.engine.set_starts_late(false);
    assert!(machine.engine.end(&machine.owner(), key, 0));
    let before = machine.engine.calls().len();
    until("the worker's next look or try", || {
        machine.engine.calls().iter().skip(before).any(|call| matches!(call.step, Step::List | Step::Restart))
    })
    .await;
    let mut back = dialled.welcome(CLUSTER).await;
    back.assign(true, true, &[(key, Running, &spec)], &[]).await;
    let done = back.until(key, TaskState::Completed).await;
    assert_eq!((done.exit_code, done.local_restarts), (Some(0), 1), "{done:?}");
}

#[tokio::test]
async fn a_restart_that_was_not_answered_and_took_place_is_watched_and_stopped_as_any_other() {
    let (mut manager, machine) = (Manager::start().await, Machine::new());
    let _worker = machine.worker(&manager).await;
    let spec = restarting();
    let (key, dialled) = cut_off_and_crashed(&mut manager, &machine, &spec).await;
    // Not answered before the manager is back.
    machine.engine.set_stuck(Step::List, true);
    let looks = || machine.engine.calls().iter().filter(|call| call.step == Step::List).count();
    let looked = looks();
    until("the next look", || looks() > looked).await;
    machine.engine.set_starts_late(false);
    assert_eq!(machine.engine.running(&machine.owner()), [key]);
    machine.engine.set_failing(Step::Restart, Some("timed out"));
    let mut back = dialled.welcome(CLUSTER).await;
    back.assign(true, true, &[(key, Running, &spec)], &[]).await;
    machine.engine.set_stuck(Step::List, false);
    let running = told(&mut back, key, 1).await;
    assert_eq!((running.state, running.ready), (TaskState::Running, true), "{running:?}");
    back.change(key, Stopped, &spec).await;
    back.until(key, TaskState::Stopped).await;
    assert!(back.statuses.iter().all(|(_, status)| status.state != TaskState::Failed), "{:?}", back.statuses);
    assert_eq!(machine.engine.running(&machine.owner()), []);
}

#[tokio::test]
async fn what_was_not_begun_when_the_manager_went_is_begun_only_when_it_says_so_again() {
    let (mut manager, machine) = (Manager::start().await, Machine::new());
    let worker = machine.worker(&manager).await;
    let (stands, overtaken, spec) = (new_key(), new_key(), container(&[]));
    machine.engine.set_failing(Step::Start, Some("the engine is busy"));
    let mut session = manager.session_with(CLUSTER, &[(stands, Running, &spec), (overtaken, Running, &spec)]).await;
    session.until_reason(stands, "the engine is busy").await;
    session.until_reason(overtaken, "the engine is busy").await;
    drop(session);
    // It dials anew, so it knows; nobody answers.
    let dialled = manager.dialled().await;
    let client = worker.client().await;
    let both_wait = async {
        let waits =
            |task: &v1::LocalTask| task.status.as_ref().is_some_and(|status| status.reason.contains("out of reach"));
        while !local_tasks(&client).await.iter().all(waits) {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    in_time("both wait for the manager", both_wait).await;
    let starts_of =
        |key| machine.engine.calls().iter().filter(|call| call.step == Step::Start && call.key == Some(key)).count();
    let begun = [starts_of(stands), starts_of(overtaken)];
    machine.engine.set_failing(Step::Start, None);

    // The set comes in two parts: it is not known what stands before the last.
    let mut back = dialled.welcome(CLUSTER).await;
    back.assign(true, false, &[(stands, Running, &spec)], &[]).await;
    for _ in 0..3 {
        back.next().await.unwrap();
    }
    assert_eq!([starts_of(stands), starts_of(overtaken)], begun, "the manager has not said it all");
    back.assign(true, true, &[], &[]).await;
    back.until(stands, TaskState::Running).await;
    back.during(until("the removal", || machine.engine.state(&machine.owner(), overtaken).is_none())).await;
    assert_eq!(starts_of(overtaken), begun[1], "a later attempt may run elsewhere");
}

#[tokio::test]
async fn what_is_assigned_after_a_cut_waits_for_room_that_is_taken_up_by_what_is_assigned_no_more() {
    let (mut manager, machine) = (Manager::start().await, Machine::new());
    let mut config = machine.config(&manager);
    config.offer.cpu_millis = Some(2000);
    let _worker = machine.worker_with(config).await;
    let mut spec = container(&[]);
    spec.resources.reservation.cpu_millis = 1500;
    let (left, new) = (new_key(), new_key());
    let mut session = manager.session_with(CLUSTER, &[(left, Running, &spec)]).await;
    session.until(left, TaskState::Running).await;
    machine.engine.set_failing(Step::Stop, Some("the engine is busy"));
    drop(session);
    let mut back = manager.session_with(CLUSTER, &[(new, Running, &spec)]).await;
    back.until_reason(new, "waits for room").await;
    assert_eq!(machine.engine.running(&machine.owner()), [left]);
    machine.engine.set_failing(Step::Stop, None);
    back.until(new, TaskState::Running).await;
    assert_eq!(machine.engine.running(&machine.owner()), [new]);
}
