//! Which lines of waiting tasks the scheduler is to be asked for, and which of those that fitted nowhere have to be told why. Follows
//! the cluster from one version to the next: a line in which nothing changed costs nothing. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound::{Excluded, Unbounded};
use std::sync::Arc;

use davit_core::id::{AttemptKey, GangId};
use davit_core::placement::PlacementRequest;
use jiff::Timestamp;

use super::algorithms::Algorithms;
use super::batch::{Gathering, Group, Next};
use super::work::Budget;
use crate::state::{ClusterState, Line, Turn, Waiting, cause_hash};

/// Tasks that wait, as one scheduler is asked for them.
#[derive(Debug, Default)]
pub(super) struct Queue {
    /// What was followed so far.
    seen: Option<Waiting>,
    /// For which marks and homes requests were made.
    requests_epoch: u64,
    /// Lines that may have tasks to be asked for.
    open: Open,
    /// When the next task of a line will be due, of lines that have such.
    dues: BTreeMap<Line, Timestamp>,
    holds: Holds,
    /// Lines that are not asked for.
    held: BTreeMap<Line, Held>,
    /// Lines of these whose tasks may have to be told why.
    to_tell: BTreeMap<Line, Arc<str>>,
}

/// Lines by whose turn it was when they were last looked at.
#[derive(Debug, Default)]
struct Open {
    turns: BTreeMap<Line, Turn>,
    in_turn: BTreeSet<(Turn, Line)>,
}

/// What fits nowhere until a node changes, and why.
#[derive(Debug, Default)]
pub(super) struct Holds {
    /// Whatever failed where: that decides only where it would go rather.
    like: BTreeMap<PlacementRequest, Arc<str>>,
    gangs: BTreeMap<GangId, (Arc<str>, usize)>,
}

/// Why a line is not asked for.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) gang_id: Option<GangId>,
    pub(super) reason: Arc<str>,
}

impl Queue {
    /// Takes notice of what changed since the last time.
    pub(super) fn follow(&mut self, state: &ClusterState, now: Timestamp) {
        let (come, gone) = match self.seen.replace(state.waiting()) {
            Some(seen) => state.lines_changed_since(&seen),
            None => (state.lines().collect(), BTreeSet::new()),
        };
        for line in gone {
            self.has_shrunk(line, state, now);
        }
        let due: Vec<Line> = self.dues.iter().filter(|(_, due)| **due <= now).map(|(line, _)| *line).collect();
        for line in &due {
            self.dues.remove(line);
        }
        for line in come.into_iter().chain(due) {
            self.look_at(line, state, now);
        }
        if std::mem::replace(&mut self.requests_epoch, state.requests_epoch()) != state.requests_epoch() {
            // What is asked for may not be what it was; what is the same is held again.
            self.reopen(state, now);
        }
    }

    /// Whether tasks wait whose time has come.
    pub(super) fn has_due(&self) -> bool {
        !self.open.turns.is_empty() || !self.held.is_empty()
    }

    /// When the next task may be given a node that may not have one yet.
    pub(super) fn next_due(&self) -> Option<Timestamp> {
        self.dues.values().min().copied()
    }

    /// The group was not placed whole, for this reason: it is left out until something changes.
    pub(super) fn block(&mut self, group: &Group, reason: &str) {
        let reason: Arc<str> = reason.into();
        match group.gang_id {
            Some(gang_id) => {
                self.holds.gangs.insert(gang_id, (Arc::clone(&reason), group.count()));
            }
            None => {
                self.holds.like.insert(without_failures(group.request.clone()), Arc::clone(&reason));
            }
        }
        for line in group.lines() {
            self.hold(line, Held { gang_id: group.gang_id, reason: Arc::clone(&reason) });
        }
    }

    /// What did not fit may fit now.
    pub(super) fn unblock(&mut self, state: &ClusterState, now: Timestamp) {
        self.holds = Holds::default();
        self.reopen(state, now);
    }

    fn reopen(&mut self, state: &ClusterState, now: Timestamp) {
        for line in std::mem::take(&mut self.held).into_keys() {
            self.look_at(line, state, now);
        }
    }

    /// Groups the tasks that may be placed now, the most important first.
    pub(super) fn gather(
        &mut self,
        state: &ClusterState,
        now: Timestamp,
        algorithms: &Algorithms,
        budget: Budget,
    ) -> Vec<Group> {
        let mut gathering = Gathering::new(state, now, algorithms, budget);
        let mut held = Vec::new();
        let mut last = None;
        while !gathering.is_full() {
            let open = self.open.after(last);
            let next = match (open, gathering.again()) {
                (open, Some(again)) if open.is_none_or(|open| again < open) => again,
                (Some(open), _) => {
                    last = Some(open);
                    open
                }
                (None, _) => break,
            };
            let (turn, line) = next;
            if open == Some(next) && state.first_in(line, now) != Some(turn) {
                // Those before were placed, or are gone.
                self.open.set(line, state.first_in(line, now));
                continue;
            }
            match gathering.add(&self.holds, turn, line) {
                Next::Held(reason) => held.push((line, reason)),
                Next::Added => {}
                Next::BatchIsFull => break,
            }
        }
        for (line, why) in held {
            self.hold(line, why);
        }
        gathering.finish()
    }

