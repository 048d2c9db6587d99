//! Which node runs a task. Pure: every answer follows from the nodes, the tasks and the seed.
//!
//! Three steps, each callable alone: [`select_candidates`] applies the filters of `davit-core`, [`score`] gives every
//! node a cost by one [`Algorithm`], [`pick`] takes the lowest cost. [`place`] runs all three for whole groups of like
//! tasks over a [`Mirror`] of the nodes, and deducts what it places.
//!
//! What holds, and is tested:
//! - nothing is over-committed: neither cpu, memory, disk nor a host port;
//! - a task stays unplaced only when no node can take it, and then the answer says why;
//! - the order in which nodes are given does not matter; equal input and seed give the equal answer;
//! - a node that is not ready, or of which something is not known, never wins by that.

pub mod algorithms;
mod eligible;
mod explain;
mod group;
mod homes;
mod lanes;
mod layout;
mod mirror;
mod moves;
mod packing;
mod pick;
mod pipeline;
mod preempt;
mod preferences;
mod score;
mod search;
mod steps;
mod table;
#[cfg(test)]
pub(crate) mod test_support;

pub use self::explain::{Explanation, NodeExplanation, explain};
pub use self::mirror::Mirror;
pub use self::moves::{MovePlan, PlannedMove, plan_moves};
pub use self::pick::pick;
pub(crate) use self::pipeline::place_while;
pub use self::pipeline::{Group, GroupPlacement, place};
pub use self::preempt::Preemption;
pub use self::score::{Algorithm, ClusterFacts, Form, Parts, Score};
pub use self::steps::{NodeScore, Selection, Verdict, score, select_candidates};
