//! `davit rollout`: follows the rollout of a deployment.

use std::io::{self, IsTerminal as _};
use std::time::Duration;

use clap::Args;
use davit_proto::v1;
use indicatif::{ProgressBar, ProgressDrawTarget};

use super::{INTERRUPTED, now};
use crate::args::Format;
use crate::client::Manager;
use crate::error::Error;
use crate::output::{Output, rollout_line, rollout_view};
use crate::rollout::follow;

/// How often the spinner turns.
const TICK: Duration = Duration::from_millis(100);

/// Arguments of `davit rollout`.
#[derive(Debug, Args)]
pub struct RolloutArgs {
    /// Go on while it waits to be promoted
    #[arg(long)]
    through_promotion: bool,
    /// The deployment, by name or id
    #[arg(value_name = "DEPLOYMENT")]
    deployment: String,
}

pub(super) async fn run(manager: &Manager, args: &RolloutArgs, output: &Output) -> Result<u8, Error> {
    stay(manager, &args.deployment, None, args.through_promotion, output).await
}

/// Stays with a rollout until its end, and shows it. The exit code tells how it went.
pub(super) async fn stay(
    manager: &Manager,
    deployment: &str,
    version: Option<u32>,
    through_promotion: bool,
    output: &Output,
) -> Result<u8, Error> {
    let mut shown = Shown::new(output);
    let followed = follow(manager, deployment, version, through_promotion, |message| shown.show(message));
    let ended = tokio::select! {
        ended = followed => ended,
        _ = tokio::signal::ctrl_c() => {
            shown.freeze();
            let name = shown.name.as_deref().unwrap_or(deployment);
            output.note(&format!("The rollout goes on; `davit rollout {name}` shows it again."));
            return Ok(INTERRUPTED);
        }
    };
    shown.clear();
    let ended = ended?;
    match output.format {
        // A line that was the last one anyway is not said twice.
        Format::Table if shown.is_told => {}
        Format::Table => output.note(&output.last_word(&rollout_line(&ended.last, now(), output.message_palette))),
        // Each message was told.
        Format::Json | Format::Yaml => {}
    }
    Ok(ended.exit_code())
}

/// What is on the screen.
struct Shown<'a> {
    output: &'a Output,
    bar: Option<ProgressBar>,
    /// Of the deployment, as far as it was told: people know no ids.
    name: Option<String>,
    last_line: String,
    /// Whether what was shown last stays where it is.
    is_told: bool,
}

impl<'a> Shown<'a> {
    fn new(output: &'a Output) -> Self {
        let on_terminal = io::stderr().is_terminal() && output.format == Format::Table;
        let bar = on_terminal.then(|| {
            let bar = ProgressBar::new_spinner();
            bar.enable_steady_tick(TICK);
            bar
        });
        let is_told = bar.is_none();
        Self { output, bar, name: None, last_line: String::new(), is_told }
    }

    fn show(&mut self, message: &v1::WatchRolloutResponse) {
        let palette = self.output.message_palette;
        let spec = message.deployment.as_ref().and_then(|deployment| deployment.spec.as_ref());
        self.name = spec.map(|spec| spec.name.clone()).or(self.name.take());
        if self.output.format != Format::Table {
            // Nobody who reads it any more is told at the end.
            let _ = self.output.item(message, |_| String::new());
            return;
        }
        match &self.bar {
            Some(bar) => {
                let view = rollout_view(message, now(), palette);
                bar.set_message(self.output.live_lines(&view));
            }
            None => {
                let line = rollout_line(message, now(), palette).whole();
                // The time that is left is no news.
                let news = line.split(", ").filter(|part| !part.ends_with(" left")).collect::<Vec<_>>().join(", ");
                if news != self.last_line {
                    self.output.note(&line);
                    self.last_line = news;
                }
            }
        }
    }

    /// Leaves it as it was drawn last: the terminal has shown the key that interrupted below it.
    fn freeze(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.set_draw_target(ProgressDrawTarget::hidden());
            self.output.note("");
        }
    }

    fn clear(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}
