//! `davit-manager`: settings, telemetry, ports, then [`manager_svc::run`].

use std::process::ExitCode;
use std::sync::Arc;

use clap::{Parser, Subcommand};
use davit_svc_kit::shutdown::Shutdown;
use davit_svc_kit::telemetry;
use manager_svc::config::{Config, Settings};
use manager_svc::store::MemoryStore;
use tokio::net::TcpListener;
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
    let args = Args::parse();
    let config = match Config::from_settings(args.settings) {
        Ok(config) => config,
        Err(problem) => return fail(&problem),
    };
    match args.command {
        Some(Command::Healthcheck) => match davit_svc_kit::http::check_ready(config.http_listen).await {
            Ok(()) => ExitCode::SUCCESS,
            Err(problem) => fail(&problem),
        },
        None => match serve(config).await {
            Ok(()) => ExitCode::SUCCESS,
            Err(problem) => fail(problem.as_ref()),
        },
    }
}

async fn serve(config: Config) -> Result<(), Box<dyn std::error::Error>> {
    telemetry::init(config.log_format, config.log.as_deref());
    let shutdown = Shutdown::signal()?;
    let bind = async |key: &str, address| {
        TcpListener::bind(address).await.map_err(|problem| format!("{key} = {address}: {problem}"))
    };
    let listener = bind("listen", config.listen).await?;
    let http_listener = bind("http-listen", config.http_listen).await?;
    info!(address = %config.listen, http = %config.http_listen, cluster = config.cluster, "manager serves");
    let outcome =
        manager_svc::run(config, Arc::new(MemoryStore::default()), listener, Some(http_listener), shutdown).await;
    match &outcome {
        Ok(()) => info!("manager stopped"),
        Err(problem) => error!(%problem, "manager failed"),
    }
    Ok(outcome?)
}

#[expect(clippy::print_stderr, reason = "there may be no log to write to yet")]
fn fail(problem: &dyn std::error::Error) -> ExitCode {
    eprintln!("davit-manager: {problem}");
    ExitCode::FAILURE
}
