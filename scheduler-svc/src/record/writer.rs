//! The thread that writes.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use tracing::warn;

use super::{Stamped, format};
use crate::metrics;

/// How long what was written may stay in memory.
const FLUSH_PERIOD: Duration = Duration::from_millis(200);

/// Writes entries to a file that never grows beyond its bound.
#[derive(Debug)]
pub(super) struct Writer {
    path: PathBuf,
    max_bytes: u64,
    out: BufWriter<File>,
    written: u64,
    /// Which file it is; streams see by it when a new one has begun.
    file: Arc<AtomicU64>,
    /// Whether the disk refused something.
    is_broken: bool,
}

impl Writer {
    pub(super) fn create(path: &Path, max_bytes: u64, file: Arc<AtomicU64>) -> std::io::Result<Self> {
        let (out, written) = begin(path)?;
        Ok(Self { path: path.to_owned(), max_bytes, out, written, file, is_broken: false })
    }

    /// Writes until nobody records any more.
    pub(super) fn run(mut self, entries: &Receiver<Stamped>) {
        loop {
            let outcome = match entries.recv_timeout(FLUSH_PERIOD) {
                Ok(entry) => self.write(&entry),
                Err(RecvTimeoutError::Timeout) => self.out.flush(),
                Err(RecvTimeoutError::Disconnected) => break,
            };
            if let Err(problem) = outcome {
                warn!(%problem, path = %self.path.display(), "recording failed; a new file is begun when the disk allows it");
                metrics::record_gap();
                self.is_broken = true;
            }
        }
        if let Err(problem) = self.out.flush() {
            warn!(%problem, path = %self.path.display(), "the end of the recording is lost");
        }
    }

    fn write(&mut self, stamped: &Stamped) -> std::io::Result<()> {
        if stamped.file != self.file.load(Ordering::Acquire) {
            // Meant for a file that was full meanwhile: the stream begins this one with a snapshot.
            metrics::record_gap();
            return Ok(());
        }
        if self.is_broken {
            // What the disk refused may have left half an entry behind: nothing is added to that file any more.
            return self.rotate();
        }
        let length = prost::Message::encoded_len(&stamped.entry) as u64 + 10;
        if self.written + length > self.max_bytes {
            return self.rotate();
        }
        self.written += format::write(&mut self.out, &stamped.entry)?;
        Ok(())
    }

    /// The full file becomes `FILE.1`; the entry that did not fit any more is missing, and every stream begins anew.
    fn rotate(&mut self) -> std::io::Result<()> {
        if !self.is_broken {
            self.out.flush()?;
        }
        let mut older = self.path.clone().into_os_string();
        older.push(".1");
        std::fs::rename(&self.path, older)?;
        (self.out, self.written) = begin(&self.path)?;
        self.is_broken = false;
        self.file.fetch_add(1, Ordering::Release);
        metrics::record_gap();
        Ok(())
    }
}

fn begin(path: &Path) -> std::io::Result<(BufWriter<File>, u64)> {
    let mut out = BufWriter::new(File::create(path)?);
    let written = format::write(&mut out, &format::header())?;
    out.flush()?;
    Ok((out, written))
}
