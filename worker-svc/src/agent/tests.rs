//! What an agent does side by side is bounded. Time is paused: it passes once nothing is left to do without it.

mod another_worker;
mod at_once;
mod health;
mod records;
mod shared_engine;

use std::time::Duration;

use davit_core::id::{Revision, TaskId};
use davit_core::spec::{ContainerSpec, RuntimeSpec, TaskSpec};
use uuid::Uuid;

use super::survey::Due;
use super::*;
use crate::Machine;
use crate::local_store::Backend;
use crate::runtime::fake::Step;
use crate::runtime::{FakeEngine, Sighting, Survey};
use crate::test_support::{self, NODE};

/// A look at all, in a runtime that does not count.
const ALL: Due = Due { changes: None, since: None };
const CLUSTER_ID: ClusterId = ClusterId(Uuid::from_u128(3));

/// An agent that was told all that it is to hold, which is nothing.
async fn agent() -> (FakeEngine, Arc<Agent>) {
    agent_with(Duration::from_secs(3600)).await
}

/// The same, with another retention.
async fn agent_with(retention: Duration) -> (FakeEngine, Arc<Agent>) {
    let (engine, machine) = test_support::machine();
    let agent = start(&machine, retention).await;
    agent.begin_session(Duration::from_secs(1), None);
    agent.assign(Batch { full: true, last: true, ..Batch::default() });
    (engine, agent)
}

async fn start(machine: &Machine, retention: Duration) -> Arc<Agent> {
    start_on(machine, machine.home.store("test"), retention).await
}

/// The same, with its records elsewhere.
async fn start_on(machine: &Machine, records: Box<dyn Backend>, retention: Duration) -> Arc<Agent> {
    let owner = Owner { cluster: "test".to_owned(), node_id: NODE };
    let parts = Parts {
        node_name: "node".to_owned(),
        runtimes: (machine.runtimes)(&owner),
        owner,
        store: LocalStore::open(records).await.unwrap(),
        retention,
        allocatable: Resources::ZERO,
        lease: Duration::MAX,
        cluster_id: Some(CLUSTER_ID),
    };
    Agent::start(parts, World::real()).await
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
        spec: TaskSpec::new("web", RuntimeSpec::Container(container)).into(),
        ports: [].into(),
        part: davit_core::task::Part::Alone,
    }
}

/// What a look at all of an engine finds that has these.
fn whole(seen: impl IntoIterator<Item = Sighting>) -> Survey {
    Survey { seen: seen.into_iter().collect(), of: None }
}

/// How often a step was called once all has been done that can be done.
async fn calls(engine: &FakeEngine, step: Step) -> usize {
    tokio::time::sleep(Duration::from_secs(1)).await;
    engine.calls().iter().filter(|call| call.step == step).count()
}

#[tokio::test(start_paused = true)]
async fn that_an_attempt_is_being_prepared_is_no_reason_to_report_by_itself() {
    let (engine, agent) = agent().await;
    engine.set_stuck(Step::Prepare, true);
    // What the begin of the session had to tell is nothing.
    agent.report_ready().await;
    agent.assign(Batch { assignments: vec![assignment(1)], ..Batch::default() });
    let waited = tokio::time::timeout(Duration::from_secs(1), agent.report_ready()).await;
    assert!(waited.is_err(), "what begins at once would be reported twice");
    engine.set_stuck(Step::Prepare, false);
    agent.report_ready().await;
    let report = agent.next_report().unwrap();
    assert_eq!(report.statuses[0].1.state, TaskState::Running);
}

