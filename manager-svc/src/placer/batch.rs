//! What is asked of the scheduler at once. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use davit_core::constraint::Constraint;
use davit_core::id::{AttemptKey, GangId};
use davit_core::placement::{PlacementRequest, Platform};
use davit_core::task::Task;
use jiff::Timestamp;

use super::algorithms::Algorithms;
use super::queue::{Held, Holds};
use super::work::{self, Budget};
use crate::state::{ClusterState, Line, Turn, is_retried, recent_failures};

/// Tasks that one batch carries at most, unless a single gang has more.
pub(super) const MAX_TASKS_PER_BATCH: usize = 50_000;
/// Of a line of tasks that were tried before, each of which is looked at, a batch carries no more: what comes after them waits until it
/// is known whether there is room for these.
const MAX_RETRIED_PER_LINE: usize = 100;

/// Like tasks that wait for a node.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Group {
    /// What is asked for each of them.
    pub(super) request: PlacementRequest,
    /// Set if they are placed together or not at all.
    pub(super) gang_id: Option<GangId>,
    /// Lines of which the first so many together are asked for: who that is matters only once there is a place.
    whole: Vec<Line>,
    counted: usize,
    /// Tasks that were looked at one by one, and their lines.
    listed: Vec<(Turn, AttemptKey)>,
    listed_lines: BTreeSet<Line>,
}

impl Group {
    /// One that asks for nobody yet.
    pub(super) fn new(request: PlacementRequest, gang_id: Option<GangId>) -> Self {
        let (whole, listed, listed_lines) = (Vec::new(), Vec::new(), BTreeSet::new());
        Self { request, gang_id, whole, counted: 0, listed, listed_lines }
    }

    /// How many it asks for.
    pub(super) fn count(&self) -> usize {
        self.counted + self.listed.len()
    }

    /// Its tasks, longest waiting first.
    pub(super) fn keys<'a>(&'a self, state: &'a ClusterState, now: Timestamp) -> impl Iterator<Item = AttemptKey> + 'a {
        let counted = state.in_turn(self.whole.iter().copied(), now).take(self.counted);
        let mut counted = counted.map(|task| (Turn::of(task), task.key())).peekable();
        let mut listed = self.listed.iter().copied().peekable();
        std::iter::from_fn(move || match (counted.peek(), listed.peek()) {
            (Some((one, _)), Some((other, _))) if other < one => listed.next(),
            (Some(_), _) => counted.next(),
            (None, _) => listed.next(),
        })
        .map(|(_, key)| key)
    }

    /// Where its tasks wait.
    pub(super) fn lines(&self) -> impl Iterator<Item = Line> {
        self.whole.iter().chain(&self.listed_lines).copied()
    }
}

/// What became of those whose turn it was.
pub(super) enum Next {
    /// They are asked for.
    Added,
    /// Their line is not asked for.
    Held(Held),
    /// They are for the next batch, and all after them.
    BatchIsFull,
}

/// One batch while it is being made.
pub(super) struct Gathering<'a> {
    state: &'a ClusterState,
    now: Timestamp,
    algorithms: &'a Algorithms,
    budget: Budget,
    groups: Vec<Group>,
    count: usize,
    /// What the scheduler has to do for it.
    work: u64,
    by_request: BTreeMap<(PlacementRequest, Option<GangId>), usize>,
    gangs: BTreeSet<GangId>,
    /// Whose turn it is in lines of which only some were added so far.
    again: BTreeSet<(Turn, Line)>,
    /// How many were added of such lines.
    retried: BTreeMap<Line, usize>,
    /// What tasks demand of the nodes' nature.
    demands: BTreeSet<(Platform, Vec<Constraint>)>,
}

impl<'a> Gathering<'a> {
    pub(super) fn new(state: &'a ClusterState, now: Timestamp, algorithms: &'a Algorithms, budget: Budget) -> Self {
        Self {
            state,
            now,
            algorithms,
            budget,
            groups: Vec::new(),
            count: 0,
            work: 0,
            by_request: BTreeMap::new(),
            gangs: BTreeSet::new(),
            again: BTreeSet::new(),
            retried: BTreeMap::new(),
            demands: BTreeSet::new(),
        }
    }

    /// Whether no more can be added.
    pub(super) fn is_full(&self) -> bool {
        self.left() == 0
    }

    /// Whose turn it is again in lines of which some were added.
    pub(super) fn again(&self) -> Option<(Turn, Line)> {
        self.again.first().copied()
    }

    pub(super) fn finish(self) -> Vec<Group> {
        self.groups
    }

