//! Whose turn it is to be created and started, as many at once as the engine gains from.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::start_limit::{Outcome, StartLimit};
use crate::turns::{Turn, Turns};

/// The starts of one node.
#[derive(Debug)]
pub(super) struct Starts {
    turns: Arc<Turns>,
    limit: Mutex<StartLimit>,
}

impl Starts {
    pub(super) fn new() -> Self {
        let limit = StartLimit::new();
        Self { turns: Turns::new(limit.now()), limit: Mutex::new(limit) }
    }

    /// Waits for a turn.
    pub(super) async fn next(&self) -> Option<Turn> {
        self.turns.next().await
    }

    /// Whether a start would have to wait now.
    pub(super) fn are_many(&self) -> bool {
        self.turns.are_taken()
    }

    /// A start has ended so, at this uptime of the machine, and with it its turn.
    pub(super) fn ended(&self, turn: Turn, outcome: Outcome, uptime: Duration) {
        let mut limit = self.limit.lock();
        let before = limit.now();
        limit.ended(outcome, self.turns.are_waited_for(), uptime);
        if limit.now() != before {
            tracing::debug!(before, now = limit.now(), "another number of starts at once");
            self.turns.set_limit(limit.now());
        }
        drop(turn);
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[test]
    fn an_engine_that_does_not_answer_gets_fewer() {
        let starts = Starts::new();
        let before = starts.limit.lock().now();
        let turn = starts.next().now_or_never().flatten().unwrap();
        starts.ended(turn, Outcome::Unanswered, Duration::ZERO);
        let turns: Vec<_> = std::iter::from_fn(|| starts.next().now_or_never().flatten()).collect();
        assert_eq!(turns.len(), before / 2);
        assert!(starts.are_many());
    }
}
