//! Nodes: the machines that workers report for.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use jiff::Timestamp;
use uuid::Uuid;

use crate::drain::Drain;
use crate::id::{NodeId, Revision};
use crate::placement::{PortRange, RuntimeKind};
use crate::resources::Resources;

/// Whether a node's worker is in touch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NodeState {
    /// Its session is open and its heartbeats arrive.
    Ready,
    /// Its session broke or a heartbeat is late. Its tasks stay; it takes no new ones.
    Suspect,
    /// Nothing was heard for three heartbeat periods, or it said goodbye. Its tasks are LOST as their policy says.
    Down,
}

impl fmt::Display for NodeState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ready => "READY",
            Self::Suspect => "SUSPECT",
            Self::Down => "DOWN",
        })
    }
}

/// What a worker says of its machine when it registers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeDescription {
    /// Unique among the nodes that are in touch.
    pub name: String,
    /// Where the node's published ports can be reached; for people and clients, Davit does not dial it.
    pub address: String,
    /// Such as `linux`.
    pub os: String,
    /// Such as `x86_64`.
    pub arch: String,
    /// From the worker's configuration.
    pub labels: BTreeMap<String, String>,
    /// What tasks may use of the machine: its total without the system's reserve.
    pub allocatable: Resources,
    /// The machine's total.
    pub capacity: Resources,
    /// What it can run.
    pub runtimes: BTreeSet<RuntimeKind>,
    /// Host ports that it gives to tasks which don't ask for a certain one; `None` if it gives none.
    pub port_range: Option<PortRange>,
    /// The worker's version.
    pub worker_version: String,
}

/// Why a node can't use one of its runtimes now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuntimeProblem {
    /// In the worker's words.
    pub problem: String,
    /// Since when, by the manager's clock.
    pub since: Timestamp,
}

/// A machine that a worker reports for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Made by the worker, kept in its data directory. Written at registration.
    pub node_id: NodeId,
    /// What the worker said last. Written at registration.
    pub description: NodeDescription,
    /// Labels that users set; they win over the worker's. Written by `UpdateNode`.
    pub user_labels: BTreeMap<String, String>,
    /// Written by the manager's health check.
    pub state: NodeState,
    /// Why it is in that state.
    pub state_reason: String,
    /// Since when.
    pub state_since: Timestamp,
    /// Its runtimes that don't answer; what can run is in the description. Written by the worker's reports.
    pub runtime_problems: BTreeMap<RuntimeKind, RuntimeProblem>,
    /// Whether it takes no new tasks. Written by `CordonNode`, `UncordonNode` and `DrainNode`.
    pub cordoned: bool,
    /// How far its drain is, if it is drained. A node that is drained is cordoned. Written by `DrainNode` and the drainer.
    pub drain: Option<Drain>,
    /// The number of its last registration: what belongs to an earlier one is overtaken and counts for nothing. Written at
    /// registration.
    pub registration_number: u64,
    /// Which start of a worker registered last, if it said so. Written at registration.
    pub worker_run: Option<Uuid>,
    /// Until when its worker means to be away, with its tasks left running. Written when it says so, gone at registration.
    pub away_until: Option<Timestamp>,
    /// When it first registered.
    pub joined_at: Timestamp,
    /// When any of this changed last.
    pub updated_at: Timestamp,
    /// The cluster's revision at that change.
    pub revision: Revision,
}

impl Node {
    /// Labels in force: the worker's, overlaid by the user's.
    #[must_use]
    pub fn labels(&self) -> BTreeMap<String, String> {
        let mut labels = self.description.labels.clone();
        labels.extend(self.user_labels.iter().map(|(key, value)| (key.clone(), value.clone())));
        labels
    }
}

/// What was measured on a node. Not part of the durable state.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NodeStats {
    /// When.
    pub measured_at: Timestamp,
    /// Thousandths of one core in use.
    pub cpu_used_millis: u64,
    /// Bytes of memory in use.
    pub memory_used_bytes: u64,
    /// Bytes of disk in use, where the worker keeps its data.
    pub disk_used_bytes: u64,
    /// Load average over one minute.
    pub load_1m: f64,
    /// Attempts that run on it.
    pub running_tasks: u32,
}
