//! A runtime that takes orders, for tests and hollow nodes: nothing is run, everything is told.
//!
//! Orders are labels of the task's spec:
//!
//! | label | what the attempt does |
//! | --- | --- |
//! | `fake.run_for_ms` | ends by itself after so long; without it, runs until it is stopped |
//! | `fake.exit_code` | with this exit code (0) |
//! | `fake.oom` | `true`: its end counts as an out-of-memory kill |
//! | `fake.ignores_stop` | `true`: ignores the stop signal, so that it is killed after the grace |
//! | `fake.pull_ms` | its pull takes so long, with four reports of progress |
//! | `fake.pull_fails`, `fake.create_fails`, `fake.start_fails` | that step fails for good with this text |
//! | `fake.healthy_after_ms` | probes fail until so long after each start |
//! | `fake.unhealthy_after_ms` | and again from so long after each start on |
//! | `fake.probe_ms` | probes take so long |
//! | `fake.log` | writes these lines (split at `|`) to stdout when it starts |
//!
//! What no order says goes by the engine's [`Habits`].
//!
//! [`FakeEngine`] is the handle: it outlives the runtimes made from it, as an engine outlives its workers.
//! All waits are tokio's, so paused time works.

mod engine;
mod orders;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use davit_core::id::{AttemptKey, ClusterId};
use davit_core::spec::{OnNodeLoss, Port, Probe, PullPolicy, RuntimeSpec, StopPolicy};
use davit_core::task::{PortBinding, Ports, PullProgress};
use futures::{StreamExt, stream};
use parking_lot::Mutex;
use tokio::sync::watch;

pub use self::engine::{Call, Deed, FakeEngine, Observer, Step};
use self::engine::{FakeInstance, Life};
pub use self::orders::Habits;
use self::orders::Orders;
use super::ending::Runs;
use super::{
    AttemptSpec, Error, Exit, Instance, InstanceState, LogOptions, LogStream, Owner, Probed, ProgressSender,
    PulledImage, Runtime, RuntimeInfo, RuntimeKind, Sighting, Started, Survey, ending,
};
use crate::engine_turns::StopTurns;

/// How many bytes a fake image has, in one layer.
const PULL_BYTES: u64 = 4096;

/// One worker's view of a [`FakeEngine`].
#[derive(Debug)]
pub struct FakeRuntime {
    owner: Owner,
    kind: RuntimeKind,
    engine: FakeEngine,
    cluster_id: Mutex<Option<ClusterId>>,
}

impl FakeRuntime {
    fn find(&self, key: AttemptKey) -> Result<Arc<FakeInstance>, Error> {
        self.engine.find(&self.owner, key).ok_or(Error::NotFound { key })
    }

    fn end(&self, instance: &FakeInstance, exit_code: i32, oom_killed: bool) {
        instance.end(exit_code, oom_killed, self.engine.now());
    }
}

#[async_trait]
impl Runtime for FakeRuntime {
    fn kind(&self) -> RuntimeKind {
        self.kind
    }

    async fn check(&self) -> Result<RuntimeInfo, Error> {
        self.engine.enter(Step::Check, None).await?;
        Ok(RuntimeInfo { version: "fake".to_owned() })
    }

    async fn list(&self) -> Result<Vec<Instance>, Error> {
        self.engine.enter(Step::List, None).await?;
        Ok(self.engine.instances(&self.owner))
    }

    async fn prepare(&self, attempt: &AttemptSpec, progress: &ProgressSender) -> Result<Option<PulledImage>, Error> {
        self.engine.enter(Step::Prepare, Some(attempt.key)).await?;
        let _turn = self.engine.turn().await;
        let orders = Orders::parse(&attempt.spec, attempt.key, self.engine.habits())?;
        let RuntimeSpec::Container(container) = &attempt.spec.runtime else { return Ok(None) };
        if let Some(message) = orders.pull_fails {
            let image = container.image.to_string();
            return Err(match container.pull_policy {
                PullPolicy::Never => Error::ImageMissing { image },
                PullPolicy::Missing | PullPolicy::Always => Error::PullRejected { image, message },
            });
        }
        if !orders.pull_for.is_zero() {
            for quarter in 1..=4 {
                tokio::time::sleep(orders.pull_for / 4).await;
                progress.send_replace(Some(PullProgress {
                    downloaded_bytes: PULL_BYTES / 4 * quarter,
                    total_bytes: PULL_BYTES,
                    layers_done: u32::from(quarter == 4),
                    layers_total: 1,
                }));
            }
        }
        Ok(None)
    }

