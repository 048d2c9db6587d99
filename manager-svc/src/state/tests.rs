//! Indexes follow from tasks and nodes; the event log has no gap.

mod due;
mod kept_events;
mod marks;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use davit_core::file::{Config, ConfigVersion, FileContent};
use davit_core::id::{NodeId, Revision, TaskId};
use davit_core::node::{Node, NodeState};
use davit_core::placement::{Mark, count_up};
use davit_core::resources::Resources;
use davit_core::spec::TaskSpec;
use davit_core::state::TaskState;
use davit_core::task::{DesiredState, Task};
use imbl::OrdSet;
use jiff::Timestamp;
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;
use uuid::Uuid;

use super::requests::{KEPT_REQUESTS, KEPT_TASK_IDS};
use super::{ClusterState, Compacted, Draft, EventLog, KeptEvents, NodeUsage, RequestLog, RequestRecord, loss_wait};
use crate::commands::test_support::random::ops;
use crate::commands::test_support::{Cluster, spec};
use crate::store::{Snapshot, spec_to_bytes};

/// How many unfinished tasks' placement refers to each mark, counted from scratch.
fn mentioned_from_scratch(state: &ClusterState) -> BTreeMap<Mark, u32> {
    let mut counts = BTreeMap::new();
    let marks = state.tasks.values().filter(|task| !task.is_finished()).flat_map(|task| task.spec.mentioned_marks());
    marks.for_each(|mark| count_up(&mut counts, &mark));
    counts
}

/// What is set aside on every node that holds anything, counted from scratch.
fn usage_from_scratch(state: &ClusterState) -> BTreeMap<NodeId, NodeUsage> {
    let mut usage: BTreeMap<NodeId, NodeUsage> = BTreeMap::new();
    let mentioned = mentioned_from_scratch(state);
    for task in state.tasks.values().filter(|task| task.status.state.is_on_node()) {
        let needs = task.spec.requirements();
        let of_node = usage.entry(task.status.node_id.expect("a node")).or_default();
        of_node.reserved = of_node.reserved.saturating_add(needs.reservation);
        of_node.host_ports.extend(needs.host_ports);
        of_node.host_ports.extend(task.given_ports.iter().map(|port| (port.protocol, port.host_port)));
        of_node.tasks.insert(task.task_id);
        of_node.stopping += u32::from(!task.wants_current_attempt() || task.status.state == TaskState::Stopping);
        needs.marks.iter().filter(|mark| mentioned.contains_key(mark)).for_each(|m| count_up(&mut of_node.marks, m));
        needs.refuses.iter().for_each(|mark| count_up(&mut of_node.refused, mark));
        if let Some(wait) = loss_wait(task) {
            *of_node.loss_waits.entry(wait).or_default() += 1;
        }
    }
    for task in state.tasks.values().filter(|task| !task.is_finished() && task.desired_state == DesiredState::Running) {
        if let Some(claim) = task.claim.as_ref().filter(|_| task.pinned_to().is_none()) {
            let of_node = usage.entry(claim.node_id).or_default();
            of_node.claims.insert(task.task_id);
            let marks: BTreeSet<Mark> = task.spec.marks().filter(|mark| mentioned.contains_key(mark)).collect();
            marks.iter().for_each(|mark| count_up(&mut of_node.claimed_marks, mark));
        }
    }
    usage
}

