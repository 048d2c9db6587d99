//! `davit-manager`: settings, telemetry, ports, then [`manager_svc::run`].

use std::io::Write as _;
use std::path::PathBuf;
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
    /// Writes the state of a live cluster into a file: tasks, nodes, request ids, as they are at one revision. Keep it as safe as
    /// the cluster: it holds what specs hold, environments too
    Backup {
        /// The file; it must not be there yet
        file: PathBuf,
        /// The address of the manager
        #[arg(long, env = "DAVIT_MANAGER", value_name = "ADDRESS", default_value = "127.0.0.1:7400")]
        manager: String,
    },
    /// Makes the store of a backup in --data-dir, which must be empty; start the manager on it then. What happened after the
    /// backup is lost; what still runs on workers is found again
    Restore {
        /// The file
        file: PathBuf,
    },
}

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    program::exit("davit-manager", program::block_on(run(Args::parse())))
}

async fn run(args: Args) -> Outcome {
    let config = Config::from_settings(args.settings)?;
    match args.command {
        Some(Command::Healthcheck) => Ok(davit_svc_kit::http::check_ready(config.http_listen).await?),
        Some(Command::Backup { file, manager }) => {
            let info = manager_svc::backup::backup(&manager, &file, config.named_cluster()).await?;
            say(&format!("{} holds cluster `{}` at revision {}", file.display(), info.cluster, info.revision))
        }
        Some(Command::Restore { file }) => {
            let data_dir = config.data_dir.clone();
            let restored = tokio::task::spawn_blocking(move || {
                manager_svc::store::restore(&file, &config.data_dir, config.named_cluster())
            });
            let restored = restored.await?;
            let (info, revision) = restored?;
            say(&format!(
                "{} holds cluster `{}` as it was at {} (revision {}); it goes on with revision {revision}",
                data_dir.display(),
                info.cluster,
                info.created_at,
                info.revision
            ))
        }
        None => serve(config).await,
    }
}

fn say(text: &str) -> Outcome {
    Ok(writeln!(std::io::stdout(), "{text}")?)
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
