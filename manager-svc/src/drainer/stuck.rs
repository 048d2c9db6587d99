//! Which tasks of a drained node fitted nowhere when they were last tried, and when they are tried again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use davit_core::id::TaskId;
use davit_core::task::Task;
use davit_svc_kit::backoff::Backoff;
use davit_svc_kit::world::World;
use tokio::time::Instant;

/// First and longest wait before tasks that fitted nowhere are tried again.
const RETRY: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(5));

/// The stuck tasks of one node.
pub(super) struct Stuck {
    why: BTreeMap<TaskId, String>,
    retry_at: Option<Instant>,
    backoff: Backoff,
}

impl Stuck {
    /// Of a node whose tasks were not tried yet.
    pub(super) fn new(world: &World) -> Self {
        Self { why: BTreeMap::new(), retry_at: None, backoff: world.backoff(RETRY.0, RETRY.1) }
    }

    /// Begins a round: the tasks to try now, of those that may move. What may not move any more is not stuck either.
    pub(super) fn begin_round(&mut self, candidates: &[Arc<Task>], now: Instant) -> Vec<Arc<Task>> {
        if self.retry_at.is_none_or(|at| at <= now) {
            self.why.clear();
        }
        let mut why = std::mem::take(&mut self.why);
        let mut to_try = Vec::new();
        for task in candidates {
            match why.remove(&task.task_id) {
                Some(reason) => drop(self.why.insert(task.task_id, reason)),
                None => to_try.push(Arc::clone(task)),
            }
        }
        to_try
    }

    /// A task fits nowhere now.
    pub(super) fn put(&mut self, task_id: TaskId, why: String) {
        self.why.insert(task_id, why);
    }

    /// Ends a round in which tasks were tried.
    pub(super) fn tried(&mut self, any_moved: bool, now: Instant) {
        if any_moved {
            self.backoff.reset();
        }
        self.retry_at = Some(now + self.backoff.next_delay());
    }

    /// When they are to be tried again; `None` when none is stuck.
    pub(super) fn retry_at(&self) -> Option<Instant> {
        self.retry_at.filter(|_| !self.why.is_empty())
    }

    /// Which are stuck, and why.
    pub(super) fn why(&self) -> &BTreeMap<TaskId, String> {
        &self.why
    }
}