fn indexes_follow_from_tasks_and_nodes(state: &ClusterState) -> Result<(), TestCaseError> {
    let tasks = || state.tasks.values();
    let usage: BTreeMap<NodeId, NodeUsage> =
        state.usage.iter().map(|(node_id, usage)| (*node_id, (**usage).clone())).collect();
    prop_assert_eq!(usage, usage_from_scratch(state));
    prop_assert_eq!(state.mentions.counts(), mentioned_from_scratch(state));
    marks::where_they_are_follows_from_tasks(state)?;
    due::what_is_due_follows_from_tasks_and_nodes(state)?;
    lists_of_a_nodes_tasks_follow_from_tasks(state)?;

    let waits = |task: &&Arc<Task>| {
        task.status.state == TaskState::Pending && task.desired_state == DesiredState::Running && task.claim.is_none()
    };
    let mut waiting: Vec<&Arc<Task>> = tasks().filter(waits).collect();
    waiting.sort_by_key(|task| (-task.spec.placement.priority, task.next_attempt_at.unwrap_or_default(), task.task_id));
    prop_assert_eq!(state.placeable(Timestamp::MAX).collect::<Vec<_>>(), waiting.clone());
    for now in [Timestamp::UNIX_EPOCH, Timestamp::from_second(1_000_100).unwrap()] {
        let dues = waiting.iter().map(|task| task.next_attempt_at.unwrap_or_default());
        prop_assert_eq!(state.next_due(now), dues.filter(|due| *due > now).min());
    }
    let preempting = waiting.iter().filter(|task| task.spec.placement.may_preempt);
    let highest = preempting.map(|task| task.spec.placement.priority).max();
    prop_assert_eq!(state.highest_preempting_priority(), highest);
    for gang_id in tasks().filter_map(|task| task.gang_id()) {
        let members = waiting.iter().filter(|task| task.gang_id() == Some(gang_id)).map(|task| task.task_id);
        let known = state.waiting_of_gang(gang_id).map(|task| task.task_id);
        prop_assert_eq!(known.collect::<BTreeSet<_>>(), members.collect::<BTreeSet<_>>());
    }
    let finished: BTreeSet<(Timestamp, TaskId)> = tasks()
        .filter(|task| task.status.state.is_terminal() && !task.holds_slot())
        .map(|task| (task.updated_at, task.task_id))
        .collect();
    prop_assert_eq!(state.finished.iter().copied().collect::<BTreeSet<_>>(), finished);

    specs_follow_from_tasks(state)?;
    files_follow_from_specs_and_configs(state)?;
    kept_events::what_events_take_follows_from_them(state)?;
    for task_state in TaskState::ALL {
        let count = tasks().filter(|task| task.status.state == task_state).count() as u64;
        prop_assert_eq!(state.task_count(task_state), count, "{}", task_state);
    }
    let names: BTreeMap<String, NodeId> =
        state.nodes.values().map(|node| (node.description.name.clone(), node.node_id)).collect();
    for node_state in [NodeState::Ready, NodeState::Suspect, NodeState::Down] {
        let count = state.nodes.values().filter(|node| node.state == node_state).count() as u64;
        prop_assert_eq!(state.node_count_in(node_state), count, "{}", node_state);
    }
    let among = |holds: fn(&Node) -> bool| state.nodes.values().filter(move |node| holds(node)).collect::<Vec<_>>();
    let ids = |nodes: Vec<&Arc<Node>>| nodes.into_iter().map(|node| node.node_id).collect::<OrdSet<_>>();
    prop_assert_eq!(state.suspect_node_ids(), &ids(among(|node| node.state == NodeState::Suspect)));
    prop_assert_eq!(state.down_node_ids(), &ids(among(|node| node.state == NodeState::Down)));
    prop_assert_eq!(&state.fleet.troubled, &ids(among(|node| !node.runtime_problems.is_empty())));
    let ready = among(|node| node.state == NodeState::Ready).into_iter();
    let ready = ready.fold((Resources::ZERO, Resources::ZERO), |(offered, reserved), node| {
        let usage = state.usage(node.node_id);
        (offered.saturating_add(node.description.allocatable), reserved.saturating_add(usage.reserved))
    });
    prop_assert_eq!(state.ready_resources(), ready);
    prop_assert_eq!(state.drained_nodes().collect::<Vec<_>>(), among(|node| node.drain.is_some()));
    prop_assert_eq!(names.len(), state.nodes.len(), "two nodes of one name");
    prop_assert_eq!(state.node_names.iter().map(|(name, id)| (name.clone(), *id)).collect::<BTreeMap<_, _>>(), names);
    Ok(())
}

