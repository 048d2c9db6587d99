//! `davit logs`: what a task wrote.

use clap::Args;
use davit_proto::v1;
use futures::StreamExt as _;
use tonic::Request;

use crate::args::Format;
use crate::client::Manager;
use crate::error::Error;
use crate::output::{Output, Tone, from_proto_time};
use crate::resolve;

/// Arguments of `davit logs`.
#[derive(Debug, Args)]
pub struct LogsArgs {
    /// Go on with what is written from now on, until the attempt ends
    #[arg(short, long)]
    follow: bool,
    /// Only that many last lines
    #[arg(short = 'n', long, value_name = "N")]
    tail: Option<u32>,
    /// Which attempt, from 1; the current one unless given
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    attempt: Option<u32>,
    /// Put the time before each line
    #[arg(short, long)]
    timestamps: bool,
    /// The task
    #[arg(value_name = "TASK")]
    task: String,
}

pub(super) async fn run(manager: &Manager, args: &LogsArgs, output: &Output) -> Result<(), Error> {
    let task = resolve::task(manager, &args.task).await?;
    let request = v1::StreamTaskLogsRequest {
        task_id: task.task_id,
        attempt: args.attempt.unwrap_or_default(),
        tail_lines: args.tail,
        follow: args.follow,
    };
    let answer = manager.tasks().stream_task_logs(Request::new(request)).await;
    let mut pieces = answer.map_err(|status| manager.error(status))?.into_inner();
    while let Some(piece) = pieces.next().await {
        let piece = piece.map_err(|status| manager.error(status))?;
        if output.format == Format::Table {
            write_piece(&piece, args.timestamps, output)?;
        } else {
            output.item(&piece, |_| String::new())?;
        }
    }
    Ok(())
}

/// Output goes to output and errors to errors, byte for byte, as if the task ran here.
fn write_piece(piece: &v1::StreamTaskLogsResponse, timestamps: bool, output: &Output) -> Result<(), Error> {
    let is_error = piece.stream() == v1::LogStream::Stderr;
    let mut bytes = Vec::new();
    if timestamps && let Some(time) = from_proto_time(piece.time.as_ref()) {
        let palette = if is_error { output.message_palette } else { output.palette };
        bytes.extend_from_slice(palette.paint(Tone::Faint, &format!("{time:.3}")).as_bytes());
        bytes.push(b' ');
    }
    bytes.extend_from_slice(&piece.data);
    if is_error { output.print_error_bytes(&bytes) } else { output.print_bytes(&bytes) }
}
