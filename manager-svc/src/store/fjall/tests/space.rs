//! What is overwritten and deleted takes no room for long.

use std::os::unix::fs::MetadataExt as _;
use std::time::Duration;

use davit_core::id::Attempt;
use davit_core::state::TaskState;
use davit_core::task::AttemptStatus;

use super::super::super::tests::{expected, sorted};
use super::*;
use crate::commands::test_support::{LEASE, node_id, registration, spec, status};
use crate::commands::{apply_reports, compact_events, register_node, remove_finished};

/// Bytes of what a worker says; large, so that few records are many bytes.
const REASON: usize = 50_000;
/// Tasks of one round, as many as there are nodes.
const TASKS: u64 = 5;
/// As many rounds write several times what the directory may hold.
const ROUNDS: u64 = 230;
const KEPT_TASKS: usize = 25;
const KEPT_FOR: Duration = Duration::from_secs(10);
/// Journals, of which the engine keeps some 100 MiB at least; what is kept, what replaces it, and what is being merged, by threads
/// that give way to whatever else this machine does.
const MOST: u64 = 300 << 20;

/// How much a directory takes on the disk, without the holes that journals begin with.
fn size_of(path: &Path) -> u64 {
    let sizes = std::fs::read_dir(path).unwrap().filter_map(|entry| {
        let entry = entry.unwrap();
        // The engine removes files meanwhile.
        let metadata = entry.metadata().ok()?;
        Some(if metadata.is_dir() { size_of(&entry.path()) } else { metadata.blocks() * 512 })
    });
    sizes.sum()
}

/// Every task runs, says a lot and ends; then what is old is forgotten.
fn round(cluster: &mut Cluster) -> Vec<Arc<Batch>> {
    let mut batches = Vec::new();
    let mut done = |cluster: &mut Cluster| batches.push(Arc::clone(&cluster.last_batch));
    for node in 1..=TASKS {
        let task_id = cluster.create(spec());
        done(cluster);
        cluster.place(task_id, node);
        done(cluster);
        for state in [TaskState::Preparing, TaskState::Running, TaskState::Completed] {
            let reason = char::from(b'a' + (cluster.created % 26) as u8).to_string().repeat(REASON);
            let said = AttemptStatus { reason, ..status(Attempt::FIRST, state) };
            let counts = cluster.run(|draft| apply_reports(draft, node_id(node), vec![(task_id, said)]));
            assert_eq!(counts.applied, 1);
            done(cluster);
        }
    }
    cluster.advance(Duration::from_secs(1));
    cluster.run(|draft| {
        remove_finished(draft, KEPT_TASKS, Duration::MAX, usize::MAX);
        compact_events(draft, KEPT_FOR, usize::MAX);
    });
    done(cluster);
    batches
}

#[test]
fn many_times_what_is_kept_is_written_and_the_directory_stays_small() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let mut cluster = Cluster::new(0);
    for number in 1..=TASKS {
        cluster.run(|draft| register_node(draft, registration(number), LEASE)).unwrap();
        commit(&store, &cluster.last_batch);
    }
    let (mut written, mut most) = (0, 0);
    for _ in 0..ROUNDS {
        for batch in round(&mut cluster) {
            let messages = batch.changes.iter().map(|change| change.event.message.len() as u64);
            // In the event's message, in its object, and in the task's record.
            written += 3 * messages.sum::<u64>();
            commit(&store, &batch);
        }
        most = most.max(size_of(dir.path()));
    }
    assert!(written > MOST * 3 / 2, "too little was written to tell: {written}");
    assert!(most <= MOST, "{most} of {written} bytes");
    drop(store);
    let loaded = load(&open(dir.path())).unwrap();
    assert_eq!(sorted(loaded), sorted(expected(&cluster.state, &[])));
}
