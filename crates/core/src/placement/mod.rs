//! What manager and scheduler tell each other about nodes and tasks, and the filters that both apply: the scheduler
//! over all nodes, the manager again over the one that was picked, so that a stale scheduler can never over-commit it.

mod cause;
mod filter;
mod home;
mod mark;
mod misfit;
mod ports;
mod preference;
mod summary;
#[cfg(any(test, feature = "test-support"))]
pub mod test_support;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

pub use self::cause::cause_of;
pub use self::filter::{Filter, FilterVerdict, fits, misfits, verdicts};
pub use self::home::{Home, HomeNode, Keeper};
pub use self::mark::{Mark, ParseMarkError};
pub use self::misfit::Misfit;
pub use self::ports::{PortRange, PortRangeError};
pub use self::preference::{
    Affinity, MAX_RECENT_FAILURES, MAX_WEIGHT, PlacementRequest, Preferences, RecentFailures, SpreadOver,
};
pub use self::summary::Summary;
use crate::constraint::{Constraint, NodeAttributes};
use crate::id::{NodeId, TaskId};
use crate::labels::NodeLabels;
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

/// An operating system and a processor architecture that a task's node must have.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Platform {
    /// Such as `linux`; empty for any.
    pub os: String,
    /// Such as `x86_64`; empty for any. The names of images (`amd64`, `arm64`) are turned into those of machines.
    pub arch: String,
}

impl Platform {
    /// Any node will do.
    #[must_use]
    pub fn is_any(&self) -> bool {
        self.os.is_empty() && self.arch.is_empty()
    }

    fn is_that_of(&self, node: &NodeView) -> bool {
        (self.os.is_empty() || self.os == node.os) && (self.arch.is_empty() || self.arch == machine_arch(&node.arch))
    }
}

/// `linux`, `linux/amd64` or `/amd64`
impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.os)?;
        if self.arch.is_empty() { Ok(()) } else { write!(f, "/{}", self.arch) }
    }
}

/// A text that is no platform.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a platform is written like linux/amd64, or only linux or amd64")]
pub struct ParsePlatformError;

impl std::str::FromStr for Platform {
    type Err = ParsePlatformError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        let text = text.to_ascii_lowercase();
        // A single word is an os, unless it is well known as something else, as with images.
        let (os, arch) = match text.split_once('/') {
            None if KNOWN_ARCHES.contains(&text.as_str()) => ("", text.as_str()),
            None => (text.as_str(), ""),
            // What is printed of a platform without an os.
            Some(("", arch)) if !arch.is_empty() => ("", arch),
            Some((os, arch)) if !os.is_empty() && !arch.is_empty() => (os, arch),
            Some(_) => return Err(ParsePlatformError),
        };
        let is_word = |word: &str| word.len() <= 32 && word.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        if !is_word(os) || !is_word(arch) {
            return Err(ParsePlatformError);
        }
        Ok(Self { os: os.to_owned(), arch: machine_arch(arch).to_owned() })
    }
}

/// Architectures that are recognised where an os could stand.
const KNOWN_ARCHES: [&str; 9] = ["amd64", "x86_64", "arm64", "aarch64", "arm", "riscv64", "ppc64le", "s390x", "i686"];

/// The machine's name (as `uname -m` says it) of an architecture that is called otherwise in images.
pub(crate) fn machine_arch(arch: &str) -> &str {
    match arch {
        "amd64" => "x86_64",
        "arm64" => "aarch64",
        other => other,
    }
}

/// How many tasks with a mark one node may hold.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MaxPerNode {
    /// Which tasks count; the task itself is one of them.
    pub mark: Mark,
    /// How many, at least 1. 1 means that every one gets a node of its own.
    pub max: u32,
}

/// All that placement must know of a task: what its node has to have. Equal requirements mean equal feasibility.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Requirements {
    /// Which runtime the node must have.
    pub runtime: RuntimeKind,
    /// What is set aside.
    pub reservation: Resources,
    /// What kind of machine it must be.
    pub platform: Platform,
    /// What the node must be; sorted, without repeats.
    pub constraints: Vec<Constraint>,
    /// Fixed host ports; sorted.
    pub host_ports: Vec<HostPort>,
    /// How many ports it is to be given out of the node's range.
    pub dynamic_ports: u32,
    /// How many of its kind one node may hold.
    pub max_per_node: Option<MaxPerNode>,
    /// For each of these the node must hold a task that carries it; sorted.
    pub needs: Vec<Mark>,
    /// The node must hold no task that carries one of these; and as long as this task is there, none will come; sorted.
    pub refuses: Vec<Mark>,
    /// What the task carries itself, as far as any task's placement refers to it; sorted.
    pub marks: Vec<Mark>,
    /// What keeps it on one node; sorted. Of a group that is nowhere yet only if nothing else decides.
    pub homes: Vec<Home>,
    /// What all of its group set aside: the first of them goes where that fits.
    pub group_reservation: Resources,
}

