//! Whether this worker restarts what ended while the manager is out of reach. Pure.
//!
//! In touch, an end is reported at once and is final: the manager decides what follows. Away for a moment only, a worker keeps
//! the end of what may be restarted to itself, so that the decision is still the manager's should it be back in time. Cut off
//! for as long as after which a manager calls a node DOWN, the worker follows the task's restart policy itself, within the
//! attempt. What was reported is never restarted, whether or not the manager has acknowledged it.

use std::time::Duration;

use davit_core::id::Attempt;
use davit_core::lease;
use davit_core::restart::{Decision, Ended, RestartPolicy, decide};
use jiff::Timestamp;

use super::status::ending;
use crate::local_store::{Restarts, Unhealthy};
use crate::runtime::Exit;

/// After how many heartbeat periods without a sign of the manager it may have called this node DOWN.
const MISSED_HEARTBEATS: u32 = 3;
/// Until a manager says how often it wants heartbeats, which may be never since this worker started.
const USUAL_HEARTBEAT_PERIOD: Duration = Duration::from_secs(1);

/// So long at most a worker that has just started waits for the manager's first answer before it stops what had no lease any more
/// then, or what is to end with it: it may be another worker's. The manager decides about a second worker in two heartbeat periods.
const FIRST_ANSWER_TIME: Duration = Duration::from_secs(3);

/// What this worker hears of the manager. Times are uptimes of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    /// Whether a session is open.
    pub is_open: bool,
    /// When the newest heartbeat (or registration) was sent that the manager acknowledged; at first, when this worker started.
    pub heard_at: Duration,
    /// How often heartbeats are sent.
    pub heartbeat_period: Duration,
    /// Whether what runs under this node's name is this worker's.
    pub standing: Standing,
}

/// Whether what runs under the node's name is this worker's, as far as the manager has said. It is not if its data directory is a
/// copy of another worker's, who is in touch as this node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// The manager has not been asked yet, or has not answered. Since the worker's start, at this uptime.
    Asking(Duration),
    /// The manager can't be asked.
    Unknown,
    /// The manager has taken it in.
    InCharge,
    /// It was refused, and was never in charge: what was here before it is another worker's.
    Refused,
    /// It was in charge before another worker was taken in as this node: what it began then is its own to end.
    Displaced,
}

impl Standing {
    /// Once the manager has another worker as this node.
    #[must_use]
    pub fn refused(self) -> Self {
        match self {
            Self::InCharge | Self::Displaced => Self::Displaced,
            Self::Asking(_) | Self::Unknown | Self::Refused => Self::Refused,
        }
    }

    /// Once the manager did not answer, or no longer does.
    #[must_use]
    pub fn unanswered(self) -> Self {
        match self {
            Self::Asking(_) | Self::Unknown => Self::Unknown,
            known @ (Self::InCharge | Self::Refused | Self::Displaced) => known,
        }
    }
}

/// How far the manager is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Contact {
    /// A session is open.
    InTouch,
    /// There is no session, but there was one just now.
    Away,
    /// Nothing was heard for so long that the manager may have called this node DOWN.
    CutOff,
}

impl Link {
    /// Of a worker that has just started.
    #[must_use]
    pub fn new(uptime: Duration) -> Self {
        Self {
            is_open: false,
            heard_at: uptime,
            heartbeat_period: USUAL_HEARTBEAT_PERIOD,
            standing: Standing::Asking(uptime),
        }
    }

    /// From which uptime on an attempt with this stop grace that needs a lease is to be stopped, when that lasts until `lease`.
    /// `None`: it is another worker's, who looks after it.
    ///
    /// That is the lease's end, also for one that has just started and may yet be refused: to wait for the manager's answer would be
    /// to run on beside the next attempt. Only where that may have begun before this worker did is nothing left to be won by haste.
    #[must_use]
    pub fn stops_leased_at(&self, lease: Duration, grace: Duration) -> Option<Duration> {
        match self.standing {
            Standing::Refused => None,
            Standing::Asking(since) if lease.saturating_add(lease::time_to_stop(grace)) <= since => {
                self.first_answer_due()
            }
            Standing::Asking(_) | Standing::Unknown | Standing::InCharge | Standing::Displaced => Some(lease),
        }
    }

