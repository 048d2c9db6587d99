//! Tasks, alike or not, in batches as a manager would send them.

use davit_core::constraint::{Attribute, Constraint, Operator};
use davit_core::placement::{PlacementRequest, Preferences, Requirements, RuntimeKind};
use davit_core::resources::Resources;
use scheduler_svc::placement::{Group, algorithms};

use super::Rng;
use crate::options::{Cell, Shapes};

/// What tasks ask for on average.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mean {
    pub(crate) cores: f64,
    pub(crate) bytes_per_core: f64,
}

/// All tasks of a cell. Of one batch, like tasks are one group.
pub(super) fn batches(cell: &Cell, batch_size: u32, mean: Mean, rng: &mut Rng) -> Vec<Vec<Group>> {
    let shape_count = match cell.shapes {
        Shapes::Like => 1,
        Shapes::Hundred => 100,
        Shapes::All => batch_size,
    };
    let mut shapes = ShapeMaker::new(cell, mean);
    let mut known: Vec<PlacementRequest> = Vec::new();
    if cell.shapes != Shapes::All {
        known = (0..shape_count).map(|_| shapes.next(rng)).collect();
    }
    let mut batches = Vec::new();
    let mut left = cell.tasks;
    while left > 0 {
        let size = left.min(batch_size);
        left -= size;
        let group_count = size.min(shape_count);
        let groups = (0..group_count).map(|at| {
            let count = size / group_count + u32::from(at < size % group_count);
            let request = known.get(at as usize).cloned().unwrap_or_else(|| shapes.next(rng));
            Group {
                group_id: at.to_string(),
                request,
                count,
                algorithm: algorithms::find(cell.algorithm).unwrap_or(algorithms::DEFAULT),
                all_or_nothing: false,
            }
        });
        batches.push(groups.collect());
    }
    batches
}

/// Makes one shape after the other.
struct ShapeMaker<'a> {
    cell: &'a Cell,
    mean: Mean,
    made: u64,
}

impl<'a> ShapeMaker<'a> {
    fn new(cell: &'a Cell, mean: Mean) -> Self {
        Self { cell, mean, made: 0 }
    }

    fn next(&mut self, rng: &mut Rng) -> PlacementRequest {
        let number = self.made;
        self.made += 1;
        let (cpu, memory) = match self.cell.shapes {
            Shapes::Like => (1.0, 1.0),
            Shapes::Hundred | Shapes::All => (rng.between(0.2, 1.8), rng.between(0.2, 1.8)),
        };
        let cores = self.mean.cores;
        let memory_bytes = cores * self.mean.bytes_per_core * memory;
        let reservation = Resources {
            cpu_millis: (cores * 1000.0 * cpu).max(1.0) as u64,
            // The number in the last bits: no two shapes are alike, however many there are.
            memory_bytes: (memory_bytes as u64 & !0xff_ffff) | number,
            disk_bytes: 0,
        };
        let mut requirements = Requirements { reservation, ..Requirements::of_runtime(RuntimeKind::Docker) };
        if self.cell.constraints {
            requirements.constraints.push(constraint(number));
        }
        PlacementRequest {
            requirements,
            preferences: Preferences::default(),
            algorithm: self.cell.algorithm.to_owned(),
            priority: 0,
            may_preempt: false,
        }
    }
}

/// Each of these holds on about a third of the nodes.
fn constraint(number: u64) -> Constraint {
    let label = |key: &str| Attribute::Label(key.to_owned());
    match number % 3 {
        0 => Constraint { attribute: label("disk"), operator: Operator::Equal, values: vec!["ssd".to_owned()] },
        1 => Constraint { attribute: label("third"), operator: Operator::Equal, values: vec!["1".to_owned()] },
        _ => Constraint { attribute: label("third"), operator: Operator::Greater, values: vec!["1".to_owned()] },
    }
}
