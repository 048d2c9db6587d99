//! `davit-scheduler`: settings, telemetry, ports, then [`scheduler_svc::run`].

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use davit_svc_kit::program::{self, Outcome};
use davit_svc_kit::shutdown::Shutdown;
use davit_svc_kit::{http, telemetry};
use scheduler_svc::config::{Config, Settings};
use scheduler_svc::record::{self, Verdict};
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
    /// Works out every batch of a recording again and compares to the letter
    ///
    /// Exit codes:
    ///   0  all is as recorded, and the file is whole
    ///   1  something differs
    ///   2  the file can't be read, is no recording, or is one of another format
    ///   3  all that can be read is as recorded, but the file is cut off or damaged. It also counts as cut off while the
    ///      scheduler still records to it, and after that was killed
    #[command(verbatim_doc_comment)]
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
    // Nothing is left to do if even this can't be written.
    let _ = writeln!(std::io::stdout(), "{report}");
    match report.verdict() {
        Verdict::Same => ExitCode::SUCCESS,
        Verdict::Different => ExitCode::from(1),
        Verdict::Flawed => ExitCode::from(3),
    }
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
