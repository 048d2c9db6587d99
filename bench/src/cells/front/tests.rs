use davit_core::labels::NodeLabels;
use davit_core::placement::{PlacementRequest, Preferences, Requirements, RuntimeKind};
use davit_core::resources::Resources;
use proptest::prelude::*;
use scheduler_svc::placement::{Mirror, algorithms, place};
use uuid::Uuid;

use super::*;
use crate::cells::summary::Classes;
use crate::workload::labelled_node;

const POLICY: Policy = Policy { choices: 2, divide_over: 300_000, max_age: 100 };

/// Cells with the real engine, of nodes with room for so many tasks of 100 millicores each.
#[derive(Clone)]
struct Real {
    mirrors: Vec<Mirror>,
}

impl Real {
    fn new(cells: &[Vec<u64>]) -> Self {
        let node = |cell: usize, at: usize, tasks: u64| {
            let id = NodeId(Uuid::from_u64_pair(cell as u64, at as u64));
            let size = Resources { cpu_millis: tasks * 100, ..Resources::ZERO };
            labelled_node(u32::try_from(at).unwrap(), id, size, NodeLabels::new())
        };
        let nodes = |(cell, nodes): (usize, &Vec<u64>)| {
            Mirror::new(nodes.iter().enumerate().map(|(at, tasks)| node(cell, at, *tasks)).collect())
        };
        Self { mirrors: cells.iter().enumerate().map(nodes).collect() }
    }

    fn front(&mut self) -> Front {
        let summaries = (0..self.mirrors.len()).map(|cell| self.summary(cell)).collect();
        Front::new(summaries, POLICY, 1)
    }
}

impl Cells for Real {
    fn place(&mut self, cell: usize, groups: &[Group]) -> Vec<GroupPlacement> {
        place(&mut self.mirrors[cell], groups, 1)
    }

    fn summary(&mut self, cell: usize) -> Summary {
        let nodes = self.mirrors[cell].nodes();
        Classes::new(nodes).summary(nodes)
    }
}

fn group(at: usize, tasks: u64, count: u32, all_or_nothing: bool) -> Group {
    let reservation = Resources { cpu_millis: tasks * 100, ..Resources::ZERO };
    let request = PlacementRequest {
        requirements: Requirements { reservation, ..Requirements::of_runtime(RuntimeKind::Docker) },
        preferences: Preferences::default(),
        algorithm: String::new(),
        priority: 0,
        may_preempt: false,
    };
    Group { group_id: at.to_string(), request, count, algorithm: algorithms::DEFAULT, all_or_nothing }
}

fn placed(outcome: &Outcome) -> u32 {
    outcome.pieces.iter().flat_map(|piece| &piece.runs).map(|(_, count)| count).sum()
}

#[test]
fn what_one_cell_has_no_room_for_another_takes() {
    // Both seem to have room for three tasks of this size; the second cell's room lies scattered.
    let mut cells = Real::new(&[vec![20, 10], vec![19, 19]]);
    let mut front = cells.front();
    front.policy.divide_over = 1_000_000;
    let outcomes = front.place(&[group(0, 10, 3, false)], 0, &mut cells);
    assert_eq!((placed(&outcomes[0]), outcomes[0].unplaced), (3, 0));
    // The second is emptier, so it was asked first.
    assert_eq!(outcomes[0].pieces.iter().map(|piece| piece.cell).collect::<Vec<_>>(), [1, 0]);
    assert_eq!((outcomes[0].questions, outcomes[0].spills), (2, 1));
}

#[test]
fn a_front_that_was_told_long_ago_asks_again_before_it_refuses() {
    let mut cells = Real::new(&[vec![10], vec![10]]);
    let mut front = cells.front();
    front.views[1].summary = Summary::default();
    let outcomes = front.place(&[group(0, 10, 2, false)], 0, &mut cells);
    assert_eq!(outcomes[0].unplaced, 0);
    assert_eq!((outcomes[0].questions, outcomes[0].spills), (2, 0));
}

#[test]
fn lost_cells_are_never_asked() {
    let mut cells = Real::new(&[vec![10], vec![10]]);
    let mut front = cells.front();
    front.lose(0);
    let outcomes = front.place(&[group(0, 1, 15, false)], 0, &mut cells);
    assert_eq!((placed(&outcomes[0]), outcomes[0].unplaced), (10, 5));
    assert!(outcomes[0].pieces.iter().all(|piece| piece.cell == 1));
}

proptest! {
    #[test]
    fn nothing_is_lost_or_placed_twice_and_what_is_refused_fits_nowhere(
        nodes in prop::collection::vec(prop::collection::vec(0_u64..30, 1..5), 1..5),
        groups in prop::collection::vec((1_u64..12, 1_u32..25, any::<bool>()), 1..8),
        stale in prop::collection::vec(any::<bool>(), 4),
    ) {
        let mut cells = Real::new(&nodes);
        let mut front = cells.front();
        for (view, stale) in front.views.iter_mut().zip(stale) {
            // Another front took all, or gave all back, since it was heard.
            if stale {
                view.summary = Summary::default();
            }
        }
        let groups: Vec<Group> =
            groups.into_iter().enumerate().map(|(at, (tasks, count, gang))| group(at, tasks, count, gang)).collect();
        let (mut again, mut same) = (front.clone(), cells.clone());
        let outcomes = front.place(&groups, 0, &mut cells);
        prop_assert_eq!(&outcomes, &again.place(&groups, 0, &mut same), "the same question has the same answer");
        for (group, outcome) in groups.iter().zip(&outcomes) {
            prop_assert_eq!(placed(outcome) + outcome.unplaced, group.count);
            let one = &group.request.requirements;
            if group.all_or_nothing {
                prop_assert!(outcome.pieces.len() <= 1 && (outcome.unplaced == 0 || outcome.unplaced == group.count));
            } else if outcome.unplaced > 0 {
                let everywhere = cells.mirrors.iter().flat_map(Mirror::nodes);
                prop_assert!(everywhere.into_iter().all(|node| !one.reservation.fits_in(node.free())));
            }
        }
        for node in cells.mirrors.iter().flat_map(Mirror::nodes) {
            prop_assert!(node.reserved.fits_in(node.allocatable));
        }
    }
}
