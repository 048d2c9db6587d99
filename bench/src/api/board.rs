//! Which events how many watchers have seen.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::load::Answer;

/// What all watchers write on.
#[derive(Debug)]
pub(super) struct Board {
    watchers: usize,
    notes: Mutex<Notes>,
}

#[derive(Debug, Default)]
struct Notes {
    /// By the name of the task that an event is about.
    expected: HashMap<String, Expected>,
    /// Why a watcher sees nothing any more.
    broken: Option<String>,
}

#[derive(Debug)]
struct Expected {
    seen: usize,
    /// When half of all had seen it.
    half: Option<Instant>,
    done: oneshot::Sender<Answer>,
}

impl Board {
    pub(super) fn new(watchers: usize) -> Self {
        Self { watchers, notes: Mutex::default() }
    }

    /// Answers when all watchers have seen the event of a task; ends without an answer when one of them is broken.
    pub(super) fn expect(&self, task_name: &str) -> oneshot::Receiver<Answer> {
        let (done, answer) = oneshot::channel();
        let mut notes = self.notes();
        if notes.broken.is_none() {
            notes.expected.insert(task_name.to_owned(), Expected { seen: 0, half: None, done });
        }
        answer
    }

    /// The event of this task won't come.
    pub(super) fn forget(&self, task_name: &str) {
        self.notes().expected.remove(task_name);
    }

    /// One more watcher has seen it.
    pub(super) fn seen(&self, task_name: &str, now: Instant) {
        let mut notes = self.notes();
        let Some(expected) = notes.expected.get_mut(task_name) else {
            return;
        };
        expected.seen += 1;
        if expected.seen >= self.watchers.div_ceil(2) {
            expected.half.get_or_insert(now);
        }
        if expected.seen == self.watchers
            && let Some(Expected { half, done, .. }) = notes.expected.remove(task_name)
        {
            // Whoever does not wait any more has given up.
            let _ = done.send(Answer::Seen { half: half.unwrap_or(now), all: now });
        }
    }

    /// A watcher sees nothing any more.
    pub(super) fn break_off(&self, why: String) {
        let mut notes = self.notes();
        notes.expected.clear();
        notes.broken.get_or_insert(why);
    }

    /// Why a watcher sees nothing any more.
    pub(super) fn broken(&self) -> Option<String> {
        self.notes().broken.clone()
    }

    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn it_is_told_when_half_of_the_watchers_and_when_all_have_seen_it() {
        let (board, began) = (Board::new(5), Instant::now());
        let mut answer = board.expect("web");
        let at = |number| began + Duration::from_millis(number);
        for number in 1..5 {
            board.seen("web", at(number));
            board.seen("another", at(number));
        }
        assert!(answer.try_recv().is_err());
        board.seen("web", at(5));
        let Ok(Answer::Seen { half, all }) = answer.try_recv() else { panic!("not told") };
        assert_eq!((half, all), (at(3), at(5)));
    }

    #[test]
    fn whoever_waits_for_a_broken_watcher_is_told() {
        let board = Board::new(2);
        let mut before = board.expect("web");
        board.break_off("the manager ended".to_owned());
        let mut after = board.expect("db");
        assert_eq!(before.try_recv().unwrap_err(), oneshot::error::TryRecvError::Closed);
        assert_eq!(after.try_recv().unwrap_err(), oneshot::error::TryRecvError::Closed);
        assert_eq!(board.broken().as_deref(), Some("the manager ended"));
    }

    #[test]
    fn what_is_forgotten_is_not_waited_for() {
        let board = Board::new(1);
        let mut answer = board.expect("web");
        board.forget("web");
        board.seen("web", Instant::now());
        assert!(answer.try_recv().is_err());
    }
}
