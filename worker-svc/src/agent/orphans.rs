//! Which of all that lies under a cluster's label nobody looks after, and of which only the manager can tell. Pure.

use davit_core::id::{AttemptKey, ClusterId, NodeId};
use davit_proto::convert::{ForeignAttempt, MAX_FOREIGN_ATTEMPTS};

use crate::runtime::Sighting;

/// Something that nobody looks after.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Orphan {
    /// What was seen.
    pub sighting: Sighting,
    /// For people.
    pub why: &'static str,
}

/// What the worker that judges holds of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holds {
    /// Nothing: it is not assigned to its node.
    Nothing,
    /// The attempt, whose runner sees to its instance.
    Attempt,
    /// What is left of the attempt, which has ended: nothing of it is to run any more.
    Ended,
}

/// What is to become of what was seen.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Judgement {
    /// To be removed.
    pub orphans: Vec<Orphan>,
    /// To be removed if the next look still finds them: they run although their attempt has ended, unless that was right after
    /// they were seen.
    pub revived: Vec<Orphan>,
    /// Other nodes': their workers look after them, unless the manager knows better. Each with what the manager is told of it.
    pub foreign: Vec<(ForeignAttempt, Sighting)>,
}

/// Judges what was seen, as the worker of a node that holds what `holds` says, and that has been told all that it is to hold.
#[must_use]
pub fn judge(
    sightings: Vec<Sighting>,
    node_id: NodeId,
    cluster_id: Option<ClusterId>,
    holds: impl Fn(AttemptKey) -> Holds,
) -> Judgement {
    let mut judgement = Judgement::default();
    for sighting in sightings {
        // Without the cluster's id it may be of another cluster of the same name.
        let is_clusters = cluster_id.is_some() && sighting.cluster_id == cluster_id;
        let why = match (sighting.node_id, sighting.key) {
            (Some(node), None) if node == node_id => "its labels name no attempt",
            (Some(node), Some(key)) if node == node_id => match (sighting.is_instance, holds(key)) {
                (true, Holds::Ended) if sighting.running => {
                    judgement.revived.push(Orphan { sighting, why: "its attempt has ended here, and it runs again" });
                    continue;
                }
                (true, Holds::Attempt | Holds::Ended) => continue,
                (true, Holds::Nothing) => "its attempt is not assigned to this node",
                (false, _) => "it bears the labels of an attempt and is another container",
            },
            (Some(node), Some(key)) if is_clusters => {
                let running = sighting.running;
                judgement.foreign.push((ForeignAttempt { node_id: node, key, running }, sighting));
                continue;
            }
            (_, None) if is_clusters => "its labels name no attempt",
            (None, Some(_)) if is_clusters => "its labels name no node",
            (Some(_) | None, Some(_) | None) => continue,
        };
        judgement.orphans.push(Orphan { sighting, why });
    }
    judgement.foreign.sort_unstable_by_key(|(attempt, _)| *attempt);
    judgement
}

