//! The filters: whether one node can take one task, and if not, every reason why.
//!
//! [`fits`] stops at the first failure and makes nothing; [`misfits`] tells all failures. They agree always:
//! `fits(r, n) == misfits(r, n).is_empty()`.

use std::fmt;

use super::{Home, Misfit, NodeView, Platform, Requirements};
use crate::node::NodeState;
use crate::resources::{HumanBytes, HumanCpus};
use crate::words::counted;

/// One thing that is looked at on a node. The order is the order in which they are checked and told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Filter {
    /// The node's worker is in touch.
    Ready,
    /// The node takes new tasks.
    Cordoned,
    /// The node has the runtime.
    Runtime,
    /// The node has enough unreserved cpu.
    Cpu,
    /// The node has enough unreserved memory.
    Memory,
    /// The node has enough unreserved disk.
    Disk,
    /// The node is of the right operating system and architecture.
    Platform,
    /// The node satisfies every constraint.
    Constraint,
    /// The fixed host ports are free on the node.
    HostPort,
    /// The node has enough ports left in its range.
    DynamicPort,
    /// The node holds not too many tasks of the same kind.
    MaxPerNode,
    /// The node holds the tasks that this one needs beside it.
    TaskAffinity,
    /// The node holds no task that this one refuses, and none that refuses this one.
    TaskAntiAffinity,
    /// The node is the one on which the task's group is, or has room for all of that.
    Colocation,
    /// The node is the one that has the task's named volumes.
    Volume,
}

impl Filter {
    /// Every filter, in order.
    pub const ALL: [Self; 15] = [
        Self::Ready,
        Self::Cordoned,
        Self::Runtime,
        Self::Cpu,
        Self::Memory,
        Self::Disk,
        Self::Platform,
        Self::Constraint,
        Self::HostPort,
        Self::DynamicPort,
        Self::MaxPerNode,
        Self::TaskAffinity,
        Self::TaskAntiAffinity,
        Self::Colocation,
        Self::Volume,
    ];

    /// Those whose answer changes when tasks are placed on the node. The others need to be asked only once per group.
    pub const DYNAMIC: [Self; 10] = [
        Self::Cpu,
        Self::Memory,
        Self::Disk,
        Self::HostPort,
        Self::DynamicPort,
        Self::MaxPerNode,
        Self::TaskAffinity,
        Self::TaskAntiAffinity,
        Self::Colocation,
        Self::Volume,
    ];

    /// Those whose answer only the node's own nature decides.
    pub const STATIC: [Self; 5] = [Self::Ready, Self::Cordoned, Self::Runtime, Self::Platform, Self::Constraint];

