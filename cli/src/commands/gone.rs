//! Waits until what is being deleted is gone.

use std::time::Duration;

use davit_core::words::counted;
use tonic::Code;

use super::INTERRUPTED;
use crate::args::Format;
use crate::error::Error;
use crate::output::Output;

/// Between two looks at what is left.
const LOOK_PERIOD: Duration = Duration::from_millis(200);

/// What is being deleted. By its id: another one may get its name right after.
#[derive(Debug)]
pub(super) struct Going {
    pub(super) id: String,
    pub(super) name: String,
}

/// Waits until each is gone, and tells its name to people when it is. `left` asks what there still is of one, by its id. `lists`
/// is the command that shows what is left. Gives the exit code.
pub(super) async fn until_each_is_gone(
    mut going: Vec<Going>,
    mut left: impl AsyncFnMut(&str) -> Result<String, Error>,
    lists: &str,
    output: &Output,
) -> Result<u8, Error> {
    let all = until_nothing_is_left(output, async || {
        let mut lines = Vec::new();
        for one in std::mem::take(&mut going) {
            match left(&one.id).await {
                Ok(line) => {
                    lines.push(format!("{}: {line}", one.name));
                    going.push(one);
                }
                Err(error) if is_gone(&error) => print_name(&one.name, output)?,
                Err(error) => return Err(error),
            }
        }
        Ok(Some(lines.join("; ")).filter(|_| !going.is_empty()))
    });
    tokio::select! {
        gone = all => gone.map(|()| 0),
        _ = tokio::signal::ctrl_c() => {
            output.note(&format!("What is deleted goes on stopping; `{lists}` shows what is left."));
            Ok(INTERRUPTED)
        }
    }
}

/// Looks until nothing is left, and tells each change of what is. `left` gives that as a line.
pub(super) async fn until_nothing_is_left(
    output: &Output,
    mut left: impl AsyncFnMut() -> Result<Option<String>, Error>,
) -> Result<(), Error> {
    let mut told = String::new();
    while let Some(line) = left().await? {
        if line != told {
            output.note(&line);
            told = line;
        }
        tokio::time::sleep(LOOK_PERIOD).await;
    }
    Ok(())
}

/// How many tasks of something that is being deleted are still there.
pub(super) fn stopping(tasks: u32) -> String {
    if tasks == 0 { "being deleted".to_owned() } else { format!("{} stopping", counted(tasks.into(), "task", "tasks")) }
}

/// Tells people a name; programs get the whole of it.
fn print_name(name: &str, output: &Output) -> Result<(), Error> {
    if output.format == Format::Table { output.print(&format!("{name}\n")) } else { Ok(()) }
}

/// Whether something that was to be followed is gone already.
pub(super) fn is_gone(error: &Error) -> bool {
    error.code() == Some(Code::NotFound)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use davit_svc_kit::grpc::{ApiError, ErrorKind};
    use tonic::Status;

    use super::*;

    fn refused(kind: ErrorKind) -> Error {
        let status: Status = ApiError::new(kind, "X", "x").into();
        Error::Refused { status: Box::new(status) }
    }

    fn going(names: &[&str]) -> Vec<Going> {
        names.iter().map(|name| Going { id: format!("id-{name}"), name: (*name).to_owned() }).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn each_is_asked_for_by_its_id_until_it_is_gone() {
        let asked = Cell::new(0);
        let left = async |id: &str| {
            asked.set(asked.get() + 1);
            match (id, asked.get()) {
                ("id-slow", 1..=4) => Ok("3 stopping".to_owned()),
                _ => Err(refused(ErrorKind::NotFound)),
            }
        };
        let code = until_each_is_gone(going(&["slow", "fast"]), left, "davit x ls", &Output::new(Format::Json)).await;
        assert_eq!((code.unwrap(), asked.get()), (0, 5), "what is gone is asked for no more");
    }

    #[tokio::test]
    async fn what_else_goes_wrong_ends_the_wait() {
        let left = async |_: &str| Err(refused(ErrorKind::PermissionDenied));
        let code = until_each_is_gone(going(&["web"]), left, "davit x ls", &Output::new(Format::Json)).await;
        assert_eq!(code.unwrap_err().code(), Some(Code::PermissionDenied));
    }
}