/// What the manager is told of them: each once, and no more than it takes.
#[must_use]
pub fn told(foreign: &[(ForeignAttempt, Sighting)]) -> Vec<ForeignAttempt> {
    let mut told: Vec<ForeignAttempt> = foreign.iter().map(|(attempt, _)| *attempt).collect();
    told.dedup();
    told.truncate(MAX_FOREIGN_ATTEMPTS);
    told
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use davit_core::id::{Attempt, TaskId};
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;

    const NODE: NodeId = NodeId(Uuid::from_u128(1));
    const OTHER: NodeId = NodeId(Uuid::from_u128(2));
    const CLUSTER: ClusterId = ClusterId(Uuid::from_u128(3));

    fn key(task: u128) -> AttemptKey {
        AttemptKey { task_id: TaskId(Uuid::from_u128(task)), attempt: Attempt::FIRST }
    }

    fn own(task: u128) -> Sighting {
        Sighting {
            id: task.to_string(),
            cluster_id: Some(CLUSTER),
            node_id: Some(NODE),
            key: Some(key(task)),
            is_instance: true,
            running: true,
        }
    }

    fn holds(held: bool) -> Holds {
        if held { Holds::Attempt } else { Holds::Nothing }
    }

    fn judged(sightings: &[Sighting], held: &[u128]) -> Judgement {
        let held: BTreeSet<AttemptKey> = held.iter().map(|task| key(*task)).collect();
        judge(sightings.to_vec(), NODE, Some(CLUSTER), |key| holds(held.contains(&key)))
    }

    fn orphans(sightings: &[Sighting], held: &[u128]) -> Vec<String> {
        judged(sightings, held).orphans.into_iter().map(|orphan| orphan.sighting.id).collect()
    }

    #[test]
    fn what_this_node_has_and_does_not_hold_is_an_orphan() {
        let copy = Sighting { id: "copy".to_owned(), is_instance: false, ..own(1) };
        let nameless = Sighting { id: "nameless".to_owned(), key: None, ..own(1) };
        assert_eq!(orphans(&[own(1), own(2), copy, nameless], &[1]), ["2", "copy", "nameless"]);
    }

    #[test]
    fn what_has_ended_here_stays_unless_it_runs_again() {
        let (runs, lies) = (own(1), Sighting { running: false, ..own(2) });
        let judgement = judge(vec![runs.clone(), lies], NODE, Some(CLUSTER), |_| Holds::Ended);
        assert_eq!(judgement.orphans, []);
        assert_eq!(judgement.revived.into_iter().map(|orphan| orphan.sighting).collect::<Vec<_>>(), [runs]);
    }

    #[test]
    fn its_own_need_no_cluster_id_since_no_two_nodes_have_one_id() {
        let made_before = Sighting { cluster_id: None, ..own(1) };
        assert_eq!(orphans(&[made_before], &[]), ["1"]);
    }

    #[test]
    fn other_nodes_attempts_are_told_to_the_manager_and_left_alone() {
        let theirs = Sighting { node_id: Some(OTHER), running: false, ..own(5) };
        let judgement = judged(&[theirs.clone(), theirs], &[]);
        assert_eq!(judgement.orphans, []);
        assert_eq!(told(&judgement.foreign), [ForeignAttempt { node_id: OTHER, key: key(5), running: false }]);
    }

    #[test]
    fn what_names_nobody_is_an_orphan_of_the_cluster_whose_id_it_bears() {
        let nobody = Sighting { id: "nobody".to_owned(), node_id: None, ..own(1) };
        let half = Sighting { id: "half".to_owned(), node_id: Some(OTHER), key: None, ..own(1) };
        assert_eq!(orphans(&[nobody.clone(), half.clone()], &[1]), ["nobody", "half"]);
        let without = |sighting: Sighting| Sighting { cluster_id: None, ..sighting };
        assert_eq!(orphans(&[without(nobody), without(half)], &[]), [""; 0]);
    }

    #[test]
    fn the_manager_is_told_no_more_than_it_takes() {
        let theirs = |task: u128| Sighting { node_id: Some(OTHER), ..own(task) };
        let many: Vec<_> = (0..MAX_FOREIGN_ATTEMPTS as u128 + 9).map(theirs).collect();
        assert_eq!(told(&judged(&many, &[]).foreign).len(), MAX_FOREIGN_ATTEMPTS);
    }

    fn sighting() -> impl Strategy<Value = Sighting> {
        let cluster_id = prop::option::of((3u128..5).prop_map(|id| ClusterId(Uuid::from_u128(id))));
        let node_id = prop::option::of((1u128..4).prop_map(|id| NodeId(Uuid::from_u128(id))));
        let parts = (any::<u16>(), cluster_id, node_id, prop::option::of(0u128..6), any::<bool>(), any::<bool>());
        parts.prop_map(|(id, cluster_id, node_id, task, is_instance, running)| Sighting {
            id: id.to_string(),
            cluster_id,
            node_id,
            key: task.map(key),
            is_instance,
            running,
        })
    }

    proptest! {
        /// Whatever lies about: nothing that is held is removed, nor anything that may be another cluster's; and without the
        /// cluster's id nothing but what bears this node's.
        #[test]
        fn nothing_is_removed_that_anybody_may_look_after(
            sightings in prop::collection::vec(sighting(), 0..20),
            held in prop::collection::btree_set(0u128..6, 0..4),
            ended in prop::collection::btree_set(0u128..6, 0..4),
            knows_id: bool,
        ) {
            let [held, ended] = [held, ended].map(|tasks| tasks.into_iter().map(key).collect::<BTreeSet<_>>());
            let holds = |key| if ended.contains(&key) { Holds::Ended } else { holds(held.contains(&key)) };
            let judgement = judge(sightings, NODE, knows_id.then_some(CLUSTER), holds);
            for Orphan { sighting, .. } in &judgement.revived {
                prop_assert!(sighting.node_id == Some(NODE) && sighting.is_instance && sighting.running);
                prop_assert!(sighting.key.is_some_and(|key| ended.contains(&key)));
            }
            for Orphan { sighting, .. } in &judgement.orphans {
                let is_own = sighting.node_id == Some(NODE);
                prop_assert!(!(is_own && sighting.is_instance && sighting.key.is_some_and(|key| holds(key) != Holds::Nothing)));
                prop_assert!(is_own || (knows_id && sighting.cluster_id == Some(CLUSTER)));
                // Another node's attempt is never this worker's to judge.
                prop_assert!(is_own || sighting.node_id.is_none() || sighting.key.is_none());
            }
            for (attempt, sighting) in &judgement.foreign {
                prop_assert!(knows_id && sighting.cluster_id == Some(CLUSTER));
                prop_assert!(attempt.node_id != NODE && sighting.node_id == Some(attempt.node_id));
            }
        }
    }
}