    /// Until which uptime the manager's first answer is waited for; `None` if it came, or can't come.
    #[must_use]
    pub fn first_answer_due(&self) -> Option<Duration> {
        match self.standing {
            Standing::Asking(since) => Some(since.saturating_add(FIRST_ANSWER_TIME)),
            Standing::Unknown | Standing::InCharge | Standing::Refused | Standing::Displaced => None,
        }
    }

    /// Whether another worker is in touch as this node, and has its tasks.
    #[must_use]
    pub fn has_rival(&self) -> bool {
        matches!(self.standing, Standing::Refused | Standing::Displaced)
    }

    /// How far the manager is at this uptime.
    #[must_use]
    pub fn contact(&self, uptime: Duration) -> Contact {
        if self.has_rival() {
            // It is not out of reach at all.
            Contact::Away
        } else if uptime >= self.cut_off_at() {
            Contact::CutOff
        } else if self.is_open {
            Contact::InTouch
        } else {
            Contact::Away
        }
    }

    /// From which uptime on it counts as cut off, unless something is heard.
    #[must_use]
    pub fn cut_off_at(&self) -> Duration {
        self.heard_at.saturating_add(self.heartbeat_period * MISSED_HEARTBEATS)
    }
}

/// What follows an end if the manager stays out of reach.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Plan {
    /// The end is reported; this worker does no more about it.
    Report,
    /// The attempt is restarted.
    Restart {
        /// Not before this uptime of the machine.
        due: Duration,
        /// What is kept of its restarts then.
        restarts: Restarts,
        /// For people.
        why: String,
    },
}

/// What is known of an attempt that ended by itself.
#[derive(Debug, Clone, Copy)]
pub struct End<'a> {
    /// Which attempt.
    pub attempt: Attempt,
    /// How it ended.
    pub exit: &'a Exit,
    /// How often it was restarted here before.
    pub restarts: Restarts,
    /// Why it was stopped, if it was because it did not serve.
    pub unhealthy: Option<&'a Unhealthy>,
}

/// Plans what follows an end, by the task's restart policy. `jitter` is in [0, 1); `uptime` and `now` are those of this moment.
#[must_use]
pub fn plan(policy: &RestartPolicy, end: &End<'_>, jitter: f64, now: Timestamp, uptime: Duration) -> Plan {
    let End { attempt, exit, restarts, unhealthy } = *end;
    let ending = ending(exit, false, unhealthy);
    let ran_for = exit.started_at.map(|started| exit.finished_at.duration_since(started));
    let ended = Ended {
        attempt,
        state: ending.state,
        ran_for: ran_for.and_then(|ran_for| ran_for.try_into().ok()).unwrap_or_default(),
        restarts_in_row: restarts.in_row,
        local_restarts: restarts.count,
    };
    match decide(policy, &ended, jitter, now) {
        Decision::Stay { .. } => Plan::Report,
        Decision::Retry { at, restarts_in_row, .. } => {
            let delay = at.duration_since(now).try_into().unwrap_or_default();
            let what = if ending.reason.is_empty() { "completed" } else { &ending.reason };
            let why = format!("{what}; its node restarts it, as the manager is out of reach");
            let restarts = Restarts { count: restarts.count.saturating_add(1), in_row: restarts_in_row };
            Plan::Restart { due: uptime.saturating_add(delay), restarts, why }
        }
    }
}

/// What to do about an end now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AfterEnd {
    /// Report it.
    Report,
    /// Keep it: the manager may be back in a moment, or the back-off has not passed.
    Hold,
    /// Restart the attempt.
    Restart,
}

