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

fn copy(from: &Path) -> tempfile::TempDir {
    let to = tempfile::tempdir().unwrap();
    let copied = std::process::Command::new("cp").arg("-r").arg(from.join(".")).arg(to.path()).status().unwrap();
    assert!(copied.success());
    to
}

fn files(dir: &Path) -> Vec<PathBuf> {
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
struct Outcomes {
    whole: usize,
    told: usize,
}

impl Outcomes {
    /// Opens a damaged store; it must be whole, or say that it is not.
    fn check(&mut self, dir: &Path, held: &str, what: &str) {
        match FjallStore::open(dir, CLUSTER).and_then(|store| load(&store)) {
            Ok(loaded) => {
                assert_eq!(format!("{:?}", sorted(loaded)), held, "{what}: it was opened, and holds something else");
                self.whole += 1;
            }
            Err(problem) => {
                assert!(problem.to_string().contains(dir.to_str().unwrap()), "{what}: {problem} does not say where");
                self.told += 1;
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
fn a_flipped_byte_in_any_file_loses_nothing_silently() {
    let (dir, held) = written();
    let mut outcomes = Outcomes::default();
    for file in files(dir.path()) {
        let bytes = std::fs::read(&file).unwrap();
        let name = file.strip_prefix(dir.path()).unwrap();
        // A lock file holds nothing.
        if name.ends_with("lock") {
            continue;
        }
        for at in places(used(&bytes), 6) {
            let damaged = copy(dir.path());
            let mut altered = bytes.clone();
            altered[at] ^= 0x41;
            std::fs::write(damaged.path().join(name), &altered[..used(&bytes)]).unwrap();
            outcomes.check(damaged.path(), &held, &format!("{} at {at}", name.display()));
        }
    }
    eprintln!("flipped bytes: {outcomes:?}");
    assert!(outcomes.told > outcomes.whole, "{outcomes:?}");
}

#[test]
fn a_file_that_is_cut_loses_nothing_silently() {
    let (dir, held) = written();
    let mut outcomes = Outcomes::default();
    for file in files(dir.path()) {
        let bytes = std::fs::read(&file).unwrap();
        let name = file.strip_prefix(dir.path()).unwrap();
        if name.ends_with("lock") {
            continue;
        }
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
