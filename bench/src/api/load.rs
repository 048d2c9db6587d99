//! SHELL: an open loop. Requests are sent when they are due, whether or not earlier ones were answered, and their times
//! count from then: where the manager or this process is late, each request that waits says so.

use std::time::Duration;

use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;

use super::figures::Measured;
use super::pace::Pace;
use crate::error::Error;

/// Requests that may be on their way; the next ones wait, and that counts.
const ON_THE_WAY: usize = 4_096;
/// When requests are sent so late, the rate is given up.
const BEHIND: Duration = Duration::from_secs(1);

/// What became of one request.
#[derive(Debug, Clone, Copy)]
pub(super) enum Answer {
    /// Answered at this time.
    At(Instant),
    /// An event reached half of those who watch, and all of them.
    Seen { half: Instant, all: Instant },
    /// The manager has too much to do.
    Refused,
}

/// Makes requests at that pace and waits for all answers. `call` gets the number of each request.
pub(super) async fn run<F>(pace: Pace, call: impl Fn(u64) -> F) -> Result<Measured, Error>
where
    F: Future<Output = Result<Answer, Error>> + Send + 'static,
{
    let (sender, mut due) = unbounded_channel();
    let began = Instant::now();
    // The runtime's timers are as coarse as a millisecond, and many answers take less.
    tokio::task::spawn_blocking(move || tick(pace, began, &sender));
    let (mut calls, mut measured) = (JoinSet::new(), Measured::default());
    while let Some(number) = due.recv().await {
        let due_at = began + pace.due(number);
        while let Some(done) = calls.try_join_next() {
            measured.add(done)?;
        }
        while calls.len() >= ON_THE_WAY
            && let Some(done) = calls.join_next().await
        {
            measured.add(done)?;
        }
        if due_at.elapsed() > BEHIND {
            measured.behind = true;
            break;
        }
        let answer = call(number);
        calls.spawn(async move { answer.await.map(|answer| (due_at, answer)) });
    }
    // Ends the ticks, too.
    drop(due);
    while let Some(done) = calls.join_next().await {
        measured.add(done)?;
    }
    measured.elapsed = began.elapsed();
    Ok(measured)
}

/// Tells of each request when it is due, until all were or nobody listens any more.
fn tick(pace: Pace, began: Instant, due: &UnboundedSender<u64>) {
    for number in 0..pace.requests() {
        let at = began + pace.due(number);
        loop {
            let wait = at.saturating_duration_since(Instant::now());
            if wait.is_zero() {
                break;
            }
            std::thread::park_timeout(wait);
        }
        if due.send(number).is_err() {
            return;
        }
    }
}

impl Measured {
    fn add(&mut self, done: Result<Result<(Instant, Answer), Error>, JoinError>) -> Result<(), Error> {
        let (due_at, answer) = done.map_err(|error| Error::WrongAnswer(error.to_string()))??;
        match answer {
            Answer::At(at) => self.latencies.push(at.duration_since(due_at)),
            Answer::Seen { half, all } => {
                self.halves.push(half.duration_since(due_at));
                self.latencies.push(all.duration_since(due_at));
            }
            Answer::Refused => self.refused += 1,
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn requests_are_sent_whether_or_not_earlier_ones_are_answered() {
        let pace = Pace { per_s: 1_000, seconds: 1 };
        let (answer, held) = tokio::sync::watch::channel(false);
        // Nothing is answered before the last one is sent.
        let measured = run(pace, |number| {
            let mut held = held.clone();
            if number == 999 {
                answer.send_replace(true);
            }
            async move {
                held.wait_for(|answered| *answered).await.map_err(|_| Error::StreamEnded)?;
                Ok(Answer::At(Instant::now()))
            }
        });
        let measured =
            tokio::time::timeout(Duration::from_secs(60), measured).await.expect("some are held back").unwrap();
        assert_eq!(measured.latencies.len(), 1_000);
        let first = measured.latencies.iter().max().unwrap();
        assert!(*first >= pace.due(999) && !measured.behind, "{first:?}");
    }

    #[tokio::test]
    async fn what_is_far_behind_is_given_up() {
        // As many as may be on their way are never answered until one is late.
        let pace = Pace { per_s: 1_000_000, seconds: 1 };
        let began = Instant::now();
        let measured = run(pace, |_| async move {
            tokio::time::sleep_until(began + BEHIND * 2).await;
            Ok(Answer::At(Instant::now()))
        });
        let measured = measured.await.unwrap();
        assert!(measured.behind);
        assert!(measured.latencies.len() <= ON_THE_WAY * 2);
    }

    #[tokio::test]
    async fn a_failed_call_ends_it_and_a_refused_one_is_counted() {
        let pace = Pace { per_s: 100, seconds: 1 };
        let refused = run(pace, |_| async { Ok(Answer::Refused) }).await.unwrap();
        assert_eq!((refused.refused, refused.latencies.len()), (100, 0));
        assert!(run(pace, |_| async { Err(Error::StreamEnded) }).await.is_err());
    }
}
