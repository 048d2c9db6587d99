//! Whether an answer is one: every task accounted for, no node over-committed, every constraint kept. A fast scheduler that
//! is wrong gets no figures.

use std::collections::HashMap;

use davit_core::id::NodeId;
use davit_core::resources::Resources;

use super::Answer;
use crate::error::Error;
use crate::workload::Workload;

/// How many tasks went where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Verified {
    pub(crate) placed: u64,
    pub(crate) unplaced: u64,
}

/// Checks the answers to the first batches of a workload.
pub(crate) fn verify(workload: &Workload, answers: &[Vec<Answer>]) -> Result<Verified, Error> {
    let positions: HashMap<NodeId, usize> =
        workload.nodes.iter().enumerate().map(|(at, node)| (node.node_id, at)).collect();
    let mut reserved = vec![Resources::ZERO; workload.nodes.len()];
    let mut verified = Verified { placed: 0, unplaced: 0 };
    for (batch, answers) in workload.batches.iter().zip(answers) {
        if batch.len() != answers.len() {
            return Err(wrong(format!("{} answers to {} groups", answers.len(), batch.len())));
        }
        for (group, answer) in batch.iter().zip(answers) {
            let id = &group.group_id;
            if *id != answer.group_id {
                return Err(wrong(format!("group {} instead of {id}", answer.group_id)));
            }
            let placed: u64 = answer.runs.iter().map(|(_, count)| u64::from(*count)).sum();
            if placed + u64::from(answer.unplaced) != u64::from(group.count) {
                return Err(wrong(format!("{placed} + {} of {} tasks", answer.unplaced, group.count)));
            }
            let requirements = &group.request.requirements;
            for (node_id, count) in &answer.runs {
                let Some(&at) = positions.get(node_id) else { return Err(wrong(format!("no node {node_id}"))) };
                let node = &workload.nodes[at];
                if let Some(broken) =
                    requirements.constraints.iter().find(|one| !one.is_satisfied_by(node.attributes()))
                {
                    return Err(wrong(format!("{} does not satisfy {broken}", node.name)));
                }
                reserved[at] = reserved[at].saturating_add(times(requirements.reservation, *count));
            }
            verified.placed += placed;
            verified.unplaced += u64::from(answer.unplaced);
        }
    }
    for (node, reserved) in workload.nodes.iter().zip(reserved) {
        if !reserved.fits_in(node.allocatable) {
            return Err(wrong(format!("{} is over-committed: {reserved:?} of {:?}", node.name, node.allocatable)));
        }
    }
    Ok(verified)
}

fn wrong(what: String) -> Error {
    Error::WrongAnswer(what)
}

fn times(amounts: Resources, count: u32) -> Resources {
    let count = u64::from(count);
    Resources {
        cpu_millis: amounts.cpu_millis.saturating_mul(count),
        memory_bytes: amounts.memory_bytes.saturating_mul(count),
        disk_bytes: amounts.disk_bytes.saturating_mul(count),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::{Cell, Shapes, Transport};
    use crate::workload::generate;

    fn workload() -> Workload {
        let cell = Cell {
            nodes: 50,
            tasks: 100,
            shapes: Shapes::Like,
            algorithm: "spread",
            constraints: true,
            transport: Transport::InProcess,
        };
        generate(&cell, 100, 1)
    }

    fn answer(workload: &Workload, satisfies: bool, count: u32, unplaced: u32) -> Vec<Vec<Answer>> {
        let constraint = &workload.batches[0][0].request.requirements.constraints[0];
        let fits = |attributes| constraint.is_satisfied_by(attributes) == satisfies;
        let node = workload.nodes.iter().find(|node| fits(node.attributes())).unwrap();
        vec![vec![Answer { group_id: "0".to_owned(), runs: vec![(node.node_id, count)], unplaced }]]
    }

    fn problem(workload: &Workload, answers: &[Vec<Answer>]) -> String {
        verify(workload, answers).unwrap_err().to_string()
    }

    #[test]
    fn a_right_answer_is_counted() {
        let workload = workload();
        let verified = verify(&workload, &answer(&workload, true, 1, 99)).unwrap();
        assert_eq!(verified, Verified { placed: 1, unplaced: 99 });
    }

    #[test]
    fn wrong_answers_are_told_from_right_ones() {
        let workload = workload();
        assert!(problem(&workload, &answer(&workload, true, 1, 98)).contains("1 + 98 of 100"));
        assert!(problem(&workload, &answer(&workload, false, 1, 99)).contains("does not satisfy"));
        assert!(problem(&workload, &answer(&workload, true, 100, 0)).contains("over-committed"));
        assert!(problem(&workload, &[vec![]]).contains("0 answers to 1 groups"));
    }
}
