//! Stopping: one token that everything listens to, and waits that end.

use std::future::Future;
use std::io;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal as on_signal};
use tokio_util::sync::{CancellationToken, WaitForCancellationFuture};

/// How long a stop waits for open work. A whole process stops in less than 10 s.
pub const DRAIN_DEADLINE: Duration = Duration::from_secs(6);

/// Tells when to stop. Clones share one state; a child also stops when its parent does.
#[derive(Debug, Clone, Default)]
pub struct Shutdown {
    token: CancellationToken,
}

/// A piece of work was not done when its time was up, and was dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("still not done {deadline:?} after the stop")]
pub struct DeadlinePassed {
    /// How long it was given.
    pub deadline: Duration,
}

impl Shutdown {
    /// A shutdown that only [`Shutdown::trigger`] sets off.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Set off by SIGTERM or SIGINT. A second signal ends the process at once, in case the stop hangs.
    ///
    /// # Errors
    /// When the handlers can't be installed.
    pub fn signal() -> io::Result<Self> {
        let mut terminate = on_signal(SignalKind::terminate())?;
        let mut interrupt = on_signal(SignalKind::interrupt())?;
        let shutdown = Self::new();
        let trigger = shutdown.clone();
        tokio::spawn(async move {
            for count in 0.. {
                let name = tokio::select! {
                    _ = terminate.recv() => "SIGTERM",
                    _ = interrupt.recv() => "SIGINT",
                };
                if count > 0 {
                    tracing::warn!(signal = name, "second signal: ending at once");
                    std::process::exit(130);
                }
                tracing::info!(signal = name, "stopping");
                trigger.trigger();
            }
        });
        Ok(shutdown)
    }

    /// A shutdown that follows this one and can be set off alone.
    #[must_use]
    pub fn child(&self) -> Self {
        Self { token: self.token.child_token() }
    }

    /// Sets it off.
    pub fn trigger(&self) {
        self.token.cancel();
    }

    /// Whether it was set off.
    #[must_use]
    pub fn is_triggered(&self) -> bool {
        self.token.is_cancelled()
    }

    /// Waits until it is set off.
    pub fn triggered(&self) -> WaitForCancellationFuture<'_> {
        self.token.cancelled()
    }

    /// The token beneath, for code that wants one.
    #[must_use]
    pub fn token(&self) -> &CancellationToken {
        &self.token
    }

    /// Runs work until it is done or the shutdown is set off, whichever is first.
    pub async fn or_stop<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        self.token.run_until_cancelled(work).await
    }

    /// Runs work that ends by itself on shutdown, and drops it when it is not done `deadline` after that.
    ///
    /// # Errors
    /// When the work was dropped.
    pub async fn drain<T>(&self, deadline: Duration, work: impl Future<Output = T>) -> Result<T, DeadlinePassed> {
        let too_late = async {
            self.triggered().await;
            tokio::time::sleep(deadline).await;
        };
        tokio::select! {
            biased;
            done = work => Ok(done),
            () = too_late => Err(DeadlinePassed { deadline }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn work_that_hangs_is_dropped_after_the_deadline() {
        let shutdown = Shutdown::new();
        shutdown.trigger();
        let result = shutdown.drain(DRAIN_DEADLINE, std::future::pending::<()>()).await;
        assert_eq!(result, Err(DeadlinePassed { deadline: DRAIN_DEADLINE }));
    }

    #[tokio::test(start_paused = true)]
    async fn the_deadline_counts_from_the_stop_only() {
        let shutdown = Shutdown::new();
        let work = tokio::time::sleep(DRAIN_DEADLINE * 10);
        assert_eq!(shutdown.drain(DRAIN_DEADLINE, work).await, Ok(()));
    }

    #[tokio::test]
    async fn a_child_stops_with_its_parent_but_not_the_other_way_round() {
        let parent = Shutdown::new();
        let (first, second) = (parent.child(), parent.child());
        first.trigger();
        assert!(!parent.is_triggered());
        parent.trigger();
        second.triggered().await;
        assert_eq!(second.or_stop(std::future::pending::<()>()).await, None);
    }
}
