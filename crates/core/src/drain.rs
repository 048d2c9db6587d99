//! Draining: moving all tasks away from a node.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::id::{Attempt, TaskId};

/// How many tasks of a node are on the move at one time, unless told otherwise.
pub const DEFAULT_MAX_PARALLEL: u32 = 5;
/// The greatest number of tasks of one node that may be on the move at one time.
pub const MAX_PARALLEL: u32 = 1000;
/// Of how many tasks that can't be moved it is kept why.
pub const KEPT_STUCK_TASKS: usize = 20;

/// Who asked for a drain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DrainSource {
    /// A user. It lasts until it is cancelled or the node is uncordoned.
    User,
    /// The node's worker, because it shuts down. It lasts until the worker registers anew.
    Worker {
        /// Whether the node was cordoned before, and is to stay so when the drain ends.
        cordoned_before: bool,
    },
}

/// The drain of one node, and how far it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drain {
    /// Who asked for it.
    pub source: DrainSource,
    /// When it was asked for.
    pub started_at: Timestamp,
    /// When everything that is left is stopped. `None`: what can't be moved stays.
    pub deadline: Option<Timestamp>,
    /// How many tasks are on the move at one time; at least 1.
    pub max_parallel: u32,
    /// Tasks that were told to move and do not run elsewhere yet, with the attempt that was on the node.
    pub moving: BTreeMap<TaskId, Attempt>,
    /// How many tasks it has moved: they ran elsewhere, or ended by themselves on the way.
    pub moved_count: u64,
    /// How many tasks the deadline stopped without a place elsewhere.
    pub forced_count: u64,
    /// How many tasks were LOST with the node: it went down before they could move, and they go on elsewhere as their policies say.
    pub lost_count: u64,
    /// Tasks that fit nowhere else now, and why; at most [`KEPT_STUCK_TASKS`] of them.
    pub stuck: BTreeMap<TaskId, String>,
    /// How many tasks fit nowhere else now.
    pub stuck_count: u64,
    /// When the node had no task any more. `None` while it has.
    pub drained_at: Option<Timestamp>,
}

impl Drain {
    /// A drain that begins now.
    #[must_use]
    pub fn begin(source: DrainSource, now: Timestamp, deadline: Option<Timestamp>, max_parallel: u32) -> Self {
        Self {
            source,
            started_at: now,
            deadline,
            max_parallel: max_parallel.clamp(1, MAX_PARALLEL),
            moving: BTreeMap::new(),
            moved_count: 0,
            forced_count: 0,
            lost_count: 0,
            stuck: BTreeMap::new(),
            stuck_count: 0,
            drained_at: None,
        }
    }

    /// Whether its deadline has passed.
    #[must_use]
    pub fn is_overdue(&self, now: Timestamp) -> bool {
        self.deadline.is_some_and(|deadline| deadline <= now)
    }
}
