//! The next version of the cluster, while it is being made.

use std::collections::BTreeMap;
use std::sync::Arc;

use davit_core::deployment::Deployment;
use davit_core::file::{Config, ConfigName, FileContent, FileDigest};
use davit_core::id::{DeploymentId, JobId, NodeId, Revision, TaskId};
use davit_core::job::{Job, JobSpec};
use davit_core::node::Node;
use davit_core::task::Task;
use davit_core::volume::VolumeHome;
use jiff::Timestamp;

use super::{ClusterState, Event, EventType, KeyedSpec, Object, RequestRecord, Totals, VolumeChange};

/// An object before and after a change; `None` where it did not or does not exist.
#[derive(Debug, Clone)]
pub enum Versions {
    /// A task.
    Task {
        /// As it was.
        before: Option<Arc<Task>>,
        /// As it is.
        after: Option<Arc<Task>>,
    },
    /// A node.
    Node {
        /// As it was.
        before: Option<Arc<Node>>,
        /// As it is.
        after: Option<Arc<Node>>,
    },
    /// A deployment.
    Deployment {
        /// As it was.
        before: Option<Arc<Deployment>>,
        /// As it is.
        after: Option<Arc<Deployment>>,
    },
    /// A job.
    Job {
        /// As it was.
        before: Option<Arc<Job>>,
        /// As it is.
        after: Option<Arc<Job>>,
    },
    /// A config or a secret.
    Config {
        /// As it was.
        before: Option<Arc<Config>>,
        /// As it is.
        after: Option<Arc<Config>>,
    },
}

/// One change of the cluster, with the event that tells of it.
#[derive(Debug, Clone)]
pub struct Change {
    /// What changed.
    pub versions: Versions,
    /// The event of this change; its revision is the change's.
    pub event: Arc<Event>,
}

/// Changes that are committed together.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    /// In order of revision, without a gap.
    pub changes: Vec<Change>,
    /// What versions of configs and secrets hold that is new, or (`None`) what none holds any more.
    pub contents: BTreeMap<FileDigest, Option<FileContent>>,
    /// Creates with a request id that these changes hold.
    pub requests: Vec<Arc<RequestRecord>>,
    /// How many requests are no longer kept: the oldest of those that are stored, and then of these.
    pub dropped_requests: u64,
    /// The last revision whose event is no longer kept, if it is another than before.
    pub compacted: Option<Revision>,
    /// What happened since the cluster began, up to these changes.
    pub totals: Totals,
    /// Volumes whose home is another after these changes, in order.
    pub volumes: Vec<VolumeChange>,
}

impl Batch {
    /// Whether there is nothing to commit.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let keeps_all = self.dropped_requests == 0 && self.compacted.is_none();
        keeps_all && self.changes.is_empty() && self.requests.is_empty() && self.volumes.is_empty()
    }
}

/// The next version of the cluster. Commands change it one after the other; it replaces the current version once its
/// changes are durable, or is forgotten.
#[derive(Debug)]
pub struct Draft {
    state: ClusterState,
    batch: Batch,
    now: Timestamp,
    /// What the event log had compacted at first.
    compacted: Revision,
}

impl Draft {
    /// A draft without a change.
    #[must_use]
    pub fn new(state: ClusterState, now: Timestamp) -> Self {
        let compacted = state.events.compacted();
        Self { state, batch: Batch::default(), now, compacted }
    }

    /// The cluster with all changes so far.
    #[must_use]
    pub fn state(&self) -> &ClusterState {
        &self.state
    }

    /// The time that stamps these changes.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// The new version and what is to be committed for it.
    #[must_use]
    pub fn finish(mut self) -> (ClusterState, Batch) {
        // Once for the whole batch: who refers to a mark may have ended for a moment only.
        self.state.drop_unmentioned_marks();
        self.batch.compacted = Some(self.state.events.compacted()).filter(|compacted| *compacted != self.compacted);
        self.batch.dropped_requests = self.state.requests.take_dropped();
        self.batch.totals = self.state.totals;
        (self.state, self.batch)
    }

    /// Creates a task, which shares its spec with those that have an equal one; stamps its revision and time.
    pub fn create_task(&mut self, mut task: Task, spec: &KeyedSpec, message: impl Into<String>) -> Arc<Task> {
        task.spec = self.state.specs.shared(spec);
        self.state.use_spec(&task.spec, || spec.clone());
        self.put(task, EventType::TaskCreated, message.into())
    }

