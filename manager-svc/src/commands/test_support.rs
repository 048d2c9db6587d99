//! Builders of valid specs, nodes and reports, to bend one thing of, and a cluster to run commands on.

pub(crate) mod random;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use davit_core::deployment::{DeploymentMode, DeploymentSpec, UpdatePolicy};
use davit_core::file::{Config, ConfigKind, ConfigName, FileContent, FileDigest, FileGrant};
use davit_core::id::{Attempt, AttemptKey, DeploymentId, GangId, JobId, NodeId, Revision, TaskId};
use davit_core::job::JobSpec;
use davit_core::node::NodeDescription;
use davit_core::placement::{PortRange, RuntimeKind};
use davit_core::resources::{ResourceRequirements, Resources};
use davit_core::restart::{RestartMode, RestartPolicy};
use davit_core::spec::{
    Colocation, ContainerSpec, Mount, MountSource, PlacementPolicy, Port, PortProtocol, RuntimeSpec, TaskSpec,
};
use davit_core::state::TaskState;
use davit_core::task::{AttemptStatus, Task};
use jiff::Timestamp;
use uuid::Uuid;

use super::{
    Error, Leases, Limits, Named, NamedJob, NewConfig, NewDeployment, NewJob, NewTasks, Placement, PlacementReport,
    Registration, ReportCounts, Wanted, WantedJob, apply_reports, commit_placements, create_deployment, create_job,
    create_tasks, lose_tasks_of_down_nodes, put_config, reconcile_deployment, reconcile_job, register_node,
    update_deployment, update_job,
};
use crate::state::{Batch, ClusterState, Draft, KeptEvents, KeyedSpec, REVISION_JUMP};
use crate::store::Snapshot;

/// How long leases of nodes last.
pub(crate) const LEASE: Duration = Duration::from_secs(10);

/// How many of [`spec`] fit on one of [`registration`]'s nodes.
pub(crate) const TASKS_PER_NODE: u64 = 3;

pub(crate) fn task_id(number: u64) -> TaskId {
    TaskId(Uuid::from_u64_pair(2, number))
}

pub(crate) fn node_id(number: u64) -> NodeId {
    NodeId(Uuid::from_u64_pair(1, number))
}

/// A container that takes a third of a node's cpu, never restarted.
pub(crate) fn spec() -> TaskSpec {
    TaskSpec {
        resources: ResourceRequirements {
            reservation: Resources { cpu_millis: 100, memory_bytes: 10, disk_bytes: 1 },
            limit: Resources::ZERO,
        },
        ..TaskSpec::new("web", RuntimeSpec::Container(ContainerSpec::new("busybox:1.36".parse().unwrap())))
    }
}

/// A spec as tasks are created of it.
pub(crate) fn keyed(spec: TaskSpec) -> KeyedSpec {
    KeyedSpec::new(Arc::new(spec))
}

/// [`spec`] with a restart mode.
pub(crate) fn restarting(mode: RestartMode) -> TaskSpec {
    TaskSpec { restart: RestartPolicy { mode, ..RestartPolicy::default() }, ..spec() }
}

/// [`spec`] that publishes a fixed port.
pub(crate) fn publishing(host_port: u16) -> TaskSpec {
    let mut spec = spec();
    if let RuntimeSpec::Container(container) = &mut spec.runtime {
        container.ports = vec![Port { container_port: 80, protocol: PortProtocol::Tcp, host_port: Some(host_port) }];
    }
    spec
}

/// [`spec`] that publishes so many ports of which the node chooses the numbers.
pub(crate) fn publishing_any(count: u16) -> TaskSpec {
    let mut spec = spec();
    if let RuntimeSpec::Container(container) = &mut spec.runtime {
        let protocols = [PortProtocol::Tcp, PortProtocol::Udp].into_iter().cycle();
        let port = |(container_port, protocol)| Port { container_port, protocol, host_port: None };
        container.ports = (80..80 + count).zip(protocols).map(port).collect();
    }
    spec
}

/// [`spec`] that is given a config, of which it names no version yet.
pub(crate) fn with_file(name: &str) -> TaskSpec {
    let mut spec = spec();
    if let RuntimeSpec::Container(container) = &mut spec.runtime {
        let (config, target) = (config_name(name), format!("/{name}"));
        container.files = vec![FileGrant { config, digest: None, target, uid: 0, gid: 0, mode: 0o444 }];
    }
    spec
}

