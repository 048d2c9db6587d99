//! Events are kept up to a number and up to bytes, whatever happens and across restarts.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use davit_core::id::Revision;
use davit_core::spec::TaskSpec;
use davit_core::state::TaskState;
use davit_core::task::AttemptStatus;
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;

use super::super::kept_events::size_of_event;
use super::super::{ClusterState, KeptEvents};
use super::reloaded;
use crate::commands::test_support::{Cluster, LEASE, labelled, registration, spec, status};
use crate::commands::{delete_task, register_node, restart_task};
use crate::store::spec_to_bytes;

/// What events and the specs that only they keep take, counted from scratch.
fn bytes_from_scratch(state: &ClusterState) -> u64 {
    let events = || state.events.after(state.events.compacted()).unwrap();
    let of_deployments = state.deployments().flat_map(|deployment| deployment.task_specs());
    let of_jobs = state.jobs().flat_map(|job| job.task_specs());
    let of_tasks = state.tasks().map(|task| &task.spec);
    let in_use: Vec<*const TaskSpec> = of_tasks.chain(of_deployments).chain(of_jobs).map(Arc::as_ptr).collect();
    let specs = events().flat_map(|event| event.task_specs());
    let specs = specs.map(|spec| (Arc::as_ptr(spec), spec_to_bytes(spec).len() as u64));
    let ended: BTreeMap<_, _> = specs.filter(|(address, _)| !in_use.contains(address)).collect();
    events().map(|event| size_of_event(event)).sum::<u64>() + ended.values().sum::<u64>()
}

pub(super) fn what_events_take_follows_from_them(state: &ClusterState) -> Result<(), TestCaseError> {
    prop_assert_eq!(state.kept_event_bytes(), bytes_from_scratch(state));
    Ok(())
}

/// What happens to a cluster.
#[derive(Debug, Clone)]
enum Step {
    /// A task of one of a few contents, the larger the greater its number.
    Create(usize),
    /// The end of one of the tasks that there are.
    Delete(prop::sample::Index),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![(0..CONTENTS).prop_map(Step::Create), any::<prop::sample::Index>().prop_map(Step::Delete),];
    prop::collection::vec(step, 1..100)
}

const CONTENTS: usize = 5;
const PADDING: usize = 1_000;
/// The bytes of the largest content, and of what else it has.
const LARGEST: u64 = (CONTENTS * PADDING) as u64 + 1_000;

/// A content whose spec is as large as some events.
fn large(content: usize) -> TaskSpec {
    labelled("padding", &"x".repeat(PADDING * (content + 1)))
}

fn take(cluster: &mut Cluster, step: &Step) {
    match step {
        Step::Create(content) => {
            cluster.create(large(*content));
        }
        Step::Delete(index) => {
            let task_ids: Vec<_> = cluster.state.tasks().map(|task| task.task_id).collect();
            if !task_ids.is_empty() {
                let task_id = *index.get(&task_ids);
                cluster.run(|draft| delete_task(draft, task_id, true)).unwrap();
            }
        }
    }
}

