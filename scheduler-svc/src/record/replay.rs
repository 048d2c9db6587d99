//! Works a recording out again and compares to the letter.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use davit_core::validate::Violations;
use davit_proto::v1;
use davit_proto::v1::record_entry::Entry;

use super::format::{FormatError, Reader};
use crate::grpc::ReplaySession;

/// Why a recording can't be replayed.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The file is not one.
    #[error("can't replay {path}")]
    File {
        /// Which.
        path: String,
        /// Why.
        #[source]
        source: FormatError,
    },
    /// What it holds makes no sense.
    #[error("stream {stream_id} of {path} makes no sense: {problem}")]
    Nonsense {
        /// Which file.
        path: String,
        /// Which stream.
        stream_id: u64,
        /// Why.
        problem: String,
    },
}

/// What came of a replay.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ReplayReport {
    /// Streams that were seen.
    pub streams: u64,
    /// Batches that were worked out again.
    pub batches: u64,
    /// Tasks in them.
    pub tasks: u64,
    /// The first batch that came out otherwise.
    pub difference: Option<Difference>,
    /// Where the file breaks off, if it does; all before it was compared.
    pub truncated: Option<String>,
}

/// A batch that came out otherwise than recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Of which stream.
    pub stream_id: u64,
    /// Which batch.
    pub batch_id: u64,
    /// Which group of it, and both answers, for people.
    pub what: String,
}

/// Replays a file.
///
/// # Errors
/// When it can't be read or makes no sense. That it breaks off at the end is no error.
pub fn replay(path: &Path) -> Result<ReplayReport, ReplayError> {
    let name = path.display().to_string();
    let unreadable = |source: FormatError| ReplayError::File { path: name.clone(), source };
    let file = File::open(path).map_err(|problem| unreadable(problem.into()))?;
    let mut reader = Reader::new(BufReader::new(file)).map_err(unreadable)?;
    let mut sessions: BTreeMap<u64, ReplaySession> = BTreeMap::new();
    let mut report = ReplayReport::default();
    loop {
        let v1::RecordEntry { stream_id, entry } = match reader.next_entry() {
            Ok(Some(entry)) => entry,
            Ok(None) => break,
            Err(truncated @ FormatError::Truncated { .. }) => {
                report.truncated = Some(truncated.to_string());
                break;
            }
            Err(problem) => return Err(unreadable(problem)),
        };
        let nonsense = |problem: String| ReplayError::Nonsense { path: name.clone(), stream_id, problem };
        let wrong = |violations: Violations| nonsense(violations.to_string());
        let known = |session: Option<ReplaySession>| session.ok_or_else(|| nonsense("it has no snapshot".to_owned()));
        match entry {
            Some(Entry::Snapshot(snapshot)) => {
                let session = ReplaySession::new(snapshot).map_err(wrong)?;
                report.streams += u64::from(sessions.insert(stream_id, session).is_none());
            }
            Some(Entry::Delta(delta)) => {
                let mut session = known(sessions.remove(&stream_id))?;
                session.delta(delta).map_err(wrong)?;
                sessions.insert(stream_id, session);
            }
            Some(Entry::Batch(v1::RecordedBatch { batch: Some(batch), answer: Some(recorded) })) => {
                let mut session = known(sessions.remove(&stream_id))?;
                report.batches += 1;
                report.tasks += batch.groups.iter().map(|group| u64::from(group.count)).sum::<u64>();
                let batch_id = batch.batch_id;
                let again = session.batch(batch).map_err(wrong)?;
                if let Some(what) = difference(&recorded, &again) {
                    report.difference = Some(Difference { stream_id, batch_id, what });
                    break;
                }
                sessions.insert(stream_id, session);
            }
            Some(Entry::Header(_) | Entry::Batch(_)) | None => {
                return Err(nonsense("an entry holds nothing".to_owned()));
            }
        }
    }
    Ok(report)
}

/// What differs first.
fn difference(recorded: &v1::PlaceResponse, again: &v1::PlaceResponse) -> Option<String> {
    if recorded == again {
        return None;
    }
    let pairs = recorded.placements.iter().zip(&again.placements);
    let first = pairs.clone().find(|(recorded, again)| recorded != again);
    Some(match first {
        Some((recorded, again)) => {
            format!("group {}: recorded {}, worked out again {}", recorded.group_id, words(recorded), words(again))
        }
        None => format!(
            "recorded batch {} with {} groups, worked out again batch {} with {}",
            recorded.batch_id,
            recorded.placements.len(),
            again.batch_id,
            again.placements.len()
        ),
    })
}

/// `3 on 0193…, 1 on 0194…, 2 nowhere (fits 0 of …)`
fn words(placement: &v1::GroupPlacement) -> String {
    let mut parts: Vec<_> = placement.runs.iter().map(|run| format!("{} on {}", run.count, run.node_id)).collect();
    if placement.unplaced_count > 0 {
        parts.push(format!("{} nowhere ({})", placement.unplaced_count, placement.unplaced_reason));
    }
    for preemption in &placement.preemptions {
        parts.push(format!("{} stopped on {}", preemption.victim_task_ids.len(), preemption.node_id));
    }
    parts.join(", ")
}
