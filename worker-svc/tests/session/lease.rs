//! What must never run twice stops when the node's lease has ended, and only then.

use std::time::Duration;

use davit_core::spec::{OnNodeLoss, TaskSpec};
use davit_core::state::TaskState;
use davit_core::task::DesiredState::Running;
use davit_proto::convert::SECOND_WORKER;
use davit_svc_kit::clock::{Clock as _, SystemClock};
use davit_svc_kit::grpc::{ApiError, ErrorKind};
use worker_svc::lease::LeaseFile;
use worker_svc::runtime::fake::Step;

use crate::manager::Manager;
use crate::worker::{Machine, container, new_key};
use crate::{CLUSTER, LEASE, until};

fn leased() -> TaskSpec {
    TaskSpec { on_node_loss: OnNodeLoss::StopAndReplace, ..container(&[]) }
}

#[tokio::test]
async fn a_cut_off_worker_stops_what_must_never_run_twice_and_nothing_else() {
    let (mut manager, machine) = (Manager::start().await, Machine::new());
    let _worker = machine.worker(&manager).await;
    let (once, any) = (new_key(), new_key());
    let mut session =
        manager.session_with(CLUSTER, &[(once, Running, &leased()), (any, Running, &container(&[]))]).await;
    session.until(once, TaskState::Running).await;
    session.until(any, TaskState::Running).await;
    // From here on nobody answers.
    drop(session);
    let cut_off_since = SystemClock.uptime();
    until("the end of the attempt", || machine.engine.running(&machine.owner()) == [any]).await;
    // Its last heartbeat was sent no earlier than one period before; the rest is what a busy machine takes.
    assert!(SystemClock.uptime() - cut_off_since > LEASE / 2);
    // It dialled before that, with what it knew then.
    let mut back = manager.session_with(CLUSTER, &[(once, Running, &leased()), (any, Running, &container(&[]))]).await;
    let stopped = back.until(once, TaskState::Stopped).await;
    assert!(stopped.reason.contains("lease ended"), "{}", stopped.reason);
    assert_eq!(back.registered(any).state, TaskState::Running);
}

#[tokio::test]
async fn acknowledged_heartbeats_keep_the_lease() {
    let (mut manager, machine) = (Manager::start().await, Machine::new());
    let _worker = machine.worker(&manager).await;
    let once = new_key();
    let mut session = manager.session_with(CLUSTER, &[(once, Running, &leased())]).await;
    session.until(once, TaskState::Running).await;
    let since = SystemClock.uptime();
    while SystemClock.uptime() - since < LEASE * 3 / 2 {
        session.next().await.unwrap();
    }
    assert_eq!(machine.engine.running(&machine.owner()), [once]);
}

#[tokio::test]
async fn a_worker_that_starts_after_its_lease_stops_what_it_finds() {
    let (mut manager, machine) = (Manager::start().await, Machine::new());
    let worker = machine.worker(&manager).await;
    let once = new_key();
    let mut session = manager.session_with(CLUSTER, &[(once, Running, &leased())]).await;
    session.until(once, TaskState::Running).await;
    worker.kill().await;
    let lease = LeaseFile::new(machine.data_dir().join("lease")).unwrap();
    assert!(lease.read() > SystemClock.uptime(), "a worker that starts at once disturbs nothing");
    until("the end of the lease", || lease.read() <= SystemClock.uptime()).await;
    assert_eq!(machine.engine.running(&machine.owner()), [once], "nobody was there to stop it");
    // It dials, and nobody answers.
    let _worker = machine.worker(&manager).await;
    until("the end of the attempt", || machine.engine.running(&machine.owner()).is_empty()).await;
}

