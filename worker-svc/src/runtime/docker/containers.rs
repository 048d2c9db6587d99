//! Single containers: whose they are, how they are started and ended.

use std::net::IpAddr;
use std::time::Duration;

use bollard::Docker;
use bollard::errors::Error as EngineError;
use bollard::models::{ContainerInspectResponse, ContainerSummaryStateEnum};
use bollard::query_parameters::{
    InspectContainerOptions, ListContainersOptionsBuilder, RemoveContainerOptionsBuilder, StartContainerOptions,
};
use davit_core::id::AttemptKey;
use davit_core::task::Ports;
use jiff::Timestamp;
use tokio::time::Instant;

use super::error::{is_missing_network, refused, status, unavailable};
use super::{DockerRuntime, Error, Exit, InstanceState, QUICK_TIME, Started, labels, observe};

/// A container that is known to be the owner's.
pub(super) struct Own {
    pub(super) id: String,
    pub(super) state: InstanceState,
    pub(super) inspected: ContainerInspectResponse,
}

/// What is known of a container of the owner's without asking: as it was when it was looked at last.
#[derive(Debug, Clone)]
pub(super) struct Known {
    pub(super) id: String,
    /// It ran.
    pub(super) run: Option<Run>,
}

/// A container's run.
#[derive(Debug, Clone)]
pub(super) struct Run {
    pub(super) started_at: Timestamp,
    /// What stops it unless its spec says otherwise; its image may say that. Or empty.
    pub(super) stop_signal: String,
    /// Its address on the engine's network, if it has one of its own.
    pub(super) address: Option<IpAddr>,
}

impl Own {
    pub(super) fn known(&self) -> Known {
        let of_image = || self.inspected.config.as_ref()?.stop_signal.clone();
        let run = match &self.state {
            InstanceState::Running(started) => Some(Run {
                started_at: started.started_at,
                stop_signal: of_image().unwrap_or_default(),
                address: observe::address(&self.inspected),
            }),
            InstanceState::Created | InstanceState::Exited(_) => None,
        };
        Known { id: self.id.clone(), run }
    }

    pub(super) fn has_terminal(&self) -> bool {
        self.inspected.config.as_ref().and_then(|config| config.tty).unwrap_or_default()
    }

    pub(super) fn is_leased(&self) -> bool {
        let labels = self.inspected.config.as_ref().and_then(|config| config.labels.as_ref());
        labels.and_then(labels::leased).is_some()
    }
}

/// A container that must stop when the node's lease has ended.
pub(super) struct Leased {
    pub(super) key: AttemptKey,
    /// How long its stop may take before it is killed.
    pub(super) grace: Duration,
    /// Or about to be; else it may be started at any time.
    pub(super) is_running: bool,
}

impl DockerRuntime {
    /// Looks at the attempt's container. One that is another's counts as not found.
    pub(super) async fn own(&self, key: AttemptKey) -> Result<Own, Error> {
        let engine = self.engine().await?;
        self.inspect(engine, key, &key.container_name()).await?.ok_or(Error::NotFound { key })
    }

    /// `None`: there is none, or it is another's.
    pub(super) async fn inspect(&self, engine: &Docker, key: AttemptKey, name: &str) -> Result<Option<Own>, Error> {
        let inspecting = async {
            match timed("inspect", engine.inspect_container(name, None::<InspectContainerOptions>)).await {
                Ok(inspected) => Ok(Some(inspected)),
                Err(error) if status(&error) == Some(404) => Ok(None),
                Err(error) => Err(unavailable("inspect", &error)),
            }
        };
        let Some(inspected) = in_time("inspect", QUICK_TIME, inspecting).await? else {
            self.known.lock().remove(&key);
            return Ok(None);
        };
        let labels = inspected.config.as_ref().and_then(|config| config.labels.as_ref());
        if labels.and_then(|labels| labels::key(&self.owner, labels)) != Some(key) {
            return Ok(None);
        }
        let id = inspected.id.clone().unwrap_or_else(|| name.to_owned());
        let mut state = observe::state(&inspected, self.clock.now());
        if let InstanceState::Exited(exit) = &mut state {
            self.note_end(key, exit);
        }
        let own = Own { id, state, inspected };
        self.known.lock().insert(key, own.known());
        Ok(Some(own))
    }

    /// Takes down that a container has ended, and whether that was its guard's doing.
    pub(super) fn note_end(&self, key: AttemptKey, exit: &mut Exit) {
        if let Some(guard) = &self.guard {
            guard.end(key);
            if guard.has_stopped(key) {
                exit.lease_ended = true;
                crate::lease::ENDED.clone_into(&mut exit.error);
            }
        }
    }

    /// Containers that must stop when the lease has ended and have not ended.
    pub(super) async fn leased(&self) -> Result<Vec<Leased>, Error> {
        let engine = self.engine().await?;
        let mut filter = labels::filter(&self.owner);
        filter.entry("label".to_owned()).or_default().push(labels::LEASED.to_owned());
        let options = ListContainersOptionsBuilder::new().all(true).filters(&filter).build();
        let listing =
            async { engine.list_containers(Some(options)).await.map_err(|error| unavailable("list", &error)) };
        let found = in_time("list", QUICK_TIME, listing).await?.into_iter().filter_map(|summary| {
            let labels = summary.labels.as_ref()?;
            let (key, grace) = (labels::key(&self.owner, labels)?, labels::leased(labels)?);
            let is_running = match summary.state {
                Some(ContainerSummaryStateEnum::CREATED) => false,
                Some(
                    ContainerSummaryStateEnum::EXITED
                    | ContainerSummaryStateEnum::DEAD
                    | ContainerSummaryStateEnum::REMOVING,
                ) => return None,
                _ => true,
            };
            Some(Leased { key, grace, is_running })
        });
        Ok(found.collect())
    }

