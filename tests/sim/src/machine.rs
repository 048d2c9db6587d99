//! What is beneath a worker: its engine, whose containers outlive it, and its data directory.

mod files;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use davit_core::id::{AttemptKey, ClusterId, NodeId};
use davit_core::resources::Resources;
use davit_core::spec::{Probe, StopPolicy};
use davit_svc_kit::bugs::{self, Bug};
use davit_svc_kit::clock::Clock as _;
use worker_svc::engine_turns::StopTurns;
use worker_svc::memory::IdleMeter;
use worker_svc::runtime::fake::Deed;
use worker_svc::runtime::{
    AttemptSpec, Error, Exit, FakeEngine, FakeRuntime, Instance, LogOptions, LogStream, Owner, Probed, ProgressSender,
    PulledImage, Runtime, RuntimeInfo, RuntimeKind, Sighting, Started, Survey,
};

pub use self::files::Files;
use crate::clock::WallClock;
use crate::gate::Gate;
use crate::history::{Event, History};
use crate::net::Host;
use crate::rng::Rng;

/// How long an engine takes for one step.
const STEP_MICROS: (u64, u64) = (500, 8000);
/// An engine that has not answered for so long is given up by its caller, who does not know then what becomes of the call.
const CALL_TIME: Duration = Duration::from_secs(2);
/// How often the lease guard looks.
const GUARD_PERIOD: Duration = Duration::from_millis(200);

/// A machine that a worker runs on.
#[derive(Clone)]
pub struct WorkerMachine {
    /// Its engine.
    pub engine: FakeEngine,
    /// Its files.
    pub files: Files,
    /// What it has.
    pub capacity: Resources,
    rng: Rng,
}

impl WorkerMachine {
    /// A machine that runs nothing yet.
    #[must_use]
    pub fn new(
        host: Host,
        node_id: NodeId,
        capacity: Resources,
        clock: Arc<WallClock>,
        rng: Rng,
        history: History,
    ) -> Self {
        let observer = Arc::new(move |key, deed| {
            history.note(match deed {
                Deed::Started => Event::Started { host, key },
                Deed::Restarted => Event::Restarted { host, key },
                Deed::Ended { exit_code } => Event::Ended { host, key, exit_code },
            });
        });
        let files = Files::of(node_id);
        Self { engine: FakeEngine::observed(clock, observer), files, capacity, rng }
    }

    /// Who owns the containers of this machine's worker in a cluster.
    #[must_use]
    pub fn owner(&self, cluster: &str) -> Owner {
        Owner { cluster: cluster.to_owned(), node_id: self.files.node_id() }
    }

    /// Who owned containers here before, as another node.
    #[must_use]
    pub fn former_owners(&self, cluster: &str) -> Vec<Owner> {
        let former = self.files.former_node_ids();
        former.into_iter().map(|node_id| Owner { cluster: cluster.to_owned(), node_id }).collect()
    }

    /// All that runs here, whichever node it is of.
    #[must_use]
    pub fn running(&self, cluster: &str) -> Vec<(Owner, AttemptKey)> {
        let owners = self.former_owners(cluster).into_iter().chain([self.owner(cluster)]);
        let of = |owner: Owner| {
            let keys = self.engine.running(&owner);
            keys.into_iter().map(move |key| (owner.clone(), key)).collect::<Vec<_>>()
        };
        owners.flat_map(of).collect()
    }

    /// The power fails: containers end, and files fall back to what was written to the disk.
    pub fn lose_power(&self, cluster: &str) {
        for (owner, key) in self.running(cluster) {
            self.engine.end(&owner, key, 137);
        }
        self.files.lose_power();
    }

    /// The lease guard beside the worker, a process that outlives it: stops what must never run twice when the lease has ended.
    /// Never ends.
    pub async fn guard(self, cluster: &str, clock: Arc<WallClock>) {
        loop {
            tokio::time::sleep(GUARD_PERIOD).await;
            if bugs::is(Bug::LeaseIgnored) {
                continue;
            }
            let has_ended = clock.uptime() >= self.files.lease();
            let ended = has_ended.then(|| self.owner(cluster));
            // The leases of those before are gone with their files.
            for owner in self.former_owners(cluster).iter().chain(&ended) {
                self.engine.stop_leased(owner);
            }
        }
    }

