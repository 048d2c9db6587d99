//! How far the newest version of a deployment is.

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;

use crate::id::{Attempt, TaskId};
use crate::task::Slot;

/// Where a rollout stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RolloutState {
    /// Slots are being brought to the newest version.
    InProgress,
    /// Its canaries are healthy; the others follow when it is promoted.
    AwaitingPromotion,
    /// Nothing is replaced: it failed or was paused.
    Paused,
    /// Every slot has a healthy task of the newest version.
    Complete,
    /// It did not get on in time; nothing is replaced any more. What is missing is tried all the same.
    Failed,
}

impl RolloutState {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::InProgress, Self::AwaitingPromotion, Self::Paused, Self::Complete, Self::Failed];

    /// Whether nothing further will be replaced unless a user asks.
    #[must_use]
    pub fn is_settled(self) -> bool {
        matches!(self, Self::Paused | Self::Complete | Self::Failed)
    }
}

impl fmt::Display for RolloutState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::InProgress => "IN_PROGRESS",
            Self::AwaitingPromotion => "AWAITING_PROMOTION",
            Self::Paused => "PAUSED",
            Self::Complete => "COMPLETE",
            Self::Failed => "FAILED",
        })
    }
}

/// A new task whose slot is not done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Incoming {
    /// The task; `None` while it was not seen yet, or the old one has not ended that it waits for.
    pub task_id: Option<TaskId>,
    /// The attempt that was seen last.
    pub attempt: Attempt,
    /// Failures of attempts before this one count no more.
    pub counted_from: Attempt,
    /// Since when the attempt has been ready without a break.
    pub ready_since: Option<Timestamp>,
    /// Whether it failed. Counted in [`Rollout::failed`] once.
    pub failed: bool,
}

/// How far the newest version of a deployment is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rollout {
    /// Where it stands.
    pub state: RolloutState,
    /// Why, for people. Empty where there is nothing to say.
    pub reason: String,
    /// The version that it leads away from: slots that were not begun keep to it. `None` of a first version.
    pub from_version: Option<u32>,
    /// Whether it goes back to an earlier version.
    pub is_rollback: bool,
    /// Whether it was promoted, or needs not be.
    pub promoted: bool,
    /// When it began.
    pub started_at: Timestamp,
    /// When it last got on: a slot got done, or a user had it go on.
    pub progress_at: Timestamp,
    /// When it came to an end; `None` before that.
    pub finished_at: Option<Timestamp>,
    /// No slot is begun before this time.
    pub next_at: Option<Timestamp>,
    /// Slots that are under way.
    pub in_flight: BTreeMap<Slot, Incoming>,
    /// How many slots got done.
    pub done: u32,
    /// How many of its new tasks failed.
    pub failed: u32,
    /// Since when all its tasks have served without a break, where it replaces none: then that has to last before it is complete.
    pub serving_since: Option<Timestamp>,
}

impl Rollout {
    /// One that begins now, and has done nothing.
    #[must_use]
    pub fn begin(now: Timestamp, from_version: Option<u32>, is_rollback: bool, promoted: bool) -> Self {
        Self {
            state: RolloutState::InProgress,
            reason: String::new(),
            from_version,
            is_rollback,
            promoted,
            started_at: now,
            progress_at: now,
            finished_at: None,
            next_at: None,
            in_flight: BTreeMap::new(),
            done: 0,
            failed: 0,
            serving_since: None,
        }
    }
}
