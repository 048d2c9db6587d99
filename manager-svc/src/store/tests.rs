//! One contract for every store. A new store joins the list at the end.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use davit_core::deployment::DeploymentMode;
use davit_core::file::FileContent;
use davit_core::id::Revision;
use davit_core::job::JobSpec;
use davit_core::spec::{OnNodeLoss, TaskSpec};
use davit_core::state::TaskState;
use proptest::prelude::*;
use tempfile::TempDir;

use super::{Error, Fault, FaultyStore, FjallStore, MemoryStore, Snapshot, Store};
use crate::commands::test_support::random::ops;
use crate::commands::test_support::{
    Cluster, LEASE, config_name, job_spec, keyed, labelled, mounting, node_id, registration, spec, task_id, with_file,
};
use crate::commands::{
    Limits, NewConfig, NewTasks, create_tasks, delete_config, delete_task, let_go_of_versions, note_away, put_config,
    register_node, stop_task,
};
use crate::state::{Batch, Change, ClusterState, Event, KeptEvents, Object, RequestRecord, Totals, Versions};

/// What a store must answer, in an order that does not depend on it.
pub(super) fn sorted(mut snapshot: Snapshot) -> (Revision, Totals, [Vec<String>; 9]) {
    fn told<T: Debug>(objects: &[T]) -> Vec<String> {
        objects.iter().map(|object| format!("{object:?}")).collect()
    }
    snapshot.tasks.sort_by_key(|task| task.task_id);
    snapshot.nodes.sort_by_key(|node| node.node_id);
    snapshot.deployments.sort_by_key(|deployment| deployment.deployment_id);
    snapshot.jobs.sort_by_key(|job| job.job_id);
    snapshot.configs.sort_by(|one, other| one.name.cmp(&other.name));
    snapshot.contents.sort_by_key(FileContent::digest);
    snapshot.volumes.sort_by(|one, other| one.name.cmp(&other.name));
    let Snapshot {
        revision,
        tasks,
        nodes,
        deployments,
        jobs,
        configs,
        contents,
        volumes,
        events,
        requests,
        totals,
        ..
    } = &snapshot;
    let (jobs, configs, contents, volumes) = (told(jobs), told(configs), told(contents), told(volumes));
    let (events, requests) = (told(events), told(requests));
    let objects = [told(tasks), told(nodes), told(deployments), jobs, configs, contents, volumes, events, requests];
    (*revision, *totals, objects)
}

/// A store in a directory that is removed with it.
#[derive(Debug)]
struct TempStore {
    store: FjallStore,
    _dir: TempDir,
}

impl TempStore {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self { store: FjallStore::open(dir.path(), "test").unwrap(), _dir: dir }
    }
}

#[async_trait]
impl Store for TempStore {
    async fn load(&self) -> Result<Snapshot, Error> {
        self.store.load().await
    }

    async fn commit(&self, batch: Arc<Batch>) -> Result<Revision, Error> {
        self.store.commit(batch).await
    }

    async fn check(&self) -> Result<(), Error> {
        self.store.check().await
    }
}

/// What a store should hold when all changes of a cluster were committed.
pub(super) fn expected(state: &ClusterState, batches: &[Arc<Batch>]) -> Snapshot {
    Snapshot {
        revision: state.revision(),
        tasks: state.tasks().cloned().collect(),
        nodes: state.nodes().cloned().collect(),
        deployments: state.deployments().cloned().collect(),
        jobs: state.jobs().cloned().collect(),
        configs: state.configs().cloned().collect(),
        contents: state.contents().cloned().collect(),
        volumes: state.volumes_after("").cloned().collect(),
        events: state.events().after(state.events().compacted()).unwrap().cloned().collect(),
        totals: state.totals(),
        requests: batches.iter().flat_map(|batch| batch.requests.iter().cloned()).collect(),
        specs: Vec::new(),
    }
}

