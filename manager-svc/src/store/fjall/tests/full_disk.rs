//! A real file system of a few megabytes that runs full.

use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use davit_core::id::Revision;
use tokio::time::Instant;

use super::super::super::tests::{expected, sorted};
use super::*;
use crate::commands::test_support::{labelled, spec};

/// A tmpfs, unmounted when dropped.
struct SmallDisk {
    dir: tempfile::TempDir,
}

impl SmallDisk {
    fn new(megabytes: u64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let size = format!("size={megabytes}m");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "davit-test"]).arg(dir.path()).status();
        assert!(mounted.unwrap().success(), "this test mounts a small tmpfs, which takes root");
        Self { dir }
    }

    fn data_dir(&self) -> std::path::PathBuf {
        self.dir.path().join("manager")
    }

    /// Takes all room that is left but so much.
    fn fill_but(&self, left: u64) {
        let free = free_bytes(self.dir.path());
        let hog = std::fs::File::create(self.dir.path().join(format!("hog-{}", HOGS.fetch_add(1, Ordering::Relaxed))));
        let zeros = vec![1_u8; usize::try_from(free.saturating_sub(left)).unwrap()];
        std::io::Write::write_all(&mut hog.unwrap(), &zeros).unwrap();
    }

    fn make_room(&self) {
        for entry in std::fs::read_dir(self.dir.path()).unwrap() {
            let path = entry.unwrap().path();
            if path.file_name().unwrap().to_str().unwrap().starts_with("hog") {
                std::fs::remove_file(path).unwrap();
            }
        }
    }
}

static HOGS: AtomicU64 = AtomicU64::new(0);

fn free_bytes(path: &Path) -> u64 {
    let output = Command::new("df").args(["--output=avail", "-B1"]).arg(path).output().unwrap();
    String::from_utf8(output.stdout).unwrap().lines().nth(1).unwrap().trim().parse().unwrap()
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _unmounted = Command::new("umount").arg("-l").arg(self.dir.path()).status();
    }
}

/// Creates tasks until a commit is refused; the refused ones never were.
fn until_refused(stored: &mut Stored, store: &FjallStore) -> Error {
    loop {
        let (state, created) = (stored.cluster.state.clone(), stored.cluster.created);
        stored.cluster.create(labelled("n", &created.to_string()));
        match wait(store.commit(Arc::clone(&stored.cluster.last_batch))) {
            Ok(_) => stored.batches.push(Arc::clone(&stored.cluster.last_batch)),
            Err(problem) => {
                // As the writer does: the draft is forgotten.
                (stored.cluster.state, stored.cluster.created) = (state, created);
                return problem;
            }
        }
    }
}

#[test]
fn a_full_disk_takes_nothing_back_that_was_answered_and_the_store_recovers_when_there_is_room() {
    let disk = SmallDisk::new(12);
    let store = open(&disk.data_dir());
    let mut stored = Stored::new();
    for round in 0..6_u64 {
        disk.fill_but(40_000 * (round + 1));
        let problem = until_refused(&mut stored, &store);
        assert!(matches!(&problem, Error::Unavailable { problem } if problem.contains("space")), "{problem}");
        // Again and again, as long as it lasts: the answer is the same, and nothing changes.
        for _ in 0..3 {
            let _full = wait(store.check());
        }
        disk.make_room();
        let began = Instant::now();
        while let Err(problem) = wait(store.check()) {
            assert!(began.elapsed() < Duration::from_secs(20), "it does not recover: {problem}");
        }
        let loaded = load(&store).unwrap();
        assert_eq!(loaded.revision, stored.cluster.state.revision(), "round {round}");
        assert_eq!(sorted(loaded), sorted(expected(&stored.cluster.state, &stored.batches)), "round {round}");
        stored.cluster.create(spec());
        stored.commit(&store);
    }
    drop(store);
    let loaded = load(&open(&disk.data_dir())).unwrap();
    assert_eq!(sorted(loaded), sorted(expected(&stored.cluster.state, &stored.batches)));
}

#[test]
fn a_store_that_can_not_even_be_opened_on_a_full_disk_says_so_and_works_when_there_is_room() {
    let disk = SmallDisk::new(2);
    disk.fill_but(0);
    let told = FjallStore::open(disk.data_dir(), CLUSTER).unwrap_err();
    assert!(told.to_string().contains("space"), "{told}");
    disk.make_room();
    assert_eq!(load(&open(&disk.data_dir())).unwrap().revision, Revision(0));
}

#[test]
fn a_disk_that_runs_full_anywhere_while_a_store_is_made_leaves_nothing_that_is_in_the_way() {
    let disk = SmallDisk::new(4);
    let mut refused = 0;
    // In steps of a page, until there is room for all of it.
    for left in (0..).step_by(4096) {
        disk.fill_but(left);
        let opened = FjallStore::open(disk.data_dir(), CLUSTER);
        let (is_full, told) = (opened.is_err(), opened.err().map(|problem| problem.to_string()).unwrap_or_default());
        assert!(!is_full || told.contains("space"), "{left} bytes left: {told}");
        disk.make_room();
        assert_eq!(load(&open(&disk.data_dir())).unwrap().revision, Revision(0), "{left} bytes left");
        if !is_full {
            break;
        }
        refused += 1;
        std::fs::remove_dir_all(disk.data_dir()).unwrap();
    }
    assert!(refused > 10, "{refused}");
}

#[test]
fn a_write_whose_outcome_is_not_known_is_taken_back_before_the_next_one() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let mut stored = Stored::new();
    stored.cluster.create(spec());
    stored.commit(&store);
    let before = sorted(load(&store).unwrap());
    let (state, created) = (stored.cluster.state.clone(), stored.cluster.created);
    stored.cluster.create(labelled("app", "shop"));
    // It gets into the store, and its caller is told that it did not: as when only the sync fails.
    let mut inner = store.inner.lock();
    let plan = super::super::plan::plan(inner.ledger.as_ref().unwrap(), &stored.cluster.last_batch).unwrap();
    let problem = super::super::engine::Problem::Io("the sync failed".to_owned());
    let unsettled = super::super::settle::Unsettled::new(inner.engine.as_ref().unwrap(), &plan, problem);
    inner.engine.as_ref().unwrap().write(&plan.writes).unwrap();
    inner.unsettled = Some(unsettled);
    drop(inner);
    assert_eq!(sorted(load(&store).unwrap()), before);
    // What comes in its place has its revision.
    (stored.cluster.state, stored.cluster.created) = (state, created);
    stored.cluster.create(spec());
    stored.commit(&store);
    drop(store);
    let loaded = load(&open(dir.path())).unwrap();
    assert_eq!(sorted(loaded), sorted(expected(&stored.cluster.state, &stored.batches)));
}
