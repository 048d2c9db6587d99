//! The cheapest victims on one node.

use std::borrow::Cow;
use std::collections::BTreeSet;

use davit_core::id::{NodeId, TaskId};
use davit_core::labels::NodeLabels;
use davit_core::placement::{Filter, NodeView, PlacedTask, Requirements};
use davit_core::spec::PRIORITIES;

use super::{Cost, Victims};

/// Up to so many tasks that may be stopped, the cheapest set is found by looking at all that could be it.
pub(super) const EXACT_CANDIDATES: usize = 12;

/// The cheapest tasks of lower priority whose end makes a task fit on a node, by [`Cost`]; of equal costs the lowest ids.
/// Empty where it fits as soon as the tasks that are ending have ended; `None` where no end of such tasks helps, or where another filter fails.
#[cfg(test)]
pub(super) fn cheapest(requirements: &Requirements, priority: i32, node: &NodeView) -> Option<Victims> {
    Case::new(requirements, priority, node)?.cheapest()
}

/// One task and one node, as far as stopping tasks can change whether it fits.
#[derive(Debug, Clone)]
pub(super) struct Case<'a> {
    requirements: &'a Requirements,
    node: &'a NodeView,
    /// What is left to look at of the node: without all that no end of a task changes, or that the task does not ask for, so
    /// that it is copied for next to nothing.
    probe: NodeView,
    /// Those that may be stopped, the least important first.
    candidates: Vec<&'a PlacedTask>,
    /// How many of the candidates must at least be allowed, in whole levels of priority. 0: it fits as it is.
    least: usize,
}

impl<'a> Case<'a> {
    /// `None` where no end of a task helps.
    pub(super) fn new(requirements: &'a Requirements, priority: i32, node: &'a NodeView) -> Option<Self> {
        if !Filter::STATIC.iter().all(|filter| filter.check(requirements, node)) {
            return None;
        }
        // No end of a task brings this one here if something keeps it elsewhere.
        if requirements.homes.iter().any(|home| home.node.as_ref().is_some_and(|at| at.node_id != node.node_id)) {
            return None;
        }
        let (ending, staying): (Vec<_>, Vec<_>) = node.tasks.iter().partition(|task| task.is_ending);
        let mut probe = probe(requirements, node);
        for task in ending {
            probe.release(&task.requirements);
        }
        // No end of a task gives one that is needed.
        if !Filter::TaskAffinity.check(requirements, &probe) {
            return None;
        }
        let mut candidates: Vec<_> = staying.into_iter().filter(|task| task.priority < priority).collect();
        candidates.sort_by_key(|task| importance(task));
        candidates.dedup_by_key(|task| task.task_id);
        Self { requirements, node, probe, candidates, least: 0 }.with_least()
    }

    /// Finds the lowest level of priority up to which stopping everything helps.
    fn with_least(mut self) -> Option<Self> {
        let mut probe = Cow::Borrowed(&self.probe);
        let mut at = 0;
        while !makes_room(self.requirements, &probe) {
            let level = self.candidates.get(at)?.priority;
            while let Some(task) = self.candidates.get(at).filter(|task| task.priority == level) {
                probe.to_mut().release(&task.requirements);
                at += 1;
            }
        }
        self.least = at;
        Some(self)
    }

    pub(super) fn node_id(&self) -> NodeId {
        self.node.node_id
    }

    pub(super) fn node_name(&self) -> &str {
        &self.node.name
    }

    pub(super) fn lowest_priority(&self, task_ids: &[TaskId]) -> i32 {
        let tasks = self.candidates.iter().filter(|task| task_ids.contains(&task.task_id));
        tasks.map(|task| task.priority).min().unwrap_or(i32::MIN)
    }

    /// What it costs at least: one victim of the lowest level that helps.
    pub(super) fn least_cost(&self) -> Cost {
        let Some(last) = self.least.checked_sub(1).and_then(|at| self.candidates.get(at)) else { return Cost::NOTHING };
        Cost { highest_priority: last.priority, importance: level(last), count: 1, running_secs: 0, spare: 0 }
    }

    /// The same node when the victims are gone and the task has taken its place. `None` when it can't take another one.
    pub(super) fn after(mut self, victims: &Victims) -> Option<Self> {
        for task in self.candidates.iter().filter(|task| victims.task_ids.contains(&task.task_id)) {
            self.probe.release(&task.requirements);
        }
        self.candidates.retain(|task| !victims.task_ids.contains(&task.task_id));
        self.probe.reserve(self.requirements);
        self.with_least()
    }

