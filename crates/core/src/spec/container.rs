//! A container.

use std::collections::BTreeMap;
use std::fmt;

use super::{ExtraHost, ImageReference};
use crate::file::FileGrant;

/// A Docker container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerSpec {
    /// What it is made of.
    pub image: ImageReference,
    /// Replaces the image's entrypoint unless empty.
    pub entrypoint: Vec<String>,
    /// Replaces the image's command unless empty.
    pub command: Vec<String>,
    /// Added to the image's environment.
    pub env: BTreeMap<String, String>,
    /// Replaces the image's working directory unless empty.
    pub working_dir: String,
    /// Replaces the image's user unless empty: `user`, `uid`, `user:group` or `uid:gid`.
    pub user: String,
    /// What is mounted where.
    pub mounts: Vec<Mount>,
    /// What is published.
    pub ports: Vec<Port>,
    /// Memory file systems.
    pub tmpfs: Vec<Tmpfs>,
    /// Kernel capabilities added to the engine's default set.
    pub cap_add: Vec<Capability>,
    /// Kernel capabilities taken from the engine's default set.
    pub cap_drop: Vec<Capability>,
    /// Whether the root file system is read-only.
    pub read_only: bool,
    /// Limits of the kernel's own.
    pub ulimits: Vec<Ulimit>,
    /// When the image is pulled.
    pub pull_policy: PullPolicy,
    /// Configs and secrets, as files.
    pub files: Vec<FileGrant>,
    /// The network that it shares with others on its node; `None` for the engine's default one.
    pub network: Option<ContainerNetwork>,
    /// Whether the engine's own small init is its first process.
    pub init: bool,
    /// Whether it has a terminal.
    pub tty: bool,
    /// Whether its standard input stays open.
    pub stdin_open: bool,
    /// What it calls itself; the engine makes a name if it is empty.
    pub hostname: String,
    /// Names that it has addresses for without asking anyone.
    pub extra_hosts: Vec<ExtraHost>,
    /// The size of its `/dev/shm` in bytes; 0 is the engine's default.
    pub shm_size_bytes: u64,
    /// How many processes and threads it has at most; 0 is no limit of its own.
    pub pids_limit: u32,
    /// Groups that its user is in besides, by name or number.
    pub group_add: Vec<String>,
    /// Whether its processes gain no privileges that they don't have from the start.
    pub no_new_privileges: bool,
    /// How much of its output its node keeps.
    pub log_bounds: LogBounds,
}

impl ContainerSpec {
    /// A container of an image with nothing else asked for.
    #[must_use]
    pub fn new(image: ImageReference) -> Self {
        Self {
            image,
            entrypoint: Vec::new(),
            command: Vec::new(),
            env: BTreeMap::new(),
            working_dir: String::new(),
            user: String::new(),
            mounts: Vec::new(),
            ports: Vec::new(),
            tmpfs: Vec::new(),
            cap_add: Vec::new(),
            cap_drop: Vec::new(),
            read_only: false,
            ulimits: Vec::new(),
            pull_policy: PullPolicy::default(),
            files: Vec::new(),
            network: None,
            init: false,
            tty: false,
            stdin_open: false,
            hostname: String::new(),
            extra_hosts: Vec::new(),
            shm_size_bytes: 0,
            pids_limit: 0,
            group_add: Vec::new(),
            no_new_privileges: false,
            log_bounds: LogBounds::default(),
        }
    }
}

/// A network on the node in which containers find each other by name. Each node has its own of that name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerNetwork {
    /// Which one: of an app its name.
    pub name: String,
    /// By which names the others reach it.
    pub aliases: Vec<String>,
}

/// A kernel capability's name without `CAP_`, such as `NET_ADMIN`, or `ALL`.
pub type Capability = String;

/// Something mounted into the container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// What.
    pub source: MountSource,
    /// Absolute path inside the container.
    pub target: String,
    /// Whether writing is refused.
    pub read_only: bool,
}

/// Where a mount comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MountSource {
    /// An absolute path on the node.
    Bind(String),
    /// A named volume of the node's engine; made when it is not there.
    Volume(String),
}

/// A published port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    /// The port inside the container.
    pub container_port: u16,
    /// tcp or udp.
    pub protocol: PortProtocol,
    /// The port on the node; `None` lets the engine choose a free one.
    pub host_port: Option<u16>,
}

/// tcp or udp.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum PortProtocol {
    /// `tcp`
    #[default]
    Tcp,
    /// `udp`
    Udp,
}

impl fmt::Display for PortProtocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
    }
}

/// A memory file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tmpfs {
    /// Absolute path inside the container.
    pub target: String,
    /// Size in bytes; 0 leaves it to the kernel (half of the memory).
    pub size_bytes: u64,
}

/// A limit of the kernel's own, such as `nofile`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ulimit {
    /// `nofile`, `nproc`, …
    pub name: String,
    /// What applies at first.
    pub soft: u64,
    /// How far the process may raise it.
    pub hard: u64,
}

/// How much of a container's output its node keeps. What is 0 is as its worker has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LogBounds {
    /// A new file is begun at this size in bytes.
    pub max_file_bytes: u64,
    /// So many files are kept, the one that is written included.
    pub max_files: u32,
}

/// When the image is pulled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PullPolicy {
    /// When it is not on the node.
    #[default]
    Missing,
    /// Before every start.
    Always,
    /// Never: a missing image is an error.
    Never,
}
