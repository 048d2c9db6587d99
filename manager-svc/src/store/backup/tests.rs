//! Backups of clusters with random histories, whole and broken, and the stores that come of them.

use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use davit_core::id::{ClusterId, Revision};
use jiff::Timestamp;
use proptest::prelude::*;
use uuid::Uuid;

use super::super::{Error, FjallStore, RestoreError, Snapshot, Store, restore};
use super::{BackupError, BackupReader, BackupWriter, REVISION_JUMP, check_backup};
use crate::commands::test_support::random::{Op, ops};
use crate::commands::test_support::{Cluster, labelled, spec};
use crate::state::{ClusterState, Compacted, KeptEvents};
use crate::store::tests::sorted;

const CLUSTER: &str = "test";
const CLUSTER_ID: ClusterId = ClusterId(Uuid::from_u128(7));

fn bytes_of(state: &ClusterState) -> Vec<u8> {
    let chunks: Vec<Vec<u8>> =
        BackupWriter::new(Arc::new(state.clone()), CLUSTER, CLUSTER_ID, Timestamp::UNIX_EPOCH).collect();
    assert!(chunks.iter().all(|chunk| !chunk.is_empty()));
    chunks.concat()
}

fn check(bytes: &[u8]) -> Result<(), BackupError> {
    BackupReader::begin(Cursor::new(bytes))?.check()
}

/// A directory with a backup in it, and place for a store.
struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn with(bytes: &[u8]) -> Self {
        let place = Self { dir: tempfile::tempdir().unwrap() };
        std::fs::write(place.file(), bytes).unwrap();
        place
    }

    fn file(&self) -> PathBuf {
        self.dir.path().join("backup")
    }

    fn data_dir(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    fn load(&self) -> Result<Snapshot, Error> {
        let store = FjallStore::open(self.data_dir(), CLUSTER)?;
        wait(store.load())
    }
}

fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

/// What a restored store must hold.
fn expected(state: &ClusterState) -> Snapshot {
    Snapshot {
        revision: Revision(state.revision().0 + REVISION_JUMP),
        tasks: state.tasks().cloned().collect(),
        nodes: state.nodes().cloned().collect(),
        deployments: state.deployments().cloned().collect(),
        jobs: state.jobs().cloned().collect(),
        configs: state.configs().cloned().collect(),
        contents: state.contents().cloned().collect(),
        volumes: state.volumes_after("").cloned().collect(),
        events: Vec::new(),
        requests: (0..).map_while(|index| state.requests().nth(index).cloned()).collect(),
        totals: state.totals(),
        specs: Vec::new(),
    }
}

fn after(ops: &[Op]) -> Cluster {
    let mut cluster = Cluster::new(2);
    for op in ops {
        cluster.apply(op);
    }
    cluster
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn a_restored_cluster_is_as_it_was_and_goes_on_later(ops in ops()) {
        let mut cluster = after(&ops);
        let place = Place::with(&bytes_of(&cluster.state));
        let (info, revision) = restore(&place.file(), &place.data_dir(), None).unwrap();
        prop_assert_eq!((info.cluster.as_str(), info.revision), (CLUSTER, cluster.state.revision()));
        let store = FjallStore::open(place.data_dir(), CLUSTER).unwrap();
        prop_assert_eq!(store.cluster_id(), Some(CLUSTER_ID));
        drop(store);
        let restored = place.load().unwrap();
        prop_assert_eq!(restored.revision, revision);
        prop_assert_eq!(sorted(restored.clone()), sorted(expected(&cluster.state)));

        // Whoever saw what came after the backup is told to list anew.
        let seen = Revision(cluster.state.revision().0 + 1000);
        cluster.state = ClusterState::from_snapshot(restored, KeptEvents::up_to(100));
        let compacted = matches!(cluster.state.events().after(seen).err(), Some(Compacted { .. }));
        prop_assert!(compacted, "it is told to list anew");
        // And the cluster goes on.
        cluster.create(labelled("after", "restore"));
        let store = FjallStore::open(place.data_dir(), CLUSTER).unwrap();
        prop_assert!(wait(store.commit(Arc::clone(&cluster.last_batch))).is_ok());
    }

    #[test]
    fn a_backup_that_was_cut_or_altered_is_never_taken(
        ops in ops(), cut in any::<prop::sample::Index>(), flips in prop::collection::vec((any::<prop::sample::Index>(), 0..8u8), 40),
    ) {
        let bytes = bytes_of(&after(&ops).state);
        prop_assert!(check(&bytes).is_ok());
        let cut = cut.index(bytes.len());
        let told = check(&bytes[..cut]);
        let is_cut = matches!(told, Err(BackupError::Cut { .. } | BackupError::Foreign));
        prop_assert!(is_cut, "{:?}", told);
        let longer = [bytes.as_slice(), b"x"].concat();
        prop_assert!(matches!(check(&longer), Err(BackupError::Damaged(_))));
        for (at, bit) in flips {
            let mut damaged = bytes.clone();
            damaged[at.index(bytes.len())] ^= 1 << bit;
            prop_assert!(check(&damaged).is_err());
        }
    }

    #[test]
    fn no_bytes_at_all_make_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(check(&bytes).is_err());
        prop_assert!(check(&[super::MAGIC.as_slice(), &bytes].concat()).is_err());
    }
}

