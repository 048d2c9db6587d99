//! What a person does without an orchestrator: `docker run`, one after the other, and `docker stop`.

use super::figures::{Times, timed};
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
        let starting = async {
            let mut ids = Vec::new();
            for _ in 0..containers {
                ids.push(self.host.docker(&run).await?);
            }
            Ok(ids)
        };
        let (ids, start, start_cpu_s) = timed(starting).await?;
        let stopping = async {
            for id in &ids {
                self.host.docker(&["stop", id]).await?;
            }
            Ok(())
        };
        let ((), stop, stop_cpu_s) = timed(stopping).await?;
        for id in &ids {
            self.host.remove(id).await?;
        }
        Ok(Times { start, start_cpu_s, stop, stop_cpu_s })
    }
}
