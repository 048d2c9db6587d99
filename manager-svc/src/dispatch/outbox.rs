//! What one session still has to tell its worker.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use davit_core::id::{Attempt, AttemptKey, Revision, SessionId};
use davit_core::spec::TaskSpec;
use davit_core::task::{DesiredState, Part, Ports};
use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::sync::Notify;
use uuid::Uuid;

/// Log readings that may wait to be ordered; more are refused.
const MAX_LOG_ORDERS: usize = 64;

/// What a worker is told about an attempt.
#[derive(Debug, Clone, PartialEq)]
pub enum Order {
    /// To run or to stop it.
    Assign {
        /// Which.
        key: AttemptKey,
        /// Running or stopped.
        desired_state: DesiredState,
        /// What to run.
        spec: Arc<TaskSpec>,
        /// The task's revision.
        revision: Revision,
        /// Host ports that it was given out of the node's range.
        ports: Ports,
        /// Its part in what it belongs to.
        part: Part,
    },
    /// To remove all that is left of it.
    Remove(AttemptKey),
}

impl Order {
    /// Which attempt it is about.
    #[must_use]
    pub fn key(&self) -> AttemptKey {
        match self {
            Self::Assign { key, .. } | Self::Remove(key) => *key,
        }
    }
}

/// Someone wants to read an attempt's output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogOrder {
    /// Unique to this reading.
    pub log_id: Uuid,
    /// Which attempt.
    pub key: AttemptKey,
    /// Only that many last lines.
    pub tail_lines: Option<u32>,
    /// Go on with what is written later.
    pub follow: bool,
    /// Only from the first piece on that was written after this time.
    pub since: Option<Timestamp>,
}

/// What is to be sent next.
#[derive(Debug, Clone, PartialEq)]
pub enum Delivery {
    /// Everything that the node should have, as of a revision.
    FullSet(Vec<Order>, Revision),
    /// What changed since, up to a revision.
    Changes(Vec<Order>, Revision),
    /// A reading to begin.
    Logs(LogOrder),
    /// The session ends, for this reason.
    Close(String),
}

/// What one session still has to tell its worker: the newest word on each task.
#[derive(Debug)]
pub struct Outbox {
    session_id: SessionId,
    waiting: Mutex<Waiting>,
    filled: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    full_set: Option<(Vec<Order>, Revision)>,
    /// The newest order on each attempt.
    changes: BTreeMap<AttemptKey, Order>,
    revision: Revision,
    logs: VecDeque<LogOrder>,
    closed: Option<String>,
}

impl Outbox {
    /// An empty one.
    #[must_use]
    pub fn new(session_id: SessionId) -> Self {
        Self { session_id, waiting: Mutex::default(), filled: Notify::new() }
    }

    /// Whose it is.
    #[must_use]
    pub fn session_id(&self) -> SessionId {
        self.session_id
    }

    pub(super) fn put_full_set(&self, orders: Vec<Order>, revision: Revision) {
        let mut waiting = self.waiting.lock();
        waiting.changes.clear();
        waiting.full_set = Some((orders, revision));
        drop(waiting);
        self.filled.notify_one();
    }

    pub(super) fn put(&self, order: Order, revision: Revision) {
        let mut waiting = self.waiting.lock();
        let key = order.key();
        if matches!(order, Order::Assign { .. }) {
            forget_lower_assignments(&mut waiting.changes, key);
        }
        waiting.changes.insert(key, order);
        waiting.revision = revision;
        drop(waiting);
        self.filled.notify_one();
    }

    /// Orders a reading. False when too many wait, or the session ends.
    #[must_use]
    pub fn order_logs(&self, order: LogOrder) -> bool {
        let mut waiting = self.waiting.lock();
        if waiting.closed.is_some() || waiting.logs.len() >= MAX_LOG_ORDERS {
            return false;
        }
        waiting.logs.push_back(order);
        drop(waiting);
        self.filled.notify_one();
        true
    }

    /// Ends the session, for this reason.
    pub fn close(&self, reason: &str) {
        self.waiting.lock().closed.get_or_insert_with(|| reason.to_owned());
        self.filled.notify_one();
    }

    /// Waits for the next delivery. Cancel-safe: what was not returned is still there.
    pub async fn next(&self) -> Delivery {
        loop {
            if let Some(delivery) = self.take() {
                return delivery;
            }
            self.filled.notified().await;
        }
    }

    fn take(&self) -> Option<Delivery> {
        let mut waiting = self.waiting.lock();
        if let Some(reason) = &waiting.closed {
            return Some(Delivery::Close(reason.clone()));
        }
        if let Some((orders, revision)) = waiting.full_set.take() {
            return Some(Delivery::FullSet(orders, revision));
        }
        if !waiting.changes.is_empty() {
            let changes = std::mem::take(&mut waiting.changes);
            return Some(Delivery::Changes(changes.into_values().collect(), waiting.revision));
        }
        waiting.logs.pop_front().map(Delivery::Logs)
    }
}

/// A later attempt of a task replaces an earlier one: what was to be said of running that one no longer matters.
fn forget_lower_assignments(changes: &mut BTreeMap<AttemptKey, Order>, key: AttemptKey) {
    let lowest = AttemptKey { attempt: Attempt(0), ..key };
    let outdated: Vec<AttemptKey> = changes
        .range(lowest..key)
        .filter(|(_, order)| matches!(order, Order::Assign { .. }))
        .map(|(key, _)| *key)
        .collect();
    for key in outdated {
        changes.remove(&key);
    }
}
