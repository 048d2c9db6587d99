//! A moment to wait for again and again. It is kept with the runtime's timer for as long as it stays the same.

use std::pin::Pin;

use tokio::time::{Instant, Sleep};

/// A moment to wait for, if there is one.
#[derive(Debug, Default)]
pub(super) struct Alarm(Option<Pin<Box<Sleep>>>);

impl Alarm {
    /// Waits for this moment from now on; `None`: for none.
    pub(super) fn set(&mut self, due: Option<Instant>) {
        match (&mut self.0, due) {
            (Some(sleep), Some(due)) if sleep.deadline() == due => {}
            (Some(sleep), Some(due)) => sleep.as_mut().reset(due),
            (alarm, due) => *alarm = due.map(|due| Box::pin(tokio::time::sleep_until(due))),
        }
    }

    /// Waits until it has passed; for ever while there is none. May be dropped without losing anything.
    pub(super) async fn passed(&mut self) {
        match &mut self.0 {
            Some(sleep) => sleep.as_mut().await,
            None => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_newest_moment_counts() {
        let (began, mut alarm) = (Instant::now(), Alarm::default());
        let second = Duration::from_secs(1);
        assert!(tokio::time::timeout(second, alarm.passed()).await.is_err(), "there is none");
        for due in [began + 9 * second, began + 5 * second, began + 5 * second] {
            alarm.set(Some(due));
            assert!(tokio::time::timeout(second / 2, alarm.passed()).await.is_err());
        }
        alarm.passed().await;
        assert_eq!(began.elapsed(), 5 * second);
        alarm.set(None);
        assert!(tokio::time::timeout(second, alarm.passed()).await.is_err(), "it is taken back");
    }
}
