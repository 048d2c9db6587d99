//! What became of the moves that even the cluster out.

use std::time::Duration;

use davit_core::words::counted;
use davit_proto::v1;
use serde::Serialize;

use super::plan::{MORE, percent};
use super::proto_json::one;
use super::text::short_id;
use crate::error::Error;

/// What became of a move.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MoveOutcome {
    /// The task runs on its new node, or has done its work there.
    Made,
    /// The task was told to move and is not waited for any longer.
    UnderWay,
    /// The task did not get there, or was not told to.
    Failed {
        /// Why, in one line.
        problem: String,
    },
    /// Nobody told the task to move.
    NotBegun,
}

/// What became of all moves.
#[derive(Debug, Clone, PartialEq)]
pub struct AppliedPlan {
    /// What was planned at first.
    pub plan: v1::PlanRebalanceResponse,
    /// Every move, also of the plans after the first, in their order.
    pub results: Vec<(v1::TaskMove, MoveOutcome)>,
    /// Whether more moves would gain something, but the budget is used up.
    pub more: bool,
    /// How uneven the cluster is now, if that can be told.
    pub imbalance_now: Option<f64>,
}

impl AppliedPlan {
    /// Whether every move was made.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.results.iter().all(|(_, outcome)| *outcome == MoveOutcome::Made)
    }

    fn count(&self, outcome: &MoveOutcome) -> usize {
        self.results.iter().filter(|(_, each)| each == outcome).count()
    }

    /// What a person is told at the end; `limit` is how long each move was waited for, unless the waiting was interrupted.
    #[must_use]
    pub fn told(&self, limit: Option<Duration>) -> String {
        let before = percent(self.plan.imbalance_before);
        let apart = self.imbalance_now.map(|now| (percent(now), before));
        let total = self.results.len();
        if self.is_whole() {
            let all = if total == 1 { "The move was made".to_owned() } else { format!("All {total} moves were made") };
            let more = if self.more { format!(" {MORE}") } else { String::new() };
            return match apart {
                Some((now, before)) => {
                    format!("{all}: the fullest and the emptiest node are {now} apart, {before} before.{more}")
                }
                None => format!("{all}.{more}"),
            };
        }
        let (made, under_way) = (self.count(&MoveOutcome::Made), self.count(&MoveOutcome::UnderWay));
        let was = if made == 1 { "was" } else { "were" };
        let so_far = if under_way > 0 { " so far" } else { "" };
        let mut sentences = vec![format!("{made} of {} {was} made{so_far}.", moves(total))];
        if under_way > 0 {
            let go = if under_way == 1 { "goes" } else { "go" };
            sentences.push(match limit {
                Some(limit) => format!(
                    "{} had not arrived within {} s and {go} on in the background; `davit ps` shows how far.",
                    moves(under_way),
                    limit.as_secs_f64()
                ),
                None => format!("{} {go} on in the background; `davit ps` shows how far.", moves(under_way)),
            });
        }
        for (each, outcome) in &self.results {
            if let MoveOutcome::Failed { problem } = outcome {
                let (name, id) = (&each.task_name, short_id(&each.task_id));
                let problem = problem.trim_end_matches('.');
                sentences.push(format!("{name} {id} did not come to {}: {problem}.", each.to_node_name));
            }
        }
        match self.count(&MoveOutcome::NotBegun) {
            0 => {}
            1 => sentences.push("The other one was not begun.".to_owned()),
            rest => sentences.push(format!("The other {rest} were not begun.")),
        }
        if let Some((now, before)) = apart {
            sentences.push(format!("The fullest and the emptiest node are {now} apart now, {before} before."));
        }
        sentences.join(" ")
    }
}

fn moves(count: usize) -> String {
    counted(count as u64, "move", "moves")
}

/// For programs: the plan, and every move with what became of it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown<P> {
    plan: P,
    results: Vec<ShownMove<P>>,
    more: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    imbalance_now: Option<f64>,
}

#[derive(Serialize)]
struct ShownMove<P> {
    r#move: P,
    outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
}

