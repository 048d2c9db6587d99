//! The filters: whether one node can take one task, and if not, every reason why.
//!
//! [`fits`] stops at the first failure and makes nothing; [`misfits`] tells all failures. They agree always:
//! `fits(r, n) == misfits(r, n).is_empty()`.

use std::fmt;

use super::{HostPort, Mark, NodeView, Platform, Requirements, RuntimeKind};
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
}

impl Filter {
    /// Every filter, in order.
    pub const ALL: [Self; 13] = [
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
    ];

    /// Those whose answer changes when tasks are placed on the node. The others need to be asked only once per group.
    pub const DYNAMIC: [Self; 8] = [
        Self::Cpu,
        Self::Memory,
        Self::Disk,
        Self::HostPort,
        Self::DynamicPort,
        Self::MaxPerNode,
        Self::TaskAffinity,
        Self::TaskAntiAffinity,
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
    Constraint {
        /// Which.
        constraint: Constraint,
        /// What the node has instead; `None` for an absent label.
        actual: Option<String>,
    },
    /// It is another kind of machine.
    Platform {
        /// What the task needs.
        needed: Platform,
        /// What it is.
        actual: Platform,
    },
    /// Another task has this port.
    HostPortTaken(HostPort),
    /// Too few ports are left in its range.
    DynamicPorts {
        /// How many the task needs.
        needed: u32,
        /// How many are left.
        free: u32,
    },
    /// It holds as many tasks of the kind as it may.
    TooManyOfAKind {
        /// Which tasks count.
        mark: Mark,
        /// How many it may hold.
        max: u32,
        /// How many it holds.
        held: u32,
    },
    /// It holds no task with this mark.
    TaskMissing(Mark),
    /// It holds a task with this mark, which the task refuses.
    TaskRefused(Mark),
    /// It holds a task that refuses tasks with this mark.
    RefusedByTask(Mark),
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
            Self::Constraint { .. } => Filter::Constraint,
            Self::Platform { .. } => Filter::Platform,
            Self::HostPortTaken(_) => Filter::HostPort,
            Self::DynamicPorts { .. } => Filter::DynamicPort,
            Self::TooManyOfAKind { .. } => Filter::MaxPerNode,
            Self::TaskMissing(_) => Filter::TaskAffinity,
            Self::TaskRefused(_) | Self::RefusedByTask(_) => Filter::TaskAntiAffinity,
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
            Self::Constraint { constraint, actual: Some(actual) } => write!(f, "constraint {constraint}: is {actual}"),
            Self::Constraint { constraint, actual: None } => write!(f, "constraint {constraint}: has no such label"),
            Self::Platform { needed, actual } => write!(f, "platform: needs {needed}, node is {actual}"),
            Self::HostPortTaken((protocol, port)) => write!(f, "host port {port}/{protocol} is taken"),
            Self::DynamicPorts { needed, free } => write!(f, "dynamic ports: needs {needed}, {free} free"),
            Self::TooManyOfAKind { mark, max: 1, .. } => write!(f, "distinct hosts: has a task with {mark} already"),
            Self::TooManyOfAKind { mark, max, held } => {
                write!(f, "max per node: has {held} tasks with {mark}, at most {max}")
            }
            Self::TaskMissing(mark) => write!(f, "task affinity: has no task with {mark}"),
            Self::TaskRefused(mark) => write!(f, "task anti-affinity: has a task with {mark}"),
            Self::RefusedByTask(mark) => write!(f, "task anti-affinity: has a task that refuses {mark}"),
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
            format!("max per node: has {} tasks with {}, at most {}", node.count_of(&one.mark), one.mark, one.max)
        }),
        Filter::TaskAffinity => list(requirements.needs.iter().map(|mark| format!("has a task with {mark}")).collect()),
        Filter::TaskAntiAffinity => {
            list(requirements.refuses.iter().map(|mark| format!("has no task with {mark}")).collect())
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
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::placement::test_support::{any_node, any_requirements, node, requirements};
    use crate::placement::{MaxPerNode, PortRange};
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
        demanding.platform = "linux/arm64".parse().unwrap();
        demanding.dynamic_ports = 2;
        demanding.max_per_node = Some(MaxPerNode { mark: Mark::of_name("web"), max: 1 });
        demanding.needs = vec!["app == cache".parse().unwrap()];
        demanding.refuses = vec!["app == db".parse().unwrap()];
        demanding.marks = vec!["app == web".parse().unwrap()];
        let mut bad = node(1);
        bad.port_range = PortRange::new(20_000, 20_000).ok();
        bad.marks = BTreeMap::from([(Mark::of_name("web"), 1), ("app == db".parse().unwrap(), 2)]);
        bad.refused = BTreeMap::from([("app == web".parse().unwrap(), 1)]);
        bad.state = NodeState::Down;
        bad.labels.insert("disk".to_owned(), "hdd".to_owned());
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
                "platform: needs linux/aarch64, node is linux/x86_64",
                "constraint node.labels.disk == ssd: is hdd",
                "constraint node.labels.zone in (a, b): has no such label",
                "host port 8080/tcp is taken",
                "host port 53/udp is taken",
                "dynamic ports: needs 2, 1 free",
                "distinct hosts: has a task with task.name == web already",
                "task affinity: has no task with app == cache",
                "task anti-affinity: has a task with app == db",
                "task anti-affinity: has a task that refuses app == web",
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
        fn verdicts_say_what_misfits_say(requirements in any_requirements(), node in any_node(1)) {
            let verdicts = verdicts(&requirements, &node);
            prop_assert_eq!(verdicts.iter().all(|one| one.passes), fits(&requirements, &node));
            for filter in Filter::ALL {
                let told = verdicts.iter().find(|one| one.filter == filter);
                prop_assert_eq!(told.is_none_or(|one| one.passes), filter.check(&requirements, &node));
            }
        }

        #[test]
        fn what_is_released_is_as_it_was(requirements in any_requirements(), node in any_node(1)) {
            if fits(&requirements, &node) {
                let mut after = node.clone();
                after.reserve(&requirements);
                after.release(&requirements);
                prop_assert_eq!(after, node);
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
                prop_assert!(after.free_dynamic_ports() <= node.free_dynamic_ports());
                for mark in &requirements.refuses {
                    prop_assert!(!requirements.marks.contains(mark) || !fits(&requirements, &after));
                }
                prop_assert_eq!(after.host_ports.len(), node.host_ports.len() + requirements.host_ports.len());
            }
        }
    }
}
