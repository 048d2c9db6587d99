//! `davit-scheduler`: settings, telemetry, ports, then [`scheduler_svc::run`].

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use davit_svc_kit::program::{self, Outcome};
use davit_svc_kit::shutdown::Shutdown;
use davit_svc_kit::{http, telemetry};
use scheduler_svc::config::{Config, Settings};
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
}

#[tokio::main]
async fn main() -> ExitCode {
    program::exit("davit-scheduler", run(Args::parse()).await)
}

async fn run(args: Args) -> Outcome {
    let config = Config::from_settings(args.settings)?;
    match args.command {
        Some(Command::Healthcheck) => Ok(http::check_ready(config.http_listen).await?),
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
