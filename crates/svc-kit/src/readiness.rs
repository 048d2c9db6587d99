//! Whether a service can do its work: one source of truth for gRPC health and for `/readyz`.

use std::sync::Arc;

use tokio::sync::watch;

/// What a service says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReadyState {
    /// It can do its work.
    Ready,
    /// It can't.
    NotReady {
        /// Why, for people.
        reason: String,
    },
}

/// The readiness of one service. Clones share it.
#[derive(Debug, Clone)]
pub struct Readiness {
    state: Arc<watch::Sender<ReadyState>>,
}

impl Readiness {
    /// Not ready yet, because it is starting.
    #[must_use]
    pub fn new() -> Self {
        let state = ReadyState::NotReady { reason: "starting".to_owned() };
        Self { state: Arc::new(watch::Sender::new(state)) }
    }

    /// It can do its work.
    pub fn set_ready(&self) {
        self.set(ReadyState::Ready);
    }

    /// It can't, and why.
    pub fn set_not_ready(&self, reason: impl Into<String>) {
        self.set(ReadyState::NotReady { reason: reason.into() });
    }

    /// What holds now.
    #[must_use]
    pub fn get(&self) -> ReadyState {
        self.state.borrow().clone()
    }

    /// Whether it is ready now.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        *self.state.borrow() == ReadyState::Ready
    }

    /// A receiver that sees every change from now on.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<ReadyState> {
        self.state.subscribe()
    }

    /// Waits until it is ready.
    pub async fn wait_ready(&self) {
        // The sender lives in `self`, so the channel can't close.
        let _ = self.watch().wait_for(|state| *state == ReadyState::Ready).await;
    }

    fn set(&self, new: ReadyState) {
        self.state.send_if_modified(|state| {
            let changed = *state != new;
            *state = new;
            changed
        });
    }
}

impl Default for Readiness {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn watchers_see_changes_and_only_changes() {
        let readiness = Readiness::new();
        assert!(!readiness.is_ready());
        let mut watcher = readiness.watch();
        readiness.set_ready();
        readiness.wait_ready().await;
        watcher.changed().await.unwrap();
        assert_eq!(*watcher.borrow_and_update(), ReadyState::Ready);
        readiness.set_ready();
        assert!(!watcher.has_changed().unwrap());
    }
}