    /// Makes sure that a container is guarded before it is started.
    pub(super) async fn ensure_guarded(&self, key: AttemptKey, is_leased: bool) -> Result<(), Error> {
        match &self.guard {
            Some(guard) if is_leased => in_time("start the lease guard", QUICK_TIME, guard.begin(key)).await,
            _ => Ok(()),
        }
    }

    /// It also shows whether the engine answers at all, before a create that nobody can take back.
    pub(super) async fn has_image(&self, engine: &Docker, image: &str) -> Result<bool, Error> {
        let inspecting = async {
            match timed("inspect_image", engine.inspect_image(image)).await {
                Ok(_) => Ok(true),
                Err(error) if status(&error) == Some(404) => Ok(false),
                Err(error) => Err(refused("inspect image", &error)),
            }
        };
        in_time("inspect image", QUICK_TIME, inspecting).await
    }

    /// Starts a container, and looks at what came of it.
    pub(super) async fn start_container(&self, engine: &Docker, key: AttemptKey, id: &str) -> Result<Started, Error> {
        // First, so that whoever waits for its end need not look whether it came before.
        let end = self.events(engine).end_of(id);
        let start = || timed("start", engine.start_container(id, None::<StartContainerOptions>));
        let mut started = start().await;
        if let Err(error) = &started
            && is_missing_network(error)
            && self.networks.rejoin(engine, &self.owner, key).await?
        {
            started = start().await;
        }
        match started {
            Ok(()) => {}
            Err(error) if status(&error) == Some(404) && self.inspect(engine, key, id).await?.is_none() => {
                return Err(Error::NotFound { key });
            }
            Err(error) => return Err(refused("start", &error)),
        }
        let own = self.inspect(engine, key, id).await?.ok_or(Error::NotFound { key })?;
        match own.state {
            InstanceState::Running(started) => {
                self.ends.lock().insert(key, end);
                Ok(started)
            }
            // So short that it has ended already.
            InstanceState::Exited(exit) => {
                Ok(Started { started_at: exit.started_at.unwrap_or(exit.finished_at), ports: Ports::new() })
            }
            InstanceState::Created => Err(Error::Rejected {
                action: "start",
                message: own.inspected.state.and_then(|state| state.error).unwrap_or_default(),
            }),
        }
    }

    /// How the attempt's container ended; `None`: it runs.
    pub(super) async fn exit(&self, engine: &Docker, key: AttemptKey, id: &str) -> Result<Option<Exit>, Error> {
        match self.inspect(engine, key, id).await?.ok_or(Error::NotFound { key })?.state {
            InstanceState::Exited(exit) => Ok(Some(exit)),
            InstanceState::Running(_) => Ok(None),
            InstanceState::Created => Err(Error::NotStarted { key }),
        }
    }
}

/// Whether a container has ended, or is gone; `None`: it runs.
pub(super) async fn ended(engine: &Docker, id: &str) -> Result<Option<()>, Error> {
    let inspecting = async {
        match timed("inspect", engine.inspect_container(id, None::<InspectContainerOptions>)).await {
            Ok(inspected) => {
                let runs = inspected.state.and_then(|state| state.running).unwrap_or(false);
                Ok((!runs).then_some(()))
            }
            Err(error) if status(&error) == Some(404) => Ok(Some(())),
            Err(error) => Err(unavailable("inspect", &error)),
        }
    };
    in_time("inspect", QUICK_TIME, inspecting).await
}

/// Removes a container, killing it first if it runs.
pub(super) async fn remove(engine: &Docker, id: &str) -> Result<(), EngineError> {
    // Takes anonymous volumes along; named ones stay.
    let options = RemoveContainerOptionsBuilder::new().force(true).v(true).build();
    timed("remove", engine.remove_container(id, Some(options))).await
}

/// Removes a container that is known to be the owner's. `false`: it was gone already.
pub(super) async fn remove_own(engine: &Docker, id: &str) -> Result<bool, Error> {
    match remove(engine, id).await {
        Ok(()) => Ok(true),
        Err(error) if status(&error) == Some(404) => Ok(false),
        Err(error) => Err(unavailable("remove", &error)),
    }
}

/// Takes down how long the engine took for a call, whatever it answered. A call is large while it is under way, and is kept apart.
pub(super) fn timed<T>(call: &'static str, answer: impl Future<Output = T> + Send) -> impl Future<Output = T> + Send {
    let answer = Box::pin(answer);
    async move {
        let began = Instant::now();
        let answer = answer.await;
        metrics::histogram!("davit_worker_engine_call_seconds", "call" => call).record(began.elapsed());
        answer
    }
}

/// Gives up a call that takes too long: an engine that hangs takes connections and never answers.
pub(super) async fn in_time<T>(
    action: &'static str,
    limit: Duration,
    call: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    let late = |_| Error::Unavailable { action, reason: format!("no answer within {} s", limit.as_secs()) };
    tokio::time::timeout(limit, call).await.map_err(late)?
}