    /// What the API calls it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Cordoned => "cordoned",
            Self::Runtime => "runtime",
            Self::Cpu => "cpu",
            Self::Memory => "memory",
            Self::Disk => "disk",
            Self::Platform => "platform",
            Self::Constraint => "constraint",
            Self::HostPort => "host_port",
            Self::DynamicPort => "dynamic_port",
            Self::MaxPerNode => "max_per_node",
            Self::TaskAffinity => "task_affinity",
            Self::TaskAntiAffinity => "task_anti_affinity",
            Self::Colocation => "colocation",
            Self::Volume => "volume",
        }
    }

    /// Whether the node passes.
    #[must_use]
    pub fn check(self, requirements: &Requirements, node: &NodeView) -> bool {
        let needed = &requirements.reservation;
        match self {
            Self::Ready => node.state == NodeState::Ready,
            Self::Cordoned => !node.cordoned,
            Self::Runtime => node.runtimes.contains(&requirements.runtime),
            Self::Cpu => needed.cpu_millis <= node.free().cpu_millis,
            Self::Memory => needed.memory_bytes <= node.free().memory_bytes,
            Self::Disk => needed.disk_bytes <= node.free().disk_bytes,
            Self::Constraint => {
                let attributes = node.attributes();
                requirements.constraints.iter().all(|constraint| constraint.is_satisfied_by(attributes))
            }
            Self::Platform => requirements.platform.is_that_of(node),
            Self::HostPort => !requirements.host_ports.iter().any(|port| node.host_ports.contains(port)),
            Self::DynamicPort => {
                requirements.dynamic_ports == 0
                    || requirements.dynamic_ports.saturating_add(ports_in_range(requirements, node))
                        <= node.free_dynamic_ports()
            }
            Self::MaxPerNode => requirements.max_per_node.as_ref().is_none_or(|one| node.count_of(&one.mark) < one.max),
            Self::TaskAffinity => requirements.needs.iter().all(|mark| node.count_of(mark) > 0),
            Self::TaskAntiAffinity => {
                !requirements.refuses.iter().any(|mark| node.count_of(mark) > 0)
                    && !requirements.marks.iter().any(|mark| node.refused.contains_key(mark))
            }
            Self::Colocation => {
                let mut groups = requirements.homes.iter().filter(|home| !home.is_of_volume());
                groups.all(|home| match home.node {
                    Some(_) => home.allows(node.node_id),
                    None => requirements.group_reservation.fits_in(node.free()),
                })
            }
            Self::Volume => requirements.homes.iter().all(|home| !home.is_of_volume() || home.allows(node.node_id)),
        }
    }

    /// Why the node does not pass, with amounts. Adds nothing when it passes, and one entry for each constraint and
    /// port that fails.
    fn explain(self, requirements: &Requirements, node: &NodeView, failed: &mut Vec<Misfit>) {
        if self.check(requirements, node) {
            return;
        }
        let (needed, free) = (requirements.reservation, node.free());
        match self {
            Self::Ready => failed.push(Misfit::NotReady { state: node.state }),
            Self::Cordoned => failed.push(Misfit::Cordoned),
            Self::Runtime => failed.push(Misfit::RuntimeMissing { runtime: requirements.runtime }),
            Self::Cpu => {
                failed.push(Misfit::Cpu { needed_millis: needed.cpu_millis, free_millis: free.cpu_millis });
            }
            Self::Memory => {
                failed.push(Misfit::Memory { needed_bytes: needed.memory_bytes, free_bytes: free.memory_bytes });
            }
            Self::Disk => failed.push(Misfit::Disk { needed_bytes: needed.disk_bytes, free_bytes: free.disk_bytes }),
            Self::Constraint => {
                let attributes = node.attributes();
                let broken = requirements.constraints.iter().filter(|one| !one.is_satisfied_by(attributes));
                failed.extend(broken.map(|constraint| Misfit::Constraint {
                    constraint: constraint.clone(),
                    actual: constraint.attribute.value_on(attributes).map(str::to_owned),
                }));
            }
            Self::Platform => failed.push(Misfit::Platform {
                needed: requirements.platform.clone(),
                actual: Platform { os: node.os.clone(), arch: node.arch.clone() },
            }),
            Self::DynamicPort => failed.push(Misfit::DynamicPorts {
                needed: requirements.dynamic_ports,
                free: node.free_dynamic_ports().saturating_sub(ports_in_range(requirements, node)),
            }),
            Self::MaxPerNode => failed.extend(requirements.max_per_node.as_ref().map(|one| Misfit::TooManyOfAKind {
                mark: one.mark.clone(),
                max: one.max,
                held: node.count_of(&one.mark),
            })),
            Self::TaskAffinity => {
                let missing = requirements.needs.iter().filter(|mark| node.count_of(mark) == 0);
                failed.extend(missing.cloned().map(Misfit::TaskMissing));
            }
            Self::TaskAntiAffinity => {
                let refused = requirements.refuses.iter().filter(|mark| node.count_of(mark) > 0);
                failed.extend(refused.cloned().map(Misfit::TaskRefused));
                let refused_by = requirements.marks.iter().filter(|mark| node.refused.contains_key(mark));
                failed.extend(refused_by.cloned().map(Misfit::RefusedByTask));
            }
            Self::Colocation | Self::Volume => {
                let of_filter = |home: &&Home| home.is_of_volume() == (self == Self::Volume);
                let others = requirements.homes.iter().filter(of_filter).filter(|home| !home.allows(node.node_id));
                failed.extend(others.cloned().map(Misfit::KeptElsewhere));
                if self == Self::Colocation && !requirements.group_reservation.fits_in(free) {
                    let mut open = requirements.homes.iter().filter(|home| !home.is_of_volume() && home.node.is_none());
                    failed.extend(open.next().map(|home| Misfit::GroupTooLarge {
                        group: home.keeper.clone(),
                        needed: requirements.group_reservation,
                        free,
                    }));
                }
            }
            Self::HostPort => {
                let taken = requirements.host_ports.iter().filter(|port| node.host_ports.contains(port));
                failed.extend(taken.copied().map(Misfit::HostPortTaken));
            }
        }
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How many fixed ports of the task would be taken out of the node's range, and are free now.
fn ports_in_range(requirements: &Requirements, node: &NodeView) -> u32 {
    let Some(range) = node.port_range else { return 0 };
    let mut ports: Vec<u16> = requirements.host_ports.iter().map(|(_, port)| *port).collect();
    ports.retain(|port| range.contains(*port) && !node.host_ports.iter().any(|(_, taken)| taken == port));
    ports.sort_unstable();
    ports.dedup();
    u32::try_from(ports.len()).unwrap_or(u32::MAX)
}

/// What one filter says of one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilterVerdict {
    /// Which filter.
    pub filter: Filter,
    /// Whether the node passes.
    pub passes: bool,
    /// With amounts: `memory: needs 2.0 GiB, 1.3 GiB free`. Of a filter that fails for several reasons, all.
    pub text: String,
}

