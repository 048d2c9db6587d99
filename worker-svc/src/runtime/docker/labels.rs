//! The labels by which a worker knows its own containers, and those of its cluster.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use davit_core::id::{Attempt, AttemptKey, ClusterId, NodeId};

use crate::runtime::Owner;

pub(super) const CLUSTER: &str = "dev.davit.cluster";
/// Tells clusters of one name apart.
pub(super) const CLUSTER_ID: &str = "dev.davit.cluster-id";
pub(super) const NODE: &str = "dev.davit.node";
pub(super) const TASK: &str = "dev.davit.task";
pub(super) const ATTEMPT: &str = "dev.davit.attempt";
/// It must stop when the node's lease has ended; holds its stop grace in milliseconds.
pub(super) const LEASED: &str = "dev.davit.leased";

/// The network of the container, by its name at the engine.
pub(super) const NETWORK: &str = "dev.davit.network";

/// Of what is the owner's and belongs to no attempt.
pub(super) fn of_owner(owner: &Owner) -> HashMap<String, String> {
    let labels = [(CLUSTER, owner.cluster.clone()), (NODE, owner.node_id.to_string())];
    labels.map(|(name, value)| (name.to_owned(), value)).into()
}

/// The user's labels with ours over them: a user can't make a container pass for another's.
pub(super) fn all(
    owner: &Owner,
    cluster_id: Option<ClusterId>,
    key: AttemptKey,
    leased: Option<Duration>,
    user: &BTreeMap<String, String>,
) -> HashMap<String, String> {
    let mut labels: HashMap<_, _> = user.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
    labels.remove(CLUSTER_ID);
    labels.extend(cluster_id.map(|cluster_id| (CLUSTER_ID.to_owned(), cluster_id.to_string())));
    labels.insert(CLUSTER.to_owned(), owner.cluster.clone());
    labels.insert(NODE.to_owned(), owner.node_id.to_string());
    labels.insert(TASK.to_owned(), key.task_id.to_string());
    labels.insert(ATTEMPT.to_owned(), key.attempt.to_string());
    labels.remove(LEASED);
    labels.extend(leased.map(|grace| (LEASED.to_owned(), grace.as_millis().to_string())));
    labels
}

/// The stop grace of a container that must stop when the lease has ended; `None`: it need not.
pub(super) fn leased(labels: &HashMap<String, String>) -> Option<Duration> {
    labels.get(LEASED).map(|grace| Duration::from_millis(grace.parse().unwrap_or(0)))
}

/// The engine's filter for everything of this owner.
pub(super) fn filter(owner: &Owner) -> HashMap<String, Vec<String>> {
    let labels = vec![format!("{CLUSTER}={}", owner.cluster), format!("{NODE}={}", owner.node_id)];
    HashMap::from([("label".to_owned(), labels)])
}

/// The engine's filter for everything of this owner's cluster.
pub(super) fn cluster_filter(owner: &Owner) -> HashMap<String, Vec<String>> {
    HashMap::from([("label".to_owned(), vec![format!("{CLUSTER}={}", owner.cluster)])])
}

/// The attempt that these labels name, if they name one of this owner.
pub(super) fn key(owner: &Owner, labels: &HashMap<String, String>) -> Option<AttemptKey> {
    let read = Labels::of(labels);
    let is_owners = read.cluster == Some(owner.cluster.as_str()) && read.node_id == Some(owner.node_id);
    read.key.filter(|_| is_owners)
}

/// What labels say, as far as it can be understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Labels<'a> {
    pub(super) cluster: Option<&'a str>,
    pub(super) cluster_id: Option<ClusterId>,
    pub(super) node_id: Option<NodeId>,
    pub(super) key: Option<AttemptKey>,
}

impl<'a> Labels<'a> {
    pub(super) fn of(labels: &'a HashMap<String, String>) -> Self {
        let task_id = labels.get(TASK).and_then(|text| text.parse().ok());
        let attempt = labels.get(ATTEMPT).and_then(|text| text.parse().ok()).filter(|number| *number > 0).map(Attempt);
        Self {
            cluster: labels.get(CLUSTER).map(String::as_str),
            cluster_id: labels.get(CLUSTER_ID).and_then(|text| text.parse().ok()),
            node_id: labels.get(NODE).and_then(|text| text.parse().ok()),
            key: task_id.zip(attempt).map(|(task_id, attempt)| AttemptKey { task_id, attempt }),
        }
    }
}

#[cfg(test)]
mod tests {
    use davit_core::id::{NodeId, TaskId};
    use uuid::Uuid;

    use super::*;

    fn owner() -> Owner {
        Owner { cluster: "c".to_owned(), node_id: NodeId(Uuid::from_u128(1)) }
    }

    #[test]
    fn a_user_cannot_override_our_labels() {
        let attempt = AttemptKey { task_id: TaskId(Uuid::from_u128(2)), attempt: Attempt(3) };
        let user = BTreeMap::from([
            (NODE.to_owned(), "other".to_owned()),
            (TASK.to_owned(), "other".to_owned()),
            (CLUSTER_ID.to_owned(), Uuid::from_u128(8).to_string()),
            (LEASED.to_owned(), "7".to_owned()),
            ("tier".to_owned(), "web".to_owned()),
        ]);
        let cluster_id = Some(ClusterId(Uuid::from_u128(7)));
        for cluster_id in [cluster_id, None] {
            let labels = all(&owner(), cluster_id, attempt, None, &user);
            assert_eq!(key(&owner(), &labels), Some(attempt));
            assert_eq!(Labels::of(&labels).cluster_id, cluster_id);
            assert_eq!(leased(&labels), None);
            let grace = Some(Duration::from_millis(1500));
            assert_eq!(leased(&all(&owner(), cluster_id, attempt, grace, &user)), grace);
            assert_eq!(labels["tier"], "web");
            let other = Owner { node_id: NodeId(Uuid::from_u128(9)), ..owner() };
            assert_eq!(key(&other, &labels), None);
        }
    }

    #[test]
    fn labels_that_say_nothing_name_nobody() {
        let labels = HashMap::from([
            (CLUSTER.to_owned(), "c".to_owned()),
            (NODE.to_owned(), owner().node_id.to_string()),
            (TASK.to_owned(), "a task".to_owned()),
            (ATTEMPT.to_owned(), "0".to_owned()),
        ]);
        assert_eq!(key(&owner(), &labels), None);
        let read = Labels { cluster: Some("c"), cluster_id: None, node_id: Some(owner().node_id), key: None };
        assert_eq!(Labels::of(&labels), read);
    }
}
