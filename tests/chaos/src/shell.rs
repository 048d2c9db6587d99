//! Other programs: run to their end, with what they print.

use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

use crate::error::{Error, Result};

/// Longer than anything here takes, on a machine that is busy with other things too.
const LIMIT: Duration = Duration::from_secs(60);

/// Runs a program and gives what it printed, without the last line end.
///
/// # Errors
/// When it does not start, takes too long, or ends with anything but 0.
pub(crate) async fn run(program: &str, arguments: &[&str]) -> Result<String> {
    run_within(LIMIT, program, arguments).await
}

/// As [`run`], with a time limit of the caller's.
///
/// # Errors
/// As [`run`].
pub(crate) async fn run_within(limit: Duration, program: &str, arguments: &[&str]) -> Result<String> {
    let failed = |problem: String| {
        let command = [program].iter().chain(arguments).copied().collect::<Vec<_>>().join(" ");
        Error::Command { command, problem }
    };
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).kill_on_drop(true);
    // Ctrl-C is for us; we have to clean up with the help of such programs.
    command.process_group(0);
    let output = match tokio::time::timeout(limit, command.output()).await {
        Ok(output) => output.map_err(|error| failed(format!("did not start: {error}")))?,
        Err(_) => return Err(failed(format!("did not end within {} s", limit.as_secs()))),
    };
    if !output.status.success() {
        let told = String::from_utf8_lossy(&output.stderr);
        return Err(failed(format!("ended with {}: {}", output.status, told.trim())));
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
}

/// Waits until `condition` answers `Ok`, asking again and again.
///
/// # Errors
/// With what it answered last, when the time is up.
pub(crate) async fn until<T>(
    what: &str,
    limit: Duration,
    mut condition: impl AsyncFnMut() -> std::result::Result<T, String>,
) -> Result<T> {
    let end = tokio::time::Instant::now() + limit;
    loop {
        let last = match condition().await {
            Ok(value) => return Ok(value),
            Err(last) => last,
        };
        if tokio::time::Instant::now() >= end {
            return Err(Error::Timeout { what: what.to_owned(), seconds: limit.as_secs(), last });
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
