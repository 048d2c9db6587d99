//! What lies under a cluster's label, whoever it belongs to.

use std::collections::BTreeSet;

use davit_core::id::{AttemptKey, ClusterId, NodeId};

/// What a survey found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Survey {
    /// What there is, of what was looked for.
    pub seen: Vec<Sighting>,
    /// The engine's names of all that was looked for: what was not seen of it is gone. `None`: whatever there is.
    pub of: Option<BTreeSet<String>>,
}

/// Something that a runtime has and that bears the label of its owner's cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sighting {
    /// The engine's own name for it.
    pub id: String,
    /// The cluster's id in its labels. `None`: there is none, so that it may be of another cluster of the same name.
    pub cluster_id: Option<ClusterId>,
    /// The node in its labels. `None`: none, or none that can be understood.
    pub node_id: Option<NodeId>,
    /// The attempt in its labels. `None`: none, or none that can be understood.
    pub key: Option<AttemptKey>,
    /// Whether it is named as the instance of its attempt: a copy with the same labels is not.
    pub is_instance: bool,
    /// Whether it runs.
    pub running: bool,
}
