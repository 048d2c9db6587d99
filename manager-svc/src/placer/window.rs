//! How many placements may be on their way to workers. Pure.
//!
//! What is placed faster than workers take it waits at their ends and on the way, in front of heartbeats: a second of such work is a
//! second of silence. So it follows how long they take, as a window of TCP does.

use std::time::Duration;

/// The fewest and the most. With the fewest, workers that answer after 0.2 s are still given ten thousand tasks a second.
const FEWEST: usize = 2_000;
const MOST: usize = 10_000;
/// Half of a window is to be taken within this.
const TARGET: Duration = Duration::from_millis(150);
/// By so many it grows when that took less than half of the target.
const GROWTH: usize = 500;
/// So many fewer count as stuck after each part: what was only slow is not left out of account for long, and what is stuck is waited
/// for again now and then.
const FORGOTTEN: u64 = 500;

/// How many placements may be on their way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Window {
    size: usize,
    /// So many wait for workers that take nothing: others are not to wait for them.
    stuck: u64,
    /// So many waited when the last part was committed.
    before: u64,
}

impl Default for Window {
    fn default() -> Self {
        Self { size: MOST, stuck: 0, before: 0 }
    }
}

impl Window {
    /// How many placements are committed at once.
    pub(super) fn part(self) -> usize {
        self.size / 2
    }

    /// Whether a part may be committed while so many wait for their workers to take them.
    pub(super) fn has_room_beside(self, not_taken: u64) -> bool {
        not_taken <= self.stuck + (self.size - self.part()) as u64
    }

    /// There was room after such a wait, and so many are not taken; `fills_it`: what is to be committed is a whole part.
    pub(super) fn had_room(&mut self, after: Duration, not_taken: u64, fills_it: bool) {
        self.stuck = self.stuck.min(not_taken).saturating_sub(FORGOTTEN);
        let most_was_taken =
            not_taken < std::mem::replace(&mut self.before, not_taken) + self.part().div_ceil(2) as u64;
        if after > TARGET {
            let fitting = TARGET.as_secs_f64() / after.as_secs_f64() * self.size as f64;
            self.size = (fitting as usize).clamp(self.size / 2, self.size).max(FEWEST);
        } else if after < TARGET / 2 && fills_it && most_was_taken {
            self.size = (self.size + GROWTH).min(MOST);
        }
    }

    /// There was none for as long as it is waited for, and so many are not taken: they wait for workers that take nothing, or little.
    pub(super) fn had_none(&mut self, not_taken: u64) {
        (self.stuck, self.before) = (not_taken, not_taken);
        self.size = (self.size / 2).max(FEWEST);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONGEST_WAIT: f64 = 1.0;

    /// Workers that take so many a second, but for some that take nothing, each part after a moment.
    struct Workers {
        taken_per_s: f64,
        answer_s: f64,
        stuck: f64,
        not_taken: f64,
    }

    impl Workers {
        fn new(taken_per_s: f64) -> Self {
            Self { taken_per_s, answer_s: 0.0, stuck: 0.0, not_taken: 0.0 }
        }

        fn pass(&mut self, seconds: f64) {
            self.not_taken = (self.not_taken - seconds * self.taken_per_s).max(self.stuck);
        }

        /// Gives them as many parts; how long that takes.
        fn give(&mut self, parts: usize, window: &mut Window) -> f64 {
            let mut passed = 0.0;
            for _ in 0..parts {
                let mut waited = self.answer_s;
                self.pass(waited);
                while waited < LONGEST_WAIT && !window.has_room_beside(self.not_taken as u64) {
                    waited += 0.001;
                    self.pass(0.001);
                }
                if window.has_room_beside(self.not_taken as u64) {
                    window.had_room(Duration::from_secs_f64(waited), self.not_taken as u64, true);
                } else {
                    window.had_none(self.not_taken as u64);
                }
                self.not_taken += window.part() as f64;
                passed += waited;
            }
            passed
        }
    }

    #[test]
    fn it_holds_what_is_taken_in_good_time() {
        for taken_per_s in [5_000.0, 15_000.0, 25_000.0] {
            let (mut window, mut workers) = (Window::default(), Workers::new(taken_per_s));
            workers.give(100, &mut window);
            let lasts = Duration::from_secs_f64(workers.not_taken / taken_per_s);
            assert!((TARGET / 2..=TARGET * 3).contains(&lasts), "{taken_per_s}: {window:?}, {lasts:?}");
        }
    }

    #[test]
    fn it_grows_back_when_workers_are_quick_again_and_is_put_to_the_test() {
        let (mut window, mut workers) = (Window::default(), Workers::new(1_000.0));
        workers.give(20, &mut window);
        assert_eq!(window.size, FEWEST);
        (workers.taken_per_s, workers.not_taken) = (1e9, 0.0);
        for _ in 0..100 {
            window.had_room(Duration::ZERO, 0, false);
        }
        assert_eq!(window.size, FEWEST, "few tasks tell nothing of many");
        workers.give(50, &mut window);
        assert_eq!(window.size, MOST);
    }

    #[test]
    fn it_is_no_smaller_than_the_fewest_where_workers_are_far_away() {
        let (mut window, mut workers) = (Window::default(), Workers::new(1e9));
        workers.answer_s = 0.2;
        workers.give(100, &mut window);
        assert_eq!(window.size, FEWEST);
    }

    #[test]
    fn workers_that_take_nothing_are_waited_for_seldom() {
        let (mut window, mut workers) = (Window::default(), Workers::new(100_000.0));
        workers.stuck = 20_000.0;
        workers.not_taken = workers.stuck;
        workers.give(1, &mut window);
        let took_s = workers.give(100, &mut window);
        assert!(took_s < 20.0 * LONGEST_WAIT, "{took_s}");
        workers.stuck = 0.0;
        workers.give(100, &mut window);
        assert_eq!(window.stuck, 0);
    }

    #[test]
    fn a_stall_is_forgotten_while_there_is_always_more_to_give() {
        let (mut window, mut workers) = (Window::default(), Workers::new(0.0));
        workers.give(5, &mut window);
        workers.taken_per_s = 15_000.0;
        workers.give(100, &mut window);
        assert_eq!(window.stuck, 0);
        assert!(workers.not_taken <= MOST as f64, "{}", workers.not_taken);
    }
}
