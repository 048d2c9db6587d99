//! Who registers when many want to at once, as all do after the manager's start: whoever came first is taken in first, and the
//! others wait for their turn, connected, and with all that they have to say still in their connections.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

/// So many registrations are worked on at once: enough to fill a batch of the writer, and few enough to leave room in its queue.
const AT_ONCE: usize = 256;
/// So long after the manager's start it is put down to the queue that nothing is heard of a worker. Not for ever: some may be in it
/// over and over.
const PUT_DOWN_FOR: Duration = Duration::from_secs(60);

/// So long at least a node is still given while many workers register after the manager's start: enough for one that was refused and
/// comes again, and for one whose own machine is as busy with that as the manager is.
const BEHIND_OTHERS: Duration = Duration::from_secs(5);

/// The turns to register.
#[derive(Debug, Clone)]
pub struct Registrations {
    turns: Arc<Semaphore>,
    /// The manager's start.
    began: Instant,
    /// When it was seen last that all turns were taken.
    full_at: Arc<Mutex<Option<Instant>>>,
}

/// A turn. It ends when it is dropped.
#[derive(Debug)]
pub struct Turn {
    _permit: OwnedSemaphorePermit,
}

impl Registrations {
    pub(super) fn new() -> Self {
        Self { turns: Arc::new(Semaphore::new(AT_ONCE)), began: Instant::now(), full_at: Arc::default() }
    }

    /// Waits for a turn, behind whoever came before. `None`: who waits is `gone`.
    pub async fn turn(&self, gone: impl Future<Output = ()>) -> Option<Turn> {
        tokio::select! {
            biased;
            // It is never closed.
            permit = Arc::clone(&self.turns).acquire_owned() => permit.ok().map(|permit| Turn { _permit: permit }),
            () = gone => None,
        }
    }

    #[cfg(test)]
    pub(crate) async fn take_all(&self) -> Vec<Turn> {
        let mut turns = Vec::new();
        while self.turns.available_permits() > 0 {
            turns.extend(self.turn(std::future::pending()).await);
        }
        turns
    }

    /// Until when workers that have been there since the manager's start may still wait for their turn, be refused and come again, or be
    /// as busy with it as the manager is. `None`: none does.
    pub(super) fn hold_up_until(&self) -> Option<Instant> {
        let (now, mut full_at) = (Instant::now(), self.full_at.lock());
        if self.turns.available_permits() == 0 && self.began.elapsed() < PUT_DOWN_FOR {
            *full_at = Some(now);
        }
        full_at.map(|full_at| full_at + BEHIND_OTHERS).filter(|until| *until > now)
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use futures::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn who_came_first_is_next_and_who_is_gone_is_passed_over() {
        let registrations = Registrations::new();
        assert_eq!(registrations.hold_up_until(), None);
        let mut taken = registrations.take_all().await;
        // A task that has done so much is made to wait, whatever it waits for.
        tokio::task::yield_now().await;
        assert!(registrations.hold_up_until().is_some());

        let (mut first, mut second) =
            (Box::pin(registrations.turn(pending())), Box::pin(registrations.turn(pending())));
        assert!(first.as_mut().now_or_never().is_none() && second.as_mut().now_or_never().is_none());
        assert!(registrations.turn(async {}).await.is_none(), "it is gone");
        taken.pop();
        assert!(second.as_mut().now_or_never().is_none());
        drop(first.await.unwrap());
        assert!(second.await.is_some());
    }
}
