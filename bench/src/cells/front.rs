//! The one API above the cells: it asks the chooser, hands groups to cells, and hands on what a cell could not place. It keeps no
//! truth: where tasks are, the cells know; so there may be several, and none knows what the others do but by the next summaries.

use davit_core::id::NodeId;
use scheduler_svc::placement::{Group, GroupPlacement};

use super::choose::{Ask, Policy, View, choose};
use super::summary::Summary;
use crate::workload::Rng;

/// The cells, as a front reaches them.
pub(super) trait Cells {
    /// What a cell makes of groups: one answer each.
    fn place(&mut self, cell: usize, groups: &[Group]) -> Vec<GroupPlacement>;
    /// How a cell is now.
    fn summary(&mut self, cell: usize) -> Summary;
}

/// What became of a group.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Outcome {
    pub(super) pieces: Vec<Piece>,
    pub(super) unplaced: u32,
    /// How often a cell was asked.
    pub(super) questions: u32,
    /// How often what was left had to be handed on.
    pub(super) spills: u32,
}

/// Tasks of a group in one cell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) cell: usize,
    pub(super) runs: Vec<(NodeId, u32)>,
}

/// One of the fronts.
#[derive(Debug, Clone)]
pub(super) struct Front {
    views: Vec<View>,
    policy: Policy,
    seed: u64,
}

/// A group that is being placed.
struct Open {
    left: u32,
    /// Cells that could not place all that they were asked for.
    refused: Vec<bool>,
    key: u64,
    outcome: Outcome,
}

impl Front {
    /// A front that has just heard every cell.
    pub(super) fn new(summaries: Vec<Summary>, policy: Policy, seed: u64) -> Self {
        let view = |summary| View { summary, told: 0, is_lost: false };
        Self { views: summaries.into_iter().map(view).collect(), policy, seed }
    }

    /// Hears a cell.
    pub(super) fn hear(&mut self, cell: usize, summary: Summary, turn: u64) {
        if let Some(view) = self.views.get_mut(cell).filter(|view| !view.is_lost) {
            *view = View { summary, told: turn, is_lost: false };
        }
    }

    /// A cell is gone for good.
    pub(super) fn lose(&mut self, cell: usize) {
        if let Some(view) = self.views.get_mut(cell) {
            view.is_lost = true;
        }
    }

    /// Places groups, one outcome each. What is left in the end was refused by every cell that may have had room by what it said
    /// in this very turn.
    pub(super) fn place(&mut self, groups: &[Group], turn: u64, cells: &mut impl Cells) -> Vec<Outcome> {
        let mut open: Vec<Open> = groups.iter().zip(0..).map(|(group, at)| self.open(group, turn, at)).collect();
        // Whether nothing was handed out since all cells were heard.
        let mut is_fresh = false;
        loop {
            let batches = self.plan(groups, &mut open, turn);
            if batches.iter().any(|batch| !batch.is_empty()) {
                is_fresh = false;
            } else if is_fresh || open.iter().all(|open| open.left == 0) {
                break;
            } else {
                self.hear_all(turn, cells);
                is_fresh = true;
            }
            for (cell, batch) in batches.into_iter().enumerate().filter(|(_, batch)| !batch.is_empty()) {
                self.hand_out(cell, &batch, groups, &mut open, turn, cells);
            }
        }
        open.into_iter().map(|open| Outcome { unplaced: open.left, ..open.outcome }).collect()
    }

    fn open(&self, group: &Group, turn: u64, at: u64) -> Open {
        let key = Rng::new(self.seed ^ Rng::new(turn).next()).next().wrapping_add(at);
        Open { left: group.count, refused: vec![false; self.views.len()], key, outcome: Outcome::default() }
    }

    /// Which cell is asked for which groups, and for how many of each.
    fn plan(&mut self, groups: &[Group], open: &mut [Open], turn: u64) -> Vec<Vec<(usize, u32)>> {
        let mut batches = vec![Vec::new(); self.views.len()];
        for (at, (group, open)) in groups.iter().zip(open).enumerate().filter(|(_, (_, open))| open.left > 0) {
            let requirements = &group.request.requirements;
            let (is_gang, count) = (group.all_or_nothing, open.left);
            let ask = Ask { requirements, count, is_gang, refused: &open.refused, key: open.key };
            let choice = choose(&ask, &self.views, turn, &self.policy);
            open.outcome.spills += u32::from(!choice.is_empty() && open.refused.contains(&true));
            for (cell, share) in choice {
                batches[cell].push((at, share));
                open.outcome.questions += 1;
                self.views[cell].summary.deduct(requirements, share);
            }
        }
        batches
    }

    fn hand_out(
        &mut self,
        cell: usize,
        batch: &[(usize, u32)],
        groups: &[Group],
        open: &mut [Open],
        turn: u64,
        cells: &mut impl Cells,
    ) {
        let sent: Vec<Group> = batch.iter().map(|(at, count)| Group { count: *count, ..groups[*at].clone() }).collect();
        let mut was_short = false;
        for ((at, _), answer) in batch.iter().zip(cells.place(cell, &sent)) {
            let placed: u32 = answer.runs.iter().map(|(_, count)| count).sum();
            was_short |= answer.unplaced > 0;
            open[*at].refused[cell] |= answer.unplaced > 0;
            open[*at].left = open[*at].left.saturating_sub(placed);
            if placed > 0 {
                open[*at].outcome.pieces.push(Piece { cell, runs: answer.runs });
            }
        }
        // It had less room than was thought: its answer says how much it has.
        if was_short {
            let summary = cells.summary(cell);
            self.hear(cell, summary, turn);
        }
    }

    fn hear_all(&mut self, turn: u64, cells: &mut impl Cells) {
        for cell in 0..self.views.len() {
            if !self.views[cell].is_lost {
                let summary = cells.summary(cell);
                self.hear(cell, summary, turn);
            }
        }
    }
}

#[cfg(test)]
mod tests;
