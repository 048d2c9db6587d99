//! Calls to the manager, a bounded number at once.

use tokio::task::JoinSet;

use crate::error::Error;

/// Calls that are on their way. Dropped, they are given up.
#[derive(Debug)]
pub(crate) struct Calls<T> {
    running: JoinSet<Result<T, Error>>,
    at_once: usize,
    answers: Vec<T>,
}

impl<T: Send + 'static> Calls<T> {
    /// So many at once at most.
    pub(crate) fn at_once(at_once: usize) -> Self {
        Self { running: JoinSet::new(), at_once, answers: Vec::new() }
    }

    /// Begins another as soon as there is room for it. Fails with the first that failed.
    pub(crate) async fn begin(
        &mut self,
        call: impl Future<Output = Result<T, Error>> + Send + 'static,
    ) -> Result<(), Error> {
        while self.running.len() >= self.at_once {
            self.join_one().await?;
        }
        self.running.spawn(call);
        Ok(())
    }

    /// Waits for all. Answers what they answered, in no order.
    pub(crate) async fn finish(mut self) -> Result<Vec<T>, Error> {
        while !self.running.is_empty() {
            self.join_one().await?;
        }
        Ok(self.answers)
    }

    async fn join_one(&mut self) -> Result<(), Error> {
        if let Some(joined) = self.running.join_next().await {
            self.answers.push(joined.map_err(|error| Error::WrongAnswer(error.to_string()))??);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test]
    async fn no_more_are_on_their_way_than_may_be() {
        let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let mut calls = Calls::at_once(3);
        for number in 0..20 {
            let (now, most) = (Arc::clone(&now), Arc::clone(&most));
            let call = async move {
                most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                tokio::task::yield_now().await;
                now.fetch_sub(1, Ordering::SeqCst);
                Ok(number)
            };
            calls.begin(call).await.unwrap();
        }
        let mut answers = calls.finish().await.unwrap();
        answers.sort_unstable();
        assert_eq!(answers, (0..20).collect::<Vec<_>>());
        assert_eq!(most.load(Ordering::SeqCst), 3);
    }

    #[tokio::test]
    async fn one_that_fails_is_told() {
        let mut calls = Calls::<()>::at_once(1);
        calls.begin(async { Err(Error::NothingMeasured) }).await.unwrap();
        assert!(calls.finish().await.is_err());
    }
}
