//! Hollow nodes in a process of their own. SIGUSR1 restarts their workers as if they had been killed, while the instances on their
//! engines go on.

use davit_svc_kit::shutdown::Shutdown;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use worker_svc::Config;
use worker_svc::hollow::{self, Hollow};
use worker_svc::runtime::Habits;

use crate::error::{Result, io_at};

/// Which hollow nodes.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Where the manager is.
    #[arg(long)]
    manager: String,
    /// How their names begin; a number follows.
    #[arg(long)]
    name: String,
    /// How many.
    #[arg(long)]
    count: u32,
}

/// Runs them until this process is killed.
///
/// # Errors
/// When no signals can be had.
pub(crate) async fn run(args: &Args) -> Result<()> {
    let config = Config::new(args.manager.clone(), args.name.clone(), "/nowhere");
    let nodes = hollow::nodes(&config, Hollow { nodes: args.count, habits: Habits::default() });
    let mut restarts = signal(SignalKind::user_defined1()).map_err(io_at("listen for", "signals".as_ref()))?;
    loop {
        let mut workers = JoinSet::new();
        for node in nodes.iter().cloned() {
            workers.spawn(async move {
                if let Err(error) = node.work(Shutdown::new()).await {
                    eprintln!("{error}");
                }
            });
        }
        restarts.recv().await;
        // Dropped in the middle of whatever they do, as a kill would.
        workers.shutdown().await;
    }
}