#[tokio::test(start_paused = true)]
async fn of_many_attempts_twelve_are_created_and_started_at_once() {
    const ATTEMPTS: u32 = 40;
    let (engine, agent) = agent().await;
    engine.set_stuck(Step::Create, true);
    engine.set_stuck(Step::Start, true);
    agent.assign(Batch { assignments: (0..ATTEMPTS).map(assignment).collect(), ..Batch::default() });
    assert_eq!(calls(&engine, Step::Prepare).await, ATTEMPTS as usize, "images are pulled meanwhile");
    assert_eq!(calls(&engine, Step::Create).await, 12);

    // One turn lasts from the creation to the start.
    engine.set_stuck(Step::Create, false);
    assert_eq!((calls(&engine, Step::Create).await, calls(&engine, Step::Start).await), (12, 12));

    engine.set_stuck(Step::Start, false);
    assert_eq!(calls(&engine, Step::Start).await, ATTEMPTS as usize);
    assert_eq!(engine.running(agent.owner()).len(), ATTEMPTS as usize);
}

#[tokio::test(start_paused = true)]
async fn what_vanishes_again_and_again_before_it_can_be_started_is_not_made_for_ever() {
    let (engine, agent) = agent().await;
    engine.set_stuck(Step::Start, true);
    agent.assign(Batch { assignments: vec![assignment(1)], ..Batch::default() });
    let mut made = calls(&engine, Step::Create).await;
    assert_eq!(made, 1);
    for _ in 0..10 {
        // What is to be started is gone; whether it is made anew shows before it could be started.
        engine.forget_all();
        engine.set_stuck(Step::Create, true);
        engine.set_stuck(Step::Start, false);
        let now = calls(&engine, Step::Create).await;
        engine.set_stuck(Step::Start, true);
        engine.set_stuck(Step::Create, false);
        if now == made {
            break;
        }
        made = calls(&engine, Step::Create).await;
    }
    assert_eq!(made, 5, "it is given up in the end");
    let (_, status) = agent.statuses().remove(0);
    assert_eq!(status.state, TaskState::Failed, "{status:?}");
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
    let see = |from: u32| agent.take_survey(&runtime, whole((from..ORPHANS).map(orphan)), ALL);
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
    let seen = runtime.survey(None).await.unwrap();
    assert!(seen.seen[0].running);
    agent.take_survey(&runtime, seen.clone(), ALL);
    engine.end(agent.owner(), key(1), 3);
    tokio::time::sleep(Duration::from_millis(10)).await;
    agent.take_survey(&runtime, seen, ALL);
    agent.take_survey(&runtime, runtime.survey(None).await.unwrap(), ALL);
    assert_eq!(calls(&engine, Step::RemoveSighted).await, 0);

    runtime.restart(key(1)).await.unwrap();
    for looks in [0, 1] {
        agent.take_survey(&runtime, runtime.survey(None).await.unwrap(), ALL);
        assert_eq!(calls(&engine, Step::RemoveSighted).await, looks);
    }
    assert!(engine.state(agent.owner(), key(1)).is_none());
}

#[tokio::test(start_paused = true)]
async fn one_that_is_not_in_charge_any_more_removes_and_begins_nothing_until_it_is_again() {
    let (engine, agent) = agent_with(Duration::ZERO).await;
    agent.assign(Batch { assignments: vec![assignment(1)], ..Batch::default() });
    assert_eq!(calls(&engine, Step::Start).await, 1);
    engine.set_stuck(Step::Create, true);
    agent.assign(Batch { assignments: vec![assignment(2)], ..Batch::default() });
    assert_eq!(calls(&engine, Step::Create).await, 2);
    let runtime = agent.runtime(RuntimeKind::Docker).unwrap();
    agent.has_rival();
    agent.end_session();
    engine.set_stuck(Step::Create, false);
    engine.end(agent.owner(), key(1), 0);
    let orphan = Sighting {
        id: "3".to_owned(),
        cluster_id: Some(CLUSTER_ID),
        node_id: Some(NODE),
        key: Some(key(3)),
        is_instance: true,
        running: true,
    };
    for in_charge in [0, 1] {
        agent.take_survey(&runtime, whole([orphan.clone()]), ALL);
        assert_eq!(calls(&engine, Step::Start).await, 1 + in_charge);
        while let Some(report) = agent.next_report() {
            agent.acknowledge(report.report_id);
        }
        assert_eq!(calls(&engine, Step::RemoveSighted).await, in_charge);
        assert_eq!(calls(&engine, Step::Remove).await, in_charge);
        agent.begin_session(Duration::from_secs(1), None);
        agent.assign(Batch {
            full: true,
            last: true,
            assignments: vec![assignment(1), assignment(2)],
            ..Batch::default()
        });
    }
}