/// Its records may be a copy of those of another worker, which runs it.
#[tokio::test]
async fn of_what_must_never_run_twice_and_is_gone_a_worker_says_nothing() {
    let (mut manager, machine) = (Manager::start().await, Machine::new());
    let worker = machine.worker(&manager).await;
    let (once, any) = (new_key(), new_key());
    let mut session =
        manager.session_with(CLUSTER, &[(once, Running, &leased()), (any, Running, &container(&[]))]).await;
    session.until(once, TaskState::Running).await;
    session.until(any, TaskState::Running).await;
    worker.kill().await;
    drop(session);
    machine.engine.forget_all();
    let worker = machine.worker(&manager).await;
    let session = manager.session(CLUSTER).await;
    let told: Vec<_> = session.register.attempts.iter().map(|report| report.task_id.clone()).collect();
    assert_eq!(told, [any.task_id.to_string()]);
    // Nor does the next one.
    worker.kill().await;
    drop(session);
    let _worker = machine.worker(&manager).await;
    assert_eq!(manager.session(CLUSTER).await.register.attempts.len(), 1);
}

#[tokio::test]
async fn a_worker_that_is_refused_as_a_second_one_stops_nothing_of_the_first() {
    let (mut manager, first) = (Manager::start().await, Machine::new());
    let _worker = first.worker(&manager).await;
    let (once, any) = (new_key(), new_key());
    let all = [(once, Running, &leased()), (any, Running, &container(&[]))];
    let mut session = manager.session_with(CLUSTER, &all).await;
    session.until(once, TaskState::Running).await;
    session.until(any, TaskState::Running).await;
    let copy = first.copy();
    // The copy is started so late that the lease in it has ended.
    LeaseFile::new(copy.data_dir().join("lease")).unwrap().renew(Duration::ZERO).unwrap();
    let config = worker_svc::Config { stop_tasks_on_shutdown: true, ..copy.config(&manager) };
    let second = copy.worker_with(config).await;
    let running = || {
        let mut running = first.engine.running(&first.owner());
        running.sort();
        running
    };
    let mut expected = vec![once, any];
    expected.sort();
    let (mut refusals, since) = (0, SystemClock.uptime());
    while SystemClock.uptime() - since < LEASE * 5 / 2 || refusals < 2 {
        tokio::select! {
            message = session.next() => assert!(message.is_some(), "the first worker ended the session"),
            dialled = manager.dialled() => {
                refusals += 1;
                let refusal = ApiError::new(ErrorKind::AlreadyExists, SECOND_WORKER, "it is a copy");
                dialled.refuse(refusal.into());
            }
        }
        assert_eq!(running(), expected, "after {refusals} refusals");
    }
    // Nor when it is sent away.
    second.shutdown.trigger();
    session.during(second.ended()).await.unwrap();
    assert_eq!(running(), expected);
}

#[tokio::test]
async fn a_worker_whose_node_another_one_has_taken_over_stops_what_it_runs_under_its_lease_and_begins_nothing() {
    let (mut manager, machine) = (Manager::start().await, Machine::new());
    let _worker = machine.worker(&manager).await;
    let (once, any, late) = (new_key(), new_key(), new_key());
    let all = [(once, Running, &leased()), (any, Running, &container(&[]))];
    let mut session = manager.session_with(CLUSTER, &all).await;
    session.until(once, TaskState::Running).await;
    session.until(any, TaskState::Running).await;
    machine.engine.set_stuck(Step::Create, true);
    session.assign(false, true, &[(late, Running, &container(&[]))], &[]).await;
    until("its begin", || {
        machine.engine.calls().iter().any(|call| call.step == Step::Create && call.key == Some(late))
    })
    .await;
    // A worker with a copy of its data directory was faster.
    drop(session);
    let ended = async {
        for refusals in 0.. {
            let dialled = manager.dialled().await;
            // One that dials again has heard the refusal before.
            machine.engine.set_stuck(Step::Create, refusals == 0);
            let refusal = ApiError::new(ErrorKind::AlreadyExists, SECOND_WORKER, "it is a copy");
            dialled.refuse(refusal.into());
        }
    };
    tokio::select! {
        () = ended => {}
        () = until("the end of the attempt", || !machine.engine.running(&machine.owner()).contains(&once)) => {}
    }
    assert_eq!(machine.engine.running(&machine.owner()), [any], "the other's lease is not renewed for it");
}
