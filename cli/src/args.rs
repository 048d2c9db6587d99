//! The command line's shape, and the small texts in it that are more than words.

use std::ffi::OsString;

use clap::{Args, CommandFactory as _, Parser, Subcommand, ValueEnum};

use crate::commands::{
    app, app::DownArgs, app::PlanArgs, app::UpArgs, completion::CompletionArgs, config::ConfigCommand,
    config::SecretCommand, demo::DemoArgs, deployment::DeploymentCommand, dev::DevArgs, events::EventsArgs, explain,
    explain::ExplainArgs, inspect::InspectArgs, job::JobCommand, logs::LogsArgs, r#move::MoveArgs, node::NodeCommand,
    ps::PsArgs, rebalance::RebalanceArgs, restart::RestartArgs, rm::RmArgs, rollout::RolloutArgs, run::RunArgs,
    stop::StopArgs, volume::VolumeCommand,
};

/// Where a manager listens unless told otherwise.
pub const DEFAULT_MANAGER: &str = "127.0.0.1:7400";

/// Apart from a command's own options, which are what its reader looks for.
const GLOBAL: &str = "Options of every command";

const AFTER_HELP: &str = "\
Tasks are named by id, by the beginning or the end of an id, or by name, those of a deployment also with their slot: web.2;
nodes by name or id. Of tasks with one name the one that runs is meant, and one that has ended only where none is left: for
logs, inspect, explain and events the newest of these.

Exit codes:
  0    done
  1    failed
  2    the command line is wrong
  3    no manager could be reached
  130  interrupted
  `davit run` without --detach ends with the exit code of its task, or with 1 if any of several did not complete.
  `davit rollout`, and what follows one, ends with 0 when it is complete, 1 when it failed, was paused or went back by itself,
  and 4 when it waits to be promoted.
  `davit job run` and `davit job start`, unless detached, end with 0 when the run completed, and 1 when it did not.
  `davit plan` ends with 0 when nothing would change, 2 when something would, 1 after an error of any kind; `davit up` as
  `davit rollout`, with that of the worst, and with 1 if a run of a job has failed by then.
  `davit explain` ends as grep does: 0 there is a place, 1 there is none, 2 an error of any kind.";

/// Runs containers on a cluster of machines.
#[derive(Debug, Parser)]
#[command(name = "davit", version, after_help = AFTER_HELP)]
pub struct Cli {
    /// What every command takes.
    #[command(flatten)]
    pub global: GlobalArgs,
    /// What is to be done.
    #[command(subcommand)]
    pub command: Command,
}

/// What every command takes.
#[derive(Debug, Clone, Args)]
pub struct GlobalArgs {
    /// Address of the manager
    #[arg(long, global = true, env = "DAVIT_MANAGER", value_name = "HOST:PORT", default_value = DEFAULT_MANAGER)]
    #[arg(help_heading = GLOBAL)]
    pub manager: String,
    /// How results are written; json is the canonical JSON of the API's messages
    #[arg(short, long, global = true, value_enum, value_name = "FORMAT", default_value_t = Format::Table)]
    #[arg(help_heading = GLOBAL)]
    pub output: Format,
}

/// How results are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    Table,
    /// For programs.
    Json,
    /// For programs.
    Yaml,
}

/// What is to be done.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Start a cluster in this process, at the default addresses, until Ctrl-C
    Dev(DevArgs),
    /// Show what Davit does: a three-node cluster in this process does some work, and cleans up
    Demo(DemoArgs),
    /// Run a task: a container, or with --process a plain process
    Run(Box<RunArgs>),
    /// List tasks
    Ps(PsArgs),
    /// Show what a task wrote, or all tasks of a deployment or an app
    Logs(LogsArgs),
    /// Show all that is known of tasks or nodes
    Inspect(InspectArgs),
    /// Stop tasks and wait until they ended
    Stop(StopArgs),
    /// Start tasks anew, as another attempt, and wait until they run
    Restart(RestartArgs),
    /// Delete tasks that have ended
    Rm(RmArgs),
    /// Move a task to another node
    Move(MoveArgs),
    /// Show where a task could go, what each node would cost, and why the others don't fit
    Explain(Box<ExplainArgs>),
    /// Even out a cluster which a node that joined or came back from a cordon left uneven
    Rebalance(RebalanceArgs),
    /// Keep tasks running, and roll changes of them out
    #[command(subcommand)]
    Deployment(DeploymentCommand),
    /// Have tasks finish: once, so many times, or on a schedule
    #[command(subcommand)]
    Job(JobCommand),
    /// Follow the rollout of a deployment; see below for its exit code
    Rollout(RolloutArgs),
    /// Show what `davit up` would do with Compose files: 0 nothing, 2 changes, 1 an error of any kind
    Plan(PlanArgs),
    /// Make an app what Compose files say, and follow its rollouts and runs
    Up(UpArgs),
    /// Delete an app, and wait until it is gone
    Down(DownArgs),
    /// List apps
    Apps {
        /// Show whole details
        #[arg(long)]
        no_trunc: bool,
    },
    /// Keep configs: files that containers are given
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Keep secrets: as configs, but nobody is shown what they hold
    #[command(subcommand)]
    Secret(SecretCommand),
    /// Show what happened in the cluster
    Events(EventsArgs),
    /// Look at nodes and direct them
    #[command(subcommand)]
    Node(NodeCommand),
    /// Look at named volumes and where they are
    #[command(subcommand)]
    Volume(VolumeCommand),
    /// Show the cluster as a whole
    Cluster,
    /// Write a completion script for a shell
    Completion(CompletionArgs),
}

