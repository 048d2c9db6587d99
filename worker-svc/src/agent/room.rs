//! Room that is taken up by what the manager counts no longer.
//!
//! The manager sets room aside for what it assigns. What it assigns no more, since it took this node for dead or forgot it, runs
//! here until it is stopped. If there is no room for both, what is assigned waits that long.

use davit_core::resources::Resources;

use super::Agent;
use super::held::Held;
use super::next_step::Want;

impl Agent {
    /// Whether what is assigned here has no room before something has ended that is assigned no more.
    pub(super) fn is_crowded(&self) -> bool {
        let state = self.state.lock();
        if state.removing.is_empty() {
            return false;
        }
        let left = state.held.values().filter(|held| held.ended_at.is_none());
        is_crowded(left.map(|held| (is_counted(held), held.reservation())), self.allocatable)
    }
}

/// Whether the manager counts it, unless it knows that it ended.
fn is_counted(held: &Held) -> bool {
    held.orders.borrow().want != Want::Remove
}

/// `held`: of each attempt that has not ended, whether the manager counts it, and what it reserves.
fn is_crowded(held: impl Iterator<Item = (bool, Resources)>, allocatable: Resources) -> bool {
    let (mut sum, mut all_count) = (Resources::ZERO, true);
    for (is_counted, reservation) in held {
        sum = sum.saturating_add(reservation);
        all_count &= is_counted;
    }
    !all_count && !sum.fits_in(allocatable)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cpus(millis: u64) -> Resources {
        Resources { cpu_millis: millis, ..Resources::ZERO }
    }

    #[test]
    fn only_what_counts_no_more_makes_a_node_crowded() {
        let crowded = |held: &[(bool, Resources)]| is_crowded(held.iter().copied(), cpus(2000));
        assert!(!crowded(&[]));
        assert!(!crowded(&[(true, cpus(1000)), (false, cpus(1000))]), "there is room for both");
        assert!(crowded(&[(true, cpus(1000)), (false, cpus(1001))]));
        // A worker that offers less than it did: the manager knows, and nobody would ever end the wait.
        assert!(!crowded(&[(true, cpus(1500)), (true, cpus(1500))]));
    }
}
