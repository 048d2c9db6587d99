//! The engine's own Swarm mode: a service with so many replicas.

use super::figures::{Times, timed};
use super::host::{COMMAND, Host, IMAGE};
use crate::error::Error;

const SERVICE: &str = "davit-bench";

/// The contender.
pub(super) struct Swarm<'a> {
    pub(super) host: &'a Host,
}

impl Swarm<'_> {
    pub(super) async fn run(&self, containers: u32) -> Result<Times, Error> {
        // A Swarm at rest costs the engine something: there is one only while it is measured.
        self.host.docker(&["swarm", "init", "--advertise-addr", "127.0.0.1"]).await?;
        let label = format!("com.docker.swarm.service.name={SERVICE}");
        let replicas = containers.to_string();
        let create = ["service", "create", "--detach", "--quiet", "--no-resolve-image", "--name", SERVICE];
        let how = ["--stop-signal", "SIGKILL", "--replicas", &replicas, IMAGE];
        let starting = async {
            self.host.docker(&[create.as_slice(), &how, &COMMAND].concat()).await?;
            self.host.until(&label, false, containers).await
        };
        let ((), start, start_cpu_s) = timed(starting).await?;
        let stopping = async {
            self.host.docker(&["service", "rm", SERVICE]).await?;
            self.host.until(&label, false, 0).await
        };
        let ((), stop, stop_cpu_s) = timed(stopping).await?;
        self.host.until(&label, true, 0).await?;
        self.host.docker(&["swarm", "leave", "--force"]).await?;
        Ok(Times { start, start_cpu_s, stop, stop_cpu_s })
    }
}
