//! Turns at an engine: so many starts are let in at once as its [`StartLimit`] says; the others wait, in the order in which they came.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::start_limit::{Outcome, StartLimit};

/// Turns at one engine.
#[derive(Debug)]
pub(super) struct Turns {
    semaphore: Arc<Semaphore>,
    waiting: AtomicUsize,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    limit: StartLimit,
    /// So many turns that were given are not given again: the limit has become less.
    too_many: usize,
}

/// One turn. It ends when it is dropped; [`Turn::ended`] says more of it.
#[derive(Debug)]
pub(super) struct Turn {
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
    pub(super) fn new() -> Arc<Self> {
        let limit = StartLimit::new();
        let semaphore = Arc::new(Semaphore::new(limit.now()));
        Arc::new(Self { semaphore, waiting: AtomicUsize::new(0), state: Mutex::new(State { limit, too_many: 0 }) })
    }

    /// Waits for a turn. `None` would be that there are no more, which never happens.
    pub(super) async fn next(self: &Arc<Self>) -> Option<Turn> {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let waiting = Waiting(&self.waiting);
        let permit = Arc::clone(&self.semaphore).acquire_owned().await.ok()?;
        drop(waiting);
        Some(Turn { turns: Arc::clone(self), permit: Some(permit) })
    }

    /// Whether somebody would have to wait now.
    pub(super) fn are_taken(&self) -> bool {
        self.semaphore.available_permits() == 0
    }

    fn ended(&self, outcome: Outcome, uptime: Duration) {
        let waiting = self.waiting.load(Ordering::Relaxed) > 0;
        let mut state = self.state.lock();
        let before = state.limit.now();
        state.limit.ended(outcome, waiting, uptime);
        let now = state.limit.now();
        if now != before {
            tracing::debug!(before, now, "another number of starts at once");
        }
        let more = now.saturating_sub(before);
        let repaid = more.min(state.too_many);
        state.too_many -= repaid;
        self.semaphore.add_permits(more - repaid);
        let fewer = before.saturating_sub(now);
        let at_once = self.semaphore.forget_permits(fewer);
        state.too_many += fewer - at_once;
    }
}

impl Turn {
    /// It has ended so, at this uptime of the machine.
    pub(super) fn ended(self, outcome: Outcome, uptime: Duration) {
        self.turns.ended(outcome, uptime);
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
    fn an_engine_that_does_not_answer_gets_fewer_as_soon_as_turns_end() {
        let turns = Turns::new();
        let mut taken = take_all(&turns);
        let first = taken.len();
        assert!(turns.are_taken() && first > 2);
        taken.pop().unwrap().ended(Outcome::Unanswered, Duration::ZERO);
        assert!(turns.are_taken(), "what was let in before is still more than is to be let in");
        drop(taken);
        assert_eq!(take_all(&turns).len(), first / 2);
    }

    #[test]
    fn an_engine_that_gains_gets_more_and_what_is_not_used_is_taken_back_at_once() {
        let turns = Turns::new();
        let first = take_all(&turns).len();
        // Others wait all the time.
        turns.waiting.store(1, Ordering::Relaxed);
        let mut uptime = Duration::ZERO;
        while turns.state.lock().limit.now() == first {
            uptime += Duration::from_millis(100);
            turns.next().now_or_never().flatten().unwrap().ended(Outcome::Started, uptime);
        }
        let more = take_all(&turns).len();
        assert!(more > first, "{more}");
        turns.next().now_or_never().flatten().unwrap().ended(Outcome::Unanswered, uptime);
        assert_eq!(take_all(&turns).len(), more / 2);
    }

    #[test]
    fn who_waits_no_more_is_not_counted() {
        let turns = Turns::new();
        let taken = take_all(&turns);
        let mut waits = Box::pin(turns.next());
        assert!(waits.as_mut().now_or_never().is_none());
        assert_eq!(turns.waiting.load(Ordering::Relaxed), 1);
        drop(waits);
        assert_eq!(turns.waiting.load(Ordering::Relaxed), 0);
        drop(taken);
    }
}
