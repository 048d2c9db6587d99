//! The project as it was read: every variable put in, every file merged, every default of the Compose Specification that is a
//! name or a path filled in. What was not written is `None` or empty, so that Davit's own defaults can be told from wishes.

mod container;
mod davit;
mod deploy;
mod service;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

pub use self::container::{
    FileGrant, HealthCheck, HealthTest, Logging, Mount, MountSource, Port, Protocol, PullPolicy, Tmpfs, Ulimit,
};
pub use self::davit::{DavitOptions, History, Job, MissedRuns, OnNodeLoss, Overlap};
pub use self::deploy::{
    Amounts, Deploy, FailureAction, Mode, Placement, RestartCondition, RestartPolicy, UpdateConfig, UpdateOrder,
};
pub use self::service::{Condition, Dependency, KeyPositions, Service};
use crate::error::Position;

/// One project: what its files say, with the profiles that were selected.
#[derive(Debug, Clone, PartialEq)]
pub struct Project {
    /// Its name: lower-case letters, digits, `-` and `_`.
    pub name: String,
    /// What is run, by name.
    pub services: BTreeMap<String, Service>,
    /// Services that no selected profile has.
    pub disabled_services: BTreeSet<String>,
    /// Volumes, by key. Those that no service mounts too.
    pub volumes: BTreeMap<String, Volume>,
    /// Configs, by key.
    pub configs: BTreeMap<String, StoredFile>,
    /// Secrets, by key.
    pub secrets: BTreeMap<String, StoredFile>,
    /// `x-davit.colocate`: services whose tasks run on the same node; no service is in two of them.
    pub colocate: Vec<BTreeSet<String>>,
    /// Where its keys are written.
    pub positions: KeyPositions,
}

/// A volume of the project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    /// Its name on nodes.
    pub name: String,
    /// Whether it must be there, and is not made.
    pub external: bool,
    /// Where it is declared.
    pub position: Position,
}

/// A config or a secret of the project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredFile {
    /// Its name in the cluster.
    pub name: String,
    /// What it holds.
    pub contents: Contents,
    /// Where it is declared.
    pub position: Position,
}

/// What a config or a secret holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Contents {
    /// It is in the cluster already.
    External,
    /// These bytes.
    Given(Bytes),
}

/// Contents of a file. They may be secret: what is shown for debugging is how many they are.
#[derive(Clone, PartialEq, Eq)]
pub struct Bytes(pub Vec<u8>);

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}
