use davit_core::constraint::{Attribute, Constraint, Operator};
use davit_core::labels::NodeLabels;
use davit_core::placement::{PlacementRequest, Preferences, Requirements, RuntimeKind};
use scheduler_svc::placement::algorithms;
use uuid::Uuid;

use super::*;
use crate::cells::front::Piece;
use crate::workload::labelled_node;

fn id(cell: usize) -> NodeId {
    NodeId(Uuid::from_u128(cell as u128))
}

/// Two cells of one node each, with room for ten tasks.
fn nodes() -> Vec<Vec<NodeView>> {
    let size = Resources { cpu_millis: 1_000, ..Resources::ZERO };
    (0..2).map(|cell| vec![labelled_node(1, id(cell), size, NodeLabels::new())]).collect()
}

fn group(count: u32, all_or_nothing: bool) -> Group {
    let reservation = Resources { cpu_millis: 100, ..Resources::ZERO };
    let request = PlacementRequest {
        requirements: Requirements { reservation, ..Requirements::of_runtime(RuntimeKind::Docker) },
        preferences: Preferences::default(),
        algorithm: String::new(),
        priority: 0,
        may_preempt: false,
    };
    Group { group_id: "g".to_owned(), request, count, algorithm: algorithms::DEFAULT, all_or_nothing }
}

/// Checks so many tasks of a group in each cell; the engines know them.
fn check(group: &Group, placed: [u32; 2], unplaced: u32) -> Result<Counted, Error> {
    let mut ledger = Ledger::default();
    let [number] = ledger.add(std::slice::from_ref(group))[..] else { panic!("one group has one number") };
    let piece = |cell: usize| Piece { cell, runs: vec![(id(cell), placed[cell])] };
    let pieces = (0..2).filter(|cell| placed[*cell] > 0).map(piece).collect();
    ledger.enter(number, &Outcome { pieces, unplaced, ..Outcome::default() });
    let mut engines = nodes();
    for (cell, count) in placed.into_iter().enumerate() {
        (0..count).for_each(|_| engines[cell][0].reserve(&group.request.requirements));
    }
    ledger.check(&nodes(), &engines.iter().map(Vec::as_slice).collect::<Vec<_>>())
}

fn problem(group: &Group, placed: [u32; 2], unplaced: u32) -> String {
    check(group, placed, unplaced).unwrap_err().to_string()
}

#[test]
fn what_is_right_is_counted() {
    assert_eq!(check(&group(23, false), [10, 10], 3).unwrap(), Counted { placed: 20, waiting: 3 });
    assert_eq!(check(&group(11, true), [0, 0], 11).unwrap(), Counted { placed: 0, waiting: 11 });
}

#[test]
fn what_is_wrong_gives_no_count() {
    let over = problem(&group(11, false), [11, 0], 0);
    assert!(over.contains("cell 0 has Resources { cpu_millis: 1100"), "{over}");
    assert!(problem(&group(5, false), [4, 0], 0).contains("4 placed and 0 waiting of 5"));
    assert!(problem(&group(5, false), [4, 2], 0).contains("6 placed and 0 waiting of 5"));
    assert!(problem(&group(5, false), [4, 0], 1).contains("was refused"));
    assert!(problem(&group(5, true), [4, 1], 0).contains("gang g is in two cells"));
    assert!(problem(&group(11, true), [10, 0], 1).contains("10 placed and 1 waiting of 11"));
    let mut elsewhere = group(5, false);
    let attribute = Attribute::Label("disk".to_owned());
    let constraint = Constraint { attribute, operator: Operator::Exists, values: Vec::new() };
    elsewhere.request.requirements.constraints.push(constraint);
    assert!(problem(&elsewhere, [5, 0], 0).contains("may not take g"));
}

#[test]
fn what_a_lost_cell_had_waits_again() {
    let mut ledger = Ledger::default();
    ledger.add(&[group(5, false), group(2, false)]);
    let piece = |cell, count| Piece { cell, runs: vec![(id(cell), count)] };
    ledger.enter(0, &Outcome { pieces: vec![piece(0, 3), piece(1, 2)], ..Outcome::default() });
    ledger.enter(1, &Outcome { pieces: vec![piece(1, 2)], ..Outcome::default() });
    assert_eq!(ledger.lose(0), [0]);
    assert_eq!((ledger.waiting(0).count, ledger.waiting(1).count), (3, 0));
}
