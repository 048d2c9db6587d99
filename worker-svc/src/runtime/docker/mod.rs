//! Containers of a Docker engine, over its socket.
//!
//! A container is named `davit-<task id>-<attempt>` and labelled with cluster, cluster id, node, task and attempt. Before anything
//! is done to a container its labels are compared with the owner's, so several workers may share one engine. The
//! engine's own restart policy is never used: an attempt runs once.
//!
//! The connection is made at the first call, so that a worker can start before its engine.

mod containers;
mod error;
mod events;
mod files;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod guard;
mod images;
mod labels;
mod lately;
mod logs;
mod networks;
mod observe;
mod probe;
mod pull;
mod pulls;
mod spec;
mod stop;
mod survey;
mod terminal;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use bollard::models::{ContainerSummary, ContainerSummaryStateEnum, Mount};
use bollard::query_parameters::{CreateContainerOptionsBuilder, ListContainersOptionsBuilder, LogsOptionsBuilder};
use bollard::{API_DEFAULT_VERSION, Docker};
use davit_core::id::{AttemptKey, ClusterId};
use davit_core::spec::{Probe, PullPolicy, StopPolicy};
use futures::{StreamExt, TryStreamExt, stream};
use parking_lot::Mutex;
use tokio::sync::OnceCell;

use self::containers::{Known, Leased, Own, in_time, remove, remove_own, timed};
use self::error::{is_missing_image, refused, status, unavailable};
use self::events::{End, Events};
use self::files::Files;
use self::guard::Guard;
pub use self::guard::GuardConfig;
use self::lately::Lately;
use self::networks::Networks;
use self::pulls::Pulls;
use super::{
    AttemptSpec, Error, ErrorKind, Exit, Images, Instance, InstanceState, LogOptions, LogStream, Owner, Probed,
    ProgressSender, PulledImage, Runtime, RuntimeInfo, RuntimeKind, SharedClock, Sighting, Started, Survey,
};
use crate::engine_turns::StopTurns;

/// How long the engine may take for what only reads, or signals: it answers such within milliseconds unless it hangs. Creating,
/// starting and removing may take as long as [`DockerConfig::request_timeout`], since they work on disk and network.
const QUICK_TIME: Duration = Duration::from_secs(15);
/// How long a container may take to end after it was killed.
const KILLED_TIME: Duration = Duration::from_secs(60);
/// How many containers are looked at side by side when all are listed.
const INSPECTS_AT_ONCE: usize = 8;

/// How the engine is reached and used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DockerConfig {
    /// The engine's socket.
    pub socket: PathBuf,
    /// How long the engine may take until it begins to answer. Waits and streams may then take as long as they like.
    pub request_timeout: Duration,
    /// A pull that makes no progress for so long is given up.
    pub pull_stall_timeout: Duration,
    /// The engine starts a new log file of a container at this size.
    pub log_max_bytes: u64,
    /// How many log files the engine keeps of a container.
    pub log_max_files: u32,
    /// Containers that must never run twice are stopped at the end of the node's lease also without a worker. `None`: only the
    /// agent stops them.
    pub guard: Option<GuardConfig>,
    /// Where configs and secrets are while containers need them. `None`: where there is room in memory.
    pub files_dir: Option<PathBuf>,
}

impl Default for DockerConfig {
    fn default() -> Self {
        Self {
            socket: PathBuf::from("/var/run/docker.sock"),
            request_timeout: Duration::from_secs(120),
            pull_stall_timeout: Duration::from_secs(120),
            log_max_bytes: 10 * 1024 * 1024,
            log_max_files: 3,
            guard: None,
            files_dir: None,
        }
    }
}

/// Runs attempts as containers of a Docker engine.
pub struct DockerRuntime {
    owner: Owner,
    config: DockerConfig,
    clock: SharedClock,
    cluster_id: Mutex<Option<ClusterId>>,
    engine: OnceCell<Docker>,
    events: OnceLock<Events>,
    /// Containers that this process created and has not started: their start needs no look at them first.
    fresh: Mutex<HashMap<AttemptKey, Fresh>>,
    /// Ends of containers that this process started, until somebody waits for them.
    ends: Mutex<HashMap<AttemptKey, End>>,
    /// Containers that were looked at, until they are removed.
    known: Mutex<HashMap<AttemptKey, Known>>,
    /// Commands in containers that may still run, by the engine's id of each.
    execs: Mutex<HashMap<AttemptKey, String>>,
    lately: Lately,
    pulls: Pulls,
    networks: Networks,
    /// The engine's version, and how often its stream of events had broken before it was asked.
    version: Mutex<Option<(u64, String)>>,
    guard: Option<Guard>,
    files: Files,
}

