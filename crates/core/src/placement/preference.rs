//! What a task would like of its node, and what is to happen when nothing fits.

use crate::constraint::{Attribute, Constraint};
use crate::id::NodeId;
use crate::placement::Mark;

/// The most that a preference may weigh.
pub const MAX_WEIGHT: i32 = 100;

/// Of so many nodes on which a task failed lately the scheduler is told.
pub const MAX_RECENT_FAILURES: usize = 64;

/// Likes or dislikes nodes that satisfy an expression.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Affinity {
    /// Which nodes.
    pub expression: Constraint,
    /// −100 (avoid) to 100 (prefer), not 0.
    pub weight: i32,
}

/// Spreads tasks over the values of an attribute, such as `zone`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpreadOver {
    /// Over the values of what. Nodes without it count as one value of their own.
    pub attribute: Attribute,
    /// 1 to 100.
    pub weight: i32,
}

/// Attempts of this task that failed on a node a short while ago.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecentFailures {
    /// Where.
    pub node_id: NodeId,
    /// How many.
    pub count: u32,
}

/// What a task would like of its node. Changes which node is the best, never which nodes fit.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Preferences {
    /// Nodes that are liked or disliked.
    pub affinities: Vec<Affinity>,
    /// What tasks with the mark `spread_set` are spread over.
    pub spread: Vec<SpreadOver>,
    /// Which tasks count for `spread`: those of the same name. `None` without `spread`.
    pub spread_set: Option<Mark>,
    /// Where it failed lately; by node id.
    pub recent_failures: Vec<RecentFailures>,
}

impl Preferences {
    /// Whether nothing is asked for.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.affinities.is_empty() && self.spread.is_empty() && self.recent_failures.is_empty()
    }
}

/// All that the scheduler is asked of one task. Tasks for which it is equal form one group.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PlacementRequest {
    /// What it needs.
    pub requirements: super::Requirements,
    /// What it would like.
    pub preferences: Preferences,
    /// Which algorithm scores nodes; empty for the cluster's default.
    pub algorithm: String,
    /// Higher is placed first.
    pub priority: i32,
    /// Whether tasks of lower priority may be stopped where nothing fits.
    pub may_preempt: bool,
}
