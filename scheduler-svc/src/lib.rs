//! The Davit scheduler: selects candidate nodes, scores them and picks.
//!
//! [`placement`] decides and is pure; [`grpc`] is the shell around it. The scheduler owns no truth: it may be killed at
//! any time, and the manager checks every answer again before it counts. [`run`] serves on ports that are bound already,
//! so that a process may host several services.

pub mod config;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
pub mod grpc;
mod metrics;
pub mod placement;
pub mod record;

use davit_svc_kit::grpc::server::ServeError;
use davit_svc_kit::http::{self, MetricsError};
use davit_svc_kit::net::Listener;
use davit_svc_kit::readiness::Readiness;
use davit_svc_kit::shutdown::Shutdown;
use tokio::net::TcpListener;

use self::config::Config;
use self::grpc::SchedulerApi;
use self::record::{RecordError, Recorder};

/// Why the scheduler ended other than by shutdown.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The API can't be served.
    #[error("the API can't be served: {0}")]
    Grpc(#[from] ServeError),
    /// Streams can't be recorded.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// Metrics can't be collected.
    #[error(transparent)]
    Metrics(#[from] MetricsError),
    /// The HTTP side port can't be served.
    #[error("metrics and health can't be served: {0}")]
    Http(#[source] std::io::Error),
}

/// Runs a scheduler until shutdown. The addresses of the configuration are not looked at: the listeners are given.
///
/// # Errors
/// When a port can't be served.
pub async fn run(
    config: Config,
    listener: impl Listener,
    http_listener: Option<TcpListener>,
    shutdown: Shutdown,
) -> Result<(), Error> {
    tracing::debug!(?config, "scheduler starts");
    // Recorded metrics pile up unless the side port is there to take care of them.
    if http_listener.is_some() {
        http::install_metrics()?;
        metrics::describe();
    }
    // Set off alone when one of the two ports breaks; the caller's other services go on.
    let shutdown = shutdown.child();
    let started = config.record.as_ref().map(|path| Recorder::start(path, config.record_max_bytes));
    let (recorder, recording) = started.transpose()?.unzip();
    let readiness = Readiness::new();
    let server = grpc::server(SchedulerApi::new(recorder, shutdown.clone()), readiness.clone());
    readiness.set_ready();
    let api = async {
        let served = server.serve(listener, shutdown.clone()).await;
        shutdown.trigger();
        served
    };
    let side_port = async {
        let Some(listener) = http_listener else { return Ok(()) };
        let served = http::serve(listener, readiness.clone(), shutdown.clone()).await;
        shutdown.trigger();
        served
    };
    let (api_served, side_port_served) = tokio::join!(api, side_port);
    if let Some(recording) = recording {
        recording.end().await;
    }
    api_served?;
    side_port_served.map_err(Error::Http)
}