/// Decides what to do about an end that was not reported. `may_run`: whether anything may be started now; not when the worker
/// goes away, nor what must never run twice when the node's lease has ended.
#[must_use]
pub fn after_end(plan: &Plan, contact: Contact, may_run: bool, uptime: Duration) -> AfterEnd {
    match (plan, contact) {
        (Plan::Report, _) | (_, Contact::InTouch) => AfterEnd::Report,
        (Plan::Restart { due, .. }, Contact::CutOff) if may_run && uptime >= *due => AfterEnd::Restart,
        (Plan::Restart { .. }, Contact::CutOff | Contact::Away) => AfterEnd::Hold,
    }
}

#[cfg(test)]
mod tests {
    use davit_core::restart::RestartMode;
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn exit(exit_code: i32) -> Exit {
        Exit {
            exit_code,
            oom_killed: false,
            error: String::new(),
            lease_ended: false,
            started_at: Some(Timestamp::UNIX_EPOCH),
            finished_at: Timestamp::from_second(5).unwrap(),
        }
    }

    fn policy(mode: RestartMode) -> RestartPolicy {
        RestartPolicy { mode, ..RestartPolicy::default() }
    }

    fn planned(policy: &RestartPolicy, exit: &Exit, restarts: Restarts) -> Plan {
        let end = End { attempt: Attempt(2), exit, restarts, unhealthy: None };
        plan(policy, &end, 0.0, Timestamp::from_second(5).unwrap(), SECOND * 100)
    }

    #[test]
    fn the_manager_is_cut_off_when_it_missed_three_heartbeats_also_on_a_session_that_looks_open() {
        let link = Link { is_open: true, heard_at: SECOND * 10, heartbeat_period: SECOND, ..Link::new(SECOND * 10) };
        assert_eq!(link.contact(SECOND * 12), Contact::InTouch);
        assert_eq!(link.contact(SECOND * 13), Contact::CutOff);
        for standing in [Standing::Refused, Standing::Displaced] {
            let rival = Link { standing, ..link };
            assert_eq!(rival.contact(SECOND * 99), Contact::Away, "the manager answers, and has the tasks elsewhere");
        }
        let closed = Link { is_open: false, ..link };
        assert_eq!(closed.contact(SECOND * 12), Contact::Away);
        assert_eq!(closed.contact(SECOND * 13), Contact::CutOff);
    }

    #[test]
    fn who_was_in_charge_once_keeps_what_it_began_and_who_never_was_has_nothing() {
        use Standing::{Asking, Displaced, InCharge, Refused, Unknown};
        for (before, refused, unanswered) in [
            (Asking(SECOND), Refused, Unknown),
            (Unknown, Refused, Unknown),
            (InCharge, Displaced, InCharge),
            (Refused, Refused, Refused),
            (Displaced, Displaced, Displaced),
        ] {
            assert_eq!((before.refused(), before.unanswered()), (refused, unanswered), "{before:?}");
        }
    }

    #[test]
    fn what_needs_a_lease_stops_at_its_end_and_waits_for_the_first_answer_only_where_the_next_attempt_may_run_already()
    {
        let (started, grace) = (SECOND * 100, SECOND * 10);
        let link = Link::new(started);
        let stops = |standing, lease| Link { standing, ..link }.stops_leased_at(lease, grace);
        // The next attempt may begin thirteen seconds after the end of the lease.
        for lease in [SECOND * 150, SECOND * 101, SECOND * 99, SECOND * 88] {
            assert_eq!(link.stops_leased_at(lease, grace), Some(lease));
        }
        for lease in [SECOND * 87, SECOND * 20, Duration::ZERO] {
            assert_eq!(link.stops_leased_at(lease, grace), Some(started + FIRST_ANSWER_TIME));
            assert_eq!(stops(Standing::Refused, lease), None, "it is another worker's");
            for own in [Standing::Unknown, Standing::InCharge, Standing::Displaced] {
                assert_eq!(stops(own, lease), Some(lease), "{own:?}");
            }
        }
    }

    #[test]
    fn the_policy_decides_which_ends_are_followed_by_a_restart() {
        use RestartMode::{Always, Never, OnFailure};
        for (mode, code, restarts) in
            [(Never, 3, false), (OnFailure, 3, true), (OnFailure, 0, false), (Always, 0, true), (Always, 3, true)]
        {
            let plan = planned(&policy(mode), &exit(code), Restarts::default());
            assert_eq!(plan != Plan::Report, restarts, "{mode:?} {code}");
        }
        let lease = Exit { lease_ended: true, ..exit(143) };
        assert_eq!(planned(&policy(Always), &lease, Restarts::default()), Plan::Report);
    }

