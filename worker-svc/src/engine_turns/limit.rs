//! How much of one kind an engine is given to do at once, starts or stops say: as much as it gains from. Pure.
//!
//! What comes through is counted in rounds, each some of it long, and only while more waits than is let in: then how much
//! comes through in a second says what the engine can do with so much at once. Now and then a round tries more or less:
//! - more stays if more comes through in a second; then still more is tried.
//! - less stays if hardly less comes through: each then takes less time. Then still less is tried.
//! - An engine that fails is given half: one that does not answer, refuses connections, or says that it can't now. What it
//!   refuses for the sake of what was asked, such as a command that is not there, says nothing of it and is not counted.

use std::time::Duration;

/// What the limit is before anything is known of the engine.
const FIRST: usize = 12;
const LEAST: usize = 2;
const MOST: usize = 64;
/// A round is at least so long, and one for each that is let in.
const ROUND: usize = 12;
/// More at once stay if so much more comes through.
const GAIN: f64 = 1.05;
/// Fewer at once stay if no less than this comes through.
const LOSS: f64 = 0.98;
/// Rounds between two trials.
const REST: u32 = 4;

/// How something ended that an engine was given to do, as far as it tells of the engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It came through.
    Done,
    /// The engine did not answer, or could not do it now.
    Failed,
}

