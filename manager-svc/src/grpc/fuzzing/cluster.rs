//! A manager with a small cluster, without a network, and with clocks that stand still.
#![expect(clippy::expect_used, reason = "for fuzz targets and tests alone: what is built here works or is a bug")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use davit_core::deployment::{DeploymentMode, DeploymentSpec, UpdatePolicy};
use davit_core::file::{ConfigKind, ConfigName, FileContent};
use davit_core::id::{Attempt, AttemptKey, ClusterId, DeploymentId, JobId, NodeId, SessionId, TaskId};
use davit_core::job::JobSpec;
use davit_core::node::NodeDescription;
use davit_core::placement::{PortRange, RuntimeKind};
use davit_core::resources::Resources;
use davit_core::spec::{ProcessSpec, RuntimeSpec, TaskSpec};
use davit_core::state::TaskState;
use davit_core::task::AttemptStatus;
use davit_core::volume::VolumeHome;
use davit_proto::convert::Registration;
use davit_svc_kit::clock::ManualClock;
use davit_svc_kit::fuzzing::{Answer, InProcess};
use davit_svc_kit::ids::SeededSource;
use davit_svc_kit::net::Dialer;
use davit_svc_kit::readiness::Readiness;
use davit_svc_kit::shutdown::Shutdown;
use davit_svc_kit::world::World;
use jiff::Timestamp;
use prost::bytes::Bytes;
use tokio::runtime::Runtime;
use tokio::sync::watch;
use uuid::Uuid;

use super::super::{Api, ClusterFacts, server};
use crate::commands::{
    Limits, Named, NewConfig, NewDeployment, NewJob, NewTasks, Placement, Wanted, WantedJob, apply_reports,
    commit_placements, create_deployment, create_job, create_tasks, pause_rollout, put_config, reconcile_job,
    register_node, update_deployment,
};
use crate::contacts::Contacts;
use crate::dispatch::{Outbox, Router};
use crate::explainer::SchedulerClient;
use crate::logs::LogRelay;
use crate::placer::{Algorithms, SchedulerStatus};
use crate::state::{Batch, ClusterState, Draft, KeptEvents, KeyedSpec, VolumeChange};
use crate::store::{MemoryStore, Store as _};
use crate::writer::Writer;

/// A Tuesday.
const NOW_SECONDS: i64 = 1_767_323_045;

/// The nodes: of the first the worker is in touch.
pub(super) const NODES: [&str; 2] = ["0193a5c0-1c1e-7d3a-9a53-0f5be2f0a001", "0193a5c0-1c1e-7d3a-9a53-0f5be2f0a002"];
/// The tasks: one that runs, one that failed, one that waits.
pub(super) const TASKS: [&str; 3] = [
    "0193a5c0-1c1e-7d3a-9a53-0f5be2f0b001",
    "0193a5c0-1c1e-7d3a-9a53-0f5be2f0b002",
    "0193a5c0-1c1e-7d3a-9a53-0f5be2f0b003",
];
/// A reading of output that waits for its worker.
pub(super) const LOG_ID: &str = "0193a5c0-1c1e-7d3a-9a53-0f5be2f0c001";

/// The cluster, and what runs it.
pub(super) struct Cluster {
    runtime: Runtime,
    /// All that ever happened in it.
    history: Arc<Batch>,
    manager: Manager,
}

struct Manager {
    services: InProcess,
    api: Api,
    first: Arc<ClusterState>,
}

impl Cluster {
    pub(super) fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        let runtime = runtime.expect("a runtime can be made");
        let history = Arc::new(history());
        let manager = runtime.block_on(Manager::start(&history));
        Self { runtime, history, manager }
    }

    /// Makes a call. Says also whether the cluster was changed by it; then the next call finds a new one.
    pub(super) fn call(&mut self, path: &str, body: Bytes) -> (Answer, bool) {
        let Manager { services, api, first } = &self.manager;
        let answer = self.runtime.block_on(services.call(path, body));
        let changed = api.writer.state().revision() != first.revision();
        // Also what is not in the state: who is in touch, and who reads. A session that is not let in changes neither; of output
        // the reader is gone also when the rest of it is refused.
        let only_looks = ["/Get", "/List", "/Explain", "/Plan"].iter().any(|verb| path.contains(verb));
        if changed || (answer.is_ok() && !only_looks) || path.ends_with("/PublishLogs") {
            api.shutdown.trigger();
            self.manager = self.runtime.block_on(Manager::start(&self.history));
        }
        (answer, changed)
    }
}

