//! What a user wants run. A spec is the user's own and is never altered after it was accepted.

mod container;
mod health;
mod host;
mod image;
mod name;
mod placement;
mod process;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

pub use self::container::{
    Capability, ContainerNetwork, ContainerSpec, LogBounds, Mount, MountSource, Port, PortProtocol, PullPolicy, Tmpfs,
    Ulimit,
};
pub use self::health::{HealthCheck, Probe};
pub use self::host::{ExtraHost, HostAddress, MAX_HOSTNAME_BYTES, ParseHostError, check_host_name, check_hostname};
pub use self::image::{ImageReference, ParseImageError};
pub use self::name::{
    MAX_LABEL_VALUE_BYTES, MAX_NAME_BYTES, ParseNameError, check_app_name, check_env_key, check_label_key,
    check_label_value, check_name,
};
pub use self::placement::{Colocation, PRIORITIES, PlacementPolicy};
pub use self::process::ProcessSpec;
use crate::constraint::Constraint;
use crate::file::FileGrant;
use crate::placement::{Mark, MaxPerNode, Requirements, RuntimeKind};
use crate::resources::ResourceRequirements;
use crate::restart::RestartPolicy;

/// The least memory limit that the Docker engine accepts: 6 MiB.
pub const MIN_MEMORY_LIMIT_BYTES: u64 = 6 * 1024 * 1024;

/// How long a task may take to stop before it is killed, unless its spec says otherwise. As `docker stop`.
pub const DEFAULT_STOP_GRACE: Duration = Duration::from_secs(10);

/// One container or process that a user wants run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskSpec {
    /// A name for people. Not unique: tasks of one shape share it.
    pub name: String,
    /// Free key-value pairs for selecting tasks.
    pub labels: BTreeMap<String, String>,
    /// What is run.
    pub runtime: RuntimeSpec,
    /// What is set aside and what is enforced.
    pub resources: ResourceRequirements,
    /// What the node must be.
    pub constraints: Vec<Constraint>,
    /// What else decides on the node.
    pub placement: PlacementPolicy,
    /// What follows the end of an attempt.
    pub restart: RestartPolicy,
    /// How an attempt is stopped.
    pub stop: StopPolicy,
    /// What the manager does when the node goes down.
    pub on_node_loss: OnNodeLoss,
    /// How its node finds out whether it serves; `None`: it does from its start on. Boxed, as most tasks have none.
    pub health_check: Option<Box<HealthCheck>>,
}

impl TaskSpec {
    /// A task with nothing but a name and what it runs; everything else at its default.
    #[must_use]
    pub fn new(name: impl Into<String>, runtime: RuntimeSpec) -> Self {
        Self {
            name: name.into(),
            labels: BTreeMap::new(),
            runtime,
            resources: ResourceRequirements::default(),
            constraints: Vec::new(),
            placement: PlacementPolicy::default(),
            restart: RestartPolicy::default(),
            stop: StopPolicy::default(),
            on_node_loss: OnNodeLoss::default(),
            health_check: None,
        }
    }

    /// The configs and secrets that it is given as files.
    #[must_use]
    pub fn files(&self) -> &[FileGrant] {
        match &self.runtime {
            RuntimeSpec::Container(container) => &container.files,
            RuntimeSpec::Process(_) => &[],
        }
    }

    /// Whether a task of the other spec has to give way to one of this: what differs can't be changed while it runs. Labels,
    /// constraints, preferences, restarts, stops and what follows the loss of a node can.
    #[must_use]
    pub fn must_replace(&self, other: &Self) -> bool {
        let is_leased = |spec: &Self| spec.on_node_loss == OnNodeLoss::StopAndReplace;
        self.name != other.name
            || self.runtime != other.runtime
            || self.resources != other.resources
            || self.health_check != other.health_check
            || self.placement.platform != other.placement.platform
            || is_leased(self) != is_leased(other)
    }

    /// What the node must have for this spec. All that the task carries is in `marks`; the manager leaves those that no
    /// task's placement refers to.
    #[must_use]
    pub fn requirements(&self) -> Requirements {
        Requirements { marks: sorted(self.marks()), ..self.requirements_without_marks() }
    }

