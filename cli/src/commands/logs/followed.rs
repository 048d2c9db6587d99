//! Which outputs are read when, of many that come and go. Pure.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use davit_core::words::counted;

use super::written::{Found, Stage, Written};

/// So many outputs of attempts that go on are read at one time; others wait until one of them has ended, and are read from their
/// beginning.
const LIVE_AT_ONCE: usize = 16;
/// So many of those that had ended before they were read, beside them.
const ENDED_AT_ONCE: usize = 8;
/// So many that wait are named.
const NAMED: usize = 5;

/// What is known of outputs that are followed.
#[derive(Debug, Default)]
pub(super) struct Followed {
    /// Of each task that there is the newest attempt that is read, was, or waits to be.
    known: BTreeMap<String, u32>,
    /// Had ended when they were found.
    ended: VecDeque<Next>,
    live: VecDeque<Next>,
    /// The places of which an output that had ended is being read: later ones of a place come after it.
    reading_ended: BTreeSet<String>,
    reading_live: usize,
    has_looked: bool,
    several: bool,
    has_ended: bool,
    /// How many were told to wait.
    told: usize,
}

/// An output to be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Next {
    pub(super) written: Written,
    /// It was there from the first look on. Of what came later not only a tail is wanted: nobody saw what is before.
    pub(super) was_there: bool,
}

impl Followed {
    /// Takes in what was found.
    pub(super) fn see(&mut self, found: Found) {
        let there: BTreeSet<&str> = found.outputs.iter().map(|written| written.task_id.as_str()).collect();
        self.known.retain(|task_id, _| there.contains(task_id.as_str()));
        (self.several, self.has_ended) = (found.several, found.has_ended);
        let was_there = !std::mem::replace(&mut self.has_looked, true);
        for written in found.outputs {
            let known = self.known.get(&written.task_id).copied().unwrap_or(0);
            if written.stage == Stage::Waits || written.attempt <= known {
                continue;
            }
            self.known.insert(written.task_id.clone(), written.attempt);
            let line = if written.stage == Stage::Ended { &mut self.ended } else { &mut self.live };
            line.push_back(Next { written, was_there });
        }
    }

    /// Whether nothing new comes.
    pub(super) fn has_ended(&self) -> bool {
        self.has_ended
    }

    /// Whether several places write at one time.
    pub(super) fn several(&self) -> bool {
        self.several
    }

    /// The next output to begin with now, if there is any. What is over comes first, since it needs no place for long.
    pub(super) fn next(&mut self) -> Option<Next> {
        let is_reading = self.reading_live + self.reading_ended.len() > 0;
        if !self.several && is_reading {
            return None;
        }
        let is_free = |next: &Next| !self.reading_ended.contains(&next.written.place);
        if !self.ended.is_empty() {
            let at = if self.reading_ended.len() < ENDED_AT_ONCE { self.ended.iter().position(is_free) } else { None };
            let next = self.ended.remove(at?)?;
            self.reading_ended.insert(next.written.place.clone());
            return Some(next);
        }
        let at = if self.reading_live < LIVE_AT_ONCE { self.live.iter().position(is_free) } else { None };
        let next = self.live.remove(at?)?;
        self.reading_live += 1;
        Some(next)
    }

    /// An output that was begun with is read to its end.
    pub(super) fn is_read(&mut self, written: &Written) {
        match written.stage {
            Stage::Ended => {
                self.reading_ended.remove(&written.place);
            }
            Stage::Writes | Stage::Waits => self.reading_live = self.reading_live.saturating_sub(1),
        }
    }

    /// Whether nothing that had ended is left to be read.
    pub(super) fn is_past_read(&self) -> bool {
        self.ended.is_empty() && self.reading_ended.is_empty()
    }

    /// Which outputs are not shown now although somebody writes them, if there are more of them than were told.
    pub(super) fn left_out(&mut self) -> Option<String> {
        if !self.several || self.reading_live < LIVE_AT_ONCE || self.live.len() <= self.told {
            return None;
        }
        self.told = self.live.len();
        let waiting = self.live.iter().map(|next| next.written.label());
        let wait = if self.told == 1 { "waits" } else { "wait" };
        Some(format!("{LIVE_AT_ONCE} outputs are followed at one time; {} {wait} until one ends", named(waiting)))
    }
}