/// A cluster and the batches that made it.
pub(super) fn some_history() -> (Cluster, Vec<Arc<Batch>>) {
    let mut cluster = Cluster::new(0);
    let mut batches = Vec::new();
    let create = |cluster: &mut Cluster, from: u64, request: &str| {
        let tasks = NewTasks { spec: keyed(spec()), task_ids: (from..from + 3).map(task_id).collect(), gang_id: None };
        cluster.run(|draft| create_tasks(draft, &[tasks], Some((request.to_owned(), from)), Limits::NONE)).unwrap();
        cluster.last_batch.clone()
    };
    batches.push(create(&mut cluster, 1, "first"));
    batches.push(create(&mut cluster, 11, "second"));
    cluster.run(|draft| delete_task(draft, task_id(2), true)).unwrap();
    batches.push(cluster.last_batch.clone());
    for version in ["1", "2"] {
        cluster.deploy("web", labelled("version", version), DeploymentMode::Replicated { replicas: 2 });
        batches.push(cluster.last_batch.clone());
    }
    // One that runs what it no longer wants, with a task that has arguments of its own.
    cluster.created = 100;
    for arguments in ["first", "second"] {
        let arguments = [vec![arguments.to_owned()], Vec::new()].into();
        cluster.make_job("report", JobSpec { arguments, ..job_spec(labelled("job", "report"), 2) });
        batches.push(cluster.last_batch.clone());
        if cluster.reconcile_jobs() {
            batches.push(cluster.last_batch.clone());
        }
    }
    cluster.put_config("web.conf", b"listen 80").unwrap();
    batches.push(cluster.last_batch.clone());
    (cluster, batches)
}

async fn a_new_store_is_empty(store: &dyn Store) {
    assert_eq!(sorted(store.load().await.unwrap()), sorted(Snapshot::default()));
    store.check().await.unwrap();
}

async fn what_was_committed_is_loaded(store: &dyn Store) {
    let (cluster, batches) = some_history();
    for batch in &batches {
        let last = batch.changes.last().unwrap().event.revision;
        assert_eq!(store.commit(Arc::clone(batch)).await, Ok(last));
    }
    let loaded = store.load().await.unwrap();
    assert_eq!(loaded.tasks.len(), 7, "the deleted one is gone");
    let requests: Vec<&str> = loaded.requests.iter().map(|request| request.request_id.as_str()).collect();
    assert_eq!(requests, ["first", "second"]);
    assert_eq!(sorted(loaded), sorted(expected(&cluster.state, &batches)));
}

async fn a_loaded_cluster_goes_on_where_it_was(store: &dyn Store) {
    let (mut cluster, batches) = some_history();
    for batch in &batches {
        store.commit(Arc::clone(batch)).await.unwrap();
    }
    cluster.state = ClusterState::from_snapshot(store.load().await.unwrap(), KeptEvents::up_to(100));
    assert_eq!(cluster.state.placeable(cluster.now).count(), 7);
    assert_eq!(cluster.state.task_count(TaskState::Pending), 7);
    assert!(cluster.state.requests().get("second").is_some());
    cluster.run(|draft| delete_task(draft, task_id(1), true)).unwrap();
    store.commit(Arc::clone(&cluster.last_batch)).await.unwrap();
    assert_eq!(store.load().await.unwrap().revision, cluster.state.revision());
}

async fn a_batch_that_does_not_follow_is_refused_and_nothing_of_it_is_stored(store: &dyn Store) {
    let (_, batches) = some_history();
    store.commit(Arc::clone(&batches[0])).await.unwrap();
    let before = sorted(store.load().await.unwrap());
    let skipped = store.commit(Arc::clone(&batches[2])).await;
    assert!(matches!(skipped, Err(Error::Gap { stored: Revision(3), got: Revision(7) })), "{skipped:?}");
    let repeated = store.commit(Arc::clone(&batches[0])).await;
    assert!(matches!(repeated, Err(Error::Gap { stored: Revision(3), got: Revision(1) })), "{repeated:?}");
    // A gap in the middle: what comes before it is not stored either.
    let mut torn = Batch::clone(&batches[1]);
    torn.changes.remove(1);
    assert!(matches!(store.commit(Arc::new(torn)).await, Err(Error::Gap { stored: Revision(4), got: Revision(6) })));
    assert_eq!(sorted(store.load().await.unwrap()), before);
    store.commit(Arc::clone(&batches[1])).await.unwrap();
}

