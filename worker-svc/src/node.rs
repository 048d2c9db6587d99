//! The node that this worker reports for: who it is, what it has, what runs its attempts, whether it is connected.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use davit_core::id::NodeId;
use davit_core::node::{NodeDescription, NodeStats};
use davit_core::placement::RuntimeKind;
use davit_core::resources::Resources;
use davit_core::spec::check_name;
use davit_proto::convert::{Registration, RuntimeHealth, register_to_proto};
use davit_proto::v1;
use davit_svc_kit::readiness::Readiness;
use davit_svc_kit::world::World;
use jiff::Timestamp;
use parking_lot::Mutex;
use prost::Message;
use tokio::sync::watch;
use uuid::Uuid;

use crate::agent::{Agent, Parts};
use crate::config::Config;
use crate::identity::{self, Home, Membership};
use crate::local_store::{self, LocalStore};
use crate::runtime::{Owner, Runtime};
use crate::stats::Measure;
use crate::{Machine, RuntimeFactory, VERSION};

/// How long a runtime may take to say that it works.
const CHECK_TIME: Duration = Duration::from_secs(5);
/// How much of a registration may be about ended attempts: the manager takes messages of up to 4 MiB.
const MAX_ENDED_BYTES: usize = 2 << 20;

/// A cluster can't be joined.
#[derive(Debug, thiserror::Error)]
pub(crate) enum JoinError {
    /// Its name can't stand in labels and paths.
    #[error("the manager's cluster has the name `{name}`, which {problem}")]
    Name { name: String, problem: String },
    /// It can't be noted.
    #[error(transparent)]
    Identity(#[from] identity::Error),
    /// What is kept of its attempts can't be read.
    #[error(transparent)]
    Store(#[from] local_store::Error),
}

/// Whether the session is open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) connected: bool,
    pub(crate) since: Timestamp,
    /// Why it is not open.
    pub(crate) reason: String,
}

/// What a runtime says of itself: its version, or what is wrong with it.
#[derive(Debug)]
pub(crate) struct Checked {
    pub(crate) kind: RuntimeKind,
    pub(crate) result: Result<String, String>,
}

#[derive(Debug)]
struct Hosted {
    /// The cluster's name is empty until a cluster has been joined for the first time.
    owner: Owner,
    runtimes: Vec<Arc<dyn Runtime>>,
    agent: Option<Arc<Agent>>,
}

pub(crate) struct Node {
    pub(crate) config: Config,
    pub(crate) world: World,
    pub(crate) readiness: Readiness,
    home: Arc<dyn Home>,
    meter: Arc<dyn Measure>,
    capacity: Resources,
    allocatable: Resources,
    factory: RuntimeFactory,
    hosted: Mutex<Hosted>,
    link: Mutex<Link>,
    /// `None` until the runtimes were asked for the first time.
    health: watch::Sender<Option<RuntimeHealth>>,
    /// Tells this start of the worker from others.
    run: Uuid,
    /// The number of its last registration. After a restart the manager tells how far an earlier worker came.
    last_registration: AtomicU64,
}

impl Node {
    /// The node of a data directory, with what an earlier worker left there.
    pub(crate) async fn open(world: World, config: Config, machine: Machine) -> Result<Self, JoinError> {
        let Machine { home, meter, runtimes: factory } = machine;
        let (capacity, allocatable) = config.offer.of(meter.capacity());
        let membership = home.membership()?;
        let cluster = membership.as_ref().map(|known| known.cluster.clone()).unwrap_or_default();
        let owner = Owner { cluster, node_id: home.node_id() };
        let runtimes = factory(&owner);
        let link = Link { connected: false, since: world.clock.now(), reason: "not dialled yet".to_owned() };
        let node = Self {
            readiness: Readiness::new(),
            hosted: Mutex::new(Hosted { owner, runtimes, agent: None }),
            link: Mutex::new(link),
            health: watch::Sender::new(None),
            last_registration: AtomicU64::new(0),
            run: world.ids.next_uuid(),
            config,
            world,
            home,
            meter,
            capacity,
            allocatable,
            factory,
        };
        if let Some(membership) = membership {
            node.join(&membership).await?;
        }
        Ok(node)
    }

    pub(crate) fn node_id(&self) -> NodeId {
        self.home.node_id()
    }

    pub(crate) fn capacity(&self) -> Resources {
        self.capacity
    }

