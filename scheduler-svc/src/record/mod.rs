//! What placement streams said, in a bounded file, so that decisions can be worked out again and compared.
//!
//! Writing never fails a placement, nor waits for a disk: entries go through a bounded queue to a thread of its own. What the
//! queue has no room for, or the disk refuses, is missing; the stream then goes on with a snapshot, so that whatever is in a
//! file can be replayed from that file alone, and the entries' numbers tell how much is missing.

mod crc;
mod difference;
mod file;
mod format;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod queue;
mod replay;
mod report;
mod stream;
#[cfg(test)]
mod test_support;
#[cfg(test)]
mod tests;
mod writer;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::oneshot;
use tracing::warn;

pub use self::format::{Flaw, FormatError};
use self::queue::Queue;
pub use self::replay::{ReplayError, replay};
pub use self::report::{Difference, ReplayReport, Verdict};
pub(crate) use self::stream::StreamRecord;
use self::writer::Writer;

/// How long a stop waits for what is still to be written.
const END_TIMEOUT: Duration = Duration::from_secs(2);

/// Why nothing can be recorded.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The file can't be made or written.
    #[error("can't record to {path}: {source}")]
    File {
        /// Which.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// It would be overwritten.
    #[error(
        "can't record to {path}: it is there and not a recording of davit-scheduler; move it away, or record elsewhere"
    )]
    Foreign {
        /// Which.
        path: String,
    },
    /// It is in use.
    #[error("can't record to {path}: another scheduler does")]
    Busy {
        /// Which.
        path: String,
    },
    /// There is no thread for it.
    #[error("can't start the thread that records")]
    Thread {
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

/// Records placement streams.
#[derive(Debug, Clone)]
pub struct Recorder {
    queue: Queue,
    /// Counts files. A stream begins every file with a snapshot.
    file: Arc<AtomicU64>,
    last_stream: Arc<AtomicU64>,
    /// How large a file gets.
    max_bytes: u64,
    /// What it has beside the streams' entries.
    overhead: u64,
}

impl Recorder {
    /// Begins a file of at most `max_bytes`; when it is full it becomes `FILE.1`, replacing an older one, and the next begins.
    /// A recording that is there already becomes `FILE.1`, too.
    ///
    /// # Errors
    /// When the file can't be made, or something else is there.
    pub fn start(path: &Path, max_bytes: u64) -> Result<(Self, Recording), RecordError> {
        let (queue, jobs) = Queue::new();
        let file = Arc::new(AtomicU64::new(0));
        let writer = Writer::begin(path, max_bytes, Arc::clone(&file))?;
        let overhead = writer.overhead();
        let (done, is_done) = oneshot::channel();
        let run = move || {
            writer.run(&jobs);
            // Nobody may want to know.
            let _ = done.send(());
        };
        let thread = std::thread::Builder::new().name("record".to_owned()).spawn(run);
        let thread = thread.map_err(|source| RecordError::Thread { source })?;
        let last_stream = Arc::new(AtomicU64::new(0));
        let recorder = Self { queue: queue.clone(), file, last_stream, max_bytes, overhead };
        Ok((recorder, Recording { queue, thread, is_done }))
    }

    /// A stream that is opened now.
    #[must_use]
    pub(crate) fn open_stream(&self) -> StreamRecord {
        let stream_id = self.last_stream.fetch_add(1, Ordering::Relaxed) + 1;
        StreamRecord::new(self.clone(), stream_id)
    }
}

/// What is being recorded. Without [`Recording::end`] it ends when this and all its streams are dropped.
#[derive(Debug)]
pub struct Recording {
    queue: Queue,
    thread: JoinHandle<()>,
    is_done: oneshot::Receiver<()>,
}

impl Recording {
    /// Writes what waits, and the end. Gives up when that takes too long.
    pub async fn end(self) {
        self.queue.end();
        match tokio::time::timeout(END_TIMEOUT, self.is_done).await {
            Ok(_) if self.thread.join().is_ok() => {}
            Ok(_) => warn!("the thread that records broke"),
            Err(_) => warn!("what was recorded last is not written yet, and may be lost"),
        }
    }
}