impl Command {
    /// The exit code that stands for each of its errors, if there is only one.
    #[must_use]
    pub fn error_code(&self) -> Option<u8> {
        match self {
            Self::Explain(_) => Some(explain::NO_ANSWER),
            Self::Plan(_) => Some(app::NO_PLAN),
            _ => None,
        }
    }
}

/// The exit code that stands for words that are no command line.
#[must_use]
pub fn usage_error_code(words: impl IntoIterator<Item = OsString>) -> u8 {
    /// What clap ends with.
    const USAGE: u8 = 2;
    let read = Cli::command().ignore_errors(true).try_get_matches_from(words);
    match read.as_ref().ok().and_then(clap::ArgMatches::subcommand_name) {
        Some("plan") => app::NO_PLAN,
        _ => USAGE,
    }
}

/// Reads `KEY=VALUE`.
///
/// # Errors
/// When there is no `=`, or nothing before it.
pub fn key_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("write it as KEY=VALUE".to_owned()),
    }
}

/// Reads an amount of bytes as Docker does: `512m`, `1.5g`, `64MiB`, `1048576`. All units are powers of 1024.
///
/// # Errors
/// When it is no such amount.
pub fn bytes(text: &str) -> Result<u64, String> {
    let wrong = || format!("`{text}` is not an amount of bytes such as 512m, 1.5g or 64MiB");
    let lower = text.trim().to_ascii_lowercase();
    let digits = lower.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = lower[digits.len()..].trim_end_matches('b').trim_end_matches('i');
    let power = match unit {
        "" => 0,
        "k" => 1,
        "m" => 2,
        "g" => 3,
        "t" => 4,
        _ => return Err(wrong()),
    };
    let amount: f64 = digits.trim().parse().map_err(|_| wrong())?;
    let total = amount * 1024f64.powi(power);
    // Beyond 2^53 a float no longer holds every whole number; no machine has that much.
    if !(1.0..=9_007_199_254_740_992.0).contains(&total) {
        return Err(wrong());
    }
    Ok(total.round() as u64)
}

/// Reads a number of cores, such as `0.5`, as thousandths.
///
/// # Errors
/// When it is no positive number.
pub fn cpus(text: &str) -> Result<u64, String> {
    let cores: f64 = text.parse().map_err(|_| format!("`{text}` is not a number of cores such as 2 or 0.5"))?;
    let millis = (cores * 1000.0).round();
    if !(1.0..=1e9).contains(&millis) {
        return Err(format!("`{text}` is not a number of cores from 0.001 to 1000000"));
    }
    Ok(millis as u64)
}

/// Reads a span of time: `10s`, `1m30s`, `500ms`, or a bare number of seconds.
///
/// # Errors
/// When it is none, or negative.
pub fn duration(text: &str) -> Result<prost_types::Duration, String> {
    let wrong = || format!("`{text}` is not a time such as 10s, 1m30s or 500ms");
    let span = match text.parse::<u32>() {
        Ok(seconds) => jiff::SignedDuration::from_secs(i64::from(seconds)),
        Err(_) => text.parse().map_err(|_| wrong())?,
    };
    if span.is_negative() {
        return Err(wrong());
    }
    Ok(prost_types::Duration { seconds: span.as_secs(), nanos: span.subsec_nanos() })
}

/// From when on something is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Since {
    /// From a time on.
    At(jiff::Timestamp),
    /// For so long until now.
    Ago(jiff::SignedDuration),
}