    pub(crate) fn allocatable(&self) -> Resources {
        self.allocatable
    }

    /// Empty until a cluster has been joined for the first time.
    pub(crate) fn cluster(&self) -> String {
        self.hosted.lock().owner.cluster.clone()
    }

    /// `None` until a cluster has been joined for the first time.
    pub(crate) fn agent(&self) -> Option<Arc<Agent>> {
        self.hosted.lock().agent.clone()
    }

    pub(crate) fn link(&self) -> Link {
        self.link.lock().clone()
    }

    pub(crate) fn set_connected(&self) {
        *self.link.lock() = Link { connected: true, since: self.world.clock.now(), reason: String::new() };
        self.readiness.set_ready();
        metrics::gauge!("davit_worker_connected", "node" => self.config.name.clone()).set(1.0);
    }

    pub(crate) fn set_disconnected(&self, reason: &str) {
        let mut link = self.link.lock();
        if link.connected {
            link.since = self.world.clock.now();
        }
        link.connected = false;
        reason.clone_into(&mut link.reason);
        drop(link);
        if let Some(agent) = self.agent() {
            agent.end_session();
        }
        self.readiness.set_not_ready(format!("no session with the manager: {reason}"));
        metrics::gauge!("davit_worker_connected", "node" => self.config.name.clone()).set(0.0);
    }

    /// The agent of this cluster: the one that there is, or a new one, where the cluster is another than before.
    pub(crate) async fn join(&self, membership: &Membership) -> Result<Arc<Agent>, JoinError> {
        let Membership { cluster, cluster_id } = membership;
        let (known, old) = {
            let hosted = self.hosted.lock();
            (hosted.owner.cluster.clone(), hosted.agent.clone())
        };
        if let Some(agent) = &old
            && known == *cluster
        {
            if let Some(cluster_id) = cluster_id {
                agent.set_cluster_id(*cluster_id);
                self.note_membership(membership)?;
            }
            return Ok(Arc::clone(agent));
        }
        check_name(cluster)
            .map_err(|problem| JoinError::Name { name: cluster.clone(), problem: problem.to_string() })?;
        let owner = Owner { cluster: cluster.clone(), node_id: self.node_id() };
        let runtimes = (self.factory)(&owner);
        let parts = Parts {
            node_name: self.config.name.clone(),
            owner: owner.clone(),
            runtimes: runtimes.clone(),
            store: LocalStore::open(self.home.store(cluster)).await?,
            retention: self.config.retention,
            allocatable: self.allocatable,
            lease: self.home.lease(),
            cluster_id: *cluster_id,
        };
        let agent = Agent::start(parts, self.world.clone()).await;
        self.note_membership(membership)?;
        *self.hosted.lock() = Hosted { owner, runtimes, agent: Some(Arc::clone(&agent)) };
        if let Some(old) = old {
            tracing::warn!(
                before = known,
                now = cluster,
                attempts = old.statuses().len(),
                "the manager's cluster is another than before; what runs for the one before is left alone"
            );
            old.shut_down().await;
        }
        Ok(agent)
    }

    /// Writes only what is news: a worker must come back also on a full disk.
    fn note_membership(&self, membership: &Membership) -> Result<(), identity::Error> {
        if self.home.membership()?.as_ref() == Some(membership) {
            return Ok(());
        }
        self.home.set_membership(membership)
    }

    /// The manager heard what was sent at this uptime of the machine, and may rely on what must never run twice being stopped
    /// after the other, unless it hears more.
    pub(crate) fn heard(&self, sent_at: Duration, lease_until: Duration) {
        self.renew_lease(lease_until);
        if let Some(agent) = self.agent() {
            agent.heard(sent_at);
        }
    }

    /// What must never run twice may run until this uptime of the machine.
    pub(crate) fn renew_lease(&self, lease_until: Duration) {
        // First for whoever watches in case this worker dies.
        if let Err(error) = self.home.renew_lease(lease_until) {
            tracing::warn!(%error, "can't note the lease; it would end early if this worker were restarted");
        }
        if let Some(agent) = self.agent() {
            agent.renew_lease(lease_until);
        }
    }

    /// What the runtimes said last.
    pub(crate) fn health(&self) -> watch::Receiver<Option<RuntimeHealth>> {
        self.health.subscribe()
    }

