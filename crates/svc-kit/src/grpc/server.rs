//! The gRPC server around a service's handlers: reflection, health, keepalive, limits, errors with details, and a stop
//! that ends.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::response::IntoResponse;
use http::Request;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic::server::NamedService;
use tonic::service::{Routes, RoutesBuilder};
use tonic::transport::Server;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;
use tower::Service;

use super::admission::{AdmissionLayer, Limits};
use super::call_metrics::CallMetricsLayer;
use super::cut_off::CutOffStream;
use super::error_layer::ErrorInfoLayer;
use crate::net::Listener;
use crate::readiness::{Readiness, ReadyState};
use crate::shutdown::{DRAIN_DEADLINE, Shutdown};

/// The largest request that the user API takes. Services set it with `max_decoding_message_size`.
pub const MAX_REQUEST_BYTES: usize = 4 << 20;

const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(20);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// Calls of one connection that are worked on at once; the others wait.
const CONCURRENT_CALLS: usize = 256;
/// Streams that one connection may have open.
const CONCURRENT_STREAMS: u32 = 1024;
const MAX_HEADER_LIST_BYTES: u32 = 64 << 10;
/// Requests of up to 4 MiB would crawl through the default window of 64 KiB.
const STREAM_WINDOW_BYTES: u32 = 1 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 4 << 20;
/// Pause after an accept that failed, as when no file descriptors are left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

const REFUSED_CONNECTIONS: &str = "davit_grpc_refused_connections_total";
/// What every server has.
const OWN_DESCRIPTOR_SETS: [&[u8]; 4] = [
    tonic_types::pb::FILE_DESCRIPTOR_SET,
    tonic_health::pb::FILE_DESCRIPTOR_SET,
    tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
    tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET,
];

/// A server could not be put together, or broke.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// A descriptor set is unreadable or incomplete.
    #[error("the descriptors can't be reflected")]
    Reflection {
        /// What is wrong with them.
        #[from]
        source: tonic_reflection::server::Error,
    },
    /// Serving failed.
    #[error("the gRPC server broke")]
    Transport {
        /// Why.
        #[from]
        source: tonic::transport::Error,
    },
}

/// A gRPC server that is being put together.
#[derive(Debug)]
pub struct GrpcServer {
    routes: RoutesBuilder,
    service_names: Vec<&'static str>,
    descriptor_sets: Vec<&'static [u8]>,
    readiness: Option<Readiness>,
    drain_deadline: Duration,
    limits: Limits,
    /// Services with a number of calls of their own.
    reserved: Vec<(&'static str, usize)>,
}

impl GrpcServer {
    /// A server with health and reflection alone.
    #[must_use]
    pub fn builder() -> Self {
        Self {
            routes: Routes::builder(),
            service_names: Vec::new(),
            descriptor_sets: Vec::new(),
            readiness: None,
            drain_deadline: DRAIN_DEADLINE,
            limits: Limits::default(),
            reserved: Vec::new(),
        }
    }

    /// Reflects what an encoded `FileDescriptorSet` describes.
    #[must_use]
    pub fn descriptor_set(mut self, encoded: &'static [u8]) -> Self {
        self.descriptor_sets.push(encoded);
        self
    }

    /// What health tells. Without it the server says SERVING until it stops.
    #[must_use]
    pub fn readiness(mut self, readiness: Readiness) -> Self {
        self.readiness = Some(readiness);
        self
    }

    /// Serves a generated service, and tells its health by its name.
    #[must_use]
    pub fn service<S>(mut self, service: S) -> Self
    where
        S: Service<Request<Body>, Error = Infallible> + NamedService + Clone + Send + Sync + 'static,
        S::Response: IntoResponse,
        S::Future: Send + 'static,
    {
        self.routes.add_service(service);
        self.service_names.push(S::NAME);
        self
    }

    /// How long a stop waits for open calls; [`DRAIN_DEADLINE`] when not set.
    #[must_use]
    pub fn drain_deadline(mut self, deadline: Duration) -> Self {
        self.drain_deadline = deadline;
        self
    }

    /// How much it takes on at once; [`Limits::default`] when not set.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Gives a service, or one method of it (`service/Method`), a number of calls of its own: no other call takes away from it, and it
    /// gets no more. Streams count.
    #[must_use]
    pub fn reserve(mut self, service_or_method: &'static str, calls: usize) -> Self {
        self.reserved.push((service_or_method, calls));
        self
    }

    /// Its services, to be called without a network.
    #[cfg(any(test, feature = "fuzzing"))]
    #[must_use]
    pub fn in_process(self) -> crate::fuzzing::InProcess {
        crate::fuzzing::InProcess::new(tower::Layer::layer(&ErrorInfoLayer, self.routes.routes().prepare()))
    }

