//! How densely the packing algorithms pack, against what the literature packs with.

mod engine;
mod mixes;
mod reference;

use serde::Serialize;

pub(crate) use self::mixes::few_large_many_small;
use self::mixes::{Mix, NodeKind};
use crate::workload::Rng;

/// How much more than the better reference may be needed.
pub(crate) const BOUND_OVER_BEST: f64 = 1.05;

/// Amounts of cpu and memory. Packing here knows no other dimension.
type Amounts = [f64; 2];

/// How much of the cluster each way of packing needs: nodes or, where they differ in size, cores.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Row {
    pub(crate) mix: &'static str,
    pub(crate) nodes: &'static str,
    pub(crate) tasks: usize,
    /// What the tasks add up to in the scarcer dimension: no packing needs less.
    pub(crate) bound: u64,
    pub(crate) first_fit_decreasing: u64,
    pub(crate) dot_product: u64,
    pub(crate) binpack: u64,
    pub(crate) least_stranded: u64,
}

impl Row {
    /// How much is needed for each one that the better reference needs.
    pub(crate) fn ratio(&self, needed: u64) -> f64 {
        needed as f64 / self.first_fit_decreasing.min(self.dot_product).max(1) as f64
    }

    /// Whether both algorithms are near the better reference.
    pub(crate) fn is_good(&self) -> bool {
        [self.binpack, self.least_stranded].iter().all(|needed| self.ratio(*needed) <= BOUND_OVER_BEST)
    }
}

/// Packs every mix onto every kind of nodes in every way.
pub(crate) fn measure(seed: u64) -> Vec<Row> {
    let mut rows = Vec::new();
    for mix in mixes::ALL {
        let tasks = mix.tasks(&mut Rng::new(seed));
        for kind in NodeKind::ALL {
            rows.push(row(mix, kind, &tasks, seed));
        }
    }
    rows
}

fn row(mix: Mix, kind: NodeKind, tasks: &[Amounts], seed: u64) -> Row {
    let nodes = kind.nodes(tasks);
    let needed = |used: &[bool]| {
        let used = nodes.iter().zip(used).filter(|(_, used)| **used).map(|(size, _)| *size);
        kind.measure(used)
    };
    // The order in which nodes are opened matters where they differ: the better one counts.
    let orders = kind.orders(&nodes);
    let best = |pack: &dyn Fn(&[usize]) -> Vec<bool>| {
        orders.iter().map(|order| needed(&pack(order))).min().unwrap_or(u64::MAX)
    };
    Row {
        mix: mix.name,
        nodes: kind.name(),
        tasks: tasks.len(),
        bound: kind.bound(tasks),
        first_fit_decreasing: best(&|order| reference::first_fit_decreasing(tasks, &nodes, order)),
        dot_product: best(&|order| reference::dot_product(tasks, &nodes, order)),
        binpack: needed(&engine::pack("binpack", tasks, &nodes, seed)),
        least_stranded: needed(&engine::pack("least-stranded", tasks, &nodes, seed)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_needs_less_than_the_bound() {
        for mix in mixes::ALL {
            let tasks: Vec<_> = mix.tasks(&mut Rng::new(5)).into_iter().take(300).collect();
            for kind in NodeKind::ALL {
                let row = row(mix, kind, &tasks, 5);
                for needed in [row.first_fit_decreasing, row.dot_product, row.binpack, row.least_stranded] {
                    assert!(needed >= row.bound, "{row:?}");
                }
            }
        }
    }

    #[test]
    fn more_than_five_percent_above_the_better_reference_is_not_good() {
        let row = |binpack| Row {
            mix: "",
            nodes: "",
            tasks: 0,
            bound: 90,
            first_fit_decreasing: 110,
            dot_product: 100,
            binpack,
            least_stranded: 100,
        };
        assert!(row(105).is_good());
        assert!(!row(106).is_good());
    }
}
