//! The cluster as the manager knows it: one value, cheap to clone, that readers look at while the writer makes the next.
//!
//! All maps are persistent (they share structure between versions), so a reader's snapshot costs nothing and a batch that
//! could not be committed is undone by forgetting it. Only [`Draft`] changes a state.

mod agenda;
mod carriers;
mod deployments;
mod draft;
mod due;
mod event;
mod files;
mod fleet;
mod homes;
mod index;
mod jobs;
mod kept_events;
mod lines;
mod lists;
mod marks;
mod requests;
mod seen;
mod specs;
#[cfg(test)]
mod tests;
mod totals;
mod usage;
mod views;
mod visits;
mod waiting;

use std::collections::HashMap;
use std::sync::Arc;

use davit_core::id::{GangId, NodeId, Revision, TaskId};
use davit_core::node::{Node, NodeState};
use davit_core::resources::Resources;
use davit_core::spec::TaskSpec;
use davit_core::state::TaskState;
use davit_core::task::Task;
use imbl::{OrdMap, OrdSet};
use jiff::Timestamp;

use crate::store::Snapshot;

use self::carriers::Carriers;
use self::deployments::Deployments;
pub(crate) use self::deployments::is_ready;
pub use self::draft::{Batch, Change, Draft, Versions};
use self::due::Due;
pub(crate) use self::due::{LossWait, loss_wait};
pub use self::event::{Compacted, Event, EventLog, EventType, Object};
use self::files::Files;
use self::fleet::Fleet;
use self::homes::Homes;
pub use self::homes::VolumeChange;
use self::jobs::Jobs;
pub use self::kept_events::KeptEvents;
use self::lines::Lines;
pub(crate) use self::lines::{Line, Turn, Waiting, cause_hash, is_retried};
use self::marks::Mentions;
pub use self::requests::{RequestLog, RequestRecord};
pub(crate) use self::seen::NodesSeen;
pub use self::specs::{KeyedSpec, Specs};
pub use self::totals::Totals;
pub use self::usage::NodeUsage;
pub(crate) use self::usage::is_movable;
pub use self::views::LeftOut;
pub(crate) use self::views::recent_failures;
pub use self::visits::Visited;
use self::visits::Visits;

/// How much later a cluster begins that is restored from a backup. Enough for 30 years of changes at one a second since the backup.
pub const REVISION_JUMP: u64 = 1_000_000_000;

/// The cluster at one revision.
#[derive(Debug, Clone)]
pub struct ClusterState {
    revision: Revision,
    tasks: OrdMap<TaskId, Arc<Task>>,
    nodes: OrdMap<NodeId, Arc<Node>>,
    node_names: OrdMap<String, NodeId>,
    usage: OrdMap<NodeId, Arc<NodeUsage>>,
    /// What is reserved on all nodes together.
    reserved: Resources,
    /// Tasks that wait for a node.
    lines: Lines,
    /// Tasks of gangs that wait for nodes.
    gangs: OrdMap<GangId, OrdSet<TaskId>>,
    /// How many waiting tasks of each priority may preempt others.
    preempting: OrdMap<i32, u32>,
    /// Tasks for which room on a node is kept.
    claims: OrdSet<TaskId>,
    /// The nodes at a glance.
    fleet: Fleet,
    /// Marks that some unfinished task's placement refers to.
    mentions: Mentions,
    /// Where tasks are, by what they carry.
    carriers: Carriers,
    /// What time alone will make due.
    due: Due,
    /// Tasks that have ended, by the time of their last change.
    finished: OrdSet<(Timestamp, TaskId)>,
    /// Tasks that have ended, by the node on which their last attempt was.
    ended_on: OrdSet<(NodeId, TaskId)>,
    counts: [u64; TaskState::ALL.len()],
    totals: Totals,
    deployments: Deployments,
    jobs: Jobs,
    /// Where things are that keep tasks on one node.
    homes: Homes,
    /// Specs of all tasks, deployments and jobs, and those that only events keep.
    specs: Specs,
    files: Files,
    events: EventLog,
    requests: RequestLog,
    visits: Visits,
}