    /// As [`Self::requirements`], with no marks: all that there is to it where no task's placement refers to any.
    #[must_use]
    pub fn requirements_without_marks(&self) -> Requirements {
        let mut requirements = Requirements::of_runtime(self.runtime.kind());
        if let RuntimeSpec::Container(container) = &self.runtime {
            requirements.host_ports = sorted(self.fixed_host_ports());
            let dynamic = container.ports.iter().filter(|port| port.host_port.is_none()).count();
            requirements.dynamic_ports = u32::try_from(dynamic).unwrap_or(u32::MAX);
        }
        let policy = &self.placement;
        requirements.reservation = self.resources.reservation;
        requirements.platform = policy.platform.clone();
        requirements.constraints = sorted(self.constraints.iter().cloned());
        requirements.max_per_node = policy.max_per_node.map(|max| MaxPerNode { mark: Mark::of_name(&self.name), max });
        requirements.needs = sorted(policy.task_affinities.iter().cloned());
        requirements.refuses = sorted(policy.task_anti_affinities.iter().cloned());
        requirements
    }

    /// What can be said of tasks of this spec: their name and their labels.
    pub fn marks(&self) -> impl Iterator<Item = Mark> {
        let labels = self.labels.iter().map(|(key, value)| Mark::of_label(key, value));
        let group = self.placement.colocation.as_ref().map(|one| Mark::of_group(&one.group));
        std::iter::once(Mark::of_name(&self.name)).chain(labels).chain(group)
    }

    /// The named volumes that it mounts, and those of its group.
    pub fn volumes(&self) -> impl Iterator<Item = &str> {
        let mounts = match &self.runtime {
            RuntimeSpec::Container(container) => container.mounts.as_slice(),
            RuntimeSpec::Process(_) => &[],
        };
        let own = mounts.iter().filter_map(|mount| match &mount.source {
            MountSource::Volume(name) => Some(name.as_str()),
            MountSource::Bind(_) => None,
        });
        let of_group = self.placement.colocation.iter().flat_map(|one| one.volumes.iter().map(String::as_str));
        own.chain(of_group)
    }

    /// The ports of the node that it has to have.
    pub fn fixed_host_ports(&self) -> impl Iterator<Item = (PortProtocol, u16)> {
        let ports = match &self.runtime {
            RuntimeSpec::Container(container) => container.ports.as_slice(),
            RuntimeSpec::Process(_) => &[],
        };
        ports.iter().filter_map(|port| Some((port.protocol, port.host_port?)))
    }

    /// Whether a mark is one of [`Self::marks`]. Makes none of them.
    #[must_use]
    pub fn carries(&self, mark: &Mark) -> bool {
        let group = self.placement.colocation.as_ref();
        mark.is_of_name(&self.name)
            || group.is_some_and(|one| mark.is_of_group(&one.group))
            || self.labels.get(mark.key()).is_some_and(|value| value == mark.value())
    }

    /// Marks that this spec's placement looks at on nodes.
    pub fn mentioned_marks(&self) -> impl Iterator<Item = Mark> {
        let own = self.placement.max_per_node.is_some() || !self.placement.spread.is_empty();
        let others = self.placement.task_affinities.iter().chain(&self.placement.task_anti_affinities);
        own.then(|| Mark::of_name(&self.name)).into_iter().chain(others.cloned())
    }
}

fn sorted<T: Ord>(items: impl IntoIterator<Item = T>) -> Vec<T> {
    let mut items: Vec<_> = items.into_iter().collect();
    items.sort_unstable();
    items.dedup();
    items
}

/// What is run: a container or a process.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "a spec lives behind one Arc, and most are containers")]
pub enum RuntimeSpec {
    /// A Docker container.
    Container(ContainerSpec),
    /// A plain process on the node. Only where the worker allows it.
    Process(ProcessSpec),
}

impl RuntimeSpec {
    /// Which runtime the node must have.
    #[must_use]
    pub fn kind(&self) -> RuntimeKind {
        match self {
            Self::Container(_) => RuntimeKind::Docker,
            Self::Process(_) => RuntimeKind::Process,
        }
    }
}

/// How an attempt is stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StopPolicy {
    /// The signal's name, such as `SIGTERM`. Empty: what the image says, else `SIGTERM`.
    pub signal: String,
    /// Time between the signal and the kill.
    pub grace: Duration,
}

impl Default for StopPolicy {
    fn default() -> Self {
        Self { signal: String::new(), grace: DEFAULT_STOP_GRACE }
    }
}

/// The stop signals that are accepted.
pub const STOP_SIGNALS: [&str; 8] =
    ["SIGTERM", "SIGINT", "SIGQUIT", "SIGHUP", "SIGKILL", "SIGUSR1", "SIGUSR2", "SIGWINCH"];

/// What the manager does with a task whose node went down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnNodeLoss {
    /// The attempt is LOST at once and a new one is placed elsewhere.
    #[default]
    Replace,
    /// The same, but only after the node stayed down for this long.
    Wait(Duration),
    /// At most one attempt runs at any time: the node stops it when its lease has ended, and the manager waits until that
    /// must have happened before it places the next.
    StopAndReplace,
}
