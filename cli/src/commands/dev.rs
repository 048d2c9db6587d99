//! `davit dev`: a whole cluster in this process, at the default addresses, until Ctrl-C.

use std::path::PathBuf;

use davit_svc_kit::shutdown::Shutdown;
use davit_svc_kit::telemetry::{self, LogFormat};
use worker_svc::reexec::Reexec;

use crate::error::Error;
use crate::local::{self, Docker, LocalCluster, Options, Ports};
use crate::output::Output;

/// Arguments of `davit dev`.
#[derive(Debug, Clone, clap::Args)]
pub struct DevArgs {
    /// How many workers, each a node of its own
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=100))]
    pub workers: u16,
    /// Where the manager and the workers keep what they need [default: memory, and a directory that vanishes at the end]
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// The Docker engine's socket [default: /var/run/docker.sock]
    #[arg(long, env = "DAVIT_DOCKER_SOCKET", value_name = "PATH")]
    pub docker_socket: Option<PathBuf>,
    /// What the services log to standard error, such as info or debug
    #[arg(long, env = "DAVIT_LOG", value_name = "FILTER", default_value = "warn")]
    pub log: String,
}

/// Runs the cluster until Ctrl-C.
///
/// # Errors
/// When it can't start, or a service breaks.
pub async fn run(args: DevArgs, output: &Output) -> Result<u8, Error> {
    telemetry::check_filter(&args.log).map_err(|problem| Error::usage(format!("--log {}: {problem}", args.log)))?;
    telemetry::init(LogFormat::Pretty, Some(&args.log));
    let shutdown = Shutdown::signal().map_err(|source| Error::Io { action: "listen for Ctrl-C", source })?;
    let docker = local::find_docker(args.docker_socket).await;
    let options = Options {
        cluster: "dev".to_owned(),
        workers: args.workers,
        data_dir: args.data_dir,
        ports: Ports::Default,
        docker: docker.clone().ok(),
        reexec: Reexec::this_program(),
    };
    let mut cluster = LocalCluster::start(options).await?;
    output.print(&banner(&cluster, &docker))?;
    let broken = tokio::select! {
        () = shutdown.triggered() => None,
        problem = cluster.broken() => Some(problem),
    };
    output.print("stopping all tasks and the cluster …\n")?;
    let stopped = cluster.stop().await;
    match broken {
        Some(problem) => Err(problem.into()),
        None => Ok(stopped.map(|()| 0)?),
    }
}

/// What runs where, and what to try.
fn banner(cluster: &LocalCluster, docker: &Result<Docker, String>) -> String {
    let nodes = cluster.workers.len();
    let runtimes = match docker {
        Ok(docker) => format!("containers ({}) and plain processes", docker.version),
        Err(problem) => format!("plain processes; no Docker engine: {problem}"),
    };
    let workers: Vec<String> = cluster.workers.iter().map(ToString::to_string).collect();
    let example = match docker {
        Ok(_) => "davit run --detach --name web --count 3 -p 80 nginx",
        Err(_) => "davit run --process -- sh -c 'echo hello'",
    };
    format!(
        "A cluster of {nodes} nodes runs {runtimes}.\n\
         \x20 manager    {manager}   metrics and health on http://{http}\n\
         \x20 scheduler  {scheduler}\n\
         \x20 workers    {workers}\n\
         Try in another terminal:  {example}\n\
         Ctrl-C stops its tasks and ends it.\n",
        manager = cluster.manager,
        http = cluster.manager_http,
        scheduler = cluster.scheduler,
        workers = workers.join(", "),
    )
}
