//! `davit rebalance`: shows which moves would even the cluster out, and carries them out.

mod carry_out;

use std::io::{self, IsTerminal as _};
use std::time::Duration;

use clap::Args;
use davit_proto::v1;

use self::carry_out::{Pace, Round};
use super::INTERRUPTED;
use crate::args::{Format, duration};
use crate::client::{Manager, call};
use crate::error::Error;
use crate::output::{self, AppliedPlan, KnownNodes, MoveOutcome, Output, PlanView};

/// As many moves as the API allows in one plan.
const MAX_MOVES: u32 = 1000;
/// As the API's own.
const DEFAULT_BUDGET: u32 = 100;
/// Longer than a grace period and the pull of a large image.
const DEFAULT_MOVE_LIMIT: Duration = Duration::from_secs(600);

/// Arguments of `davit rebalance`.
#[derive(Debug, Args)]
#[command(after_help = "\
With -o json or yaml, --apply writes one object: the first plan, and of every move what became of it: MADE, FAILED (and \
the problem), UNDER_WAY (not there in time; it goes on) or NOT_BEGUN.

Exit code: 0 when nothing is to be moved, or the plan was only shown, or every move was made; 1 when one failed or was \
not there in time, or when the answer was no.")]
pub struct RebalanceArgs {
    /// Make the moves, one after the other: each task is stopped gracefully and runs on its new node before the next. Ends
    /// at the first that fails. Asks before; without a terminal to ask on it needs --yes
    #[arg(long)]
    apply: bool,
    /// At most so many moves in all; 100 unless given
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_MOVES)))]
    budget: Option<u32>,
    /// Only moves by which the fuller one of the two nodes becomes at least so many percent of a node emptier; 1 unless
    /// given
    #[arg(long, value_name = "PERCENT", value_parser = percent)]
    min_gain: Option<f64>,
    /// How many tasks may be on the move at one time
    #[arg(long, value_name = "N", default_value_t = 1, requires = "apply", value_parser = clap::value_parser!(u16).range(1..))]
    at_once: u16,
    /// How long a move may take until the next begins without it, such as 30m; 10m unless given. It goes on all the same
    #[arg(long, value_name = "TIME", value_parser = limit, requires = "apply")]
    timeout: Option<Duration>,
    /// Do not ask before
    #[arg(short, long, requires = "apply")]
    yes: bool,
}

pub(super) async fn run(manager: &Manager, args: &RebalanceArgs, output: &Output) -> Result<u8, Error> {
    if args.apply && !args.yes {
        check_can_ask(output.format, io::stdin().is_terminal())?;
    }
    let budget = args.budget.unwrap_or(DEFAULT_BUDGET);
    let min_gain = args.min_gain.unwrap_or_default();
    let first = plan(manager, budget, min_gain).await?;
    if !args.apply {
        let view = PlanView { is_applied: false, budget };
        return output.object(&first, |palette| output::plan(&first, view, palette)).map(|()| 0);
    }
    let show = |plan: &v1::PlanRebalanceResponse, budget| match output.format {
        Format::Table => output.print(&output::plan(plan, PlanView { is_applied: true, budget }, output.palette)),
        // Comes with what became of it.
        Format::Json | Format::Yaml => Ok(()),
    };
    show(&first, budget)?;
    if !first.moves.is_empty() && !args.yes && !is_confirmed(&first, budget, output).await? {
        output.note("Nothing was moved.");
        return Ok(1);
    }
    let pace = Pace { at_once: usize::from(args.at_once), limit: args.timeout.unwrap_or(DEFAULT_MOVE_LIMIT) };
    let nodes: KnownNodes = manager.list_nodes().await?.iter().collect();
    // One for all rounds: none is missed in between.
    let mut interrupt = Box::pin(async {
        let _ = tokio::signal::ctrl_c().await;
    });
    let again = async |left| {
        let next = plan(manager, left, min_gain).await?;
        if !next.moves.is_empty() {
            output.note("Planned again:");
            show(&next, left)?;
        }
        Ok(next)
    };
    let make =
        async |moves: &[v1::TaskMove]| carry_out::run(manager, &nodes, moves, pace, &mut interrupt, output).await;
    let Carried { results, used_up, interrupted, problem } = carry_out_all(first.clone(), budget, again, make).await;
    // Whether one more move would gain something, which a plan that is as long as it may be does not always know.
    let now = if interrupted || results.is_empty() { None } else { plan(manager, 1, min_gain).await.ok() };
    let more = used_up && now.as_ref().is_some_and(|now| !now.moves.is_empty());
    let imbalance_now = now.map(|now| now.imbalance_before);
    let applied = AppliedPlan { plan: first, results, more, imbalance_now };
    if !applied.results.is_empty() {
        output.note(&applied.told((!interrupted).then_some(pace.limit)));
    }
    output.applied(&applied)?;
    match problem {
        Some(error) => Err(error),
        None if interrupted => Ok(INTERRUPTED),
        None => Ok(u8::from(!applied.is_whole())),
    }
}