/// A list of a node's tasks, from any of them on, is what a walk over all tasks finds.
fn lists_of_a_nodes_tasks_follow_from_tasks(state: &ClusterState) -> Result<(), TestCaseError> {
    let nodes: BTreeSet<NodeId> = state.tasks.values().filter_map(|task| task.status.node_id).collect();
    for node_id in nodes {
        for after in std::iter::once(None).chain(state.tasks.keys().copied().map(Some)) {
            let walked = state.tasks_after(after).filter(|task| task.status.node_id == Some(node_id));
            let listed = state.tasks_of_node_after(node_id, after);
            prop_assert_eq!(listed.collect::<Vec<_>>(), walked.collect::<Vec<_>>());
        }
    }
    Ok(())
}

/// Each content is there once, and counted once.
fn specs_follow_from_tasks(state: &ClusterState) -> Result<(), TestCaseError> {
    let mut distinct: Vec<&Arc<TaskSpec>> = Vec::new();
    let of_jobs = state.jobs().flat_map(|job| job.task_specs());
    let of_deployments = state.deployments().flat_map(|deployment| deployment.task_specs());
    for spec in state.tasks.values().map(|task| &task.spec).chain(of_deployments).chain(of_jobs) {
        match distinct.iter().find(|known| **known == spec) {
            Some(known) => prop_assert!(Arc::ptr_eq(known, spec), "two in memory of one content"),
            None => distinct.push(spec),
        }
    }
    let bytes = distinct.iter().map(|spec| spec_to_bytes(spec).len() as u64).sum();
    prop_assert_eq!((state.specs.count(), state.specs.bytes()), (distinct.len(), bytes));
    Ok(())
}

/// What is referred to, what is held and what is to go follows from specs and configs.
fn files_follow_from_specs_and_configs(state: &ClusterState) -> Result<(), TestCaseError> {
    let of_deployments = state.deployments().flat_map(|deployment| deployment.task_specs());
    let of_jobs = state.jobs().flat_map(|job| job.task_specs());
    let specs = state.tasks.values().map(|task| &task.spec).chain(of_deployments).chain(of_jobs);
    let used: BTreeSet<_> =
        specs.flat_map(|spec| spec.files()).filter_map(|grant| Some((grant.config.clone(), grant.digest?))).collect();
    let versions = || state.configs().flat_map(|config| config.versions.iter().map(move |version| (config, version)));
    for (config, digest) in &used {
        prop_assert!(state.uses_version(config, *digest));
        prop_assert!(state.config(config).is_some_and(|config| config.has(*digest)), "{} has gone", config);
    }
    let held: BTreeSet<_> = versions().map(|(_, version)| version.digest).collect();
    let contents: BTreeSet<_> = state.contents().map(FileContent::digest).collect();
    prop_assert_eq!(&held, &contents);
    prop_assert_eq!(state.content_bytes(), state.contents().map(FileContent::size_bytes).sum::<u64>());
    let goes = |(config, version): &(&Arc<Config>, &ConfigVersion)| {
        let is_newest = config.newest().is_some_and(|newest| newest.digest == version.digest);
        !used.contains(&(config.name.clone(), version.digest)) && (config.is_deleted || !is_newest)
    };
    let loose: BTreeSet<_> = versions().filter(goes).map(|(config, _)| config.name.clone()).collect();
    prop_assert_eq!(state.loose_configs().map(|config| config.name.clone()).collect::<BTreeSet<_>>(), loose);
    Ok(())
}