/// The same for programs.
///
/// # Errors
/// When a message is not described.
pub(super) fn shown(applied: &AppliedPlan) -> Result<impl Serialize, Error> {
    let result = |(each, outcome): &(v1::TaskMove, MoveOutcome)| {
        let (outcome, problem) = match outcome {
            MoveOutcome::Made => ("MADE", None),
            MoveOutcome::UnderWay => ("UNDER_WAY", None),
            MoveOutcome::Failed { problem } => ("FAILED", Some(problem.clone())),
            MoveOutcome::NotBegun => ("NOT_BEGUN", None),
        };
        Ok(ShownMove { r#move: one(each)?, outcome, problem })
    };
    Ok(Shown {
        plan: one(&applied.plan)?,
        results: applied.results.iter().map(result).collect::<Result<_, Error>>()?,
        more: applied.more,
        imbalance_now: applied.imbalance_now,
    })
}

#[cfg(test)]
mod tests {
    use super::super::proto_json::{json, yaml};
    use super::*;
    use crate::output::test_support::one_move;

    fn applied(outcomes: &[MoveOutcome], imbalance_now: Option<f64>) -> AppliedPlan {
        let plan = v1::PlanRebalanceResponse {
            moves: vec![one_move(0.25); outcomes.len()],
            imbalance_before: 0.62,
            imbalance_after: 0.04,
            ..Default::default()
        };
        let results = outcomes.iter().map(|outcome| (one_move(0.25), outcome.clone())).collect();
        AppliedPlan { plan, results, more: false, imbalance_now }
    }

    fn failed() -> MoveOutcome {
        MoveOutcome::Failed { problem: "it ended FAILED: exited with code 1".into() }
    }

    const A_SECOND: Option<Duration> = Some(Duration::from_secs(1));

    #[test]
    fn the_end_says_what_it_was_good_for() {
        use MoveOutcome::Made;
        assert_eq!(
            applied(&[Made, Made], Some(0.04)).told(A_SECOND),
            "All 2 moves were made: the fullest and the emptiest node are 4% apart, 62% before."
        );
        assert_eq!(applied(&[Made], None).told(A_SECOND), "The move was made.");
        let cut = AppliedPlan { more: true, ..applied(&[Made], None) };
        let told = "The move was made. More moves would gain something: --budget allows more.";
        assert_eq!(cut.told(A_SECOND), told);
    }

    #[test]
    fn what_goes_on_is_not_told_as_not_made() {
        use MoveOutcome::{Made, UnderWay};
        assert_eq!(
            applied(&[UnderWay, UnderWay, UnderWay], Some(0.62)).told(A_SECOND),
            "0 of 3 moves were made so far. 3 moves had not arrived within 1 s and go on in the background; `davit ps` \
             shows how far. The fullest and the emptiest node are 62% apart now, 62% before."
        );
        assert_eq!(
            applied(&[Made, UnderWay], None).told(None),
            "1 of 2 moves was made so far. 1 move goes on in the background; `davit ps` shows how far."
        );
    }

    #[test]
    fn the_move_that_failed_is_named_and_the_rest_counted() {
        use MoveOutcome::{Made, NotBegun};
        assert_eq!(
            applied(&[Made, failed(), NotBegun, NotBegun], Some(0.4)).told(A_SECOND),
            "1 of 4 moves was made. web 000000000001 did not come to node-4: it ended FAILED: exited with code 1. The \
             other 2 were not begun. The fullest and the emptiest node are 40% apart now, 62% before."
        );
        assert!(applied(&[failed(), NotBegun], None).told(A_SECOND).ends_with("The other one was not begun."));
    }

    #[test]
    fn programs_read_the_plan_and_what_became_of_every_move() {
        use MoveOutcome::{Made, NotBegun, UnderWay};
        let applied = applied(&[Made, UnderWay, failed(), NotBegun], Some(0.4));
        assert!(!applied.is_whole());
        let shown = shown(&applied).unwrap();
        let read: serde_json::Value = serde_json::from_str(&json(&shown).unwrap()).unwrap();
        assert_eq!(read["plan"]["moves"][0]["taskName"], "web");
        let outcomes: Vec<_> = read["results"].as_array().unwrap().iter().map(|each| &each["outcome"]).collect();
        assert_eq!(outcomes, ["MADE", "UNDER_WAY", "FAILED", "NOT_BEGUN"]);
        assert_eq!(read["results"][2]["move"]["toNodeName"], "node-4");
        assert_eq!(read["results"][2]["problem"], "it ended FAILED: exited with code 1");
        assert_eq!((&read["more"], &read["imbalanceNow"]), (&false.into(), &0.4.into()));
        let yaml: serde_json::Value = serde_saphyr::from_str(&yaml(&shown).unwrap()).unwrap();
        assert_eq!(read, yaml);
    }
}
