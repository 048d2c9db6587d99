//! Which promise each deliberate bug is caught by: what shows that the checks bite.

use davit_svc_kit::bugs::Bug;

/// Within how many seeds every bug is caught.
pub const WITHIN_SEEDS: u64 = 200;

/// A deliberate bug and the promise that the checks see broken by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caught {
    /// The bug.
    pub bug: Bug,
    /// Its number in DESIGN.md.
    pub promise: u32,
}

/// All of them. `cargo xtask sim --bugs` fails when one is not caught.
pub const CAUGHT: [Caught; 19] = [
    Caught { bug: Bug::DroppedSync, promise: 1 },
    Caught { bug: Bug::AckBeforeCommit, promise: 1 },
    Caught { bug: Bug::RequestIdsForgotten, promise: 1 },
    Caught { bug: Bug::MergeReversed, promise: 1 },
    Caught { bug: Bug::NoRecheck, promise: 2 },
    Caught { bug: Bug::CompletedRunsAgain, promise: 3 },
    Caught { bug: Bug::LeaseIgnored, promise: 4 },
    Caught { bug: Bug::FenceIgnored, promise: 5 },
    Caught { bug: Bug::FullSetMisread, promise: 5 },
    Caught { bug: Bug::ReservationNotReleased, promise: 5 },
    Caught { bug: Bug::StartsForgotten, promise: 5 },
    Caught { bug: Bug::RestartsForgotten, promise: 5 },
    Caught { bug: Bug::BeginTimeoutIgnored, promise: 5 },
    Caught { bug: Bug::AdoptsNothing, promise: 6 },
    Caught { bug: Bug::SilenceIgnored, promise: 6 },
    Caught { bug: Bug::AwayUnsaid, promise: 6 },
    Caught { bug: Bug::NewTaskNotAwaited, promise: 5 },
    Caught { bug: Bug::SlotStaysEmpty, promise: 5 },
    Caught { bug: Bug::IndexForgotten, promise: 5 },
];

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn every_bug_is_listed_once() {
        for bug in Bug::ALL {
            assert_eq!(CAUGHT.iter().filter(|caught| caught.bug == bug).count(), 1, "{bug:?}");
        }
    }

    #[test]
    fn the_readme_lists_every_bug_with_its_promise() {
        let readme = include_str!("../README.md");
        let rows = readme.lines().filter_map(|line| line.strip_prefix("| `")).map(|line| {
            let mut cells = line.split('|').map(|cell| cell.trim().trim_end_matches('`'));
            (cells.next().unwrap().to_owned(), cells.next().unwrap().parse().unwrap())
        });
        let listed = CAUGHT.iter().map(|caught| (format!("{:?}", caught.bug), caught.promise));
        assert_eq!(rows.collect::<Vec<(String, u32)>>(), listed.collect::<Vec<_>>());
    }
}
