//! Tasks that wait for a node, as those see them who find one for them.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};
use std::sync::Arc;

use davit_core::id::GangId;
use davit_core::task::Task;
use imbl::OrdSet;
use imbl::ordset::DiffItem;
use jiff::Timestamp;

use super::ClusterState;
use super::lines::{Line, Place, Turn, Waiting, stays, waits};

impl ClusterState {
    /// Tasks that may be given a node now: the highest priority first, of equal priority the longest waiting.
    #[cfg(test)]
    pub(crate) fn placeable(&self, now: Timestamp) -> impl Iterator<Item = &Arc<Task>> {
        self.in_turn(self.lines(), now)
    }

    /// When the next task may be given a node that may not have one yet.
    #[cfg(test)]
    pub(crate) fn next_due(&self, now: Timestamp) -> Option<Timestamp> {
        self.lines().filter_map(|line| self.next_due_in(line, now)).min()
    }

    /// All lines.
    pub(crate) fn lines(&self) -> impl Iterator<Item = Line> {
        let next = |line: &Line| Some(self.lines.after(*line.until(Timestamp::MAX).end())?.line);
        std::iter::successors(self.lines.places.get_min().map(|place| place.line), next)
    }

    /// Tasks of a line that may be given a node now, the longest waiting first.
    pub(crate) fn due_in(&self, line: Line, now: Timestamp) -> impl Iterator<Item = &Arc<Task>> {
        let due = self.lines.places.range(line.until(now));
        self.visits.of_tasks(due.filter_map(|place| self.tasks.get(&place.task_id)))
    }

    /// Tasks of several lines that may be given a node now, as it is their turn.
    pub(crate) fn in_turn(
        &self,
        lines: impl IntoIterator<Item = Line>,
        now: Timestamp,
    ) -> impl Iterator<Item = &Arc<Task>> {
        let mut lines: Vec<_> = lines.into_iter().map(|line| self.lines.places.range(line.until(now))).collect();
        let mut first = BinaryHeap::new();
        for (at, places) in lines.iter_mut().enumerate() {
            first.extend(places.next().map(|place| Reverse((place.turn(), at))));
        }
        let in_turn = std::iter::from_fn(move || {
            let Reverse((turn, at)) = first.pop()?;
            first.extend(lines[at].next().map(|place| Reverse((place.turn(), at))));
            Some(turn.task_id)
        });
        self.visits.of_tasks(in_turn.filter_map(|task_id| self.tasks.get(&task_id)))
    }

    /// Whose turn it is in a line.
    pub(crate) fn first_in(&self, line: Line, now: Timestamp) -> Option<Turn> {
        self.lines.places.range(line.until(now)).next().map(Place::turn)
    }

    /// Whose turn it is in a line after another.
    pub(crate) fn next_in(&self, line: Line, turn: Turn, now: Timestamp) -> Option<Turn> {
        let place = Place { line, due_nanos: turn.due_nanos, task_id: turn.task_id };
        self.lines.after(place).filter(|next| line.until(now).contains(next)).map(Place::turn)
    }

    /// The task whose turn it is.
    pub(crate) fn task_of(&self, turn: Turn) -> Option<&Arc<Task>> {
        self.visits.of_tasks(self.tasks.get(&turn.task_id).into_iter()).next()
    }

    /// When the next task of a line may be given a node that may not have one yet.
    pub(crate) fn next_due_in(&self, line: Line, now: Timestamp) -> Option<Timestamp> {
        let next = self.lines.after(*line.until(now).end())?;
        (next.line == line).then(|| Timestamp::from_nanosecond(next.due_nanos.into()).unwrap_or(Timestamp::MAX))
    }

    /// How many tasks are in the line of this one, if it waits.
    pub(crate) fn length_of_line(&self, task: &Task) -> usize {
        self.lines.length(task)
    }

    /// The lines of a gang, and whether some of its tasks have been tried before.
    pub(crate) fn lines_of_gang(&self, gang_id: GangId, rank: i32) -> (Vec<Line>, bool) {
        self.lines.of_gang(gang_id, rank)
    }

    /// Which tasks wait, to be compared later.
    pub(crate) fn waiting(&self) -> Waiting {
        Waiting(self.lines.places.clone())
    }

    /// Lines to which tasks have come, and lines from which tasks are gone, since what waited in another version. What did not change
    /// is passed over.
    pub(crate) fn lines_changed_since(&self, seen: &Waiting) -> (BTreeSet<Line>, BTreeSet<Line>) {
        let (mut come, mut gone) = (BTreeSet::new(), BTreeSet::new());
        for item in seen.0.diff(&self.lines.places) {
            match item {
                DiffItem::Add(place) => come.insert(place.line),
                DiffItem::Remove(place) => gone.insert(place.line),
            };
        }
        (come, gone)
    }

    /// Tasks of a gang that wait for nodes.
    pub fn waiting_of_gang(&self, gang_id: GangId) -> impl Iterator<Item = &Arc<Task>> {
        let members = self.gangs.get(&gang_id).into_iter().flat_map(|members| members.iter());
        self.visits.of_tasks(members.filter_map(|task_id| self.tasks.get(task_id)))
    }

    /// How many tasks of a gang wait for nodes.
    pub(crate) fn waiting_in_gang(&self, gang_id: GangId) -> usize {
        self.gangs.get(&gang_id).map_or(0, OrdSet::len)
    }

    /// The highest priority of a waiting task that may preempt others.
    #[must_use]
    pub fn highest_preempting_priority(&self) -> Option<i32> {
        self.preempting.get_max().map(|(priority, _)| *priority)
    }

    pub(super) fn reindex_waiting(&mut self, before: Option<&Task>, after: Option<&Task>) {
        let (before, after) = (before.filter(|task| waits(task)), after.filter(|task| waits(task)));
        if let (Some(before), Some(after)) = (before, after)
            && stays(before, after)
        {
            return;
        }
        if let Some(task) = before {
            self.lines.remove(task);
            if let Some(gang_id) = task.gang_id()
                && let Some(members) = self.gangs.get_mut(&gang_id)
            {
                members.remove(&task.task_id);
                if members.is_empty() {
                    self.gangs.remove(&gang_id);
                }
            }
            let priority = task.spec.placement.priority;
            if task.spec.placement.may_preempt
                && let Some(count) = self.preempting.get_mut(&priority)
            {
                *count = count.saturating_sub(1);
                if *count == 0 {
                    self.preempting.remove(&priority);
                }
            }
        }
        if let Some(task) = after {
            self.lines.insert(task);
            if let Some(gang_id) = task.gang_id() {
                self.gangs.entry(gang_id).or_default().insert(task.task_id);
            }
            if task.spec.placement.may_preempt {
                *self.preempting.entry(task.spec.placement.priority).or_default() += 1;
            }
        }
    }
}
