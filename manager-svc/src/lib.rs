//! The manager: owns the truth about tasks and nodes, reconciles it, and talks to users, workers and the scheduler.
//!
//! [`run`] starts everything on ports that are bound already, so that a process may host several services.

mod apps;
pub mod backup;
pub mod commands;
pub mod config;
pub mod contacts;
pub mod dispatch;
mod drainer;
pub mod explainer;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
pub mod grpc;
pub mod health;
pub mod logs;
mod metrics;
pub mod placer;
pub mod reconcile;
mod reconciler;
mod settling;
mod stable_hash;
pub mod state;
pub mod store;
pub mod writer;

use std::sync::Arc;

use davit_svc_kit::apart;
use davit_svc_kit::grpc::GrpcServer;
use davit_svc_kit::grpc::server::ServeError;
use davit_svc_kit::http::MetricsError;
use davit_svc_kit::net::Listener;
use davit_svc_kit::readiness::Readiness;
use davit_svc_kit::shutdown::Shutdown;
use davit_svc_kit::world::World;
use tokio::net::TcpListener;
use tokio::sync::watch;

use self::commands::Limits;
use self::config::Config;
use self::contacts::Contacts;
use self::dispatch::Router;
use self::drainer::Drainer;
use self::explainer::SchedulerClient;
use self::grpc::{Api, ClusterFacts};
use self::logs::LogRelay;
use self::placer::{Placer, SchedulerStatus};
use self::reconciler::Reconciler;
use self::state::KeptEvents;
use self::store::Store;
use self::writer::Writer;

/// Why the manager ended other than by shutdown.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store can't be read.
    #[error("the state can't be loaded: {0}")]
    Store(#[from] store::Error),
    /// The API can't be served.
    #[error("the API can't be served: {0}")]
    Grpc(#[from] ServeError),
    /// One of its loops broke.
    #[error("its {part} broke: {source}")]
    Part {
        /// Which.
        part: &'static str,
        /// How.
        source: tokio::task::JoinError,
    },
    /// Metrics can't be collected.
    #[error(transparent)]
    Metrics(#[from] MetricsError),
    /// The HTTP side port can't be served.
    #[error("metrics and health can't be served: {0}")]
    Http(#[source] std::io::Error),
}

/// Runs a manager until shutdown.
///
/// # Errors
/// When the store can't be read or a port can't be served.
pub async fn run(
    world: World,
    config: Config,
    store: Arc<dyn Store>,
    listener: impl Listener,
    http_listener: Option<TcpListener>,
    shutdown: Shutdown,
) -> Result<(), Error> {
    // Recorded metrics pile up unless the side port is there to take care of them.
    if http_listener.is_some() {
        davit_svc_kit::http::install_metrics()?;
        metrics::describe();
    }
    // Set off alone when one of the two ports breaks; the caller's other services go on.
    let shutdown = shutdown.child();
    let readiness = Readiness::new();
    let contacts = Contacts::new();
    let cluster_id = store.cluster_id().unwrap_or_else(|| world.ids.cluster_id());
    let kept_events = KeptEvents { count: config.kept_events, bytes: config.kept_event_bytes };
    let (writer, handle) = Writer::load(store, Router::default(), &world, readiness.clone(), kept_events).await?;
    let settled = watch::Sender::new(false);
    let status = watch::Sender::new(SchedulerStatus {
        address: config.scheduler.first().cloned().unwrap_or_default(),
        connected: false,
        reason: "not dialled yet: workers register anew first".to_owned(),
        algorithms: placer::Algorithms::new([], &config.algorithm),
    });
    let limits = Limits { max_tasks: config.max_tasks, max_spec_bytes: config.max_spec_bytes };
    let api = Api {
        writer: handle.clone(),
        contacts: contacts.clone(),
        logs: LogRelay::default(),
        world: world.clone(),
        cluster: ClusterFacts {
            name: config.cluster.clone(),
            cluster_id,
            heartbeat_period: config.heartbeat_period,
            lease_duration: config.lease_duration,
            limits,
            scheduler: status.subscribe(),
        },
        scheduler: SchedulerClient::new(status.subscribe(), world.dialer.clone()),
        shutdown: shutdown.clone(),
        settled: settled.subscribe(),
        readiness: readiness.clone(),
    };
    let health_settings = health::Settings {
        heartbeat_period: config.heartbeat_period,
        lease_duration: config.lease_duration,
        restart_grace: config.restart_grace,
        begin_timeout: config.begin_timeout,
        kept_finished_tasks: config.kept_finished_tasks,
        finished_task_retention: config.finished_task_retention,
        event_retention: config.event_retention,
    };
    // The writer outlives the servers, so that calls under way at shutdown still get their answer.
    let writer_shutdown = Shutdown::new();
    let writer_task = apart::spawn({
        let (stop, all) = (writer_shutdown.clone(), shutdown.clone());
        async move {
            // Without its writer a manager is of no use: whatever ends the writer, even a panic, ends the rest.
            let _ends_the_rest = all.token().clone().drop_guard();
            Box::pin(writer.run(stop)).await;
        }
    });
    let reconciler = Reconciler::new(handle.clone(), world.clone(), limits);
    let addresses = config.scheduler.clone();
    let asks = SchedulerClient::new(status.subscribe(), world.dialer.clone());
    let drainer = Drainer::new(handle.clone(), contacts.clone(), world.clone(), asks);
    let drainer_task = tokio::spawn(drainer.run(shutdown.clone()));
    let clock = Arc::clone(&world.clock);
    let placer = Placer { writer: handle.clone(), contacts: contacts.clone(), world, status, addresses };
    let claims_clock = Arc::clone(&clock);
    let placer_task = tokio::spawn({
        let (handle, contacts, shutdown) = (handle.clone(), contacts.clone(), shutdown.clone());
        let grace = config.restart_grace;
        async move {
            let settles = async {
                settling::grace_passed(&handle, grace, &shutdown).await;
                settled.send_replace(true);
            };
            let places = async {
                settling::settled(|| handle.state(), &contacts, grace, &shutdown).await;
                let keeps_claims = placer::keep_claims(handle.clone(), claims_clock, shutdown.clone());
                tokio::join!(placer.run(shutdown.clone()), keeps_claims, reconciler.run(shutdown.clone()));
            };
            tokio::join!(settles, places);
        }
    });
    let health_task = apart::spawn(health::run(handle, contacts, health_settings, clock, shutdown.clone()));
    let server: GrpcServer = grpc::server(&api);
    let api = async {
        let served = server.serve(listener, shutdown.clone()).await;
        shutdown.trigger();
        served
    };
    let side_port = async {
        let Some(listener) = http_listener else { return Ok(()) };
        let served = davit_svc_kit::http::serve(listener, readiness.clone(), shutdown.clone()).await;
        shutdown.trigger();
        served
    };
    let (served, side_served) = tokio::join!(api, side_port);
    writer_shutdown.trigger();
    let parts = [("writer", writer_task), ("placer", placer_task), ("drainer", drainer_task), ("health", health_task)];
    for (part, task) in parts {
        task.await.map_err(|source| Error::Part { part, source })?;
    }
    served?;
    side_served.map_err(Error::Http)
}
