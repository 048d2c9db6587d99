//! The algorithms, by name.

mod binpack;
mod epvm;
mod least_stranded;
pub(super) mod round_robin;
pub(super) mod spread;

pub use self::binpack::Binpack;
pub use self::epvm::{Epvm, EpvmClassic};
pub use self::least_stranded::LeastStranded;
pub use self::round_robin::RoundRobin;
pub use self::spread::Spread;
use super::score::Algorithm;

/// Every algorithm, by name.
pub const ALL: [&dyn Algorithm; 6] = [&Binpack, &Epvm, &EpvmClassic, &LeastStranded, &RoundRobin, &Spread];

/// Used where a request names none.
pub const DEFAULT: &dyn Algorithm = &Spread;

/// A name that no algorithm has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{name}` is not an algorithm; use one of {}", known_names())]
pub struct UnknownAlgorithm {
    /// What was asked for.
    pub name: String,
}

fn known_names() -> String {
    ALL.map(Algorithm::name).join(", ")
}

/// The algorithm of a name; the default for an empty one.
pub fn find(name: &str) -> Result<&'static dyn Algorithm, UnknownAlgorithm> {
    if name.is_empty() {
        return Ok(DEFAULT);
    }
    ALL.into_iter().find(|algorithm| algorithm.name() == name).ok_or_else(|| UnknownAlgorithm { name: name.to_owned() })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::placement::score::ClusterFacts;
    use crate::placement::steps::{cost_of, score_of};
    use crate::placement::test_support::{any_node, any_requirements, facts};

    #[test]
    fn algorithms_are_found_by_name() {
        for algorithm in ALL {
            assert_eq!(find(algorithm.name()).unwrap().name(), algorithm.name());
            assert!(!algorithm.description().is_empty());
        }
        assert_eq!(find("").unwrap().name(), "spread");
        assert!(ALL.is_sorted_by_key(|algorithm| algorithm.name()));
    }

    #[test]
    fn an_unknown_name_is_answered_with_the_known_ones() {
        let error = find("best").unwrap_err().to_string();
        assert_eq!(
            error,
            "`best` is not an algorithm; use one of binpack, epvm, epvm-classic, least-stranded, round-robin, spread"
        );
    }

    proptest! {
        #[test]
        fn costs_are_finite_whatever_the_numbers(
            requirements in any_requirements(),
            mut node in any_node(0),
            amounts: [u64; 8],
            node_count: usize,
            measured: bool,
        ) {
            node.allocatable.cpu_millis = amounts[0];
            node.allocatable.memory_bytes = amounts[1];
            node.reserved.cpu_millis = amounts[2];
            node.reserved.memory_bytes = amounts[3];
            if let Some(stats) = &mut node.stats {
                stats.cpu_used_millis = amounts[4];
                stats.memory_used_bytes = amounts[5];
                stats.load_1m = f64::NAN;
            }
            let mut requirements = requirements;
            requirements.reservation.cpu_millis = amounts[6];
            requirements.reservation.memory_bytes = amounts[7];
            let facts = ClusterFacts { measured, ..facts(node_count) };
            for algorithm in ALL {
                let score = score_of(algorithm, &requirements, &node, &facts);
                prop_assert!(score.cost().is_finite(), "{}: {:?}", algorithm.name(), score);
                prop_assert!(score.cost() < 1e100, "{}: {:?}", algorithm.name(), score);
                let unit = algorithm.unit(requirements.reservation, &facts);
                prop_assert!(unit.is_finite() && unit > 0.0, "{}: {}", algorithm.name(), unit);
            }
        }

        /// Of those that even out. The packing ones prefer load, by their nature.
        #[test]
        fn more_load_never_lowers_a_cost(
            requirements in any_requirements(),
            node in any_node(0),
            (cpu, memory, disk, tasks) in (0..9_u64, 0..9_u64, 0..9_u64, 0..300_u32),
            (used_cpu, used_memory) in (0..9_u64, 0..9_u64),
            node_count in 0..5000_usize,
            measured: bool,
        ) {
            let facts = ClusterFacts { measured, ..facts(node_count) };
            let mut busier = node.clone();
            busier.reserved.cpu_millis += cpu;
            busier.reserved.memory_bytes += memory;
            busier.reserved.disk_bytes += disk;
            busier.task_count += tasks;
            if let Some(stats) = &mut busier.stats {
                stats.cpu_used_millis += used_cpu;
                stats.memory_used_bytes += used_memory;
            }
            for algorithm in [&Epvm as &dyn Algorithm, &EpvmClassic, &Spread] {
                let cost = |node| cost_of(algorithm, &requirements, node, &facts);
                let (before, after) = (cost(&node), cost(&busier));
                // Rounding of the last digits is no preference.
                prop_assert!(after >= before * (1.0 - 1e-12), "{}: {before} > {after}", algorithm.name());
            }
        }
    }
}