async fn events_that_were_compacted_are_gone_and_the_rest_goes_on(store: &dyn Store) {
    let mut cluster = Cluster::new(2);
    store.commit(Arc::new(Batch { changes: all_changes(&cluster), ..Batch::default() })).await.unwrap();
    cluster.create(spec());
    store.commit(Arc::clone(&cluster.last_batch)).await.unwrap();
    let later = cluster.now + Duration::from_secs(1);
    cluster.run(|draft| draft.compact_events(later, 2));
    assert!(!cluster.last_batch.is_empty());
    assert_eq!(store.commit(Arc::clone(&cluster.last_batch)).await, Ok(Revision(3)));
    let loaded = store.load().await.unwrap();
    assert_eq!(loaded.events.iter().map(|event| event.revision).collect::<Vec<_>>(), [Revision(3)]);
    let state = ClusterState::from_snapshot(loaded, KeptEvents::up_to(100));
    assert_eq!(state.events().after(Revision(1)).err().map(|compacted| compacted.oldest), Some(Revision(3)));
    assert_eq!(state.events().after(Revision(2)).unwrap().count(), 1);
    // All of them: what was asked for is gone, and what comes next is there.
    cluster.run(|draft| draft.compact_events(later, 100));
    store.commit(Arc::clone(&cluster.last_batch)).await.unwrap();
    let state = ClusterState::from_snapshot(store.load().await.unwrap(), KeptEvents::up_to(100));
    assert_eq!((state.revision(), state.events().oldest()), (Revision(3), None));
    assert!(state.events().after(Revision(2)).is_err());
    assert_eq!(state.events().after(Revision(3)).unwrap().count(), 0);
}

async fn totals_outlive_the_tasks_that_they_count(store: &dyn Store) {
    let mut cluster = Cluster::new(0);
    let task_id = cluster.create(spec());
    store.commit(Arc::clone(&cluster.last_batch)).await.unwrap();
    cluster.run(|draft| stop_task(draft, task_id)).unwrap();
    store.commit(Arc::clone(&cluster.last_batch)).await.unwrap();
    cluster.run(|draft| delete_task(draft, task_id, true)).unwrap();
    store.commit(Arc::clone(&cluster.last_batch)).await.unwrap();
    let state = ClusterState::from_snapshot(store.load().await.unwrap(), KeptEvents::up_to(100));
    assert_eq!(state.tasks().count(), 0);
    assert_eq!(state.totals(), Totals { created: 1, stopped: 1, ..Totals::default() });
}

/// What made a cluster, in one batch.
fn all_changes(cluster: &Cluster) -> Vec<Change> {
    let change = |event: &Arc<Event>| {
        let versions = match &event.object {
            Object::Node(node) => Versions::Node { before: None, after: Some(Arc::clone(node)) },
            Object::Task(task) => Versions::Task { before: None, after: Some(Arc::clone(task)) },
            Object::Deployment(deployment) => {
                Versions::Deployment { before: None, after: Some(Arc::clone(deployment)) }
            }
            Object::Job(job) => Versions::Job { before: None, after: Some(Arc::clone(job)) },
            Object::Config(config) => Versions::Config { before: None, after: Some(Arc::clone(config)) },
        };
        Change { versions, event: Arc::clone(event) }
    };
    cluster.state.events().after(Revision(0)).unwrap().map(change).collect()
}

async fn until_when_a_node_is_away_and_a_task_is_leased_is_kept(store: &dyn Store) {
    let mut cluster = Cluster::new(0);
    cluster.run(|draft| register_node(draft, registration(1), LEASE)).unwrap();
    store.commit(Arc::clone(&cluster.last_batch)).await.unwrap();
    let task_id = cluster.create(TaskSpec { on_node_loss: OnNodeLoss::StopAndReplace, ..spec() });
    store.commit(Arc::clone(&cluster.last_batch)).await.unwrap();
    cluster.place(task_id, 1);
    store.commit(Arc::clone(&cluster.last_batch)).await.unwrap();
    // Another start of its worker, which does not have it, and goes again.
    cluster.run(|draft| register_node(draft, registration(1), LEASE)).unwrap();
    store.commit(Arc::clone(&cluster.last_batch)).await.unwrap();
    cluster.run(|draft| note_away(draft, node_id(1), Duration::from_secs(60)));
    store.commit(Arc::clone(&cluster.last_batch)).await.unwrap();
    let loaded = store.load().await.unwrap();
    let later = |wait: Duration| cluster.now.checked_add(wait).ok();
    assert_eq!(loaded.nodes[0].away_until, later(Duration::from_secs(60)));
    assert!(loaded.tasks[0].leased_until > later(LEASE));
    assert_eq!(loaded.tasks[0].leased_until, cluster.task(task_id).leased_until);
}

