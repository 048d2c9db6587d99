//! Which marks some task's placement refers to. Only those are counted on nodes, so that labels which nobody asks for cost
//! nothing, however many tasks carry them.

use std::collections::BTreeSet;

use davit_core::placement::Mark;
use davit_core::spec::TaskSpec;
use imbl::OrdMap;

/// Marks that the usage of nodes counts: those that unfinished tasks refer to, and those that none does any more for so short a
/// while that it may do so again before the draft is finished.
#[derive(Debug, Clone, Default)]
pub(super) struct Mentions {
    /// How many unfinished tasks refer to each.
    counts: OrdMap<Mark, u32>,
    /// Those to which, at least for a moment, none did.
    unmentioned: BTreeSet<Mark>,
    epoch: u64,
}

impl Mentions {
    /// Grows whenever other marks are counted than before.
    pub(super) fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Says which marks are to be counted from now on that were not so far.
    pub(super) fn add(&mut self, spec: &TaskSpec) -> Vec<Mark> {
        let mut fresh = Vec::new();
        for mark in spec.mentioned_marks() {
            match self.counts.get_mut(&mark) {
                Some(count) => *count = count.saturating_add(1),
                None => {
                    self.counts.insert(mark.clone(), 1);
                    fresh.push(mark);
                }
            }
        }
        self.epoch += u64::from(!fresh.is_empty());
        fresh
    }

    pub(super) fn remove(&mut self, spec: &TaskSpec) {
        for mark in spec.mentioned_marks() {
            let Some(count) = self.counts.get_mut(&mark) else { continue };
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.unmentioned.insert(mark);
            }
        }
    }

    /// What a task carries that somebody refers to; sorted.
    pub(super) fn mentioned_of(&self, spec: &TaskSpec) -> Vec<Mark> {
        self.carried(spec, |mark| self.counts.get(mark).is_some_and(|count| *count > 0))
    }

    /// What a task carries that is counted on nodes; sorted.
    pub(super) fn counted_of(&self, spec: &TaskSpec) -> Vec<Mark> {
        self.carried(spec, |mark| self.counts.contains_key(mark))
    }

    /// Forgets marks that nobody refers to any more, and says which: the usage of nodes has to follow.
    pub(super) fn take_dropped(&mut self) -> Vec<Mark> {
        let unmentioned = std::mem::take(&mut self.unmentioned);
        let dropped: Vec<Mark> = unmentioned.into_iter().filter(|mark| self.counts.get(mark) == Some(&0)).collect();
        for mark in &dropped {
            self.counts.remove(mark);
        }
        self.epoch += u64::from(!dropped.is_empty());
        dropped
    }

    fn carried(&self, spec: &TaskSpec, counts: impl Fn(&Mark) -> bool) -> Vec<Mark> {
        // Mostly nobody refers to anything; then not even the marks are made.
        if self.counts.is_empty() {
            return Vec::new();
        }
        let mut marks: Vec<Mark> = spec.marks().filter(|mark| counts(mark)).collect();
        marks.sort_unstable();
        marks.dedup();
        marks
    }

    #[cfg(test)]
    pub(super) fn counts(&self) -> std::collections::BTreeMap<Mark, u32> {
        self.counts.iter().map(|(mark, count)| (mark.clone(), *count)).collect()
    }
}