/// A container that was created just now.
struct Fresh {
    id: String,
    is_leased: bool,
}

impl std::fmt::Debug for DockerRuntime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DockerRuntime")
            .field("owner", &self.owner)
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

impl DockerRuntime {
    /// A runtime over the engine behind `config.socket`. Does not connect yet.
    #[must_use]
    pub fn new(owner: Owner, config: DockerConfig, clock: SharedClock) -> Self {
        let guard = config.guard.as_ref().map(|guard| Guard::new(guard, &owner, &config.socket));
        let (cluster_id, engine, events) = (Mutex::default(), OnceCell::new(), OnceLock::new());
        let (fresh, ends, known, pulls) = (Mutex::default(), Mutex::default(), Mutex::default(), Pulls::default());
        let (execs, lately, version) = (Mutex::default(), Lately::default(), Mutex::default());
        let files = Files::new(owner.node_id, config.files_dir.clone());
        let networks = Networks::default();
        Self {
            owner,
            config,
            clock,
            cluster_id,
            engine,
            events,
            fresh,
            ends,
            known,
            execs,
            lately,
            pulls,
            networks,
            version,
            guard,
            files,
        }
    }

    async fn engine(&self) -> Result<&Docker, Error> {
        let connect = || async {
            let socket = self.config.socket.to_string_lossy();
            Docker::connect_with_unix(&socket, self.config.request_timeout.as_secs().max(1), API_DEFAULT_VERSION)?
                .negotiate_version()
                .await
        };
        let connecting =
            async { self.engine.get_or_try_init(connect).await.map_err(|error| unavailable("connect", &error)) };
        in_time("connect", QUICK_TIME, connecting).await
    }

    /// The engine's version, if it answers at all. That is asked every few seconds: the version is dear, and only another engine has
    /// another one.
    async fn version(&self, engine: &Docker) -> Result<String, Error> {
        let breaks = self.events(engine).breaks();
        let known = self.version.lock().clone().filter(|(before, _)| *before == breaks);
        let answered = |error| unavailable("check", &error);
        if let Some((_, version)) = known {
            engine.ping().await.map_err(answered)?;
            return Ok(version);
        }
        let version = engine.version().await.map_err(answered)?.version.unwrap_or_default();
        *self.version.lock() = Some((breaks, version.clone()));
        Ok(version)
    }

    /// Creates a container with these mounted besides what its spec mounts.
    async fn create_container(&self, attempt: &AttemptSpec, files: Vec<Mount>) -> Result<(), Error> {
        let body = spec::create_body(&self.owner, *self.cluster_id.lock(), &self.config, attempt, files)?;
        let container = spec::container(&attempt.spec)?;
        let image = container.image.as_str();
        let engine = self.engine().await?;
        if let Some(network) = &container.network {
            self.networks.join(engine, &self.owner, attempt.key, network).await?;
        }
        let name = attempt.key.container_name();
        let options = CreateContainerOptionsBuilder::new().name(&name).build();
        match timed("create", engine.create_container(Some(options), body)).await {
            Ok(created) => {
                for warning in &created.warnings {
                    tracing::debug!(attempt = %attempt.key, warning, "the engine warned about a container");
                }
                let is_leased = spec::leased(&attempt.spec).is_some();
                self.fresh.lock().insert(attempt.key, Fresh { id: created.id, is_leased });
                self.lately.used(image);
                Ok(())
            }
            // The name is taken: by an earlier try of ours, or by someone else.
            Err(error) if status(&error) == Some(409) => match self.inspect(engine, attempt.key, &name).await? {
                Some(_) => Ok(()),
                None => Err(refused("create", &error)),
            },
            // Somebody has removed it since it was looked for.
            Err(error) if is_missing_image(&error) => {
                self.lately.lacks(image);
                Err(Error::ImageGone { image: image.to_owned() })
            }
            Err(error) => Err(refused("create", &error)),
        }
    }

    fn events(&self, engine: &Docker) -> &Events {
        self.events.get_or_init(|| Events::follow(engine.clone(), &self.owner, Arc::clone(&self.clock)))
    }
}

/// Guards the containers of the order in this directory: the work of the hidden subcommand.
pub(crate) fn guard(dir: &Path) -> ExitCode {
    guard::run(dir)
}

#[async_trait]
impl Runtime for DockerRuntime {
    fn kind(&self) -> RuntimeKind {
        RuntimeKind::Docker
    }

