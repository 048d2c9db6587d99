//! What is set aside on a node. Follows from the tasks; never stored.

use std::collections::BTreeSet;

use davit_core::id::TaskId;
use davit_core::placement::{HostPort, Requirements};
use davit_core::resources::Resources;
use imbl::OrdSet;

/// What is set aside on one node.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct NodeUsage {
    /// Sum of the reservations of its tasks.
    pub reserved: Resources,
    /// Fixed host ports of its tasks.
    pub host_ports: BTreeSet<HostPort>,
    /// Tasks whose current attempt is on the node and has not ended.
    pub tasks: OrdSet<TaskId>,
}

impl NodeUsage {
    /// How many tasks the node holds.
    #[must_use]
    pub fn task_count(&self) -> u32 {
        u32::try_from(self.tasks.len()).unwrap_or(u32::MAX)
    }

    pub(super) fn add(&mut self, task_id: TaskId, requirements: &Requirements) {
        if self.tasks.insert(task_id).is_none() {
            self.reserved = self.reserved.saturating_add(requirements.reservation);
            self.host_ports.extend(requirements.host_ports.iter().copied());
        }
    }

    pub(super) fn remove(&mut self, task_id: TaskId, requirements: &Requirements) {
        if self.tasks.remove(&task_id).is_some() {
            self.reserved = self.reserved.saturating_sub(requirements.reservation);
            for port in &requirements.host_ports {
                self.host_ports.remove(port);
            }
        }
    }
}
