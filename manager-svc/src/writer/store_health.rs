//! Whether the store can be written, and when one that could not is looked at again.

use std::time::Duration;

use davit_svc_kit::backoff::Backoff;
use davit_svc_kit::readiness::Readiness;
use davit_svc_kit::world::World;
use tokio::time::Instant;
use tracing::{debug, error, info, warn};

use crate::store;

/// The first look comes after no more than this, and the wait doubles from look to look. A look may cost the disk some work.
const FIRST_WAIT: Duration = Duration::from_millis(250);
/// No wait is longer: so late at most is it noticed that there is room again.
const LONGEST_WAIT: Duration = Duration::from_secs(2);
/// A store that fails sooner than this after it recovered has not recovered for good: waits go on growing.
const STEADY: Duration = Duration::from_secs(30);
/// A write or look that takes longer hangs, as far as anybody can tell: disks that are only slow have stalls of a few seconds.
const HANGS_AFTER: Duration = Duration::from_secs(10);

/// What is known of the store.
#[derive(Debug)]
pub(super) struct StoreHealth {
    readiness: Readiness,
    backoff: Backoff,
    /// Why it can't be written, since it failed.
    failure: Option<Failure>,
    /// Readiness says that what is under way has not ended.
    hangs: bool,
    recovered_at: Option<Instant>,
}

#[derive(Debug)]
struct Failure {
    problem: store::Error,
    next_look: Instant,
}

impl StoreHealth {
    /// Of a store that was loaded.
    pub(super) fn new(readiness: Readiness, world: &World) -> Self {
        let backoff = world.backoff(FIRST_WAIT, LONGEST_WAIT);
        Self { readiness, backoff, failure: None, hangs: false, recovered_at: None }
    }

    /// Changes are taken.
    pub(super) fn begin(&self) {
        self.readiness.set_ready();
    }

    /// While the store can't be written: why. It is not tried meanwhile but by the looks that are due.
    pub(super) fn problem(&self) -> Option<&store::Error> {
        self.failure.as_ref().map(|failure| &failure.problem)
    }

    /// When the store is to be looked at; not at all while it works.
    pub(super) fn next_look(&self) -> Option<Instant> {
        self.failure.as_ref().map(|failure| failure.next_look)
    }

    /// Waits for a commit or a look, however long it takes, and says so when that is too long: a store may hang for ever, as with a
    /// disk that does, or an engine whose own threads broke.
    pub(super) async fn watch<T>(&mut self, work: impl Future<Output = T>) -> T {
        let mut work = std::pin::pin!(work);
        if let Ok(done) = tokio::time::timeout(HANGS_AFTER, &mut work).await {
            return done;
        }
        let told = format!("the store hangs: what it was asked has not ended for {} s", HANGS_AFTER.as_secs());
        error!(problem = told, "the manager takes no changes before that has ended");
        self.hangs = true;
        self.readiness.set_not_ready(told);
        work.await
    }

    /// Notes how a commit or a look went.
    pub(super) fn note(&mut self, outcome: Result<(), store::Error>) {
        let hung = std::mem::take(&mut self.hangs);
        match (outcome, &self.failure) {
            (Ok(()), None) if hung => {
                info!("the store hangs no longer");
                self.readiness.set_ready();
            }
            (Ok(()), None) => {}
            (Ok(()), Some(_)) => {
                info!("the store can be written again");
                self.failure = None;
                self.recovered_at = Some(Instant::now());
                self.readiness.set_ready();
            }
            (Err(problem), before) => {
                match before {
                    None => error!(%problem, "a batch could not be committed; the manager is read-only"),
                    Some(before) if before.problem == problem => debug!(%problem, "the manager is still read-only"),
                    Some(_) => warn!(%problem, "the manager is still read-only"),
                }
                if self.recovered_at.take().is_some_and(|recovered| recovered.elapsed() >= STEADY) {
                    self.backoff.reset();
                }
                let next_look = Instant::now() + self.backoff.next_delay();
                self.readiness.set_not_ready(problem.to_string());
                self.failure = Some(Failure { problem, next_look });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn failed() -> Result<(), store::Error> {
        Err(store::Error::Unavailable { problem: "full".to_owned() })
    }

    fn wait(health: &StoreHealth) -> u128 {
        health.next_look().unwrap().duration_since(Instant::now()).as_millis()
    }

    #[tokio::test(start_paused = true)]
    async fn waits_grow_until_the_store_has_worked_for_a_while() {
        let world = World { fractions: Arc::new(|| 1.0), ..World::real() };
        let readiness = Readiness::new();
        let mut health = StoreHealth::new(readiness.clone(), &world);
        health.begin();
        assert!(readiness.is_ready() && health.next_look().is_none());
        let mut waits = Vec::new();
        for _ in 0..2 {
            health.note(failed());
            waits.push(wait(&health));
        }
        assert!(!readiness.is_ready() && health.problem().is_some());
        // It works for a moment: as a disk that has room for the next few records only.
        health.note(Ok(()));
        assert!(readiness.is_ready() && health.problem().is_none() && health.next_look().is_none());
        for _ in 0..3 {
            health.note(failed());
            waits.push(wait(&health));
        }
        assert_eq!(waits, [250, 500, 1000, 2000, 2000]);
        health.note(Ok(()));
        tokio::time::advance(STEADY).await;
        health.note(Ok(()));
        health.note(failed());
        assert_eq!(wait(&health), 250);
    }
}
