//! Brings readers of a task's output together with the worker that has it. The worker dials back with `PublishLogs`, and only
//! while someone reads.

use std::collections::HashMap;
use std::sync::Arc;

use davit_proto::v1::PublishLogsRequest;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use uuid::Uuid;

/// Messages between worker and reader; a slow reader slows the worker down.
const BUFFER: usize = 2;
/// Readings at once. Each holds a few messages of up to 256 KiB while its reader is slow.
const MAX_READINGS: usize = 512;

/// Readings that wait for their worker or are under way. Clones share them.
#[derive(Debug, Clone)]
pub struct LogRelay {
    readings: Arc<Mutex<HashMap<Uuid, mpsc::Sender<PublishLogsRequest>>>>,
    places: Arc<Semaphore>,
}

impl Default for LogRelay {
    fn default() -> Self {
        Self { readings: Arc::default(), places: Arc::new(Semaphore::new(MAX_READINGS)) }
    }
}

/// The reader's end. Dropping it ends the worker's call.
#[derive(Debug)]
pub struct Reading {
    log_id: Uuid,
    /// What the worker sends; ends with its call.
    pub messages: mpsc::Receiver<PublishLogsRequest>,
    relay: LogRelay,
    _place: OwnedSemaphorePermit,
}

impl LogRelay {
    /// Begins a reading; `None` when there are too many.
    #[must_use]
    pub fn begin(&self, log_id: Uuid) -> Option<Reading> {
        let place = Arc::clone(&self.places).try_acquire_owned().ok()?;
        let (sender, messages) = mpsc::channel(BUFFER);
        self.readings.lock().insert(log_id, sender);
        Some(Reading { log_id, messages, relay: self.clone(), _place: place })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readings_are_bounded_and_give_their_places_back() {
        let relay = LogRelay::default();
        let open: Vec<_> =
            (0..MAX_READINGS as u128).map(|number| relay.begin(Uuid::from_u128(number)).unwrap()).collect();
        assert!(relay.begin(Uuid::max()).is_none());
        drop(open);
        assert!(relay.readings.lock().is_empty());
        assert!(relay.begin(Uuid::max()).is_some());
    }
}