    async fn create(&self, attempt: &AttemptSpec) -> Result<(), Error> {
        self.engine.enter(Step::Create, Some(attempt.key)).await?;
        let orders = Orders::parse(&attempt.spec, attempt.key, self.engine.habits())?;
        attempt.given_files()?;
        if let Some(message) = orders.create_fails {
            return Err(Error::Rejected { action: "create", message });
        }
        let _turn = self.engine.turn().await;
        self.engine.insert(
            &self.owner,
            attempt.key,
            FakeInstance::new(
                engine::id(self.owner.node_id, attempt.key),
                attempt.key,
                *self.cluster_id.lock(),
                self.ports(attempt),
                orders,
                attempt.spec.on_node_loss == OnNodeLoss::StopAndReplace,
                self.engine.teller(self.owner.node_id),
            ),
        );
        Ok(())
    }

    async fn start(&self, key: AttemptKey) -> Result<Started, Error> {
        self.engine.enter(Step::Start, Some(key)).await?;
        // In this time nothing is done: others need not wait for it.
        let takes = self.engine.habits().start_for;
        if !takes.is_zero() {
            tokio::time::sleep(takes).await;
        }
        let _turn = self.engine.turn().await;
        let instance = self.find(key)?;
        match instance.state() {
            InstanceState::Running(started) => return Ok(started),
            InstanceState::Exited(_) => return Err(Error::AlreadyExited { key }),
            InstanceState::Created => {}
        }
        if self.engine.keep_start(&instance) {
            return Err(Error::Unavailable { action: "start", reason: "timed out".to_owned() });
        }
        if let Some(message) = &instance.orders.start_fails {
            return Err(Error::Rejected { action: "start", message: message.clone() });
        }
        let started = Started { started_at: self.engine.now(), ports: instance.ports.clone() };
        if instance.begin(&started) {
            self.engine.play(instance);
        }
        Ok(started)
    }

    async fn restart(&self, key: AttemptKey) -> Result<Started, Error> {
        self.engine.enter(Step::Restart, Some(key)).await?;
        let instance = self.find(key)?;
        if let InstanceState::Running(started) = instance.state() {
            return Ok(started);
        }
        if self.engine.keep_start(&instance) {
            return Err(Error::Unavailable { action: "restart", reason: "timed out".to_owned() });
        }
        let started = Started { started_at: self.engine.now(), ports: instance.ports.clone() };
        if instance.begin_again(&started) {
            self.engine.play(instance);
        }
        Ok(started)
    }

    async fn wait(&self, key: AttemptKey) -> Result<Exit, Error> {
        self.engine.enter(Step::Wait, Some(key)).await?;
        let instance = self.find(key)?;
        if instance.state() == InstanceState::Created {
            return Err(Error::NotStarted { key });
        }
        instance.ended().await.ok_or(Error::NotFound { key })
    }

    /// Whatever the probe is: nothing is asked but the orders, and what a test says.
    async fn probe(&self, key: AttemptKey, _probe: &Probe, limit: Duration) -> Result<Probed, Error> {
        self.engine.enter(Step::Probe, Some(key)).await?;
        let instance = self.find(key)?;
        let takes = instance.orders.probe_for;
        tokio::time::sleep(takes.min(limit)).await;
        if takes > limit {
            return Ok(Probed::Failing(format!("did not answer within {} s", limit.as_secs_f64())));
        }
        match instance.state() {
            InstanceState::Running(_) => Ok(instance.probed()),
            InstanceState::Created => Err(Error::NotStarted { key }),
            InstanceState::Exited(_) => Err(Error::AlreadyExited { key }),
        }
    }

    async fn stop(&self, key: AttemptKey, how: &StopPolicy, turns: Option<&StopTurns>) -> Result<Option<Exit>, Error> {
        self.engine.enter(Step::Stop, Some(key)).await?;
        let instance = self.find(key)?;
        match instance.state() {
            InstanceState::Created => return Ok(None),
            InstanceState::Exited(exit) => return Ok(Some(exit)),
            InstanceState::Running(_) => {}
        }
        let signal = super::process::signal(&how.signal)?.as_str();
        ending::end(&mut Running { engine: &self.engine, instance }, signal, how.grace, turns).await.map(Some)
    }

    async fn remove(&self, key: AttemptKey) -> Result<(), Error> {
        self.engine.enter(Step::Remove, Some(key)).await?;
        if let Some(instance) = self.engine.remove(&self.owner, key) {
            self.end(&instance, 137, false);
        }
        Ok(())
    }

    async fn logs(&self, key: AttemptKey, options: LogOptions) -> Result<LogStream, Error> {
        self.engine.enter(Step::Logs, Some(key)).await?;
        let mut life = self.find(key)?.subscribe();
        let there = life.borrow_and_update().log.len();
        let tail = options.tail.and_then(|lines| usize::try_from(lines).ok()).unwrap_or(there);
        let next = there.saturating_sub(tail);
        let lines = stream::unfold((life, next), move |(mut life, next)| async move {
            loop {
                let (line, ended) = peek(&mut life, next);
                if let Some(line) = line {
                    return Some((line, (life, next + 1)));
                }
                if !options.follow || ended || life.changed().await.is_err() {
                    return None;
                }
            }
        });
        Ok(options.passed_over(lines.map(Ok)))
    }

