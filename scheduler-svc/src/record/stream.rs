//! The recording of one stream.

use std::sync::atomic::Ordering;

use davit_proto::v1;
use davit_proto::v1::record_entry::Entry;
use tracing::warn;

use super::queue::Kind;
use super::{Recorder, format};
use crate::metrics;

/// Records one stream.
#[derive(Debug)]
pub(crate) struct StreamRecord {
    recorder: Recorder,
    stream_id: u64,
    /// How many messages it had, whether recorded or not. The one that opens it tells all nodes, and is recorded with them.
    messages: u64,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// No file has what the stream goes by.
    Unknown,
    /// This file has a snapshot of so many bytes, and all that followed.
    Known { file: u64, snapshot_bytes: u64 },
    /// Not even a snapshot fits into a file.
    TooLarge,
}

impl StreamRecord {
    pub(super) fn new(recorder: Recorder, stream_id: u64) -> Self {
        Self { recorder, stream_id, messages: 1, state: State::Unknown }
    }

    /// Whether the next entry must be a snapshot.
    pub(crate) fn needs_snapshot(&self) -> bool {
        self.state != State::TooLarge && !self.is_recorded() && self.recorder.queue.may_take_snapshot()
    }

    /// Whether what comes next is recorded; if not, nobody needs to keep it.
    pub(crate) fn is_recorded(&self) -> bool {
        matches!(self.state, State::Known { file, .. } if file == self.file())
    }

    /// Records all that the stream goes by from here on.
    pub(crate) fn snapshot(&mut self, snapshot: v1::RecordSnapshot) {
        let file = self.file();
        let entry = format::encode(self.stream_id, self.messages, Entry::Snapshot(snapshot));
        let snapshot_bytes = format::written_len(&entry);
        if !self.fits(snapshot_bytes) {
            let (stream_id, max_bytes) = (self.stream_id, self.recorder.max_bytes);
            warn!(
                stream_id,
                "this stream is not recorded: its snapshot of {snapshot_bytes} bytes is beyond the bound of {max_bytes}"
            );
            metrics::record_gap();
            self.state = State::TooLarge;
            return;
        }
        self.state = State::Known { file, snapshot_bytes };
        self.send(Kind::Snapshot, entry);
    }

    /// Nodes changed. They are given if the stream is recorded.
    pub(crate) fn delta(&mut self, delta: Option<v1::PlaceDelta>) {
        self.message(Kind::Delta, delta.map(Entry::Delta));
    }

    /// Tasks were placed. They are given if the stream is recorded.
    pub(crate) fn batch(&mut self, batch: Option<v1::PlaceBatch>, answer: &v1::PlaceResponse) {
        let batch = batch.map(|batch| v1::RecordedBatch { batch: Some(batch), answer: Some(answer.clone()) });
        self.message(Kind::Batch, batch.map(Entry::Batch));
    }

    fn message(&mut self, kind: Kind, entry: Option<Entry>) {
        self.messages += 1;
        match entry {
            Some(entry) => self.send(kind, format::encode(self.stream_id, self.messages, entry)),
            None => self.missed(),
        }
    }

    fn send(&mut self, kind: Kind, entry: Vec<u8>) {
        // Without a snapshot before it an entry is of no use.
        let State::Known { file, snapshot_bytes } = self.state else { return };
        let bytes = format::written_len(&entry);
        let fits = kind == Kind::Snapshot || self.fits(snapshot_bytes + bytes);
        if !(fits && self.recorder.queue.push(file, kind, entry)) {
            self.missed();
        }
    }

    fn missed(&mut self) {
        // Of a stream that is never recorded it was told once.
        if self.state != State::TooLarge {
            metrics::record_gap();
            self.state = State::Unknown;
        }
    }

    /// Whether a file could hold so much of this stream.
    fn fits(&self, bytes: u64) -> bool {
        bytes + self.recorder.overhead <= self.recorder.max_bytes
    }

    fn file(&self) -> u64 {
        self.recorder.file.load(Ordering::Acquire)
    }
}
