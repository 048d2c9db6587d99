//! Request ids of creates, so that a repeated create answers what the first one did.

use std::sync::Arc;

use davit_core::id::{Revision, TaskId};
use davit_svc_kit::bugs::{self, Bug};
use imbl::{HashMap, Vector};

/// How many request ids are remembered.
pub(super) const KEPT_REQUESTS: usize = 100_000;
/// How many ids of tasks are remembered with them, over all: one create may have made 10,000.
pub(super) const KEPT_TASK_IDS: usize = 2_000_000;

/// What a create with a request id did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestRecord {
    /// The caller's id.
    pub request_id: String,
    /// A hash of the request's content, to tell a repeated call from a reused id.
    pub fingerprint: u64,
    /// What it created.
    pub task_ids: Arc<[TaskId]>,
    /// The revision after it.
    pub revision: Revision,
}

/// The last creates that had a request id.
#[derive(Debug, Clone, Default)]
pub struct RequestLog {
    by_id: HashMap<String, Arc<RequestRecord>>,
    order: Vector<Arc<RequestRecord>>,
    /// How many ids of tasks they hold.
    task_ids: usize,
    /// How many were dropped of which the store was not told.
    dropped: u64,
}

impl RequestLog {
    /// What the create with this id did.
    #[must_use]
    pub fn get(&self, request_id: &str) -> Option<&Arc<RequestRecord>> {
        self.by_id.get(request_id).filter(|_| !bugs::is(Bug::RequestIdsForgotten))
    }

    /// One of them by its place, the oldest at 0.
    #[must_use]
    pub fn nth(&self, index: usize) -> Option<&Arc<RequestRecord>> {
        self.order.get(index)
    }

    /// Appends the newest, which is always kept, and drops the oldest beyond the bounds.
    pub(super) fn push(&mut self, record: Arc<RequestRecord>) {
        self.task_ids += record.task_ids.len();
        self.by_id.insert(record.request_id.clone(), Arc::clone(&record));
        self.order.push_back(record);
        while self.order.len() > KEPT_REQUESTS || (self.task_ids > KEPT_TASK_IDS && self.order.len() > 1) {
            let Some(oldest) = self.order.pop_front() else { return };
            self.task_ids = self.task_ids.saturating_sub(oldest.task_ids.len());
            self.by_id.remove(&oldest.request_id);
            self.dropped += 1;
        }
    }

    /// How many of the oldest that the store has it is to drop; asked once.
    pub(super) fn take_dropped(&mut self) -> u64 {
        std::mem::take(&mut self.dropped)
    }
}
