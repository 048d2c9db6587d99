//! What Davit's programs may use while nothing goes on, and whether they keep to it.

use serde::Serialize;

use super::Nodes;
use crate::memory::IDLE_SCHEDULER_BYTES;

const MANAGER_BYTES: u64 = 25_000_000;
const WORKER_BYTES: u64 = 20_000_000;
/// Of a core.
const CPU_PERCENT: f64 = 0.5;

/// What one process may use, and whether it keeps to it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) struct Verdict {
    /// Resident at most so much.
    pub(super) memory_budget_bytes: u64,
    pub(super) memory_reached: bool,
    /// Less than so much of a core.
    pub(super) cpu_budget_percent: f64,
    pub(super) cpu_reached: bool,
}

impl Verdict {
    /// None where many nodes are in one process: the budgets are about ordinary ones.
    pub(super) fn on(program: &str, nodes: Nodes, resident_bytes: u64, cpu_percent: f64) -> Option<Self> {
        let memory_budget_bytes = match (program, nodes) {
            (_, Nodes::Hollow(_)) => return None,
            ("davit-manager", _) => MANAGER_BYTES,
            ("davit-scheduler", _) => IDLE_SCHEDULER_BYTES,
            ("davit-worker", _) => WORKER_BYTES,
            _ => return None,
        };
        Some(Self {
            memory_budget_bytes,
            memory_reached: resident_bytes <= memory_budget_bytes,
            cpu_budget_percent: CPU_PERCENT,
            cpu_reached: cpu_percent < CPU_PERCENT,
        })
    }

    pub(super) fn reached(&self) -> bool {
        self.memory_reached && self.cpu_reached
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_program_of_an_ordinary_cluster_has_a_budget() {
        let memory = |program, nodes| Verdict::on(program, nodes, 0, 0.0).map(|verdict| verdict.memory_budget_bytes);
        assert_eq!(memory("davit-manager", Nodes::None), Some(25_000_000));
        assert_eq!(memory("davit-worker", Nodes::Ordinary(3)), Some(20_000_000));
        assert_eq!(memory("davit-scheduler", Nodes::Ordinary(3)), Some(15_000_000));
        assert_eq!(memory("davit-manager", Nodes::Hollow(1_000)), None);
    }

    #[test]
    fn too_much_memory_or_processor_time_misses_it() {
        let reached = |bytes, percent| {
            let verdict = Verdict::on("davit-worker", Nodes::Ordinary(3), bytes, percent);
            verdict.map(|verdict| (verdict.memory_reached, verdict.cpu_reached, verdict.reached()))
        };
        assert_eq!(reached(20_000_000, 0.49), Some((true, true, true)));
        assert_eq!(reached(20_000_001, 0.49), Some((false, true, false)));
        assert_eq!(reached(20_000_000, 0.5), Some((true, false, false)));
    }
}