impl Manager {
    async fn start(history: &Arc<Batch>) -> Self {
        let store = MemoryStore::default();
        store.commit(Arc::clone(history)).await.expect("memory takes what follows on nothing");
        let world = World {
            clock: Arc::new(ManualClock::new(now())),
            ids: Arc::new(SeededSource::new(1)),
            fractions: Arc::new(|| 0.5),
            dialer: Dialer::tcp(),
        };
        let readiness = Readiness::new();
        let loaded = Writer::load(Arc::new(store), Router::default(), &world, readiness.clone(), kept_events()).await;
        let (writer, handle) = loaded.expect("memory can be read");
        let shutdown = Shutdown::new();
        tokio::spawn(writer.run(shutdown.clone()));
        let status = watch::Sender::new(SchedulerStatus {
            // None that could be dialled.
            address: String::new(),
            connected: false,
            reason: "there is none".to_owned(),
            algorithms: Algorithms::new(["spread".to_owned(), "binpack".to_owned()], "spread"),
        });
        let contacts = Contacts::new();
        contacts.opened(node_id(0), Arc::new(Outbox::new(SessionId(Uuid::from_u128(1)))), None);
        let logs = LogRelay::default();
        let log_id = LOG_ID.parse().expect("it is an id");
        if let Some(mut reading) = logs.begin(log_id) {
            // The reading itself keeps the relay, and with it the end that its worker would take: nothing else ends it.
            let stop = shutdown.clone();
            tokio::spawn(async move { stop.or_stop(async { while reading.messages.recv().await.is_some() {} }).await });
        }
        let api = Api {
            writer: handle,
            contacts,
            logs,
            cluster: ClusterFacts {
                name: "fuzz".to_owned(),
                cluster_id: ClusterId(Uuid::from_u128(2)),
                heartbeat_period: Duration::from_secs(1),
                lease_duration: Duration::from_secs(10),
                limits: Limits { max_tasks: 1000, max_spec_bytes: 1 << 20 },
                scheduler: status.subscribe(),
            },
            scheduler: SchedulerClient::new(status.subscribe(), world.dialer.clone()),
            world,
            shutdown,
            settled: watch::Sender::new(true).subscribe(),
            readiness,
        };
        let services = server(&api).in_process();
        let first = api.writer.state();
        Self { services, api, first }
    }
}

fn kept_events() -> KeptEvents {
    KeptEvents::up_to(100)
}

pub(crate) fn now() -> Timestamp {
    Timestamp::from_second(NOW_SECONDS).unwrap_or_default()
}

pub(crate) fn node_id(number: usize) -> NodeId {
    NODES[number].parse().expect("it is an id")
}

pub(super) fn task_id(number: usize) -> TaskId {
    TASKS[number].parse().expect("it is an id")
}

pub(crate) fn registration(number: usize) -> Registration {
    let amounts = Resources { cpu_millis: 4_000, memory_bytes: 1 << 30, disk_bytes: 1 << 30 };
    let description = NodeDescription {
        name: format!("node-{number}"),
        address: "10.0.0.1".to_owned(),
        os: "linux".to_owned(),
        arch: "x86_64".to_owned(),
        labels: BTreeMap::from([("disk".to_owned(), "ssd".to_owned())]),
        allocatable: amounts,
        capacity: amounts,
        runtimes: BTreeSet::from([RuntimeKind::Docker, RuntimeKind::Process]),
        port_range: Some(PortRange::DEFAULT),
        worker_version: "0.1.0".to_owned(),
    };
    Registration {
        node_id: node_id(number),
        registration_number: 1,
        worker_run: None,
        draining: false,
        takes_spec_numbers: true,
        description,
        runtime_problems: BTreeMap::new(),
        attempts: Vec::new(),
    }
}