/// The config of a name.
pub(crate) fn config_name(name: &str) -> ConfigName {
    ConfigName { kind: ConfigKind::Config, name: name.to_owned() }
}

/// [`spec`] with a label.
pub(crate) fn labelled(key: &str, value: &str) -> TaskSpec {
    TaskSpec { labels: BTreeMap::from([(key.to_owned(), value.to_owned())]), ..spec() }
}

/// [`spec`] with a placement policy.
pub(crate) fn placed_by(placement: PlacementPolicy) -> TaskSpec {
    TaskSpec { placement, ..spec() }
}

/// [`spec`] that mounts these named volumes.
pub(crate) fn mounting(volumes: &[&str]) -> TaskSpec {
    let mut spec = spec();
    if let RuntimeSpec::Container(container) = &mut spec.runtime {
        let mount = |name: &&str| Mount {
            source: MountSource::Volume((*name).to_owned()),
            target: format!("/{name}"),
            read_only: false,
        };
        container.mounts = volumes.iter().map(mount).collect();
    }
    spec
}

/// [`spec`] of a group that has these named volumes, and asks for so much cpu in all.
pub(crate) fn grouped(group: &str, cpu_millis: u64, volumes: &[&str]) -> TaskSpec {
    let colocation = Colocation {
        group: group.to_owned(),
        reservation: Resources { cpu_millis, ..Resources::ZERO },
        volumes: volumes.iter().map(|&name| name.to_owned()).collect(),
    };
    placed_by(PlacementPolicy { colocation: Some(Box::new(colocation)), ..PlacementPolicy::default() })
}

/// [`spec`] with a priority; one above 0 may preempt.
pub(crate) fn of_priority(priority: i32) -> TaskSpec {
    placed_by(PlacementPolicy { priority, may_preempt: priority > 0, ..PlacementPolicy::default() })
}

/// A worker `node-N` that holds nothing and has room for [`TASKS_PER_NODE`].
pub(crate) fn registration(number: u64) -> Registration {
    let allocatable = Resources { cpu_millis: 100 * TASKS_PER_NODE, memory_bytes: 1000, disk_bytes: 1000 };
    Registration {
        node_id: node_id(number),
        registration_number: 0,
        worker_run: None,
        draining: false,
        takes_spec_numbers: true,
        description: NodeDescription {
            name: format!("node-{number}"),
            address: "127.0.0.1".to_owned(),
            os: "linux".to_owned(),
            arch: "x86_64".to_owned(),
            labels: BTreeMap::new(),
            allocatable,
            capacity: allocatable,
            runtimes: BTreeSet::from([RuntimeKind::Docker]),
            port_range: PortRange::new(20_000, 20_003).ok(),
            worker_version: "0.1.0".to_owned(),
        },
        runtime_problems: BTreeMap::new(),
        attempts: Vec::new(),
    }
}

/// A deployment as it is.
pub(crate) fn named(name: &str) -> Named {
    Named { deployment: name.to_owned(), etag: String::new() }
}

/// A job as it is.
pub(crate) fn named_job(name: &str) -> NamedJob {
    NamedJob { job: name.to_owned(), etag: String::new() }
}

/// A job without a schedule that has so many indexes, all at once.
pub(crate) fn job_spec(task: TaskSpec, completions: u32) -> JobSpec {
    JobSpec {
        labels: BTreeMap::new(),
        task: Arc::new(task),
        completions,
        parallelism: completions,
        arguments: [].into(),
        max_retries: 0,
        max_failed_indexes: 0,
        deadline: None,
        time_to_live: None,
        schedule: None,
        kept_succeeded: 3,
        kept_failed: 3,
        app: String::new(),
        start_after: Vec::new(),
    }
}

/// What a worker reports of an attempt.
pub(crate) fn status(attempt: Attempt, state: TaskState) -> AttemptStatus {
    AttemptStatus { state, ..AttemptStatus::pending(attempt, "") }
}

/// A cluster to run commands on. Every command must keep revisions contiguous, with one event each.
#[derive(Debug, Clone)]
pub(crate) struct Cluster {
    pub(crate) state: ClusterState,
    pub(crate) now: Timestamp,
    pub(crate) created: u64,
    pub(crate) last_batch: Arc<Batch>,
}

