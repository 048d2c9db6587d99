//! What the files of attempts hold: asked of the manager when an attempt is to be created, and kept no longer than for that.

use std::time::Duration;

use davit_core::file::{FileContent, FileDigest};
use davit_core::id::AttemptKey;
use tokio::sync::{Mutex, mpsc, oneshot};

use super::Agent;
use crate::runtime::Error;

/// So many questions wait for a session at most; who asks more waits for a place.
const QUEUE: usize = 64;
/// How long an attempt waits for an answer before it says so.
const ANSWER_TIME: Duration = Duration::from_secs(10);
const ACTION: &str = "get configs and secrets";

/// A question of an attempt.
#[derive(Debug)]
pub(crate) struct FileRequest {
    /// Which attempt needs it.
    pub(crate) key: AttemptKey,
    /// What it needs.
    pub(crate) digest: FileDigest,
    /// Where the answer goes.
    pub(crate) answer: oneshot::Sender<Result<FileContent, Error>>,
}

/// Questions on their way to the session.
#[derive(Debug)]
pub(super) struct FileRequests {
    asked: mpsc::Sender<FileRequest>,
    waiting: Mutex<mpsc::Receiver<FileRequest>>,
}

impl Default for FileRequests {
    fn default() -> Self {
        let (asked, waiting) = mpsc::channel(QUEUE);
        Self { asked, waiting: Mutex::new(waiting) }
    }
}

impl Agent {
    /// What the files of an attempt hold, in this order.
    pub(super) async fn contents(
        &self,
        key: AttemptKey,
        digests: impl IntoIterator<Item = Option<FileDigest>>,
    ) -> Result<Vec<FileContent>, Error> {
        let mut contents: Vec<FileContent> = Vec::new();
        for digest in digests {
            let unnamed = || Error::Unsupported { what: "a config or secret has no version".to_owned() };
            let digest = digest.ok_or_else(unnamed)?;
            let content = match contents.iter().find(|known| known.digest() == digest) {
                Some(known) => known.clone(),
                None => tokio::time::timeout(ANSWER_TIME, self.content(key, digest))
                    .await
                    .unwrap_or_else(|_| Err(unavailable("the manager is out of reach")))?,
            };
            contents.push(content);
        }
        Ok(contents)
    }

    async fn content(&self, key: AttemptKey, digest: FileDigest) -> Result<FileContent, Error> {
        let (answer, answered) = oneshot::channel();
        let asked = self.file_requests.asked.send(FileRequest { key, digest, answer }).await;
        asked.map_err(|_| unavailable("the worker stops"))?;
        answered.await.unwrap_or_else(|_| Err(unavailable("the session ended before the answer")))
    }

    /// The next question, for the session to pass on. May be dropped without losing any.
    pub(crate) async fn next_file_request(&self) -> FileRequest {
        match self.file_requests.waiting.lock().await.recv().await {
            Some(request) => request,
            // The agent has the other end.
            None => std::future::pending().await,
        }
    }
}

fn unavailable(reason: &str) -> Error {
    Error::Unanswered { action: ACTION, reason: reason.to_owned() }
}
