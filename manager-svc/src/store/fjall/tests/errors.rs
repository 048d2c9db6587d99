//! Stores that can't be opened, and what is said of them.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use davit_core::id::Revision;
use davit_proto::store_v1::{EventBlock, StoreIdentity};
use prost::Message as _;

use super::super::super::tests::some_history;
use super::super::engine::{Engine, Table, Write};
use super::super::schema::{self, SCHEMA, Step, check_with};
use super::*;
use crate::commands::register_node;
use crate::commands::test_support::{LEASE, mounting, node_id, registration};

fn opening(path: &Path) -> Error {
    FjallStore::open(path, CLUSTER).expect_err("it was opened")
}

/// A directory with a store of revision 8.
fn some_store() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    for batch in some_history().1 {
        commit(&store, &batch);
    }
    dir
}

#[test]
fn a_store_in_use_names_the_process_that_has_it() {
    let dir = some_store();
    let mut holder = Command::new("flock")
        .arg(dir.path().join("lock"))
        .args(["sh", "-c", &format!("echo $$ > {}; echo $$; read end", dir.path().join("lock").display())])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut pid = String::new();
    BufReader::new(holder.stdout.take().unwrap()).read_line(&mut pid).unwrap();
    let told = opening(dir.path());
    assert!(matches!(told, Error::Locked { .. }), "{told}");
    assert!(told.to_string().contains(&format!("process {}", pid.trim())), "{told}");
    drop(holder.stdin.take());
    holder.wait().unwrap();
    open(dir.path());
}

#[test]
fn a_directory_with_something_else_in_it_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("letters.txt"), "dear").unwrap();
    let told = opening(dir.path());
    assert!(matches!(told, Error::Foreign { .. }) && told.to_string().contains("letters.txt"), "{told}");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn a_path_that_is_a_file_is_told() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let told = opening(file.path());
    assert!(told.to_string().contains(file.path().to_str().unwrap()), "{told}");
}

#[test]
fn another_clusters_store_is_refused() {
    let dir = some_store();
    let told = FjallStore::open(dir.path(), "other").unwrap_err();
    assert!(matches!(&told, Error::OtherCluster { .. }), "{told}");
    assert!(told.to_string().contains("`test`") && told.to_string().contains("`other`"), "{told}");
    open(dir.path());
}

#[test]
fn a_cluster_keeps_its_id_and_another_of_its_name_has_another() {
    let (dir, other) = (some_store(), some_store());
    let cluster_id = open(dir.path()).cluster_id();
    assert!(cluster_id.is_some());
    assert_eq!(open(dir.path()).cluster_id(), cluster_id);
    assert_ne!(open(other.path()).cluster_id(), cluster_id);
}

#[test]
fn a_store_of_a_later_release_is_refused() {
    let dir = some_store();
    let engine = Engine::open(&dir.path().join("fjall")).unwrap();
    let identity = StoreIdentity { schema_version: SCHEMA + 1, cluster: CLUSTER.to_owned(), ..Default::default() };
    engine.write(&[schema::identity_write(&identity)]).unwrap();
    drop(engine);
    let told = opening(dir.path());
    assert!(
        matches!(told, Error::NewerSchema { stored, known, .. } if stored == SCHEMA + 1 && known == SCHEMA),
        "{told}"
    );
}

#[test]
fn a_store_of_an_older_schema_is_migrated_step_by_step() {
    let dir = some_store();
    let engine = Engine::open(&dir.path().join("fjall")).unwrap();
    let note = |key: &str, value: &str| Write {
        table: Table::Meta,
        key: key.as_bytes().to_vec(),
        value: Some(value.as_bytes().to_vec()),
    };
    engine.write(&[note("a", "1")]).unwrap();
    let first = |engine: &Engine| {
        let old = engine.get(Table::Meta, b"a")?.unwrap_or_default();
        let put = Write { table: Table::Meta, key: b"b".to_vec(), value: Some([old, b"2".to_vec()].concat()) };
        Ok(vec![Write { table: Table::Meta, key: b"a".to_vec(), value: None }, put])
    };
    let second = |engine: &Engine| {
        let old = engine.get(Table::Meta, b"b")?.unwrap_or_default();
        Ok(vec![Write { table: Table::Meta, key: b"c".to_vec(), value: Some([old, b"3".to_vec()].concat()) }])
    };
    let steps = [Step { from: SCHEMA, migrate: first }, Step { from: SCHEMA + 1, migrate: second }];
    check_with(&engine, CLUSTER, dir.path(), SCHEMA + 2, &steps).unwrap();
    assert_eq!(engine.get(Table::Meta, b"a").unwrap(), None);
    assert_eq!(engine.get(Table::Meta, b"c").unwrap(), Some(b"123".to_vec()));
    // Done once; and a step that is missing is told.
    check_with(&engine, CLUSTER, dir.path(), SCHEMA + 2, &[]).unwrap();
    let told = check_with(&engine, CLUSTER, dir.path(), SCHEMA + 3, &steps).unwrap_err();
    assert!(matches!(told, Error::Corrupt { .. }), "{told}");
}

