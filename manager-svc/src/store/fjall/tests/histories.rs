//! Histories of a cluster, across restarts.

use std::collections::BTreeSet;

use davit_core::id::Revision;
use davit_core::spec::TaskSpec;
use proptest::prelude::*;

use super::super::super::tests::{expected, sorted};
use super::super::engine::Table;
use super::super::ledger::{Head, Ledger};
use super::super::plan::plan;
use super::*;
use crate::commands::test_support::random::ops;
use crate::commands::test_support::{keyed, labelled, spec, task_id};
use crate::commands::{Limits, NewTasks, create_tasks, delete_task};
use crate::state::{ClusterState, KeptEvents, RequestRecord};

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn a_store_that_was_opened_anew_is_as_it_was(ops in ops(), pauses in prop::collection::vec(any::<bool>(), 64)) {
        let dir = tempfile::tempdir().unwrap();
        let mut stored = Stored::new();
        let mut store = open(dir.path());
        for (op, pause) in ops.iter().zip(pauses.iter().cycle()) {
            stored.cluster.apply(op);
            stored.commit(&store);
            if *pause && stored.batches.len().is_multiple_of(7) {
                drop(store);
                store = open(dir.path());
            }
        }
        let before = sorted(load(&store).unwrap());
        prop_assert_eq!(&before, &sorted(expected(&stored.cluster.state, &stored.batches)));
        drop(store);
        prop_assert_eq!(sorted(load(&open(dir.path())).unwrap()), before);
    }
}

#[test]
fn tasks_of_one_shape_share_one_spec_on_disk_and_in_memory_and_it_goes_with_the_last_of_them() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let mut stored = Stored::new();
    let create = |stored: &mut Stored, spec: TaskSpec| {
        let task_id = stored.cluster.create(spec);
        stored.commit(&store);
        task_id
    };
    let like = [create(&mut stored, spec()), create(&mut stored, spec())];
    let other = create(&mut stored, labelled("app", "shop"));
    assert_eq!(store.inner.lock().engine.as_ref().unwrap().iter(Table::Specs).count(), 2);
    let specs = |store: &FjallStore| -> BTreeSet<_> {
        load(store).unwrap().tasks.iter().map(|task| Arc::as_ptr(&task.spec)).collect()
    };
    assert_eq!(specs(&store).len(), 2);
    // What the store knows of them is what encoding them again would say.
    for known in load(&store).unwrap().specs {
        assert_eq!(format!("{known:?}"), format!("{:?}", keyed((**known.spec()).clone())));
    }
    assert_eq!(load(&store).unwrap().specs.len(), 2);
    for task_id in like.into_iter().chain([other]) {
        stored.cluster.run(|draft| delete_task(draft, task_id, true)).unwrap();
        stored.commit(&store);
    }
    // Events still tell of them.
    assert_eq!(store.inner.lock().engine.as_ref().unwrap().iter(Table::Specs).count(), 2);
    let later = stored.cluster.now + std::time::Duration::from_secs(1);
    stored.cluster.run(|draft| draft.compact_events(later, 1000));
    stored.commit(&store);
    assert_eq!(store.inner.lock().engine.as_ref().unwrap().iter(Table::Specs).count(), 0);
    assert_eq!(load(&store).unwrap().revision, stored.cluster.state.revision());
}

#[test]
fn what_is_no_longer_kept_is_gone_from_the_disk_too() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let mut stored = Stored::new();
    stored.cluster.state = ClusterState::new(KeptEvents::up_to(10));
    for _ in 0..40 {
        let task_id = stored.cluster.create(spec());
        stored.commit(&store);
        stored.cluster.run(|draft| delete_task(draft, task_id, true)).unwrap();
        stored.commit(&store);
    }
    let engine = |table| store.inner.lock().engine.as_ref().unwrap().iter(table).count();
    assert_eq!((engine(Table::Tasks), engine(Table::Specs)), (0, 1));
    assert!(engine(Table::Events) <= 10, "blocks of which nothing is kept are gone");
    let loaded = load(&store).unwrap();
    assert_eq!((loaded.revision, loaded.events.len()), (Revision(120), 10));
    // A manager that keeps fewer from now on.
    drop(store);
    let store = open(dir.path());
    stored.cluster.state = ClusterState::from_snapshot(load(&store).unwrap(), KeptEvents::up_to(3));
    stored.cluster.create(spec());
    stored.commit(&store);
    let state = ClusterState::from_snapshot(load(&store).unwrap(), KeptEvents::up_to(10));
    assert_eq!(state.events().oldest(), Some(Revision(119)));
}

#[test]
fn events_of_one_batch_share_records_and_those_that_are_dropped_take_their_specs_along() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let mut stored = Stored::new();
    stored.cluster.state = ClusterState::new(KeptEvents::up_to(400));
    // The first of the events is about a spec that no other has.
    let first = stored.cluster.create(labelled("app", "first"));
    stored.commit(&store);
    stored.cluster.run(|draft| delete_task(draft, first, true)).unwrap();
    stored.commit(&store);
    let mut next = 1000;
    let mut create = |stored: &mut Stored, count: u64| {
        let task_ids = (next..next + count).map(task_id).collect();
        next += count;
        let tasks = NewTasks { spec: keyed(spec()), task_ids, gang_id: None };
        stored.cluster.run(|draft| create_tasks(draft, &[tasks], None, Limits::NONE)).unwrap();
        stored.commit(&store);
    };
    create(&mut stored, 300);
    let count = |table| store.inner.lock().engine.as_ref().unwrap().iter(table).count();
    assert_eq!(count(Table::Specs), 2);
    let kept = count(Table::Events);
    assert!(kept <= 4, "{kept} records");
    create(&mut stored, 300);
    assert_eq!(count(Table::Specs), 1, "the first is kept no more");
    let loaded = load(&store).unwrap();
    assert_eq!(
        (loaded.events.len(), loaded.tasks.len()),
        (400, 600),
        "200 events of a block that is still stored count no more"
    );
    create(&mut stored, 1000);
    assert_eq!(
        count(Table::Events),
        2,
        "the older ones are gone, and those of the batch that were dropped were never written"
    );
    assert_eq!(load(&store).unwrap().events.len(), 400);
}

#[test]
fn a_request_that_is_dropped_at_once_is_never_written() {
    let request = |number: u64| {
        let (request_id, task_ids) = (number.to_string(), Arc::default());
        Arc::new(RequestRecord { request_id, fingerprint: 0, task_ids, revision: Revision(0) })
    };
    let head = Head { first_request: 5, next_request: 7, ..Head::default() };
    let ledger = Ledger { head, ..Ledger::default() };
    let batch = Batch { requests: (7..10).map(request).collect(), dropped_requests: 3, ..Batch::default() };
    let planned = plan(&ledger, &batch).unwrap();
    let of_requests = planned.writes.iter().filter(|write| write.table == Table::Requests);
    let written: Vec<(Vec<u8>, bool)> = of_requests.map(|write| (write.key.clone(), write.value.is_some())).collect();
    let expected = [(5, false), (6, false), (8, true), (9, true)];
    assert_eq!(written, expected.map(|(number, is_put): (u64, bool)| (number.to_be_bytes().to_vec(), is_put)));
    assert_eq!((planned.delta.head.first_request, planned.delta.head.next_request), (8, 10));
}
