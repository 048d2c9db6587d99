//! Says on tasks why they wait: in portions, each written by itself, so that others that write come in between.

use std::convert::Infallible;

use davit_core::id::AttemptKey;
use tracing::debug;

use super::batch::MAX_TASKS_PER_BATCH;
use super::queue::untold;
use super::stream::StreamError;
use super::{Placer, Session};
use crate::commands;

/// How many tasks are told at once.
pub(super) const TOLD_AT_ONCE: usize = 5_000;

impl Placer {
    /// Says on some of the tasks that fit nowhere why they wait. False when all say so.
    pub(super) async fn tell_some(&self, session: &mut Session) -> bool {
        let held = session.queue.next_to_tell(&self.writer.state(), self.world.clock.now(), TOLD_AT_ONCE);
        if held.is_empty() {
            return false;
        }
        if self.note(held).await {
            session.not_committed.reset();
        } else {
            tokio::time::sleep(session.not_committed.next_delay()).await;
        }
        true
    }

    /// Says on waiting tasks that there is no scheduler, on no more than a batch would have.
    pub(super) async fn tell_waiting_tasks(&self, problem: &StreamError) {
        let reason = format!("no scheduler: {problem}");
        for _ in 0..MAX_TASKS_PER_BATCH / TOLD_AT_ONCE {
            let waiting = untold(&self.writer.state(), self.world.clock.now(), &reason, TOLD_AT_ONCE);
            if waiting.is_empty() || !self.note(waiting).await {
                return;
            }
        }
    }

    /// Says on tasks why they wait. False when it could not be written.
    async fn note(&self, reasons: Vec<(AttemptKey, String)>) -> bool {
        let noted = self
            .writer
            .write(move |draft| {
                commands::note_unplaced(draft, &reasons);
                Ok::<(), Infallible>(())
            })
            .await;
        if let Err(problem) = &noted {
            debug!(%problem, "waiting tasks could not be told why");
        }
        noted.is_ok()
    }
}
