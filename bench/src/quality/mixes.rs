//! Tasks and nodes that are hard to pack, each in its own way.

use super::Amounts;
use crate::workload::Rng;

const TASKS: usize = 5_000;
/// How much of nodes of two sizes is filled, more or less.
const FILLING: f64 = 0.6;
const GIB: f64 = (1_u64 << 30) as f64;
/// Cores and GiB of memory.
const MEDIUM: Amounts = [16_000.0, 64.0 * GIB];
const SMALL: Amounts = [8_000.0, 32.0 * GIB];
const LARGE: Amounts = [32_000.0, 128.0 * GIB];

/// A kind of workload.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mix {
    pub(super) name: &'static str,
    draw: fn(&mut Rng) -> Amounts,
}

/// All of them.
pub(super) const ALL: [Mix; 4] = [
    Mix { name: "uniform small", draw: uniform_small },
    Mix { name: "cpu-heavy + memory-heavy", draw: complementary },
    Mix { name: "large + small", draw: large_and_small },
    Mix { name: "few large, many small", draw: few_large_many_small },
];

impl Mix {
    /// Its tasks: millicores and bytes, whole numbers.
    pub(super) fn tasks(self, rng: &mut Rng) -> Vec<Amounts> {
        (0..TASKS).map(|_| (self.draw)(rng).map(f64::floor)).collect()
    }
}

fn uniform_small(rng: &mut Rng) -> Amounts {
    [rng.between(100.0, 1_000.0), rng.between(0.4, 4.0) * GIB]
}

/// Alone each kind would leave half of a node unused; together they fill it.
fn complementary(rng: &mut Rng) -> Amounts {
    if rng.unit() < 0.5 {
        [rng.between(1_500.0, 3_000.0), rng.between(0.5, 2.0) * GIB]
    } else {
        [rng.between(100.0, 500.0), rng.between(6.0, 12.0) * GIB]
    }
}

/// A fifth takes a quarter to more than half of a node of 16 cores.
fn large_and_small(rng: &mut Rng) -> Amounts {
    if rng.unit() < 0.2 {
        [rng.between(3_000.0, 7_800.0), rng.between(12.0, 31.0) * GIB]
    } else {
        [rng.between(50.0, 500.0), rng.between(0.2, 2.0) * GIB]
    }
}

/// After the published traces of Google's (2011, 2019) and Azure's (2017, 2019) clusters: most are tiny, a few percent hold
/// most of what is reserved, sizes are mostly powers of two, and memory follows cpu only loosely.
pub(crate) fn few_large_many_small(rng: &mut Rng) -> Amounts {
    const CORES: [(f64, f64); 5] = [(0.45, 0.125), (0.75, 0.5), (0.92, 1.0), (0.98, 4.0), (1.0, 7.5)];
    let drawn = rng.unit();
    let cores = CORES.iter().find(|(upto, _)| drawn < *upto).map_or(1.0, |(_, cores)| *cores);
    let gib_per_core = rng.one_of(&[1.0, 2.0, 4.0, 8.0]).unwrap_or(4.0);
    [cores * 1000.0, (cores * gib_per_core * rng.between(0.7, 1.2)).min(60.0) * GIB]
}

/// Which nodes are packed onto.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NodeKind {
    /// All of 16 cores: what counts is how many are used.
    Alike,
    /// Of 8 and 32 cores, as many of each: what counts is how many cores the used ones have.
    TwoSizes,
}

impl NodeKind {
    pub(super) const ALL: [Self; 2] = [Self::Alike, Self::TwoSizes];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Alike => "alike",
            Self::TwoSizes => "two sizes",
        }
    }

    /// Of one size more than any packing needs; of two sizes a cluster that the tasks fill to about 60 %.
    pub(super) fn nodes(self, tasks: &[Amounts]) -> Vec<Amounts> {
        let enough = |size: Amounts| 2 * least(tasks, size) as usize + 10;
        match self {
            Self::Alike => vec![MEDIUM; enough(MEDIUM)],
            Self::TwoSizes => {
                let pairs = least(tasks, SMALL) as f64 * SMALL[0] / FILLING / (SMALL[0] + LARGE[0]);
                (0..pairs.ceil() as u64).flat_map(|_| [SMALL, LARGE]).collect()
            }
        }
    }

    /// The orders in which nodes may be opened.
    pub(super) fn orders(self, nodes: &[Amounts]) -> Vec<Vec<usize>> {
        let order: Vec<usize> = (0..nodes.len()).collect();
        match self {
            Self::Alike => vec![order],
            Self::TwoSizes => {
                let (large, small): (Vec<_>, Vec<_>) = order.iter().partition(|at| nodes[**at][0] > SMALL[0]);
                vec![[&large[..], &small[..]].concat(), [&small[..], &large[..]].concat()]
            }
        }
    }

    /// How much these nodes are.
    pub(super) fn measure(self, used: impl Iterator<Item = Amounts>) -> u64 {
        match self {
            Self::Alike => used.count() as u64,
            Self::TwoSizes => (used.map(|[cpu, _]| cpu).sum::<f64>() / 1000.0) as u64,
        }
    }

    /// What no packing gets below.
    pub(super) fn bound(self, tasks: &[Amounts]) -> u64 {
        match self {
            Self::Alike => least(tasks, MEDIUM),
            Self::TwoSizes => least(tasks, SMALL) * (SMALL[0] / 1000.0) as u64,
        }
    }
}

/// The least number of nodes of a size that hold the sum of all tasks.
fn least(tasks: &[Amounts], size: Amounts) -> u64 {
    let needed = |dimension: usize| tasks.iter().map(|task| task[dimension]).sum::<f64>() / size[dimension];
    needed(0).max(needed(1)).ceil() as u64
}