    /// Replaces a task, whose spec stays; stamps its revision and time.
    pub fn put_task(&mut self, task: Task, event_type: EventType, message: impl Into<String>) -> Arc<Task> {
        self.put(task, event_type, message.into())
    }

    /// Replaces a task that has got a node: its volumes that were nowhere are there from now on. One that has its own node anyway decides
    /// nothing for others.
    pub fn put_placed(&mut self, task: Task, message: impl Into<String>) -> Arc<Task> {
        let task = self.put(task, EventType::TaskStateChanged, message.into());
        let Some(node_id) = task.status.node_id.filter(|_| task.pinned_to().is_none()) else { return task };
        for name in task.spec.volumes() {
            if self.state.volume(name).is_none() {
                let (bound_at, revision) = (self.now, self.state.revision);
                self.put_volume(name, Some(VolumeHome { name: name.to_owned(), node_id, bound_at, revision }));
            }
        }
        task
    }

    /// Forgets where a volume is: the next task that mounts it decides that anew.
    pub fn forget_volume(&mut self, name: &str) {
        if self.state.volume(name).is_some() {
            self.put_volume(name, None);
        }
    }

    fn put_volume(&mut self, name: &str, home: Option<VolumeHome>) {
        let change = self.state.put_volume(name, home.map(Arc::new));
        self.batch.volumes.push(change);
    }

    /// Gives a task another spec, which changes nothing of what runs.
    pub fn put_spec(&mut self, task: &Arc<Task>, spec: &KeyedSpec, message: impl Into<String>) -> Arc<Task> {
        let spec_before = Arc::clone(&task.spec);
        let spec_after = self.state.specs.shared(spec);
        self.state.use_spec(&spec_after, || spec.clone());
        let (revision, updated_at) = (self.next_revision(), self.now);
        let next = Arc::new(Task { spec: spec_after, revision, updated_at, ..Task::clone(task) });
        // What follows from its spec is everywhere: as if it went and came anew.
        self.state.reindex(Some(task), None);
        self.state.tasks.insert(task.task_id, Arc::clone(&next));
        self.state.reindex(None, Some(&next));
        self.state.release_spec(&spec_before, task.revision);
        let versions = Versions::Task { before: Some(Arc::clone(task)), after: Some(Arc::clone(&next)) };
        self.record(versions, EventType::TaskUpdated, message.into(), Object::Task(Arc::clone(&next)));
        next
    }

    /// As [`Self::put_task`], of a task whose attempt has ended and is followed by another: the task itself has not ended.
    pub fn put_ended_attempt(&mut self, task: Task, message: impl Into<String>) -> Arc<Task> {
        let totals = self.state.totals;
        let put = self.put(task, EventType::TaskStateChanged, message.into());
        self.state.totals = totals;
        put
    }

    fn put(&mut self, mut task: Task, event_type: EventType, message: String) -> Arc<Task> {
        task.revision = self.next_revision();
        task.updated_at = self.now;
        let task = Arc::new(task);
        let before = self.state.tasks.insert(task.task_id, Arc::clone(&task));
        self.state.reindex(before.as_deref(), Some(&task));
        self.state.totals.count(before.as_deref(), &task);
        let versions = Versions::Task { before, after: Some(Arc::clone(&task)) };
        self.record(versions, event_type, message, Object::Task(Arc::clone(&task)));
        task
    }

    /// Deletes a task.
    pub fn remove_task(&mut self, task_id: TaskId, message: impl Into<String>) {
        let Some(before) = self.state.tasks.remove(&task_id) else { return };
        self.next_revision();
        self.state.release_spec(&before.spec, self.state.revision);
        self.state.reindex(Some(&before), None);
        let versions = Versions::Task { before: Some(Arc::clone(&before)), after: None };
        self.record(versions, EventType::TaskDeleted, message.into(), Object::Task(before));
    }

    /// Creates or replaces a node; stamps its revision and time.
    pub fn put_node(&mut self, mut node: Node, event_type: EventType, message: impl Into<String>) -> Arc<Node> {
        node.revision = self.next_revision();
        node.updated_at = self.now;
        let node = Arc::new(node);
        let before = self.state.nodes.insert(node.node_id, Arc::clone(&node));
        if let Some(before) = &before {
            self.forget_name(before);
        }
        self.state.node_names.insert(node.description.name.clone(), node.node_id);
        self.state.reindex_node(before.as_deref(), Some(&node));
        let versions = Versions::Node { before, after: Some(Arc::clone(&node)) };
        self.record(versions, event_type, message.into(), Object::Node(Arc::clone(&node)));
        node
    }