    /// The cheapest victims.
    pub(super) fn cheapest(&self) -> Option<Victims> {
        let mut allowed = self.least;
        if allowed == 0 {
            return Some(Victims { cost: Cost::NOTHING, task_ids: Vec::new() });
        }
        // A second round is only for tasks that are needed: where one of low priority must stay, others have to go.
        loop {
            let candidates = self.candidates.get(..allowed)?;
            let mut best = self.greedy(candidates);
            if candidates.len() <= EXACT_CANDIDATES {
                Search { case: self, candidates, best: &mut best }.descend(0, &self.probe, &mut Vec::new());
            }
            if let Some(victims) = best {
                return Some(victims);
            }
            let next = self.candidates.get(allowed)?.priority;
            allowed = self.candidates.partition_point(|task| task.priority <= next);
        }
    }

    /// A set that is sufficient, and of which none can be spared.
    fn greedy(&self, candidates: &[&'a PlacedTask]) -> Option<Victims> {
        let mut probe = self.probe.clone();
        let mut rest = candidates.to_vec();
        let mut chosen = Vec::new();
        while !makes_room(self.requirements, &probe) {
            // The most help for the least importance; of equal ones the first, which is the least important.
            let mut best: Option<(usize, f64)> = None;
            for (at, task) in rest.iter().enumerate() {
                let price = importance_f64(task) / help(self.requirements, &probe, &task.requirements);
                let wins = best.is_none_or(|(_, lowest)| price < lowest);
                if wins && price.is_finite() && self.leaves_needed(&probe, task) {
                    best = Some((at, price));
                }
            }
            let task = rest.remove(best?.0);
            probe.release(&task.requirements);
            chosen.push(task);
        }
        // The most important first. When one had to stay, it also has to with fewer others, so once round is enough.
        chosen.sort_by_key(|task| importance(task));
        let mut at = chosen.len();
        while at > 0 {
            at -= 1;
            let mut without = self.probe.clone();
            for (_, task) in chosen.iter().enumerate().filter(|(other, _)| *other != at) {
                without.release(&task.requirements);
            }
            if makes_room(self.requirements, &without) {
                chosen.remove(at);
            }
        }
        Some(self.victims(&chosen))
    }

    /// Whether all tasks that the new one needs are still there when this one is gone.
    fn leaves_needed(&self, probe: &NodeView, task: &PlacedTask) -> bool {
        let needs = &self.requirements.needs;
        !task.requirements.marks.iter().any(|mark| needs.contains(mark) && probe.count_of(mark) <= 1)
    }

    fn victims(&self, tasks: &[&PlacedTask]) -> Victims {
        let mut after = self.probe.clone();
        for task in tasks {
            after.release(&task.requirements);
        }
        let cost = Cost { spare: spare(self.requirements, &self.probe, &after), ..sum(tasks) };
        let mut tasks = tasks.to_vec();
        tasks.sort_by_key(|task| importance(task));
        Victims { cost, task_ids: tasks.iter().map(|task| task.task_id).collect() }
    }
}

/// Looks at all sets that could be the cheapest.
struct Search<'s, 'a> {
    case: &'s Case<'a>,
    candidates: &'s [&'a PlacedTask],
    best: &'s mut Option<Victims>,
}

impl<'a> Search<'_, 'a> {
    /// Decides on the candidates from `at` on; those before it are decided on, and `probe` is without the chosen.
    fn descend(&mut self, at: usize, probe: &NodeView, chosen: &mut Vec<&'a PlacedTask>) {
        let so_far = sum(chosen);
        if self.best.as_ref().is_some_and(|best| so_far > Cost { spare: u64::MAX, ..best.cost.clone() }) {
            return;
        }
        if makes_room(self.case.requirements, probe) {
            let victims = self.case.victims(chosen);
            if self.best.as_ref().is_none_or(|best| victims < *best) {
                *self.best = Some(victims);
            }
            // More victims only cost more.
            return;
        }
        let Some((task, rest)) = self.candidates.get(at..).and_then(<[_]>::split_first) else { return };
        let mut all = probe.clone();
        for task in rest {
            all.release(&task.requirements);
        }
        let without_it = makes_room(self.case.requirements, &all);
        all.release(&task.requirements);
        if !makes_room(self.case.requirements, &all) {
            return;
        }
        if self.case.leaves_needed(probe, task) {
            let mut next = probe.clone();
            next.release(&task.requirements);
            chosen.push(task);
            self.descend(at + 1, &next, chosen);
            chosen.pop();
        }
        if without_it {
            self.descend(at + 1, probe, chosen);
        }
    }
}

/// Only the changeable side of a node that matters for a task.
fn probe(requirements: &Requirements, node: &NodeView) -> NodeView {
    let asks_for_ports = !requirements.host_ports.is_empty() || requirements.dynamic_ports > 0;
    let marks = requirements.mentioned_marks().filter_map(|mark| Some((mark.clone(), *node.marks.get(mark)?)));
    let refused = requirements.marks.iter().filter_map(|mark| Some((mark.clone(), *node.refused.get(mark)?)));
    NodeView {
        node_id: node.node_id,
        name: String::new(),
        os: String::new(),
        arch: String::new(),
        labels: NodeLabels::new(),
        state: node.state,
        cordoned: node.cordoned,
        runtimes: BTreeSet::new(),
        allocatable: node.allocatable,
        reserved: node.reserved,
        host_ports: if asks_for_ports { node.host_ports.clone() } else { BTreeSet::new() },
        port_range: node.port_range,
        promised_ports: node.promised_ports,
        task_count: node.task_count,
        marks: marks.collect(),
        refused: refused.collect(),
        stats: None,
        tasks: Vec::new(),
    }
}