/// The first of them by name, the rest by number.
pub(super) fn named(labels: impl ExactSizeIterator<Item = String>) -> String {
    let more = labels.len().saturating_sub(NAMED);
    let first = labels.take(NAMED).collect::<Vec<_>>().join(", ");
    if more == 0 { first } else { format!("{first} and {}", counted(more as u64, "other", "others")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(place: &str, task: u32, attempt: u32, stage: Stage) -> Written {
        Written { task_id: format!("t{task}"), attempt, place: place.to_owned(), stage }
    }

    fn found(outputs: &[Written]) -> Found {
        Found { outputs: outputs.to_vec(), several: true, has_ended: false }
    }

    fn begun(followed: &mut Followed) -> Vec<String> {
        std::iter::from_fn(|| followed.next()).map(|next| next.written.label()).collect()
    }

    #[test]
    fn each_attempt_is_read_once_when_it_writes() {
        use Stage::{Ended, Waits, Writes};
        let mut followed = Followed::default();
        let (first, waits) = (written("web.1", 1, 1, Writes), written("web.2", 2, 2, Waits));
        followed.see(found(&[first.clone(), written("web.2", 2, 1, Ended), waits]));
        assert_eq!(begun(&mut followed), ["web.2", "web.1"], "the second attempt has not begun");
        let second = written("web.2", 2, 2, Writes);
        // A rolling update: another task in the place of the first one.
        followed.see(found(&[written("web.1", 1, 1, Ended), second, written("web.1", 3, 1, Writes)]));
        assert_eq!(begun(&mut followed), ["web.1"], "the attempt before is still being read");
        followed.is_read(&written("web.2", 2, 1, Ended));
        assert_eq!(begun(&mut followed), ["web.2, attempt 2"]);
        followed.is_read(&first);
        followed.see(Found { has_ended: true, ..found(&[]) });
        assert!(followed.has_ended() && followed.known.is_empty(), "of tasks that are gone nothing is kept");
    }

    #[test]
    fn attempts_of_one_place_come_one_after_the_other() {
        let past = |attempt| written("index 2", 2, attempt, Stage::Ended);
        let outputs = [past(1), past(2), written("index 2", 2, 3, Stage::Writes)];
        for several in [false, true] {
            let mut followed = Followed::default();
            followed.see(Found { several, ..found(&outputs) });
            let mut order = Vec::new();
            while let Some(next) = followed.next() {
                assert_eq!(followed.next(), None);
                followed.is_read(&next.written);
                order.push(next.written.attempt);
            }
            assert_eq!(order, [1, 2, 3]);
            assert!(followed.is_past_read());
        }
    }

    #[test]
    fn only_of_what_was_there_from_the_beginning_a_tail_is_enough() {
        let mut followed = Followed::default();
        let first = written("web.1", 1, 1, Stage::Writes);
        followed.see(found(std::slice::from_ref(&first)));
        followed.see(found(&[first, written("web.2", 2, 1, Stage::Ended)]));
        let begun = std::iter::from_fn(|| followed.next()).map(|next| (next.written.task_id, next.was_there));
        assert_eq!(begun.collect::<Vec<_>>(), [("t2".to_owned(), false), ("t1".to_owned(), true)]);
    }

    #[test]
    fn what_goes_on_is_bounded_and_what_waits_is_told_once() {
        let place = |number: u32| format!("web.{number}");
        let running = |count| -> Vec<Written> {
            (1..=count).map(|number| written(&place(number), number, 1, Stage::Writes)).collect()
        };
        let mut followed = Followed::default();
        followed.see(found(&running(16)));
        assert_eq!((begun(&mut followed).len(), followed.left_out()), (16, None));
        followed.see(found(&running(17)));
        assert_eq!(begun(&mut followed), [""; 0]);
        let told = "16 outputs are followed at one time; web.17 waits until one ends";
        assert_eq!(followed.left_out().as_deref(), Some(told));
        assert_eq!(followed.left_out(), None, "it is told already");
        followed.see(found(&running(24)));
        assert!(followed.next().is_none());
        let told = "16 outputs are followed at one time; web.17, web.18, web.19, web.20, web.21 and 3 others wait until one ends";
        assert_eq!(followed.left_out().as_deref(), Some(told));
        // What has ended is read meanwhile; and a place that gets free goes to the next.
        let past = |number| written(&place(number), number, 1, Stage::Ended);
        followed.see(found(&[running(24), (100..110).map(past).collect()].concat()));
        assert_eq!(begun(&mut followed).len(), 8);
        for number in 100..110 {
            followed.is_read(&past(number));
            begun(&mut followed);
        }
        followed.is_read(&running(3)[2]);
        assert_eq!(begun(&mut followed), ["web.17"]);
    }
}
