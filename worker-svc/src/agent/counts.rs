//! How many attempts are in which state, kept up with each change. Pure.

use davit_core::state::TaskState;

use super::held::Held;

/// How many attempts of this worker are in which state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts {
    by_state: [usize; TaskState::ALL.len()],
    /// Those that may run although their state says otherwise: their runtime has not told yet.
    unseen: usize,
}

impl Counts {
    /// Those of all these.
    pub(super) fn of<'a>(all: impl Iterator<Item = &'a Held>) -> Self {
        let mut counts = Self::default();
        all.for_each(|held| counts.change(None, Some(held)));
        counts
    }

    /// How many are in a state.
    pub(super) fn in_state(&self, state: TaskState) -> usize {
        place(state).and_then(|place| self.by_state.get(place)).copied().unwrap_or_default()
    }

    /// How many run, or may run as far as their runtime has told.
    pub(super) fn running(&self) -> usize {
        self.unseen + self.in_state(TaskState::Running) + self.in_state(TaskState::Stopping)
    }

    /// An attempt comes or goes.
    pub(super) fn change(&mut self, before: Option<&Held>, after: Option<&Held>) {
        if let Some(held) = before {
            self.seen(held);
            self.add(held.status.state, -1);
        }
        if let Some(held) = after {
            self.unseen += usize::from(is_hidden(held));
            self.add(held.status.state, 1);
        }
    }

    /// Its runtime tells of an attempt.
    pub(super) fn seen(&mut self, held: &Held) {
        self.unseen = self.unseen.saturating_sub(usize::from(is_hidden(held)));
    }

    /// An attempt that its runtime has told of moves from one state to another.
    pub(super) fn moved(&mut self, from: TaskState, to: TaskState) {
        self.add(from, -1);
        self.add(to, 1);
    }

    fn add(&mut self, state: TaskState, more: isize) {
        if let Some(count) = place(state).and_then(|place| self.by_state.get_mut(place)) {
            *count = count.saturating_add_signed(more);
        }
    }
}

fn place(state: TaskState) -> Option<usize> {
    TaskState::ALL.iter().position(|known| *known == state)
}

/// Whether it may run, and its state does not say so.
fn is_hidden(held: &Held) -> bool {
    held.is_unseen && !matches!(held.status.state, TaskState::Running | TaskState::Stopping)
}
