//! What a user wants run. A spec is the user's own and is never altered after it was accepted.

mod container;
mod image;
mod name;
mod process;

use std::collections::BTreeMap;
use std::time::Duration;

pub use self::container::{
    Capability, ContainerSpec, Mount, MountSource, Port, PortProtocol, PullPolicy, Tmpfs, Ulimit,
};
pub use self::image::{ImageReference, ParseImageError};
pub use self::name::{
    MAX_LABEL_VALUE_BYTES, MAX_NAME_BYTES, ParseNameError, check_env_key, check_label_key, check_label_value,
    check_name,
};
pub use self::process::ProcessSpec;
use crate::constraint::Constraint;
use crate::placement::{Requirements, RuntimeKind};
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
    /// What follows the end of an attempt.
    pub restart: RestartPolicy,
    /// How an attempt is stopped.
    pub stop: StopPolicy,
    /// What the manager does when the node goes down.
    pub on_node_loss: OnNodeLoss,
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
            restart: RestartPolicy::default(),
            stop: StopPolicy::default(),
            on_node_loss: OnNodeLoss::default(),
        }
    }

    /// What the scheduler needs to know of this spec. Tasks with equal requirements form one placement group.
    #[must_use]
    pub fn requirements(&self) -> Requirements {
        let mut host_ports: Vec<_> = match &self.runtime {
            RuntimeSpec::Container(container) => {
                container.ports.iter().filter_map(|port| port.host_port.map(|number| (port.protocol, number))).collect()
            }
            RuntimeSpec::Process(_) => Vec::new(),
        };
        host_ports.sort_unstable();
        let mut constraints = self.constraints.clone();
        constraints.sort();
        constraints.dedup();
        Requirements { runtime: self.runtime.kind(), reservation: self.resources.reservation, constraints, host_ports }
    }
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
}