impl Cluster {
    /// With READY nodes 1 to `nodes`.
    pub(crate) fn new(nodes: u64) -> Self {
        let now = Timestamp::from_second(1_000_000).unwrap();
        let mut cluster = Self {
            state: ClusterState::new(KeptEvents::up_to(10_000)),
            now,
            created: 0,
            last_batch: Arc::new(Batch::default()),
        };
        for number in 1..=nodes {
            cluster.run(|draft| register_node(draft, registration(number), LEASE)).unwrap();
        }
        cluster
    }

    /// All of it as a store holds it, but for what happened.
    pub(crate) fn snapshot(&self) -> Snapshot {
        Snapshot {
            revision: self.state.revision(),
            tasks: self.state.tasks().cloned().collect(),
            nodes: self.state.nodes().cloned().collect(),
            deployments: self.state.deployments().cloned().collect(),
            jobs: self.state.jobs().cloned().collect(),
            configs: self.state.configs().cloned().collect(),
            contents: self.state.contents().cloned().collect(),
            volumes: self.state.volumes_after("").cloned().collect(),
            totals: self.state.totals(),
            ..Snapshot::default()
        }
    }

    /// As if all of it came from a backup.
    pub(crate) fn restore(&mut self) {
        let revision = Revision(self.state.revision().0 + REVISION_JUMP);
        let snapshot = Snapshot { revision, ..self.snapshot() };
        self.state = ClusterState::from_snapshot(snapshot, KeptEvents::up_to(10_000));
    }

    pub(crate) fn run<T>(&mut self, command: impl FnOnce(&mut Draft) -> T) -> T {
        let mut draft = Draft::new(self.state.clone(), self.now);
        let outcome = command(&mut draft);
        let (state, batch) = draft.finish();
        let mut revision = self.state.revision();
        for change in &batch.changes {
            revision = revision.next();
            assert_eq!(change.event.revision, revision, "revisions have a gap");
        }
        assert_eq!(state.revision(), revision, "a revision without an event");
        self.state = state;
        self.last_batch = Arc::new(batch);
        outcome
    }

    /// Has a config hold this.
    pub(crate) fn put_config(&mut self, name: &str, content: &[u8]) -> Result<Arc<Config>, Error> {
        let (name, content) = (config_name(name), FileContent::new(content));
        let new = NewConfig { name, content, labels: BTreeMap::new(), app: String::new() };
        self.run(|draft| put_config(draft, new))
    }

    /// A spec that names the newest versions of its configs, or some other where there are none.
    pub(crate) fn resolved(&self, mut spec: TaskSpec) -> TaskSpec {
        if let RuntimeSpec::Container(container) = &mut spec.runtime {
            for grant in &mut container.files {
                let newest = self.state.config(&grant.config).and_then(|config| config.newest());
                grant.digest = Some(newest.map_or(FileDigest::of(b"of none"), |newest| newest.digest));
            }
        }
        spec
    }

    pub(crate) fn advance(&mut self, by: Duration) {
        self.now += by;
    }

    pub(crate) fn create(&mut self, spec: TaskSpec) -> TaskId {
        self.create_all(spec, 1, None)[0]
    }

    /// Creates so many tasks that are placed together or not at all.
    pub(crate) fn create_gang(&mut self, spec: TaskSpec, count: u64) -> Vec<TaskId> {
        let gang_id = GangId(Uuid::from_u64_pair(3, self.created));
        self.create_all(spec, count, Some(gang_id))
    }

    fn create_all(&mut self, spec: TaskSpec, count: u64, gang_id: Option<GangId>) -> Vec<TaskId> {
        let task_ids: Vec<TaskId> = (1..=count).map(|nth| task_id(self.created + nth)).collect();
        self.created += count;
        let tasks = NewTasks { spec: keyed(spec), task_ids: task_ids.clone(), gang_id };
        self.run(|draft| create_tasks(draft, &[tasks], None, Limits::NONE)).unwrap();
        task_ids
    }

