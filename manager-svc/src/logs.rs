//! Brings readers of a task's output together with the worker that has it. The worker dials back with `PublishLogs`, and only
//! while someone reads.

use std::collections::HashMap;
use std::sync::Arc;

use davit_proto::v1::PublishLogsRequest;
use parking_lot::Mutex;
use tokio::sync::mpsc;
use uuid::Uuid;

/// Messages between worker and reader; a slow reader slows the worker down.
const BUFFER: usize = 16;

/// Readings that wait for their worker or are under way. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct LogRelay {
    readings: Arc<Mutex<HashMap<Uuid, mpsc::Sender<PublishLogsRequest>>>>,
}

/// The reader's end. Dropping it ends the worker's call.
#[derive(Debug)]
pub struct Reading {
    log_id: Uuid,
    /// What the worker sends; ends with its call.
    pub messages: mpsc::Receiver<PublishLogsRequest>,
    relay: LogRelay,
}

impl LogRelay {
    /// Begins a reading.
    #[must_use]
    pub fn begin(&self, log_id: Uuid) -> Reading {
        let (sender, messages) = mpsc::channel(BUFFER);
        self.readings.lock().insert(log_id, sender);
        Reading { log_id, messages, relay: self.clone() }
    }

    /// The worker's end of a reading; `None` when nobody reads. Each reading has one worker only.
    #[must_use]
    pub fn take(&self, log_id: Uuid) -> Option<mpsc::Sender<PublishLogsRequest>> {
        self.readings.lock().remove(&log_id)
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.relay.readings.lock().remove(&self.log_id);
    }
}
