//! Which heartbeats of a session are under way, and how long the lease lasts when one is acknowledged. Pure.

use std::collections::VecDeque;
use std::time::Duration;

/// So many heartbeats may be under way; of more the oldest are forgotten, which at worst shortens the lease.
const MAX_UNDER_WAY: usize = 64;

/// The heartbeats of one session.
#[derive(Debug)]
pub(super) struct Heartbeats {
    /// How long the lease lasts from the sending of a heartbeat.
    lease: Duration,
    last_id: u64,
    /// Each with the uptime of the machine when it was sent.
    under_way: VecDeque<(u64, Duration)>,
}

impl Heartbeats {
    /// Of a session that has just begun. Without a lease from the manager it lasts for ever.
    pub(super) fn new(lease: Option<Duration>) -> Self {
        Self { lease: lease.unwrap_or(Duration::MAX), last_id: 0, under_way: VecDeque::new() }
    }

    /// Until which uptime the lease lasts, by what was sent at this uptime.
    pub(super) fn lease_of(&self, sent_at: Duration) -> Duration {
        // What is noted on disk is noted in milliseconds.
        sent_at.saturating_add(self.lease).min(Duration::from_millis(u64::MAX))
    }

    /// The id of a heartbeat that is sent at this uptime.
    pub(super) fn send(&mut self, sent_at: Duration) -> u64 {
        self.last_id += 1;
        self.under_way.push_back((self.last_id, sent_at));
        if self.under_way.len() > MAX_UNDER_WAY {
            self.under_way.pop_front();
        }
        self.last_id
    }

    /// Whether none is under way.
    pub(super) fn are_acknowledged(&self) -> bool {
        self.under_way.is_empty()
    }

    /// At which uptime a heartbeat was sent, now that it and those before it are acknowledged. `None` if it was not under way.
    pub(super) fn acknowledge(&mut self, heartbeat_id: u64) -> Option<Duration> {
        let at = self.under_way.iter().position(|(id, _)| *id == heartbeat_id)?;
        self.under_way.drain(..=at).next_back().map(|(_, sent_at)| sent_at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn the_lease_counts_from_the_sending_of_the_newest_that_was_acknowledged() {
        let mut heartbeats = Heartbeats::new(Some(SECOND * 10));
        let ids: Vec<u64> = (1..=4).map(|second| heartbeats.send(SECOND * second)).collect();
        assert_eq!(heartbeats.acknowledge(ids[2]), Some(SECOND * 3));
        assert_eq!(heartbeats.lease_of(SECOND * 3), SECOND * 13);
        assert_eq!(heartbeats.acknowledge(ids[1]), None, "one that comes late changes nothing");
        assert_eq!(heartbeats.acknowledge(ids[3]), Some(SECOND * 4));
        assert_eq!(heartbeats.acknowledge(99), None);
    }

    #[test]
    fn what_is_never_acknowledged_does_not_pile_up() {
        let mut heartbeats = Heartbeats::new(None);
        let ids: Vec<u64> = (0..1000).map(|second| heartbeats.send(SECOND * second)).collect();
        assert_eq!(heartbeats.under_way.len(), MAX_UNDER_WAY);
        assert_eq!(heartbeats.acknowledge(ids[0]), None);
        assert_eq!(heartbeats.acknowledge(ids[999]), Some(SECOND * 999));
        assert_eq!(heartbeats.lease_of(SECOND * 999), Duration::from_millis(u64::MAX));
    }
}
