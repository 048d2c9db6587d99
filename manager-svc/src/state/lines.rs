//! Lines of waiting tasks that are alike: what becomes of one of them holds for all of its line, so that whoever has looked at its first
//! need not look at the others.

use std::cmp::Reverse;
use std::ops::Bound::{Excluded, Unbounded};
use std::sync::Arc;

use davit_core::id::{GangId, TaskId};
use davit_core::placement::cause_of;
use davit_core::state::TaskState;
use davit_core::task::{DesiredState, Task};
use imbl::{OrdMap, OrdSet};
use jiff::Timestamp;
use uuid::Uuid;

use crate::stable_hash::fnv1a;

/// One line of waiting tasks. A line that has become empty does not come again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Line {
    rank: Reverse<i32>,
    number: u64,
}

/// What decides who gets a node first: the highest priority, then who may have one longest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Turn {
    rank: Reverse<i32>,
    pub(super) due_nanos: i64,
    pub(super) task_id: TaskId,
}

/// Where a task waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) line: Line,
    /// From when on it may have a node, in nanoseconds; what is farther off than these count is as far as they do.
    pub(super) due_nanos: i64,
    pub(super) task_id: TaskId,
}

/// What tasks of one line have in common. Its order says nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Likeness {
    owner: Owner,
    rank: Reverse<i32>,
    is_retried: bool,
    /// A hash of why they wait.
    cause: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Owner {
    /// The address of their spec, which is nobody else's as long as one of them waits.
    Spec(usize),
    Gang(GangId),
}

/// Which tasks wait, in lines.
#[derive(Debug, Clone, Default)]
pub(super) struct Lines {
    pub(super) places: OrdSet<Place>,
    /// The number and length of each line.
    by_likeness: OrdMap<Likeness, (u64, usize)>,
    /// The number of the last line there was.
    last: u64,
}

/// Which tasks wait in one version of the cluster.
#[derive(Debug, Clone)]
pub(crate) struct Waiting(pub(super) OrdSet<Place>);

impl Line {
    /// Its tasks that may be given a node by that time.
    pub(super) fn until(self, now: Timestamp) -> std::ops::RangeInclusive<Place> {
        let place = |due_nanos, task_id| Place { line: self, due_nanos, task_id: TaskId(task_id) };
        place(i64::MIN, Uuid::nil())..=place(nanos(now), Uuid::max())
    }
}

impl Lines {
    pub(super) fn insert(&mut self, task: &Task) {
        let (likeness, last) = (Likeness::of(task), &mut self.last);
        let (number, length) = self.by_likeness.entry(likeness).or_insert_with(|| {
            *last += 1;
            (*last, 0)
        });
        *length += 1;
        self.places.insert(Place::of(task, Line { rank: likeness.rank, number: *number }));
    }

    pub(super) fn remove(&mut self, task: &Task) {
        let likeness = Likeness::of(task);
        let Some((number, length)) = self.by_likeness.get_mut(&likeness) else { return };
        let line = Line { rank: likeness.rank, number: *number };
        *length = length.saturating_sub(1);
        if *length == 0 {
            self.by_likeness.remove(&likeness);
        }
        self.places.remove(&Place::of(task, line));
    }

    /// How many tasks are in the line of a waiting one.
    pub(super) fn length(&self, task: &Task) -> usize {
        self.by_likeness.get(&Likeness::of(task)).map_or(0, |(_, length)| *length)
    }

    /// The lines of a gang, and whether some of its tasks have been tried before.
    pub(super) fn of_gang(&self, gang_id: GangId, rank: i32) -> (Vec<Line>, bool) {
        let rank = Reverse(rank);
        let first = Likeness { owner: Owner::Gang(gang_id), rank, is_retried: false, cause: 0 };
        let last = Likeness { is_retried: true, cause: u64::MAX, ..first };
        let of_gang = self.by_likeness.range(first..=last);
        let of_gang = of_gang.map(|(likeness, (number, _))| (Line { rank, number: *number }, likeness.is_retried));
        let (lines, retried): (Vec<Line>, Vec<bool>) = of_gang.unzip();
        (lines, retried.contains(&true))
    }

    /// The next place, of any line.
    pub(super) fn after(&self, place: Place) -> Option<&Place> {
        self.places.range((Excluded(place), Unbounded)).next()
    }
}

impl Place {
    fn of(task: &Task, line: Line) -> Self {
        Self { line, due_nanos: nanos(due(task)), task_id: task.task_id }
    }

    pub(super) fn turn(&self) -> Turn {
        Turn { rank: self.line.rank, due_nanos: self.due_nanos, task_id: self.task_id }
    }
}

impl Turn {
    /// When a waiting task has its turn.
    pub(crate) fn of(task: &Task) -> Self {
        Self { rank: Reverse(task.spec.placement.priority), due_nanos: nanos(due(task)), task_id: task.task_id }
    }
}

impl Likeness {
    fn of(task: &Task) -> Self {
        let owner = match task.gang_id() {
            Some(gang_id) => Owner::Gang(gang_id),
            None => Owner::Spec(Arc::as_ptr(&task.spec).addr()),
        };
        let cause = cause_hash(&task.status.reason);
        Self { owner, rank: Reverse(task.spec.placement.priority), is_retried: is_retried(task), cause }
    }
}

/// A hash of the cause that a reason tells, whatever its numbers.
pub(crate) fn cause_hash(reason: &str) -> u64 {
    fnv1a(cause_of(reason).bytes())
}

/// Whether what is asked for a task may differ from what is asked for others of its spec, or it waits for its time.
pub(crate) fn is_retried(task: &Task) -> bool {
    let has_failed = || task.past_attempts.iter().any(|status| status.state == TaskState::Failed);
    task.next_attempt_at.is_some() || has_failed()
}

/// Whether a task waits for a node; not if it knows which one it gets.
pub(super) fn waits(task: &Task) -> bool {
    let is_pending = task.status.state == TaskState::Pending && task.desired_state == DesiredState::Running;
    is_pending && task.claim.is_none()
}

fn due(task: &Task) -> Timestamp {
    task.next_attempt_at.unwrap_or(Timestamp::UNIX_EPOCH)
}

fn nanos(time: Timestamp) -> i64 {
    i64::try_from(time.as_nanosecond()).unwrap_or(if time < Timestamp::UNIX_EPOCH { i64::MIN } else { i64::MAX })
}

/// Whether a task keeps its place from one version to the next.
pub(super) fn stays(before: &Task, after: &Task) -> bool {
    due(before) == due(after) && Likeness::of(before) == Likeness::of(after)
}
