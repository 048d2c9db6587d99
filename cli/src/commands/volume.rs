//! `davit volume`: where named volumes are.

use clap::{Args, Subcommand};
use davit_proto::v1;

use super::now;
use crate::args::Format;
use crate::client::{Manager, call};
use crate::error::Error;
use crate::output::{Output, volumes_table};

/// What is to be done with volumes.
#[derive(Debug, Subcommand)]
pub enum VolumeCommand {
    /// List named volumes and the nodes on which they are
    Ls(LsArgs),
    /// Forget where volumes are: the next tasks that mount them go anywhere, and find them empty. What is on the node stays there
    Rm(RmArgs),
}

/// Arguments of `davit volume ls`.
#[derive(Debug, Args)]
pub struct LsArgs {
    /// Only those on this node
    #[arg(long, value_name = "NODE")]
    node: Option<String>,
    /// Show only names
    #[arg(short, long)]
    quiet: bool,
}

/// Arguments of `davit volume rm`.
#[derive(Debug, Args)]
pub struct RmArgs {
    /// The volumes
    #[arg(required = true, value_name = "VOLUME")]
    volumes: Vec<String>,
}

pub(super) async fn run(manager: &Manager, command: VolumeCommand, output: &Output) -> Result<(), Error> {
    match command {
        VolumeCommand::Ls(args) => {
            let volumes = manager.list_volumes(args.node.as_deref()).await?;
            if args.quiet {
                return output.print(&volumes.iter().map(|volume| format!("{}\n", volume.name)).collect::<String>());
            }
            output.list(&volumes, |palette| volumes_table(&volumes, now(), palette))
        }
        VolumeCommand::Rm(args) => {
            let mut forgotten = Vec::new();
            for volume in args.volumes {
                let request = v1::DeleteVolumeRequest { volume: volume.clone() };
                manager.volumes().delete_volume(call(request)).await.map_err(|status| manager.error(status))?;
                forgotten.push(v1::Volume { name: volume, ..Default::default() });
            }
            match output.format {
                Format::Table => {
                    output.print(&forgotten.iter().map(|volume| format!("{}\n", volume.name)).collect::<String>())
                }
                Format::Json | Format::Yaml => output.list(&forgotten, |_| String::new()),
            }
        }
    }
}
