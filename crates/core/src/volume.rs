//! Named volumes and where they are: their data is on one node and stays there.

use jiff::Timestamp;

use crate::id::{NodeId, Revision};

/// Where a named volume is: on the node on which the first task that mounts it was placed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeHome {
    /// The volume's name on the node's engine.
    pub name: String,
    /// The node.
    pub node_id: NodeId,
    /// When that task was placed.
    pub bound_at: Timestamp,
    /// The cluster's revision then.
    pub revision: Revision,
}