/// How many events are kept.
fn count(state: &ClusterState) -> usize {
    state.events.after(state.events.compacted()).unwrap().count()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn events_take_no_more_than_they_may_and_as_much_after_a_restart(
        steps in steps(), most in 1usize..60, kilobytes in 1u64..40,
    ) {
        let kept = KeptEvents { count: most, bytes: kilobytes * 1000 };
        let mut cluster = Cluster::new(0);
        cluster.state = ClusterState::new(kept);
        for step in &steps {
            let (compacted, bytes) = (cluster.state.events.compacted(), cluster.state.kept_event_bytes());
            take(&mut cluster, step);
            let state = &cluster.state;
            what_events_take_follows_from_them(state)?;
            let is_within = count(state) <= most && state.kept_event_bytes() <= kept.bytes;
            prop_assert!(is_within || count(state) == 1, "{} of {kept:?}", state.kept_event_bytes());
            let more = cluster.last_batch.changes.iter().map(|change| size_of_event(&change.event)).sum::<u64>();
            let has_room = bytes + more + LARGEST <= kept.bytes && count(state) < most;
            prop_assert!(!has_room || state.events.compacted() == compacted, "dropped without need");

            let loaded = reloaded(state, kept);
            what_events_take_follows_from_them(&loaded)?;
            prop_assert_eq!(loaded.kept_event_bytes(), state.kept_event_bytes());
            prop_assert_eq!(loaded.events.compacted(), state.events.compacted());
            prop_assert_eq!(loaded.specs.bytes(), state.specs.bytes());
        }
        // A manager that may keep less from now on.
        let less = KeptEvents { bytes: kept.bytes / 2, ..kept };
        let loaded = reloaded(&cluster.state, less);
        what_events_take_follows_from_them(&loaded)?;
        prop_assert!(loaded.kept_event_bytes() <= less.bytes || count(&loaded) <= 1);
    }
}

#[test]
fn a_spec_counts_for_the_event_of_its_last_tasks_end_and_no_longer_once_it_is_used_again() {
    let mut cluster = Cluster::new(0);
    let spec_bytes = spec_to_bytes(&large(0)).len() as u64;
    let ended = |cluster: &Cluster| cluster.state.kept_event_bytes() - cluster.state.events.bytes();
    let (one, two) = (cluster.create(large(0)), cluster.create(large(0)));
    cluster.run(|draft| delete_task(draft, one, true)).unwrap();
    assert_eq!((ended(&cluster), cluster.state.specs.bytes()), (0, spec_bytes));
    let shared = Arc::clone(&cluster.task(two).spec);
    cluster.run(|draft| delete_task(draft, two, true)).unwrap();
    assert_eq!((ended(&cluster), cluster.state.specs.bytes()), (spec_bytes, 0));
    let three = cluster.create(large(0));
    assert_eq!((ended(&cluster), cluster.state.specs.bytes()), (0, spec_bytes));
    assert!(Arc::ptr_eq(&shared, &cluster.task(three).spec), "what events keep is not there twice");
    cluster.run(|draft| delete_task(draft, three, true)).unwrap();
    assert_eq!(ended(&cluster), spec_bytes);
    let later = cluster.now + Duration::from_secs(1);
    cluster.run(|draft| draft.compact_events(later, usize::MAX));
    assert_eq!(cluster.state.kept_event_bytes(), 0);
    cluster.last_batch = Arc::default();
    assert_eq!(Arc::strong_count(&shared), 1, "something keeps it still");
}

#[test]
fn an_event_counts_all_that_can_be_large_in_it() {
    let mut cluster = Cluster::new(1);
    let task_id = cluster.running(spec(), 1);
    let last = |cluster: &Cluster| {
        let before = Revision(cluster.state.revision().0 - 1);
        size_of_event(cluster.state.events.after(before).unwrap().next().unwrap())
    };
    let small = last(&cluster);
    assert!(small < 2_000, "{small}");
    let reason = "x".repeat(4_000);
    let said = AttemptStatus { reason, ..status(cluster.task(task_id).status.attempt, TaskState::Failed) };
    cluster.report_status(1, task_id, said);
    assert!(last(&cluster) >= small + 8_000, "in its object and its message: {}", last(&cluster));
    cluster.run(|draft| restart_task(draft, task_id)).unwrap();
    assert!(last(&cluster) >= small + 4_000, "in its last attempt: {}", last(&cluster));
    let mut other = registration(2);
    other.description.labels = (0..50).map(|number| (number.to_string(), "x".repeat(100))).collect();
    cluster.run(|draft| register_node(draft, other, LEASE)).unwrap();
    assert!(last(&cluster) >= 5_000, "of a node: {}", last(&cluster));
}
