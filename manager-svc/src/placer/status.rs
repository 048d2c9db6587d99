//! How the manager and its scheduler get on, for people.

use super::algorithms::Algorithms;

/// How the manager and its scheduler get on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SchedulerStatus {
    /// Where the scheduler is dialled; of several, the one whose turn it is.
    pub address: String,
    /// Whether the placement stream is open.
    pub connected: bool,
    /// Why it is not; while connected, what is wrong all the same. Empty if all is well.
    pub reason: String,
    /// Those that the scheduler had when it was last dialled, and the one that is used unless a request names another.
    pub algorithms: Algorithms,
}
