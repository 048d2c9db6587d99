//! How many placements may be on their way to workers. Pure.
//!
//! What is placed faster than workers take it waits at their ends and on the way, in front of heartbeats: a second of such work is a
//! second of silence. So it follows how long they take, as a window of TCP does.

use std::time::Duration;

/// The fewest and the most: with the fewest a cluster whose workers are far away is still given some ten thousand tasks a second.
const FEWEST: usize = 2_000;
const MOST: usize = 10_000;
/// Until half of a window is taken it is to last so long at most.
const TARGET: Duration = Duration::from_millis(150);
/// By so many it grows when that took less than half of the target.
const GROWTH: usize = 500;

/// How many placements may be on their way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Window {
    size: usize,
    /// So many wait for workers that take nothing: others are not to wait for them.
    stuck: u64,
}

impl Default for Window {
    fn default() -> Self {
        Self { size: MOST, stuck: 0 }
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

    /// Whether so many wait or not, a part is committed now, after so long.
    pub(super) fn waited(&mut self, waited: Duration, not_taken: u64) {
        self.stuck = if self.has_room_beside(not_taken) { self.stuck.min(not_taken) } else { not_taken };
        if waited > TARGET {
            let fitting = TARGET.as_secs_f64() / waited.as_secs_f64() * self.size as f64;
            self.size = (fitting as usize).clamp(self.size / 2, self.size).max(FEWEST);
        } else if waited < TARGET / 2 {
            self.size = (self.size + GROWTH).min(MOST);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Its size in the end with workers that take so many a second and answer after so long.
    fn settled(taken_per_s: f64, answer: Duration) -> usize {
        let mut window = Window::default();
        for _ in 0..100 {
            window.waited(answer + Duration::from_secs_f64(window.part() as f64 / taken_per_s), 0);
        }
        window.size
    }

    #[test]
    fn it_holds_what_is_taken_in_good_time() {
        assert_eq!(settled(100_000.0, Duration::ZERO), MOST);
        let lasts = Duration::from_secs_f64(settled(15_000.0, Duration::ZERO) as f64 / 15_000.0);
        assert!((TARGET..=TARGET * 5 / 2).contains(&lasts), "{lasts:?}");
        assert_eq!(settled(10.0, Duration::ZERO), FEWEST);
        assert_eq!(settled(100_000.0, Duration::from_secs(1)), FEWEST);
    }

    #[test]
    fn one_slow_answer_halves_it_at_most() {
        let mut window = Window::default();
        window.waited(Duration::from_secs(100), 0);
        assert_eq!(window.size, MOST / 2);
        assert!(window.has_room_beside(MOST as u64 / 4) && !window.has_room_beside(MOST as u64 / 4 + 1));
    }

    #[test]
    fn workers_that_take_nothing_are_waited_for_once() {
        let mut window = Window::default();
        assert!(!window.has_room_beside(20_000));
        window.waited(Duration::from_secs(1), 20_000);
        assert!(window.has_room_beside(20_000 + window.part() as u64));
        assert!(!window.has_room_beside(20_001 + window.part() as u64));
        window.waited(Duration::ZERO, 3_000);
        assert!(!window.has_room_beside(20_000), "they have taken some");
    }
}
