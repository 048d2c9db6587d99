//! What a deployment waits for before its first tasks are created.

use std::fmt;

/// How many deployments one may wait for.
pub const MAX_DEPENDENCIES: usize = 64;

/// How far another deployment must have come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DependencyCondition {
    /// Each of its slots has a task that was started once.
    Started,
    /// Each of its slots has a task that serves.
    Healthy,
    /// Each of its slots has a task that has completed.
    Completed,
}

/// In words that follow the name of what is waited for.
impl fmt::Display for DependencyCondition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Started => "to be started",
            Self::Healthy => "to be healthy",
            Self::Completed => "to complete",
        })
    }
}

/// Another deployment that must have come so far before the first tasks are created.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Dependency {
    /// The name of the other.
    pub deployment: String,
    /// How far it must have come.
    pub condition: DependencyCondition,
    /// Whether it has to be there. One that need not be is waited for while it is.
    pub required: bool,
}
