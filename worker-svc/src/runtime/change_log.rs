//! What has changed in an engine, in the order in which it did, as far back as a look needs to go. Pure.

use std::collections::{BTreeSet, VecDeque};

/// So many changes are kept. After more of them than that, all is looked through.
const KEPT: usize = 128;

/// The newest changes, numbered.
#[derive(Debug)]
pub(super) struct ChangeLog<T> {
    last: u64,
    /// What the changes up to `last` were about; fewer than [`KEPT`] are all since the last one that could have been about anything.
    newest: VecDeque<T>,
}

impl<T> Default for ChangeLog<T> {
    fn default() -> Self {
        Self { last: 0, newest: VecDeque::new() }
    }
}

impl<T: Clone + Ord> ChangeLog<T> {
    /// This has changed.
    pub(super) fn note(&mut self, what: T) {
        self.last += 1;
        if self.newest.len() == KEPT {
            self.newest.pop_front();
        }
        self.newest.push_back(what);
    }

    /// Whatever there is may have changed.
    pub(super) fn note_all(&mut self) {
        self.last += 1;
        self.newest.clear();
    }

    /// The number of the newest change.
    pub(super) fn last(&self) -> u64 {
        self.last
    }

    /// What has changed after the change of this number. `None`: that can't be told any more.
    pub(super) fn since(&self, number: u64) -> Option<BTreeSet<T>> {
        let count = usize::try_from(self.last.checked_sub(number)?).ok()?;
        let first = self.newest.len().checked_sub(count)?;
        Some(self.newest.range(first..).cloned().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_changed_since_is_told_once_each() {
        let mut log = ChangeLog::default();
        for what in ["a", "b", "a"] {
            log.note(what);
        }
        assert_eq!(log.last(), 3);
        assert_eq!(log.since(3), Some(BTreeSet::new()));
        assert_eq!(log.since(2), Some(BTreeSet::from(["a"])));
        assert_eq!(log.since(0), Some(BTreeSet::from(["a", "b"])));
        assert_eq!(log.since(4), None, "no such change has been");
    }

    #[test]
    fn what_is_too_long_ago_or_was_all_can_not_be_told() {
        let mut log = ChangeLog::default();
        log.note(0);
        log.note_all();
        log.note(1);
        assert_eq!(log.since(0), None);
        assert_eq!(log.since(1), None);
        assert_eq!(log.since(2), Some(BTreeSet::from([1])));
        for number in 0..KEPT {
            log.note(number);
        }
        assert_eq!(log.since(2), None);
        assert_eq!(log.since(3).map(|changed| changed.len()), Some(KEPT));
    }
}
