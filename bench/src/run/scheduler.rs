//! A `davit-scheduler` process of our own.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;
use tokio::time::timeout;

use crate::error::Error;
use crate::memory::{self, Memory};
use crate::started::Process;

/// How long it may take to say where it serves.
const START_TIMEOUT: Duration = Duration::from_secs(20);

/// A running scheduler. Killed when dropped: it owns nothing.
#[derive(Debug)]
pub(super) struct Scheduler {
    process: Process,
    /// Where it serves.
    pub(super) address: String,
}

impl Scheduler {
    /// Starts one on ports of the system's choice, with nothing of this process's settings.
    pub(super) async fn start(program: &Path) -> Result<Self, Error> {
        let mut command = Command::new(program);
        command
            .env_clear()
            .args(["--listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0", "--log-format", "json", "--log", "info"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let mut process = Process::spawn(&mut command, "davit-scheduler")
            .map_err(|source| Error::NotStarted { path: program.to_owned(), source })?;
        let mut said = Vec::new();
        let Some(output) = process.take_stderr() else { return Err(Error::NoAddress { said: String::new() }) };
        let mut lines = BufReader::new(output).lines();
        let address = async {
            while let Ok(Some(line)) = lines.next_line().await {
                if let Some(address) = address(&line) {
                    return Some(address);
                }
                said.push(line);
            }
            None
        };
        let address = timeout(START_TIMEOUT, address).await.ok().flatten();
        let Some(address) = address else { return Err(Error::NoAddress { said: said.join("\n") }) };
        // Read on, so that it never waits for room in the pipe.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Ok(Self { process, address })
    }

    /// What it uses now and used at most. `None` when it is gone.
    pub(super) fn memory(&self) -> Result<Option<Memory>, Error> {
        self.process.id().map(memory::of_process).transpose()
    }
}

/// The address in the line that says that it serves.
fn address(line: &str) -> Option<String> {
    let line: Value = serde_json::from_str(line).ok()?;
    let fields = line.get("fields")?;
    if fields.get("message")?.as_str()? != "scheduler serves" {
        return None;
    }
    Some(fields.get("address")?.as_str()?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_read_from_the_line_that_tells_it() {
        let line = r#"{"level":"INFO","fields":{"message":"scheduler serves","address":"127.0.0.1:34567","http":"x"}}"#;
        assert_eq!(address(line).as_deref(), Some("127.0.0.1:34567"));
        assert_eq!(address(r#"{"fields":{"message":"scheduler stopped"}}"#), None);
        assert_eq!(address("not json"), None);
    }
}
