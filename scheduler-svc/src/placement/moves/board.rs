//! The nodes while moves are planned.

use std::cmp::Ordering;
use std::collections::BTreeSet;

use davit_core::node::NodeState;
use davit_core::placement::{NodeView, PlacedTask, Requirements, fits};

use super::PlannedMove;
use crate::placement::algorithms::{
    self,
    spread::{TASK_SHARE, shares},
};

/// Among how many targets that gain the same the emptiest is looked for.
const MAX_TIES: usize = 16;

/// Rounding never makes a move be overlooked.
const SLACK: f64 = 1e-9;

/// All nodes that take tasks, by how full they are.
#[derive(Debug)]
pub(super) struct Board<'a> {
    /// By node id.
    sides: Vec<Side<'a>>,
    /// Positions in `sides`, the emptiest first.
    order: BTreeSet<(Filling, usize)>,
    min_gain: f64,
    /// How many tasks stay since these algorithms placed them.
    packed: usize,
    packing: BTreeSet<&'static str>,
}

/// One node.
#[derive(Debug)]
struct Side<'a> {
    /// Without its tasks.
    node: NodeView,
    filling: f64,
    /// Those that may still be moved, in the order in which they are preferred when they gain the same.
    tasks: Vec<&'a PlacedTask>,
    /// Those that were moved here.
    arrived: Vec<&'a PlacedTask>,
    /// Known to have no move to any node, as the nodes are.
    stuck: bool,
}

/// A move that gains enough.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Step<'a> {
    task: &'a PlacedTask,
    from: usize,
    to: usize,
    gain: f64,
    /// How full the target is afterwards.
    becomes: f64,
}

/// What [`Board::best_from`] found.
struct Found<'a> {
    step: Option<Step<'a>>,
    /// Some move was left only for what other nodes are like, so that it has to be looked at again.
    undecided: bool,
}

impl<'a> Board<'a> {
    pub(super) fn new(nodes: &'a [NodeView], min_gain: f64) -> Self {
        let takes_tasks = |node: &&NodeView| node.state == NodeState::Ready && !node.cordoned;
        let mut nodes: Vec<_> = nodes.iter().filter(takes_tasks).collect();
        nodes.sort_by_key(|node| node.node_id);
        nodes.dedup_by_key(|node| node.node_id);
        let (mut packed, mut packing) = (0, BTreeSet::new());
        let mut is_movable = |task: &PlacedTask| match algorithms::find(&task.algorithm) {
            Ok(algorithm) if algorithm.packs() => {
                packed += 1;
                packing.insert(algorithm.name());
                false
            }
            Ok(_) | Err(_) => true,
        };
        let sides: Vec<_> = nodes.into_iter().map(|node| Side::new(node, &mut is_movable)).collect();
        let order = sides.iter().enumerate().map(|(at, side)| (Filling(side.filling), at)).collect();
        Self { sides, order, min_gain, packed, packing }
    }

    /// What was not looked at, for people.
    pub(super) fn note(&self) -> String {
        let names = self.packing.iter().copied().collect::<Vec<_>>().join(" and ");
        let fills = if self.packing.len() == 1 { "fills" } else { "fill" };
        match self.packed {
            0 => String::new(),
            1 => format!("1 task stays where it is: {names} {fills} nodes"),
            count => format!("{count} tasks stay where they are: {names} {fills} nodes"),
        }
    }

    /// How much fuller the fullest node is than the emptiest.
    pub(super) fn imbalance(&self) -> f64 {
        self.fullest() - self.emptiest()
    }

    fn fullest(&self) -> f64 {
        self.order.last().map_or(0.0, |(filling, _)| filling.0)
    }

    fn emptiest(&self) -> f64 {
        self.order.first().map_or(0.0, |(filling, _)| filling.0)
    }

