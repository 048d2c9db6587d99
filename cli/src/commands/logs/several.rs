//! Shows the outputs of many tasks: those that are there, or also those that come. Of jobs, deployments and apps.

use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use tokio::time::Instant;
use tonic_types::StatusExt;

use super::LogOptions;
use super::attempt::of_attempt;
use super::followed::{Followed, named};
use super::written::{Found, Stage, Written};
use crate::args::Format;
use crate::client::{Manager, backoff};
use crate::error::Error;
use crate::output::Output;
use crate::retry::{Tries, may_pass};

/// How long after a look the next one is taken, at least.
const LOOK: Duration = Duration::from_millis(300);
/// Looks at many tasks take a while: of the time, only one part in so many is spent with them.
const LOOK_SHARE: u32 = 5;

/// How it went with the outputs so far.
#[derive(Debug, Default)]
struct Tally {
    shown: usize,
    /// Could not be read.
    failed: usize,
    /// Had ended, and are kept no more.
    lost: Vec<String>,
}

impl Tally {
    /// Counts an output, and says what is wrong with it unless that is told of all together.
    fn count(&mut self, written: &Written, shown: Result<(), Error>) -> Result<Option<Error>, Error> {
        match shown {
            Ok(()) => self.shown += 1,
            Err(Error::OutputClosed) => return Err(Error::OutputClosed),
            Err(error) if written.stage == Stage::Ended && is_lost(&error) => self.lost.push(written.label()),
            // The others go on.
            Err(error) => {
                self.failed += 1;
                return Ok(Some(error));
            }
        }
        Ok(None)
    }

    /// Which outputs are kept no more, since that was asked last.
    fn lost(&mut self) -> Option<String> {
        let lost = std::mem::take(&mut self.lost);
        (!lost.is_empty()).then(|| format!("no output is kept any more of {}", named(lost.into_iter())))
    }

    /// Whether there was anything. An error if there was, and nothing of it could be read.
    fn finish(&self) -> Result<bool, Error> {
        match (self.shown, self.failed) {
            (0, 1..) => Err(Error::failed("none of the output could be read")),
            (shown, _) => Ok(shown > 0),
        }
    }
}

fn is_lost(error: &Error) -> bool {
    let reason = error.status().and_then(StatusExt::get_details_error_info).map(|info| info.reason);
    reason.as_deref() == Some("LOGS_GONE")
}

/// Shows what is there, one after the other. Whether there was anything.
pub(in crate::commands) async fn one_after_the_other(
    manager: &Manager,
    found: Found,
    options: &LogOptions,
    output: &Output,
) -> Result<bool, Error> {
    let mut tally = Tally::default();
    let is_single = found.outputs.len() == 1;
    let has_titles = !found.several && !is_single && output.format == Format::Table;
    let is_any = !found.outputs.is_empty();
    for written in &found.outputs {
        if has_titles {
            output.note(&format!("{}:", written.label()));
        }
        let label = found.several.then(|| written.label());
        let shown = of_attempt(manager, (&written.task_id, written.attempt), label.as_deref(), options, output).await;
        match tally.count(written, shown)? {
            Some(error) if is_single => return Err(error),
            // What waits for a node has written nothing; the others are there.
            Some(error) if found.several => output.note(&format!("{}: {error}", written.label())),
            Some(error) => output.note(&format!("  {error}")),
            None => {}
        }
    }
    if let Some(lost) = tally.lost() {
        output.note(&lost);
    }
    tally.finish().map(|_| is_any)
}

