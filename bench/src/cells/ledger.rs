//! All placements, written down as the cells answered them, and counted again from nothing: neither an engine nor a front is
//! believed.

use std::collections::HashMap;

use davit_core::id::NodeId;
use davit_core::placement::{NodeView, fits};
use davit_core::resources::Resources;
use scheduler_svc::placement::Group;

use super::front::Outcome;
use crate::error::Error;

/// Tasks of a group on a node.
#[derive(Debug, Clone, Copy)]
struct Entry {
    group: usize,
    cell: usize,
    node_id: NodeId,
    count: u32,
}

/// All placements, and what waits.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    groups: Vec<Group>,
    /// Of each group, how many have no place.
    waiting: Vec<u32>,
    entries: Vec<Entry>,
}

/// What was counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Counted {
    pub(super) placed: u64,
    pub(super) waiting: u64,
}

impl Ledger {
    /// Takes in new groups of which nothing has a place yet; gives their numbers.
    pub(super) fn add(&mut self, groups: &[Group]) -> Vec<usize> {
        let first = self.groups.len();
        self.groups.extend_from_slice(groups);
        self.waiting.extend(groups.iter().map(|group| group.count));
        (first..self.groups.len()).collect()
    }

    /// A group, with as many tasks as have no place.
    pub(super) fn waiting(&self, group: usize) -> Group {
        Group { count: self.waiting[group], ..self.groups[group].clone() }
    }

    /// Writes down what became of what waited of a group.
    pub(super) fn enter(&mut self, group: usize, outcome: &Outcome) {
        for piece in &outcome.pieces {
            let entry =
                |(node_id, count): &(NodeId, u32)| Entry { group, cell: piece.cell, node_id: *node_id, count: *count };
            self.entries.extend(piece.runs.iter().map(entry));
        }
        self.waiting[group] = outcome.unplaced;
    }

    /// A cell is gone: its tasks wait again. Gives the groups that had some there.
    pub(super) fn lose(&mut self, cell: usize) -> Vec<usize> {
        let mut had = Vec::new();
        for entry in self.entries.iter().filter(|entry| entry.cell == cell) {
            self.waiting[entry.group] += entry.count;
            had.push(entry.group);
        }
        self.entries.retain(|entry| entry.cell != cell);
        had.sort_unstable();
        had.dedup();
        had
    }

    /// Counts everything again. `nodes` are those of each cell as they were before anything was placed, `engines` as its engine
    /// knows them now; none of a lost cell.
    pub(super) fn check(&self, nodes: &[Vec<NodeView>], engines: &[&[NodeView]]) -> Result<Counted, Error> {
        let mut placed = vec![0_u64; self.groups.len()];
        let mut homes: Vec<Option<usize>> = vec![None; self.groups.len()];
        for (cell, (nodes, engine)) in nodes.iter().zip(engines).enumerate() {
            let at: HashMap<NodeId, usize> = nodes.iter().enumerate().map(|(at, node)| (node.node_id, at)).collect();
            if at.len() != nodes.len() || engine.len() != nodes.len() {
                return Err(Error::WrongAnswer(format!("cell {cell} has {} of {} nodes", engine.len(), at.len())));
            }
            let mut reserved = vec![Resources::ZERO; nodes.len()];
            for entry in self.entries.iter().filter(|entry| entry.cell == cell) {
                let Some(at) = at.get(&entry.node_id).copied() else {
                    return Err(Error::WrongAnswer(format!("no node {} in cell {cell}", entry.node_id)));
                };
                let group = &self.groups[entry.group];
                let requirements = &group.request.requirements;
                if !requirements.constraints.iter().all(|one| one.is_satisfied_by(nodes[at].attributes())) {
                    return Err(Error::WrongAnswer(format!("{} may not take {}", nodes[at].name, group.group_id)));
                }
                if group.all_or_nothing && homes[entry.group].is_some_and(|home| home != cell) {
                    return Err(Error::WrongAnswer(format!("gang {} is in two cells", group.group_id)));
                }
                homes[entry.group] = Some(cell);
                placed[entry.group] += u64::from(entry.count);
                for _ in 0..entry.count {
                    reserved[at] = reserved[at].saturating_add(requirements.reservation);
                }
            }
            for node in *engine {
                let known = at.get(&node.node_id).map(|at| (reserved[*at], nodes[*at].allocatable));
                let Some((reserved, allocatable)) = known else {
                    return Err(Error::WrongAnswer(format!("{} is not of cell {cell}", node.name)));
                };
                if !reserved.fits_in(allocatable) || reserved != node.reserved {
                    let told = format!("{reserved:?} of {allocatable:?}, its engine says {:?}", node.reserved);
                    return Err(Error::WrongAnswer(format!("{} of cell {cell} has {told}", node.name)));
                }
            }
        }
        for ((group, placed), waiting) in self.groups.iter().zip(&placed).zip(&self.waiting) {
            let is_torn = group.all_or_nothing && *placed > 0 && *waiting > 0;
            if placed + u64::from(*waiting) != u64::from(group.count) || is_torn {
                let told = format!("{placed} placed and {waiting} waiting of {}", group.count);
                return Err(Error::WrongAnswer(format!("group {}: {told}", group.group_id)));
            }
        }
        self.check_refusals(engines)?;
        let waiting = self.waiting.iter().map(|waiting| u64::from(*waiting)).sum();
        Ok(Counted { placed: placed.iter().sum(), waiting })
    }

    /// Nodes only got fuller: what waits and would fit now was refused wrongly. Gangs may wait although one of them would fit.
    fn check_refusals(&self, engines: &[&[NodeView]]) -> Result<(), Error> {
        let waiting =
            self.groups.iter().zip(&self.waiting).filter(|(group, waiting)| **waiting > 0 && !group.all_or_nothing);
        let mut refused: Vec<_> = waiting.map(|(group, _)| &group.request.requirements).collect();
        refused.sort_unstable();
        refused.dedup();
        for requirements in refused {
            let roomy = engines.iter().flat_map(|nodes| nodes.iter()).find(|node| fits(requirements, node));
            if let Some(node) = roomy {
                let told =
                    format!("a task with {:?} was refused, and {} has room", requirements.reservation, node.name);
                return Err(Error::WrongAnswer(told));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
