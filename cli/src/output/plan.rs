//! Which moves would even the cluster out.

use comfy_table::{Cell, CellAlignment};
use davit_proto::v1;

use super::style::{Palette, Tone};
use super::table::render;
use super::text::short_id;

/// As the scheduler measures it.
const LOAD: &str = "Load: the largest reserved share of cpu, memory or disk, plus 1% for each task.";
const GAIN: &str = "Gain: how much emptier the fuller one of the two nodes becomes.";
/// Said only where the budget is the limit.
pub(super) const MORE: &str = "More moves would gain something: --budget allows more.";
/// Nodes that are further apart look as if there were something to move.
const EVEN: f64 = 0.1;

/// What is known beside a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlanView {
    /// The reader has asked for the moves already.
    pub is_applied: bool,
    /// As many moves as it may have.
    pub budget: u32,
}

/// A plan.
#[must_use]
pub fn plan(plan: &v1::PlanRebalanceResponse, view: PlanView, palette: Palette) -> String {
    let before = percent(plan.imbalance_before);
    if plan.moves.is_empty() {
        let more = if plan.imbalance_before > EVEN { " No move would bring two nodes closer by enough." } else { "" };
        let note = if plan.note.is_empty() { String::new() } else { format!(" {}.", plan.note) };
        return format!(
            "Nothing to move: the fullest and the emptiest node are {before} of a node apart.{more}{note}\n"
        );
    }
    let rows = plan.moves.iter().map(|each| {
        vec![
            Cell::new(short_id(&each.task_id)),
            Cell::new(&each.task_name),
            Cell::new(&each.from_node_name),
            Cell::new(&each.to_node_name),
            Cell::new(percent(each.gain)).set_alignment(CellAlignment::Right),
            Cell::new(&each.reason),
        ]
    });
    let table = render(&["TASK ID", "NAME", "FROM", "TO", "GAIN", "WHY"], rows, palette);
    let (moves, them) = match plan.moves.len() {
        1 => ("1 move evens".to_owned(), "it"),
        many => (format!("{many} moves even"), "them"),
    };
    let after = palette.paint(Tone::Good, &percent(plan.imbalance_after));
    let mut text = format!(
        "{moves} the cluster out: the fullest and the emptiest node are {before} of a node apart, {after} after {them}.\n\n\
         {table}\n"
    );
    let mut hints = vec![LOAD.to_owned(), GAIN.to_owned()];
    if !plan.note.is_empty() {
        hints.push(format!("{}.", plan.note));
    }
    let is_cut = plan.moves.len() >= usize::try_from(view.budget).unwrap_or(usize::MAX);
    match (plan.more, is_cut, view.is_applied) {
        // When they are made it is looked at again.
        (false, ..) | (true, true, true) => {}
        (true, true, false) => hints.push(MORE.to_owned()),
        (true, false, true) => hints.push(format!("After {them} more moves gain something: they are planned then.")),
        (true, false, false) => hints.push(format!("After {them} more moves gain something: --apply plans them then.")),
    }
    if !view.is_applied {
        hints.push(format!("To make {them}: davit rebalance --apply"));
    }
    for hint in hints {
        text.push_str(&palette.paint(Tone::Faint, &hint));
        text.push('\n');
    }
    text
}

/// A share as people read it.
#[must_use]
pub fn percent(share: f64) -> String {
    match share * 100.0 {
        // Also what is less than nothing by a rounding.
        nothing if nothing <= 0.0 => "0%".to_owned(),
        little if little < 1.0 => format!("{little:.1}%"),
        percent => format!("{percent:.0}%"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::test_support::one_move;

    fn shown_only(budget: u32) -> PlanView {
        PlanView { is_applied: false, budget }
    }

    #[test]
    fn a_plan_says_what_moves_and_what_it_is_good_for() {
        let shown = v1::PlanRebalanceResponse {
            moves: vec![one_move(0.12), one_move(0.004)],
            imbalance_before: 0.75,
            imbalance_after: 0.042,
            more: true,
            revision: 7,
            note: "2 tasks stay where they are: binpack fills nodes".to_owned(),
        };
        insta::assert_snapshot!(plan(&shown, shown_only(2), Palette::new(false)));
        let applied = plan(&shown, PlanView { is_applied: true, budget: 2 }, Palette::new(false));
        assert!(!applied.contains("--apply") && !applied.contains("--budget"), "{applied}");
    }

    #[test]
    fn only_a_plan_that_uses_up_its_budget_is_helped_by_a_larger_one() {
        let more = v1::PlanRebalanceResponse { moves: vec![one_move(0.12)], more: true, ..Default::default() };
        let text = |shown: &v1::PlanRebalanceResponse, budget| plan(shown, shown_only(budget), Palette::new(false));
        assert!(text(&more, 1).contains("--budget allows more"));
        assert!(!text(&more, 2).contains("--budget"));
        assert!(text(&more, 2).contains("After it more moves gain something: --apply plans them then."));
        let all = v1::PlanRebalanceResponse { more: false, ..more };
        assert!(!text(&all, 1).contains("more moves"));
    }

    #[test]
    fn what_is_not_moved_is_told_also_when_nothing_is() {
        let note = "2 tasks stay where they are: binpack fills nodes".to_owned();
        let packed = v1::PlanRebalanceResponse { imbalance_before: 0.8, note, ..Default::default() };
        let view = PlanView { is_applied: false, budget: 100 };
        assert!(
            plan(&packed, view, Palette::new(false))
                .ends_with("enough. 2 tasks stay where they are: binpack fills nodes.\n")
        );
    }

    #[test]
    fn an_even_cluster_has_nothing_to_move() {
        let even = v1::PlanRebalanceResponse { imbalance_before: 0.02, ..Default::default() };
        assert_eq!(
            plan(&even, shown_only(100), Palette::new(false)),
            "Nothing to move: the fullest and the emptiest node are 2% of a node apart.\n"
        );
        let lumpy = v1::PlanRebalanceResponse { imbalance_before: 0.5, ..Default::default() };
        let text = plan(&lumpy, shown_only(100), Palette::new(false));
        assert!(text.ends_with("apart. No move would bring two nodes closer by enough.\n"), "{text}");
    }

    #[test]
    fn shares_are_told_in_percent() {
        assert_eq!([0.0, -0.0, 0.004, 0.416, 1.0].map(percent), ["0%", "0%", "0.4%", "42%", "100%"]);
    }
}