/// Shows what is written until nothing new comes. `look` finds what there is by now. Whether there was anything.
pub(in crate::commands) async fn follow(
    manager: &Manager,
    look: impl AsyncFn() -> Result<Found, Error>,
    options: &LogOptions,
    output: &Output,
) -> Result<bool, Error> {
    let show = async |written: Written, was_there: bool, several: bool| {
        if !several && written.attempt > 1 {
            output.note(&format!("attempt {}:", written.attempt));
        }
        let label = several.then(|| written.label());
        let options = LogOptions { tail: options.tail.filter(|_| was_there), ..*options };
        let shown = of_attempt(manager, (&written.task_id, written.attempt), label.as_deref(), &options, output).await;
        (written, shown)
    };
    let look_after = async |wait: Duration| {
        tokio::time::sleep(wait).await;
        let began = Instant::now();
        (look().await, began.elapsed())
    };
    let mut tries = Tries::new(backoff());
    let (mut followed, mut tally) = (Followed::default(), Tally::default());
    let mut reading = FuturesUnordered::new();
    let looking = look_after(Duration::ZERO);
    tokio::pin!(looking);
    loop {
        tokio::select! {
            (found, took) = &mut looking, if !followed.has_ended() => {
                let wait = match found {
                    Ok(found) => {
                        tries.reset();
                        followed.see(found);
                        LOOK.max(took * (LOOK_SHARE - 1))
                    }
                    // What is being read goes on meanwhile.
                    Err(error) => match wait_after(&error, &mut tries) {
                        Some(wait) => wait,
                        None => return Err(error),
                    },
                };
                looking.set(look_after(wait));
            }
            Some((written, shown)) = reading.next() => {
                followed.is_read(&written);
                if let Some(error) = tally.count(&written, shown)? {
                    let whose = if followed.several() { written.label() } else { format!("attempt {}", written.attempt) };
                    output.note(&format!("{whose}: {error}"));
                }
            }
        }
        while let Some(next) = followed.next() {
            reading.push(show(next.written, next.was_there, followed.several()));
        }
        if let Some(left_out) = followed.left_out() {
            output.note(&left_out);
        }
        if followed.is_past_read()
            && let Some(lost) = tally.lost()
        {
            output.note(&lost);
        }
        if followed.has_ended() && reading.is_empty() {
            return tally.finish();
        }
    }
}

/// The wait before another look after one that failed; `None`: that would not help, or takes too long.
fn wait_after(error: &Error, tries: &mut Tries) -> Option<Duration> {
    let is_away = matches!(error, Error::Unreachable { .. });
    if !is_away && !error.status().is_some_and(may_pass) {
        return None;
    }
    tries.next_wait(error.status(), Instant::now())
}

#[cfg(test)]
mod tests {
    use davit_svc_kit::grpc::{ApiError, ErrorKind};
    use tonic::Status;

    use super::*;

    fn refused(kind: ErrorKind, reason: &'static str) -> Error {
        let status: Status = ApiError::new(kind, reason, "x").into();
        Error::Refused { status: Box::new(status) }
    }

    fn written(place: &str, stage: Stage) -> Written {
        Written { task_id: "t".to_owned(), attempt: 1, place: place.to_owned(), stage }
    }

    #[test]
    fn outputs_that_are_kept_no_more_are_told_together_and_other_errors_one_by_one() {
        let mut tally = Tally::default();
        let gone = || Err(refused(ErrorKind::NotFound, "LOGS_GONE"));
        for number in 1..=7 {
            let told = tally.count(&written(&format!("web.{number}"), Stage::Ended), gone()).unwrap();
            assert!(told.is_none());
        }
        let told = "no output is kept any more of web.1, web.2, web.3, web.4, web.5 and 2 others";
        assert_eq!(tally.lost().as_deref(), Some(told));
        assert_eq!(tally.lost(), None, "it is told already");
        assert!(tally.count(&written("web.8", Stage::Writes), gone()).unwrap().is_some());
        assert!(tally.finish().is_err(), "nothing could be read");
        assert!(tally.count(&written("web.9", Stage::Writes), Ok(())).unwrap().is_none());
        assert!(tally.finish().unwrap());
        let closed = tally.count(&written("web.9", Stage::Writes), Err(Error::OutputClosed));
        assert!(matches!(closed, Err(Error::OutputClosed)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_look_is_repeated_while_the_manager_is_away_for_a_bounded_time() {
        let mut tries = Tries::new(backoff());
        let away = Error::Unreachable { address: "m:1".to_owned(), problem: "connection refused".to_owned() };
        let began = Instant::now();
        while let Some(wait) = wait_after(&away, &mut tries) {
            tokio::time::sleep(wait).await;
        }
        assert!(began.elapsed() > Duration::from_secs(50) && began.elapsed() < Duration::from_secs(70));
        assert_eq!(wait_after(&refused(ErrorKind::InvalidArgument, "X"), &mut Tries::new(backoff())), None);
    }
}