    fn set_cluster_id(&self, cluster_id: ClusterId) {
        *self.cluster_id.lock() = Some(cluster_id);
    }

    fn changes(&self) -> Option<u64> {
        Some(self.engine.changes())
    }

    async fn survey(&self, since: Option<u64>) -> Result<Survey, Error> {
        self.engine.enter(Step::Survey, None).await?;
        Ok(self.engine.look_around(&self.owner.cluster, since))
    }

    async fn remove_sighted(&self, sighting: &Sighting, _grace: Duration) -> Result<bool, Error> {
        self.engine.enter(Step::RemoveSighted, sighting.key).await?;
        let (Some(node_id), Some(key)) = (sighting.node_id, sighting.key) else { return Ok(false) };
        let removed = self.engine.remove(&Owner { node_id, ..self.owner.clone() }, key);
        if let Some(instance) = &removed {
            self.end(instance, 137, false);
        }
        Ok(removed.is_some())
    }
}

/// What runs and is to end.
struct Running<'a> {
    engine: &'a FakeEngine,
    instance: Arc<FakeInstance>,
}

impl Runs for Running<'_> {
    type End = Exit;

    async fn signal(&mut self, signal: &str) -> Result<bool, Error> {
        let (number, key) = (super::process::signal(signal)? as i32, self.instance.key());
        let is_kill = signal == ending::KILL;
        self.engine.enter(if is_kill { Step::Kill } else { Step::Signal }, Some(key)).await?;
        if is_kill || !self.instance.orders.ignores_stop {
            self.instance.end(128 + number, false, self.engine.now());
        }
        Ok(true)
    }

    async fn ended(&mut self) -> Result<Exit, Error> {
        self.instance.ended().await.ok_or(Error::NotFound { key: self.instance.key() })
    }
}

/// The line at `next`, if it is there, and whether the instance has ended.
fn peek(life: &mut watch::Receiver<Life>, next: usize) -> (Option<super::LogLine>, bool) {
    let life = life.borrow_and_update();
    (life.log.get(next).cloned(), matches!(life.state, InstanceState::Exited(_)))
}

impl FakeRuntime {
    fn ports(&self, attempt: &AttemptSpec) -> Ports {
        let bind = |(port, host_port): (&Port, Option<u16>)| PortBinding {
            container_port: port.container_port,
            protocol: port.protocol,
            host_port: host_port.unwrap_or_else(|| self.engine.next_port()),
        };
        let mut ports: Ports = attempt.published().into_iter().map(bind).collect();
        ports.sort_unstable_by_key(|port| (port.container_port, port.protocol, port.host_port));
        ports
    }
}

#[cfg(test)]
mod tests {
    use davit_core::id::{Attempt, NodeId, TaskId};
    use davit_core::spec::{ContainerSpec, TaskSpec};
    use davit_svc_kit::clock::SystemClock;
    use tokio::time::Instant;
    use uuid::Uuid;

    use super::*;
    use crate::turns::Turns;

    #[tokio::test(start_paused = true)]
    async fn starts_that_take_a_while_take_it_side_by_side_however_few_are_begun_at_once() {
        let takes = Duration::from_secs(10);
        let habits = Habits { start_for: takes, ..Habits::default() };
        let engine = FakeEngine::with_habits(Arc::new(SystemClock), habits, Turns::new(1));
        let owner = Owner { cluster: "test".to_owned(), node_id: NodeId(Uuid::from_u128(1)) };
        let runtime = engine.runtime(owner, RuntimeKind::Docker);
        let spec = Arc::new(TaskSpec::new("web", RuntimeSpec::Container(ContainerSpec::new("web".parse().unwrap()))));
        let mut keys = Vec::new();
        for number in 1..=5 {
            let key = AttemptKey { task_id: TaskId(Uuid::from_u128(number)), attempt: Attempt::FIRST };
            let attempt =
                AttemptSpec { key, spec: Arc::clone(&spec), ports: [].into(), env: Vec::new(), files: Vec::new() };
            runtime.create(&attempt).await.unwrap();
            keys.push(key);
        }
        let began = Instant::now();
        let started = futures::future::join_all(keys.into_iter().map(|key| runtime.start(key))).await;
        assert!(started.iter().all(Result::is_ok), "{started:?}");
        assert!(began.elapsed() < takes * 2, "{:?}", began.elapsed());
    }
}
