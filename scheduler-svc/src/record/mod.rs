//! What placement streams said, in a bounded file, so that decisions can be worked out again and compared.
//!
//! Writing never slows or fails a placement: entries go through a bounded queue to a thread of its own. What the queue has no
//! room for, or the disk refuses, is missing; the stream then goes on with a snapshot, so that whatever is in a file can be
//! replayed from that file alone.

mod format;
mod replay;
mod writer;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError};

use davit_proto::v1;
use davit_proto::v1::record_entry::Entry;

pub use self::format::FormatError;
pub use self::replay::{Difference, ReplayError, ReplayReport, replay};
use self::writer::Writer;
use crate::metrics;

/// Entries that wait to be written.
const WAITING_ENTRIES: usize = 256;

/// Why nothing can be recorded.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The file can't be made.
    #[error("can't record to {path}")]
    File {
        /// Which.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// There is no thread for it.
    #[error("can't start the thread that records")]
    Thread {
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

/// Records placement streams. Ends, with all that waits written, when it and all its streams are dropped.
#[derive(Debug, Clone)]
pub struct Recorder {
    entries: SyncSender<Stamped>,
    /// Counts files. A stream begins every file with a snapshot.
    file: Arc<AtomicU64>,
    last_stream: Arc<AtomicU64>,
}

/// An entry and the file that it is meant for.
#[derive(Debug)]
struct Stamped {
    file: u64,
    entry: v1::RecordEntry,
}

impl Recorder {
    /// Begins a file of at most `max_bytes`; when it is full it becomes `FILE.1`, replacing an older one, and the next begins.
    ///
    /// # Errors
    /// When the file can't be made.
    pub fn start(path: &Path, max_bytes: u64) -> Result<Self, RecordError> {
        let (entries, receiver) = std::sync::mpsc::sync_channel(WAITING_ENTRIES);
        let file = Arc::new(AtomicU64::new(0));
        let writer = Writer::create(path, max_bytes, Arc::clone(&file))
            .map_err(|source| RecordError::File { path: path.display().to_string(), source })?;
        let thread = std::thread::Builder::new().name("record".to_owned());
        thread.spawn(move || writer.run(&receiver)).map_err(|source| RecordError::Thread { source })?;
        Ok(Self { entries, file, last_stream: Arc::new(AtomicU64::new(0)) })
    }

    /// A stream that is opened now.
    #[must_use]
    pub(crate) fn open_stream(&self) -> StreamRecord {
        let stream_id = self.last_stream.fetch_add(1, Ordering::Relaxed) + 1;
        StreamRecord { recorder: self.clone(), stream_id, known_to: None }
    }
}

/// Records one stream.
#[derive(Debug)]
pub(crate) struct StreamRecord {
    recorder: Recorder,
    stream_id: u64,
    /// The file that holds a snapshot of this stream and all that followed. `None`: no file does.
    known_to: Option<u64>,
}

impl StreamRecord {
    /// Whether the next entry must be a snapshot.
    pub(crate) fn needs_snapshot(&self) -> bool {
        self.known_to != Some(self.recorder.file.load(Ordering::Acquire))
    }

    /// Records all that the stream goes by from here on.
    pub(crate) fn snapshot(&mut self, snapshot: v1::RecordSnapshot) {
        self.known_to = Some(self.recorder.file.load(Ordering::Acquire));
        self.send(Entry::Snapshot(snapshot));
    }

    /// Records nodes that changed.
    pub(crate) fn delta(&mut self, delta: v1::PlaceDelta) {
        self.send(Entry::Delta(delta));
    }

    /// Records tasks that were placed.
    pub(crate) fn batch(&mut self, batch: v1::PlaceBatch, answer: v1::PlaceResponse) {
        self.send(Entry::Batch(v1::RecordedBatch { batch: Some(batch), answer: Some(answer) }));
    }

    fn send(&mut self, entry: Entry) {
        // Without a snapshot before it an entry is of no use.
        let Some(file) = self.known_to else { return };
        let entry = v1::RecordEntry { stream_id: self.stream_id, entry: Some(entry) };
        match self.recorder.entries.try_send(Stamped { file, entry }) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                self.known_to = None;
                metrics::record_gap();
            }
        }
    }
}
