//! What is to be looked at: whatever changed, and whatever has something to do at a time.

use std::collections::BTreeSet;

use imbl::{OrdMap, OrdSet};
use jiff::Timestamp;

/// Things that are to be looked at, by their ids.
#[derive(Debug, Clone)]
pub(super) struct Agenda<Id: Ord + Copy> {
    /// Those of which something changed since they were looked at.
    changed: OrdSet<Id>,
    /// When each of those is to be looked at for which time alone makes a difference.
    looks: OrdMap<Id, Timestamp>,
    by_look: OrdSet<(Timestamp, Id)>,
}

impl<Id: Ord + Copy> Default for Agenda<Id> {
    fn default() -> Self {
        Self { changed: OrdSet::new(), looks: OrdMap::new(), by_look: OrdSet::new() }
    }
}

impl<Id: Ord + Copy> Agenda<Id> {
    /// Something of it changed.
    pub(super) fn note_change(&mut self, id: Id) {
        self.changed.insert(id);
    }

    /// It was looked at, and is to be looked at again when something changes or at this time.
    pub(super) fn note_looked_at(&mut self, id: Id, next_look: Option<Timestamp>) {
        self.changed.remove(&id);
        let before = match next_look {
            Some(at) => self.looks.insert(id, at),
            None => self.looks.remove(&id),
        };
        if before == next_look {
            return;
        }
        if let Some(at) = before {
            self.by_look.remove(&(at, id));
        }
        if let Some(at) = next_look {
            self.by_look.insert((at, id));
        }
    }

    /// Those that are to be looked at by now, in the order of their ids.
    pub(super) fn due(&self, now: Timestamp) -> Vec<Id> {
        let by_time = self.by_look.iter().take_while(|(at, _)| *at <= now).map(|(_, id)| *id);
        let all: BTreeSet<Id> = self.changed.iter().copied().chain(by_time).collect();
        all.into_iter().collect()
    }

    /// When time alone makes the next one due.
    pub(super) fn next(&self) -> Option<Timestamp> {
        self.by_look.get_min().map(|(at, _)| *at)
    }
}
