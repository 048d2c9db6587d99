//! Whether the node's runtimes answer. They are asked every few seconds, each with a time limit, so that an engine that hangs is
//! noticed as one that is gone; the manager is told of every change and gives the node no tasks that it can't run. Those that answer
//! are looked through for what nobody looks after.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use davit_core::placement::RuntimeKind;
use davit_proto::convert::RuntimeHealth;

use crate::node::{Checked, Node};

/// How often runtimes are asked.
const PERIOD: Duration = Duration::from_secs(2);
/// A runtime that answered counts as gone when it failed so often in a row: a busy engine may be late once.
const FAILURES: u32 = 2;

/// What is known of the runtimes. Pure.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Judgement {
    /// What the manager is told.
    pub(crate) health: RuntimeHealth,
    failures: BTreeMap<RuntimeKind, u32>,
}

impl Judgement {
    /// After the runtimes were asked once more. One that was never asked before counts by its first answer.
    pub(crate) fn after(&self, checked: &[Checked]) -> Self {
        let mut next = Self::default();
        for Checked { kind, result } in checked {
            let answered = self.health.runtimes.contains(kind);
            match result {
                Ok(_) => {
                    next.health.runtimes.insert(*kind);
                }
                Err(problem) => {
                    let failures = self.failures.get(kind).unwrap_or(&0) + 1;
                    next.failures.insert(*kind, failures);
                    if answered && failures < FAILURES {
                        next.health.runtimes.insert(*kind);
                    } else {
                        // The first words of a problem stay: others are no news.
                        let words = self.health.problems.get(kind).unwrap_or(problem);
                        next.health.problems.insert(*kind, words.clone());
                    }
                }
            }
        }
        next
    }
}

/// What the manager is told: a node that can't write anything down begins nothing, whatever its runtimes say. Pure.
fn told(health: &RuntimeHealth, lacks_room: Option<&str>) -> RuntimeHealth {
    let Some(problem) = lacks_room else { return health.clone() };
    let mut problems = health.problems.clone();
    for kind in &health.runtimes {
        problems.insert(*kind, format!("the worker has no room for its records: {problem}"));
    }
    RuntimeHealth { runtimes: BTreeSet::new(), problems }
}

/// Asks again and again. Never ends.
pub(crate) async fn watch(node: Arc<Node>) {
    let mut known = Judgement::default();
    let mut lacked_room = false;
    loop {
        // Side by side: an engine that hangs is noticed no later for being looked through.
        let (checked, ()) = tokio::join!(node.check(), node.survey(&known.health));
        let next = known.after(&checked);
        tell(&known.health, &next.health);
        let lacks_room = node.lacks_room();
        match (&lacks_room, lacked_room) {
            (Some(problem), false) => {
                tracing::warn!(problem, "the worker has no room for its records; the node takes no tasks");
            }
            (None, true) => tracing::info!("the worker has room for its records again"),
            _ => {}
        }
        lacked_room = lacks_room.is_some();
        let changed = next.health != known.health;
        for kind in next.health.runtimes.iter().chain(next.health.problems.keys()).filter(|_| changed) {
            let labels = [("node", node.config.name.clone()), ("runtime", kind.to_string())];
            let up = next.health.runtimes.contains(kind);
            metrics::gauge!("davit_worker_runtime_up", &labels).set(f64::from(u8::from(up)));
        }
        node.set_health(&told(&next.health, lacks_room.as_deref()));
        known = next;
        tokio::time::sleep(PERIOD).await;
    }
}

fn tell(before: &RuntimeHealth, after: &RuntimeHealth) {
    for (kind, problem) in after.problems.iter().filter(|(kind, _)| !before.problems.contains_key(*kind)) {
        tracing::warn!(%kind, problem, "a runtime does not answer; the node takes no tasks for it");
    }
    let back: BTreeSet<_> = after.runtimes.iter().filter(|kind| before.problems.contains_key(*kind)).collect();
    for kind in back {
        tracing::info!(%kind, "a runtime answers again");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCKER: RuntimeKind = RuntimeKind::Docker;

    fn works() -> [Checked; 1] {
        [Checked { kind: DOCKER, result: Ok("Docker 20.10".to_owned()) }]
    }

    fn fails(problem: &str) -> [Checked; 1] {
        [Checked { kind: DOCKER, result: Err(problem.to_owned()) }]
    }

    #[test]
    fn one_late_answer_is_no_problem_and_two_are() {
        let works_once = Judgement::default().after(&works());
        let late = works_once.after(&fails("late"));
        assert_eq!(late.health, works_once.health);
        assert_eq!(late.after(&works()).after(&fails("late")).health, works_once.health, "not in a row");
        let gone = late.after(&fails("later"));
        assert_eq!(gone.health.problems[&DOCKER], "later");
        assert!(gone.health.runtimes.is_empty());
        assert_eq!(gone.after(&fails("other words")).health, gone.health);
        assert_eq!(gone.after(&works()).health, works_once.health);
    }

    #[test]
    fn without_room_no_runtime_is_offered_and_each_keeps_its_own_problem() {
        let works = Judgement::default().after(&works()).health;
        assert_eq!(told(&works, None), works);
        let full = told(&works, Some("the disk is full"));
        assert!(full.runtimes.is_empty() && full.problems[&DOCKER].ends_with("the disk is full"), "{full:?}");
        let fails = Judgement::default().after(&fails("no such file")).health;
        assert_eq!(told(&fails, Some("the disk is full")), fails);
    }

    #[test]
    fn a_runtime_that_never_answered_is_not_offered() {
        assert_eq!(Judgement::default().after(&fails("no such file")).health.problems[&DOCKER], "no such file");
    }
}
