//! Request ids of creates, so that a repeated create answers what the first one did.

use std::sync::Arc;

use davit_core::id::{Revision, TaskId};
use davit_svc_kit::bugs::{self, Bug};
use imbl::{HashMap, Vector};

/// How many request ids are remembered.
pub const KEPT_REQUESTS: usize = 100_000;

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

    pub(super) fn push(&mut self, record: Arc<RequestRecord>) {
        self.by_id.insert(record.request_id.clone(), Arc::clone(&record));
        self.order.push_back(record);
        while self.order.len() > KEPT_REQUESTS {
            if let Some(oldest) = self.order.pop_front() {
                self.by_id.remove(&oldest.request_id);
            }
        }
    }
}
