//! Until when a caller waits for its answer.

use std::time::Duration;

use tokio::time::Instant;
use tonic::Request;

/// The end of a caller's patience, by its `grpc-timeout`. The server drops a handler's work at this time, so handlers need it
/// only to tell others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadline(Instant);

impl Deadline {
    /// So long from now.
    #[must_use]
    pub fn after(time: Duration) -> Self {
        let now = Instant::now();
        // What is too far away to be told is as good as none.
        Self(now.checked_add(time).unwrap_or(now + Duration::from_secs(u64::from(u32::MAX))))
    }

    /// A request's deadline; `None` when its caller waits as long as it takes.
    #[must_use]
    pub fn of<T>(request: &Request<T>) -> Option<Self> {
        request.extensions().get().copied()
    }

    /// The time that is left, zero when it has passed.
    #[must_use]
    pub fn left(self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_is_left_shrinks_to_nothing() {
        let deadline = Deadline::after(Duration::from_secs(2));
        tokio::time::advance(Duration::from_millis(500)).await;
        assert_eq!(deadline.left(), Duration::from_millis(1500));
        tokio::time::advance(Duration::from_secs(9)).await;
        assert_eq!(deadline.left(), Duration::ZERO);
        assert!(Deadline::after(Duration::MAX).left() > Duration::from_secs(1 << 30));
    }
}
