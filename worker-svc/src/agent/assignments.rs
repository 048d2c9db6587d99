//! Turns what the manager assigns into what is wanted of each attempt. Pure.
//!
//! A session begins with the full set, in one or more parts, and goes on with changes. An attempt of the full set is
//! taken up as it comes; what is held and not in it is known only at its last part.

use std::collections::{BTreeMap, BTreeSet};

use davit_core::id::{Attempt, AttemptKey, TaskId};
use davit_core::task::DesiredState;
use davit_proto::convert::Assignment;
use davit_svc_kit::bugs::{self, Bug};

/// One message of assignments.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Batch {
    /// Part of the full set.
    pub full: bool,
    /// The last part of it.
    pub last: bool,
    /// New or changed.
    pub assignments: Vec<Assignment>,
    /// To be removed with all that is left of them.
    pub removed: Vec<AttemptKey>,
}

/// What is wanted of one attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    /// Run it or stop it.
    Assign(Box<Assignment>),
    /// Stop it, if it runs, and remove it.
    Remove {
        /// Which.
        key: AttemptKey,
        /// Why.
        why: &'static str,
        /// Whether it is to end as soon as it can, since another one takes its place.
        is_urgent: bool,
    },
}

/// Follows the assignments of one session.
#[derive(Debug, Default)]
pub struct Follower {
    seen: BTreeSet<AttemptKey>,
    complete: bool,
}

impl Follower {
    /// Of a session that has just begun.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether the full set has arrived.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.complete
    }

    /// What follows from a message. `held` tells, by attempt, whether it has ended.
    pub fn follow(&mut self, batch: Batch, held: &BTreeMap<AttemptKey, bool>) -> Vec<Order> {
        let mut orders = Vec::with_capacity(batch.assignments.len() + batch.removed.len());
        let mut newest = BTreeMap::new();
        for key in held.keys().copied().chain(batch.assignments.iter().map(|assignment| assignment.key)) {
            newest.entry(key.task_id).and_modify(|attempt| *attempt = key.attempt.max(*attempt)).or_insert(key.attempt);
        }
        for assignment in batch.assignments {
            let key = assignment.key;
            if batch.full || bugs::is(Bug::FullSetMisread) {
                self.seen.insert(key);
            }
            if newest.get(&key.task_id).is_some_and(|newest| *newest > key.attempt)
                && assignment.desired_state == DesiredState::Running
            {
                // The attempt is the fence: what comes late must not run beside its successor.
                continue;
            }
            let why = "a later attempt is assigned";
            orders.extend(lower(held, key).map(|key| Order::Remove { key, why, is_urgent: true }));
            orders.push(Order::Assign(Box::new(assignment)));
        }
        let why = "the manager has removed it";
        orders.extend(batch.removed.into_iter().map(|key| Order::Remove { key, why, is_urgent: false }));
        let misread = bugs::is(Bug::FullSetMisread);
        if (batch.full && batch.last && !self.complete) || misread {
            self.complete = true;
            let left_out =
                held.iter().filter(|(key, ended)| !**ended && !self.seen.contains(key) && !bugs::is(Bug::FenceIgnored));
            // It may be assigned to another one by now.
            let why = "it is not assigned to this node";
            orders.extend(left_out.map(|(key, _)| Order::Remove { key: *key, why, is_urgent: true }));
            self.seen.clear();
        }
        orders
    }
}

/// Attempts before this one of the same task.
fn lower(held: &BTreeMap<AttemptKey, bool>, key: AttemptKey) -> impl Iterator<Item = AttemptKey> {
    held.range(first_of(key.task_id)..key).filter(|(_, ended)| !**ended).map(|(key, _)| *key)
}

/// The least key that an attempt of the task can have.
pub(super) fn first_of(task_id: TaskId) -> AttemptKey {
    AttemptKey { task_id, attempt: Attempt(0) }
}

#[cfg(test)]
mod tests {
    use davit_core::id::Revision;
    use davit_core::spec::{ProcessSpec, RuntimeSpec, TaskSpec};
    use davit_core::task::Part;
    use uuid::Uuid;

    use super::*;

    fn key(task: u128, attempt: u32) -> AttemptKey {
        AttemptKey { task_id: TaskId(Uuid::from_u128(task)), attempt: Attempt(attempt) }
    }

    fn assignment(key: AttemptKey) -> Assignment {
        let process = ProcessSpec { command: Vec::new(), env: BTreeMap::new(), working_dir: String::new() };
        let spec = TaskSpec::new("a", RuntimeSpec::Process(process)).into();
        Assignment {
            key,
            revision: Revision(1),
            desired_state: DesiredState::Running,
            spec,
            ports: [].into(),
            part: Part::Alone,
        }
    }

    fn full(last: bool, keys: &[AttemptKey]) -> Batch {
        Batch { full: true, last, assignments: keys.iter().map(|key| assignment(*key)).collect(), removed: Vec::new() }
    }

    fn removed(orders: &[Order]) -> Vec<AttemptKey> {
        let of = |order: &Order| match order {
            Order::Remove { key, .. } => Some(*key),
            Order::Assign(_) => None,
        };
        orders.iter().filter_map(of).collect()
    }

    #[test]
    fn what_the_full_set_leaves_out_is_removed_when_it_is_complete() {
        let held = BTreeMap::from([(key(1, 1), false), (key(2, 1), false), (key(3, 1), true)]);
        let mut follower = Follower::new();
        assert_eq!(removed(&follower.follow(full(false, &[key(1, 1)]), &held)), []);
        assert!(!follower.is_complete());
        // Ended ones stay until their retention passes.
        assert_eq!(removed(&follower.follow(full(true, &[key(4, 1)]), &held)), [key(2, 1)]);
        assert!(follower.is_complete());
    }

    #[test]
    fn changes_remove_only_what_they_name() {
        let held = BTreeMap::from([(key(1, 1), false), (key(2, 1), true)]);
        let mut follower = Follower::new();
        follower.follow(full(true, &[key(1, 1)]), &held);
        let batch = Batch { removed: vec![key(2, 1)], assignments: vec![assignment(key(3, 1))], ..Batch::default() };
        let orders = follower.follow(batch, &held);
        assert_eq!(removed(&orders), [key(2, 1)]);
        assert_eq!(orders.len(), 2);
    }

    #[test]
    fn a_later_attempt_takes_the_place_of_an_earlier_one() {
        let held = BTreeMap::from([(key(1, 1), true), (key(1, 2), false), (key(2, 1), false)]);
        let batch = Batch { assignments: vec![assignment(key(1, 3))], ..Batch::default() };
        let orders = Follower::new().follow(batch, &held);
        assert_eq!(orders[0], Order::Remove { key: key(1, 2), why: "a later attempt is assigned", is_urgent: true });
        assert_eq!(orders[1], Order::Assign(Box::new(assignment(key(1, 3)))));
        assert_eq!(orders.len(), 2);
    }

    #[test]
    fn an_earlier_attempt_that_comes_late_is_not_run() {
        let held = BTreeMap::from([(key(1, 3), false)]);
        let batch = Batch { assignments: vec![assignment(key(1, 2))], ..Batch::default() };
        assert_eq!(Follower::new().follow(batch, &held), []);
    }
}
