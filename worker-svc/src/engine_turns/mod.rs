//! Turns at one kind of work of an engine, such as starts or stops: as many at once as the engine gains from.

mod limit;

use std::fmt;
use std::sync::Arc;

use davit_svc_kit::clock::Clock;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use self::limit::Limit;
pub(crate) use self::limit::Outcome;
use crate::runtime::Error;
use crate::turns::{Turn, Turns};

/// Turns at one kind of work.
pub struct EngineTurns {
    /// Of what, for people.
    what: &'static str,
    turns: Arc<Turns>,
    limit: Mutex<Limit>,
    clock: Arc<dyn Clock>,
}

/// One turn. It ends when it is dropped; then it says nothing of the engine.
#[derive(Debug)]
pub struct EngineTurn {
    turn: Turn,
    of: Arc<EngineTurns>,
}

/// The turns of one stop. Once it is urgent it needs none.
#[derive(Debug)]
pub struct StopTurns {
    turns: Arc<EngineTurns>,
    urgent: CancellationToken,
}

impl fmt::Debug for EngineTurns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EngineTurns").field("what", &self.what).field("limit", &self.limit).finish_non_exhaustive()
    }
}

impl EngineTurns {
    /// Turns at `what`. Nothing is known of the engine yet.
    #[must_use]
    pub fn new(what: &'static str, clock: Arc<dyn Clock>) -> Arc<Self> {
        let limit = Limit::new();
        Arc::new(Self { what, turns: Turns::new(limit.now()), limit: Mutex::new(limit), clock })
    }

    /// Waits for a turn. `None` would be that there are no more, which never happens.
    pub async fn next(self: &Arc<Self>) -> Option<EngineTurn> {
        Some(EngineTurn { turn: self.turns.next().await?, of: Arc::clone(self) })
    }

    /// Whether one would have to wait now.
    pub(crate) fn are_taken(&self) -> bool {
        self.turns.are_taken()
    }
}

impl EngineTurn {
    /// What it was for has ended so.
    pub(crate) fn ended(self, outcome: Outcome) {
        let of = &self.of;
        let mut limit = of.limit.lock();
        let before = limit.now();
        limit.ended(outcome, of.turns.are_waited_for(), of.clock.uptime());
        if limit.now() != before {
            tracing::debug!(of.what, before, now = limit.now(), "another number at once");
            of.turns.set_limit(limit.now());
        }
        drop(limit);
        drop(self.turn);
    }

    /// What it was for has failed with this.
    pub(crate) fn failed(self, error: &Error) {
        // Any other error is about what was asked, or about this worker's own disk.
        if matches!(error, Error::Unavailable { .. }) {
            self.ended(Outcome::Failed);
        }
    }
}

impl StopTurns {
    /// Waits for turns with others until it is urgent.
    #[must_use]
    pub fn new(turns: &Arc<EngineTurns>, urgent: CancellationToken) -> Self {
        Self { turns: Arc::clone(turns), urgent }
    }

    /// Waits for a turn. `None`: it is urgent.
    pub(crate) async fn next(&self) -> Option<EngineTurn> {
        tokio::select! {
            biased;
            () = self.urgent.cancelled() => None,
            turn = self.turns.next() => turn,
        }
    }
}

#[cfg(test)]
mod tests {
    use davit_svc_kit::clock::SystemClock;
    use futures::FutureExt as _;

    use super::*;

    fn turns() -> Arc<EngineTurns> {
        EngineTurns::new("tests", Arc::new(SystemClock))
    }

    /// How many are to be had at once.
    fn at_once(turns: &Arc<EngineTurns>) -> usize {
        std::iter::from_fn(|| turns.next().now_or_never().flatten()).collect::<Vec<_>>().len()
    }

    #[test]
    fn an_engine_that_fails_gets_fewer_and_one_that_refuses_what_was_asked_does_not() {
        let turns = turns();
        let before = at_once(&turns);
        let fail = |error: &Error| turns.next().now_or_never().flatten().unwrap().failed(error);
        fail(&Error::Rejected { action: "start", message: "no-such-program: not found".to_owned() });
        fail(&Error::ImageGone { image: "busybox".to_owned() });
        assert_eq!(at_once(&turns), before);
        fail(&Error::Unavailable { action: "start", reason: "connection refused".to_owned() });
        assert_eq!(at_once(&turns), before / 2);
    }

    #[test]
    fn a_stop_that_becomes_urgent_waits_no_more() {
        let turns = turns();
        let _taken: Vec<_> = std::iter::from_fn(|| turns.next().now_or_never().flatten()).collect();
        let urgent = CancellationToken::new();
        let stop = StopTurns::new(&turns, urgent.clone());
        let mut waits = Box::pin(stop.next());
        assert!(waits.as_mut().now_or_never().is_none());
        urgent.cancel();
        assert!(waits.now_or_never().is_some_and(|turn| turn.is_none()));
        assert!(stop.next().now_or_never().is_some());
    }
}