    /// Tasks that have to be told why they are held, at most so many, and what. They are named again until they say so.
    pub(super) fn next_to_tell(
        &mut self,
        state: &ClusterState,
        now: Timestamp,
        most: usize,
    ) -> Vec<(AttemptKey, String)> {
        let mut untold = Vec::new();
        let mut told = Vec::new();
        for (line, reason) in &self.to_tell {
            if untold.len() >= most {
                break;
            }
            let before = untold.len();
            add_untold(state, *line, now, reason, most, &mut untold);
            if untold.len() == before {
                told.push(*line);
            }
        }
        for line in told {
            self.to_tell.remove(&line);
        }
        untold
    }

    /// A line has tasks that it had not, or that are due now.
    fn look_at(&mut self, line: Line, state: &ClusterState, now: Timestamp) {
        match self.held.get(&line) {
            Some(held) => {
                self.to_tell.insert(line, Arc::clone(&held.reason));
            }
            None => self.open.set(line, state.first_in(line, now)),
        }
        if let Some(due) = state.next_due_in(line, now) {
            self.dues.insert(line, due);
        }
    }

    /// A line has fewer tasks than before.
    fn has_shrunk(&mut self, line: Line, state: &ClusterState, now: Timestamp) {
        let gang_id = self.held.get(&line).and_then(|held| held.gang_id);
        if state.first_in(line, Timestamp::MAX).is_none() {
            self.held.remove(&line);
            self.to_tell.remove(&line);
            self.dues.remove(&line);
            self.open.set(line, None);
        }
        // A gang of fewer may fit where all of it did not.
        if let Some(gang_id) = gang_id
            && let Some((_, asked)) = self.holds.gangs.get(&gang_id)
            && state.waiting_in_gang(gang_id) < *asked
        {
            self.holds.gangs.remove(&gang_id);
            let of_gang = self.held.iter().filter(|(_, held)| held.gang_id == Some(gang_id)).map(|(line, _)| *line);
            for line in of_gang.collect::<Vec<_>>() {
                self.held.remove(&line);
                self.look_at(line, state, now);
            }
        }
    }

    fn hold(&mut self, line: Line, why: Held) {
        self.open.set(line, None);
        self.to_tell.insert(line, Arc::clone(&why.reason));
        self.held.insert(line, why);
    }
}

impl Open {
    /// Says whose turn it is in a line; `None` if it is nobody's.
    fn set(&mut self, line: Line, turn: Option<Turn>) {
        let before = match turn {
            Some(turn) => {
                self.in_turn.insert((turn, line));
                self.turns.insert(line, turn)
            }
            None => self.turns.remove(&line),
        };
        if let Some(before) = before.filter(|before| Some(*before) != turn) {
            self.in_turn.remove(&(before, line));
        }
    }

    /// The line whose turn it is after another.
    fn after(&self, last: Option<(Turn, Line)>) -> Option<(Turn, Line)> {
        self.in_turn.range((last.map_or(Unbounded, Excluded), Unbounded)).next().copied()
    }
}

impl Holds {
    /// Why tasks of this request fit nowhere, as far as is known.
    pub(super) fn of_like(&self, request: &PlacementRequest) -> Option<&Arc<str>> {
        if self.like.is_empty() {
            return None;
        }
        if request.preferences.recent_failures.is_empty() {
            return self.like.get(request);
        }
        self.like.get(&without_failures(request.clone()))
    }

    pub(super) fn of_gang(&self, gang_id: GangId) -> Option<&Arc<str>> {
        self.gangs.get(&gang_id).map(|(reason, _)| reason)
    }
}

fn without_failures(mut request: PlacementRequest) -> PlacementRequest {
    request.preferences.recent_failures = Vec::new();
    request
}

/// Tasks that wait for another cause than this reason tells, at most so many.
pub(super) fn untold(state: &ClusterState, now: Timestamp, reason: &str, most: usize) -> Vec<(AttemptKey, String)> {
    let mut untold = Vec::new();
    for line in state.lines() {
        add_untold(state, line, now, reason, most, &mut untold);
        if untold.len() >= most {
            break;
        }
    }
    untold
}

/// Adds those of a line unless they wait for that cause, as then all of it do.
fn add_untold(
    state: &ClusterState,
    line: Line,
    now: Timestamp,
    reason: &str,
    most: usize,
    untold: &mut Vec<(AttemptKey, String)>,
) {
    let first = state.first_in(line, now).and_then(|turn| state.task_of(turn));
    if first.is_none_or(|task| cause_hash(&task.status.reason) == cause_hash(reason)) {
        return;
    }
    let tasks = state.due_in(line, now).take(most - untold.len());
    untold.extend(tasks.map(|task| (task.key(), reason.to_owned())));
}

#[cfg(test)]
mod tests;
