//! Davit: manager with its store on the disk, scheduler, and one worker on the engine, each a process; all asked of the manager.

use std::time::Duration;

use super::figures::{Times, timed};
use super::host::{COMMAND, Host, IMAGE, davit_label};
use crate::error::Error;
use crate::running::calls::Calls;
use crate::running::control_plane::ControlPlane;
use crate::running::latency::next_object;
use crate::running::places::Places;
use crate::running::programs::Program;
use crate::running::work::wait_joined;
use davit_proto::v1;
use davit_proto::v1::event::Object;

/// Requests on their way at once.
const AT_ONCE: usize = 32;

/// The contender.
pub(super) struct Davit {
    pub(super) control: ControlPlane,
    worker: Program,
    rounds: u32,
}

impl Davit {
    pub(super) async fn start(host: &Host, places: &Places) -> Result<Self, Error> {
        let mut control = ControlPlane::start(places).await?;
        let socket = host.socket().display().to_string();
        // Room for whatever number of containers: it is the engine that is measured.
        let how = ["--docker", "on", "--docker-socket", &socket, "--cpus", "1000", "--memory", "1TiB"];
        let worker = control.worker("worker", &how).await?;
        wait_joined(&mut control.client, 1).await?;
        Ok(Self { control, worker, rounds: 0 })
    }

    /// How long the engine has taken so far for creates and starts that its worker asked for.
    pub(super) async fn engine_time(&self) -> Result<Duration, Error> {
        let metrics = self.worker.metrics().await?;
        let seconds = |call| metrics.sum("davit_worker_engine_call_seconds_sum", call);
        Duration::try_from_secs_f64(seconds("call=\"create\"") + seconds("call=\"start\""))
            .map_err(|error| Error::WrongAnswer(format!("the worker's engine took no time: {error}")))
    }

    pub(super) async fn run(&mut self, host: &Host, containers: u32) -> Result<Times, Error> {
        self.rounds += 1;
        let (mut client, request_id) = (self.control.client.clone(), format!("round-{}", self.rounds));
        let mut events = client.watch(&[v1::EventType::TaskStateChanged]).await?;
        let starting = async {
            let created = client.create(&spec(), containers, &request_id).await?;
            let mut running = 0;
            while running < containers {
                let Object::Task(task) = next_object(&mut events).await? else { continue };
                running += u32::from(task.status.unwrap_or_default().state() == v1::TaskState::Running);
            }
            Ok(created)
        };
        let (created, start, start_cpu_s) = timed(starting).await?;
        let stopping = async {
            let mut stops = Calls::at_once(AT_ONCE);
            for task_id in created.task_ids.iter().copied() {
                let mut client = self.control.client.clone();
                stops.begin(async move { client.stop(task_id).await }).await?;
            }
            stops.finish().await?;
            host.until(&davit_label(), false, 0).await
        };
        let ((), stop, stop_cpu_s) = Box::pin(timed(stopping)).await?;
        for task_id in created.task_ids {
            self.control.client.delete(task_id).await?;
        }
        host.until(&davit_label(), true, 0).await?;
        Ok(Times { start, start_cpu_s, stop, stop_cpu_s })
    }
}

/// A container as the others start it.
pub(super) fn spec() -> v1::TaskSpec {
    let container = v1::ContainerSpec {
        image: IMAGE.to_owned(),
        command: COMMAND.map(str::to_owned).to_vec(),
        pull_policy: v1::PullPolicy::Never.into(),
        ..Default::default()
    };
    v1::TaskSpec {
        name: "bench".to_owned(),
        runtime: Some(v1::task_spec::Runtime::Container(container)),
        stop_policy: Some(v1::StopPolicy { signal: "SIGKILL".to_owned(), ..Default::default() }),
        ..Default::default()
    }
}
