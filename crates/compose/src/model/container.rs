//! What a service's containers are given.

use std::time::Duration;

/// When the image is pulled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PullPolicy {
    /// `always`
    Always,
    /// `missing`, `if_not_present`
    Missing,
    /// `never`
    Never,
}

/// A published port. Ranges are written out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Port {
    /// The container's port.
    pub target: u16,
    /// The node's port; any free one without it.
    pub published: Option<u16>,
    /// tcp or udp.
    pub protocol: Protocol,
}

/// tcp or udp.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Protocol {
    /// `tcp`
    #[default]
    Tcp,
    /// `udp`
    Udp,
}

/// Something mounted into the container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// What.
    pub source: MountSource,
    /// Its absolute path in the container.
    pub target: String,
    /// Whether writing is refused.
    pub read_only: bool,
}

/// What is mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MountSource {
    /// An absolute path on the node.
    Bind(String),
    /// A volume of the project, by its key.
    Volume(String),
}

/// A memory file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tmpfs {
    /// Its absolute path in the container.
    pub target: String,
    /// Its size; the kernel's default without it.
    pub size_bytes: Option<u64>,
}

/// A limit of the kernel's. `None` is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ulimit {
    /// What holds at first.
    pub soft: Option<u64>,
    /// How far the process may raise it.
    pub hard: Option<u64>,
}

/// How much of a container's output its node keeps. `None` is as the node has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Logging {
    /// A new file is begun at this size.
    pub max_file_bytes: Option<u64>,
    /// So many files are kept.
    pub max_files: Option<u32>,
}

/// A config or a secret as a file in the container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileGrant {
    /// The key of the config or secret in the project.
    pub source: String,
    /// The file's absolute path in the container.
    pub target: String,
    /// Its owner.
    pub uid: Option<u32>,
    /// Its group.
    pub gid: Option<u32>,
    /// Its mode.
    pub mode: Option<u32>,
}

/// Whether and how health is checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HealthCheck {
    /// The image's check is switched off.
    Disabled,
    /// It is checked.
    Enabled {
        /// What is run in the container; what the image says without it.
        test: Option<HealthTest>,
        /// The time between two checks.
        interval: Option<Duration>,
        /// A check that takes longer has failed.
        timeout: Option<Duration>,
        /// So many failures in a row mean ill.
        retries: Option<u32>,
        /// Failures in this time don't count.
        start_period: Option<Duration>,
        /// The time between two checks during `start_period`.
        start_interval: Option<Duration>,
    },
}

/// What a health check runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HealthTest {
    /// A program and its arguments.
    Command(Vec<String>),
    /// A line for the container's shell.
    Shell(String),
}
