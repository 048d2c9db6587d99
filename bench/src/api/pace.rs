//! PURE: when the requests of an open loop are due, and which rate is tried next.

use std::time::Duration;

/// Between a rate that was kept and one that was missed it is looked so often.
const REFINEMENTS: u32 = 3;

/// Requests that are due one after the other, at one rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pace {
    /// At least 1.
    pub(super) per_s: u64,
    /// How many seconds of them.
    pub(super) seconds: u64,
}

impl Pace {
    pub(super) fn requests(self) -> u64 {
        self.per_s * self.seconds
    }

    /// When one is due, from the start of the first.
    pub(super) fn due(self, number: u64) -> Duration {
        let (seconds, rest) = (number / self.per_s, number % self.per_s);
        Duration::from_secs(seconds) + Duration::from_secs(rest).div_f64(self.per_s as f64)
    }
}

/// Finds the highest rate that is kept: it doubles the rate until one is missed, and then looks between. A rate is missed
/// only when it is missed twice, since something else may have been at work.
#[derive(Debug)]
pub(super) struct Ladder {
    rate: u64,
    /// The highest that was kept.
    kept: Option<u64>,
    /// The lowest that was missed.
    missed: Option<u64>,
    missed_once: bool,
    refined: u32,
}

impl Ladder {
    pub(super) fn from(rate: u64) -> Self {
        Self { rate, kept: None, missed: None, missed_once: false, refined: 0 }
    }

    /// The rate to try now.
    pub(super) fn rate(&self) -> u64 {
        self.rate
    }

    /// The highest that was kept so far.
    pub(super) fn kept(&self) -> Option<u64> {
        self.kept
    }

    /// Goes on to the next rate once it is known what became of this one. False when there is none left.
    pub(super) fn step(&mut self, kept: bool) -> bool {
        if !kept && !std::mem::replace(&mut self.missed_once, true) {
            return true;
        }
        self.missed_once = false;
        if kept {
            self.kept = Some(self.rate);
        } else {
            self.missed = Some(self.rate);
        }
        let next = match (self.kept, self.missed) {
            (Some(kept), None) => kept * 2,
            (None, Some(missed)) => missed / 2,
            (Some(kept), Some(missed)) => {
                self.refined += 1;
                kept.midpoint(missed)
            }
            (None, None) => self.rate,
        };
        let is_new = next > 0 && Some(next) != self.kept && self.refined <= REFINEMENTS;
        self.rate = next;
        is_new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_due_at_even_distances() {
        let pace = Pace { per_s: 4, seconds: 2 };
        let due: Vec<_> = (0..pace.requests()).map(|number| pace.due(number).as_millis()).collect();
        assert_eq!(due, [0, 250, 500, 750, 1_000, 1_250, 1_500, 1_750]);
        assert_eq!(Pace { per_s: 3, seconds: 1 }.due(3), Duration::from_secs(1));
    }

    /// The rates tried of a service that keeps a rate as long as it is no higher.
    fn tried(from: u64, capacity: u64) -> (Vec<u64>, Option<u64>) {
        let (mut ladder, mut rates) = (Ladder::from(from), Vec::new());
        loop {
            rates.push(ladder.rate());
            if !ladder.step(ladder.rate() <= capacity) {
                return (rates, ladder.kept());
            }
        }
    }

    #[test]
    fn the_rate_doubles_and_is_then_looked_for_between() {
        assert_eq!(tried(100, 700), (vec![100, 200, 400, 800, 800, 600, 700, 750, 750], Some(700)));
    }

    #[test]
    fn a_start_that_is_too_high_is_halved() {
        assert_eq!(tried(100, 30), (vec![100, 100, 50, 50, 25, 37, 37, 31, 31, 28], Some(28)));
        assert_eq!(tried(2, 0), (vec![2, 2, 1, 1], None));
        assert_eq!(tried(1, 1), (vec![1, 2, 2], Some(1)));
    }

    #[test]
    fn one_miss_is_none() {
        let mut ladder = Ladder::from(100);
        assert!(ladder.step(false));
        assert_eq!(ladder.rate(), 100);
        assert!(ladder.step(true));
        assert_eq!((ladder.rate(), ladder.kept()), (200, Some(100)));
    }
}
