//! What lies under the cluster's label and is nobody's.

use std::sync::Arc;
use std::time::Duration;

use davit_core::id::{AttemptKey, ClusterId, NodeId};
use davit_core::state::TaskState;
use davit_core::task::DesiredState;
use davit_core::validate::Violations;
use davit_proto::convert::{ForeignAttempt, foreign_attempts_from_proto, foreign_attempts_to_proto};
use davit_proto::v1;
use davit_proto::v1::session_request::Message as Request;
use davit_proto::v1::session_response::Message as Response;
use davit_svc_kit::ids::{IdSource as _, UuidV7Source};
use worker_svc::runtime::fake::Step;
use worker_svc::runtime::{AttemptSpec, InstanceState, Owner, Runtime as _, RuntimeKind};

use super::manager::{Manager, Session};
use super::worker::{Machine, container, new_key};
use super::{CLUSTER, CLUSTER_ID, until};

/// Starts an attempt on the machine's engine without any worker's doing.
async fn start(machine: &Machine, owner: &Owner, cluster_id: Option<ClusterId>) -> AttemptKey {
    let runtime = machine.engine.runtime(owner.clone(), RuntimeKind::Docker);
    if let Some(cluster_id) = cluster_id {
        runtime.set_cluster_id(cluster_id);
    }
    let key = new_key();
    runtime
        .create(&AttemptSpec {
            key,
            spec: Arc::new(container(&[])),
            ports: [].into(),
            env: Vec::new(),
            files: Vec::new(),
        })
        .await
        .unwrap();
    runtime.start(key).await.unwrap();
    key
}

fn runs(machine: &Machine, owner: &Owner, key: AttemptKey) -> bool {
    matches!(machine.engine.state(owner, key), Some(InstanceState::Running(_)))
}

/// How often it was asked whether it works. It is looked through at the same times, if anything has changed.
fn rounds(machine: &Machine) -> usize {
    machine.engine.calls().iter().filter(|call| call.step == Step::Check).count()
}

/// Waits until what there is now has been looked at. What was there when the worker joined it has taken up before that.
async fn until_surveyed(machine: &Machine) {
    let before = rounds(machine);
    until("further looks", || rounds(machine) >= before + 2).await;
}

fn another_node() -> Owner {
    Owner { cluster: CLUSTER.to_owned(), node_id: NodeId(UuidV7Source.next_uuid()) }
}

async fn foreign(session: &mut Session) -> Vec<ForeignAttempt> {
    loop {
        if let Request::ForeignAttempts(seen) = session.next().await.expect("the session goes on") {
            return foreign_attempts_from_proto(&seen.attempts, "seen", &mut Violations::new()).unwrap();
        }
    }
}

#[tokio::test]
async fn what_is_not_assigned_is_removed_but_not_before_the_full_set_has_come() {
    let machine = Machine::new();
    let mut manager = Manager::start().await;
    let _worker = machine.worker(&manager).await;
    let mut session = manager.session(CLUSTER).await;
    until_surveyed(&machine).await;
    let (orphan, owner) = (start(&machine, &machine.owner(), None).await, machine.owner());
    let assigned = start(&machine, &owner, None).await;
    until_surveyed(&machine).await;
    assert!(runs(&machine, &owner, orphan), "before the full set nobody knows");

    let spec = container(&[]);
    session.assign(true, true, &[(assigned, DesiredState::Running, &spec)], &[]).await;
    session.until(assigned, TaskState::Running).await;
    until("its removal", || machine.engine.state(&owner, orphan).is_none()).await;

    // Also one that comes later, or while the manager is away.
    drop((session, manager));
    let later = start(&machine, &owner, Some(CLUSTER_ID)).await;
    until("its removal", || machine.engine.state(&owner, later).is_none()).await;
    assert!(runs(&machine, &owner, assigned));
}

#[tokio::test]
async fn what_other_nodes_have_is_told_and_removed_only_at_the_managers_word() {
    let machine = Machine::new();
    let mut manager = Manager::start().await;
    let _worker = machine.worker(&manager).await;
    let (other, same_name) = (another_node(), another_node());
    let keys = [start(&machine, &other, Some(CLUSTER_ID)).await, start(&machine, &other, Some(CLUSTER_ID)).await];
    let strangers = [
        start(&machine, &same_name, None).await,
        start(&machine, &same_name, Some(ClusterId(UuidV7Source.next_uuid()))).await,
    ];
    let mut session = manager.session_with(CLUSTER, &[]).await;
    let seen = foreign(&mut session).await;
    let told = keys.map(|key| ForeignAttempt { node_id: other.node_id, key, running: true });
    assert_eq!(seen, told, "and nothing of another cluster of the same name");

    // A new session hears of it anew.
    drop(session);
    let mut session = manager.session_with(CLUSTER, &[]).await;
    assert_eq!(foreign(&mut session).await, told);

    let of_strangers = ForeignAttempt { node_id: same_name.node_id, key: strangers[0], running: true };
    let attempts = foreign_attempts_to_proto(&[told[0], of_strangers]);
    session.send(Response::RemoveForeign(v1::RemoveForeign { attempts })).await;
    assert_eq!(foreign(&mut session).await, told[1..]);
    assert_eq!(machine.engine.state(&other, keys[0]), None);
    assert!(runs(&machine, &other, keys[1]));
    assert!(strangers.iter().all(|key| runs(&machine, &same_name, *key)), "not the manager's to say");
}

#[tokio::test]
async fn what_has_ended_and_is_started_again_by_hand_is_stopped_and_removed_and_its_end_stands() {
    let machine = Machine::new();
    let mut manager = Manager::start().await;
    let _worker = machine.worker(&manager).await;
    let (key, lies, spec) = (new_key(), new_key(), container(&[]));
    let all = [(key, DesiredState::Running, &spec), (lies, DesiredState::Running, &spec)];
    let mut session = manager.session_with(CLUSTER, &all).await;
    let owner = machine.owner();
    for key in [key, lies] {
        session.until(key, TaskState::Running).await;
        assert!(machine.engine.end(&owner, key, 3));
        session.until(key, TaskState::Failed).await;
    }
    machine.engine.runtime(owner.clone(), RuntimeKind::Docker).restart(key).await.unwrap();
    session.during(until("its removal", || machine.engine.state(&owner, key).is_none())).await;
    assert!(machine.engine.state(&owner, lies).is_some(), "what does not run stays for its retention");
    let of_key = session.statuses.iter().rev().find(|(of, _)| *of == key);
    assert_eq!(of_key.map(|(_, status)| (status.state, status.exit_code)), Some((TaskState::Failed, Some(3))));
}

#[tokio::test]
async fn a_removal_that_fails_is_tried_again() {
    let machine = Machine::new();
    let mut manager = Manager::start().await;
    let _worker = machine.worker(&manager).await;
    let _session = manager.session_with(CLUSTER, &[]).await;
    until_surveyed(&machine).await;
    machine.engine.set_failing(Step::RemoveSighted, Some("busy"));
    let (owner, tried) =
        (machine.owner(), || machine.engine.calls().iter().filter(|call| call.step == Step::RemoveSighted).count());
    let orphan = start(&machine, &owner, None).await;
    until("tries", || tried() >= 2).await;
    machine.engine.set_failing(Step::RemoveSighted, None);
    tokio::time::timeout(
        Duration::from_secs(10),
        until("its removal", || machine.engine.state(&owner, orphan).is_none()),
    )
    .await
    .unwrap();
}
