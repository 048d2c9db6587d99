//! What the client wants of the cluster: which tasks it created and has not stopped. The cluster is checked against it.

use std::collections::{BTreeSet, VecDeque};

use uuid::Uuid;

/// Tasks by what is wanted of them.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    /// They are to run; oldest first, but for those that were created at once.
    running: VecDeque<Uuid>,
    /// So many were created in all.
    created: u64,
    /// Their node died: they are on their second attempt. All others are on their first.
    replaced: BTreeSet<Uuid>,
}

impl Wanted {
    /// These were created.
    pub(super) fn add(&mut self, task_ids: impl IntoIterator<Item = Uuid>) {
        let before = self.running.len();
        self.running.extend(task_ids);
        self.created += (self.running.len() - before) as u64;
    }

    /// The oldest of them, which are to be stopped; fewer if there are fewer.
    pub(super) fn take_oldest(&mut self, count: usize) -> Vec<Uuid> {
        let count = count.min(self.running.len());
        self.running.drain(..count).collect()
    }

    /// Their node died.
    pub(super) fn replace(&mut self, task_ids: impl IntoIterator<Item = Uuid>) {
        self.replaced.extend(task_ids);
    }

    /// Those that are to run.
    pub(super) fn running(&self) -> impl Iterator<Item = Uuid> + '_ {
        self.running.iter().copied()
    }

    /// How many are to run.
    pub(super) fn running_count(&self) -> u64 {
        self.running.len() as u64
    }

    /// How many were created, and how many of these were stopped.
    pub(super) fn totals(&self) -> (u64, u64) {
        (self.created, self.created - self.running_count())
    }

    /// The attempt that a task has to be on.
    pub(super) fn attempt_of(&self, task_id: Uuid) -> u32 {
        if self.replaced.contains(&task_id) { 2 } else { 1 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_to_be_stopped_is_the_oldest_and_counts_as_stopped() {
        let ids: Vec<_> = (0..5).map(Uuid::from_u128).collect();
        let mut wanted = Wanted::default();
        wanted.add(ids.iter().copied());
        assert_eq!(wanted.take_oldest(2), ids[..2]);
        assert_eq!((wanted.running_count(), wanted.totals()), (3, (5, 2)));
        wanted.replace([ids[3]]);
        assert_eq!([ids[3], ids[4]].map(|id| wanted.attempt_of(id)), [2, 1]);
        assert_eq!(wanted.take_oldest(9).len(), 3);
        assert_eq!(wanted.totals(), (5, 5));
    }
}
