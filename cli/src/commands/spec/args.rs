//! The options that describe a task, for every command that takes a spec from the command line.

use clap::{Args, ValueEnum};
use davit_proto::v1;

use super::health::HealthArgs;
use super::settings::SettingsArgs;
use crate::args::{bytes, cpus, duration, key_value};

/// Also of what changes it.
pub(super) const HEADING: &str = "What it runs";

/// What is to be run, without its image or command.
#[derive(Debug, Default, PartialEq, Args)]
#[command(next_help_heading = HEADING)]
pub struct SpecArgs {
    /// Name of the tasks; made from the image or program unless set
    #[arg(long, value_name = "NAME")]
    pub(super) name: Option<String>,
    /// Set an environment variable; KEY alone takes the value it has here. May be repeated
    #[arg(short, long, value_name = "KEY=VALUE")]
    pub(super) env: Vec<String>,
    /// Publish a port of the container, on this port of the node, or on one that the node gives out of its range. May be
    /// repeated
    #[arg(short, long, value_name = "[HOST:]CONTAINER[/udp]", value_parser = super::port, conflicts_with = "process")]
    pub(super) publish: Vec<v1::Port>,
    /// Cores, such as 0.5: set aside on the node, and the most it gets
    #[arg(long, value_name = "CORES", value_parser = cpus)]
    pub(super) cpus: Option<u64>,
    /// Memory, such as 512m: set aside on the node, and the limit at which it is killed
    #[arg(long, value_name = "BYTES", value_parser = bytes)]
    pub(super) memory: Option<u64>,
    /// When it runs again after it ended: never, on-failure, on-failure:MAX (at most MAX attempts in all), always; unless set
    /// never
    #[arg(long, value_name = "POLICY", value_parser = super::restart)]
    pub(super) restart: Option<v1::RestartPolicy>,
    /// What happens when its node goes down: replace (at once), wait:TIME (after that time), stop-and-replace (never two at
    /// once: the node stops it by itself first); replace unless set, and for jobs wait:30s
    #[arg(long, value_name = "POLICY", value_parser = super::on_node_loss)]
    pub(super) on_node_loss: Option<v1::NodeLossPolicy>,
    /// Set a label. May be repeated
    #[arg(short, long, value_name = "KEY=VALUE", value_parser = key_value)]
    pub(super) label: Vec<(String, String)>,
    /// Mount an absolute path of the node, or a named volume. May be repeated
    #[arg(short = 'v', long, value_name = "SRC:DST[:ro]", value_parser = super::mount, conflicts_with = "process")]
    pub(super) mount: Vec<v1::Mount>,
    /// Give it a config as a file, in its newest version; at /NAME unless set. May be repeated
    #[arg(long, value_name = "NAME[:PATH]", value_parser = super::config, conflicts_with = "process")]
    pub(super) config: Vec<v1::FileGrant>,
    /// Give it a secret as a file, in its newest version; at /run/secrets/NAME unless set. May be repeated
    #[arg(long, value_name = "NAME[:PATH]", value_parser = super::secret, conflicts_with = "process")]
    pub(super) secret: Vec<v1::FileGrant>,
    /// User, and optionally group, that runs it
    #[arg(short, long, value_name = "USER[:GROUP]", conflicts_with = "process")]
    pub(super) user: Option<String>,
    /// Working directory
    #[arg(short, long, value_name = "PATH")]
    pub(super) workdir: Option<String>,
    /// Replace the image's entrypoint
    #[arg(long, value_name = "PROGRAM", conflicts_with = "process")]
    pub(super) entrypoint: Option<String>,
    /// When the image is pulled; missing unless set
    #[arg(long, value_enum, value_name = "WHEN", conflicts_with = "process")]
    pub(super) pull: Option<Pull>,
    /// Signal that stops it; what the image says, else SIGTERM, unless set
    #[arg(long, value_name = "SIGNAL")]
    pub(super) stop_signal: Option<String>,
    /// Time between that signal and the kill, such as 30s; 10s unless set
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(super) stop_grace: Option<prost_types::Duration>,
    /// A plain process instead of a container
    #[arg(long)]
    pub(super) process: bool,
    #[command(flatten)]
    pub(super) settings: Box<SettingsArgs>,
    #[command(flatten)]
    pub(super) health: Box<HealthArgs>,
}

impl SpecArgs {
    /// Whether a plain process is meant.
    pub(in crate::commands) fn is_process(&self) -> bool {
        self.process
    }

    /// Whether any of them is given.
    pub(in crate::commands) fn is_given(&self) -> bool {
        *self != Self::default()
    }

    /// One that only containers have, if it is given.
    pub(super) fn only_of_containers(&self) -> Option<&'static str> {
        let given = [
            (!self.publish.is_empty(), "--publish"),
            (!self.mount.is_empty(), "--mount"),
            (!self.config.is_empty(), "--config"),
            (!self.secret.is_empty(), "--secret"),
            (self.user.is_some(), "--user"),
            (self.entrypoint.is_some(), "--entrypoint"),
            (self.pull.is_some(), "--pull"),
        ];
        let given = given.into_iter().find(|(is_given, _)| *is_given).map(|(_, option)| option);
        given.or_else(|| self.settings.given())
    }
}

/// When an image is pulled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Pull {
    /// When it is not on the node
    Missing,
    /// Before every start
    Always,
    /// Never
    Never,
}
