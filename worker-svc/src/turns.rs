//! Turns: so many are let in at once, the others wait, in the order in which they came. How many may be changed at any time.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Turns at one thing.
#[derive(Debug)]
pub struct Turns {
    semaphore: Arc<Semaphore>,
    waiting: AtomicUsize,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    limit: usize,
    /// So many turns that were given are not given again: the limit has become less.
    too_many: usize,
}

/// One turn. It ends when it is dropped.
#[derive(Debug)]
pub struct Turn {
    turns: Arc<Turns>,
    permit: Option<OwnedSemaphorePermit>,
}

/// Counts one who waits.
struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Turns {
    /// So many are let in at once.
    #[must_use]
    pub fn new(limit: usize) -> Arc<Self> {
        let (semaphore, state) = (Arc::new(Semaphore::new(limit)), Mutex::new(State { limit, too_many: 0 }));
        Arc::new(Self { semaphore, waiting: AtomicUsize::new(0), state })
    }

    /// Waits for a turn. `None` would be that there are no more, which never happens.
    pub async fn next(self: &Arc<Self>) -> Option<Turn> {
        let semaphore = Arc::clone(&self.semaphore);
        let permit = match Arc::clone(&semaphore).try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => {
                self.waiting.fetch_add(1, Ordering::Relaxed);
                let _waiting = Waiting(&self.waiting);
                semaphore.acquire_owned().await.ok()?
            }
        };
        Some(Turn { turns: Arc::clone(self), permit: Some(permit) })
    }

    /// Whether somebody would have to wait now.
    #[must_use]
    pub fn are_taken(&self) -> bool {
        self.semaphore.available_permits() == 0
    }

    /// Whether somebody waits.
    #[must_use]
    pub fn are_waited_for(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > 0
    }

    /// From now on so many are let in at once; who has been let in stays.
    pub fn set_limit(&self, limit: usize) {
        let mut state = self.state.lock();
        let more = limit.saturating_sub(state.limit);
        let repaid = more.min(state.too_many);
        state.too_many -= repaid;
        self.semaphore.add_permits(more - repaid);
        let fewer = state.limit.saturating_sub(limit);
        state.too_many += fewer - self.semaphore.forget_permits(fewer);
        state.limit = limit;
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut state = self.turns.state.lock();
        if state.too_many > 0 {
            state.too_many -= 1;
            if let Some(permit) = self.permit.take() {
                permit.forget();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    /// All that are to be had at once.
    fn take_all(turns: &Arc<Turns>) -> Vec<Turn> {
        std::iter::from_fn(|| turns.next().now_or_never().flatten()).collect()
    }

    #[test]
    fn fewer_are_let_in_as_soon_as_turns_end_and_more_at_once() {
        let turns = Turns::new(8);
        let mut taken = take_all(&turns);
        assert_eq!(taken.len(), 8);
        turns.set_limit(3);
        taken.truncate(4);
        assert!(turns.are_taken(), "what was let in before is still more than is to be let in");
        taken.truncate(2);
        assert_eq!(take_all(&turns).len(), 1);
        turns.set_limit(5);
        assert_eq!(take_all(&turns).len(), 3);
        drop(taken);
        turns.set_limit(2);
        assert_eq!(take_all(&turns).len(), 2, "what nobody uses is taken back at once");
        turns.set_limit(8);
        assert_eq!(take_all(&turns).len(), 8);
    }

    #[test]
    fn a_limit_that_goes_down_and_up_again_lets_in_as_many_as_before() {
        let turns = Turns::new(4);
        let taken = take_all(&turns);
        turns.set_limit(1);
        turns.set_limit(4);
        assert!(turns.are_taken());
        drop(taken);
        assert_eq!(take_all(&turns).len(), 4);
    }

    #[test]
    fn who_waits_no_more_is_not_counted() {
        let turns = Turns::new(1);
        let taken = take_all(&turns);
        let mut waits = Box::pin(turns.next());
        assert!(!turns.are_waited_for());
        assert!(waits.as_mut().now_or_never().is_none());
        assert!(turns.are_waited_for());
        drop(waits);
        assert!(!turns.are_waited_for());
        drop(taken);
    }
}
