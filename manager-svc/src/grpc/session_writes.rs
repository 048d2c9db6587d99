//! What one session's worker says is made durable. What can't be committed is tried again, with what came meanwhile.

use std::time::Duration;

use davit_core::drain::DEFAULT_MAX_PARALLEL;
use davit_core::id::TaskId;
use davit_core::task::AttemptStatus;
use davit_proto::convert;
use davit_svc_kit::backoff::Backoff;
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tracing::{debug, warn};

use super::Api;
use super::report_inbox::{Full, Receipt, ReportInbox};
use crate::commands::{self, Registered, apply_reports, drain_for_worker, set_runtime_health};
use crate::metrics;
use crate::state::Draft;
use crate::writer::WriteError;

/// Until what a worker says is written again after the store failed.
const FIRST_RETRY: Duration = Duration::from_millis(50);
const LONGEST_RETRY: Duration = Duration::from_secs(2);
/// So long at most a session waits until it is durable that its worker goes.
const GOING_WRITE_TIME: Duration = Duration::from_secs(5);

/// Status reports on their way from the reader to the writer. The reader never waits for the writer: heartbeats come on the same
/// stream.
#[derive(Default)]
pub(super) struct Reports {
    inbox: Mutex<ReportInbox>,
    filled: Notify,
}

impl Reports {
    /// Takes in a report.
    ///
    /// # Errors
    /// When too many attempts wait.
    pub(super) fn put(&self, receipt: Receipt, statuses: Vec<(TaskId, AttemptStatus)>) -> Result<(), Full> {
        self.inbox.lock().put(receipt, statuses)?;
        self.filled.notify_one();
        Ok(())
    }

    /// Waits for what is to be written next.
    pub(super) async fn next(&self) -> (Receipt, Vec<(TaskId, AttemptStatus)>) {
        loop {
            if let Some(waiting) = self.inbox.lock().take() {
                return waiting;
            }
            self.filled.notified().await;
        }
    }
}

/// Writes in the name of one registration. Dropped with its session, whatever waits.
#[derive(Clone, Copy)]
pub(super) struct SessionWrites<'a> {
    pub(super) api: &'a Api,
    pub(super) registered: Registered,
}

/// What came of one try.
enum Tried<T> {
    Written(T),
    /// Nothing of the kind can be written any more, or there is nothing to write.
    Refused,
    NotNow,
}

impl SessionWrites<'_> {
    /// Makes it durable that the worker goes, before anything else is heard of it. A store that can't be written delays that
    /// only so long: the health loop notes it later then, and a manager that is restarted meanwhile does not know of it.
    pub(super) async fn going(self, note: impl Fn(&mut Draft) + Clone + Send + 'static) {
        let write = self.until_written("that a worker goes", || {
            let note = note.clone();
            move |draft: &mut Draft| {
                note(draft);
                Ok(())
            }
        });
        if tokio::time::timeout(GOING_WRITE_TIME, write).await.is_err() {
            warn!("that the worker goes could not be written: a manager that is restarted meanwhile does not know it");
        }
    }

    /// Makes it durable which runtimes answer; only the newest word counts. Ends when the node has registered anew since.
    pub(super) async fn health(self, mut health: watch::Receiver<Option<convert::RuntimeHealth>>) {
        let node_id = self.registered.node_id;
        while health.changed().await.is_ok() {
            let written = self.until_written("what a node can run", || {
                let told = health.borrow_and_update().clone();
                move |draft: &mut Draft| {
                    if let Some(told) = told {
                        set_runtime_health(draft, node_id, told);
                    }
                    Ok(())
                }
            });
            if written.await.is_none() {
                return;
            }
        }
        // The reader is done; the session ends with it.
        std::future::pending::<()>().await;
    }

    /// Has the node drained whenever its worker asks for it. Does not end.
    pub(super) async fn drains(self, asked: &Notify) {
        let node_id = self.registered.node_id;
        loop {
            asked.notified().await;
            let begin = move |draft: &mut Draft| drain_for_worker(draft, node_id, DEFAULT_MAX_PARALLEL);
            self.until_written("a drain", || begin).await;
        }
    }

    /// Makes reports durable and acknowledges them. Ends when the node has registered anew since.
    pub(super) async fn reports(self, reports: &Reports, acks: &watch::Sender<Receipt>) {
        let node_id = self.registered.node_id;
        let mut backoff = self.backoff();
        loop {
            let (receipt, statuses) = reports.next().await;
            let to_write = statuses.clone();
            let write = move |draft: &mut Draft| Ok(apply_reports(draft, node_id, to_write));
            match self.once("a status report", write).await {
                Tried::Written(counts) => {
                    metrics::reports(counts);
                    backoff.reset();
                    acks.send_modify(|acknowledged| *acknowledged = acknowledged.and(receipt));
                }
                Tried::Refused => return,
                Tried::NotNow => {
                    // Back to where newer statuses of the same attempts take their place.
                    if let Err(problem) = reports.put(receipt, statuses) {
                        return warn!(%problem, "the session ends");
                    }
                    tokio::time::sleep(backoff.next_delay()).await;
                }
            }
        }
    }

    /// Tries until it is written, each time what is to be written by then. `None`: that will never be.
    async fn until_written<T, C>(self, what: &'static str, mut command: impl FnMut() -> C) -> Option<T>
    where
        T: Send + 'static,
        C: FnOnce(&mut Draft) -> Result<T, commands::Error> + Send + 'static,
    {
        let mut backoff = self.backoff();
        loop {
            match self.once(what, command()).await {
                Tried::Written(answer) => return Some(answer),
                Tried::Refused => return None,
                Tried::NotNow => tokio::time::sleep(backoff.next_delay()).await,
            }
        }
    }

    async fn once<T, C>(self, what: &'static str, command: C) -> Tried<T>
    where
        T: Send + 'static,
        C: FnOnce(&mut Draft) -> Result<T, commands::Error> + Send + 'static,
    {
        let registered = self.registered;
        let in_its_name = move |draft: &mut Draft| {
            registered.check(draft)?;
            command(draft)
        };
        match self.api.writer.write(in_its_name).await {
            Ok(answer) => Tried::Written(answer),
            Err(problem @ (WriteError::Refused(_) | WriteError::Stopping)) => {
                debug!(%problem, what, "is not written");
                Tried::Refused
            }
            Err(problem @ (WriteError::NotCommitted(_) | WriteError::Overloaded { .. })) => {
                debug!(%problem, what, "waits for the store");
                Tried::NotNow
            }
        }
    }

    fn backoff(self) -> Backoff {
        self.api.world.backoff(FIRST_RETRY, LONGEST_RETRY)
    }
}
