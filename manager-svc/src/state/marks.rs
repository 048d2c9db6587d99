//! Which marks some task's placement refers to. Only those are counted on nodes, so that labels which nobody asks for cost
//! nothing, however many tasks carry them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use davit_core::placement::Mark;
use davit_core::spec::TaskSpec;
use imbl::{OrdMap, OrdSet};

/// Marks that unfinished tasks refer to, and which of them the usage of nodes counts.
#[derive(Debug, Clone, Default)]
pub(super) struct Mentions {
    /// How many unfinished tasks refer to each.
    counts: OrdMap<Mark, u32>,
    /// Those that the usage of nodes counts.
    counted: OrdSet<Mark>,
    /// Those that were mentioned for the first or the last time since.
    unsettled: BTreeSet<Mark>,
    epoch: u64,
}

/// How the usage of nodes has to change to count what is mentioned.
#[derive(Debug, Default)]
pub(super) struct Settlement {
    /// Mentioned, and not counted so far.
    pub(super) fresh: BTreeSet<Mark>,
    /// Counted, and no longer mentioned.
    pub(super) dropped: BTreeSet<Mark>,
}

impl Mentions {
    /// Grows whenever other marks are counted than before.
    pub(super) fn epoch(&self) -> u64 {
        self.epoch
    }

    pub(super) fn add(&mut self, spec: &TaskSpec) {
        for mark in spec.mentioned_marks() {
            match self.counts.get_mut(&mark) {
                Some(count) => *count = count.saturating_add(1),
                None => {
                    self.unsettled.insert(mark.clone());
                    self.counts.insert(mark, 1);
                }
            }
        }
    }

    pub(super) fn remove(&mut self, spec: &TaskSpec) {
        for mark in spec.mentioned_marks() {
            let Some(count) = self.counts.get_mut(&mark) else { continue };
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.counts.remove(&mark);
                self.unsettled.insert(mark);
            }
        }
    }

    /// What a task carries that somebody refers to; sorted.
    pub(super) fn mentioned_of(&self, spec: &TaskSpec) -> Vec<Mark> {
        carried(spec, self.counts.is_empty(), |mark| self.counts.contains_key(mark))
    }

    /// What a task carries that is counted on nodes; sorted.
    pub(super) fn counted_of(&self, spec: &TaskSpec) -> Vec<Mark> {
        carried(spec, self.counted.is_empty(), |mark| self.counted.contains(mark))
    }

    /// Marks that are mentioned and not counted yet.
    pub(super) fn fresh(&self) -> impl Iterator<Item = &Mark> {
        self.unsettled.iter().filter(|mark| self.counts.contains_key(*mark) && !self.counted.contains(*mark))
    }

    /// From now on exactly what is mentioned counts; the usage of nodes has to follow.
    pub(super) fn settle(&mut self) -> Settlement {
        let fresh: BTreeSet<Mark> = self.fresh().cloned().collect();
        let dropped: BTreeSet<Mark> = self
            .unsettled
            .iter()
            .filter(|mark| !self.counts.contains_key(*mark) && self.counted.contains(*mark))
            .cloned()
            .collect();
        self.unsettled = BTreeSet::new();
        for mark in &fresh {
            self.counted.insert(mark.clone());
        }
        for mark in &dropped {
            self.counted.remove(mark);
        }
        if !fresh.is_empty() || !dropped.is_empty() {
            self.epoch += 1;
        }
        Settlement { fresh, dropped }
    }

    #[cfg(test)]
    pub(super) fn counts(&self) -> BTreeMap<Mark, u32> {
        self.counts.iter().map(|(mark, count)| (mark.clone(), *count)).collect()
    }
}

fn carried(spec: &TaskSpec, nothing_counts: bool, counts: impl Fn(&Mark) -> bool) -> Vec<Mark> {
    // Mostly nobody refers to anything; then not even the marks are made.
    if nothing_counts {
        return Vec::new();
    }
    let mut marks: Vec<Mark> = spec.marks().filter(|mark| counts(mark)).collect();
    marks.sort_unstable();
    marks.dedup();
    marks
}

/// How many specs [`CarriedMarks`] remembers.
const REMEMBERED_SPECS: usize = 4096;

/// Finds which of some marks tasks carry. Tasks mostly share their specs, and each spec is looked at once.
pub(super) struct CarriedMarks<'a> {
    wanted: &'a BTreeSet<Mark>,
    by_spec: BTreeMap<*const TaskSpec, Vec<&'a Mark>>,
}

impl<'a> CarriedMarks<'a> {
    pub(super) fn new(wanted: &'a BTreeSet<Mark>) -> Self {
        Self { wanted, by_spec: BTreeMap::new() }
    }

    pub(super) fn of(&mut self, spec: &Arc<TaskSpec>) -> &[&'a Mark] {
        // Where specs are not shared there is nothing to remember.
        if self.by_spec.len() >= REMEMBERED_SPECS {
            self.by_spec.clear();
        }
        let wanted = self.wanted;
        self.by_spec.entry(Arc::as_ptr(spec)).or_insert_with(|| {
            let marks: BTreeSet<Mark> = spec.marks().collect();
            marks.iter().filter_map(|mark| wanted.get(mark)).collect()
        })
    }
}