    /// What one worker process sees of it.
    #[must_use]
    pub fn seen_by(&self, gate: &Gate) -> worker_svc::Machine {
        let (engine, rng, runtime_gate) = (self.engine.clone(), self.rng.clone(), gate.clone());
        let runtimes: worker_svc::RuntimeFactory = Arc::new(move |owner: &Owner| {
            let inner = engine.runtime(owner.clone(), RuntimeKind::Docker);
            vec![Arc::new(GatedRuntime { inner, gate: runtime_gate.clone(), rng: rng.clone() }) as Arc<dyn Runtime>]
        });
        let home = Arc::new(self.files.seen_by(gate));
        worker_svc::Machine { home, meter: Arc::new(IdleMeter(self.capacity)), runtimes }
    }
}

/// An engine as one worker process reaches it: every call takes its time, and a dead process reaches nothing.
struct GatedRuntime {
    inner: FakeRuntime,
    gate: Gate,
    rng: Rng,
}

impl fmt::Debug for GatedRuntime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

impl GatedRuntime {
    async fn enter(&self) {
        self.gate.pass().await;
        let (low, high) = STEP_MICROS;
        tokio::time::sleep(Duration::from_micros(self.rng.between(low, high))).await;
        self.gate.pass().await;
    }

    async fn leave<T>(&self, answer: T) -> T {
        self.gate.pass().await;
        answer
    }

    /// A call that an engine answers at once, if it answers.
    async fn brief<T>(&self, call: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        self.within(CALL_TIME, call).await
    }

    /// A call that an engine answers in this time, if it answers.
    async fn within<T>(&self, limit: Duration, call: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        self.enter().await;
        let timed_out = |_| Err(Error::Unavailable { action: "simulated", reason: "timed out".to_owned() });
        let answer = tokio::time::timeout(limit, call).await.unwrap_or_else(timed_out);
        self.leave(answer).await
    }
}

#[async_trait]
impl Runtime for GatedRuntime {
    fn kind(&self) -> RuntimeKind {
        self.inner.kind()
    }

    async fn check(&self) -> Result<RuntimeInfo, Error> {
        self.brief(self.inner.check()).await
    }

    async fn list(&self) -> Result<Vec<Instance>, Error> {
        self.brief(self.inner.list()).await
    }

    async fn prepare(&self, attempt: &AttemptSpec, progress: &ProgressSender) -> Result<Option<PulledImage>, Error> {
        self.enter().await;
        self.leave(self.inner.prepare(attempt, progress).await).await
    }

    async fn create(&self, attempt: &AttemptSpec) -> Result<(), Error> {
        self.brief(self.inner.create(attempt)).await
    }

    async fn start(&self, key: AttemptKey) -> Result<Started, Error> {
        self.brief(self.inner.start(key)).await
    }

    async fn restart(&self, key: AttemptKey) -> Result<Started, Error> {
        self.brief(self.inner.restart(key)).await
    }

    async fn wait(&self, key: AttemptKey) -> Result<Exit, Error> {
        self.enter().await;
        self.leave(self.inner.wait(key).await).await
    }

    async fn probe(&self, key: AttemptKey, probe: &Probe, limit: Duration) -> Result<Probed, Error> {
        self.within(limit + CALL_TIME, self.inner.probe(key, probe, limit)).await
    }

    async fn stop(&self, key: AttemptKey, how: &StopPolicy, turns: Option<&StopTurns>) -> Result<Option<Exit>, Error> {
        self.enter().await;
        self.leave(self.inner.stop(key, how, turns).await).await
    }

    async fn remove(&self, key: AttemptKey) -> Result<(), Error> {
        self.brief(self.inner.remove(key)).await
    }

    async fn logs(&self, key: AttemptKey, options: LogOptions) -> Result<LogStream, Error> {
        self.enter().await;
        self.leave(self.inner.logs(key, options).await).await
    }

    fn set_cluster_id(&self, cluster_id: ClusterId) {
        self.inner.set_cluster_id(cluster_id);
    }

    fn changes(&self) -> Option<u64> {
        self.inner.changes()
    }

    async fn survey(&self, since: Option<u64>) -> Result<Survey, Error> {
        self.brief(self.inner.survey(since)).await
    }

    async fn remove_sighted(&self, sighting: &Sighting, grace: Duration) -> Result<bool, Error> {
        self.brief(self.inner.remove_sighted(sighting, grace)).await
    }
}
