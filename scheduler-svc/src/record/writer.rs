//! The thread that writes.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, TryRecvError};

use davit_proto::v1;
use davit_proto::v1::record_entry::Entry;
use tracing::warn;

use super::queue::{Job, Kind, Waiting};
use super::{RecordError, file, format};
use crate::metrics;

/// What is kept free for a file's end.
const END_BYTES: u64 = 64;

/// Writes entries to a file that never grows beyond its bound.
#[derive(Debug)]
pub(super) struct Writer {
    path: PathBuf,
    max_bytes: u64,
    out: BufWriter<File>,
    /// Bytes in the file.
    written: u64,
    /// Entries in the file, the header included.
    entries: u64,
    /// Whether the file holds anything that can be compared.
    has_batch: bool,
    /// Counts files; streams see by it when a new one has begun.
    file: Arc<AtomicU64>,
    /// Whether the disk refused something.
    is_broken: bool,
}

impl Writer {
    pub(super) fn begin(path: &Path, max_bytes: u64, file: Arc<AtomicU64>) -> Result<Self, RecordError> {
        let (out, written) = file::begin(path)?;
        Ok(Self {
            path: path.to_owned(),
            max_bytes,
            out: BufWriter::new(out),
            written,
            entries: 1,
            has_batch: false,
            file,
            is_broken: false,
        })
    }

    /// What a file has beside streams' entries. Of use before any is written.
    pub(super) fn overhead(&self) -> u64 {
        self.written + END_BYTES
    }

    /// Writes until it is to end, or nobody records any more.
    pub(super) fn run(mut self, jobs: &Receiver<Job>) {
        loop {
            let job = match jobs.try_recv() {
                Err(TryRecvError::Empty) => {
                    self.flush();
                    jobs.recv().ok()
                }
                job => job.ok(),
            };
            let Some(Job::Write(waiting)) = job else { break };
            self.take(&waiting);
        }
        self.finish();
    }

    pub(super) fn take(&mut self, waiting: &Waiting) {
        let written = self.write(waiting);
        self.note(written);
    }

    pub(super) fn finish(mut self) {
        if !self.is_broken
            && let Err(problem) = self.end()
        {
            warn!(%problem, "the end of the recording is lost");
        }
    }

    /// Whatever becomes of this process: what was written is not lost with it.
    fn flush(&mut self) {
        if !self.is_broken {
            let flushed = self.out.flush().map_err(|source| self.failed(source));
            self.note(flushed);
        }
    }

    fn note(&mut self, outcome: Result<(), RecordError>) {
        let Err(problem) = outcome else { return };
        metrics::record_gap();
        if !self.is_broken {
            warn!(%problem, "recording failed; a new file is begun when that is possible");
        }
        self.is_broken = true;
    }

    fn write(&mut self, waiting: &Waiting) -> Result<(), RecordError> {
        if waiting.file != self.file.load(Ordering::Acquire) {
            // Meant for a file that was full meanwhile: the stream begins this one with a snapshot.
            metrics::record_gap();
            return Ok(());
        }
        let length = format::written_len(&waiting.entry);
        // What the disk refused may have left half an entry behind: nothing is added to that file any more.
        if self.is_broken || self.written + length + END_BYTES > self.max_bytes {
            return self.next_file();
        }
        format::write(&mut self.out, &waiting.entry).map_err(|source| self.failed(source))?;
        self.written += length;
        self.entries += 1;
        self.has_batch |= waiting.kind == Kind::Batch;
        Ok(())
    }

    /// The entry that did not fit any more is missing, and every stream begins anew. The full file becomes `FILE.1`, but not
    /// when nothing in it can be compared: then what is `FILE.1` already is worth more.
    fn next_file(&mut self) -> Result<(), RecordError> {
        if self.has_batch && !self.is_broken {
            self.end()?;
        }
        let (next, written) = if self.has_batch {
            // It is looked at as any file that is there, which locks it.
            let _ = self.out.get_ref().unlock();
            file::begin(&self.path)?
        } else {
            let restarted = self.out.get_ref().try_clone().and_then(|mut same| Ok((file::restart(&mut same)?, same)));
            let (written, same) = restarted.map_err(|source| self.failed(source))?;
            (same, written)
        };
        // What the disk refused is not tried again.
        let _ = std::mem::replace(&mut self.out, BufWriter::new(next)).into_parts();
        (self.written, self.entries) = (written, 1);
        (self.has_batch, self.is_broken) = (false, false);
        self.file.fetch_add(1, Ordering::Release);
        metrics::record_gap();
        Ok(())
    }

    fn end(&mut self) -> Result<(), RecordError> {
        let end = format::encode(0, 0, Entry::End(v1::RecordEnd { entry_count: self.entries }));
        let written = format::write(&mut self.out, &end).and_then(|()| self.out.flush());
        written.map_err(|source| self.failed(source))
    }

    fn failed(&self, source: std::io::Error) -> RecordError {
        RecordError::File { path: self.path.display().to_string(), source }
    }
}
