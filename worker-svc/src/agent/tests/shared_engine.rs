//! What an agent learns of what other nodes have on its engine.

use davit_core::id::NodeId;
use davit_core::spec::StopPolicy;
use davit_proto::convert::ForeignAttempt;

use super::*;
use crate::runtime::{AttemptSpec, FakeRuntime};

const OTHER: NodeId = NodeId(Uuid::from_u128(2));

/// An agent, and the runtime of another node's worker on its engine, which has begun the attempts of tasks up to this.
async fn shared(tasks: u32) -> (FakeEngine, Arc<Agent>, FakeRuntime) {
    let (engine, agent) = agent().await;
    let owner = Owner { node_id: OTHER, ..agent.owner().clone() };
    let other = engine.runtime(owner, RuntimeKind::Docker);
    other.set_cluster_id(CLUSTER_ID);
    for task in 1..=tasks {
        begin(&other, task).await;
    }
    (engine, agent, other)
}

async fn begin(other: &FakeRuntime, task: u32) {
    let Assignment { key, spec, ports, .. } = assignment(task);
    other.create(&AttemptSpec { key, spec, ports, env: Vec::new(), files: Vec::new() }).await.unwrap();
    other.start(key).await.unwrap();
}

/// Makes the look that is due, if any.
async fn look(agent: &Arc<Agent>) -> Option<Due> {
    let runtime = agent.runtime(RuntimeKind::Docker).unwrap();
    let due = agent.survey_due(&runtime)?;
    agent.take_survey(&runtime, runtime.survey(due.since).await.unwrap(), due);
    Some(due)
}

/// The other node's tasks that are told, each with whether it runs.
fn told(agent: &Agent) -> Vec<(u32, bool)> {
    let told = agent.foreign().borrow().clone();
    assert!(told.iter().all(|one| one.node_id == OTHER), "{told:?}");
    (1..100).filter_map(|task| Some((task, told.iter().find(|one| one.key == key(task))?.running))).collect()
}

#[tokio::test(start_paused = true)]
async fn what_others_have_is_looked_through_once_and_then_only_what_changes() {
    let (_engine, agent, other) = shared(3).await;
    assert_eq!(look(&agent).await.unwrap().since, None);
    assert_eq!(told(&agent), [(1, true), (2, true), (3, true)]);
    assert_eq!(look(&agent).await, None, "nothing has changed");

    begin(&other, 4).await;
    other.stop(key(2), &StopPolicy::default(), None).await.unwrap();
    assert!(look(&agent).await.unwrap().since.is_some());
    assert_eq!(told(&agent), [(1, true), (2, false), (3, true), (4, true)]);

    // What is gone is told no more.
    other.remove(key(2)).await.unwrap();
    other.remove(key(3)).await.unwrap();
    assert!(look(&agent).await.unwrap().since.is_some());
    assert_eq!(told(&agent), [(1, true), (4, true)]);
    assert_eq!(look(&agent).await, None);
}

#[tokio::test(start_paused = true)]
async fn what_others_have_is_known_however_much_changes_between_two_looks() {
    let (engine, agent, other) = shared(2).await;
    look(&agent).await.unwrap();
    // More than is kept of what has changed, and all of it gone but one.
    for task in 3..70 {
        begin(&other, task).await;
        other.remove(key(task)).await.unwrap();
    }
    begin(&other, 70).await;
    look(&agent).await.unwrap();
    assert_eq!(told(&agent), [(1, true), (2, true), (70, true)]);
    engine.forget_all();
    look(&agent).await.unwrap();
    assert_eq!(told(&agent), []);
}

#[tokio::test(start_paused = true)]
async fn a_look_at_what_has_changed_is_not_all_when_the_cluster_was_named_anew_meanwhile() {
    let (_engine, agent, other) = shared(2).await;
    look(&agent).await.unwrap();
    begin(&other, 3).await;
    let runtime = agent.runtime(RuntimeKind::Docker).unwrap();
    let due = agent.survey_due(&runtime).unwrap();
    let seen = runtime.survey(due.since).await.unwrap();
    assert!(seen.of.is_some());
    agent.set_cluster_id(ClusterId(Uuid::from_u128(9)));
    agent.take_survey(&runtime, seen, due);
    assert_eq!(look(&agent).await.unwrap().since, None);
    assert_eq!(told(&agent), [], "all of it is another cluster's now");
    assert_eq!(look(&agent).await, None);
}

#[tokio::test(start_paused = true)]
async fn a_new_session_is_told_what_was_found_in_an_earlier_one_without_another_look() {
    let (_engine, agent, other) = shared(2).await;
    look(&agent).await.unwrap();
    agent.end_session();
    begin(&other, 3).await;
    agent.begin_session(Duration::from_secs(1), None);
    // Nothing is judged before the full set, and so this is looked at again.
    assert!(look(&agent).await.is_some());
    assert_eq!(told(&agent), [(1, true), (2, true)]);
    agent.assign(Batch { full: true, last: true, ..Batch::default() });
    assert!(look(&agent).await.unwrap().since.is_some(), "only at what has changed");
    assert_eq!(told(&agent), [(1, true), (2, true), (3, true)]);
    assert_eq!(look(&agent).await, None);
}

#[tokio::test(start_paused = true)]
async fn what_was_removed_at_the_managers_word_is_told_no_more() {
    let (engine, agent, other) = shared(2).await;
    look(&agent).await.unwrap();
    agent.remove_foreign(&[ForeignAttempt { node_id: OTHER, key: key(1), running: true }]);
    assert_eq!(calls(&engine, Step::RemoveSighted).await, 1);
    assert_eq!(other.list().await.unwrap().len(), 1);
    assert!(look(&agent).await.unwrap().since.is_some());
    assert_eq!(told(&agent), [(2, true)]);
}