/// Who can't be asked must have said yes.
fn check_can_ask(format: Format, is_terminal: bool) -> Result<(), Error> {
    if format != Format::Table {
        return Err(Error::usage("--apply asks before it moves anything, which it can't with this output: pass --yes"));
    }
    if !is_terminal {
        return Err(Error::usage("--apply asks before it moves anything, but there is no terminal here: pass --yes"));
    }
    Ok(())
}

/// What became of the moves of all plans.
struct Carried {
    results: Vec<(v1::TaskMove, MoveOutcome)>,
    /// Whether as many moves were planned as may be.
    used_up: bool,
    interrupted: bool,
    /// Why it could not be planned again.
    problem: Option<Error>,
}

/// Makes the moves of a plan, and of those that follow from it as far as the budget goes. A plan moves no task twice, so that
/// another may gain something after it.
async fn carry_out_all(
    first: v1::PlanRebalanceResponse,
    budget: u32,
    mut again: impl AsyncFnMut(u32) -> Result<v1::PlanRebalanceResponse, Error>,
    mut make: impl AsyncFnMut(&[v1::TaskMove]) -> Round,
) -> Carried {
    let mut carried = Carried { results: Vec::new(), used_up: false, interrupted: false, problem: None };
    let (mut plan, mut left) = (first, budget);
    while !plan.moves.is_empty() {
        let round = make(&plan.moves).await;
        // Each plan has a move at least, so this comes to an end.
        left = left.saturating_sub(u32::try_from(plan.moves.len()).unwrap_or(u32::MAX));
        let is_whole = round.outcomes.iter().all(|outcome| *outcome == MoveOutcome::Made);
        carried.results.extend(plan.moves.into_iter().zip(round.outcomes));
        carried.interrupted = round.interrupted;
        carried.used_up = left == 0;
        if round.interrupted || !is_whole || !plan.more || carried.used_up {
            break;
        }
        plan = match again(left).await {
            Ok(next) => next,
            Err(error) => {
                carried.problem = Some(error);
                break;
            }
        };
    }
    carried
}

async fn plan(manager: &Manager, max_moves: u32, min_gain: f64) -> Result<v1::PlanRebalanceResponse, Error> {
    let request = v1::PlanRebalanceRequest { max_moves, min_gain };
    manager.repeat(async || manager.cluster().plan_rebalance(call(request)).await).await
}

