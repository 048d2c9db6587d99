//! Whether a node is in touch, judged by when its worker was last heard.

use std::time::Duration;

use davit_core::node::{Node, NodeState};
use davit_svc_kit::bugs::{self, Bug};
use jiff::Timestamp;

/// A node is DOWN when nothing was heard from it for this many heartbeat periods.
pub(super) const PERIODS_UNTIL_DOWN: u32 = 3;
/// And SUSPECT for this many.
const PERIODS_UNTIL_SUSPECT: u32 = 2;

/// Up to so many nodes each sends its heartbeats in the period itself.
const UNCROWDED_NODES: usize = 1_000;
/// From so many on it sends as few as it may.
const CROWDED_NODES: usize = 5_000;
/// How much longer than the period heartbeats may be apart, in hundredths: still two of them have to be missed before the node is
/// DOWN.
const LONGEST_PACE_PERCENT: u128 = 140;

/// How far apart heartbeats are to be in a cluster of so many nodes, which the manager has to hear all. When a node counts as DOWN
/// does not depend on it.
#[must_use]
pub fn pace(period: Duration, nodes: usize) -> Duration {
    let beyond = (nodes.clamp(UNCROWDED_NODES, CROWDED_NODES) - UNCROWDED_NODES) as u128;
    let percent = 100 + (LONGEST_PACE_PERCENT - 100) * beyond / (CROWDED_NODES - UNCROWDED_NODES) as u128;
    let nanos = period.as_nanos() * percent / 100;
    u64::try_from(nanos).map_or(period, Duration::from_nanos)
}

/// Why a node is SUSPECT whose worker said goodbye and has not gone yet.
pub const ABOUT_TO_GO: &str = "its worker is about to go";

/// What is known of the contact with a node's worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Contact {
    /// Whether its session is open.
    pub connected: bool,
    /// Whether it said goodbye. While its session is open it has not gone yet.
    pub said_goodbye: bool,
    /// Time since anything was heard from it, or since this manager started.
    pub silent_for: Duration,
    /// Whether it said that it goes for a while and leaves its tasks running. False once its worker registered.
    pub is_away: bool,
    /// How long it may still be silent because this manager has only just started, or because it said so. Zero once its worker
    /// registered, unless many others do just then.
    pub grace_left: Duration,
}

/// What a node's state should be, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// The state.
    pub state: NodeState,
    /// Why, for people.
    pub reason: String,
}

/// For how long a node counts as in touch from now on if nothing more is heard of it. `None` when it does not now.
#[must_use]
pub fn in_touch_for(contact: Contact, period: Duration) -> Option<Duration> {
    let stays = contact.connected && !contact.said_goodbye && !contact.is_away;
    (period * PERIODS_UNTIL_SUSPECT).checked_sub(contact.silent_for).filter(|left| stays && !left.is_zero())
}

/// How long from now on a node may be silent until it is DOWN.
#[must_use]
pub fn down_in(contact: Contact, period: Duration) -> Duration {
    (period * PERIODS_UNTIL_DOWN).saturating_sub(contact.silent_for).max(contact.grace_left)
}

/// Judges a node. `None` when its state is right as it is. A node becomes READY only by registering, or when a late
/// heartbeat arrives on a session that is still open.
#[must_use]
pub fn judge(current: NodeState, contact: Contact, period: Duration) -> Option<Verdict> {
    let gone = contact.said_goodbye && !contact.connected;
    let too_long = !bugs::is(Bug::SilenceIgnored) && down_in(contact, period).is_zero();
    let wanted = if gone || too_long {
        NodeState::Down
    } else if in_touch_for(contact, period).is_none() {
        // DOWN stays DOWN until the worker registers anew: its tasks were given away.
        if current == NodeState::Down { NodeState::Down } else { NodeState::Suspect }
    } else if current == NodeState::Suspect {
        NodeState::Ready
    } else {
        current
    };
    if wanted == current {
        return None;
    }
    let silence = contact.silent_for.as_secs_f64();
    let reason = match wanted {
        NodeState::Down if gone => "its worker said goodbye".to_owned(),
        NodeState::Down if contact.is_away => {
            format!("its worker was stopped with its tasks left running, and is not back after {silence:.1} s")
        }
        NodeState::Down => format!("nothing was heard from its worker for {silence:.1} s"),
        NodeState::Suspect if contact.said_goodbye => ABOUT_TO_GO.to_owned(),
        NodeState::Suspect if contact.is_away => {
            "its worker was stopped with its tasks left running, and means to be back soon".to_owned()
        }
        NodeState::Suspect if !contact.connected && !contact.grace_left.is_zero() => {
            "the manager has just started, and its worker is not back yet".to_owned()
        }
        NodeState::Suspect if !contact.connected => "its session broke".to_owned(),
        NodeState::Suspect => format!("its heartbeat is late: silent for {silence:.1} s"),
        NodeState::Ready => "its heartbeats arrive again".to_owned(),
    };
    Some(Verdict { state: wanted, reason })
}

