//! Which attempts their node can't begin: its runtime, or its worker's disk, has failed for too long.
//!
//! The time begins anew with every answer of the runtime. Its worker tries what waits at least every five seconds, and asks a runtime
//! every two whether it answers: one that is called well has had its chance, what makes progress has begun, and what was under way
//! when it hung again may have begun, so that to stop it takes an engine that answers. An engine that answers for moments only is
//! therefore never given up here: what waits there says why in its reason, and a user may drain the node.

use std::sync::Arc;
use std::time::Duration;

use davit_core::task::Task;
use jiff::Timestamp;

use crate::state::ClusterState;

/// An attempt that its node can't begin.
#[derive(Debug, Clone, PartialEq)]
pub struct Unbegun {
    /// The task whose current attempt it is.
    pub task: Arc<Task>,
    /// What is in the way, for people.
    pub why: String,
}

/// Attempts that wait for a runtime which has failed for at least `timeout`. Only of nodes that are in touch: the others are
/// called down, or are back soon. What runs already is left alone; it keeps what is known of it.
pub fn unbegun(state: &ClusterState, timeout: Duration, now: Timestamp) -> impl Iterator<Item = Unbegun> {
    let then = now.checked_sub(timeout).ok();
    then.into_iter().flat_map(|then| state.unbegun_since(then)).map(|(node, task)| {
        let kind = task.spec.runtime.kind();
        let problem = node.runtime_problems.get(&kind).map_or("", |known| &known.problem);
        let why = format!("node {} can't begin it: its {kind} runtime can't be used: {problem}", node.description.name);
        Unbegun { task: Arc::clone(task), why }
    })
}

/// Whether there is one. Costs nothing.
#[must_use]
pub fn has_unbegun(state: &ClusterState, timeout: Duration, now: Timestamp) -> bool {
    let then = now.checked_sub(timeout).ok();
    then.zip(state.first_unbegun()).is_some_and(|(then, first)| first <= then)
}
