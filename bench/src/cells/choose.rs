//! Which cell gets how many tasks of a group. Pure: every answer follows from the group, what is known of the cells and the key.
//!
//! - A group goes whole to one cell, so that what talks to each other is near and one cell answers. Of a few cells that its
//!   key draws, the emptiest takes it: with summaries that are seconds old, and other fronts that have the same ones, the
//!   emptiest of all would be sent everything at once (Mitzenmacher, "How Useful Is Old Information?", 2000).
//! - A large group is divided by how much room each cell has: no cell's loss takes all of it, and none is filled by it.
//! - What a cell could not place goes to the cells that are left, the emptiest first.

use davit_core::placement::Requirements;

use super::summary::Summary;
use crate::workload::Rng;

/// What is known of a cell.
#[derive(Debug, Clone)]
pub(super) struct View {
    pub(super) summary: Summary,
    /// In which turn it was told.
    pub(super) told: u64,
    /// It is gone with all its nodes.
    pub(super) is_lost: bool,
}

/// How is chosen.
#[derive(Debug, Clone, Copy)]
pub(super) struct Policy {
    /// Of how many cells the emptiest is taken. 1: any that has room.
    pub(super) choices: usize,
    /// A group that takes more than so many millionths of a cell is divided: of its nodes that come into question, by the
    /// resource that gets scarcest.
    pub(super) divide_over: u128,
    /// A cell that said nothing for so many turns gets nothing.
    pub(super) max_age: u64,
}

/// What a place is looked for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ask<'a> {
    pub(super) requirements: &'a Requirements,
    pub(super) count: u32,
    /// All in one cell, or none.
    pub(super) is_gang: bool,
    /// Cells that had no room for these when they were asked.
    pub(super) refused: &'a [bool],
    /// Decides which cells are drawn. Of each group another one.
    pub(super) key: u64,
}

/// A cell that may have room.
struct Candidate {
    cell: usize,
    room: u64,
    drawn: u64,
}

/// How many tasks which cell is to be asked to place next; none where no cell that is left may have room. Together never
/// more than were asked for.
pub(super) fn choose(ask: &Ask<'_>, views: &[View], turn: u64, policy: &Policy) -> Vec<(usize, u32)> {
    let may_be_asked = |(cell, view): &(usize, &View)| {
        let has_refused = ask.refused.get(*cell).is_some_and(|refused| *refused);
        !view.is_lost && !has_refused && turn.saturating_sub(view.told) <= policy.max_age
    };
    let candidate = |(cell, view): (usize, &View)| {
        let room = view.summary.room(ask.requirements);
        (room > 0).then(|| Candidate { cell, room, drawn: draw(ask.key, cell) })
    };
    let candidates: Vec<_> = views.iter().enumerate().filter(may_be_asked).filter_map(candidate).collect();
    match one(ask, &candidates, views, policy) {
        Some(cell) if ask.is_gang || !is_large(ask, &views[cell].summary, policy) => vec![(cell, ask.count)],
        None if ask.is_gang => Vec::new(),
        Some(_) | None => divide(ask.count, &candidates),
    }
}

fn is_large(ask: &Ask<'_>, cell: &Summary, policy: &Policy) -> bool {
    let load = |count| cell.load_with(ask.requirements, count);
    load(ask.count).saturating_sub(load(0)) > policy.divide_over
}

/// The cell that takes all of them.
fn one(ask: &Ask<'_>, candidates: &[Candidate], views: &[View], policy: &Policy) -> Option<usize> {
    let mut roomy: Vec<_> = candidates.iter().filter(|one| one.room >= u64::from(ask.count)).collect();
    roomy.sort_by_key(|one| (one.drawn, one.cell));
    if !ask.refused.contains(&true) {
        roomy.truncate(policy.choices.max(1));
    }
    let load = |one: &&Candidate| {
        let summary = views.get(one.cell).map(|view| &view.summary);
        summary.map_or(u128::MAX, |summary| summary.load_with(ask.requirements, ask.count))
    };
    // Of equals the first that was drawn.
    roomy.into_iter().min_by_key(load).map(|one| one.cell)
}

/// By room, and to none more than it has room for; what is left over by rounding goes to those that lost most by it.
fn divide(count: u32, candidates: &[Candidate]) -> Vec<(usize, u32)> {
    let total: u128 = candidates.iter().map(|one| u128::from(one.room)).sum();
    let wanted = u128::from(count).min(total);
    let mut shares: Vec<_> = candidates
        .iter()
        .map(|one| {
            let exact = wanted * u128::from(one.room);
            (one.cell, exact / total, exact % total, one.drawn)
        })
        .collect();
    let left = wanted - shares.iter().map(|(_, share, ..)| share).sum::<u128>();
    shares.sort_by_key(|(cell, _, rest, drawn)| (std::cmp::Reverse(*rest), *drawn, *cell));
    for (_, share, ..) in shares.iter_mut().take(usize::try_from(left).unwrap_or(usize::MAX)) {
        *share += 1;
    }
    shares.sort_by_key(|(cell, ..)| *cell);
    let given = shares.into_iter().filter_map(|(cell, share, ..)| Some((cell, u32::try_from(share).ok()?)));
    given.filter(|(_, share)| *share > 0).collect()
}

fn draw(key: u64, cell: usize) -> u64 {
    Rng::new(key ^ Rng::new(cell as u64).next()).next()
}

#[cfg(test)]
mod tests;
