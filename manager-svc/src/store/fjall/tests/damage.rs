//! Files that are cut or altered: what was acknowledged is there, or the store says clearly that it is not. Never a panic that
//! gets out, never silence.

use std::path::PathBuf;

use super::super::super::tests::sorted;
use super::*;
use crate::commands::delete_task;
use crate::commands::test_support::{labelled, spec};

/// A closed store with all kinds of records, some of them in tables on disk and some in the journal alone, and what it held.
fn written() -> (tempfile::TempDir, String) {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let mut stored = Stored::new();
    stored.cluster = Cluster::new(0);
    for round in 0..3 {
        for number in 0..10 {
            stored.cluster.create(labelled("n", &(number / 4).to_string()));
            stored.commit(&store);
            let task_id = stored.cluster.create(spec());
            stored.commit(&store);
            if number % 3 == 0 {
                stored.cluster.run(|draft| delete_task(draft, task_id, true)).unwrap();
                stored.commit(&store);
            }
        }
        if round < 2 {
            store.inner.lock().engine.as_ref().unwrap().flush().unwrap();
        }
    }
    let held = format!("{:?}", sorted(load(&store).unwrap()));
    drop(store);
    (dir, held)
}

pub(super) fn copy(from: &Path) -> tempfile::TempDir {
    let to = tempfile::tempdir().unwrap();
    let copied = std::process::Command::new("cp").arg("-r").arg(from.join(".")).arg(to.path()).status().unwrap();
    assert!(copied.success());
    to
}

pub(super) fn files(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(self::files(&path));
        } else {
            files.push(path);
        }
    }
    files.sort();
    files
}

#[derive(Debug, Default)]
pub(super) struct Outcomes {
    pub(super) whole: usize,
    pub(super) told: usize,
}

impl Outcomes {
    /// Opens a damaged store twice; it must be whole, or say that it is not and what to do, and the same again the second time.
    pub(super) fn check(&mut self, dir: &Path, held: &str, what: &str) {
        let first = Self::start(dir, held, what);
        let second = Self::start(dir, held, what);
        assert_eq!(first.is_none(), second.is_none(), "{what}: at first {first:?}, and then {second:?}");
        match first {
            None => self.whole += 1,
            Some(_) => self.told += 1,
        }
    }

    /// What a start says of damage, if it finds any.
    fn start(dir: &Path, held: &str, what: &str) -> Option<Error> {
        match FjallStore::open(dir, CLUSTER).and_then(|store| load(&store)) {
            Ok(loaded) => {
                assert_eq!(format!("{:?}", sorted(loaded)), held, "{what}: it was opened, and holds something else");
                None
            }
            Err(problem) => {
                let told = problem.to_string();
                assert!(told.contains(dir.to_str().unwrap()), "{what}: {told} does not say where");
                assert!(told.contains("restore a backup"), "{what}: {told} does not say what to do");
                Some(problem)
            }
        }
    }
}

/// Places in a file that is in use up to `used`: everywhere in a small one, spread over a large one.
fn places(used: usize, count: usize) -> Vec<usize> {
    let step = used.div_ceil(count).max(1);
    (0..used).step_by(step).collect()
}

fn used(bytes: &[u8]) -> usize {
    bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1)
}

#[test]
fn a_flipped_bit_in_any_file_loses_nothing_silently() {
    let (dir, held) = written();
    let mut outcomes = Outcomes::default();
    for file in files(dir.path()) {
        let bytes = std::fs::read(&file).unwrap();
        let name = file.strip_prefix(dir.path()).unwrap();
        for at in places(used(&bytes), 6) {
            let damaged = copy(dir.path());
            let mut altered = bytes.clone();
            altered[at] ^= 1 << (at % 8);
            std::fs::write(damaged.path().join(name), &altered[..used(&bytes)]).unwrap();
            outcomes.check(damaged.path(), &held, &format!("{} at {at}", name.display()));
        }
    }
    eprintln!("flipped bits: {outcomes:?}");
    assert!(outcomes.told > outcomes.whole, "{outcomes:?}");
}

#[test]
fn a_file_that_is_cut_loses_nothing_silently() {
    let (dir, held) = written();
    let mut outcomes = Outcomes::default();
    for file in files(dir.path()) {
        let bytes = std::fs::read(&file).unwrap();
        let name = file.strip_prefix(dir.path()).unwrap();
        for at in places(used(&bytes), 6) {
            let damaged = copy(dir.path());
            std::fs::write(damaged.path().join(name), &bytes[..at]).unwrap();
            outcomes.check(damaged.path(), &held, &format!("{} cut at {at}", name.display()));
        }
        let damaged = copy(dir.path());
        std::fs::remove_file(damaged.path().join(name)).unwrap();
        outcomes.check(damaged.path(), &held, &format!("{} removed", name.display()));
    }
    eprintln!("cut files: {outcomes:?}");
    assert!(outcomes.told > outcomes.whole, "{outcomes:?}");
}

#[test]
fn a_table_that_is_gone_is_told_before_anything_is_written() {
    let (dir, held) = written();
    let tables = Path::new("fjall").join("keyspaces");
    let mut outcomes = Outcomes::default();
    for entry in std::fs::read_dir(dir.path().join(&tables)).unwrap() {
        let table = tables.join(entry.unwrap().file_name());
        for gone in [table.clone(), table.join("current")] {
            let damaged = copy(dir.path());
            let gone_there = damaged.path().join(&gone);
            if gone_there.is_dir() {
                std::fs::remove_dir_all(gone_there).unwrap();
            } else {
                std::fs::remove_file(gone_there).unwrap();
            }
            let before = contents(damaged.path());
            outcomes.check(damaged.path(), &held, &format!("{} removed", gone.display()));
            assert!(before == contents(damaged.path()), "{} removed: something was written", gone.display());
        }
    }
    assert_eq!((outcomes.whole, outcomes.told), (0, 14));
}

/// All files and what is in them, but for the lock, which says who looked last.
pub(super) fn contents(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let kept = files(dir).into_iter().filter(|file| *file != dir.join("lock"));
    kept.map(|file| (file.clone(), std::fs::read(file).unwrap())).collect()
}

#[test]
fn garbage_after_the_last_batch_is_no_loss() {
    let (dir, held) = written();
    let journal = files(dir.path()).into_iter().rfind(|file| file.extension().is_some_and(|end| end == "jnl")).unwrap();
    let mut bytes = std::fs::read(&journal).unwrap();
    bytes.truncate(used(&bytes));
    // As a batch that was being written when the machine lost power.
    bytes.extend(bytes[bytes.len() / 2..].to_vec());
    std::fs::write(&journal, bytes).unwrap();
    let mut outcomes = Outcomes::default();
    outcomes.check(dir.path(), &held, "a torn end");
    assert_eq!(outcomes.whole, 1);
}