#[tokio::test(start_paused = true)]
async fn what_waits_for_the_manager_is_not_begun_by_an_earlier_full_set() {
    let (engine, agent) = agent().await;
    engine.set_stuck(Step::Create, true);
    agent.assign(Batch { assignments: vec![assignment(1)], ..Batch::default() });
    assert_eq!(calls(&engine, Step::Create).await, 1);
    agent.has_rival();
    engine.set_stuck(Step::Create, false);
    agent.begin_session(Duration::from_secs(1), None);
    assert_eq!(calls(&engine, Step::Start).await, 0);
    agent.assign(Batch { full: true, last: true, assignments: vec![assignment(1)], ..Batch::default() });
    assert_eq!(calls(&engine, Step::Start).await, 1);
}

#[tokio::test(start_paused = true)]
async fn what_may_run_counts_as_running_until_its_runtime_has_told() {
    let (engine, machine) = test_support::machine();
    let first = start(&machine, Duration::from_secs(3600)).await;
    first.begin_session(Duration::from_secs(1), None);
    first.assign(Batch { full: true, last: true, assignments: vec![assignment(1)], ..Batch::default() });
    assert_eq!((calls(&engine, Step::Start).await, first.running()), (1, 1));
    first.shut_down().await;
    engine.set_stuck(Step::List, true);
    let second = start(&machine, Duration::from_secs(3600)).await;
    assert_eq!((second.statuses()[0].1.state, second.running()), (TaskState::Preparing, 1));
    engine.end(first.owner(), key(1), 3);
    engine.set_stuck(Step::List, false);
    while second.running() > 0 {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert_eq!(second.statuses()[0].1.state, TaskState::Failed);
}

#[tokio::test(start_paused = true)]
async fn what_is_known_to_have_ended_does_not_count_as_running_while_its_runtime_says_nothing() {
    let (engine, machine) = test_support::machine();
    let first = start(&machine, Duration::from_secs(3600)).await;
    first.begin_session(Duration::from_secs(1), None);
    first.assign(Batch { full: true, last: true, assignments: vec![assignment(1)], ..Batch::default() });
    assert_eq!(calls(&engine, Step::Start).await, 1);
    engine.end(first.owner(), key(1), 3);
    first.emptied().await;
    first.shut_down().await;
    engine.set_stuck(Step::List, true);
    let second = start(&machine, Duration::from_secs(3600)).await;
    assert_eq!((second.statuses()[0].1.state, second.running()), (TaskState::Failed, 0));
}

#[tokio::test(start_paused = true)]
async fn a_newer_spec_of_what_runs_disturbs_nothing_and_counts_when_it_is_stopped() {
    let (engine, agent) = agent().await;
    let with_grace = |seconds| {
        let assignment = assignment(1);
        let mut spec = TaskSpec::clone(&assignment.spec);
        spec.labels = [("fake.ignores_stop".to_owned(), "true".to_owned())].into();
        spec.stop.grace = Duration::from_secs(seconds);
        Assignment { spec: spec.into(), ..assignment }
    };
    agent.assign(Batch { assignments: vec![with_grace(600)], ..Batch::default() });
    assert_eq!(calls(&engine, Step::Start).await, 1);
    agent.assign(Batch { assignments: vec![with_grace(2)], ..Batch::default() });
    assert_eq!((calls(&engine, Step::Create).await, calls(&engine, Step::Stop).await), (1, 0));
    let stop = Assignment { desired_state: DesiredState::Stopped, ..with_grace(2) };
    agent.assign(Batch { assignments: vec![stop], ..Batch::default() });
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(engine.running(agent.owner()).len(), 0, "the grace is that of the newer spec");
}