impl Since {
    /// The time that it stands for. Nothing was before 1970.
    #[must_use]
    pub fn as_of(self, now: jiff::Timestamp) -> jiff::Timestamp {
        let at = match self {
            Self::At(at) => at,
            Self::Ago(span) => now.checked_sub(span).unwrap_or(jiff::Timestamp::UNIX_EPOCH),
        };
        at.max(jiff::Timestamp::UNIX_EPOCH)
    }
}

/// Reads a time, `2026-01-02T03:04:05Z`, or a span until now, `10m`. No bare number: it is seconds in other options, and a time for
/// who is used to Docker.
///
/// # Errors
/// When it is neither.
pub fn since(text: &str) -> Result<Since, String> {
    let wrong = || format!("`{text}` is neither a time such as 2026-01-02T03:04:05Z nor a span such as 10m or 1h30m");
    if let Ok(at) = text.parse() {
        return Ok(Since::At(at));
    }
    let span: jiff::SignedDuration = text.parse().map_err(|_| wrong())?;
    if span.is_negative() { Err(wrong()) } else { Ok(Since::Ago(span)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_plan_that_nobody_can_make_out_is_no_change() {
        let code = |line: &str| usage_error_code(line.split(' ').map(OsString::from));
        assert_eq!(code("davit plan --bogus"), app::NO_PLAN);
        assert_eq!(code("davit --manager m:1 plan -f"), app::NO_PLAN);
        assert_eq!((code("davit up --bogus"), code("davit --bogus"), code("davit plans")), (2, 2, 2));
    }

    #[test]
    fn the_output_format_may_follow_the_command() {
        let cli = Cli::try_parse_from(["davit", "ps", "-o", "json", "--manager", "m:1"]).unwrap();
        assert_eq!((cli.global.output, cli.global.manager.as_str()), (Format::Json, "m:1"));
    }

    #[test]
    fn bytes_are_read_as_docker_does() {
        for (text, expected) in [
            ("1", 1),
            ("64k", 65_536),
            ("512m", 512 << 20),
            ("512MB", 512 << 20),
            ("64MiB", 64 << 20),
            ("1.5g", 3 << 29),
            ("1 gib", 1 << 30),
        ] {
            assert_eq!(bytes(text), Ok(expected), "{text}");
        }
        for text in ["", "m", "-1m", "0", "1x", "nan", "inf", "1e40", "12mm"] {
            assert!(bytes(text).is_err(), "{text}");
        }
    }

    #[test]
    fn cores_become_thousandths() {
        assert_eq!(cpus("1.5"), Ok(1500));
        assert_eq!(cpus("0.001"), Ok(1));
        for text in ["", "0", "-1", "nan", "inf", "two"] {
            assert!(cpus(text).is_err(), "{text}");
        }
    }

    #[test]
    fn times_come_with_or_without_a_unit() {
        let seconds = |seconds| Ok(prost_types::Duration { seconds, nanos: 0 });
        assert_eq!(duration("10"), seconds(10));
        assert_eq!(duration("1m30s"), seconds(90));
        assert_eq!(duration("500ms"), Ok(prost_types::Duration { seconds: 0, nanos: 500_000_000 }));
        for text in ["", "-1s", "soon", "99999999999"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_beginning_is_a_time_or_a_span_until_now() {
        let now: jiff::Timestamp = "2026-01-02T03:04:05Z".parse().unwrap();
        for (text, expected) in [
            ("10m", "2026-01-02T02:54:05Z"),
            ("1h30m", "2026-01-02T01:34:05Z"),
            ("0s", "2026-01-02T03:04:05Z"),
            ("2026-01-01T00:00:00.000000005Z", "2026-01-01T00:00:00.000000005Z"),
            ("2026-01-01T02:00:00+02:00", "2026-01-01T00:00:00Z"),
            ("1000000000h", "1970-01-01T00:00:00Z"),
        ] {
            assert_eq!(since(text).map(|since| since.as_of(now).to_string()), Ok(expected.to_owned()), "{text}");
        }
        for text in ["", "soon", "-10m", "10m ago", "10", "1700000000", "2026-01-01"] {
            assert!(since(text).is_err(), "{text}");
        }
    }

    #[test]
    fn pairs_need_a_key() {
        assert_eq!(key_value("a=b=c"), Ok(("a".to_owned(), "b=c".to_owned())));
        assert_eq!(key_value("a="), Ok(("a".to_owned(), String::new())));
        assert!(key_value("a").is_err() && key_value("=b").is_err());
    }
}
