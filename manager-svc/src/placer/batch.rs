//! What is asked of the scheduler. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use davit_core::constraint::Constraint;
use davit_core::id::{AttemptKey, GangId};
use davit_core::placement::{PlacementRequest, Platform};
use davit_core::spec::TaskSpec;
use davit_core::task::Task;
use jiff::Timestamp;

use super::algorithms::Algorithms;
use super::work::{self, Budget};
use crate::state::{ClusterState, Waiting, recent_failures};

/// Tasks that one batch carries at most, unless a single gang has more.
pub(super) const MAX_TASKS_PER_BATCH: usize = 50_000;

/// Like tasks that wait for a node.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Group {
    /// What is asked for each of them.
    pub(super) request: PlacementRequest,
    /// Set if they are placed together or not at all.
    pub(super) gang_id: Option<GangId>,
    /// The tasks, longest waiting first.
    pub(super) keys: Vec<AttemptKey>,
}

/// What is to be done about tasks that wait.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Batch {
    /// To be placed.
    pub(super) groups: Vec<Group>,
    /// Not to be placed as they are, with what is to be said of it.
    pub(super) held: Vec<(AttemptKey, String)>,
}

/// What decides whether a group is asked for again.
type GroupKey = (PlacementRequest, Option<GangId>);

/// Tasks that wait, as one scheduler is asked for them.
#[derive(Debug, Default)]
pub(super) struct Queue {
    /// Nothing fitted these, and no node has changed since; with the reason.
    blocked: BTreeMap<GroupKey, Arc<str>>,
    /// All that waited was looked at in vain.
    idle: Option<Idle>,
}

/// Until when nothing is to be gathered, unless something changes.
#[derive(Debug)]
struct Idle {
    waiting: Waiting,
    marks_epoch: u64,
    next_due: Option<Timestamp>,
}

impl Queue {
    /// The group was not placed whole, for this reason: it is left out until something changes.
    pub(super) fn block(&mut self, group: &Group, reason: &str) {
        self.blocked.insert((group.request.clone(), group.gang_id), reason.into());
    }

    /// What did not fit may fit now.
    pub(super) fn unblock(&mut self) {
        self.blocked.clear();
        self.idle = None;
    }

    /// Groups the tasks that may be placed now, the most important first.
    pub(super) fn gather(
        &mut self,
        state: &ClusterState,
        now: Timestamp,
        algorithms: &Algorithms,
        budget: Budget,
    ) -> Batch {
        if self.idle.as_ref().is_some_and(|idle| idle.lasts(state, now)) {
            return Batch::default();
        }
        let batch = Gathering::new(&self.blocked, state, now, algorithms).run(budget);
        self.idle = batch.groups.is_empty().then(|| Idle {
            waiting: state.waiting(),
            marks_epoch: state.marks_epoch(),
            next_due: state.next_due(now),
        });
        batch
    }
}

impl Idle {
    fn lasts(&self, state: &ClusterState, now: Timestamp) -> bool {
        let due = self.next_due.is_some_and(|due| due <= now);
        !due && self.marks_epoch == state.marks_epoch() && state.waits_as(&self.waiting)
    }
}

/// What becomes of tasks that are all alike.
#[derive(Debug, Clone)]
enum Fate {
    /// It is not asked for, for this reason.
    Held(Arc<str>),
    Group(usize),
}

struct Gathering<'a> {
    blocked: &'a BTreeMap<GroupKey, Arc<str>>,
    state: &'a ClusterState,
    now: Timestamp,
    algorithms: &'a Algorithms,
    batch: Batch,
    count: usize,
    /// What the scheduler has to do for it.
    work: u64,
    fates: BTreeMap<GroupKey, Fate>,
    /// The fate of tasks that share a spec, as long as no task has failures of its own.
    by_spec: BTreeMap<*const TaskSpec, Fate>,
    gangs: BTreeSet<GangId>,
    /// What tasks demand of the nodes' nature.
    demands: BTreeSet<(Platform, Vec<Constraint>)>,
}

