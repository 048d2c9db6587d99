//! `davit demo`: a three-node cluster in this process does some work and shows what happens where and why.

mod acts;
mod narrator;

use std::net::SocketAddr;
use std::slice;
use std::time::Duration;

use davit_core::spec::ImageReference;
use davit_svc_kit::telemetry::{self, LogFormat};
use worker_svc::reexec::Reexec;

use self::acts::{Acts, Kind};
use self::narrator::Narrator;
use crate::error::Error;
use crate::local::{self, LocalCluster, Options, Ports};
use crate::output::Output;

/// How long the image may take to arrive.
const IMAGE_TIMEOUT: Duration = Duration::from_secs(8);
/// How long everything may take once the cluster runs.
const SHOW_TIMEOUT: Duration = Duration::from_secs(60);

/// Arguments of `davit demo`.
#[derive(Debug, Clone, clap::Args)]
pub struct DemoArgs {
    /// The image of the containers; needs a shell
    #[arg(long, default_value = "busybox:latest")]
    pub image: ImageReference,
    /// Run plain processes, even if there is a Docker engine
    #[arg(long)]
    pub process: bool,
}

/// Runs the show and cleans up.
///
/// # Errors
/// When the cluster can't start, or something did not come out as it should.
pub async fn run(args: DemoArgs, output: &Output) -> Result<u8, Error> {
    telemetry::init(LogFormat::Pretty, Some("error"));
    let (kind, docker) = choose(&args, output).await?;
    let options = Options {
        cluster: "demo".to_owned(),
        workers: 3,
        data_dir: None,
        ports: Ports::Free,
        docker,
        reexec: Reexec::this_program(),
    };
    let mut cluster = LocalCluster::start(options).await?;
    output.print(&format!(
        "A manager, a scheduler and three workers run in this process; the API is at {}.\n",
        cluster.manager
    ))?;
    let manager = cluster.manager;
    let shown = tokio::select! {
        shown = tokio::time::timeout(SHOW_TIMEOUT, show(manager, kind, output)) => {
            shown
                .unwrap_or_else(|_| Err(Error::failed(format!("not done within {} s", SHOW_TIMEOUT.as_secs()))))
                .map(|()| 0)
        }
        problem = cluster.broken() => Err(problem.into()),
        _ = tokio::signal::ctrl_c() => Ok(super::INTERRUPTED),
    };
    output.print("\nCleaning up: stopping what still runs, then the cluster.\n")?;
    let stopped = cluster.stop().await;
    let code = shown?;
    stopped?;
    if code != 0 {
        return Ok(code);
    }
    output.print("Done. For a cluster that stays, run `davit dev`; see README.md for what to do with it.\n")?;
    Ok(0)
}

/// Containers where there is an engine and the image can be had, else processes; says which and why.
async fn choose(args: &DemoArgs, output: &Output) -> Result<(Kind, Option<local::Docker>), Error> {
    if args.process {
        output.print("Tasks are plain processes, as asked for.\n")?;
        return Ok((Kind::Process, None));
    }
    let docker = match local::find_docker(None).await {
        Ok(docker) => docker,
        Err(problem) => {
            output.print(&format!("Tasks are plain processes: there is no Docker engine ({problem}).\n"))?;
            return Ok((Kind::Process, None));
        }
    };
    match local::get_image(&docker, args.image.clone(), IMAGE_TIMEOUT).await {
        Ok(()) => {
            output.print(&format!("Tasks are containers of {} on {}.\n", args.image, docker.version))?;
            Ok((Kind::Container(args.image.clone()), Some(docker)))
        }
        Err(problem) => {
            let image = &args.image;
            output.print(&format!(
                "Tasks are plain processes: the image {image} can't be had ({problem}).\n\
                 With --image another can be named, such as one that is there.\n"
            ))?;
            Ok((Kind::Process, None))
        }
    }
}

async fn show(manager: SocketAddr, kind: Kind, output: &Output) -> Result<(), Error> {
    let endpoint = davit_svc_kit::client::endpoint(&manager.to_string())?;
    let channel = endpoint.connect_lazy();
    let mut acts = Acts::new(channel.clone(), kind);
    let mut narrator = Narrator::begin(channel, output).await?;

    output.print("\n1. One task that runs once.\n")?;
    let hello = acts.hello().await?;
    narrator.until_ended(slice::from_ref(&hello)).await?;
    output.print(&format!("   It wrote: {}\n", acts.read_logs(&hello).await?.trim_end()))?;
    acts.expect_state(&hello, davit_proto::v1::TaskState::Completed).await?;

    output.print("\n2. A batch of nine tasks, spread over the nodes.\n")?;
    let batch = acts.batch(9).await?;
    narrator.until_ended(&batch).await?;
    for task_id in &batch {
        acts.expect_state(task_id, davit_proto::v1::TaskState::Completed).await?;
    }

    output
        .print("\n3. A task that crashes, and is restarted with growing waits until its three attempts are used.\n")?;
    let crashing = acts.crashing().await?;
    narrator.until_ended(slice::from_ref(&crashing)).await?;
    acts.expect_state(&crashing, davit_proto::v1::TaskState::Failed).await?;

    output.print("\n4. A task that fits nowhere says why, and runs once a node fits.\n")?;
    let picky = acts.picky().await?;
    narrator.until_waiting_for("fits 0 of 3", &picky).await?;
    output.print("   Now node-2 gets the label disk=ssd.\n")?;
    acts.label("node-2", "disk", "ssd").await?;
    narrator.until_ended(slice::from_ref(&picky)).await?;
    acts.expect_state(&picky, davit_proto::v1::TaskState::Completed).await?;

    for task_id in batch.iter().chain([&hello, &crashing, &picky]) {
        acts.delete(task_id).await?;
    }
    Ok(())
}
