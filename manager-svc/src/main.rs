//! `davit-manager`: settings, telemetry, ports, then [`manager_svc::run`].

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use davit_svc_kit::program::{self, Outcome};
use davit_svc_kit::shutdown::Shutdown;
use davit_svc_kit::telemetry;
use davit_svc_kit::world::World;
use manager_svc::config::{Config, Settings};
use tracing::{error, info};

/// The Davit manager: owns the truth about tasks and nodes.
#[derive(Debug, Parser)]
#[command(name = "davit-manager", version)]
struct Args {
    #[command(flatten)]
    settings: Settings,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Asks the manager of these settings whether it is ready; exit code 0 if it is
    Healthcheck,
}

#[tokio::main]
async fn main() -> ExitCode {
    program::exit("davit-manager", run(Args::parse()).await)
}

async fn run(args: Args) -> Outcome {
    let config = Config::from_settings(args.settings)?;
    match args.command {
        Some(Command::Healthcheck) => Ok(davit_svc_kit::http::check_ready(config.http_listen).await?),
        None => serve(config).await,
    }
}

async fn serve(config: Config) -> Outcome {
    telemetry::init(config.log_format, config.log.as_deref());
    let shutdown = Shutdown::signal()?;
    let listener = program::bind("listen", config.listen).await?;
    let http_listener = program::bind("http-listen", config.http_listen).await?;
    info!(address = %config.listen, http = %config.http_listen, cluster = config.cluster, "manager starts");
    let store = manager_svc::store::open(&config).await;
    let outcome = match store {
        Ok(store) => manager_svc::run(World::real(), config, store, listener, Some(http_listener), shutdown).await,
        Err(problem) => Err(problem.into()),
    };
    match &outcome {
        Ok(()) => info!("manager stopped"),
        Err(problem) => error!(%problem, "manager failed"),
    }
    Ok(outcome?)
}
