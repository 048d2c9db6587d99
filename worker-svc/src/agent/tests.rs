//! What an agent does side by side is bounded. Time is paused: it passes once nothing is left to do without it.

use std::time::Duration;

use davit_core::id::{Revision, TaskId};
use davit_core::spec::{ContainerSpec, RuntimeSpec, TaskSpec};
use uuid::Uuid;

use super::*;
use crate::runtime::fake::Step;
use crate::runtime::{FakeEngine, Sighting};
use crate::test_support::{self, NODE};

const CLUSTER_ID: ClusterId = ClusterId(Uuid::from_u128(3));

/// An agent that was told all that it is to hold, which is nothing.
async fn agent() -> (FakeEngine, Arc<Agent>) {
    let (engine, machine) = test_support::machine();
    let owner = Owner { cluster: "test".to_owned(), node_id: NODE };
    let parts = Parts {
        runtimes: (machine.runtimes)(&owner),
        owner,
        store: LocalStore::open(machine.home.store("test")).await.unwrap(),
        retention: Duration::from_secs(3600),
        allocatable: Resources::ZERO,
        lease: Duration::MAX,
        cluster_id: Some(CLUSTER_ID),
    };
    let agent = Agent::start(parts, World::real()).await;
    agent.begin_session(Duration::from_secs(1));
    agent.assign(Batch { full: true, last: true, ..Batch::default() });
    (engine, agent)
}

fn key(task: u32) -> AttemptKey {
    AttemptKey { task_id: TaskId(Uuid::from_u128(task.into())), attempt: Attempt::FIRST }
}

fn assignment(task: u32) -> Assignment {
    let container = ContainerSpec::new("busybox".parse().unwrap());
    Assignment {
        key: key(task),
        revision: Revision(1),
        desired_state: DesiredState::Running,
        spec: TaskSpec::new("web", RuntimeSpec::Container(container)),
        ports: Vec::new(),
    }
}

/// How often a step was called once all has been done that can be done.
async fn calls(engine: &FakeEngine, step: Step) -> usize {
    tokio::time::sleep(Duration::from_secs(1)).await;
    engine.calls().iter().filter(|call| call.step == step).count()
}

#[tokio::test(start_paused = true)]
async fn of_many_attempts_eight_are_created_and_started_at_once() {
    const ATTEMPTS: u32 = 20;
    let (engine, agent) = agent().await;
    engine.set_stuck(Step::Create, true);
    engine.set_stuck(Step::Start, true);
    agent.assign(Batch { assignments: (0..ATTEMPTS).map(assignment).collect(), ..Batch::default() });
    assert_eq!(calls(&engine, Step::Prepare).await, ATTEMPTS as usize, "images are pulled meanwhile");
    assert_eq!(calls(&engine, Step::Create).await, 8);

    // One turn lasts from the creation to the start.
    engine.set_stuck(Step::Create, false);
    assert_eq!((calls(&engine, Step::Create).await, calls(&engine, Step::Start).await), (8, 8));

    engine.set_stuck(Step::Start, false);
    assert_eq!(calls(&engine, Step::Start).await, ATTEMPTS as usize);
    assert_eq!(engine.running(agent.owner()).len(), ATTEMPTS as usize);
}

#[tokio::test(start_paused = true)]
async fn of_what_nobody_looks_after_eight_are_removed_at_once_and_a_thousand_wait() {
    const ORPHANS: u32 = 1500;
    let (engine, agent) = agent().await;
    let orphan = |task: u32| Sighting {
        id: task.to_string(),
        cluster_id: Some(CLUSTER_ID),
        node_id: Some(NODE),
        key: Some(key(task)),
        is_instance: true,
        running: true,
    };
    let runtime = agent.runtime(RuntimeKind::Docker).unwrap();
    let see = |from: u32| agent.take_survey(&runtime, (from..ORPHANS).map(orphan).collect());
    engine.set_stuck(Step::RemoveSighted, true);
    see(0);
    // What is on its way is not begun twice, nor does it make room for more.
    see(0);
    assert_eq!(calls(&engine, Step::RemoveSighted).await, 8);

    engine.set_stuck(Step::RemoveSighted, false);
    assert_eq!(calls(&engine, Step::RemoveSighted).await, 1000);
    // The engine has no more than the rest by now.
    see(1000);
    assert_eq!(calls(&engine, Step::RemoveSighted).await, ORPHANS as usize);
}

#[tokio::test(start_paused = true)]
async fn what_was_seen_to_run_right_before_its_end_stays_and_what_runs_again_does_not() {
    let (engine, agent) = agent().await;
    agent.assign(Batch { assignments: vec![assignment(1)], ..Batch::default() });
    assert_eq!(calls(&engine, Step::Start).await, 1);
    let runtime = agent.runtime(RuntimeKind::Docker).unwrap();
    let seen = runtime.survey().await.unwrap();
    assert!(seen[0].running);
    agent.take_survey(&runtime, seen.clone());
    engine.end(agent.owner(), key(1), 3);
    tokio::time::sleep(Duration::from_millis(10)).await;
    agent.take_survey(&runtime, seen);
    agent.take_survey(&runtime, runtime.survey().await.unwrap());
    assert_eq!(calls(&engine, Step::RemoveSighted).await, 0);

    runtime.restart(key(1)).await.unwrap();
    for looks in [0, 1] {
        agent.take_survey(&runtime, runtime.survey().await.unwrap());
        assert_eq!(calls(&engine, Step::RemoveSighted).await, looks);
    }
    assert!(engine.state(agent.owner(), key(1)).is_none());
}
