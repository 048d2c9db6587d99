//! `davit-scheduler`: settings, telemetry, ports, then [`scheduler_svc::run`].

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use davit_svc_kit::program::{self, Outcome};
use davit_svc_kit::shutdown::Shutdown;
use davit_svc_kit::{http, telemetry};
use scheduler_svc::config::{Config, Settings};
use scheduler_svc::record::{self, Difference};
use tracing::{error, info};

/// The Davit scheduler: selects candidate nodes, scores them and picks.
#[derive(Debug, Parser)]
#[command(name = "davit-scheduler", version)]
struct Args {
    #[command(flatten)]
    settings: Settings,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Asks the scheduler of these settings whether it is ready; exit code 0 if it is
    Healthcheck,
    /// Works out every batch of a recording again and compares to the letter; exit code 0 if all is the same, 1 if something
    /// differs, 2 if the file can't be read
    Replay {
        /// As --record wrote it
        file: PathBuf,
    },
}

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    if let Some(Command::Replay { file }) = &args.command {
        return replay(file);
    }
    program::exit("davit-scheduler", run(args).await)
}

/// Says what came of a replay.
fn replay(file: &Path) -> ExitCode {
    let report = match record::replay(file) {
        Ok(report) => report,
        Err(problem) => {
            // The exit code is a replay's own.
            let _ = program::exit("davit-scheduler", Err(problem.into()));
            return ExitCode::from(2);
        }
    };
    let mut text = format!("{} streams, {} batches, {} tasks: ", report.streams, report.batches, report.tasks);
    text.push_str(&match &report.difference {
        None => "all as recorded".to_owned(),
        Some(Difference { stream_id, batch_id, what }) => {
            format!("stream {stream_id}, batch {batch_id} differs: {what}")
        }
    });
    if let Some(truncated) = &report.truncated {
        text.push_str(&format!("\nthe file is not complete: {truncated}"));
    }
    // Nothing is left to do if even this can't be written.
    let _ = writeln!(std::io::stdout(), "{text}");
    if report.difference.is_none() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

async fn run(args: Args) -> Outcome {
    let config = Config::from_settings(args.settings)?;
    match args.command {
        Some(Command::Healthcheck) => Ok(http::check_ready(config.http_listen).await?),
        // Done before any setting is looked at.
        Some(Command::Replay { .. }) => Ok(()),
        None => serve(config).await,
    }
}

async fn serve(config: Config) -> Outcome {
    telemetry::init(config.log_format, config.log.as_deref());
    let shutdown = Shutdown::signal()?;
    let listener = program::bind("listen", config.listen).await?;
    let http_listener = program::bind("http-listen", config.http_listen).await?;
    info!(address = %listener.local_addr()?, http = %http_listener.local_addr()?, "scheduler serves");
    let outcome = scheduler_svc::run(config, listener, Some(http_listener), shutdown).await;
    match &outcome {
        Ok(()) => info!("scheduler stopped"),
        Err(problem) => error!(%problem, "scheduler failed"),
    }
    Ok(outcome?)
}
