//! The border between a process and the world. When a process is killed its gate closes: whatever is left of it in memory
//! can reach nothing any more, which from outside is the same as being dead.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The gate of one process. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Gate {
    closed: Arc<AtomicBool>,
}

impl Gate {
    /// An open one.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Closes it for good.
    pub fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
    }

    /// Whether the process is dead.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    /// Goes through, or never returns.
    pub async fn pass(&self) {
        if self.is_closed() {
            std::future::pending::<()>().await;
        }
    }
}
