//! Which dials and calls are tried again, and when. Pure.

use std::error::Error as StdError;
use std::io;
use std::time::Duration;

use davit_svc_kit::backoff::Backoff;
use tokio::time::Instant;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::error::{deepest, is_from_manager};

/// For so long a call is sent again.
pub(crate) const TRY_FOR: Duration = Duration::from_secs(15);
/// For so long a manager is dialled that was not reached yet. It may be about to be back, but there may also be none.
pub(crate) const DIAL_FOR: Duration = Duration::from_secs(5);

/// A watch or a reading that breaks, and can't be gone on with for so long, is given up: time enough to replace a manager.
pub(crate) const RESUME_FOR: Duration = Duration::from_secs(60);

/// The tries to go on with a watch or a reading that breaks.
#[derive(Debug)]
pub(crate) struct Tries {
    backoff: Backoff,
    /// When it broke, unless there was a word since.
    broken_at: Option<Instant>,
}

impl Tries {
    /// Before the first break.
    #[must_use]
    pub(crate) fn new(backoff: Backoff) -> Self {
        Self { backoff, broken_at: None }
    }

    /// There was a word: the next break is the first in a row.
    pub(crate) fn reset(&mut self) {
        self.backoff.reset();
        self.broken_at = None;
    }

    /// Whether the next break is the first in a row.
    #[must_use]
    pub(crate) fn is_first(&self) -> bool {
        self.broken_at.is_none()
    }

    /// The wait before the next try after a break that may pass; `None`: it is given up.
    pub(crate) fn next_wait(&mut self, broken: Option<&Status>, now: Instant) -> Option<Duration> {
        let broken_for = now.duration_since(*self.broken_at.get_or_insert(now));
        let wait = self.backoff.next_delay();
        let wait = broken.map_or(wait, |status| wait_after(status, wait));
        (broken_for.saturating_add(wait) <= RESUME_FOR).then_some(wait)
    }
}

/// Whether the same call may go better later. Of what is exhausted only that which the manager says passes by itself.
#[must_use]
pub(crate) fn may_pass(status: &Status) -> bool {
    match status.code() {
        Code::Unavailable => true,
        // A connection that breaks in the middle of a call is told as `Unknown` by the transport.
        Code::Unknown => !is_from_manager(status),
        Code::ResourceExhausted => asked_delay(status).is_some(),
        _ => false,
    }
}

/// How long to wait: as long as the manager asks for, and a random while longer, so that many who were told the same don't come
/// back at once.
#[must_use]
pub(crate) fn wait_after(status: &Status, backoff: Duration) -> Duration {
    asked_delay(status).unwrap_or_default().min(TRY_FOR) + backoff
}

/// The wait before a call that is safe to repeat is sent again; `None`: it is given up, because that would not help, or take
/// too long.
#[must_use]
pub(crate) fn next_wait(status: &Status, backoff: Duration, tried_for: Duration) -> Option<Duration> {
    let asked = asked_delay(status).unwrap_or_default();
    let wait = asked.saturating_add(backoff);
    (may_pass(status) && tried_for.saturating_add(wait) <= TRY_FOR).then_some(wait)
}

