//! All cells with their engines, the fronts above them, and the ledger beside both.

use std::time::Duration;

use davit_core::placement::NodeView;
use davit_core::resources::Resources;
use scheduler_svc::placement::{Group, GroupPlacement, Mirror, place};
use tokio::time::Instant;

use super::choose::Policy;
use super::front::{Cells, Front};
use super::ledger::{Counted, Ledger};
use super::summary::{Classes, Summary};
use crate::error::Error;

/// The engines, and how long they took.
#[derive(Debug)]
struct Engines {
    mirrors: Vec<Mirror>,
    classes: Vec<Classes>,
    seed: u64,
    placing: Duration,
    summarizing: Duration,
    summaries: u64,
}

impl Cells for Engines {
    fn place(&mut self, cell: usize, groups: &[Group]) -> Vec<GroupPlacement> {
        let began = Instant::now();
        self.seed = self.seed.wrapping_add(1);
        let answers = place(&mut self.mirrors[cell], groups, self.seed);
        self.placing += began.elapsed();
        answers
    }

    fn summary(&mut self, cell: usize) -> Summary {
        let began = Instant::now();
        let summary = self.classes[cell].summary(self.mirrors[cell].nodes());
        self.summarizing += began.elapsed();
        self.summaries += 1;
        summary
    }
}

/// How a world is run.
#[derive(Debug, Clone, Copy)]
pub(super) struct Running {
    pub(super) policy: Policy,
    /// How many fronts take turns.
    pub(super) fronts: usize,
    /// After how many turns a front hears a cell again.
    pub(super) hear_every: u64,
    pub(super) seed: u64,
}

/// Cells, fronts and the ledger.
pub(super) struct World {
    engines: Engines,
    fronts: Vec<Front>,
    ledger: Ledger,
    running: Running,
    turn: u64,
}

/// What happened in some turns.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Tally {
    pub(super) tasks: u64,
    pub(super) groups: u64,
    pub(super) unplaced: u64,
    /// Groups of which a cell could not place all, so that another one was asked.
    pub(super) spilled: u64,
    /// Groups that are in several cells.
    pub(super) divided: u64,
    pub(super) questions: u64,
    pub(super) summaries: u64,
    pub(super) elapsed: Duration,
    /// In the engines, of all cells together.
    pub(super) placing: Duration,
    pub(super) summarizing: Duration,
    pub(super) slowest_turn: Duration,
}

impl World {
    /// Cells of these nodes.
    pub(super) fn new(nodes: Vec<Vec<NodeView>>, running: Running) -> Self {
        let mirrors: Vec<Mirror> = nodes.into_iter().map(Mirror::new).collect();
        let classes: Vec<Classes> = mirrors.iter().map(|mirror| Classes::new(mirror.nodes())).collect();
        let told = |(mirror, classes): (&Mirror, &Classes)| classes.summary(mirror.nodes());
        let summaries: Vec<Summary> = mirrors.iter().zip(&classes).map(told).collect();
        let zero = Duration::ZERO;
        let seed = running.seed;
        let engines = Engines { mirrors, classes, seed, placing: zero, summarizing: zero, summaries: 0 };
        let front = |number| Front::new(summaries.clone(), running.policy, running.seed.wrapping_add(number));
        let fronts = (0..running.fronts.max(1) as u64).map(front).collect();
        Self { engines, fronts, ledger: Ledger::default(), running, turn: 0 }
    }

    /// New groups come to the front whose turn it is.
    pub(super) fn offer(&mut self, groups: &[Group], tally: &mut Tally) {
        let numbers = self.ledger.add(groups);
        self.take_turn(&numbers, tally);
    }

    /// The cell is gone, with all its nodes. Gives the groups that had tasks there.
    pub(super) fn lose(&mut self, cell: usize) -> Vec<usize> {
        self.engines.mirrors[cell] = Mirror::default();
        for front in &mut self.fronts {
            front.lose(cell);
        }
        self.ledger.lose(cell)
    }

    /// How many tasks of a group wait.
    pub(super) fn waiting(&self, group: usize) -> u32 {
        self.ledger.waiting(group).count
    }

    /// The front whose turn it is places all that waits of these groups.
    pub(super) fn take_turn(&mut self, numbers: &[usize], tally: &mut Tally) {
        let groups: Vec<Group> = numbers.iter().map(|number| self.ledger.waiting(*number)).collect();
        let before = (self.engines.placing, self.engines.summarizing, self.engines.summaries);
        let began = Instant::now();
        self.hear();
        let at = usize::try_from(self.turn).unwrap_or(0) % self.fronts.len();
        let outcomes = self.fronts[at].place(&groups, self.turn, &mut self.engines);
        let elapsed = began.elapsed();
        self.turn += 1;
        tally.elapsed += elapsed;
        tally.slowest_turn = tally.slowest_turn.max(elapsed);
        tally.placing += self.engines.placing - before.0;
        tally.summarizing += self.engines.summarizing - before.1;
        tally.summaries += self.engines.summaries - before.2;
        for ((number, group), outcome) in numbers.iter().zip(&groups).zip(&outcomes) {
            self.ledger.enter(*number, outcome);
            tally.tasks += u64::from(group.count);
            tally.groups += 1;
            tally.unplaced += u64::from(outcome.unplaced);
            tally.spilled += u64::from(outcome.spills > 0);
            tally.divided += u64::from(outcome.pieces.len() > 1);
            tally.questions += u64::from(outcome.questions);
        }
    }

    /// Each cell tells each front how it is once in so many turns, never all at once.
    fn hear(&mut self) {
        let every = self.running.hear_every.max(1);
        for (front, number) in self.fronts.iter_mut().zip(0_u64..) {
            for (cell, offset) in (0..self.engines.mirrors.len()).zip(0_u64..) {
                if (self.turn + number + offset).is_multiple_of(every) {
                    let summary = self.engines.summary(cell);
                    front.hear(cell, summary, self.turn);
                }
            }
        }
    }

    /// How full each cell is: its reserved share of cpu and of memory. `None` of one that is lost.
    pub(super) fn filled(&self) -> Vec<Option<[f64; 2]>> {
        self.engines.mirrors.iter().map(|mirror| share(mirror.nodes().iter())).collect()
    }

    /// How full all of them together are.
    pub(super) fn filled_together(&self) -> [f64; 2] {
        share(self.engines.mirrors.iter().flat_map(Mirror::nodes)).unwrap_or_default()
    }

    /// Counts everything again against nodes as they were at first.
    pub(super) fn check(&self, nodes: &[Vec<NodeView>]) -> Result<Counted, Error> {
        let engines: Vec<&[NodeView]> = self.engines.mirrors.iter().map(Mirror::nodes).collect();
        self.ledger.check(nodes, &engines)
    }
}

fn share<'a>(nodes: impl Iterator<Item = &'a NodeView>) -> Option<[f64; 2]> {
    let add = |sum: (Resources, Resources), node: &NodeView| {
        (sum.0.saturating_add(node.reserved), sum.1.saturating_add(node.allocatable))
    };
    let (reserved, total) = nodes.fold((Resources::ZERO, Resources::ZERO), add);
    let ratio = |part: u64, whole: u64| part as f64 / whole as f64;
    (total.cpu_millis > 0)
        .then(|| [ratio(reserved.cpu_millis, total.cpu_millis), ratio(reserved.memory_bytes, total.memory_bytes)])
}