impl ClusterState {
    /// The empty cluster.
    #[must_use]
    pub fn new(kept_events: KeptEvents) -> Self {
        Self {
            revision: Revision::default(),
            tasks: OrdMap::new(),
            nodes: OrdMap::new(),
            node_names: OrdMap::new(),
            usage: OrdMap::new(),
            reserved: Resources::ZERO,
            lines: Lines::default(),
            gangs: OrdMap::new(),
            preempting: OrdMap::new(),
            claims: OrdSet::new(),
            fleet: Fleet::default(),
            mentions: Mentions::default(),
            carriers: Carriers::default(),
            due: Due::default(),
            finished: OrdSet::new(),
            ended_on: OrdSet::new(),
            counts: [0; TaskState::ALL.len()],
            totals: Totals::default(),
            deployments: Deployments::default(),
            jobs: Jobs::default(),
            homes: Homes::default(),
            specs: Specs::default(),
            files: Files::default(),
            events: EventLog::new(kept_events, Revision::default()),
            requests: RequestLog::default(),
            visits: Visits::default(),
        }
    }

    /// The cluster that a store holds; indexes are made anew.
    #[must_use]
    pub fn from_snapshot(snapshot: Snapshot, kept_events: KeptEvents) -> Self {
        let mut state = Self::new(kept_events);
        state.revision = snapshot.revision;
        state.totals = snapshot.totals;
        for node in snapshot.nodes {
            state.node_names.insert(node.description.name.clone(), node.node_id);
            state.reindex_node(None, Some(&node));
            state.nodes.insert(node.node_id, node);
        }
        for home in snapshot.volumes {
            state.put_volume(&home.name, Some(Arc::clone(&home)));
        }
        let known: HashMap<_, _> = snapshot.specs.into_iter().map(|known| (Arc::as_ptr(known.spec()), known)).collect();
        let keyed = |spec: &Arc<TaskSpec>| match known.get(&Arc::as_ptr(spec)) {
            Some(known) => known.clone(),
            None => KeyedSpec::new(Arc::clone(spec)),
        };
        for content in snapshot.contents {
            state.files.load_content(content);
        }
        for config in snapshot.configs {
            for version in &config.versions {
                state.files.hold(version.digest, None);
            }
            let name = config.name.clone();
            state.files.set(&name, Some(config));
        }
        for deployment in snapshot.deployments {
            for spec in deployment.task_specs() {
                state.use_spec(spec, || keyed(spec));
            }
            state.reindex_deployment(None, Some(&deployment));
        }
        for job in snapshot.jobs {
            for spec in job.task_specs() {
                state.use_spec(spec, || keyed(spec));
            }
            state.reindex_job(None, Some(&job));
        }
        for task in snapshot.tasks {
            state.use_spec(&task.spec, || keyed(&task.spec));
            state.reindex(None, Some(&task));
            state.tasks.insert(task.task_id, task);
        }
        state.files.look_at_all();
        // The newest first: it is the last one of a spec that keeps it.
        for event in snapshot.events.iter().rev() {
            for spec in event.task_specs() {
                state.specs.note_told(spec, event.revision, || keyed(spec));
            }
        }
        let before_events =
            snapshot.events.first().map_or(snapshot.revision.0, |first| first.revision.0.saturating_sub(1));
        state.events = EventLog::new(kept_events, Revision(before_events));
        for event in snapshot.events {
            state.events.push(event);
        }
        state.trim_events();
        for request in snapshot.requests {
            state.requests.push(request);
        }
        state
    }

    /// A task or a version of a deployment has a spec, and so refers to what that refers to.
    fn use_spec(&mut self, spec: &Arc<TaskSpec>, keyed: impl FnOnce() -> KeyedSpec) {
        if self.specs.add(spec, keyed) {
            self.files.spec_is_used(spec);
        }
    }