/// The wait before a manager that was not reached is dialled again; `None`: it is given up, because that would not help, or take
/// too long.
#[must_use]
pub(crate) fn next_dial(
    error: &(dyn StdError + 'static),
    backoff: Duration,
    dialled_for: Duration,
) -> Option<Duration> {
    (is_away(error) && dialled_for.saturating_add(backoff) <= DIAL_FOR).then_some(backoff)
}

/// Whether a manager may be at the address once it runs. A name that stands for no address, for one, is more likely mistyped.
fn is_away(error: &(dyn StdError + 'static)) -> bool {
    let kind = deepest(error).downcast_ref::<io::Error>().map(io::Error::kind);
    matches!(
        kind,
        Some(
            io::ErrorKind::ConnectionRefused
                | io::ErrorKind::ConnectionReset
                | io::ErrorKind::ConnectionAborted
                | io::ErrorKind::BrokenPipe
                | io::ErrorKind::TimedOut
                | io::ErrorKind::HostUnreachable
                | io::ErrorKind::NetworkUnreachable
        )
    )
}

fn asked_delay(status: &Status) -> Option<Duration> {
    status.get_details_retry_info().and_then(|retry| retry.retry_delay)
}

#[cfg(test)]
mod tests {
    use davit_svc_kit::grpc::{ApiError, ErrorKind};

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const BACKOFF: Duration = Duration::from_millis(100);

    fn refusal(kind: ErrorKind, asks: Option<Duration>) -> Status {
        ApiError { retry_after: asks, ..ApiError::new(kind, "X", "x") }.into()
    }

    #[test]
    fn only_what_passes_by_itself_is_tried_again() {
        assert!(may_pass(&refusal(ErrorKind::Unavailable, None)));
        assert!(may_pass(&Status::unknown("transport error")));
        assert!(may_pass(&refusal(ErrorKind::ResourceExhausted, Some(SECOND))));
        assert!(!may_pass(&refusal(ErrorKind::ResourceExhausted, None)), "it is too large, or a quota is used up");
        for kind in [ErrorKind::InvalidArgument, ErrorKind::Internal, ErrorKind::DeadlineExceeded] {
            assert!(!may_pass(&refusal(kind, Some(SECOND))), "{kind:?}");
        }
    }

    #[test]
    fn a_watch_that_stays_broken_is_given_up_after_a_while_but_not_one_that_told_something_in_between() {
        let mut tries = Tries::new(Backoff::with_jitter(BACKOFF, SECOND, Box::new(|| 1.0)));
        let mut now = Instant::now();
        for _ in 0..2 {
            assert!(tries.is_first());
            let begin = now;
            assert_eq!(tries.next_wait(None, now), Some(BACKOFF));
            assert!(!tries.is_first());
            while let Some(wait) = tries.next_wait(None, now) {
                now += wait;
            }
            assert!(now - begin > RESUME_FOR - 2 * SECOND && now - begin <= RESUME_FOR, "{:?}", now - begin);
            tries.reset();
        }
        let asks = refusal(ErrorKind::Unavailable, Some(SECOND));
        assert_eq!(tries.next_wait(Some(&asks), now), Some(SECOND + BACKOFF));
    }

    #[test]
    fn who_does_not_answer_is_dialled_again_for_a_while_and_a_wrong_address_is_not() {
        let away = io::Error::from(io::ErrorKind::ConnectionRefused);
        assert_eq!(next_dial(&away, BACKOFF, Duration::ZERO), Some(BACKOFF));
        assert_eq!(next_dial(&away, BACKOFF, DIAL_FOR - BACKOFF), Some(BACKOFF));
        assert_eq!(next_dial(&away, BACKOFF, DIAL_FOR), None, "the time is up before it");
        for wrong in [io::Error::other("Name or service not known"), io::ErrorKind::InvalidInput.into()] {
            assert_eq!(next_dial(&wrong, BACKOFF, Duration::ZERO), None, "{wrong}");
        }
    }

    #[test]
    fn the_manager_is_given_the_time_that_it_asks_for_but_not_any_time() {
        let asks =
            |delay, tried_for| next_wait(&refusal(ErrorKind::ResourceExhausted, Some(delay)), BACKOFF, tried_for);
        assert_eq!(asks(SECOND * 3, Duration::ZERO), Some(SECOND * 3 + BACKOFF));
        assert_eq!(asks(SECOND * 3, TRY_FOR - SECOND), None, "the time is up before it");
        assert_eq!(asks(Duration::MAX, Duration::ZERO), None);
        assert_eq!(next_wait(&refusal(ErrorKind::Unavailable, None), BACKOFF, SECOND), Some(BACKOFF));
        assert_eq!(next_wait(&refusal(ErrorKind::NotFound, None), BACKOFF, Duration::ZERO), None);
        assert_eq!(wait_after(&refusal(ErrorKind::Unavailable, Some(Duration::MAX)), BACKOFF), TRY_FOR + BACKOFF);
    }
}