async fn contents_are_kept_as_long_as_a_config_holds_them(store: &dyn Store) {
    let mut cluster = Cluster::new(0);
    let commit = async |cluster: &Cluster| {
        store.commit(Arc::clone(&cluster.last_batch)).await.unwrap();
        let loaded = store.load().await.unwrap();
        let mut contents: Vec<_> = loaded.contents.iter().map(|content| content.reveal().to_vec()).collect();
        contents.sort_unstable();
        (contents, ClusterState::from_snapshot(loaded, KeptEvents::up_to(100)))
    };
    let contents_of = |texts: &[&str]| texts.iter().map(|text| text.as_bytes().to_vec()).collect::<Vec<_>>();
    // In one batch: of what came and went nothing is seen.
    cluster.run(|draft| {
        for (name, content) in [("a", "1"), ("b", "1"), ("a", "2"), ("a", "3"), ("c", "4")] {
            put_config(draft, new_config(name, content)).unwrap();
        }
        delete_config(draft, &config_name("c")).unwrap();
    });
    assert_eq!(commit(&cluster).await.0, contents_of(&["1", "3"]));
    let task = cluster.create(cluster.resolved(with_file("a")));
    commit(&cluster).await;
    cluster.put_config("a", b"5").unwrap();
    assert_eq!(commit(&cluster).await.0, contents_of(&["1", "3", "5"]), "a task has the old one");
    cluster.run(|draft| delete_task(draft, task, true)).unwrap();
    let (_, state) = commit(&cluster).await;
    assert_eq!(state.loose_configs().count(), 1);
    cluster.run(|draft| let_go_of_versions(draft, 10));
    assert_eq!(commit(&cluster).await.0, contents_of(&["1", "5"]));
    // What went and comes again in one batch stays.
    cluster.run(|draft| {
        delete_config(draft, &config_name("a")).unwrap();
        put_config(draft, new_config("d", "5")).unwrap();
    });
    let (contents, state) = commit(&cluster).await;
    assert_eq!(contents, contents_of(&["1", "5"]));
    assert_eq!(state.configs().map(|config| config.name.name.as_str()).collect::<Vec<_>>(), ["b", "d"]);
}

fn new_config(name: &str, content: &str) -> NewConfig {
    let content = FileContent::new(content.as_bytes());
    NewConfig { name: config_name(name), content, labels: [].into(), app: String::new() }
}

async fn where_volumes_are_is_kept_until_it_is_forgotten(store: &dyn Store) {
    let mut cluster = Cluster::new(0);
    let mut commits = Vec::new();
    for number in [1, 2] {
        cluster.run(|draft| register_node(draft, registration(number), LEASE)).unwrap();
        commits.push(Arc::clone(&cluster.last_batch));
    }
    for (name, number) in [("data", 1), ("logs", 2)] {
        let task_id = cluster.create(mounting(&[name]));
        commits.push(Arc::clone(&cluster.last_batch));
        cluster.place(task_id, number);
        commits.push(Arc::clone(&cluster.last_batch));
    }
    for batch in &commits {
        store.commit(Arc::clone(batch)).await.unwrap();
    }
    let state = ClusterState::from_snapshot(store.load().await.unwrap(), KeptEvents::up_to(100));
    assert_eq!(state.volume("data").unwrap().node_id, node_id(1));
    assert_eq!(state.volume("data"), cluster.state.volume("data"));
    // Nothing else changes with it.
    let before = cluster.state.revision();
    cluster.run(|draft| draft.forget_volume("data"));
    assert!(!cluster.last_batch.is_empty());
    assert_eq!(store.commit(Arc::clone(&cluster.last_batch)).await, Ok(before));
    let loaded = store.load().await.unwrap();
    assert_eq!(loaded.volumes.iter().map(|home| home.name.as_str()).collect::<Vec<_>>(), ["logs"]);
}

async fn a_batch_of_requests_alone_keeps_the_revision(store: &dyn Store) {
    let (_, batches) = some_history();
    store.commit(Arc::clone(&batches[0])).await.unwrap();
    let requests = batches[1].requests.clone();
    let revision = store.commit(Arc::new(Batch { requests, ..Batch::default() })).await.unwrap();
    assert_eq!(revision, Revision(3));
    let loaded = store.load().await.unwrap();
    assert_eq!((loaded.revision, loaded.requests.len()), (Revision(3), 2));
}

