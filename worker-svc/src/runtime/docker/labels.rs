//! The labels by which a worker knows its own containers.

use std::collections::{BTreeMap, HashMap};

use davit_core::id::{Attempt, AttemptKey};

use crate::runtime::Owner;

pub(super) const CLUSTER: &str = "dev.davit.cluster";
pub(super) const NODE: &str = "dev.davit.node";
pub(super) const TASK: &str = "dev.davit.task";
pub(super) const ATTEMPT: &str = "dev.davit.attempt";

/// The user's labels with ours over them: a user can't make a container pass for another's.
pub(super) fn all(owner: &Owner, key: AttemptKey, user: &BTreeMap<String, String>) -> HashMap<String, String> {
    let mut labels: HashMap<_, _> = user.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
    labels.insert(CLUSTER.to_owned(), owner.cluster.clone());
    labels.insert(NODE.to_owned(), owner.node_id.to_string());
    labels.insert(TASK.to_owned(), key.task_id.to_string());
    labels.insert(ATTEMPT.to_owned(), key.attempt.to_string());
    labels
}

/// The engine's filter for everything of this owner.
pub(super) fn filter(owner: &Owner) -> HashMap<String, Vec<String>> {
    let labels = vec![format!("{CLUSTER}={}", owner.cluster), format!("{NODE}={}", owner.node_id)];
    HashMap::from([("label".to_owned(), labels)])
}

/// The attempt that these labels name, if they name one of this owner.
pub(super) fn key(owner: &Owner, labels: &HashMap<String, String>) -> Option<AttemptKey> {
    if labels.get(CLUSTER)? != &owner.cluster || labels.get(NODE)? != &owner.node_id.to_string() {
        return None;
    }
    let task_id = labels.get(TASK)?.parse().ok()?;
    let attempt = Attempt(labels.get(ATTEMPT)?.parse().ok()?);
    Some(AttemptKey { task_id, attempt })
}

#[cfg(test)]
mod tests {
    use davit_core::id::{NodeId, TaskId};
    use uuid::Uuid;

    use super::*;

    #[test]
    fn a_user_cannot_override_our_labels() {
        let owner = Owner { cluster: "c".to_owned(), node_id: NodeId(Uuid::from_u128(1)) };
        let attempt = AttemptKey { task_id: TaskId(Uuid::from_u128(2)), attempt: Attempt(3) };
        let user = BTreeMap::from([
            (NODE.to_owned(), "other".to_owned()),
            (TASK.to_owned(), "other".to_owned()),
            ("tier".to_owned(), "web".to_owned()),
        ]);
        let labels = all(&owner, attempt, &user);
        assert_eq!(key(&owner, &labels), Some(attempt));
        assert_eq!(labels["tier"], "web");
        let other = Owner { node_id: NodeId(Uuid::from_u128(9)), ..owner };
        assert_eq!(key(&other, &labels), None);
    }
}
