//! What a service takes from outside: the time of day, ids, jitter, and connections to others. In production these are the
//! machine's; the simulator makes all of them from one seed.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::backoff::{Backoff, random_fraction};
use crate::clock::{Clock, SystemClock};
use crate::ids::{IdSource, UuidV7Source};
use crate::net::Dialer;

/// Gives numbers in [0, 1), each call another one.
pub type Fractions = Arc<dyn Fn() -> f64 + Send + Sync>;

/// The outside of one service. Clones share it.
#[derive(Clone)]
pub struct World {
    /// Tells the time of day.
    pub clock: Arc<dyn Clock>,
    /// Makes ids.
    pub ids: Arc<dyn IdSource>,
    /// Makes the jitter of back-offs.
    pub fractions: Fractions,
    /// Dials other services.
    pub dialer: Dialer,
}

impl World {
    /// This machine: its clock, its randomness, TCP.
    #[must_use]
    pub fn real() -> Self {
        Self {
            clock: Arc::new(SystemClock),
            ids: Arc::new(UuidV7Source),
            fractions: Arc::new(random_fraction),
            dialer: Dialer::tcp(),
        }
    }

    /// Waits between tries that begin with a span of `initial` and grow to `max`.
    #[must_use]
    pub fn backoff(&self, initial: Duration, max: Duration) -> Backoff {
        let fractions = Arc::clone(&self.fractions);
        Backoff::with_jitter(initial, max, Box::new(move || fractions()))
    }
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("World").field("dialer", &self.dialer).finish_non_exhaustive()
    }
}
