//! How far a task's output was shown, so that a reading which broke off goes on right there. Pure.

use jiff::{SignedDuration, Timestamp};

const NANOSECOND: SignedDuration = SignedDuration::from_nanos(1);

/// The place behind the last piece that was shown.
///
/// A time alone names no place, since pieces may share one: all that a process wrote at once, or the parts of a long line, between
/// which later pieces may come. What does is the first piece of the greatest time, and how many were shown from that one on: the
/// order of the pieces never changes, and a reading from a time on begins with the first piece that is later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    /// The greatest time of a piece that was shown.
    newest: Option<Timestamp>,
    /// How many were shown from the first one of that time on.
    shown: u64,
    /// None of that time came before the first one that was shown. A tail may begin anywhere among them.
    from_first: bool,
}

impl Place {
    /// Before the first piece. `tail`: only the last ones are to be shown.
    pub(super) fn new(tail: bool) -> Self {
        Self { newest: None, shown: 0, from_first: !tail }
    }

    /// A piece of this time was shown.
    pub(super) fn shown(&mut self, time: Option<Timestamp>) {
        if time > self.newest {
            self.from_first |= self.newest.is_some();
            self.newest = time;
            self.shown = 0;
        }
        self.shown += 1;
    }

    /// Whether nothing was shown yet.
    pub(super) fn is_begin(&self) -> bool {
        self.shown == 0
    }

    /// What to read, to go on: only what was written after this time, and of that what [`Seen`] has not seen.
    pub(super) fn since(&self) -> Option<Timestamp> {
        let newest = self.newest?;
        // Where it is not known how many came before, what was written at that time counts as shown: the other way about, a reader
        // of the last line of many that were written at once would be shown all of them.
        if self.from_first { Some(newest.checked_sub(NANOSECOND).unwrap_or(newest)) } else { Some(newest) }
    }

    /// What such a reading brings that was shown already.
    pub(super) fn seen(&self) -> Seen {
        let left = if self.from_first { self.shown } else { 0 };
        Seen { since: self.since(), newest: self.newest, left }
    }
}

/// The pieces at the beginning of a reading that were shown already.
#[derive(Debug)]
pub(super) struct Seen {
    /// A manager or worker that does not know yet what was asked for begins with the oldest that is kept.
    since: Option<Timestamp>,
    newest: Option<Timestamp>,
    left: u64,
}

impl Seen {
    /// Whether the next piece is one of them.
    pub(super) fn has(&mut self, time: Option<Timestamp>) -> bool {
        if self.since.is_some_and(|since| time.is_some_and(|time| time <= since)) {
            return true;
        }
        self.since = None;
        // A later one comes too early if those before it are not kept any more.
        let has = self.left > 0 && time <= self.newest;
        self.left = if has { self.left - 1 } else { 0 };
        has
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(nanosecond: i128) -> Option<Timestamp> {
        Some(Timestamp::from_nanosecond(nanosecond).unwrap())
    }

    /// What a worker brings of pieces with these times; each is known by its number.
    fn read(times: &[i128], since: Option<Timestamp>) -> impl Iterator<Item = (usize, Option<Timestamp>)> {
        let pieces = times.iter().map(|time| at(*time)).enumerate();
        pieces.skip_while(move |(_, time)| since.is_some_and(|since| *time <= Some(since)))
    }

    /// Which pieces are shown to a reader whose reading of the last `tail` breaks after `first` pieces, and the next one after
    /// `second` more.
    fn shown(times: &[i128], tail: Option<usize>, first: usize, second: usize, old_worker: bool) -> Vec<usize> {
        let mut place = Place::new(tail.is_some());
        let mut shown = Vec::new();
        let from = tail.map_or(0, |tail| times.len().saturating_sub(tail));
        for most in [first, second, usize::MAX] {
            let since = if old_worker { None } else { place.since() };
            let from = if place.is_begin() { from } else { 0 };
            let mut seen = place.seen();
            let new = read(times, since).skip(from).filter(|(_, time)| !seen.has(*time)).take(most).collect::<Vec<_>>();
            for (number, time) in new {
                place.shown(time);
                shown.push(number);
            }
        }
        shown
    }

    /// All logs of four pieces and three times: times that are shared, parts of lines that come late, clocks that are set.
    fn logs() -> impl Iterator<Item = Vec<i128>> {
        (0..81_u32).map(|number| (0..4).map(|digit| i128::from(number / 3_u32.pow(digit) % 3) + 5).collect())
    }

    #[test]
    fn wherever_a_reading_breaks_each_piece_is_shown_once() {
        for times in logs() {
            for (first, second) in (0..=4).flat_map(|first| (0..=4).map(move |second| (first, second))) {
                let shown = shown(&times, None, first, second, false);
                assert_eq!(shown, [0, 1, 2, 3], "{times:?} breaks after {first} and {second}");
            }
        }
    }

    #[test]
    fn a_worker_that_begins_from_the_start_all_the_same_is_put_up_with_where_clocks_are_not_set() {
        for times in logs().filter(|times| times.is_sorted()) {
            for first in 0..=4 {
                assert_eq!(shown(&times, None, first, 0, true), [0, 1, 2, 3], "{times:?} breaks after {first}");
            }
        }
    }

    #[test]
    fn of_a_tail_nothing_is_shown_twice_and_nothing_that_came_before_it() {
        for times in logs().filter(|times| times.is_sorted()) {
            for (tail, first) in (1..=4).flat_map(|tail| (0..=tail).map(move |first| (tail, first))) {
                let shown = shown(&times, Some(tail), first, 0, false);
                let begin = 4 - tail;
                assert!(shown.is_sorted_by(|a, b| a < b) && shown[0] == begin, "{times:?} {tail} {first}: {shown:?}");
                // What may be missing was written at the very time of all that was shown.
                let missing = |number: &usize| !shown.contains(number);
                let shared = (begin..4).filter(missing).all(|number| times[number] == times[begin] && first > 0);
                assert!(shared, "{times:?} {tail} {first}: {shown:?}");
            }
        }
    }

    #[test]
    fn pieces_that_are_no_longer_kept_hide_no_later_ones() {
        let mut place = Place::new(false);
        for _ in 0..3 {
            place.shown(at(5));
        }
        let mut seen = place.seen();
        assert!(!seen.has(at(6)) && !seen.has(at(6)));
    }

    #[test]
    fn pieces_without_a_time_are_counted() {
        let mut place = Place::new(false);
        place.shown(None);
        place.shown(None);
        assert_eq!(place.since(), None);
        let mut seen = place.seen();
        assert!(seen.has(None) && seen.has(None) && !seen.has(None));
    }
}
