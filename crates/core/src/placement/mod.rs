//! What manager and scheduler tell each other about nodes and tasks, and the filters that both apply: the scheduler
//! over all nodes, the manager again over the one that was picked, so that a stale scheduler can never over-commit it.

mod filter;
mod summary;
#[cfg(test)]
pub(crate) mod test_support;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

pub use self::filter::{Filter, Misfit, fits, misfits};
pub use self::summary::Summary;
use crate::constraint::{Constraint, NodeAttributes};
use crate::id::NodeId;
use crate::node::{NodeState, NodeStats};
use crate::resources::Resources;
use crate::spec::PortProtocol;

/// What can run a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RuntimeKind {
    /// A Docker engine.
    Docker,
    /// Plain processes.
    Process,
}

impl fmt::Display for RuntimeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Docker => "docker",
            Self::Process => "process",
        })
    }
}

/// A fixed port on a node.
pub type HostPort = (PortProtocol, u16);

/// All that placement needs to know of a task. Equal requirements mean equal feasibility and cost.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Requirements {
    /// Which runtime the node must have.
    pub runtime: RuntimeKind,
    /// What is set aside.
    pub reservation: Resources,
    /// What the node must be; sorted, without repeats.
    pub constraints: Vec<Constraint>,
    /// Fixed host ports; sorted.
    pub host_ports: Vec<HostPort>,
}

/// All that placement needs to know of a node.
#[derive(Debug, Clone, PartialEq)]
pub struct NodeView {
    /// The node.
    pub node_id: NodeId,
    /// Its name.
    pub name: String,
    /// Its operating system.
    pub os: String,
    /// Its processor architecture.
    pub arch: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Whether its worker is in touch.
    pub state: NodeState,
    /// Whether it takes no new tasks.
    pub cordoned: bool,
    /// What it can run.
    pub runtimes: BTreeSet<RuntimeKind>,
    /// What tasks may use of it: the machine's total without the system's reserve.
    pub allocatable: Resources,
    /// What is reserved on it already.
    pub reserved: Resources,
    /// Fixed host ports that are taken.
    pub host_ports: BTreeSet<HostPort>,
    /// How many tasks it holds.
    pub task_count: u32,
    /// What was last measured on it, if anything was.
    pub stats: Option<NodeStats>,
}

impl NodeView {
    /// What is left of the node.
    #[must_use]
    pub fn free(&self) -> Resources {
        self.allocatable.saturating_sub(self.reserved)
    }

    /// What constraints look at.
    #[must_use]
    pub fn attributes(&self) -> NodeAttributes<'_> {
        NodeAttributes { name: &self.name, os: &self.os, arch: &self.arch, labels: &self.labels }
    }

    /// Sets aside what one task needs.
    pub fn reserve(&mut self, requirements: &Requirements) {
        self.reserved = self.reserved.saturating_add(requirements.reservation);
        self.host_ports.extend(requirements.host_ports.iter().copied());
        self.task_count = self.task_count.saturating_add(1);
    }

    /// Gives back what one task needed.
    pub fn release(&mut self, requirements: &Requirements) {
        self.reserved = self.reserved.saturating_sub(requirements.reservation);
        for port in &requirements.host_ports {
            self.host_ports.remove(port);
        }
        self.task_count = self.task_count.saturating_sub(1);
    }
}