#[test]
fn nothing_is_restored_over_what_is_there_nor_from_half_a_file() {
    let mut cluster = Cluster::new(1);
    cluster.create(spec());
    let bytes = bytes_of(&cluster.state);
    let place = Place::with(&bytes);
    restore(&place.file(), &place.data_dir(), None).unwrap();
    let before = sorted(place.load().unwrap());
    let refused = restore(&place.file(), &place.data_dir(), None).unwrap_err();
    assert!(matches!(refused, RestoreError::NotEmpty { .. }), "{refused}");
    assert_eq!(sorted(place.load().unwrap()), before);

    let place = Place::with(&bytes[..bytes.len() - 10]);
    let refused = restore(&place.file(), &place.data_dir(), None).unwrap_err();
    assert!(refused.to_string().contains("it is cut"), "{refused}");
    assert!(!place.data_dir().exists(), "nothing was made");
    let missing = restore(Path::new("/nowhere/backup"), &place.data_dir(), None).unwrap_err();
    assert!(missing.to_string().starts_with("/nowhere/backup: it can't be read"), "{missing}");
}

#[test]
fn a_backup_of_another_cluster_than_is_named_is_refused_and_nothing_is_made() {
    let place = Place::with(&bytes_of(&after(&[]).state));
    let refused = restore(&place.file(), &place.data_dir(), Some("other")).unwrap_err();
    let told = refused.to_string();
    assert!(matches!(refused, RestoreError::OtherCluster { .. }), "{told}");
    assert!(told.contains("of cluster `test`") && told.contains("says `other`"), "{told}");
    assert!(!place.data_dir().exists());
    restore(&place.file(), &place.data_dir(), Some(CLUSTER)).unwrap();
}

#[test]
fn a_restore_that_ended_early_is_no_store_and_can_be_run_again() {
    let mut cluster = Cluster::new(1);
    cluster.create(spec());
    let place = Place::with(&bytes_of(&cluster.state));
    restore(&place.file(), &place.data_dir(), None).unwrap();
    // As if it had been killed right before its end.
    std::fs::create_dir(place.data_dir().join("restoring")).unwrap();
    let told = place.load().unwrap_err().to_string();
    assert!(told.contains("restore into it was not finished"), "{told}");
    restore(&place.file(), &place.data_dir(), None).unwrap();
    assert_eq!(sorted(place.load().unwrap()), sorted(expected(&cluster.state)));
}

#[test]
fn a_backup_of_a_later_release_is_refused_by_its_schema() {
    use davit_proto::store_v1::backup_frame::Frame;
    use davit_proto::store_v1::{BackupFrame, BackupHeader, StoreIdentity};
    use prost::Message as _;
    let identity = StoreIdentity {
        schema_version: super::super::SCHEMA + 1,
        cluster: CLUSTER.to_owned(),
        cluster_id: CLUSTER_ID.0.as_bytes().to_vec(),
    };
    let create_time = Some(super::super::records::time_to(Timestamp::UNIX_EPOCH));
    let header = BackupHeader { identity: Some(identity), create_time, ..BackupHeader::default() };
    let frame = BackupFrame { frame: Some(Frame::Header(header)) };
    let place = Place::with(&[super::MAGIC.to_vec(), frame.encode_length_delimited_to_vec()].concat());
    let refused = restore(&place.file(), &place.data_dir(), None).unwrap_err();
    assert!(refused.to_string().contains("it takes a later one"), "{refused}");
    assert!(check_backup(&place.file()).is_err(), "and it is cut");
}