/// For how long the node's worker still means to be away. `None` when it does not, or should be back.
#[must_use]
pub fn away_for(node: &Node, now: Timestamp) -> Option<Duration> {
    Duration::try_from(node.away_until?.duration_since(now)).ok().filter(|left| !left.is_zero())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PERIOD: Duration = Duration::from_secs(1);

    #[test]
    fn the_more_nodes_the_fewer_heartbeats_but_never_so_few_that_one_that_is_lost_would_mean_down() {
        assert_eq!((pace(PERIOD, 0), pace(PERIOD, 1_000)), (PERIOD, PERIOD));
        assert_eq!(pace(PERIOD, 3_000), PERIOD * 120 / 100);
        assert_eq!((pace(PERIOD, 5_000), pace(PERIOD, 1_000_000)), (PERIOD * 140 / 100, PERIOD * 140 / 100));
        assert!(pace(PERIOD, usize::MAX) * 2 < PERIOD * PERIODS_UNTIL_DOWN);
    }

    fn contact(connected: bool, silent_ms: u64) -> Contact {
        let silent_for = Duration::from_millis(silent_ms);
        Contact { connected, said_goodbye: false, is_away: false, silent_for, grace_left: Duration::ZERO }
    }

    fn state_after(current: NodeState, contact: Contact) -> NodeState {
        judge(current, contact, PERIOD).map_or(current, |verdict| verdict.state)
    }

    #[test]
    fn a_node_is_suspect_when_its_stream_breaks_and_down_after_three_periods() {
        use NodeState::{Down, Ready, Suspect};
        assert_eq!(state_after(Ready, contact(true, 900)), Ready);
        assert_eq!(state_after(Ready, contact(false, 10)), Suspect);
        assert_eq!(state_after(Ready, contact(true, 2100)), Suspect);
        assert_eq!(state_after(Suspect, contact(true, 10)), Ready);
        assert_eq!(state_after(Suspect, contact(false, 2999)), Suspect);
        assert_eq!(state_after(Suspect, contact(false, 3000)), Down);
        assert_eq!(state_after(Ready, contact(true, 3000)), Down);
    }

    #[test]
    fn goodbye_is_down_at_once() {
        let contact = Contact { said_goodbye: true, ..contact(false, 0) };
        assert_eq!(state_after(NodeState::Ready, contact), NodeState::Down);
    }

    #[test]
    fn a_node_whose_worker_is_about_to_go_takes_no_new_tasks() {
        let contact = Contact { said_goodbye: true, ..contact(true, 0) };
        assert_eq!(state_after(NodeState::Ready, contact), NodeState::Suspect);
        assert_eq!(state_after(NodeState::Suspect, Contact { connected: false, ..contact }), NodeState::Down);
    }

    #[test]
    fn a_down_node_comes_back_only_by_registering() {
        for (connected, silent_ms) in [(true, 0), (false, 0), (true, 2500), (false, 9000)] {
            assert_eq!(state_after(NodeState::Down, contact(connected, silent_ms)), NodeState::Down);
        }
    }

    #[test]
    fn a_node_that_a_fresh_manager_has_not_heard_is_suspect_until_the_grace_has_passed() {
        let expected = Contact { grace_left: Duration::from_secs(1), ..contact(false, 9000) };
        assert_eq!(state_after(NodeState::Ready, expected), NodeState::Suspect);
        assert_eq!(state_after(NodeState::Suspect, expected), NodeState::Suspect);
        assert_eq!(state_after(NodeState::Suspect, contact(false, 9000)), NodeState::Down);
    }

    #[test]
    fn a_node_whose_worker_is_away_for_a_while_is_suspect_until_it_should_be_back() {
        use NodeState::{Down, Ready, Suspect};
        let away = Contact { is_away: true, grace_left: Duration::from_secs(5), ..contact(true, 0) };
        assert_eq!(state_after(Ready, away), Suspect, "it takes no new tasks from its word on");
        let gone = Contact { connected: false, silent_for: Duration::from_secs(9), ..away };
        assert_eq!(state_after(Suspect, gone), Suspect);
        assert_eq!(state_after(Suspect, Contact { grace_left: Duration::ZERO, ..gone }), Down);
        let late = judge(Suspect, Contact { grace_left: Duration::ZERO, ..gone }, PERIOD).unwrap();
        assert!(late.reason.contains("is not back after 9.0 s"), "{}", late.reason);
        // One that goes on its last word after all is gone.
        assert_eq!(state_after(Suspect, Contact { said_goodbye: true, ..gone }), Down);
    }

    proptest! {
        #[test]
        fn judging_twice_changes_nothing_more(
            current in prop::sample::select(vec![NodeState::Ready, NodeState::Suspect, NodeState::Down]),
            connected: bool, said_goodbye: bool, is_away: bool, silent_ms in 0u64..10_000, grace_ms in 0u64..2,
        ) {
            let grace_left = Duration::from_millis(grace_ms);
            let contact = Contact { said_goodbye, is_away, grace_left, ..contact(connected, silent_ms) };
            let once = state_after(current, contact);
            prop_assert_eq!(judge(once, contact, PERIOD), None);
        }
    }
}
