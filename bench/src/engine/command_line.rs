//! What a person does without an orchestrator: `docker run`, one after the other, and `docker stop`.

use tokio::time::Instant;

use super::Times;
use super::host::{COMMAND, Host, IMAGE, bare_label};
use crate::error::Error;

/// The contender.
pub(super) struct CommandLine<'a> {
    pub(super) host: &'a Host,
}

impl CommandLine<'_> {
    pub(super) async fn run(&self, containers: u32) -> Result<Times, Error> {
        let label = bare_label();
        let how = ["run", "--detach", "--stop-signal", "SIGKILL", "--label", &label, IMAGE];
        let run = [how.as_slice(), &COMMAND].concat();
        let mut ids = Vec::new();
        let began = Instant::now();
        for _ in 0..containers {
            ids.push(self.host.docker(&run).await?);
        }
        let start = began.elapsed();
        let began = Instant::now();
        for id in &ids {
            self.host.docker(&["stop", id]).await?;
        }
        let stop = began.elapsed();
        for id in &ids {
            self.host.remove(id).await?;
        }
        Ok(Times { start, stop })
    }
}
