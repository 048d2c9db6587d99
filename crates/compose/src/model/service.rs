//! A service: tasks of one shape.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use davit_core::spec::{ExtraHost, ImageReference};

use super::{
    DavitOptions, Deploy, FileGrant, HealthCheck, Logging, Mount, Port, PullPolicy, RestartPolicy, Tmpfs, Ulimit,
};
use crate::error::Position;

/// One service of a project.
#[derive(Debug, Clone, PartialEq)]
pub struct Service {
    /// Its name.
    pub name: String,
    /// Where it is declared.
    pub position: Position,
    /// Where its keys are written.
    pub positions: KeyPositions,
    /// What its tasks are made of.
    pub image: ImageReference,
    /// When the image is pulled.
    pub pull_policy: Option<PullPolicy>,
    /// The platform the node must be of, such as `linux/arm64`: the operating system, and the architecture if it says.
    pub platform: Option<String>,
    /// Replaces the image's entrypoint; an empty one takes it away.
    pub entrypoint: Option<Vec<String>>,
    /// Replaces the image's command; an empty one takes it away.
    pub command: Option<Vec<String>>,
    /// Variables of the container, those of `env_file` included.
    pub environment: BTreeMap<String, String>,
    /// Replaces the image's working directory.
    pub working_dir: Option<String>,
    /// Whom the container runs as.
    pub user: Option<String>,
    /// Whether the container's own file system is read-only.
    pub read_only: bool,
    /// Capabilities beside the default ones, without `CAP_`.
    pub cap_add: BTreeSet<String>,
    /// Capabilities taken away, without `CAP_`.
    pub cap_drop: BTreeSet<String>,
    /// The kernel's limits, by name.
    pub ulimits: BTreeMap<String, Ulimit>,
    /// Groups that the user is in besides, by name or number.
    pub group_add: BTreeSet<String>,
    /// Whether its processes gain no privileges.
    pub no_new_privileges: bool,
    /// Whether the engine's own init is the first process.
    pub init: bool,
    /// Whether there is a terminal.
    pub tty: bool,
    /// Whether standard input stays open.
    pub stdin_open: bool,
    /// What the container calls itself.
    pub hostname: Option<String>,
    /// Names with addresses of their own.
    pub extra_hosts: BTreeSet<ExtraHost>,
    /// The size of `/dev/shm`; the engine's default without it.
    pub shm_size_bytes: Option<u64>,
    /// How much of the output is kept.
    pub logging: Logging,
    /// What is published.
    pub ports: Vec<Port>,
    /// Ports that are a remark: all are open in the app's network. As written, such as `3000` or `8000-8010/udp`.
    pub expose: BTreeSet<String>,
    /// Further names of the service in the app's network, `container_name` included.
    pub aliases: BTreeSet<String>,
    /// Volumes and paths of the node; one for each place in the container.
    pub mounts: Vec<Mount>,
    /// Memory file systems.
    pub tmpfs: Vec<Tmpfs>,
    /// Configs of the project, as files.
    pub configs: Vec<FileGrant>,
    /// Secrets of the project, as files.
    pub secrets: Vec<FileGrant>,
    /// When a task is ready, and when it is ill.
    pub health_check: Option<HealthCheck>,
    /// The signal that ends a task in good order.
    pub stop_signal: Option<String>,
    /// The time between that signal and the kill.
    pub stop_grace_period: Option<Duration>,
    /// Labels of the tasks.
    pub labels: BTreeMap<String, String>,
    /// The profiles that have it; empty for one that is always there.
    pub profiles: BTreeSet<String>,
    /// What must come before it, by service; those that are not there and need not be are left out.
    pub depends_on: BTreeMap<String, Dependency>,
    /// What follows the end of a task.
    pub restart: Option<RestartPolicy>,
    /// How many tasks, where, with what, and how they are updated.
    pub deploy: Deploy,
    /// What Compose has no words for.
    pub davit: DavitOptions,
}

/// Where keys are written: those of a service, and those of its mappings as `deploy.mode`.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct KeyPositions(pub BTreeMap<String, Position>);

impl fmt::Debug for KeyPositions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "those of {} keys", self.0.len())
    }
}

/// How one service depends on another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dependency {
    /// How far the other must have come.
    pub condition: Condition,
    /// Whether the other must be there.
    pub required: bool,
}

/// How far a service must have come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Condition {
    /// `service_started`
    #[default]
    Started,
    /// `service_healthy`
    Healthy,
    /// `service_completed_successfully`
    CompletedSuccessfully,
}