    /// Removes a node. Its tasks must have been lost before; claims on it end by themselves. Volumes that were there are nowhere.
    pub fn remove_node(&mut self, node_id: NodeId, message: impl Into<String>) {
        let Some(before) = self.state.nodes.remove(&node_id) else { return };
        let there = self.state.volumes_after("").filter(|home| home.node_id == node_id);
        for name in there.map(|home| home.name.clone()).collect::<Vec<_>>() {
            self.put_volume(&name, None);
        }
        self.next_revision();
        self.forget_name(&before);
        self.state.reindex_node(Some(&before), None);
        let versions = Versions::Node { before: Some(Arc::clone(&before)), after: None };
        self.record(versions, EventType::NodeRemoved, message.into(), Object::Node(before));
    }

    /// Creates or replaces a deployment; stamps its revision and time. `spec`: that of its newest version's task.
    pub fn put_deployment(
        &mut self,
        mut deployment: Deployment,
        spec: &KeyedSpec,
        event_type: EventType,
        message: impl Into<String>,
    ) -> Arc<Deployment> {
        let shared = self.state.specs.shared(spec);
        if let Some(newest) = deployment.versions.last_mut()
            && !Arc::ptr_eq(&newest.spec.task, &shared)
        {
            Arc::make_mut(newest).spec.task = shared;
        }
        deployment.revision = self.next_revision();
        deployment.updated_at = self.now;
        let deployment = Arc::new(deployment);
        let before = self.state.deployment(deployment.deployment_id).cloned();
        for used in deployment.task_specs() {
            self.state.use_spec(used, || spec.clone());
        }
        if let Some(before) = &before {
            self.release_specs(before);
        }
        self.state.reindex_deployment(before.as_ref(), Some(&deployment));
        let versions = Versions::Deployment { before, after: Some(Arc::clone(&deployment)) };
        self.record(versions, event_type, message.into(), Object::Deployment(Arc::clone(&deployment)));
        deployment
    }

    /// Removes a deployment, of which no task is left.
    pub fn remove_deployment(&mut self, deployment_id: DeploymentId, message: impl Into<String>) {
        let Some(before) = self.state.deployment(deployment_id).cloned() else { return };
        let revision = self.next_revision();
        for spec in before.task_specs() {
            self.state.release_spec(spec, revision);
        }
        self.state.reindex_deployment(Some(&before), None);
        let versions = Versions::Deployment { before: Some(Arc::clone(&before)), after: None };
        self.record(versions, EventType::DeploymentDeleted, message.into(), Object::Deployment(before));
    }

    /// Creates or replaces a config or a secret; stamps its revision and time. `content`: what a new version of it holds.
    pub fn put_config(
        &mut self,
        mut config: Config,
        content: Option<&FileContent>,
        event_type: EventType,
        message: impl Into<String>,
    ) -> Arc<Config> {
        config.revision = self.next_revision();
        config.updated_at = self.now;
        let config = Arc::new(config);
        for version in &config.versions {
            let content = content.filter(|content| content.digest() == version.digest);
            if self.state.files.hold(version.digest, content) {
                self.note_content(version.digest, content.cloned());
            }
        }
        let before = self.state.files.set(&config.name, Some(Arc::clone(&config)));
        self.release_contents(before.as_deref());
        let versions = Versions::Config { before, after: Some(Arc::clone(&config)) };
        self.record(versions, event_type, message.into(), Object::Config(Arc::clone(&config)));
        config
    }

    /// Removes a config or a secret.
    pub fn remove_config(&mut self, name: &ConfigName, message: impl Into<String>) {
        let Some(before) = self.state.files.set(name, None) else { return };
        self.next_revision();
        self.release_contents(Some(&before));
        let versions = Versions::Config { before: Some(Arc::clone(&before)), after: None };
        self.record(versions, EventType::ConfigDeleted, message.into(), Object::Config(before));
    }

    fn release_contents(&mut self, before: Option<&Config>) {
        for version in before.into_iter().flat_map(|before| &before.versions) {
            if self.state.files.release(version.digest) {
                self.note_content(version.digest, None);
            }
        }
    }

