//! The end of an agent: stopping what is to stop with the worker, and leaving the rest.

use std::time::Duration;

use davit_core::spec::StopPolicy;
use futures::StreamExt as _;

use super::held::Held;
use super::next_step::Want;
use super::{Agent, State};

/// How many ended attempts are removed at once.
const REMOVALS_AT_ONCE: usize = 8;

impl Agent {
    /// Begins no more attempts because the worker goes away. Stops all that there are if `stops` says so, and waits until they
    /// have ended; not what is another worker's.
    pub async fn close(&self, stops: bool) {
        self.state.lock().closing = true;
        if stops {
            self.first_answer().await;
        }
        let stops = stops && !self.link.borrow().has_rival();
        for held in self.state.lock().held.values().filter(|held| stops && held.ended_at.is_none()) {
            held.want(Want::Stop, None);
        }
        let ended = |held: &Held| !stops || held.ended_at.is_some();
        self.until(|state| state.held.values().all(ended)).await;
    }

    /// Kills what [`Agent::close`] could not stop in time.
    pub async fn kill(&self) {
        let left: Vec<_> = {
            let state = self.state.lock();
            let left = state.held.iter().filter(|(_, held)| held.ended_at.is_none());
            left.map(|(key, held)| (*key, held.kind)).collect()
        };
        let how = StopPolicy { signal: "SIGKILL".to_owned(), grace: Duration::ZERO };
        let kills = left.into_iter().map(|(key, kind)| {
            let (runtime, how) = (self.runtime(kind), &how);
            async move {
                tracing::warn!(%key, "killing an attempt that did not stop in time");
                if let Some(runtime) = runtime
                    && let Err(error) = runtime.stop(key, how, None).await
                {
                    tracing::warn!(%key, %error, "can't kill it");
                }
            }
        });
        futures::future::join_all(kills).await;
    }

    /// Removes all that this worker has left of ended attempts, for a worker that will not be back. What can't be removed is
    /// told in the log. What is another worker's stays.
    pub async fn remove_ended(&self) {
        if self.link.borrow().has_rival() {
            return;
        }
        let ended: Vec<_> = {
            let state = self.state.lock();
            let ended = state.held.iter().filter(|(_, held)| held.ended_at.is_some());
            ended.map(|(key, held)| (*key, held.kind)).collect()
        };
        futures::stream::iter(ended)
            .for_each_concurrent(REMOVALS_AT_ONCE, |(key, kind)| async move {
                let Some(runtime) = self.runtime(kind) else { return };
                let removed = match runtime.remove(key).await {
                    Ok(()) => self.store.remove(key).await.map_err(|error| error.to_string()),
                    Err(error) => Err(error.to_string()),
                };
                if let Err(error) = removed {
                    tracing::warn!(%key, %error, "can't remove what an attempt left");
                }
            })
            .await;
    }

    /// Whether attempts that have not ended are left to the next worker.
    #[must_use]
    pub fn leaves_any(&self) -> bool {
        self.state.lock().held.values().any(|held| held.ended_at.is_none())
    }

    /// Waits until no attempt is left that has not ended.
    pub async fn emptied(&self) {
        self.until(|state| state.held.values().all(|held| held.ended_at.is_some())).await;
    }

    /// Waits until the manager knows everything.
    pub async fn flushed(&self) {
        self.until(|state| state.reporter.is_empty()).await;
    }

    async fn until(&self, done: impl Fn(&State) -> bool) {
        let mut changed = self.changed.subscribe();
        loop {
            changed.borrow_and_update();
            if done(&self.state.lock()) || changed.changed().await.is_err() {
                return;
            }
        }
    }

    /// Ends all runners, whatever they are doing; what runs goes on without them.
    pub fn abandon(&self) {
        self.stopped.cancel();
    }

    /// The same, and waits until they have ended.
    pub async fn shut_down(&self) {
        self.abandon();
        self.runners.close();
        self.runners.wait().await;
        if let Err(error) = self.store.flush().await {
            tracing::warn!(%error, "not all that the manager acknowledged is noted; some of it is sent again");
        }
    }
}
