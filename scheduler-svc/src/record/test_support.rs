//! What tests of this module share.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use davit_proto::v1::record_entry::Entry;
use davit_proto::{convert, v1};

use super::format;
use crate::grpc::ReplaySession;
use crate::placement::test_support::node;

/// A directory for a recording and its older one, which goes with its files.
pub(super) struct Directory(PathBuf);

impl Directory {
    pub(super) fn new(name: &str) -> Self {
        static LAST: AtomicU64 = AtomicU64::new(0);
        let number = LAST.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("davit-record-unit-{name}-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(super) fn file(&self) -> PathBuf {
        self.0.join("record")
    }

    pub(super) fn older(&self) -> PathBuf {
        self.0.join("record.1")
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

pub(super) fn snapshot(nodes: u64) -> v1::RecordSnapshot {
    let nodes = (0..nodes).map(|number| convert::node_view_to_proto(&node(number))).collect();
    v1::RecordSnapshot { nodes, last_placed_node_id: String::new() }
}

/// Two groups of two tasks.
pub(super) fn batch(batch_id: u64) -> v1::PlaceBatch {
    let requirements = crate::placement::test_support::requirements();
    let group = |group_id: &str| v1::PlacementGroup {
        group_id: group_id.to_owned(),
        requirements: Some(convert::requirements_to_proto(&requirements)),
        count: 2,
        ..Default::default()
    };
    v1::PlaceBatch { batch_id, groups: vec![group("a"), group("b")], seed: batch_id }
}

/// A delta that changes node 0.
pub(super) fn delta() -> v1::PlaceDelta {
    v1::PlaceDelta { upserted: snapshot(1).nodes, removed_node_ids: Vec::new() }
}

/// An entry of a stream.
pub(super) type Numbered = (u64, u64, Entry);

/// The entries of a stream that has 3 nodes and then this many batches, as they are answered.
pub(super) fn stream(stream_id: u64, batches: u64) -> Vec<Numbered> {
    let mut session = ReplaySession::new(snapshot(3)).unwrap();
    let mut entries = vec![(stream_id, 1, Entry::Snapshot(snapshot(3)))];
    for number in 1..=batches {
        let answer = session.batch(batch(number)).unwrap();
        let recorded = v1::RecordedBatch { batch: Some(batch(number)), answer: Some(answer) };
        entries.push((stream_id, number * 2, Entry::Batch(recorded)));
        session.delta(delta()).unwrap();
        entries.push((stream_id, number * 2 + 1, Entry::Delta(delta())));
    }
    entries
}

/// A file of these entries, without its end.
pub(super) fn without_end(entries: &[Numbered]) -> Vec<u8> {
    let mut bytes = format::start().unwrap();
    for (stream_id, message, entry) in entries {
        format::write(&mut bytes, &format::encode(*stream_id, *message, entry.clone())).unwrap();
    }
    bytes
}

/// A file of these entries.
pub(super) fn whole(entries: &[Numbered]) -> Vec<u8> {
    let end = Entry::End(v1::RecordEnd { entry_count: entries.len() as u64 + 1 });
    without_end(&[entries, &[(0, 0, end)]].concat())
}