async fn is_confirmed(plan: &v1::PlanRebalanceResponse, budget: u32, output: &Output) -> Result<bool, Error> {
    output.note(&format!("\n{}", question(plan, budget)));
    let read = tokio::task::spawn_blocking(|| {
        let mut line = String::new();
        io::stdin().read_line(&mut line).map(|_| line)
    });
    let answered = read.await.unwrap_or_else(|problem| Err(io::Error::other(problem)));
    let line = answered.map_err(|source| Error::Io { action: "read the answer", source })?;
    Ok(matches!(line.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}

fn question(plan: &v1::PlanRebalanceResponse, budget: u32) -> String {
    let moves = plan.moves.len();
    let these = if moves == 1 { "this move".to_owned() } else { format!("these {moves} moves") };
    let is_room = moves < usize::try_from(budget).unwrap_or(usize::MAX);
    let then =
        if plan.more && is_room { format!(", and what gains something then, {budget} at most") } else { String::new() };
    format!("Make {these}{then}? Each stops its task and starts it on the other node. [y/N]")
}

fn limit(text: &str) -> Result<Duration, String> {
    let read = duration(text)?;
    Duration::try_from(read).map_err(|_| format!("`{text}` is too long"))
}

/// Reads percents of a node as a share.
fn percent(text: &str) -> Result<f64, String> {
    match text.trim_end_matches('%').trim().parse::<f64>() {
        Ok(percent) if percent > 0.0 && percent <= 100.0 => Ok(percent / 100.0),
        _ => Err(format!("`{text}` is not a percentage above 0, such as 5")),
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    fn planned(moves: usize, more: bool) -> v1::PlanRebalanceResponse {
        v1::PlanRebalanceResponse { moves: vec![v1::TaskMove::default(); moves], more, ..Default::default() }
    }

    fn all_made(moves: &[v1::TaskMove]) -> Round {
        Round { outcomes: vec![MoveOutcome::Made; moves.len()], interrupted: false }
    }

    /// How many moves were made, what was asked for between them, and whether the budget is used up.
    async fn carry_out(
        first: v1::PlanRebalanceResponse,
        budget: u32,
        then: impl Fn(u32) -> v1::PlanRebalanceResponse,
    ) -> (usize, Vec<u32>, bool) {
        let asked = RefCell::new(Vec::new());
        let again = async |left| {
            asked.borrow_mut().push(left);
            Ok(then(left))
        };
        let carried = carry_out_all(first, budget, again, async |moves: &[_]| all_made(moves)).await;
        (carried.results.len(), asked.into_inner(), carried.used_up)
    }

    #[tokio::test]
    async fn while_there_is_more_to_gain_it_is_planned_again() {
        assert_eq!(carry_out(planned(3, true), 10, |_| planned(0, false)).await, (3, vec![7], false));
        assert_eq!(carry_out(planned(3, true), 10, |_| planned(2, false)).await, (5, vec![7], false));
        assert_eq!(carry_out(planned(3, false), 10, |_| planned(2, false)).await, (3, vec![], false));
    }

    #[tokio::test]
    async fn however_much_there_is_to_gain_the_budget_ends_it() {
        assert_eq!(carry_out(planned(3, true), 5, |_| planned(1, true)).await, (5, vec![2, 1], true));
        assert_eq!(carry_out(planned(5, true), 5, |_| planned(1, true)).await, (5, vec![], true));
    }

    #[tokio::test]
    async fn after_moves_that_are_not_made_nothing_is_planned() {
        for (outcome, interrupted) in [
            (MoveOutcome::Failed { problem: "gone".into() }, false),
            (MoveOutcome::UnderWay, false),
            (MoveOutcome::Made, true),
        ] {
            let make = async |_: &[_]| Round { outcomes: vec![outcome.clone()], interrupted };
            let again = async |_| panic!("it is planned again after {outcome:?}");
            let carried = carry_out_all(planned(1, true), 9, again, make).await;
            assert_eq!((carried.results.len(), carried.interrupted, carried.used_up), (1, interrupted, false));
        }
    }

    #[tokio::test]
    async fn moves_are_told_also_when_it_can_not_be_planned_again() {
        let again = async |_| Err(Error::failed("no scheduler"));
        let carried = carry_out_all(planned(2, true), 9, again, async |moves: &[_]| all_made(moves)).await;
        assert_eq!(
            (carried.results.len(), carried.problem.map(|error| error.to_string())),
            (2, Some("no scheduler".into()))
        );
    }

    #[test]
    fn who_can_not_be_asked_must_have_said_yes() {
        assert!(check_can_ask(Format::Table, true).is_ok());
        for (format, is_terminal) in [(Format::Table, false), (Format::Json, true), (Format::Yaml, false)] {
            let error = check_can_ask(format, is_terminal).unwrap_err();
            assert_eq!(error.exit_code(), 2);
            assert!(error.to_string().ends_with("pass --yes"), "{error}");
        }
    }

    #[test]
    fn the_question_says_how_much_is_moved() {
        assert!(question(&planned(1, true), 1).starts_with("Make this move?"));
        assert!(question(&planned(3, false), 100).starts_with("Make these 3 moves?"));
        assert!(
            question(&planned(3, true), 100)
                .starts_with("Make these 3 moves, and what gains something then, 100 at most?")
        );
    }

    #[test]
    fn a_gain_is_given_in_percent() {
        assert_eq!(percent("5"), Ok(0.05));
        assert_eq!(percent("0.5%"), Ok(0.005));
        for text in ["", "0", "-1", "101", "nan", "much"] {
            assert!(percent(text).is_err(), "{text}");
        }
    }
}