fn reloaded(state: &ClusterState, kept_events: KeptEvents) -> ClusterState {
    let snapshot = Snapshot {
        revision: state.revision,
        tasks: state.tasks().cloned().collect(),
        nodes: state.nodes().cloned().collect(),
        deployments: state.deployments().cloned().collect(),
        jobs: state.jobs().cloned().collect(),
        configs: state.configs().cloned().collect(),
        contents: state.contents().cloned().collect(),
        volumes: state.volumes_after("").cloned().collect(),
        events: state.events.after(state.events.compacted()).unwrap().cloned().collect(),
        requests: Vec::new(),
        totals: state.totals(),
        specs: Vec::new(),
    };
    ClusterState::from_snapshot(snapshot, kept_events)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn indexes_equal_a_recomputation_from_scratch(ops in ops()) {
        let mut cluster = Cluster::new(2);
        for op in &ops {
            cluster.apply(op);
            indexes_follow_from_tasks_and_nodes(&cluster.state)?;
        }
        let loaded = reloaded(&cluster.state, KeptEvents::up_to(10_000));
        indexes_follow_from_tasks_and_nodes(&loaded)?;
        prop_assert_eq!(loaded.revision, cluster.state.revision);
        prop_assert_eq!(loaded.kept_event_bytes(), cluster.state.kept_event_bytes());
    }

    #[test]
    fn the_log_answers_exactly_the_events_after_a_revision_or_that_they_are_compacted(
        capacity in 1usize..20, events in 0u64..40, asked in prop_oneof![0u64..50, Just(u64::MAX)],
    ) {
        let log = log_of(capacity, events);
        let kept_from = events.saturating_sub(capacity as u64) + 1;
        prop_assert_eq!(log.oldest(), (events > 0).then_some(Revision(kept_from)));
        let after = log.after(Revision(asked)).map(|found| found.map(|event| event.revision.0).collect::<Vec<_>>());
        if asked + u64::from(asked < u64::MAX) < kept_from {
            prop_assert_eq!(after, Err(Compacted { asked: Revision(asked), oldest: Revision(kept_from) }));
        } else {
            prop_assert_eq!(after, Ok((1..=events).filter(|revision| *revision > asked).collect()));
        }
    }
}

/// A log of the events of that many creates.
fn log_of(capacity: usize, events: u64) -> EventLog {
    let mut cluster = Cluster::new(0);
    cluster.state = ClusterState::new(KeptEvents::up_to(capacity));
    for _ in 0..events {
        cluster.create(spec());
    }
    cluster.state.events
}

#[test]
fn events_from_before_a_restart_that_kept_none_are_compacted() {
    let mut cluster = Cluster::new(2);
    cluster.create(spec());
    let events = Vec::new();
    let tasks = cluster.state.tasks().cloned().collect();
    let snapshot = Snapshot { revision: cluster.state.revision(), tasks, events, ..Snapshot::default() };
    let state = ClusterState::from_snapshot(snapshot, KeptEvents::up_to(100));
    assert_eq!(
        state.events().after(Revision(2)).err(),
        Some(Compacted { asked: Revision(2), oldest: Revision(4) }),
        "silence would hide what happened"
    );
    assert_eq!(state.events().after(Revision(3)).map(Iterator::count), Ok(0));
}

#[test]
fn what_may_be_placed_comes_in_the_order_of_waiting() {
    let mut cluster = Cluster::new(1);
    let ids: Vec<TaskId> = (0..3).map(|_| cluster.create(spec())).collect();
    let mut delayed = cluster.task(ids[0]).clone();
    delayed.next_attempt_at = Some(cluster.now + Duration::from_secs(5));
    cluster.run(|draft| draft.put_task(delayed, super::EventType::TaskUpdated, "delayed"));
    let placeable =
        |cluster: &Cluster| -> Vec<TaskId> { cluster.state.placeable(cluster.now).map(|task| task.task_id).collect() };
    assert_eq!(placeable(&cluster), ids[1..]);
    assert_eq!(cluster.state.next_due(cluster.now), Some(cluster.now + Duration::from_secs(5)));
    cluster.advance(Duration::from_secs(5));
    assert_eq!(placeable(&cluster), [ids[1], ids[2], ids[0]]);
    assert_eq!(cluster.state.next_due(cluster.now), None);
}

#[test]
fn a_draft_that_is_forgotten_leaves_the_cluster_as_it_was() {
    let mut cluster = Cluster::new(1);
    let task_id = cluster.running(spec(), 1);
    let mut draft = Draft::new(cluster.state.clone(), cluster.now);
    draft.remove_task(task_id, "test");
    let node_id = crate::commands::test_support::node_id(1);
    draft.remove_node(node_id, "test");
    drop(draft);
    assert!(cluster.state.task(task_id).is_some());
    assert_eq!(cluster.state.usage(node_id).task_count(), 1);
    assert_eq!(
        cluster.state.events().after(Revision(0)).map(|events| Iterator::count(events) as u64),
        Ok(cluster.state.revision().0)
    );
}