    /// Creates a deployment, or has it want something else. False when it was refused.
    pub(crate) fn deploy(&mut self, name: &str, task: TaskSpec, mode: DeploymentMode) -> bool {
        let spec = DeploymentSpec {
            labels: BTreeMap::new(),
            mode,
            task: Arc::new(task.clone()),
            update: UpdatePolicy::default(),
            rollback: None,
            kept_versions: 3,
            app: String::new(),
            start_after: Vec::new(),
        };
        let wanted = Wanted { spec, task: keyed(task), author: String::new() };
        if self.state.deployment_by_name(name).is_some() {
            return self.run(|draft| update_deployment(draft, &named(name), wanted, Limits::NONE)).is_ok();
        }
        let deployment_id = DeploymentId(Uuid::from_u64_pair(4, self.state.revision().0));
        let new = NewDeployment { deployment_id, name: name.to_owned(), wanted, request: None };
        self.run(|draft| create_deployment(draft, new, Limits::NONE)).is_ok()
    }

    /// Does once what is due for deployments.
    pub(crate) fn reconcile_deployments(&mut self) {
        let due = self.state.deployments_to_look_at(self.now);
        let mut numbers = self.created + 1..;
        self.run(|draft| {
            let mut ids = numbers.by_ref().map(task_id);
            due.iter().for_each(|id| reconcile_deployment(draft, *id, &mut ids, Limits::NONE));
        });
        self.created = numbers.start - 1;
    }

    /// Creates a job, or has it want something else. False when it was refused.
    pub(crate) fn make_job(&mut self, name: &str, spec: JobSpec) -> bool {
        let task = KeyedSpec::new(Arc::clone(&spec.task));
        let wanted = WantedJob { spec, task };
        if self.state.job_by_name(name).is_some() {
            return self.run(|draft| update_job(draft, &named_job(name), wanted, Limits::NONE)).is_ok();
        }
        let job_id = JobId(Uuid::from_u64_pair(5, self.state.revision().0));
        let new = NewJob { job_id, name: name.to_owned(), wanted, request: None };
        self.run(|draft| create_job(draft, new, Limits::NONE)).is_ok()
    }

    /// Does once what is due for jobs. Answers whether anything was.
    pub(crate) fn reconcile_jobs(&mut self) -> bool {
        let due = self.state.jobs_to_look_at(self.now);
        let mut numbers = self.created + 1..;
        self.run(|draft| {
            let mut ids = numbers.by_ref().map(task_id);
            due.iter().for_each(|id| reconcile_job(draft, *id, &mut ids, Limits::NONE));
        });
        self.created = numbers.start - 1;
        !self.last_batch.is_empty()
    }

    pub(crate) fn task(&self, task_id: TaskId) -> &Task {
        self.state.task(task_id).unwrap()
    }

    pub(crate) fn key(&self, task_id: TaskId) -> AttemptKey {
        self.task(task_id).key()
    }

    pub(crate) fn task_state(&self, task_id: TaskId) -> (u32, TaskState) {
        let status = &self.task(task_id).status;
        (status.attempt.0, status.state)
    }

    /// Proposes to place a task's current attempt.
    pub(crate) fn place(&mut self, task_id: TaskId, node: u64) -> PlacementReport {
        let placement = Placement { key: self.key(task_id), node_id: node_id(node) };
        self.run(|draft| commit_placements(draft, &[placement]))
    }

    /// Lets a node report a state of a task's current attempt.
    pub(crate) fn report(&mut self, node: u64, task_id: TaskId, state: TaskState) -> ReportCounts {
        let status = status(self.task(task_id).status.attempt, state);
        self.report_status(node, task_id, status)
    }

    pub(crate) fn report_status(&mut self, node: u64, task_id: TaskId, status: AttemptStatus) -> ReportCounts {
        self.run(|draft| apply_reports(draft, node_id(node), vec![(task_id, status)]))
    }

    /// Ends what is lost with its node, long after any lease.
    pub(crate) fn lose_tasks_of_down_nodes(&mut self) {
        self.lose_tasks_after(Duration::MAX);
    }

    /// The same, when every node was heard for the last time so long ago.
    pub(crate) fn lose_tasks_after(&mut self, silence: Duration) {
        let silences = self.state.nodes().map(|node| (node.node_id, silence)).collect();
        let leases = Leases { duration: LEASE, silences };
        self.run(|draft| lose_tasks_of_down_nodes(draft, &leases));
    }

    /// Creates a task and brings it to RUNNING on a node.
    pub(crate) fn running(&mut self, spec: TaskSpec, node: u64) -> TaskId {
        let task_id = self.create(spec);
        assert_eq!(self.place(task_id, node).committed, 1);
        assert_eq!(self.report(node, task_id, TaskState::Running).applied, 1);
        task_id
    }
}
