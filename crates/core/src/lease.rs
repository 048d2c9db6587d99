//! What managers and workers agree on about the end of a node's lease, under which tasks run that must never run twice.

use std::time::Duration;

/// For how long a node may be the slower clock of the two, and its engine busy with killing, after a lease and the stop grace
/// have passed.
pub const MARGIN: Duration = Duration::from_secs(3);

/// For how long after the end of its node's lease an attempt with this stop grace may still run. Its worker begins to stop it when the
/// lease ends and not later, and no other attempt of its task begins before this time is over.
#[must_use]
pub fn time_to_stop(grace: Duration) -> Duration {
    grace.saturating_add(MARGIN)
}