    /// Adds those whose turn it is: a line whole if all in it are alike, else one task, or its gang.
    pub(super) fn add(&mut self, holds: &Holds, turn: Turn, line: Line) -> Next {
        self.again.remove(&(turn, line));
        let Some(task) = self.state.task_of(turn) else { return Next::Added };
        if let Some(gang_id) = task.gang_id() {
            return self.add_gang(holds, gang_id, task);
        }
        if is_retried(task) {
            return self.add_retried(holds, task, turn, line);
        }
        let request = match self.request_of(task) {
            Ok(request) => request,
            Err(held) => return Next::Held(held),
        };
        if let Some(reason) = holds.of_like(&request) {
            return Next::Held(Held { gang_id: None, reason: Arc::clone(reason) });
        }
        let count = self.state.length_of_line(task).min(self.left());
        let group = self.group(request, None);
        group.whole.push(line);
        group.counted += count;
        self.note(count);
        Next::Added
    }

    fn add_retried(&mut self, holds: &Holds, task: &Arc<Task>, turn: Turn, line: Line) -> Next {
        if self.retried.get(&line).is_some_and(|count| *count >= MAX_RETRIED_PER_LINE) {
            return Next::BatchIsFull;
        }
        let request = match self.request_of(task) {
            Ok(request) => request,
            Err(held) => return Next::Held(held),
        };
        if let Some(reason) = holds.of_like(&request) {
            return Next::Held(Held { gang_id: None, reason: Arc::clone(reason) });
        }
        let group = self.group(request, None);
        group.listed.push((turn, task.key()));
        group.listed_lines.insert(line);
        self.note(1);
        *self.retried.entry(line).or_default() += 1;
        self.again.extend(self.state.next_in(line, turn, self.now).map(|next| (next, line)));
        Next::Added
    }

    fn add_gang(&mut self, holds: &Holds, gang_id: GangId, first: &Arc<Task>) -> Next {
        if let Some(reason) = holds.of_gang(gang_id) {
            return Next::Held(Held { gang_id: Some(gang_id), reason: Arc::clone(reason) });
        }
        if !self.gangs.insert(gang_id) {
            return Next::Added;
        }
        let mut request = match self.request_of(first) {
            Ok(request) => request,
            Err(held) => return Next::Held(Held { gang_id: Some(gang_id), ..held }),
        };
        // Its members would get the places of others one by one.
        request.may_preempt = false;
        let (state, now) = (self.state, self.now);
        let (lines, some_are_retried) = state.lines_of_gang(gang_id, first.spec.placement.priority);
        let mut listed = Vec::new();
        if some_are_retried {
            let is_due = |task: &&Arc<Task>| task.next_attempt_at.is_none_or(|at| at <= now);
            let members: Vec<&Arc<Task>> = state.waiting_of_gang(gang_id).filter(is_due).collect();
            request.preferences.recent_failures = recent_failures(members.iter().map(|task| &***task), now);
            listed.extend(members.into_iter().map(|task| (Turn::of(task), task.key())));
            listed.sort_unstable();
        }
        let counted = if some_are_retried { 0 } else { state.waiting_in_gang(gang_id) };
        let count = counted + listed.len();
        if self.count > 0 && self.count + count > MAX_TASKS_PER_BATCH {
            return Next::BatchIsFull;
        }
        let group = self.group(request, Some(gang_id));
        if some_are_retried {
            (group.listed, group.listed_lines) = (listed, lines.into_iter().collect());
        } else {
            (group.whole, group.counted) = (lines, counted);
        }
        self.note(count);
        Next::Added
    }

    /// What is asked for a task.
    fn request_of(&self, task: &Task) -> Result<PlacementRequest, Held> {
        let mut request = self.state.placement_request(task, self.now);
        match self.algorithms.choose(&request.algorithm) {
            Ok(algorithm) => request.algorithm = algorithm.to_owned(),
            Err(problem) => return Err(Held { gang_id: None, reason: problem.into() }),
        }
        Ok(request)
    }

    /// The group of such tasks; a new one if there is none.
    fn group(&mut self, request: PlacementRequest, gang_id: Option<GangId>) -> &mut Group {
        let key = (request, gang_id);
        let at = match self.by_request.get(&key) {
            Some(at) => *at,
            None => {
                let request = key.0.clone();
                let demand = (request.requirements.platform.clone(), request.requirements.constraints.clone());
                let is_new = self.demands.insert(demand);
                self.work += work::of_group(&request, is_new, self.state.node_count());
                self.groups.push(Group::new(request, gang_id));
                self.by_request.insert(key, self.groups.len() - 1);
                self.groups.len() - 1
            }
        };
        &mut self.groups[at]
    }

    fn note(&mut self, count: usize) {
        self.count += count;
        self.work += work::OF_TASK * count as u64;
    }

    /// How many tasks more may be added.
    fn left(&self) -> usize {
        let by_work = self.budget.left_after(self.work) / work::OF_TASK;
        let by_count = MAX_TASKS_PER_BATCH.saturating_sub(self.count);
        by_count.min(usize::try_from(by_work).unwrap_or(usize::MAX))
    }
}
