//! The filters: whether one node can take one task, and if not, every reason why.
//!
//! [`fits`] stops at the first failure and makes nothing; [`misfits`] tells all failures. They agree always:
//! `fits(r, n) == misfits(r, n).is_empty()`.

use std::fmt;

use super::{HostPort, NodeView, Requirements, RuntimeKind};
use crate::constraint::Constraint;
use crate::node::NodeState;
use crate::resources::{HumanBytes, HumanCpus};

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
    /// The node satisfies every constraint.
    Constraint,
    /// The fixed host ports are free on the node.
    HostPort,
}

impl Filter {
    /// Every filter, in order.
    pub const ALL: [Self; 8] = [
        Self::Ready,
        Self::Cordoned,
        Self::Runtime,
        Self::Cpu,
        Self::Memory,
        Self::Disk,
        Self::Constraint,
        Self::HostPort,
    ];

    /// Those whose answer changes when tasks are placed on the node. The others need to be asked only once per group.
    pub const DYNAMIC: [Self; 4] = [Self::Cpu, Self::Memory, Self::Disk, Self::HostPort];

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
            Self::Constraint => "constraint",
            Self::HostPort => "host_port",
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
            Self::HostPort => !requirements.host_ports.iter().any(|port| node.host_ports.contains(port)),
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
                failed.extend(broken.cloned().map(Misfit::Constraint));
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

/// Why a node can't take a task, and by how much.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Misfit {
    /// Its worker is not in touch.
    NotReady {
        /// SUSPECT or DOWN.
        state: NodeState,
    },
    /// It takes no new tasks.
    Cordoned,
    /// It can't run this kind of task.
    RuntimeMissing {
        /// What it would need.
        runtime: RuntimeKind,
    },
    /// Too little unreserved cpu.
    Cpu {
        /// What the task needs, in thousandths of a core.
        needed_millis: u64,
        /// What is left of the node.
        free_millis: u64,
    },
    /// Too little unreserved memory.
    Memory {
        /// What the task needs.
        needed_bytes: u64,
        /// What is left of the node.
        free_bytes: u64,
    },
    /// Too little unreserved disk.
    Disk {
        /// What the task needs.
        needed_bytes: u64,
        /// What is left of the node.
        free_bytes: u64,
    },
    /// It does not satisfy this constraint.
    Constraint(Constraint),
    /// Another task has this port.
    HostPortTaken(HostPort),
}

impl Misfit {
    /// Which filter says so.
    #[must_use]
    pub fn filter(&self) -> Filter {
        match self {
            Self::NotReady { .. } => Filter::Ready,
            Self::Cordoned => Filter::Cordoned,
            Self::RuntimeMissing { .. } => Filter::Runtime,
            Self::Cpu { .. } => Filter::Cpu,
            Self::Memory { .. } => Filter::Memory,
            Self::Disk { .. } => Filter::Disk,
            Self::Constraint(_) => Filter::Constraint,
            Self::HostPortTaken(_) => Filter::HostPort,
        }
    }
}

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotReady { state } => write!(f, "node is {state}"),
            Self::Cordoned => f.write_str("cordoned"),
            Self::RuntimeMissing { runtime } => write!(f, "runtime {runtime} is missing"),
            Self::Cpu { needed_millis, free_millis } => {
                write!(f, "cpu: needs {}, {} free", HumanCpus(*needed_millis), HumanCpus(*free_millis))
            }
            Self::Memory { needed_bytes, free_bytes } => write_bytes(f, "memory", *needed_bytes, *free_bytes),
            Self::Disk { needed_bytes, free_bytes } => write_bytes(f, "disk", *needed_bytes, *free_bytes),
            Self::Constraint(constraint) => write!(f, "constraint {constraint}"),
            Self::HostPortTaken((protocol, port)) => write!(f, "host port {port}/{protocol} is taken"),
        }
    }
}