    /// The contrary of [`Self::use_spec`]. Events tell of the spec up to this one.
    fn release_spec(&mut self, spec: &Arc<TaskSpec>, told_until: Revision) {
        if self.specs.remove(spec, told_until) {
            self.files.spec_is_unused(spec);
        }
    }

    /// The revision of this version.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// One task.
    #[must_use]
    pub fn task(&self, task_id: TaskId) -> Option<&Arc<Task>> {
        self.tasks.get(&task_id)
    }

    /// How many tasks are in a state.
    #[must_use]
    pub fn task_count(&self, state: TaskState) -> u64 {
        TaskState::ALL.iter().position(|known| *known == state).map_or(0, |index| self.counts[index])
    }

    /// One node.
    #[must_use]
    pub fn node(&self, node_id: NodeId) -> Option<&Arc<Node>> {
        self.nodes.get(&node_id)
    }

    /// The node of this name.
    #[must_use]
    pub fn node_by_name(&self, name: &str) -> Option<&Arc<Node>> {
        self.node_names.get(name).and_then(|node_id| self.nodes.get(node_id))
    }

    /// The node of this id or name.
    #[must_use]
    pub fn find_node(&self, id_or_name: &str) -> Option<&Arc<Node>> {
        let by_id = id_or_name.parse().ok().and_then(|node_id| self.node(node_id));
        by_id.or_else(|| self.node_by_name(id_or_name))
    }

    /// How many nodes are in a state.
    #[must_use]
    pub fn node_count_in(&self, state: NodeState) -> u64 {
        self.fleet.count(state)
    }

    /// How many nodes there are.
    #[must_use]
    pub fn node_count(&self) -> usize {
        self.nodes.len()
    }

    /// What READY nodes offer together, and what is reserved of it.
    #[must_use]
    pub fn ready_resources(&self) -> (Resources, Resources) {
        let of_others = self.visits.of_nodes(self.fleet.not_ready()).filter_map(|node_id| self.usage.get(&node_id));
        let reserved = of_others.fold(self.reserved, |left, usage| left.saturating_sub(usage.reserved));
        (self.fleet.ready_allocatable(), reserved)
    }

    /// What is set aside on a node.
    #[must_use]
    pub fn usage(&self, node_id: NodeId) -> Arc<NodeUsage> {
        self.usage.get(&node_id).cloned().unwrap_or_default()
    }

    /// When the task ended that did so longest ago.
    #[must_use]
    pub fn longest_finished(&self) -> Option<Timestamp> {
        self.finished.get_min().map(|(ended_at, _)| *ended_at)
    }

    /// How many tasks have ended.
    #[must_use]
    pub fn finished_count(&self) -> usize {
        self.finished.len()
    }

    /// How much was looked at so far, of this and all other versions.
    #[must_use]
    pub fn visited(&self) -> Visited {
        self.visits.so_far()
    }

    /// Counts nodes that were visited elsewhere: one after the other, not because something of them changed.
    pub(crate) fn note_visited_nodes(&self, count: u64) {
        self.visits.note_nodes(count);
    }

    /// What happened since the cluster began.
    #[must_use]
    pub fn totals(&self) -> Totals {
        self.totals
    }

    /// Whether it may once have been restored from a backup, so that there was more than it knows of.
    #[must_use]
    pub fn may_be_restored(&self) -> bool {
        self.revision.0 >= REVISION_JUMP
    }

    /// The specs of all tasks, deployments and jobs.
    #[must_use]
    pub fn specs(&self) -> &Specs {
        &self.specs
    }

    /// The last events.
    #[must_use]
    pub fn events(&self) -> &EventLog {
        &self.events
    }

    /// The last creates that had a request id.
    #[must_use]
    pub fn requests(&self) -> &RequestLog {
        &self.requests
    }
}