#[test]
fn pages_of_tasks_and_nodes_go_on_after_the_last_one() {
    let mut cluster = Cluster::new(3);
    let ids: Vec<TaskId> = (0..4).map(|_| cluster.create(spec())).collect();
    let after: Vec<TaskId> = cluster.state.tasks_after(Some(ids[1])).map(|task| task.task_id).collect();
    assert_eq!(after, ids[2..]);
    assert_eq!(cluster.state.tasks_after(None).count(), 4);
    let names: Vec<&str> = cluster.state.nodes_after(Some("node-1")).map(|node| &*node.description.name).collect();
    assert_eq!(names, ["node-2", "node-3"]);
}

/// A create of so many tasks; all of these tests share the ids.
fn request(number: usize, task_ids: &Arc<[TaskId]>) -> RequestRecord {
    let (request_id, task_ids) = (number.to_string(), Arc::clone(task_ids));
    RequestRecord { request_id, fingerprint: 0, task_ids, revision: Revision(0) }
}

fn ids_of_tasks(count: usize) -> Arc<[TaskId]> {
    vec![TaskId(Uuid::nil()); count].into()
}

#[test]
fn the_oldest_request_ids_are_forgotten() {
    let mut log = RequestLog::default();
    for number in 0..=KEPT_REQUESTS {
        log.push(Arc::new(request(number, &ids_of_tasks(0))));
    }
    assert!(log.get("0").is_none());
    assert!(log.get("1").is_some());
}

#[test]
fn request_ids_of_large_creates_are_forgotten_sooner_and_the_newest_never() {
    let mut log = RequestLog::default();
    let half = ids_of_tasks(KEPT_TASK_IDS / 2);
    for number in 0..3 {
        log.push(Arc::new(request(number, &half)));
    }
    assert_eq!([0, 1, 2].map(|number| log.get(&number.to_string()).is_some()), [false, true, true]);
    log.push(Arc::new(request(3, &ids_of_tasks(1))));
    assert_eq!([1, 2, 3].map(|number| log.get(&number.to_string()).is_some()), [false, true, true]);
    // One that is too large by itself: nothing but it.
    log.push(Arc::new(request(4, &ids_of_tasks(KEPT_TASK_IDS + 1))));
    assert_eq!((log.nth(0).map(|kept| kept.request_id.as_str()), log.nth(1)), (Some("4"), None));
    // And what it took is free again.
    log.push(Arc::new(request(5, &half)));
    log.push(Arc::new(request(6, &half)));
    assert_eq!([4, 5, 6].map(|number| log.get(&number.to_string()).is_some()), [false, true, true]);
}

#[test]
fn a_batch_says_how_many_requests_the_store_is_to_drop_also_those_that_were_dropped_when_it_was_loaded() {
    let third = ids_of_tasks(KEPT_TASK_IDS / 3);
    let requests = (0..5).map(|number| Arc::new(request(number, &third))).collect();
    let mut cluster = Cluster::new(0);
    cluster.state = ClusterState::from_snapshot(Snapshot { requests, ..Snapshot::default() }, KeptEvents::up_to(100));
    cluster.run(|_| ());
    assert!(!cluster.last_batch.is_empty());
    assert_eq!(cluster.last_batch.dropped_requests, 2);
    cluster.run(|_| ());
    assert!(cluster.last_batch.is_empty(), "it is said once");
    cluster.run(|draft| draft.put_request(request(5, &third)));
    assert_eq!((cluster.last_batch.dropped_requests, cluster.last_batch.requests.len()), (1, 1));
    // Of the same batch too.
    cluster.run(|draft| (6..10).for_each(|number| draft.put_request(request(number, &third))));
    assert_eq!((cluster.last_batch.dropped_requests, cluster.last_batch.requests.len()), (4, 4));
}
