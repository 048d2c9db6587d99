//! Works a recording out again and compares to the letter.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use davit_core::validate::Violations;
use davit_proto::v1;
use davit_proto::v1::record_entry::Entry;

use super::difference::differences;
use super::format::{Flaw, FormatError, ReadError, Reader};
use super::report::ReplayReport;
use crate::grpc::ReplaySession;

/// Why a recording can't be replayed.
#[derive(Debug, thiserror::Error)]
#[error("can't replay {path}")]
pub struct ReplayError {
    /// Which file.
    pub path: String,
    /// Why.
    pub source: FormatError,
}

/// Replays a file. Differences and flaws are in the report.
///
/// # Errors
/// When it can't be read, or is no recording of this format.
pub fn replay(path: &Path) -> Result<ReplayReport, ReplayError> {
    let replayed = File::open(path).map_err(Into::into).and_then(|file| replay_all(BufReader::new(file)));
    replayed.map_err(|source| ReplayError { path: path.display().to_string(), source })
}

pub(super) fn replay_all(input: impl Read) -> Result<ReplayReport, FormatError> {
    let mut reader = Reader::new(input)?;
    let mut replay = Replay::default();
    loop {
        let at = reader.at();
        match reader.next_entry() {
            Ok(Some(entry)) => {
                if let Err(problem) = replay.entry(entry) {
                    replay.report.flaw = Some(Flaw::Damaged { at, problem });
                    break;
                }
            }
            Ok(None) => {
                replay.report.flaw = replay.is_cut_off().then_some(Flaw::NoEnd { at });
                break;
            }
            Err(ReadError::Flaw(flaw)) => {
                replay.report.flaw = Some(flaw);
                break;
            }
            Err(ReadError::Io(problem)) => return Err(problem.into()),
        }
    }
    Ok(replay.report)
}

/// How far it is.
#[derive(Debug, Default)]
struct Replay {
    entries: u64,
    has_end: bool,
    streams: BTreeMap<u64, Stream>,
    report: ReplayReport,
}

#[derive(Debug)]
struct Stream {
    /// `None` after something was refused, until the next snapshot.
    session: Option<ReplaySession>,
    /// The last message that was seen.
    message: u64,
}

impl Replay {
    /// Whether the file goes on where it ends. One in which nothing was recorded yet does not.
    fn is_cut_off(&self) -> bool {
        !self.has_end && self.entries != 1
    }

    /// Does an entry; says why it can't be one.
    fn entry(&mut self, entry: v1::RecordEntry) -> Result<(), String> {
        let v1::RecordEntry { stream_id, message, entry } = entry;
        let entry = entry.ok_or("an entry holds nothing that this version knows")?;
        if self.has_end {
            return Err("something follows the file's end".to_owned());
        }
        if (self.entries == 0) != matches!(entry, Entry::Header(_)) {
            let problem = if self.entries == 0 { "the first entry is no header" } else { "there is a second header" };
            return Err(problem.to_owned());
        }
        match entry {
            Entry::Header(_) => {}
            Entry::Snapshot(snapshot) => self.snapshot(stream_id, message, snapshot)?,
            Entry::Delta(delta) => self.delta(stream_id, message, delta)?,
            Entry::Batch(v1::RecordedBatch { batch: Some(batch), answer: Some(answer) }) => {
                self.batch(stream_id, message, batch, &answer)?;
            }
            Entry::Batch(_) => return Err(format!("stream {stream_id}: a batch or its answer is missing")),
            Entry::End(v1::RecordEnd { entry_count }) if entry_count == self.entries => self.has_end = true,
            Entry::End(v1::RecordEnd { entry_count }) => {
                return Err(format!("the file ends with {} entries, and had {entry_count}", self.entries));
            }
        }
        self.entries += 1;
        Ok(())
    }

    fn snapshot(&mut self, stream_id: u64, message: u64, snapshot: v1::RecordSnapshot) -> Result<(), String> {
        let last = self.streams.get(&stream_id).map(|stream| stream.message);
        if let Some(last) = last {
            let Some(missing) = message.checked_sub(last) else {
                return Err(format!("stream {stream_id}: a snapshot after message {message} follows message {last}"));
            };
            self.report.missing += missing;
        } else {
            self.report.streams += 1;
        }
        let session = ReplaySession::new(snapshot);
        let session = self.accepted(stream_id, message, "the snapshot", session);
        self.streams.insert(stream_id, Stream { session, message });
        Ok(())
    }

    fn delta(&mut self, stream_id: u64, message: u64, delta: v1::PlaceDelta) -> Result<(), String> {
        let Some(mut session) = self.session(stream_id, message)? else { return Ok(()) };
        let outcome = session.delta(delta);
        if self.accepted(stream_id, message, "a change of nodes", outcome).is_some() {
            self.go_on(stream_id, session);
        }
        Ok(())
    }

    fn batch(
        &mut self,
        stream_id: u64,
        message: u64,
        batch: v1::PlaceBatch,
        recorded: &v1::PlaceResponse,
    ) -> Result<(), String> {
        let Some(mut session) = self.session(stream_id, message)? else { return Ok(()) };
        self.report.batches += 1;
        self.report.tasks += batch.groups.iter().map(|group| u64::from(group.count)).sum::<u64>();
        let batch_id = batch.batch_id;
        let outcome = session.batch(batch);
        if let Some(again) = self.accepted(stream_id, message, &format!("batch {batch_id}"), outcome) {
            for what in differences(recorded, &again) {
                self.report.differs(stream_id, message, format!("batch {batch_id}, {what}"));
            }
            self.go_on(stream_id, session);
        }
        Ok(())
    }

    /// Takes the session of a stream to which this message is the next.
    fn session(&mut self, stream_id: u64, message: u64) -> Result<Option<ReplaySession>, String> {
        let Some(stream) = self.streams.get_mut(&stream_id) else {
            return Err(format!("stream {stream_id} begins without a snapshot"));
        };
        if stream.message.checked_add(1) != Some(message) {
            return Err(format!("stream {stream_id}: message {message} follows message {}", stream.message));
        }
        stream.message = message;
        Ok(stream.session.take())
    }

    fn go_on(&mut self, stream_id: u64, session: ReplaySession) {
        if let Some(stream) = self.streams.get_mut(&stream_id) {
            stream.session = Some(session);
        }
    }

    /// What was taken when it was recorded and is refused now is a difference, too.
    fn accepted<T>(&mut self, stream_id: u64, message: u64, what: &str, outcome: Result<T, Violations>) -> Option<T> {
        let refused = |problem| self.report.differs(stream_id, message, format!("{what} is refused: {problem}"));
        outcome.map_err(refused).ok()
    }
}
