//! How the manager and its scheduler get on, for people.

/// How the manager and its scheduler get on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SchedulerStatus {
    /// Where the scheduler is dialled; of several, the one whose turn it is.
    pub address: String,
    /// Whether the placement stream is open.
    pub connected: bool,
    /// Why it is not; while connected, what is wrong all the same. Empty if all is well.
    pub reason: String,
    /// The algorithm that is used unless a request names another.
    pub default_algorithm: String,
}