async fn requests_that_are_dropped_are_gone_also_those_of_the_same_batch(store: &dyn Store) {
    let (_, batches) = some_history();
    store.commit(Arc::clone(&batches[0])).await.unwrap();
    let mut kept = batches[0].requests.clone();
    // (new ones, dropped ones)
    for (new, dropped) in [(3, 2), (0, 1), (2, 3), (1, 0), (0, 100), (2, 0)] {
        let requests: Vec<_> = (0..new).map(|nth| some_request(&format!("{new} {dropped} {nth}"))).collect();
        kept.extend(requests.iter().cloned());
        kept.drain(..dropped.min(kept.len()));
        let batch = Batch { requests, dropped_requests: dropped as u64, ..Batch::default() };
        assert_eq!(store.commit(Arc::new(batch)).await, Ok(Revision(3)));
        assert_eq!(store.load().await.unwrap().requests, kept, "after {new} more and {dropped} less");
    }
}

fn some_request(request_id: &str) -> Arc<RequestRecord> {
    let (request_id, task_ids) = (request_id.to_owned(), [task_id(1)].into());
    Arc::new(RequestRecord { request_id, fingerprint: 1, task_ids, revision: Revision(3) })
}

/// Makes the contract's tests for one store; `$new` is an expression that makes an empty one.
macro_rules! store_contract {
    ($module:ident, $cases:expr, $new:expr) => {
        mod $module {
            use super::*;

            store_contract!(@facts $new,
                a_new_store_is_empty,
                what_was_committed_is_loaded,
                a_loaded_cluster_goes_on_where_it_was,
                a_batch_that_does_not_follow_is_refused_and_nothing_of_it_is_stored,
                events_that_were_compacted_are_gone_and_the_rest_goes_on,
                totals_outlive_the_tasks_that_they_count,
                until_when_a_node_is_away_and_a_task_is_leased_is_kept,
                contents_are_kept_as_long_as_a_config_holds_them,
                where_volumes_are_is_kept_until_it_is_forgotten,
                a_batch_of_requests_alone_keeps_the_revision,
                requests_that_are_dropped_are_gone_also_those_of_the_same_batch,
            );

            proptest! {
                #![proptest_config(ProptestConfig { cases: $cases, ..ProptestConfig::default() })]

                #[test]
                fn after_any_history_it_holds_what_the_cluster_is(ops in ops()) {
                    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
                    let store = $new;
                    let mut cluster = Cluster::new(0);
                    let mut batches = Vec::new();
                    for op in &ops {
                        cluster.apply(op);
                        if !cluster.last_batch.is_empty() {
                            runtime.block_on(store.commit(Arc::clone(&cluster.last_batch))).unwrap();
                            batches.push(Arc::clone(&cluster.last_batch));
                        }
                    }
                    let loaded = runtime.block_on(store.load()).unwrap();
                    prop_assert_eq!(sorted(loaded.clone()), sorted(expected(&cluster.state, &batches)));
                    let state = ClusterState::from_snapshot(loaded, KeptEvents::default());
                    prop_assert_eq!(state.kept_event_bytes(), cluster.state.kept_event_bytes());
                    prop_assert_eq!(state.specs().bytes(), cluster.state.specs().bytes());
                }
            }
        }
    };
    (@facts $new:expr, $($fact:ident,)+) => {
        $(
            #[tokio::test]
            async fn $fact() {
                super::$fact(&$new).await;
            }
        )+
    };
}

store_contract!(memory, 64, MemoryStore::default());
store_contract!(fjall, 12, TempStore::new());
store_contract!(faulty_while_it_works, 64, FaultyStore::new(MemoryStore::default(), Fault::default()));

#[tokio::test]
async fn a_faulty_store_refuses_to_write_until_it_is_mended_and_stores_nothing_meanwhile() {
    let fault = Fault::default();
    let store = FaultyStore::new(MemoryStore::default(), fault.clone());
    let (_, batches) = some_history();
    fault.set("the disk is full");
    let refused = Err(Error::Unavailable { problem: "the disk is full".to_owned() });
    assert_eq!(store.commit(Arc::clone(&batches[0])).await, refused);
    assert_eq!(store.check().await, refused.map(|_| ()));
    assert_eq!(store.load().await.unwrap().revision, Revision(0));
    fault.clear();
    assert_eq!(store.check().await, Ok(()));
    assert_eq!(store.commit(Arc::clone(&batches[0])).await, Ok(Revision(3)));
}
