//! The engine's bare API, with so many calls at once: what the engine can do at all.

use std::collections::HashMap;

use bollard::models::ContainerCreateBody;
use bollard::query_parameters::{CreateContainerOptions, KillContainerOptionsBuilder, StartContainerOptions};
use futures::{StreamExt as _, TryStreamExt as _, stream};

use super::figures::{Times, timed};
use super::host::{COMMAND, Host, IMAGE, bare_label};
use crate::error::Error;

/// How many at once are tried in each round.
pub(super) const AT_ONCE: [usize; 4] = [4, 8, 16, 32];

/// The contender.
pub(super) struct Bare<'a> {
    pub(super) host: &'a Host,
    pub(super) at_once: usize,
}

impl Bare<'_> {
    pub(super) async fn run(&self, containers: u32) -> Result<Times, Error> {
        let starts = stream::iter(0..containers).map(|_| create_and_start(self.host)).buffer_unordered(self.at_once);
        let (ids, start, start_cpu_s) = timed(starts.try_collect::<Vec<String>>()).await?;
        let stopping = async {
            let stops = stream::iter(&ids).map(|id| kill(self.host, id)).buffer_unordered(self.at_once);
            stops.try_collect::<()>().await?;
            self.host.until(&bare_label(), false, 0).await
        };
        let ((), stop, stop_cpu_s) = timed(stopping).await?;
        let removals = stream::iter(&ids).map(|id| self.host.remove(id)).buffer_unordered(self.at_once);
        removals.try_collect::<()>().await?;
        Ok(Times { start, start_cpu_s, stop, stop_cpu_s })
    }
}

/// A container that runs. Answers its id.
pub(super) async fn create_and_start(host: &Host) -> Result<String, Error> {
    let (name, value) = ("dev.davit.bench".to_owned(), "bare".to_owned());
    let body = ContainerCreateBody {
        image: Some(IMAGE.to_owned()),
        cmd: Some(COMMAND.map(str::to_owned).to_vec()),
        labels: Some(HashMap::from([(name, value)])),
        ..ContainerCreateBody::default()
    };
    let id = host.api.create_container(None::<CreateContainerOptions>, body).await?.id;
    host.api.start_container(&id, None::<StartContainerOptions>).await?;
    Ok(id)
}

async fn kill(host: &Host, id: &str) -> Result<(), Error> {
    Ok(host.api.kill_container(id, Some(KillContainerOptionsBuilder::new().signal("SIGKILL").build())).await?)
}