#[test]
fn a_store_whose_events_have_records_of_their_own_is_read_as_it_was() {
    let dir = some_store();
    let before = load(&open(dir.path())).unwrap();
    let engine = Engine::open(&dir.path().join("fjall")).unwrap();
    let mut writes = Vec::new();
    for block in engine.iter(Table::Events) {
        let block = EventBlock::decode(&*block.value().unwrap()).unwrap();
        writes.extend(block.events.iter().map(|event| Write {
            table: Table::Events,
            key: event.revision.to_be_bytes().to_vec(),
            value: Some(event.encode_to_vec()),
        }));
    }
    let identity = engine.get(Table::Meta, schema::IDENTITY_KEY).unwrap().unwrap();
    let identity = StoreIdentity { schema_version: 1, ..StoreIdentity::decode(identity.as_slice()).unwrap() };
    writes.push(schema::identity_write(&identity));
    engine.write(&writes).unwrap();
    drop(engine);
    let store = open(dir.path());
    let after = load(&store).unwrap();
    assert!(!before.events.is_empty());
    let said = |snapshot: &Snapshot| format!("{:?} {:?} {:?}", snapshot.revision, snapshot.events, snapshot.tasks);
    assert_eq!(said(&after), said(&before));
}

#[test]
fn a_store_that_once_held_more_is_refused() {
    let dir = some_store();
    std::fs::remove_dir_all(dir.path().join("fjall")).unwrap();
    let told = opening(dir.path());
    assert!(matches!(told, Error::Lost { stored: Revision(0), marked: Revision(16), .. }), "{told}");
}

#[test]
fn an_older_copy_beside_a_newer_mark_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let copy = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let (_, batches) = some_history();
    commit(&store, &batches[0]);
    drop(store);
    assert!(
        Command::new("cp")
            .arg("-r")
            .args([dir.path().join("fjall"), copy.path().join("fjall")])
            .status()
            .unwrap()
            .success()
    );
    let store = open(dir.path());
    commit(&store, &batches[1]);
    drop(store);
    std::fs::remove_dir_all(dir.path().join("fjall")).unwrap();
    std::fs::rename(copy.path().join("fjall"), dir.path().join("fjall")).unwrap();
    let told = load(&open(dir.path())).unwrap_err();
    assert!(matches!(told, Error::Lost { stored: Revision(3), marked: Revision(6), .. }), "{told}");
}

#[test]
fn a_store_without_its_mark_is_refused() {
    let dir = some_store();
    std::fs::remove_file(dir.path().join("mark")).unwrap();
    let told = opening(dir.path());
    assert!(matches!(told, Error::Corrupt { .. }) && told.to_string().contains("`mark`"), "{told}");
}

#[test]
fn a_store_that_knew_of_no_volumes_learns_where_they_are_from_tasks() {
    let dir = tempfile::tempdir().unwrap();
    let mut cluster = Cluster::new(0);
    let mut batches = Vec::new();
    for number in [1, 2] {
        cluster.run(|draft| register_node(draft, registration(number), LEASE)).unwrap();
        batches.push(Arc::clone(&cluster.last_batch));
    }
    for (volume, number) in [("data", 2), ("logs", 1)] {
        let task_id = cluster.create(mounting(&[volume]));
        batches.push(Arc::clone(&cluster.last_batch));
        cluster.place(task_id, number);
        // As an earlier release stored it.
        let mut batch = Batch::clone(&cluster.last_batch);
        batch.volumes.clear();
        batches.push(Arc::new(batch));
    }
    let store = open(dir.path());
    for batch in batches {
        commit(&store, &batch);
    }
    assert_eq!(load(&store).unwrap().volumes, []);
    drop(store);
    let engine = Engine::open(&dir.path().join("fjall")).unwrap();
    let identity = engine.get(Table::Meta, schema::IDENTITY_KEY).unwrap().unwrap();
    let identity = StoreIdentity { schema_version: 3, ..StoreIdentity::decode(identity.as_slice()).unwrap() };
    engine.write(&[schema::identity_write(&identity)]).unwrap();
    drop(engine);
    let loaded = load(&open(dir.path())).unwrap();
    let homes: Vec<_> = loaded.volumes.iter().map(|home| (home.name.as_str(), home.node_id)).collect();
    assert_eq!(homes, [("data", node_id(2)), ("logs", node_id(1))]);
}
