//! `davit rebalance`: shows which moves would even the cluster out, and carries them out.

mod carry_out;

use std::io::{self, IsTerminal as _};
use std::time::Duration;

use clap::Args;
use davit_proto::v1;

use crate::args::{Format, duration};
use crate::client::{Manager, call};
use crate::error::Error;
use crate::output::{self, Output};

/// As many moves as the API allows in one plan.
const MAX_MOVES: u32 = 1000;
/// Longer than a grace period and the pull of a large image.
const DEFAULT_MOVE_LIMIT: Duration = Duration::from_secs(600);

/// Arguments of `davit rebalance`.
#[derive(Debug, Args)]
#[command(after_help = "\
Exit code: 0 when nothing is to be moved, or the plan was only shown, or every move was made; 1 when one was not.")]
pub struct RebalanceArgs {
    /// Make the moves, one after the other: each task is stopped gracefully and runs on its new node before the next.
    /// Asks before; without a terminal to ask on it needs --yes
    #[arg(long)]
    apply: bool,
    /// At most so many moves in all; 100 unless given
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_MOVES)))]
    budget: Option<u32>,
    /// Only moves after which two nodes are at least so many percent of a node closer; 1 unless given
    #[arg(long, value_name = "PERCENT", value_parser = percent)]
    min_gain: Option<f64>,
    /// How many tasks may be on the move at one time
    #[arg(long, value_name = "N", default_value_t = 1, requires = "apply", value_parser = clap::value_parser!(u16).range(1..))]
    at_once: u16,
    /// How long a move may take until the next begins without it, such as 30m; 10m unless given
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
    let plan = plan(manager, args.budget.unwrap_or_default(), args.min_gain.unwrap_or_default()).await?;
    output.object(&plan, |palette| output::plan(&plan, args.apply, palette))?;
    if !args.apply || plan.moves.is_empty() {
        return Ok(0);
    }
    if !args.yes && !is_confirmed(plan.moves.len(), output).await? {
        output.note("Nothing was moved.");
        return Ok(1);
    }
    let pace =
        carry_out::Pace { at_once: usize::from(args.at_once), limit: args.timeout.unwrap_or(DEFAULT_MOVE_LIMIT) };
    carry_out::run(manager, &plan, pace, output).await
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

async fn plan(manager: &Manager, max_moves: u32, min_gain: f64) -> Result<v1::PlanRebalanceResponse, Error> {
    let request = v1::PlanRebalanceRequest { max_moves, min_gain };
    let answer = manager.cluster().plan_rebalance(call(request)).await;
    answer.map(tonic::Response::into_inner).map_err(|status| manager.error(status))
}

async fn is_confirmed(moves: usize, output: &Output) -> Result<bool, Error> {
    let these = if moves == 1 { "this move".to_owned() } else { format!("these {moves} moves") };
    output.note(&format!("\nMake {these}? Each stops its task and starts it on the other node. [y/N]"));
    let read = tokio::task::spawn_blocking(|| {
        let mut line = String::new();
        io::stdin().read_line(&mut line).map(|_| line)
    });
    let answered = read.await.unwrap_or_else(|problem| Err(io::Error::other(problem)));
    let line = answered.map_err(|source| Error::Io { action: "read the answer", source })?;
    Ok(matches!(line.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
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
    use super::*;

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
    fn a_gain_is_given_in_percent() {
        assert_eq!(percent("5"), Ok(0.05));
        assert_eq!(percent("0.5%"), Ok(0.005));
        for text in ["", "0", "-1", "101", "nan", "much"] {
            assert!(percent(text).is_err(), "{text}");
        }
    }
}