/// Everything that happened before an input.
fn history() -> Batch {
    let mut draft = Draft::new(ClusterState::new(kept_events()), now());
    for number in 0..NODES.len() {
        register_node(&mut draft, registration(number), Duration::from_secs(10)).expect("a node joins");
    }
    let process = ProcessSpec { command: vec!["true".to_owned()], env: BTreeMap::new(), working_dir: String::new() };
    let spec = KeyedSpec::new(Arc::new(TaskSpec::new("web", RuntimeSpec::Process(process))));
    let task_ids = (0..TASKS.len()).map(task_id).collect();
    create_tasks(&mut draft, &[NewTasks { spec, task_ids, gang_id: None }], None, Limits::NONE)
        .expect("tasks are created");
    for (number, states) in [(0, &[TaskState::Running][..]), (1, &[TaskState::Running, TaskState::Failed])] {
        let key = AttemptKey { task_id: task_id(number), attempt: Attempt::FIRST };
        commit_placements(&mut draft, &[Placement { key, node_id: node_id(0) }]);
        for state in states {
            let status =
                AttemptStatus { state: *state, node_id: Some(node_id(0)), ..AttemptStatus::pending(key.attempt, "") };
            apply_reports(&mut draft, node_id(0), vec![(key.task_id, status)]);
        }
    }
    deploy(&mut draft);
    create_batch(&mut draft);
    for (kind, name) in [(ConfigKind::Config, "web.conf"), (ConfigKind::Secret, "db")] {
        let (name, content) = (ConfigName { kind, name: name.to_owned() }, FileContent::new(*b"swordfish"));
        put_config(&mut draft, NewConfig { name, content, labels: BTreeMap::new(), app: String::new() })
            .expect("a config is created");
    }
    let (state, mut batch) = draft.finish();
    let (node_id, bound_at, revision) = (node_id(0), now(), state.revision());
    let home = VolumeHome { name: "data".to_owned(), node_id, bound_at, revision };
    batch.volumes.push(VolumeChange { before: None, after: Some(Arc::new(home)) });
    batch
}

/// A job of which a run goes on.
fn create_batch(draft: &mut Draft) {
    let process = ProcessSpec { command: vec!["true".to_owned()], env: BTreeMap::new(), working_dir: String::new() };
    let task = Arc::new(TaskSpec::new("batch", RuntimeSpec::Process(process)));
    let spec = JobSpec {
        labels: BTreeMap::new(),
        task: Arc::clone(&task),
        completions: 3,
        parallelism: 2,
        arguments: [].into(),
        max_retries: 1,
        max_failed_indexes: 0,
        deadline: None,
        time_to_live: None,
        schedule: None,
        kept_succeeded: 1,
        kept_failed: 1,
        app: String::new(),
        start_after: Vec::new(),
    };
    let wanted = WantedJob { spec, task: KeyedSpec::new(task) };
    let job_id = JobId(Uuid::from_u128(9));
    let new = NewJob { job_id, name: "batch".to_owned(), wanted, request: None };
    create_job(draft, new, Limits::NONE).expect("a job is created");
    let mut ids = (1_000..).map(|number| TaskId(Uuid::from_u128(number)));
    reconcile_job(draft, job_id, &mut ids, Limits::NONE);
}

/// Three deployments: an update of one waits for its canaries, another's is paused, the third is of an app.
fn deploy(draft: &mut Draft) {
    let wanted = |command: &str| {
        let process =
            ProcessSpec { command: vec![command.to_owned()], env: BTreeMap::new(), working_dir: String::new() };
        let task = Arc::new(TaskSpec::new("web", RuntimeSpec::Process(process)));
        let spec = DeploymentSpec {
            labels: BTreeMap::new(),
            mode: DeploymentMode::Replicated { replicas: 2 },
            task: Arc::clone(&task),
            update: UpdatePolicy { canaries: 1, ..UpdatePolicy::default() },
            rollback: None,
            kept_versions: 3,
            app: String::new(),
            start_after: Vec::new(),
        };
        Wanted { spec, task: KeyedSpec::new(task), author: "me".to_owned() }
    };
    for (number, name) in (1..).zip(["web", "paused", "there_web"]) {
        let deployment_id = DeploymentId(Uuid::from_u128(number));
        let mut first = wanted("true");
        if let Some((app, _)) = name.split_once('_') {
            app.clone_into(&mut first.spec.app);
        }
        let new = NewDeployment { deployment_id, name: name.to_owned(), wanted: first, request: None };
        create_deployment(draft, new, Limits::NONE).expect("a deployment is created");
        let named = Named { deployment: name.to_owned(), etag: String::new() };
        if name == "there_web" {
            continue;
        }
        update_deployment(draft, &named, wanted("false"), Limits::NONE).expect("it is updated");
        if name == "paused" {
            pause_rollout(draft, &named).expect("it is paused");
        }
    }
}
