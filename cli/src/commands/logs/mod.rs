//! `davit logs`: what tasks wrote: one task, or all of a deployment or an app.

mod attempt;
mod followed;
mod labelled;
mod place;
mod several;
mod whose;
mod written;

use clap::{ArgGroup, Args};

use self::attempt::of_attempt;
pub(super) use self::several::{follow, one_after_the_other};
use self::whose::{Whole, Whose};
pub(super) use self::written::{Found, Written};
use crate::args::{self, Since};
use crate::client::Manager;
use crate::error::Error;
use crate::output::Output;

/// What is shown of an output.
#[derive(Debug, Clone, Copy, Args)]
pub struct LogOptions {
    /// Go on with what is written from now on, until the attempt ends. A connection that breaks is made anew, and the output goes
    /// on where it was
    #[arg(short, long)]
    pub(super) follow: bool,
    /// Only that many last lines; of several outputs so many of each
    #[arg(short = 'n', long, value_name = "N")]
    tail: Option<u32>,
    /// Only what was written after this time, such as 2026-01-02T03:04:05Z, or in a span until now, such as 10m
    #[arg(long, value_name = "TIME|SPAN", value_parser = args::since)]
    since: Option<Since>,
    /// Put the time before each line
    #[arg(short, long)]
    timestamps: bool,
}

const FOLLOW: &str = "Go on with what is written from now on: of a task until its attempt ends; of a deployment or an app until that \
                      is gone, with tasks that are created meanwhile. A connection that breaks is made anew, and the output goes on \
                      where it was";

/// Arguments of `davit logs`.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("whose").required(true).args(["task", "deployment", "app"])))]
#[command(mut_arg("follow", |arg| arg.help(FOLLOW)))]
pub struct LogsArgs {
    #[command(flatten)]
    options: LogOptions,
    /// Which attempt, from 1; the current one unless given
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    #[arg(conflicts_with_all = ["deployment", "app"])]
    attempt: Option<u32>,
    /// All tasks of this deployment, by name or id, each line after its task: `web.1 | `. Those that have ended too, oldest first,
    /// as far as their output is kept
    #[arg(long, value_name = "DEPLOYMENT")]
    deployment: Option<String>,
    /// The same of all deployments of this app, and of the current runs of its jobs
    #[arg(long, value_name = "APP")]
    app: Option<String>,
    /// A task; or a deployment, unless just one of its tasks runs: then that is shown
    #[arg(value_name = "TASK|DEPLOYMENT")]
    task: Option<String>,
}

pub(super) async fn run(manager: &Manager, args: &LogsArgs, output: &Output) -> Result<(), Error> {
    match whose::find(manager, args).await? {
        // By its number: what goes on after a break is the same attempt, also if it is no longer the current one.
        Whose::Task(task) => {
            let attempt = args.attempt.unwrap_or(task.attempt);
            of_attempt(manager, (&task.task_id, attempt), None, &args.options, output).await
        }
        Whose::Whole(whole) if args.attempt.is_some() => {
            Err(Error::usage(format!("{} may have several tasks: --attempt is of a single one", whole.in_words())))
        }
        Whose::Whole(whole) => of_whole(manager, &whole, &args.options, output).await,
    }
}

async fn of_whole(manager: &Manager, whole: &Whole, options: &LogOptions, output: &Output) -> Result<(), Error> {
    if options.follow {
        follow(manager, async || whole.look(manager).await, options, output).await?;
        output.note(&format!("{} is gone", whole.in_words()));
        return Ok(());
    }
    if one_after_the_other(manager, whole.look(manager).await?, options, output).await? {
        return Ok(());
    }
    Err(Error::failed(format!("{} has no task, and none that has ended is kept", whole.in_words())))
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use crate::args::{Cli, Command};

    #[test]
    fn one_thing_is_asked_for_and_attempts_are_of_a_single_task() {
        let parse = |line: &[&str]| {
            let cli = Cli::try_parse_from(["davit", "logs"].iter().chain(line)).map_err(|error| error.to_string())?;
            let Command::Logs(args) = cli.command else { return Err("not logs".to_owned()) };
            Ok(args)
        };
        for line in
            [&["web"][..], &["--deployment", "web", "-f"], &["--app", "shop", "-n", "5"], &["web", "--attempt", "2"]]
        {
            assert!(parse(line).is_ok(), "{line:?}");
        }
        for line in [
            &[][..],
            &["web", "--deployment", "web"],
            &["--app", "shop", "--deployment", "web"],
            &["--deployment", "web", "--attempt", "2"],
            &["--app", "shop", "--attempt", "1"],
        ] {
            assert!(parse(line).is_err(), "{line:?}");
        }
    }
}