    /// Takes down what the runtimes said.
    pub(crate) fn set_health(&self, health: &RuntimeHealth) {
        self.health.send_if_modified(|known| {
            let changed = known.as_ref() != Some(health);
            if changed {
                *known = Some(health.clone());
            }
            changed
        });
    }

    /// Why nothing can be written down here, if so.
    pub(crate) fn lacks_room(&self) -> Option<String> {
        self.home.check_room().err().map(|error| error.to_string())
    }

    /// Asks every runtime whether it works.
    pub(crate) async fn check(&self) -> Vec<Checked> {
        let runtimes = self.hosted.lock().runtimes.clone();
        let checks = runtimes.into_iter().map(|runtime| async move {
            let result = match tokio::time::timeout(CHECK_TIME, runtime.check()).await {
                Ok(checked) => checked.map(|info| info.version).map_err(|error| error.to_string()),
                Err(_) => Err(format!("it does not answer within {} s", CHECK_TIME.as_secs())),
            };
            Checked { kind: runtime.kind(), result }
        });
        futures::future::join_all(checks).await
    }

    /// The manager knows of a registration of this number: the next one gets a greater one.
    pub(crate) fn count_registrations_from(&self, last: u64) {
        self.last_registration.fetch_max(last, Ordering::Relaxed);
    }

    /// Has the agent look at all that bears the cluster's label, in those of its runtimes that answer.
    pub(crate) async fn survey(&self, health: &RuntimeHealth) {
        let Some(agent) = self.agent() else { return };
        let runtimes = health.runtimes.iter().filter_map(|kind| agent.runtime(*kind));
        let due = runtimes.filter_map(|runtime| agent.survey_due(&runtime).map(|look| (runtime, look)));
        let surveys = due.map(|(runtime, look)| {
            let agent = Arc::clone(&agent);
            async move {
                match tokio::time::timeout(CHECK_TIME, runtime.survey(look.since)).await {
                    Ok(Ok(sightings)) => agent.take_survey(&runtime, sightings, look),
                    // Whether it answers at all is told elsewhere.
                    Ok(Err(error)) => {
                        tracing::debug!(kind = %runtime.kind(), %error, "can't look for what nobody looks after");
                    }
                    Err(_) => {
                        tracing::debug!(kind = %runtime.kind(), "looking for what nobody looks after takes too long");
                    }
                }
            }
        });
        futures::future::join_all(surveys).await;
    }

    /// What the manager is told at the begin of a session. `draining`: the worker waits for its node to be drained.
    pub(crate) fn registration(&self, health: &RuntimeHealth, draining: bool) -> v1::Register {
        let description = NodeDescription {
            name: self.config.name.clone(),
            address: self.config.address.clone(),
            os: std::env::consts::OS.to_owned(),
            arch: std::env::consts::ARCH.to_owned(),
            labels: self.config.labels.clone(),
            allocatable: self.allocatable,
            capacity: self.capacity,
            runtimes: health.runtimes.clone(),
            port_range: self.config.port_range,
            worker_version: VERSION.to_owned(),
        };
        let statuses = self.agent().map(|agent| agent.statuses()).unwrap_or_default();
        let attempts = statuses.into_iter().map(|(key, status)| (key.task_id, status)).collect();
        let runtime_problems = health.problems.clone();
        let registration_number = self.last_registration.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        let registration = Registration {
            node_id: self.node_id(),
            registration_number,
            worker_run: Some(self.run),
            draining,
            takes_spec_numbers: true,
            description,
            runtime_problems,
            attempts,
        };
        let mut register = register_to_proto(&registration);
        // Live ones come first and are all told: what is left out counts as lost.
        let mut left = MAX_ENDED_BYTES;
        register.attempts.retain(|report| {
            let ended = report.status.as_ref().is_some_and(|status| status.finish_time.is_some());
            let bytes = if ended { report.encoded_len() + 8 } else { 0 };
            let fits = bytes <= left;
            left = left.saturating_sub(bytes);
            fits
        });
        register
    }

    /// Measures the machine.
    pub(crate) async fn measure(&self) -> NodeStats {
        let running = self.agent().map_or(0, |agent| agent.running());
        self.meter.measure(self.world.clock.now(), running).await
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // A worker that was dropped leaves nothing that acts in its name.
        if let Some(agent) = self.agent() {
            agent.abandon();
        }
    }
}