impl<'a> Gathering<'a> {
    fn new(
        blocked: &'a BTreeMap<GroupKey, Arc<str>>,
        state: &'a ClusterState,
        now: Timestamp,
        algorithms: &'a Algorithms,
    ) -> Self {
        let (fates, by_spec) = (BTreeMap::new(), BTreeMap::new());
        let (gangs, demands) = (BTreeSet::new(), BTreeSet::new());
        Self {
            blocked,
            state,
            now,
            algorithms,
            batch: Batch::default(),
            count: 0,
            work: 0,
            fates,
            by_spec,
            gangs,
            demands,
        }
    }

    fn run(mut self, budget: Budget) -> Batch {
        for task in self.state.placeable(self.now) {
            if self.count >= MAX_TASKS_PER_BATCH || budget.is_used_up_by(self.work) {
                break;
            }
            match task.gang_id {
                None => {
                    let fate = self.fate_of(task);
                    self.add(&fate, task);
                }
                Some(gang_id) => {
                    if self.gangs.insert(gang_id) && !self.add_gang(gang_id, task) {
                        break;
                    }
                }
            }
        }
        self.batch
    }

    /// Adds a gang whole. False when it is for the next batch.
    fn add_gang(&mut self, gang_id: GangId, first: &Arc<Task>) -> bool {
        let (state, now) = (self.state, self.now);
        let is_due = |task: &&Arc<Task>| task.next_attempt_at.is_none_or(|at| at <= now);
        let members: Vec<&Arc<Task>> = state.waiting_of_gang(gang_id).filter(is_due).collect();
        if self.count > 0 && self.count + members.len() > MAX_TASKS_PER_BATCH {
            return false;
        }
        let mut request = state.placement_request(first, now);
        request.preferences.recent_failures = recent_failures(members.iter().map(|task| &***task), now);
        // Its members would get the places of others one by one.
        request.may_preempt = false;
        let fate = self.fate(request, Some(gang_id));
        for task in members {
            self.add(&fate, task);
        }
        true
    }

    fn fate_of(&mut self, task: &Arc<Task>) -> Fate {
        let spec = Arc::as_ptr(&task.spec);
        let has_past = !task.past_attempts.is_empty();
        if let Some(fate) = self.by_spec.get(&spec).filter(|_| !has_past) {
            return fate.clone();
        }
        let fate = self.fate(self.state.placement_request(task, self.now), None);
        if !has_past {
            self.by_spec.insert(spec, fate.clone());
        }
        fate
    }

    fn fate(&mut self, mut request: PlacementRequest, gang_id: Option<GangId>) -> Fate {
        match self.algorithms.choose(&request.algorithm) {
            Ok(algorithm) => request.algorithm = algorithm.to_owned(),
            Err(problem) => return Fate::Held(problem.into()),
        }
        let key = (request, gang_id);
        if let Some(reason) = self.blocked.get(&key) {
            return Fate::Held(Arc::clone(reason));
        }
        if let Some(fate) = self.fates.get(&key) {
            return fate.clone();
        }
        let demand = (key.0.requirements.platform.clone(), key.0.requirements.constraints.clone());
        let is_new = self.demands.insert(demand);
        self.work += work::of_group(&key.0, is_new, self.state.node_count());
        let fate = Fate::Group(self.batch.groups.len());
        self.batch.groups.push(Group { request: key.0.clone(), gang_id, keys: Vec::new() });
        self.fates.insert(key, fate.clone());
        fate
    }

    fn add(&mut self, fate: &Fate, task: &Task) {
        match fate {
            Fate::Held(reason) if task.status.reason == **reason => {}
            Fate::Held(reason) => {
                if self.batch.held.len() < MAX_TASKS_PER_BATCH {
                    self.batch.held.push((task.key(), reason.to_string()));
                }
            }
            Fate::Group(index) => {
                if let Some(group) = self.batch.groups.get_mut(*index) {
                    group.keys.push(task.key());
                    self.count += 1;
                    self.work += work::OF_TASK;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