    async fn check(&self) -> Result<RuntimeInfo, Error> {
        let engine = self.engine().await?;
        let version = in_time("check", QUICK_TIME, self.version(engine)).await?;
        self.lately.answered();
        if let Some(guard) = &self.guard {
            guard.keep().await;
        }
        self.networks.sweep(engine).await;
        Ok(RuntimeInfo { version: format!("Docker {version}") })
    }

    async fn list(&self) -> Result<Vec<Instance>, Error> {
        let engine = self.engine().await?;
        let options = ListContainersOptionsBuilder::new().all(true).filters(&labels::filter(&self.owner)).build();
        let listing =
            async { engine.list_containers(Some(options)).await.map_err(|error| unavailable("list", &error)) };
        let found = in_time("list", QUICK_TIME, listing).await?;
        if let Some(guard) = &self.guard {
            let leased = |summary: &ContainerSummary| {
                let labels = summary.labels.as_ref()?;
                labels::leased(labels).filter(|_| summary.state == Some(ContainerSummaryStateEnum::RUNNING))?;
                labels::key(&self.owner, labels)
            };
            guard.take_up(found.iter().filter_map(leased)).await;
        }
        let in_networks = found.iter().filter_map(|summary| {
            let labels = summary.labels.as_ref()?;
            Some((labels::key(&self.owner, labels)?, labels.get(labels::NETWORK)?.clone()))
        });
        self.networks.find(engine, &self.owner, in_networks).await?;
        let keyed = found.into_iter().filter_map(|summary| {
            let key = labels::key(&self.owner, summary.labels.as_ref()?)?;
            // One that only bears the labels, a copy made by hand say, is no instance.
            survey::is_named(&summary, key).then_some((key, summary.id?))
        });
        // The list tells neither exit codes nor times.
        let mut instances: Vec<Instance> = stream::iter(keyed)
            .map(|(key, id)| async move { Ok(self.inspect(engine, key, &id).await?.map(|own| (key, own))) })
            .buffer_unordered(INSPECTS_AT_ONCE)
            .try_filter_map(|own: Option<(AttemptKey, Own)>| async move {
                Ok::<_, Error>(own.map(|(key, own)| Instance { key, state: own.state }))
            })
            .try_collect()
            .await?;
        instances.sort_unstable_by_key(|instance| instance.key);
        Ok(instances)
    }

    async fn prepare(&self, attempt: &AttemptSpec, progress: &ProgressSender) -> Result<Option<PulledImage>, Error> {
        let container = spec::container(&attempt.spec)?;
        let (engine, image) = (self.engine().await?, &container.image);
        let is_there = match container.pull_policy {
            PullPolicy::Always => false,
            PullPolicy::Missing | PullPolicy::Never if self.lately.has(image.as_str()) => true,
            PullPolicy::Missing | PullPolicy::Never => self.has_image(engine, image.as_str()).await?,
        };
        match container.pull_policy {
            PullPolicy::Missing | PullPolicy::Never if is_there => Ok(None),
            PullPolicy::Never => Err(Error::ImageMissing { image: image.to_string() }),
            PullPolicy::Always | PullPolicy::Missing => {
                self.pulls.run(engine, image, self.config.pull_stall_timeout, progress).await
            }
        }
    }

    async fn create(&self, attempt: &AttemptSpec) -> Result<(), Error> {
        let files = self.files.give(attempt).await?;
        let created = self.create_container(attempt, files).await;
        // One that was not answered may be there.
        if created.as_ref().is_err_and(|error| error.kind() != ErrorKind::Unavailable) {
            // What there is no container of is never removed.
            if let Ok(engine) = self.engine().await {
                self.networks.leave(engine, attempt.key).await;
            }
            self.files.take_away(attempt.key).await?;
        }
        created
    }

    async fn start(&self, key: AttemptKey) -> Result<Started, Error> {
        let engine = self.engine().await?;
        // Bound first: the guard must not live across an await.
        let fresh = self.fresh.lock().remove(&key);
        let (id, is_leased) = match fresh {
            Some(Fresh { id, is_leased }) => (id, is_leased),
            None => {
                let own = self.own(key).await?;
                let is_leased = own.is_leased();
                match own.state {
                    InstanceState::Created => (own.id, is_leased),
                    InstanceState::Running(started) => return Ok(started),
                    InstanceState::Exited(_) => return Err(Error::AlreadyExited { key }),
                }
            }
        };
        self.ensure_guarded(key, is_leased).await?;
        self.start_container(engine, key, &id).await
    }

