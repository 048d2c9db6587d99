use davit_core::id::NodeId;
use davit_core::labels::NodeLabels;
use davit_core::placement::RuntimeKind;
use davit_core::resources::Resources;
use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::cells::summary::Classes;
use crate::workload::labelled_node;

const POLICY: Policy = Policy { choices: 2, divide_over: 100_000, max_age: 10 };

/// A cell of one node with room for so many tasks of the test, and as many that are taken.
fn view(free: u64, taken: u64) -> View {
    let size = |tasks: u64| Resources { cpu_millis: tasks * 100, ..Resources::ZERO };
    let mut node = labelled_node(1, NodeId(Uuid::from_u128(1)), size(free + taken), NodeLabels::new());
    node.reserved = size(taken);
    let nodes = [node];
    View { summary: Classes::new(&nodes).summary(&nodes), told: 0, is_lost: false }
}

fn requirements() -> Requirements {
    let reservation = Resources { cpu_millis: 100, ..Resources::ZERO };
    Requirements { reservation, ..Requirements::of_runtime(RuntimeKind::Docker) }
}

fn ask<'a>(requirements: &'a Requirements, count: u32, refused: &'a [bool], key: u64) -> Ask<'a> {
    Ask { requirements, count, is_gang: false, refused, key }
}

#[test]
fn of_the_drawn_cells_the_emptiest_takes_a_group_whole() {
    let views: Vec<_> = (0..10).map(|cell| view(1_000, cell * 100)).collect();
    let needed = requirements();
    let mut taken = [0; 10];
    for key in 0..1_000 {
        let choice = choose(&ask(&needed, 5, &[], key), &views, 0, &POLICY);
        let [(cell, 5)] = choice[..] else { panic!("{choice:?}") };
        taken[cell] += 1;
    }
    assert!(taken.is_sorted_by(|a, b| a + 40 > *b), "the emptier, the more: {taken:?}");
    assert!(taken[0] < 300 && taken[8] > 0, "not all go to the emptiest: {taken:?}");
    assert_eq!(taken[9], 0, "the fullest is never the emptier of two");
}

#[test]
fn what_a_cell_refused_goes_to_the_emptiest_that_is_left() {
    let views = [view(1_000, 0), view(1_000, 500), view(1_000, 100), view(1_000, 900)];
    let needed = requirements();
    for key in 0..100 {
        let choice = choose(&ask(&needed, 5, &[true, false, false, false], key), &views, 0, &POLICY);
        assert_eq!(choice, [(2, 5)]);
    }
}

#[test]
fn a_large_group_is_divided_by_room() {
    let views = [view(100, 0), view(300, 0), view(0, 50), view(600, 0)];
    let needed = requirements();
    assert_eq!(choose(&ask(&needed, 500, &[], 1), &views, 0, &POLICY), [(0, 50), (1, 150), (3, 300)]);
    let all = choose(&ask(&needed, 5_000, &[], 1), &views, 0, &POLICY);
    assert_eq!(all, [(0, 100), (1, 300), (3, 600)], "no more than there is room for");
}

#[test]
fn a_small_group_that_no_cell_has_room_for_is_divided_and_a_gang_is_not() {
    let views = [view(3, 0), view(4, 0)];
    let needed = requirements();
    let asked = ask(&needed, 7, &[], 1);
    assert_eq!(choose(&asked, &views, 0, &POLICY), [(0, 3), (1, 4)]);
    assert_eq!(choose(&Ask { is_gang: true, ..asked }, &views, 0, &POLICY), []);
    assert_eq!(choose(&Ask { is_gang: true, count: 4, ..asked }, &views, 0, &POLICY), [(1, 4)]);
}

#[test]
fn lost_and_silent_cells_get_nothing() {
    let mut views = [view(1_000, 0), view(1_000, 0), view(1_000, 0)];
    views[0].is_lost = true;
    views[2].told = 5;
    let needed = requirements();
    assert_eq!(choose(&ask(&needed, 1, &[], 1), &views, 15, &POLICY), [(2, 1)]);
    assert_eq!(choose(&ask(&needed, 1, &[], 1), &views, 16, &POLICY), []);
}

proptest! {
    #[test]
    fn never_more_than_asked_nor_than_there_is_room_and_always_the_same(
        cells in prop::collection::vec((0_u64..500, 0_u64..500, any::<bool>(), any::<bool>()), 1..12),
        count in 1_u32..2_000,
        is_gang: bool,
        key: u64,
    ) {
        let views: Vec<_> = cells
            .iter()
            .map(|(free, taken, is_lost, _)| View { is_lost: *is_lost, ..view(*free, *taken) })
            .collect();
        let refused: Vec<bool> = cells.iter().map(|(.., refused)| *refused).collect();
        let needed = requirements();
        let ask = Ask { is_gang, ..ask(&needed, count, &refused, key) };
        let choice = choose(&ask, &views, 0, &POLICY);
        prop_assert_eq!(&choice, &choose(&ask, &views, 0, &POLICY));
        let given: u32 = choice.iter().map(|(_, share)| share).sum();
        prop_assert!(given <= count);
        for (cell, share) in &choice {
            let (free, _, is_lost, has_refused) = cells[*cell];
            prop_assert!(*share > 0 && u64::from(*share) <= free && !is_lost && !has_refused);
        }
        let rooms = || cells.iter().filter(|(_, _, is_lost, refused)| !is_lost && !refused).map(|(free, ..)| *free);
        if is_gang {
            prop_assert_eq!(given > 0, rooms().any(|free| free >= u64::from(count)));
            prop_assert!(choice.len() <= 1 && (given == 0 || given == count));
        } else {
            prop_assert_eq!(u64::from(given), u64::from(count).min(rooms().sum()));
        }
    }
}
