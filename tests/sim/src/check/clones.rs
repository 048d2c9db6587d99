//! When there were copies of machines' data directories. A manager can't tell a copy that it takes for the node from the node's
//! own worker that was restarted, so that it believes what the copy says: of its own engine, and of what it has on record. Only what
//! must never run twice is kept from running on both machines.

use std::time::Duration;

use crate::cluster::CLONE;
use crate::history::{Entry, Event};
use crate::net::Host;

/// All copies: of which machine, and from when on.
#[derive(Debug, Default)]
pub(super) struct Clones(Vec<(Host, Duration)>);

impl Clones {
    pub(super) fn of(entries: &[Entry]) -> Self {
        let begun = entries.iter().filter_map(|entry| match entry.event {
            Event::Cloned { of, is_there: true } => Some((of, entry.at)),
            _ => None,
        });
        Self(begun.collect())
    }

    /// Whether what runs on this host at a moment may be told of by another machine: it has a copy, or had one, or is that copy.
    pub(super) fn touch(&self, host: Host, at: Duration) -> bool {
        self.0.iter().any(|(of, from)| (*of == host || host == CLONE) && *from <= at)
    }

    /// Whether one of these hosts had a copy of the other.
    pub(super) fn link(&self, one: Host, other: Host, at: Duration) -> bool {
        (one == CLONE && self.touch(other, at)) || (other == CLONE && self.touch(one, at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_is_remembered_from_its_begin_on() {
        let entry =
            |seconds, of, is_there| Entry { at: Duration::from_secs(seconds), event: Event::Cloned { of, is_there } };
        let clones = Clones::of(&[entry(1, "a", true), entry(3, "a", false), entry(5, "b", true)]);
        let touched = |host, seconds| clones.touch(host, Duration::from_secs(seconds));
        assert_eq!([0, 1, 4].map(|seconds| touched("a", seconds)), [false, true, true]);
        assert_eq!([4, 5].map(|seconds| touched("b", seconds)), [false, true]);
        assert!(touched(CLONE, 1) && !touched("c", 9));
        let linked = |one, other, seconds| clones.link(one, other, Duration::from_secs(seconds));
        assert!(linked(CLONE, "a", 9) && linked("b", CLONE, 9));
        assert!(!linked("b", CLONE, 4) && !linked("a", "b", 9));
    }
}