/// A limit that follows what comes through.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Limit {
    /// What is let in at once.
    now: usize,
    round: Option<Round>,
    stage: Stage,
    /// Which way the next trial goes.
    next: Way,
    /// So many that fail were let in before the limit was lowered for that.
    known: usize,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Round {
    began: Duration,
    done: usize,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Stage {
    /// Until a trial. `rate`: what came through in a second, in the newest round.
    Rest { rounds: u32, rate: Option<f64> },
    /// Against what came through before, with this limit.
    Trial { way: Way, before: usize, rate: f64 },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    More,
    Fewer,
}

impl Way {
    fn from(self, limit: usize) -> usize {
        let step = (limit / 4).max(1);
        match self {
            Self::More => (limit + step).min(MOST),
            Self::Fewer => limit.saturating_sub(step).max(LEAST),
        }
    }

    fn other(self) -> Self {
        match self {
            Self::More => Self::Fewer,
            Self::Fewer => Self::More,
        }
    }

    /// Whether what came through in a trial is worth staying with.
    fn pays(self, rate: f64, before: f64) -> bool {
        match self {
            Self::More => rate >= before * GAIN,
            Self::Fewer => rate >= before * LOSS,
        }
    }
}

impl Limit {
    pub(super) fn new() -> Self {
        Self { now: FIRST, round: None, stage: Stage::Rest { rounds: 0, rate: None }, next: Way::More, known: 0 }
    }

    /// How many are let in at once.
    pub(super) fn now(&self) -> usize {
        self.now
    }

    /// Something has ended, at this uptime. `waiting`: others wait to be let in.
    pub(super) fn ended(&mut self, outcome: Outcome, waiting: bool, uptime: Duration) {
        if outcome == Outcome::Failed {
            // Those that were let in together fail together.
            if self.known == 0 {
                self.known = self.now;
                self.now = (self.now / 2).max(LEAST);
            }
            self.known -= 1;
            self.round = None;
            (self.stage, self.next) = (Stage::Rest { rounds: 0, rate: None }, Way::More);
            return;
        }
        self.known = 0;
        if !waiting {
            // What comes through now is what there is to do, not what the engine can. A trial that was not finished says nothing.
            if let Stage::Trial { before, .. } = self.stage {
                self.now = before;
            }
            self.round = None;
            self.stage = Stage::Rest { rounds: 0, rate: None };
            return;
        }
        let round = self.round.get_or_insert(Round { began: uptime, done: 0 });
        let took = uptime.saturating_sub(round.began);
        // The first one only begins the round.
        if round.done >= ROUND.max(self.now) && !took.is_zero() {
            let rate = round.done as f64 / took.as_secs_f64();
            self.round_over(rate);
            self.round = Some(Round { began: uptime, done: 1 });
        } else {
            round.done += 1;
        }
    }

    fn round_over(&mut self, rate: f64) {
        match self.stage {
            Stage::Rest { rounds: 0, rate: Some(_) } => self.try_other(rate),
            Stage::Rest { rounds, .. } => {
                self.stage = Stage::Rest { rounds: rounds.saturating_sub(1), rate: Some(rate) };
            }
            Stage::Trial { way, rate: before, .. } if way.pays(rate, before) => {
                self.next = way;
                self.try_other(rate);
            }
            Stage::Trial { way, before, rate: rate_before } => {
                self.now = before;
                self.next = way.other();
                self.stage = Stage::Rest { rounds: REST, rate: Some(rate_before) };
            }
        }
    }

    fn try_other(&mut self, rate: f64) {
        let (way, before) = (self.next, self.now);
        self.now = way.from(before);
        self.stage = if self.now == before {
            self.next = way.other();
            Stage::Rest { rounds: REST, rate: Some(rate) }
        } else {
            Stage::Trial { way, before, rate }
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As much as can be, but for a trial of fewer that may be under way.
    const NEARLY_MOST: usize = MOST - MOST / 4;

    /// Gives an engine so many `starts` to do; `rate` says how many come through in a second with so many at once.
    fn run(limit: &mut Limit, starts: usize, rate: impl Fn(usize) -> f64) {
        let mut uptime = Duration::ZERO;
        for _ in 0..starts {
            uptime += Duration::from_secs_f64(1.0 / rate(limit.now()));
            limit.ended(Outcome::Done, true, uptime);
        }
    }

    #[test]
    fn an_engine_that_gains_from_more_gets_more() {
        let mut limit = Limit::new();
        run(&mut limit, 5_000, |at_once| at_once as f64);
        assert!(limit.now() >= NEARLY_MOST, "{}", limit.now());
    }

    #[test]
    fn an_engine_that_gains_nothing_gets_few() {
        let mut limit = Limit::new();
        run(&mut limit, 5_000, |_| 7.0);
        assert!(limit.now() <= 3, "{}", limit.now());
    }

    #[test]
    fn it_stays_about_where_an_engine_does_best() {
        // Full speed from 12 on, and slower with more than 20.
        let rate = |at_once: usize| (at_once.min(12) as f64) * if at_once > 20 { 0.5 } else { 1.0 };
        let mut limit = Limit::new();
        run(&mut limit, 5_000, rate);
        assert!((9..=20).contains(&limit.now()), "{}", limit.now());
    }

    #[test]
    fn an_engine_that_does_not_answer_gets_half_and_more_again_when_it_does() {
        let mut limit = Limit::new();
        for _ in 0..FIRST {
            limit.ended(Outcome::Failed, true, Duration::ZERO);
            assert_eq!(limit.now(), FIRST / 2, "those that were let in together fail together");
        }
        for _ in 0..4 * FIRST {
            limit.ended(Outcome::Failed, true, Duration::ZERO);
        }
        assert_eq!(limit.now(), LEAST);
        run(&mut limit, 5_000, |at_once| at_once as f64);
        assert!(limit.now() >= NEARLY_MOST, "{}", limit.now());
    }

    #[test]
    fn it_learns_in_bursts_too_and_a_trial_that_a_burst_does_not_finish_is_undone() {
        let mut limit = Limit::new();
        let mut uptime = Duration::ZERO;
        for _ in 0..30 {
            for left in (0..60_usize).rev() {
                uptime += Duration::from_secs_f64(1.0 / limit.now() as f64);
                // The last ones are let in together, and nobody waits.
                limit.ended(Outcome::Done, left >= limit.now(), uptime);
            }
            assert!(matches!(limit.stage, Stage::Rest { .. }), "{limit:?}");
        }
        assert!(limit.now() > FIRST, "{}", limit.now());
    }

    #[test]
    fn what_does_not_fill_the_engine_says_nothing_of_it() {
        let mut limit = Limit::new();
        for second in 0..10_000 {
            limit.ended(Outcome::Done, second % 3 == 0, Duration::from_secs(second));
        }
        assert_eq!(limit.now(), FIRST);
    }

    #[test]
    fn no_time_and_no_number_of_starts_takes_it_out_of_its_bounds() {
        proptest::proptest!(|(ends in proptest::collection::vec((0..10u8, proptest::bool::ANY, 0..2_000_000u64), 0..500))| {
            let mut limit = Limit::new();
            let mut uptime = Duration::ZERO;
            for (kind, waiting, micros) in ends {
                uptime += Duration::from_micros(micros);
                let outcome = if kind == 0 { Outcome::Failed } else { Outcome::Done };
                limit.ended(outcome, waiting, uptime);
                proptest::prop_assert!((LEAST..=MOST).contains(&limit.now()));
            }
        });
    }
}
