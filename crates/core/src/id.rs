//! Identifiers. Newtypes, so that a task's id can't be passed where a node's is wanted.

use std::fmt;
use std::str::FromStr;

use uuid::Uuid;

/// A text that is not an id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a UUID such as 0193a5c0-1c1e-7d3a-9a53-0f5be2f0a111")]
pub struct ParseIdError {
    /// What was given.
    pub text: String,
}

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub Uuid);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                match Uuid::try_parse(text) {
                    Ok(uuid) => Ok(Self(uuid)),
                    Err(_) => Err(ParseIdError { text: text.to_owned() }),
                }
            }
        }
    };
}

uuid_id! {
    /// A task's id (UUIDv7, so that ids order by creation). Stable for the task's life.
    TaskId
}
uuid_id! {
    /// A node's id. Made once by its worker, kept in the worker's data directory.
    NodeId
}
uuid_id! {
    /// A cluster's id. Made once, with its store; another cluster of the same name has another.
    ClusterId
}
uuid_id! {
    /// A deployment's id (UUIDv7). Stable for its life.
    DeploymentId
}
uuid_id! {
    /// A job's id (UUIDv7). Stable for its life.
    JobId
}
uuid_id! {
    /// Names tasks that are placed together or not at all.
    GangId
}
uuid_id! {
    /// The id of one `Session` stream. A worker that reconnects gets a new one.
    SessionId
}

/// One run of a task on one node, numbered from 1. The manager alone raises it; it is the fence between old and new runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Attempt(pub u32);

impl Attempt {
    /// The first attempt of every task.
    pub const FIRST: Self = Self(1);

    /// The attempt after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Names one attempt of one task: what a worker runs, and what a container is named after.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AttemptKey {
    /// The task.
    pub task_id: TaskId,
    /// Which of its attempts.
    pub attempt: Attempt,
}

impl AttemptKey {
    /// The name of the container (or process) that runs this attempt: `davit-<task id>-<attempt>`.
    #[must_use]
    pub fn container_name(&self) -> String {
        format!("davit-{}-{}", self.task_id, self.attempt)
    }
}

impl fmt::Display for AttemptKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.task_id, self.attempt)
    }
}

/// One number that grows by one with every committed change of the cluster. 0 is the empty cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Revision(pub u64);

impl Revision {
    /// The revision after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_that_is_no_uuid_is_named_in_the_error() {
        let error = "nonsense".parse::<TaskId>().unwrap_err();
        assert!(error.to_string().contains("`nonsense`"), "{error}");
    }

    #[test]
    fn containers_are_named_after_task_and_attempt() {
        let key = AttemptKey { task_id: TaskId(Uuid::nil()), attempt: Attempt(3) };
        assert_eq!(key.container_name(), "davit-00000000-0000-0000-0000-000000000000-3");
    }
}
