//! What one attempt wrote, shown as it comes; a reading that breaks off goes on where it was.

use std::time::Duration;

use davit_proto::convert::timestamp_to_proto;
use davit_proto::v1;
use futures::StreamExt as _;
use tokio::time::Instant;
use tonic::{Request, Response, Status, Streaming};
use tonic_types::StatusExt as _;

use super::LogOptions;
use super::labelled::Labelled;
use super::place::Place;
use crate::args::Format;
use crate::client::{Manager, backoff};
use crate::commands::now;
use crate::error::Error;
use crate::output::{Output, Palette, Tone, from_proto_time};
use crate::retry::{Tries, may_pass};

/// A reading that broke after so long had worked, though its task wrote nothing: a worker that does not begin is given up sooner.
const WORKED: Duration = Duration::from_secs(15);

/// Shows what an attempt wrote, with a label where others are shown meanwhile: only whole lines are shown then.
pub(super) async fn of_attempt(
    manager: &Manager,
    (task_id, attempt): (&str, u32),
    label: Option<&str>,
    args: &LogOptions,
    output: &Output,
) -> Result<(), Error> {
    let labelled = label.filter(|_| output.format == Format::Table).map(|label| {
        let painted = |palette: Palette| palette.paint(Tone::Faint, &format!("{label} | "));
        Labelled::new(painted(output.palette), painted(output.message_palette))
    });
    let place = Place::new(args.tail.is_some());
    let mut reader = Reader { place, timestamps: args.timestamps, labelled, output };
    let note = |text: &str| match label {
        Some(label) => output.note(&format!("{label}: {text}")),
        None => output.note(text),
    };
    let request = v1::StreamTaskLogsRequest {
        task_id: task_id.to_owned(),
        attempt,
        tail_lines: args.tail,
        follow: args.follow,
        since: args.since.map(|since| timestamp_to_proto(since.as_of(now()))),
    };
    let shown = read(manager, request, note, &mut reader).await;
    reader.end()?;
    shown
}

async fn read(
    manager: &Manager,
    mut request: v1::StreamTaskLogsRequest,
    note: impl Fn(&str),
    reader: &mut Reader<'_>,
) -> Result<(), Error> {
    let mut tries = Tries::new(backoff());
    let mut answer = open(manager, &request).await;
    let (mut is_told, mut looks) = (false, backoff());
    while let Err(status) = &answer
        && request.follow
        && waits_for_a_node(status)
    {
        if !std::mem::replace(&mut is_told, true) {
            note("waiting until it is on a node");
        }
        tokio::time::sleep(looks.next_delay()).await;
        answer = open(manager, &request).await;
    }
    // What is refused at once has not broken.
    let mut goes_on = request.follow && answer.is_ok();
    loop {
        let (place, began) = (reader.place, Instant::now());
        let broken = match answer {
            Ok(pieces) => match reader.read(pieces).await? {
                Some(status) => status,
                None => return Ok(()),
            },
            Err(status) => status,
        };
        if reader.place != place || began.elapsed() >= WORKED {
            tries.reset();
        }
        goes_on &= may_pass(&broken);
        let is_first = tries.is_first();
        let wait = if goes_on { tries.next_wait(Some(&broken), Instant::now()) } else { None };
        let Some(wait) = wait else { return Err(manager.error(broken)) };
        if is_first {
            note(&format!("waiting to go on with the output: {}", manager.error(broken).without_advice()));
        }
        tokio::time::sleep(wait).await;
        if !reader.place.is_begin() {
            request.tail_lines = None;
        }
        request.since = reader.place.since().map(timestamp_to_proto).or(request.since);
        answer = open(manager, &request).await;
    }
}

async fn open(
    manager: &Manager,
    request: &v1::StreamTaskLogsRequest,
) -> Result<Streaming<v1::StreamTaskLogsResponse>, Status> {
    manager.tasks().stream_task_logs(Request::new(request.clone())).await.map(Response::into_inner)
}

/// Whether the attempt has no output yet, since it is not on a node.
fn waits_for_a_node(status: &Status) -> bool {
    status.get_details_error_info().is_some_and(|info| info.reason == "ATTEMPT_NOT_ON_NODE_YET")
}

/// Who the output is shown to.
struct Reader<'a> {
    place: Place,
    timestamps: bool,
    labelled: Option<Labelled>,
    output: &'a Output,
}

impl Reader<'_> {
    /// Shows what comes and was not shown yet. Tells why it ended before the output did.
    async fn read(&mut self, mut pieces: Streaming<v1::StreamTaskLogsResponse>) -> Result<Option<Status>, Error> {
        let mut seen = self.place.seen();
        while let Some(piece) = pieces.next().await {
            let piece = match piece {
                Ok(piece) => piece,
                Err(status) => return Ok(Some(status)),
            };
            let time = from_proto_time(piece.time.as_ref());
            if seen.has(time) {
                continue;
            }
            if self.output.format == Format::Table {
                self.write(&piece)?;
            } else {
                self.output.item(&piece, |_| String::new())?;
            }
            self.place.shown(time);
        }
        Ok(None)
    }

    /// Output goes to output and errors to errors, byte for byte, as if the task ran here; with labels line by line.
    fn write(&mut self, piece: &v1::StreamTaskLogsResponse) -> Result<(), Error> {
        let output = self.output;
        let is_error = piece.stream() == v1::LogStream::Stderr;
        let mut stamp = Vec::new();
        if self.timestamps
            && let Some(time) = from_proto_time(piece.time.as_ref())
        {
            let palette = if is_error { output.message_palette } else { output.palette };
            stamp.extend_from_slice(palette.paint(Tone::Faint, &format!("{time:.3}")).as_bytes());
            stamp.push(b' ');
        }
        let bytes = match &mut self.labelled {
            Some(labelled) => labelled.whole_lines(is_error, &stamp, &piece.data),
            None => [stamp.as_slice(), &piece.data].concat(),
        };
        if is_error { output.print_error_bytes(&bytes) } else { output.print_bytes(&bytes) }
    }

    /// Shows lines that never got their end.
    fn end(&mut self) -> Result<(), Error> {
        let Some(labelled) = &mut self.labelled else { return Ok(()) };
        self.output.print_bytes(&labelled.rest(false))?;
        self.output.print_error_bytes(&labelled.rest(true))
    }
}
