//! `davit-worker`: settings, logs, ports, and then [`worker_svc::run`].

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Parser, Subcommand};
use davit_svc_kit::clock::SystemClock;
use davit_svc_kit::http;
use davit_svc_kit::program::{self, Outcome};
use davit_svc_kit::readiness::Readiness;
use davit_svc_kit::shutdown::Shutdown;
use davit_svc_kit::telemetry;
use davit_svc_kit::world::World;
use worker_svc::config::{DockerMode, ProgramConfig, Settings};
use worker_svc::hollow::{self, Hollow};
use worker_svc::identity::DataDir;
use worker_svc::reexec::{self, Reexec};
use worker_svc::runtime::{
    DockerConfig, DockerRuntime, GuardConfig, Owner, ProcessConfig, ProcessRuntime, Runtime, SharedClock,
};
use worker_svc::{Machine, RuntimeFactory};

/// Runs the tasks that a Davit manager assigns to this node.
#[derive(Debug, Parser)]
#[command(name = "davit-worker", version)]
struct Arguments {
    /// A TOML file with the same keys as the flags. Flags and environment win over it.
    #[arg(long, env = "DAVIT_CONFIG", global = true)]
    config: Option<PathBuf>,
    #[command(flatten)]
    settings: Settings,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Ask a worker on this machine, with these settings, whether it is ready. Exit code 0: it is.
    Healthcheck,
}

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    if let Some(code) = reexec::run_hidden() {
        return code;
    }
    let arguments = Arguments::parse();
    let outcome = match arguments.settings.resolve(arguments.config.as_deref()) {
        Ok(config) => match arguments.command {
            Some(Command::Healthcheck) => {
                program::block_on(async move { Ok(http::check_ready(config.http_listen).await?) })
            }
            None => {
                telemetry::init(config.log_format, config.log.as_deref());
                program::block_on(serve(config))
            }
        },
        Err(error) => Err(error.into()),
    };
    program::exit("davit-worker", outcome)
}

async fn serve(config: ProgramConfig) -> Outcome {
    http::install_metrics()?;
    let shutdown = Shutdown::signal()?;
    if let Some(hollow) = config.hollow {
        return pretend(config, hollow, shutdown).await;
    }
    let data_dir = worker_svc::open_data_dir(&config.worker)?;
    let listener = program::bind("listen", config.listen).await?;
    let http_listener = program::bind("http-listen", config.http_listen).await?;
    tracing::info!(grpc = %listener.local_addr()?, http = %http_listener.local_addr()?, "listening");
    let runtimes = runtimes(&config);
    worker_svc::run_on(
        Machine::real(data_dir, runtimes),
        World::real(),
        config.worker,
        listener,
        Some(http_listener),
        shutdown,
    )
    .await?;
    tracing::info!("stopped");
    Ok(())
}

/// Hollow nodes share a side port, and have no ports of their own.
async fn pretend(config: ProgramConfig, hollow: Hollow, shutdown: Shutdown) -> Outcome {
    let http_listener = program::bind("http-listen", config.http_listen).await?;
    tracing::info!(nodes = hollow.nodes, http = %http_listener.local_addr()?, "hollow nodes");
    let readiness = Readiness::new();
    readiness.set_ready();
    let side_port = http::serve(http_listener, readiness, shutdown.clone());
    let nodes = hollow::run(hollow::nodes(&config.worker, hollow), shutdown.clone());
    tokio::try_join!(async { nodes.await.map_err(Into::into) }, async { side_port.await.map_err(Into::into) })
        .map(|((), ())| tracing::info!("stopped"))
}

fn runtimes(config: &ProgramConfig) -> RuntimeFactory {
    let data_dir = &config.worker.data_dir;
    let docker = (config.docker != DockerMode::Off).then(|| DockerConfig {
        socket: config.docker_socket.clone(),
        guard: Some(GuardConfig {
            dir: data_dir.join("guard"),
            lease_file: DataDir::lease_path(data_dir),
            reexec: Reexec::this_program(),
        }),
        files_dir: config.files_dir.clone(),
        ..DockerConfig::default()
    });
    let process = config.process_runtime.then(|| ProcessConfig {
        lease_file: Some(DataDir::lease_path(data_dir)),
        ..ProcessConfig::new(data_dir.join("processes"), Reexec::this_program())
    });
    Arc::new(move |owner: &Owner| {
        let clock: SharedClock = Arc::new(SystemClock);
        let mut runtimes: Vec<Arc<dyn Runtime>> = Vec::new();
        if let Some(docker) = &docker {
            runtimes.push(Arc::new(DockerRuntime::new(owner.clone(), docker.clone(), Arc::clone(&clock))));
        }
        if let Some(process) = &process {
            runtimes.push(Arc::new(ProcessRuntime::new(owner, process, clock)));
        }
        runtimes
    })
}