    /// The best move from the fullest node that has any.
    pub(super) fn best_step(&mut self) -> Option<Step<'a>> {
        let emptiest = self.emptiest();
        for (filling, from) in self.order.iter().rev() {
            if !self.could_gain(filling.0, emptiest) {
                return None;
            }
            if self.sides[*from].stuck {
                continue;
            }
            let found = self.best_from(*from, &self.sides[*from].tasks);
            if found.step.is_some() {
                return found.step;
            }
            self.sides[*from].stuck = !found.undecided;
        }
        None
    }

    /// Whether a task that was moved already would gain something by another move.
    pub(super) fn has_second_move(&self) -> bool {
        let emptiest = self.emptiest();
        let full = self.order.iter().rev().take_while(|(filling, _)| self.could_gain(filling.0, emptiest));
        full.into_iter().any(|(_, from)| self.best_from(*from, &self.sides[*from].arrived).step.is_some())
    }

    /// Whether a move between nodes that are so full can gain enough: it makes the target fuller by a task at least.
    fn could_gain(&self, from: f64, to: f64) -> bool {
        from - to - TASK_SHARE + SLACK >= self.min_gain
    }

    fn best_from(&self, from: usize, tasks: &[&'a PlacedTask]) -> Found<'a> {
        let source = &self.sides[from];
        let mut found = Found { step: None, undecided: false };
        for task in tasks {
            let left = source.filling_without(&task.requirements);
            let most = source.filling - left;
            let mut best = found.step.map_or(self.min_gain, |step| step.gain);
            // Of equal gains the first task stays, but the first of all needs only reach what is asked for.
            let wins = |gain: f64, best: f64, is_first: bool| gain > best || (is_first && gain >= best);
            if !wins(most, best, found.step.is_none()) || source.is_needed(task) {
                continue;
            }
            let mut ties = 0;
            for (filling, to) in &self.order {
                let of_task = found.step.filter(|step| step.task.task_id == task.task_id);
                let is_first = found.step.is_none();
                let bound = most.min(source.filling - filling.0 - TASK_SHARE + SLACK);
                if !wins(bound, best, is_first) {
                    ties += 1;
                    if of_task.is_none() || bound < best || ties > MAX_TIES {
                        break;
                    }
                }
                let target = &self.sides[*to];
                let becomes = target.filling_with(&task.requirements);
                let gain = source.filling - left.max(becomes);
                // A target that is emptier afterwards keeps the task: it need not go on from there.
                let is_better = wins(gain, best, is_first)
                    || of_task.is_some_and(|step| gain >= step.gain && becomes < step.becomes);
                let is_worth_it = gain - source.regret(task, target) >= self.min_gain;
                if *to == from || !is_better || !is_worth_it || !fits(&task.requirements, &target.node) {
                    continue;
                }
                if !self.narrows(from, *to, left, becomes) {
                    found.undecided = true;
                    continue;
                }
                found.step = Some(Step { task, from, to: *to, gain, becomes });
                best = gain;
            }
        }
        found
    }

    /// Whether the gap between the fullest and the emptiest node does not grow. It could when a source becomes emptier than all
    /// others were.
    fn narrows(&self, from: usize, to: usize, left: f64, becomes: f64) -> bool {
        if left >= self.emptiest() {
            return true;
        }
        let others = self.order.iter().rev().find(|(_, at)| *at != from && *at != to);
        let fullest = others.map_or(0.0, |(filling, _)| filling.0).max(becomes);
        fullest - left <= self.imbalance()
    }

    /// Makes a move that [`Board::best_step`] gave.
    pub(super) fn make(&mut self, step: &Step<'a>) -> PlannedMove {
        let Step { task, from, to, gain, .. } = *step;
        let before = [self.sides[from].filling, self.sides[to].filling];
        self.change(to, |side| {
            side.node.reserve(&task.requirements);
            side.arrived.push(task);
        });
        self.change(from, |side| {
            side.node.release(&task.requirements);
            side.tasks.retain(|one| one.task_id != task.task_id);
        });
        self.wake(from, to);
        let [source, target] = [&self.sides[from], &self.sides[to]];
        PlannedMove {
            task_id: task.task_id,
            from: source.node.node_id,
            to: target.node.node_id,
            gain,
            reason: format!(
                "{} carries {}, {} {}; afterwards {} and {}",
                source.node.name,
                percent(before[0]),
                target.node.name,
                percent(before[1]),
                percent(source.filling),
                percent(target.filling),
            ),
        }
    }

    fn change(&mut self, at: usize, change: impl FnOnce(&mut Side<'a>)) {
        let side = &mut self.sides[at];
        self.order.remove(&(Filling(side.filling), at));
        change(side);
        side.filling = filling(&side.node);
        side.stuck = false;
        self.order.insert((Filling(side.filling), at));
    }

    /// Nodes that had no move may have one now, to one of the two that have changed.
    fn wake(&mut self, first: usize, second: usize) {
        let emptier = self.sides[first].filling.min(self.sides[second].filling);
        let mut woken = Vec::new();
        for (filling, at) in self.order.iter().rev() {
            if !self.could_gain(filling.0, emptier) {
                break;
            }
            let side = &self.sides[*at];
            if side.stuck && [first, second].into_iter().any(|to| self.may_move(side, &self.sides[to])) {
                woken.push(*at);
            }
        }
        for at in woken {
            self.sides[at].stuck = false;
        }
    }

    fn may_move(&self, source: &Side<'a>, target: &Side<'a>) -> bool {
        self.could_gain(source.filling, target.filling)
            && source.tasks.iter().any(|task| {
                let left = source.filling_without(&task.requirements);
                let becomes = target.filling_with(&task.requirements);
                let gain = source.filling - left.max(becomes) - source.regret(task, target);
                gain >= self.min_gain && fits(&task.requirements, &target.node)
            })
    }
}

impl<'a> Side<'a> {
    fn new(node: &'a NodeView, is_movable: &mut impl FnMut(&PlacedTask) -> bool) -> Self {
        let mut tasks: Vec<_> = node.tasks.iter().filter(|task| is_movable(task)).collect();
        tasks.sort_by_key(|task| (task.priority, task.running_secs, task.task_id));
        let node = without_tasks(node);
        Self { filling: filling(&node), node, tasks, arrived: Vec::new(), stuck: false }
    }

    fn filling_with(&self, requirements: &Requirements) -> f64 {
        let reserved = self.node.reserved.saturating_add(requirements.reservation);
        largest(shares(reserved, self.node.allocatable)) + tasks(self.node.task_count.saturating_add(1))
    }

    fn filling_without(&self, requirements: &Requirements) -> f64 {
        let reserved = self.node.reserved.saturating_sub(requirements.reservation);
        largest(shares(reserved, self.node.allocatable)) + tasks(self.node.task_count.saturating_sub(1))
    }

    /// How much less a task likes another node, as a share of a node; nothing if it likes it as much.
    fn regret(&self, task: &PlacedTask, other: &Self) -> f64 {
        let liked = |side: &Self| -> f64 {
            let matching = task.affinities.iter().filter(|one| one.expression.is_satisfied_by(side.node.attributes()));
            matching.map(|one| f64::from(one.weight) / 100.0).sum()
        };
        if task.affinities.is_empty() { 0.0 } else { (liked(self) - liked(other)).max(0.0) }
    }

    /// Whether another task here is known to need this one beside it, and has no other.
    fn is_needed(&self, task: &PlacedTask) -> bool {
        let last = |mark| task.requirements.marks.contains(mark) && self.node.count_of(mark) <= 1;
        let beside = self.tasks.iter().chain(&self.arrived).filter(|one| one.task_id != task.task_id);
        beside.flat_map(|one| &one.requirements.needs).any(last)
    }
}

/// How full a node is, as `spread` sees it.
pub(super) fn filling(node: &NodeView) -> f64 {
    largest(shares(node.reserved, node.allocatable)) + tasks(node.task_count)
}

fn largest(shares: [f64; 3]) -> f64 {
    shares.into_iter().fold(0.0, f64::max)
}

fn tasks(count: u32) -> f64 {
    f64::from(count) * TASK_SHARE
}

fn percent(filling: f64) -> String {
    format!("{:.0}%", filling * 100.0)
}

/// A copy without the tasks, which may be many.
fn without_tasks(node: &NodeView) -> NodeView {
    NodeView {
        node_id: node.node_id,
        name: node.name.clone(),
        os: node.os.clone(),
        arch: node.arch.clone(),
        labels: node.labels.clone(),
        state: node.state,
        cordoned: node.cordoned,
        runtimes: node.runtimes.clone(),
        allocatable: node.allocatable,
        reserved: node.reserved,
        host_ports: node.host_ports.clone(),
        port_range: node.port_range,
        promised_ports: node.promised_ports,
        task_count: node.task_count,
        marks: node.marks.clone(),
        refused: node.refused.clone(),
        stats: None,
        tasks: Vec::new(),
    }
}

/// A share with a total order.
#[derive(Debug, Clone, Copy)]
struct Filling(f64);

impl Ord for Filling {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.total_cmp(&other.0)
    }
}

impl PartialOrd for Filling {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Filling {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Filling {}
