//! How the manager and its scheduler get on, for people.

/// How the manager and its scheduler get on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SchedulerStatus {
    /// Where the scheduler is dialled.
    pub address: String,
    /// Whether the placement stream is open.
    pub connected: bool,
    /// Why it is not. Empty while connected.
    pub reason: String,
    /// The algorithm that is used unless a request names another.
    pub default_algorithm: String,
}
