//! When engines were in trouble: what their callers ask of them then happens late or not at all, and no promise reaches further.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::history::{Entry, Event};
use crate::net::Host;

/// How long after its trouble an engine may still do what it was asked to do meanwhile: a call that was given up is made anew, the
/// lease guard looks, and a task's grace passes.
const AFTERMATH: Duration = Duration::from_secs(4);

/// The troubles of all engines.
#[derive(Debug, Default)]
pub(super) struct Troubles {
    /// From when to when.
    by_host: BTreeMap<Host, Vec<(Duration, Duration)>>,
}

impl Troubles {
    pub(super) fn of(entries: &[Entry]) -> Self {
        let mut troubles = Self::default();
        let mut open: BTreeMap<Host, (u32, Duration)> = BTreeMap::new();
        for entry in entries {
            let Event::Engine { host, is_down } = entry.event else { continue };
            let (depth, since) = open.get(host).copied().unwrap_or((0, entry.at));
            match (is_down, depth) {
                (true, 0) => drop(open.insert(host, (1, entry.at))),
                (true, _) => drop(open.insert(host, (depth + 1, since))),
                (false, 0) => {}
                (false, 1) => {
                    open.remove(host);
                    troubles.by_host.entry(host).or_default().push((since, entry.at));
                }
                (false, _) => drop(open.insert(host, (depth - 1, since))),
            }
        }
        for (host, (_, since)) in open {
            troubles.by_host.entry(host).or_default().push((since, Duration::MAX));
        }
        troubles
    }

    /// Whether an engine is in trouble at a moment.
    pub(super) fn hold(&self, host: Host, at: Duration) -> bool {
        self.any(host, |from, to| from <= at && at <= to)
    }

    /// Whether an engine is in trouble at a moment, or was right before.
    pub(super) fn touch(&self, host: Host, at: Duration) -> bool {
        self.any(host, |from, to| from <= at && at <= to.saturating_add(AFTERMATH))
    }

    fn any(&self, host: Host, is_meant: impl Fn(Duration, Duration) -> bool) -> bool {
        self.by_host.get(host).is_some_and(|troubles| troubles.iter().any(|(from, to)| is_meant(*from, *to)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn troubles_that_overlap_are_one_and_reach_a_little_further() {
        let entry =
            |seconds, host, is_down| Entry { at: Duration::from_secs(seconds), event: Event::Engine { host, is_down } };
        let entries = [
            entry(1, "a", true),
            entry(2, "a", true),
            entry(3, "a", false),
            entry(10, "a", false),
            entry(20, "b", true),
        ];
        let troubles = Troubles::of(&entries);
        let touched = |host, seconds| troubles.touch(host, Duration::from_secs(seconds));
        assert_eq!([0, 1, 9, 13, 15].map(|seconds| touched("a", seconds)), [false, true, true, true, false]);
        assert_eq!([19, 20, 1000].map(|seconds| touched("b", seconds)), [false, true, true]);
        assert!(!troubles.hold("a", Duration::from_secs(11)));
        // An end without a begin is no trouble.
        assert!(!Troubles::of(&[entry(1, "a", false)]).touch("a", Duration::from_secs(1)));
    }
}
