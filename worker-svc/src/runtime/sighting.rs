//! What lies under a cluster's label, whoever it belongs to.

use davit_core::id::{AttemptKey, ClusterId, NodeId};

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
