//! When a session's heartbeats go, what they bring, and what their acknowledgements are worth.

use std::time::Duration;

use davit_core::node::NodeStats;
use davit_proto::convert::node_stats_to_proto;
use davit_proto::v1;
use tokio::sync::watch;
use tokio::time::{Instant, Interval, MissedTickBehavior};

use super::heartbeats::Heartbeats;

/// A session through which no heartbeat went for so long is given up.
pub(super) const STUCK_TIME: Duration = Duration::from_secs(10);
/// Heartbeats are never closer than this.
const SHORTEST_PACE: Duration = Duration::from_millis(10);

/// The heartbeats of one session.
pub(super) struct Pulse {
    ticks: Interval,
    longest_pace: Duration,
    last_sent: Instant,
    heartbeats: Heartbeats,
    stats: watch::Receiver<NodeStats>,
}

impl Pulse {
    /// Of a session that begins now, with heartbeats in this period, or twice it if the manager asks for that.
    pub(super) fn new(heartbeats: Heartbeats, period: Duration, stats: watch::Receiver<NodeStats>) -> Self {
        let mut ticks = tokio::time::interval(period);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { ticks, longest_pace: period * 2, last_sent: Instant::now(), heartbeats, stats }
    }

    /// Waits until a heartbeat is due. May be dropped without losing anything.
    pub(super) async fn due(&mut self) {
        self.ticks.tick().await;
    }

    /// Whether the next one goes with a report that is sent now: it is due soon, and none is under way.
    pub(super) fn goes_along(&self) -> bool {
        self.heartbeats.are_acknowledged() && self.last_sent.elapsed() >= self.ticks.period() / 2
    }

    /// The heartbeat to send at this uptime of the machine.
    pub(super) fn next(&mut self, uptime: Duration) -> v1::Heartbeat {
        let fresh = self.stats.has_changed().unwrap_or(false);
        let stats = fresh.then(|| node_stats_to_proto(*self.stats.borrow_and_update()));
        v1::Heartbeat { stats, heartbeat_id: self.heartbeats.send(uptime) }
    }

    /// It went by itself: the next one is due a period later.
    pub(super) fn went(&mut self) {
        self.last_sent = Instant::now();
        self.ticks.reset();
    }

    /// It went with a report, whose acknowledgement may wait for the manager's store; an older manager does not acknowledge it at all.
    /// So the next one, which waits for nothing, is due sooner, unless this one is acknowledged by then.
    pub(super) fn went_along(&mut self) {
        self.last_sent = Instant::now();
        self.ticks.reset_after(self.ticks.period() / 2);
    }

    /// Whether none went for so long that none will.
    pub(super) fn is_stuck(&self) -> bool {
        self.last_sent.elapsed() >= STUCK_TIME
    }

    /// A heartbeat is acknowledged, and those before it: when it was sent and until when the lease lasts, by the machine's uptime.
    /// `None` if that is known already.
    pub(super) fn acknowledged(&mut self, heartbeat_id: u64) -> Option<(Duration, Duration)> {
        let sent_at = self.heartbeats.acknowledge(heartbeat_id)?;
        if self.heartbeats.are_acknowledged() {
            self.ticks.reset_at(self.last_sent + self.ticks.period());
        }
        Some((sent_at, self.heartbeats.lease_of(sent_at)))
    }

    /// Sends heartbeats in this period from the last one on. False if it is one that can't be.
    pub(super) fn change_pace(&mut self, every: Duration) -> bool {
        let can_be = (SHORTEST_PACE..=self.longest_pace).contains(&every);
        if can_be {
            self.ticks = tokio::time::interval_at(self.last_sent + every, every);
            self.ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        }
        can_be
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    const PERIOD: Duration = Duration::from_secs(1);
    const LEASE: Duration = Duration::from_secs(9);

    fn pulse() -> Pulse {
        let stats = NodeStats {
            measured_at: Timestamp::UNIX_EPOCH,
            cpu_used_millis: 0,
            memory_used_bytes: 0,
            disk_used_bytes: 0,
            load_1m: 0.0,
            running_tasks: 0,
        };
        Pulse::new(Heartbeats::new(Some(LEASE)), PERIOD, watch::channel(stats).1)
    }

    #[tokio::test(start_paused = true)]
    async fn one_goes_along_when_it_is_due_soon_and_the_next_is_due_a_period_later() {
        let mut pulse = pulse();
        pulse.due().await;
        assert!(!pulse.goes_along(), "the registration was just now");
        tokio::time::sleep(PERIOD / 2).await;
        assert!(pulse.goes_along());
        let (began, heartbeat) = (Instant::now(), pulse.next(Duration::ZERO));
        pulse.went_along();
        tokio::time::sleep(PERIOD / 4).await;
        pulse.acknowledged(heartbeat.heartbeat_id);
        pulse.due().await;
        assert_eq!(began.elapsed(), PERIOD);
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_went_along_and_is_not_acknowledged_is_soon_followed_by_one_by_itself() {
        let (mut pulse, mut known, mut longest) = (pulse(), Instant::now(), Duration::ZERO);
        pulse.due().await;
        for _ in 0..20 {
            // There is something to report whenever one may go along, and the manager never acknowledges that.
            let goes_along = tokio::time::timeout(PERIOD / 2, pulse.due()).await.is_err() && pulse.goes_along();
            let (sent_at, heartbeat) = (Instant::now(), pulse.next(Duration::ZERO));
            if goes_along {
                pulse.went_along();
                continue;
            }
            pulse.went();
            pulse.acknowledged(heartbeat.heartbeat_id);
            longest = longest.max(sent_at - std::mem::replace(&mut known, sent_at));
        }
        assert!(longest <= PERIOD * 3 / 2, "{longest:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn another_pace_counts_from_the_last_heartbeat() {
        let mut pulse = pulse();
        pulse.due().await;
        let (began, heartbeat) = (Instant::now(), pulse.next(Duration::ZERO));
        pulse.went();
        tokio::time::sleep(PERIOD * 3 / 4).await;
        pulse.acknowledged(heartbeat.heartbeat_id);
        assert!(pulse.change_pace(PERIOD * 5 / 4) && !pulse.change_pace(PERIOD * 3));
        pulse.due().await;
        assert_eq!(began.elapsed(), PERIOD * 5 / 4);
    }

    #[tokio::test(start_paused = true)]
    async fn none_goes_along_while_one_is_not_acknowledged() {
        let mut pulse = pulse();
        tokio::time::sleep(PERIOD).await;
        let uptime = Duration::from_secs(7);
        let heartbeat = pulse.next(uptime);
        pulse.went();
        tokio::time::sleep(PERIOD).await;
        assert!(!pulse.goes_along(), "its acknowledgement may wait for a report's");
        assert_eq!(pulse.acknowledged(heartbeat.heartbeat_id), Some((uptime, uptime + LEASE)));
        assert!(pulse.goes_along());
        assert_eq!(pulse.acknowledged(heartbeat.heartbeat_id), None);
    }
}