/// What every filter says of the node, with amounts also where it passes. Filters that the task has nothing for are left out.
#[must_use]
pub fn verdicts(requirements: &Requirements, node: &NodeView) -> Vec<FilterVerdict> {
    let misfits = misfits(requirements, node);
    let mut verdicts = Vec::new();
    for filter in Filter::ALL {
        let failed: Vec<_> = misfits.iter().filter(|one| one.filter() == filter).map(ToString::to_string).collect();
        if !failed.is_empty() {
            verdicts.push(FilterVerdict { filter, passes: false, text: failed.join("; ") });
        } else if let Some(text) = pass_text(filter, requirements, node) {
            verdicts.push(FilterVerdict { filter, passes: true, text });
        }
    }
    verdicts
}

/// What is to be said of a filter that the node passes; `None` where the task asks for nothing.
fn pass_text(filter: Filter, requirements: &Requirements, node: &NodeView) -> Option<String> {
    let (needed, free) = (requirements.reservation, node.free());
    let list = |items: Vec<String>| (!items.is_empty()).then(|| items.join(", "));
    match filter {
        Filter::Ready => Some(format!("node is {}", node.state)),
        Filter::Cordoned => Some("not cordoned".to_owned()),
        Filter::Runtime => Some(format!("runtime {}", requirements.runtime)),
        Filter::Cpu => (needed.cpu_millis > 0)
            .then(|| format!("cpu: needs {}, {} free", HumanCpus(needed.cpu_millis), HumanCpus(free.cpu_millis))),
        Filter::Memory => {
            (needed.memory_bytes > 0).then(|| bytes_text("memory", needed.memory_bytes, free.memory_bytes))
        }
        Filter::Disk => (needed.disk_bytes > 0).then(|| bytes_text("disk", needed.disk_bytes, free.disk_bytes)),
        Filter::Platform => (!requirements.platform.is_any()).then(|| format!("platform {}", requirements.platform)),
        Filter::Constraint => list(requirements.constraints.iter().map(|one| format!("constraint {one}")).collect()),
        Filter::HostPort => list(
            requirements
                .host_ports
                .iter()
                .map(|(protocol, port)| format!("host port {port}/{protocol} is free"))
                .collect(),
        ),
        Filter::DynamicPort => (requirements.dynamic_ports > 0).then(|| {
            format!("dynamic ports: needs {}, {} free", requirements.dynamic_ports, node.free_dynamic_ports())
        }),
        Filter::MaxPerNode => requirements.max_per_node.as_ref().map(|one| {
            let held = counted(node.count_of(&one.mark).into(), "task", "tasks");
            format!("max per node: has {held} with {}, at most {}", one.mark, one.max)
        }),
        Filter::TaskAffinity => list(requirements.needs.iter().map(|mark| format!("has a task with {mark}")).collect()),
        Filter::TaskAntiAffinity => {
            list(requirements.refuses.iter().map(|mark| format!("has no task with {mark}")).collect())
        }
        Filter::Colocation | Filter::Volume => {
            let of_filter = |home: &&Home| home.is_of_volume() == (filter == Filter::Volume);
            let told = |home: &Home| match &home.node {
                Some(_) => format!("{} is here", home.keeper),
                None => format!("{} is nowhere yet", home.keeper),
            };
            list(requirements.homes.iter().filter(of_filter).map(told).collect())
        }
    }
}

fn bytes_text(what: &str, needed: u64, free: u64) -> String {
    format!("{what}: needs {}, {} free", HumanBytes(needed), HumanBytes(free))
}

/// Whether the node can take one task.
#[must_use]
pub fn fits(requirements: &Requirements, node: &NodeView) -> bool {
    Filter::ALL.iter().all(|filter| filter.check(requirements, node))
}

/// Every reason why the node can't take one task; empty when it can.
#[must_use]
pub fn misfits(requirements: &Requirements, node: &NodeView) -> Vec<Misfit> {
    let mut failed = Vec::new();
    for filter in Filter::ALL {
        filter.explain(requirements, node, &mut failed);
    }
    failed
}

#[cfg(test)]
mod tests;