    /// Notes what is to be stored or removed. What was the contrary before in this batch is as it is stored.
    fn note_content(&mut self, digest: FileDigest, content: Option<FileContent>) {
        if self.batch.contents.remove(&digest).is_none() {
            self.batch.contents.insert(digest, content);
        }
    }

    /// A deployment was looked at; it is due again when something changes, or at this time.
    pub fn note_looked_at(&mut self, deployment_id: DeploymentId, next_look: Option<Timestamp>) {
        self.state.note_looked_at(deployment_id, next_look);
    }

    /// Whether a deployment lacks tasks because there are as many as there may be. Forgotten when the manager ends, and seen again.
    pub fn note_room(&mut self, deployment_id: DeploymentId, lacks_room: bool) {
        self.state.note_room(deployment_id, lacks_room);
    }

    /// Creates or replaces a job; stamps its revision and time. `spec`: that of the task that it wants.
    pub fn put_job(
        &mut self,
        mut job: Job,
        spec: &KeyedSpec,
        event_type: EventType,
        message: impl Into<String>,
    ) -> Arc<Job> {
        let shared = self.state.specs.shared(spec);
        if !Arc::ptr_eq(&job.spec.task, &shared) {
            let spec = Arc::new(JobSpec { task: shared, ..JobSpec::clone(&job.spec) });
            let of_runs = job.runs.iter_mut().filter_map(|run| run.spec.as_mut());
            of_runs.filter(|of_run| Arc::ptr_eq(of_run, &job.spec)).for_each(|of_run| *of_run = Arc::clone(&spec));
            job.spec = spec;
        }
        job.revision = self.next_revision();
        job.updated_at = self.now;
        let job = Arc::new(job);
        let before = self.state.job(job.job_id).cloned();
        for used in job.task_specs() {
            self.state.use_spec(used, || spec.clone());
        }
        for no_more in before.iter().flat_map(|before| before.task_specs()) {
            self.state.release_spec(no_more, before.as_ref().map_or(job.revision, |before| before.revision));
        }
        self.state.reindex_job(before.as_ref(), Some(&job));
        let versions = Versions::Job { before, after: Some(Arc::clone(&job)) };
        self.record(versions, event_type, message.into(), Object::Job(Arc::clone(&job)));
        job
    }

    /// Removes a job, of which no task is left.
    pub fn remove_job(&mut self, job_id: JobId, message: impl Into<String>) {
        let Some(before) = self.state.job(job_id).cloned() else { return };
        let revision = self.next_revision();
        for spec in before.task_specs() {
            self.state.release_spec(spec, revision);
        }
        self.state.reindex_job(Some(&before), None);
        let versions = Versions::Job { before: Some(Arc::clone(&before)), after: None };
        self.record(versions, EventType::JobDeleted, message.into(), Object::Job(before));
    }

    /// A job was looked at, with all that had ended by then; it is due again when something changes, or at this time.
    pub fn note_job_looked_at(&mut self, job_id: JobId, next_look: Option<Timestamp>) {
        self.state.note_job_looked_at(job_id, next_look);
    }

    fn release_specs(&mut self, before: &Deployment) {
        for spec in before.task_specs() {
            self.state.release_spec(spec, before.revision);
        }
    }

    /// Remembers what a create with a request id did.
    pub fn put_request(&mut self, record: RequestRecord) {
        let record = Arc::new(record);
        self.state.requests.push(Arc::clone(&record));
        self.batch.requests.push(record);
    }

    /// Drops events that happened before a time; at most `limit` of them.
    pub fn compact_events(&mut self, before: Timestamp, limit: usize) {
        self.state.drop_events_before(before, limit);
    }

    fn next_revision(&mut self) -> Revision {
        self.state.revision = self.state.revision.next();
        self.state.revision
    }

    fn forget_name(&mut self, node: &Node) {
        if self.state.node_names.get(&node.description.name) == Some(&node.node_id) {
            self.state.node_names.remove(&node.description.name);
        }
    }

    fn record(&mut self, versions: Versions, event_type: EventType, message: String, object: Object) {
        let event = Arc::new(Event { revision: self.state.revision, time: self.now, event_type, message, object });
        self.state.push_event(Arc::clone(&event));
        self.batch.changes.push(Change { versions, event });
    }
}