    /// Serves until the shutdown. Then it says NOT_SERVING, takes no new connections, waits for open calls, and cuts
    /// what is still open after the drain deadline. Services with endless streams should end them by themselves.
    ///
    /// # Errors
    /// When the descriptors can't be reflected, or serving breaks.
    pub async fn serve(mut self, listener: impl Listener, shutdown: Shutdown) -> Result<(), ServeError> {
        let readiness = self.readiness.take().unwrap_or_else(|| {
            let readiness = Readiness::new();
            readiness.set_ready();
            readiness
        });
        self.add_reflection()?;
        let (health, health_service) = tonic_health::server::health_reporter();
        self.routes.add_service(health_service);
        let names: Vec<&'static str> = [""].into_iter().chain(self.service_names).collect();
        tell(&health, &names, &readiness.get()).await;

        metrics::describe_counter!(REFUSED_CONNECTIONS, "Connections that were closed because there were too many");
        let described = || OWN_DESCRIPTOR_SETS.into_iter().chain(self.descriptor_sets.iter().copied());
        let measured = CallMetricsLayer::new(described());
        let admission = AdmissionLayer::new(self.limits, &self.reserved, described());
        let cut = CancellationToken::new();
        // Also cuts when this future is dropped, so that no connection outlives its server.
        let _cut_on_drop = cut.clone().drop_guard();
        let server = Server::builder()
            .trace_fn(|request| tracing::info_span!("grpc", method = request.uri().path()))
            .tcp_nodelay(true)
            .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
            .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
            .concurrency_limit_per_connection(CONCURRENT_CALLS)
            .max_concurrent_streams(CONCURRENT_STREAMS)
            .http2_max_header_list_size(MAX_HEADER_LIST_BYTES)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            // Outside of the other, so that it counts the codes that callers get.
            .layer(measured)
            .layer(ErrorInfoLayer)
            .layer(admission)
            .add_routes(self.routes.routes().prepare())
            .serve_with_incoming_shutdown(accept(listener, cut, self.limits.connections), shutdown.triggered());
        let follow = follow_readiness(health, &names, readiness, &shutdown);
        let work = Box::pin(async {
            let follow = async {
                follow.await;
                Ok(())
            };
            tokio::try_join!(server, follow)
        });
        match shutdown.drain(self.drain_deadline, work).await {
            Ok(served) => Ok(served.map(drop)?),
            Err(late) => {
                tracing::info!(error = %late, "open calls were cut");
                Ok(())
            }
        }
    }

    fn add_reflection(&mut self) -> Result<(), ServeError> {
        let configure = || {
            let builder = OWN_DESCRIPTOR_SETS.iter().chain(&self.descriptor_sets).fold(
                tonic_reflection::server::Builder::configure().include_reflection_service(false),
                |builder, set| builder.register_encoded_file_descriptor_set(set),
            );
            // Only what is served here is listed, not every service of the descriptor sets.
            let always = [
                "grpc.health.v1.Health",
                "grpc.reflection.v1.ServerReflection",
                "grpc.reflection.v1alpha.ServerReflection",
            ];
            always.iter().chain(&self.service_names).fold(builder, |builder, name| builder.with_service_name(*name))
        };
        let (v1, v1alpha) = (configure().build_v1()?, configure().build_v1alpha()?);
        self.routes.add_service(v1).add_service(v1alpha);
        Ok(())
    }
}

/// Connections as they come, so many at once. It never ends on an error: running out of file descriptors is passing.
fn accept(
    listener: impl Listener,
    cut: CancellationToken,
    at_once: usize,
) -> impl futures::Stream<Item = Result<CutOffStream, io::Error>> {
    let places = Arc::new(Semaphore::new(at_once));
    futures::stream::unfold((listener, cut, places), |(mut listener, cut, places)| async move {
        loop {
            match listener.accept().await {
                Ok((stream, peer)) => {
                    let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
                        metrics::counter!(REFUSED_CONNECTIONS).increment(1);
                        tracing::debug!(%peer, "too many connections; this one is closed");
                        continue;
                    };
                    let stream = CutOffStream::new(stream, peer, cut.clone(), place);
                    return Some((Ok(stream), (listener, cut, places)));
                }
                Err(error) => {
                    tracing::warn!(%error, "can't accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    })
}

/// Keeps gRPC health in step with readiness until the shutdown; then ends the watches, which would hold up the stop.
async fn follow_readiness(mut health: HealthReporter, names: &[&str], readiness: Readiness, shutdown: &Shutdown) {
    let mut changes = readiness.watch();
    let follow = async {
        loop {
            let state = changes.borrow_and_update().clone();
            tell(&health, names, &state).await;
            if changes.changed().await.is_err() {
                return;
            }
        }
    };
    shutdown.or_stop(follow).await;
    shutdown.triggered().await;
    readiness.set_not_ready("stopping");
    tell(&health, names, &readiness.get()).await;
    for name in names {
        health.clear_service_status(name).await;
    }
}

async fn tell(health: &HealthReporter, names: &[&str], state: &ReadyState) {
    let status = match state {
        ReadyState::Ready => ServingStatus::Serving,
        ReadyState::NotReady { .. } => ServingStatus::NotServing,
    };
    for name in names {
        health.set_service_status(name, status).await;
    }
}