impl Requirements {
    /// A task that needs nothing but a runtime.
    #[must_use]
    pub fn of_runtime(runtime: RuntimeKind) -> Self {
        Self {
            runtime,
            reservation: Resources::ZERO,
            platform: Platform::default(),
            constraints: Vec::new(),
            host_ports: Vec::new(),
            dynamic_ports: 0,
            max_per_node: None,
            needs: Vec::new(),
            refuses: Vec::new(),
            marks: Vec::new(),
            homes: Vec::new(),
            group_reservation: Resources::ZERO,
        }
    }

    /// Marks that this task's placement looks at on nodes.
    pub fn mentioned_marks(&self) -> impl Iterator<Item = &Mark> {
        self.max_per_node.iter().map(|one| &one.mark).chain(&self.needs).chain(&self.refuses)
    }
}

/// A task on a node, as far as moving or stopping it for another one needs to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlacedTask {
    /// The task.
    pub task_id: TaskId,
    /// What its attempt holds on the node.
    pub requirements: Requirements,
    /// Only tasks of higher priority may take its place.
    pub priority: i32,
    /// How long it runs, in seconds: what would be lost with it.
    pub running_secs: u64,
    /// Whether it is being stopped: its room becomes free whatever is decided.
    pub is_ending: bool,
    /// By which algorithm it was placed. Told where it may be moved.
    pub algorithm: String,
    /// Nodes that it likes or dislikes. Told where it may be moved.
    pub affinities: Vec<Affinity>,
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
    pub labels: NodeLabels,
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
    /// Host ports that are taken, whether tasks asked for them or were given them.
    pub host_ports: BTreeSet<HostPort>,
    /// Out of which ports it gives.
    pub port_range: Option<PortRange>,
    /// Ports of the range that are promised to tasks and not yet chosen.
    pub promised_ports: u32,
    /// How many tasks it holds.
    pub task_count: u32,
    /// How many of its tasks carry each mark. Only marks that some task's placement refers to.
    pub marks: BTreeMap<Mark, u32>,
    /// How many of its tasks refuse each mark.
    pub refused: BTreeMap<Mark, u32>,
    /// What was last measured on it, if anything was.
    pub stats: Option<NodeStats>,
    /// Tasks that may be moved or stopped. Told only where that is asked for, and not all: those that matter least.
    pub tasks: Vec<PlacedTask>,
}

impl NodeView {
    /// What is left of the node.
    #[must_use]
    pub fn free(&self) -> Resources {
        self.allocatable.saturating_sub(self.reserved)
    }

    /// How many ports of its range it can still give. A number that is taken for one protocol is not given for another.
    #[must_use]
    pub fn free_dynamic_ports(&self) -> u32 {
        let Some(range) = self.port_range else { return 0 };
        let taken: BTreeSet<u16> =
            self.host_ports.iter().map(|(_, port)| *port).filter(|port| range.contains(*port)).collect();
        let taken = u32::try_from(taken.len()).unwrap_or(u32::MAX);
        range.size().saturating_sub(taken).saturating_sub(self.promised_ports)
    }

    /// How many of its tasks carry a mark.
    #[must_use]
    pub fn count_of(&self, mark: &Mark) -> u32 {
        self.marks.get(mark).copied().unwrap_or(0)
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
        self.promised_ports = self.promised_ports.saturating_add(requirements.dynamic_ports);
        self.task_count = self.task_count.saturating_add(1);
        for mark in &requirements.marks {
            count_up(&mut self.marks, mark);
        }
        for mark in &requirements.refuses {
            count_up(&mut self.refused, mark);
        }
    }

    /// Gives back what one task needed.
    pub fn release(&mut self, requirements: &Requirements) {
        self.reserved = self.reserved.saturating_sub(requirements.reservation);
        for port in &requirements.host_ports {
            self.host_ports.remove(port);
        }
        self.promised_ports = self.promised_ports.saturating_sub(requirements.dynamic_ports);
        self.task_count = self.task_count.saturating_sub(1);
        for mark in &requirements.marks {
            count_down(&mut self.marks, mark);
        }
        for mark in &requirements.refuses {
            count_down(&mut self.refused, mark);
        }
    }
}

/// Counts one more of a mark.
pub fn count_up(counts: &mut BTreeMap<Mark, u32>, mark: &Mark) {
    match counts.get_mut(mark) {
        Some(count) => *count = count.saturating_add(1),
        None => {
            counts.insert(mark.clone(), 1);
        }
    }
}

/// Counts one less of a mark; a mark that nothing carries is forgotten.
pub fn count_down(counts: &mut BTreeMap<Mark, u32>, mark: &Mark) {
    if let Some(count) = counts.get_mut(mark) {
        *count = count.saturating_sub(1);
        if *count == 0 {
            counts.remove(mark);
        }
    }
}

#[cfg(test)]
mod tests;