    async fn restart(&self, key: AttemptKey) -> Result<Started, Error> {
        let engine = self.engine().await?;
        let own = self.own(key).await?;
        let is_leased = own.is_leased();
        match own.state {
            InstanceState::Running(started) => Ok(started),
            InstanceState::Created | InstanceState::Exited(_) => {
                self.ensure_guarded(key, is_leased).await?;
                self.start_container(engine, key, &own.id).await
            }
        }
    }

    async fn wait(&self, key: AttemptKey) -> Result<Exit, Error> {
        let engine = self.engine().await?;
        // Bound first: the guard must not live across an await.
        let started_here = self.ends.lock().remove(&key);
        if let Some(mut end) = started_here {
            let id = end.id().to_owned();
            return end.seen_by(|_| self.exit(engine, key, &id)).await;
        }
        let id = self.own(key).await?.id;
        let mut end = self.events(engine).end_of(&id);
        match self.exit(engine, key, &id).await? {
            Some(exit) => Ok(exit),
            None => end.seen_by(|_| self.exit(engine, key, &id)).await,
        }
    }

    async fn probe(&self, key: AttemptKey, probe: &Probe, limit: Duration) -> Result<Probed, Error> {
        self.probe_container(key, probe, limit).await
    }

    async fn stop(&self, key: AttemptKey, how: &StopPolicy, turns: Option<&StopTurns>) -> Result<Option<Exit>, Error> {
        self.stop_container(key, how, turns).await
    }

    async fn take_back(&self, key: AttemptKey) -> Result<(), Error> {
        self.files.take_away(key).await
    }

    async fn remove(&self, key: AttemptKey) -> Result<(), Error> {
        let engine = self.engine().await?;
        self.fresh.lock().remove(&key);
        self.ends.lock().remove(&key);
        self.execs.lock().remove(&key);
        // Bound first: the guard must not live across an await.
        let known = self.known.lock().remove(&key);
        let is_removed = match known {
            Some(known) => remove_own(engine, &known.id).await?,
            None => false,
        };
        if !is_removed {
            let own = match self.own(key).await {
                Ok(own) => own,
                Err(Error::NotFound { .. }) => {
                    self.networks.leave(engine, key).await;
                    return self.files.take_away(key).await;
                }
                Err(error) => return Err(error),
            };
            remove_own(engine, &own.id).await?;
            self.known.lock().remove(&key);
        }
        self.networks.leave(engine, key).await;
        if let Some(guard) = &self.guard {
            guard.forget(key);
        }
        self.files.take_away(key).await
    }

    async fn logs(&self, key: AttemptKey, options: LogOptions) -> Result<LogStream, Error> {
        let engine = self.engine().await?;
        let own = self.own(key).await?;
        let tail = options.tail.map_or_else(|| "all".to_owned(), |lines| lines.to_string());
        // The engine knows only whole seconds: the rest is done here.
        let since = options.since.and_then(|since| i32::try_from(since.as_second()).ok()).unwrap_or(0).max(0);
        if own.has_terminal() {
            let follow = options.follow;
            let query = format!("stdout=1&stderr=1&timestamps=1&follow={follow}&tail={tail}&since={since}");
            let version = engine.client_version();
            let lines = terminal::lines(&self.config.socket, &version, &own.id, &query);
            return Ok(options.passed_over(in_time("logs", QUICK_TIME, lines).await?));
        }
        let query = LogsOptionsBuilder::new()
            .stdout(true)
            .stderr(true)
            .timestamps(true)
            .follow(options.follow)
            .tail(&tail)
            .since(since)
            .build();
        let lines = engine.logs(&own.id, Some(query)).filter_map(|output| async move {
            match output {
                Ok(output) => logs::line(output).map(Ok),
                Err(error) => Some(Err(unavailable("logs", &error))),
            }
        });
        Ok(options.passed_over(lines))
    }

    fn images(&self) -> Option<&dyn Images> {
        Some(self)
    }

    fn take_charge(&self) {
        self.files.take_charge();
        if let Some(guard) = &self.guard {
            guard.take_charge();
        }
    }

    fn set_cluster_id(&self, cluster_id: ClusterId) {
        *self.cluster_id.lock() = Some(cluster_id);
    }

    fn changes(&self) -> Option<u64> {
        self.events.get()?.changes()
    }

    async fn survey(&self, since: Option<u64>) -> Result<Survey, Error> {
        self.look_around(since).await
    }

    async fn remove_sighted(&self, sighting: &Sighting, grace: Duration) -> Result<bool, Error> {
        self.remove_seen(sighting, grace).await
    }
}
