//! Deployments: tasks of one shape that are kept running, and how one version of them takes the place of another.

mod change;
mod dependency;
mod policy;
mod rollout;

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;

pub use self::change::change_between;
pub use self::dependency::{Dependency, DependencyCondition, MAX_DEPENDENCIES};
pub use self::policy::{
    DEFAULT_MONITOR, DEFAULT_PROGRESS_DEADLINE, MAX_IN_FLIGHT, OnRolloutFailure, UpdateOrder, UpdatePolicy,
};
pub use self::rollout::{Incoming, Rollout, RolloutState};
use crate::id::{DeploymentId, Revision};
use crate::spec::TaskSpec;

/// How many versions a deployment keeps, unless it says otherwise.
pub const DEFAULT_KEPT_VERSIONS: u32 = 10;
/// How many it may keep at most.
pub const MAX_KEPT_VERSIONS: u32 = 100;
/// How many replicas a deployment may have.
pub const MAX_REPLICAS: u32 = 100_000;

/// How many tasks a deployment has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeploymentMode {
    /// So many, in slots from 1 on.
    Replicated {
        /// How many.
        replicas: u32,
    },
    /// One on every node that its constraints allow.
    Global,
}

/// What a user wants of a deployment.
#[derive(Debug, Clone, PartialEq)]
pub struct DeploymentSpec {
    /// Free key-value pairs for selecting deployments.
    pub labels: BTreeMap<String, String>,
    /// How many tasks.
    pub mode: DeploymentMode,
    /// What each of them runs.
    pub task: Arc<TaskSpec>,
    /// How this version takes the place of the one before.
    pub update: UpdatePolicy,
    /// How a rollback takes place; `None`: as an update.
    pub rollback: Option<UpdatePolicy>,
    /// How many versions are kept, this one included.
    pub kept_versions: u32,
    /// The app that it belongs to; empty: none.
    pub app: String,
    /// What must have come so far before its first tasks are created.
    pub start_after: Vec<Dependency>,
}

impl DeploymentSpec {
    /// Whether tasks of the other spec may have to give way to tasks of this one: their runtimes differ, or their nodes may.
    #[must_use]
    pub fn may_replace(&self, other: &Self) -> bool {
        self.task.must_replace(&other.task) || self.task.constraints != other.task.constraints
    }

    /// How tasks are replaced, of an update or a rollback.
    #[must_use]
    pub fn policy(&self, is_rollback: bool) -> &UpdatePolicy {
        self.rollback.as_ref().filter(|_| is_rollback).unwrap_or(&self.update)
    }
}

/// What a user wanted of a deployment at one time.
#[derive(Debug, Clone, PartialEq)]
pub struct Version {
    /// From 1 on, without a gap. Never used twice.
    pub number: u32,
    /// What was wanted.
    pub spec: DeploymentSpec,
    /// When.
    pub created_at: Timestamp,
    /// Who, as the caller said. May be empty.
    pub author: String,
    /// What changed, in one line.
    pub change: String,
    /// Whether all of its tasks once ran and were healthy.
    pub proven: bool,
}

/// A request that is known again when it is repeated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreateRequest {
    /// The caller's id.
    pub request_id: String,
    /// A hash of its content, to tell a repeated call from a reused id.
    pub fingerprint: u64,
}

impl CreateRequest {
    /// The one of this id; none without an id.
    #[must_use]
    pub fn given(request_id: String, fingerprint: u64) -> Option<Self> {
        (!request_id.is_empty()).then_some(Self { request_id, fingerprint })
    }
}

/// Tasks of one shape that are kept running.
#[derive(Debug, Clone, PartialEq)]
pub struct Deployment {
    /// Stable for its life.
    pub deployment_id: DeploymentId,
    /// No other deployment has it.
    pub name: String,
    /// Those that are kept, oldest first; the last is the one that is wanted. Never empty.
    pub versions: Vec<Arc<Version>>,
    /// How far the last version is.
    pub rollout: Rollout,
    /// By which request it was created; `None` if that had no id.
    pub created_by: Option<CreateRequest>,
    /// Whether it waits for those of [`DeploymentSpec::start_after`]: until its first tasks are created, and never again.
    pub waits: bool,
    /// Whether it is being deleted: its tasks are stopped, and it goes with the last of them.
    pub is_deleted: bool,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it changed last.
    pub updated_at: Timestamp,
    /// The cluster's revision at that change.
    pub revision: Revision,
}

impl Deployment {
    /// The version that is wanted. `None` of a deployment without versions, which there is none of.
    #[must_use]
    pub fn current(&self) -> Option<&Arc<Version>> {
        self.versions.last()
    }

    /// A version that is kept.
    #[must_use]
    pub fn version(&self, number: u32) -> Option<&Arc<Version>> {
        self.versions.iter().find(|version| version.number == number)
    }

    /// The newest version before the current one that was proven and wants another task; what a rollback goes back to.
    #[must_use]
    pub fn last_proven(&self) -> Option<&Arc<Version>> {
        let (current, earlier) = self.versions.split_last()?;
        let differs = |version: &&Arc<Version>| version.spec.task != current.spec.task;
        earlier.iter().rev().find(|version| version.proven && differs(version))
    }

    /// The specs that it keeps.
    pub fn task_specs(&self) -> impl Iterator<Item = &Arc<TaskSpec>> {
        self.versions.iter().map(|version| &version.spec.task)
    }
}
