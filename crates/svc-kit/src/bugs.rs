//! Deliberate bugs, which show that the simulator's checks bite. They are there only with the feature `sim-bugs`, which the
//! simulator alone turns on and which no optimized build can have; without it [`is`] is the constant `false`.

#[cfg(all(feature = "sim-bugs", not(debug_assertions)))]
compile_error!("`sim-bugs` puts deliberate bugs into the services; it is for tests in debug builds only");

/// A deliberate bug.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Bug {
    /// The disk says that a batch is synced, and syncs nothing.
    DroppedSync,
    /// The store answers before a batch is synced.
    AckBeforeCommit,
    /// A worker's report counts however old it is.
    MergeReversed,
    /// Placements are committed as the scheduler proposes them.
    NoRecheck,
    /// A worker lets attempts run that are not assigned to it any more, or were overtaken.
    FenceIgnored,
    /// A worker takes every message of assignments for the full set.
    FullSetMisread,
    /// A create that is sent again with its request id creates again.
    RequestIdsForgotten,
    /// What a task had reserved on a node stays reserved after its end.
    ReservationNotReleased,
    /// A task that completed is run again.
    CompletedRunsAgain,
    /// A restarted worker does not look for what an earlier one left.
    AdoptsNothing,
    /// A node that is silent never counts as down.
    SilenceIgnored,
    /// A worker runs what must never run twice beyond the end of its lease.
    LeaseIgnored,
    /// A worker reports the end of what an engine may still start, because it was asked to and did not answer.
    StartsForgotten,
    /// A worker reports the end of what an engine may still restart, because it was asked to and did not answer.
    RestartsForgotten,
    /// What a node can't begin stays there.
    BeginTimeoutIgnored,
    /// A worker that is stopped in order does not say that it means to be back.
    AwayUnsaid,
    /// With start-first, the old task of a slot goes as soon as the new one is there.
    NewTaskNotAwaited,
    /// What ends in a slot of a deployment whose rollout is complete is not replaced.
    SlotStaysEmpty,
    /// What became of an index of a job is forgotten with its task.
    IndexForgotten,
}

impl Bug {
    /// All of them.
    pub const ALL: [Self; 19] = [
        Self::DroppedSync,
        Self::AckBeforeCommit,
        Self::MergeReversed,
        Self::NoRecheck,
        Self::FenceIgnored,
        Self::FullSetMisread,
        Self::RequestIdsForgotten,
        Self::ReservationNotReleased,
        Self::CompletedRunsAgain,
        Self::AdoptsNothing,
        Self::SilenceIgnored,
        Self::LeaseIgnored,
        Self::StartsForgotten,
        Self::RestartsForgotten,
        Self::BeginTimeoutIgnored,
        Self::AwayUnsaid,
        Self::NewTaskNotAwaited,
        Self::SlotStaysEmpty,
        Self::IndexForgotten,
    ];
}

#[cfg(feature = "sim-bugs")]
thread_local! {
    static ACTIVE: std::cell::Cell<Option<Bug>> = const { std::cell::Cell::new(None) };
}

/// From now on what runs on this thread has this bug, or none.
#[cfg(feature = "sim-bugs")]
pub fn set(bug: Option<Bug>) {
    ACTIVE.set(bug);
}

/// Whether this bug is there.
#[must_use]
#[inline]
pub fn is(bug: Bug) -> bool {
    #[cfg(feature = "sim-bugs")]
    return ACTIVE.get() == Some(bug);
    #[cfg(not(feature = "sim-bugs"))]
    {
        let _ = bug;
        false
    }
}
