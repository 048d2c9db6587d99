//! Why one node can't take one task, in the words that users read.

use std::fmt;

use super::{Filter, Home, HostPort, Keeper, Mark, Platform, RuntimeKind};
use crate::constraint::Constraint;
use crate::node::NodeState;
use crate::resources::{HumanBytes, HumanCpus, Resources};
use crate::words::counted;

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
    /// Something keeps the task on another node.
    KeptElsewhere(Home),
    /// The first of a group goes where all of it fits, and that is not here.
    GroupTooLarge {
        /// Which group.
        group: Keeper,
        /// What all of it need.
        needed: Resources,
        /// What is left of the node.
        free: Resources,
    },
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
            Self::KeptElsewhere(home) if home.is_of_volume() => Filter::Volume,
            Self::KeptElsewhere(_) | Self::GroupTooLarge { .. } => Filter::Colocation,
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
                let held = counted((*held).into(), "task", "tasks");
                write!(f, "max per node: has {held} with {mark}, at most {max}")
            }
            Self::TaskMissing(mark) => write!(f, "task affinity: has no task with {mark}"),
            Self::TaskRefused(mark) => write!(f, "task anti-affinity: has a task with {mark}"),
            Self::RefusedByTask(mark) => write!(f, "task anti-affinity: has a task that refuses {mark}"),
            Self::KeptElsewhere(Home { keeper, node: Some(node) }) => write!(f, "{keeper} is on {}", node.name),
            Self::KeptElsewhere(Home { keeper, node: None }) => write!(f, "{keeper} is elsewhere"),
            Self::GroupTooLarge { group, needed, free } => {
                let amounts = |of: &Resources| {
                    let (cpu, memory, disk) =
                        (HumanCpus(of.cpu_millis), HumanBytes(of.memory_bytes), HumanBytes(of.disk_bytes));
                    format!("{cpu} cpu, {memory} memory, {disk} disk")
                };
                write!(f, "all of {group} need {}, {} free", amounts(needed), amounts(free))
            }
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