/// Whether the task fits, by all that the end of other tasks can give. Tasks that are needed are looked after where victims are
/// chosen.
fn makes_room(requirements: &Requirements, probe: &NodeView) -> bool {
    let given = Filter::DYNAMIC.into_iter().filter(|filter| *filter != Filter::TaskAffinity);
    given.into_iter().all(|filter| filter.check(requirements, probe))
}

/// How much the end of one task helps: the sum, over all that is short, of the part that it gives.
fn help(requirements: &Requirements, probe: &NodeView, task: &Requirements) -> f64 {
    let (needed, free, given) = (requirements.reservation, probe.free(), task.reservation);
    let mut help = 0.0;
    for (needed, free, given) in [
        (needed.cpu_millis, free.cpu_millis, given.cpu_millis),
        (needed.memory_bytes, free.memory_bytes, given.memory_bytes),
        (needed.disk_bytes, free.disk_bytes, given.disk_bytes),
    ] {
        help += part(given, needed.saturating_sub(free));
    }
    if requirements.dynamic_ports > 0 {
        // Fixed ports of the two may be in the range too; it is only a guess.
        let given = u64::from(task.dynamic_ports).saturating_add(task.host_ports.len() as u64);
        let free = u64::from(probe.free_dynamic_ports());
        let needed = u64::from(requirements.dynamic_ports).saturating_add(requirements.host_ports.len() as u64);
        help += part(given, needed.saturating_sub(free));
    }
    if let Some(one) = requirements.max_per_node.as_ref().filter(|one| task.marks.contains(&one.mark)) {
        help += part(1, u64::from(probe.count_of(&one.mark).saturating_add(1).saturating_sub(one.max)));
    }
    let clashes = |port| task.host_ports.contains(port) && probe.host_ports.contains(port);
    let conflicts = requirements.host_ports.iter().filter(|port| clashes(*port)).count()
        + requirements.refuses.iter().filter(|mark| task.marks.contains(mark)).count()
        + requirements.marks.iter().filter(|mark| task.refuses.contains(mark)).count();
    help + count_f64(conflicts)
}

/// Which part of what is short is given.
#[allow(clippy::cast_precision_loss, reason = "a share need not be exact")]
fn part(given: u64, short: u64) -> f64 {
    if short == 0 { 0.0 } else { given.min(short) as f64 / short as f64 }
}

#[allow(clippy::cast_precision_loss, reason = "a handful")]
fn count_f64(count: usize) -> f64 {
    count as f64
}

/// The least important first: by priority, then by how long they run.
fn importance(task: &PlacedTask) -> (i32, u64, TaskId) {
    (task.priority, task.running_secs, task.task_id)
}

/// A priority, counted from 1 at the lowest that exists.
fn level(task: &PlacedTask) -> u64 {
    let above = i64::from(task.priority) - i64::from(*PRIORITIES.start());
    u64::try_from(above).unwrap_or(0).saturating_add(1)
}

#[allow(clippy::cast_precision_loss, reason = "priorities are small")]
fn importance_f64(task: &PlacedTask) -> f64 {
    level(task) as f64
}

/// Costs of some tasks, but for what they free.
fn sum(tasks: &[&PlacedTask]) -> Cost {
    tasks.iter().fold(Cost::NOTHING, |cost, task| Cost {
        highest_priority: cost.highest_priority.max(task.priority),
        importance: cost.importance.saturating_add(level(task)),
        count: cost.count + 1,
        running_secs: cost.running_secs.saturating_add(task.running_secs),
        spare: 0,
    })
}

/// What was freed between the two and the task does not use.
fn spare(requirements: &Requirements, before: &NodeView, after: &NodeView) -> u64 {
    let (needed, was_free, free) = (requirements.reservation, before.free(), after.free());
    let share = |needed: u64, was_free: u64, free: u64, whole: u64| {
        // Of what was free before, nothing was freed.
        let unused = free.saturating_sub(needed).min(free.saturating_sub(was_free));
        let millionths = u128::from(unused).saturating_mul(1_000_000) / u128::from(whole.max(1));
        u64::try_from(millionths).unwrap_or(u64::MAX)
    };
    let whole = before.allocatable;
    share(needed.cpu_millis, was_free.cpu_millis, free.cpu_millis, whole.cpu_millis)
        .saturating_add(share(needed.memory_bytes, was_free.memory_bytes, free.memory_bytes, whole.memory_bytes))
        .saturating_add(share(needed.disk_bytes, was_free.disk_bytes, free.disk_bytes, whole.disk_bytes))
}
