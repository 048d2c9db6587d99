//! The HTTP side port: `/metrics` for Prometheus, `/healthz` (the process is alive), `/readyz` (it can do its work).

use std::io;
use std::sync::OnceLock;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::{StatusCode, header};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tokio::net::TcpListener;

use crate::readiness::{Readiness, ReadyState};
pub use crate::ready_probe::{NotReady, check_ready};
use crate::shutdown::{DRAIN_DEADLINE, Shutdown};

/// Buckets of every histogram whose name ends in `_seconds`.
const SECONDS_BUCKETS: [f64; 14] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0];

const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);

/// Metrics can't be collected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("can't install the metrics recorder: {problem}")]
pub struct MetricsError {
    /// Why.
    pub problem: String,
}

/// Installs the process's one metrics recorder, or finds it installed. Call it before the first metric is described.
///
/// # Errors
/// When some other recorder is in its place.
pub fn install_metrics() -> Result<PrometheusHandle, MetricsError> {
    static HANDLE: OnceLock<Result<PrometheusHandle, MetricsError>> = OnceLock::new();
    HANDLE
        .get_or_init(|| {
            PrometheusBuilder::new()
                .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS_BUCKETS)
                .and_then(PrometheusBuilder::install_recorder)
                .map_err(|error| MetricsError { problem: error.to_string() })
        })
        .clone()
}

#[derive(Clone)]
struct Side {
    metrics: PrometheusHandle,
    readiness: Readiness,
}

/// The side port's routes. Services add their own to it.
pub fn router(metrics: PrometheusHandle, readiness: Readiness) -> Router {
    Router::new()
        .route("/metrics", get(render_metrics))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(tell_readiness))
        .with_state(Side { metrics, readiness })
}

/// Serves the side port's routes until the shutdown.
///
/// # Errors
/// When metrics can't be installed or the listener breaks.
pub async fn serve(listener: TcpListener, readiness: Readiness, shutdown: Shutdown) -> io::Result<()> {
    let metrics = install_metrics().map_err(io::Error::other)?;
    serve_router(listener, router(metrics, readiness), shutdown).await
}

/// Serves routes until the shutdown; gives up on open connections after a while.
///
/// # Errors
/// When metrics can't be installed or the listener breaks.
pub async fn serve_router(listener: TcpListener, router: Router, shutdown: Shutdown) -> io::Result<()> {
    let metrics = install_metrics().map_err(io::Error::other)?;
    let stop = shutdown.token().clone().cancelled_owned();
    let server = async { axum::serve(listener, router).with_graceful_shutdown(stop).await };
    // Without upkeep, histograms keep every sample until somebody scrapes.
    let upkeep = async {
        let mut ticks = tokio::time::interval(UPKEEP_INTERVAL);
        loop {
            ticks.tick().await;
            metrics.run_upkeep();
        }
    };
    tokio::select! {
        served = shutdown.drain(DRAIN_DEADLINE, server) => served.unwrap_or_else(|late| {
            tracing::info!(error = %late, "open connections of the side port were dropped");
            Ok(())
        }),
        () = upkeep => Ok(()),
    }
}

async fn render_metrics(State(side): State<Side>) -> Response {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], side.metrics.render()).into_response()
}

async fn tell_readiness(State(side): State<Side>) -> Response {
    match side.readiness.get() {
        ReadyState::Ready => "ready\n".into_response(),
        ReadyState::NotReady { reason } => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")).into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;
    use tower::ServiceExt;

    async fn ask(readiness: &Readiness, path: &str) -> (StatusCode, String) {
        let router = router(install_metrics().unwrap(), readiness.clone());
        let request = http::Request::get(path).body(axum::body::Body::empty()).unwrap();
        let response = router.oneshot(request).await.unwrap();
        let status = response.status();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn readyz_tells_why_not_while_healthz_is_fine() {
        let readiness = Readiness::new();
        readiness.set_not_ready("the store can't be written");
        let (status, body) = ask(&readiness, "/readyz").await;
        assert_eq!((status.as_u16(), body.as_str()), (503, "the store can't be written\n"));
        assert_eq!(ask(&readiness, "/healthz").await.0, StatusCode::OK);
        readiness.set_ready();
        assert_eq!(ask(&readiness, "/readyz").await.0, StatusCode::OK);
    }

    #[tokio::test]
    async fn metrics_of_all_services_in_the_process_are_shown() {
        install_metrics().unwrap();
        metrics::counter!("davit_test_total").increment(3);
        let (_, text) = ask(&Readiness::new(), "/metrics").await;
        assert!(text.contains("davit_test_total 3"), "{text}");
    }

    #[tokio::test]
    async fn the_server_stops() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let shutdown = Shutdown::new();
        let server = tokio::spawn(serve(listener, Readiness::new(), shutdown.clone()));
        shutdown.trigger();
        server.await.unwrap().unwrap();
    }
}