    #[test]
    fn what_was_stopped_because_it_did_not_serve_has_failed_whatever_it_returned() {
        let unhealthy = Unhealthy { run: Timestamp::UNIX_EPOCH, reason: "unhealthy: tcp :80".to_owned() };
        let (exit, restarts) = (exit(0), Restarts::default());
        let end = End { attempt: Attempt(2), exit: &exit, restarts, unhealthy: Some(&unhealthy) };
        let policy = policy(RestartMode::OnFailure);
        let plan = plan(&policy, &end, 0.0, Timestamp::from_second(5).unwrap(), SECOND);
        assert!(
            matches!(plan, Plan::Restart { why, .. } if why.starts_with("unhealthy: tcp :80; its node restarts it"))
        );
    }

    #[test]
    fn restarts_wait_longer_each_time_and_count_as_attempts() {
        let policy = RestartPolicy { max_attempts: 4, ..policy(RestartMode::OnFailure) };
        let due = |count| match planned(&policy, &exit(3), Restarts { count, in_row: count }) {
            Plan::Restart { due, restarts, .. } => {
                assert_eq!(restarts, Restarts { count: count + 1, in_row: count + 1 });
                Some(due)
            }
            Plan::Report => None,
        };
        // Attempt 2 of 4: the first run of it and one restart are 3 of 4.
        assert_eq!([due(0), due(1), due(2)], [Some(SECOND * 100 + SECOND / 2), Some(SECOND * 101), None]);
    }

    #[test]
    fn a_healthy_stretch_starts_the_row_anew() {
        let mut long = exit(3);
        long.finished_at = Timestamp::from_second(601).unwrap();
        let plan = planned(&policy(RestartMode::Always), &long, Restarts { count: 7, in_row: 7 });
        assert!(matches!(plan, Plan::Restart { restarts: Restarts { count: 8, in_row: 1 }, .. }), "{plan:?}");
    }

    proptest! {
        #[test]
        fn no_attempt_is_begun_to_be_stopped_so_late_that_the_next_one_overtakes_it(
            started in 0u32..60_000, lease in 0u32..60_000, grace in 0u32..30_000,
        ) {
            const MILLI: Duration = Duration::from_millis(1);
            let (started, lease, grace) = (MILLI * started, MILLI * lease, MILLI * grace);
            let begins = Link::new(started).stops_leased_at(lease, grace).unwrap().max(started);
            let next_attempt = lease + lease::time_to_stop(grace);
            // A worker that is there when the lease ends leaves the whole margin to clocks and engines; one that starts later stops
            // at once, unless the next attempt may run already.
            prop_assert!(begins == lease.max(started) || next_attempt <= started);
            prop_assert!(begins <= started.max(lease) + FIRST_ANSWER_TIME);
        }

        #[test]
        fn nothing_is_restarted_but_cut_off_and_when_due_and_allowed(
            is_open: bool, heard in 0u64..20, now in 0u64..20, due in 0u64..20, may_run: bool,
        ) {
            let (uptime, due) = (SECOND * now as u32, SECOND * due as u32);
            let heard_at = SECOND * heard as u32;
            let link = Link { is_open, heard_at, heartbeat_period: SECOND, ..Link::new(heard_at) };
            let plan = Plan::Restart { due, restarts: Restarts::default(), why: String::new() };
            let decided = after_end(&plan, link.contact(uptime), may_run, uptime);
            prop_assert_eq!(decided == AfterEnd::Restart, now >= heard + 3 && uptime >= due && may_run);
            prop_assert_eq!(decided == AfterEnd::Report, now < heard + 3 && is_open);
            prop_assert_eq!(after_end(&Plan::Report, link.contact(uptime), may_run, uptime), AfterEnd::Report);
        }
    }
}