/// Rounded amounts, or exact ones where rounding would hide the difference (`needs 2.0 GiB, 2.0 GiB free`).
fn write_bytes(f: &mut fmt::Formatter<'_>, what: &str, needed: u64, free: u64) -> fmt::Result {
    let (needed_text, free_text) = (HumanBytes(needed).to_string(), HumanBytes(free).to_string());
    if needed_text == free_text {
        write!(f, "{what}: needs {needed} bytes, {free} bytes free")
    } else {
        write!(f, "{what}: needs {needed_text}, {free_text} free")
    }
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
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::placement::test_support::{any_node, any_requirements, node, requirements};
    use crate::resources::Resources;
    use crate::spec::PortProtocol;

    fn texts(requirements: &Requirements, node: &NodeView) -> Vec<String> {
        misfits(requirements, node).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn an_empty_ready_node_takes_a_task() {
        assert!(fits(&requirements(), &node(1)));
        assert_eq!(misfits(&requirements(), &node(1)), []);
    }

    #[test]
    fn every_failed_filter_is_told_with_its_amounts() {
        let mut demanding = requirements();
        demanding.reservation = Resources { cpu_millis: 9500, memory_bytes: 20 << 30, disk_bytes: 200 << 30 };
        demanding.constraints = vec!["disk == ssd".parse().unwrap(), "zone in (a, b)".parse().unwrap()];
        demanding.host_ports = vec![(PortProtocol::Tcp, 8080), (PortProtocol::Udp, 53)];
        let mut bad = node(1);
        bad.state = NodeState::Down;
        bad.cordoned = true;
        bad.runtimes.clear();
        bad.reserved.cpu_millis = 500;
        bad.host_ports.extend(demanding.host_ports.iter().copied());

        assert_eq!(
            texts(&demanding, &bad),
            [
                "node is DOWN",
                "cordoned",
                "runtime docker is missing",
                "cpu: needs 9.5, 7.5 free",
                "memory: needs 20.0 GiB, 16.0 GiB free",
                "disk: needs 200.0 GiB, 100.0 GiB free",
                "constraint node.labels.disk == ssd",
                "constraint node.labels.zone in (a, b)",
                "host port 8080/tcp is taken",
                "host port 53/udp is taken",
            ]
        );
        let filters: Vec<_> = misfits(&demanding, &bad).iter().map(Misfit::filter).collect();
        assert!(Filter::ALL.iter().all(|filter| filters.contains(filter)), "{filters:?}");
    }

    #[test]
    fn a_lack_that_rounding_hides_is_told_exactly() {
        let mut demanding = requirements();
        demanding.reservation.memory_bytes = (16 << 30) + 1;
        assert_eq!(texts(&demanding, &node(1)), ["memory: needs 17179869185 bytes, 17179869184 bytes free"]);
    }

    #[test]
    fn a_suspect_node_takes_no_task() {
        let mut suspect = node(1);
        suspect.state = NodeState::Suspect;
        assert!(!fits(&requirements(), &suspect));
    }

    #[test]
    fn the_same_port_of_another_protocol_is_free() {
        let mut wants_port = requirements();
        wants_port.host_ports = vec![(PortProtocol::Tcp, 53)];
        let mut has_other = node(1);
        has_other.host_ports.insert((PortProtocol::Udp, 53));
        assert!(fits(&wants_port, &has_other));
    }

    #[test]
    fn a_node_that_is_reserved_beyond_its_size_still_takes_what_needs_nothing() {
        let mut shrunk = node(1);
        shrunk.reserved = Resources { cpu_millis: u64::MAX, memory_bytes: u64::MAX, disk_bytes: u64::MAX };
        let mut nothing = requirements();
        nothing.reservation = Resources::ZERO;
        assert!(fits(&nothing, &shrunk));
        assert!(!fits(&requirements(), &shrunk));
    }

    proptest! {
        #[test]
        fn fits_means_no_misfits(requirements in any_requirements(), node in any_node(1)) {
            prop_assert_eq!(fits(&requirements, &node), misfits(&requirements, &node).is_empty());
        }

        #[test]
        fn what_is_told_is_what_failed(requirements in any_requirements(), node in any_node(1)) {
            let told = misfits(&requirements, &node);
            for filter in Filter::ALL {
                let failed = !filter.check(&requirements, &node);
                prop_assert_eq!(failed, told.iter().any(|misfit| misfit.filter() == filter), "{}", filter);
            }
        }

        #[test]
        fn reserving_changes_only_dynamic_filters(requirements in any_requirements(), node in any_node(1)) {
            let mut after = node.clone();
            after.reserve(&requirements);
            for filter in Filter::ALL.iter().filter(|filter| !Filter::DYNAMIC.contains(filter)) {
                prop_assert_eq!(filter.check(&requirements, &node), filter.check(&requirements, &after));
            }
        }

        #[test]
        fn a_node_that_fits_is_not_over_committed_by_one_more(
            requirements in any_requirements(),
            node in any_node(1),
        ) {
            if fits(&requirements, &node) {
                let mut after = node.clone();
                after.reserve(&requirements);
                let was_within = node.reserved.fits_in(node.allocatable);
                prop_assert!(!was_within || after.reserved.fits_in(after.allocatable));
                prop_assert_eq!(after.host_ports.len(), node.host_ports.len() + requirements.host_ports.len());
            }
        }
    }
}
