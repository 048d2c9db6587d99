//! How much a server takes on at once: calls, streams, and bytes of requests. What goes beyond is refused at once, with a time
//! to come back, so that many callers cost no more memory than a few.

mod room;

use std::collections::{HashMap, HashSet};
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Request, Response};
use http_body::{Body as HttpBody, Frame, SizeHint};
use prost::Message;
use prost_types::FileDescriptorSet;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::Status;
use tonic::body::Body;
use tower::{Layer, Service};

use self::room::{Room, Taken};
use super::status::{ApiError, ErrorKind};

/// When a caller may come back that found too many calls, or too many bytes of requests.
const CALL_RETRY: Duration = Duration::from_secs(1);
/// The same for streams, which last longer.
const STREAM_RETRY: Duration = Duration::from_secs(5);
/// Watches of health, and health checks that are under way: never refused for the sake of other calls.
const HEALTH: (&str, usize) = ("grpc.health.v1.Health", 1024);

/// What a server takes on at once, over all connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Calls with one request and one answer.
    pub calls: usize,
    /// Calls with a stream in either direction.
    pub streams: usize,
    /// Bytes of requests that were read and are not answered yet, without streams: these are read message by message.
    pub request_bytes: u64,
    /// Connections; further ones are closed at once.
    pub connections: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { calls: 4096, streams: 4096, request_bytes: 256 << 20, connections: 16_384 }
    }
}

/// Refuses what is beyond the limits of a server.
#[derive(Debug, Clone)]
pub(super) struct AdmissionLayer {
    limits: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    calls: Arc<Semaphore>,
    streams: Arc<Semaphore>,
    bytes: Arc<Room>,
    /// Services, and methods as `service/Method`, with a number of calls of their own.
    reserved: HashMap<&'static str, Arc<Semaphore>>,
    /// Paths of methods with a stream in either direction.
    streaming: HashSet<String>,
}

impl AdmissionLayer {
    /// With the descriptors of all that is served, and services and methods that have a number of calls to themselves.
    pub(super) fn new<'a>(
        limits: Limits,
        reserved: &[(&'static str, usize)],
        descriptor_sets: impl IntoIterator<Item = &'a [u8]>,
    ) -> Self {
        let pool = |(service, calls): &(&'static str, usize)| (*service, Arc::new(Semaphore::new(*calls)));
        Self {
            limits: Arc::new(Shared {
                calls: Arc::new(Semaphore::new(limits.calls)),
                streams: Arc::new(Semaphore::new(limits.streams)),
                bytes: Arc::new(Room::new(limits.request_bytes)),
                reserved: [HEALTH].iter().chain(reserved).map(pool).collect(),
                streaming: streaming_methods(descriptor_sets),
            }),
        }
    }
}

fn streaming_methods<'a>(descriptor_sets: impl IntoIterator<Item = &'a [u8]>) -> HashSet<String> {
    let mut methods = HashSet::new();
    // Sets that can't be read are refused by reflection.
    for file in
        descriptor_sets.into_iter().filter_map(|set| FileDescriptorSet::decode(set).ok()).flat_map(|set| set.file)
    {
        for service in &file.service {
            let streaming =
                service.method.iter().filter(|method| method.client_streaming() || method.server_streaming());
            methods.extend(streaming.map(|method| format!("/{}.{}/{}", file.package(), service.name(), method.name())));
        }
    }
    methods
}

impl Shared {
    /// A place for a call of this path. `Err`: there is none.
    fn admit(&self, path: &str) -> Result<OwnedSemaphorePermit, ApiError> {
        let method = path.trim_start_matches('/');
        let service = method.split('/').next().unwrap_or_default();
        let is_stream = self.streaming.contains(path);
        let pool = match self.reserved.get(method).or_else(|| self.reserved.get(service)) {
            Some(own) => own,
            None if is_stream => &self.streams,
            None => &self.calls,
        };
        Arc::clone(pool).try_acquire_owned().map_err(|_| if is_stream { too_many_streams() } else { too_many_calls() })
    }
}

fn too_many_calls() -> ApiError {
    let message = "too many calls are being worked on; this one was not begun";
    ApiError::new(ErrorKind::ResourceExhausted, "TOO_MANY_CALLS", message).with_retry_after(CALL_RETRY)
}

fn too_many_streams() -> ApiError {
    let message = "too many streams are open; this one was not begun";
    ApiError::new(ErrorKind::ResourceExhausted, "TOO_MANY_STREAMS", message).with_retry_after(STREAM_RETRY)
}

fn too_many_bytes() -> ApiError {
    let message = "the requests that are being worked on are too large together; this one was not begun";
    ApiError::new(ErrorKind::ResourceExhausted, "TOO_MANY_REQUEST_BYTES", message).with_retry_after(CALL_RETRY)
}

impl<S> Layer<S> for AdmissionLayer {
    type Service = Admission<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Admission { inner, limits: Arc::clone(&self.limits) }
    }
}

#[derive(Debug, Clone)]
pub(super) struct Admission<S> {
    inner: S,
    limits: Arc<Shared>,
}

impl<S> Service<Request<Body>> for Admission<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let path = request.uri().path();
        let place = match self.limits.admit(path) {
            Ok(place) => place,
            Err(refusal) => return Box::pin(std::future::ready(Ok(Status::from(refusal).into_http()))),
        };
        let taken = Arc::new(Taken::nothing_of(&self.limits.bytes));
        let counted = !self.limits.streaming.contains(path);
        let request = if counted { request.map(|body| CountedBody::wrap(body, &taken)) } else { request };
        let answer = self.inner.call(request);
        Box::pin(async move {
            let response = answer.await?;
            Ok(response.map(|body| {
                if body.is_end_stream() { body } else { Body::new(Held { inner: body, _place: place, _taken: taken }) }
            }))
        })
    }
}

/// A request's body that takes room for what is read of it.
struct CountedBody {
    inner: Body,
    taken: Arc<Taken>,
}

impl CountedBody {
    fn wrap(body: Body, taken: &Arc<Taken>) -> Body {
        if body.is_end_stream() { body } else { Body::new(Self { inner: body, taken: Arc::clone(taken) }) }
    }
}

impl HttpBody for CountedBody {
    type Data = tonic::codegen::Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let polled = Pin::new(&mut self.inner).poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &polled
            && let Some(data) = frame.data_ref()
            && !self.taken.take(data.len() as u64)
        {
            return Poll::Ready(Some(Err(too_many_bytes().into())));
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// A response's body that holds its call's place until its reader has all of it, or is gone.
struct Held {
    inner: Body,
    _place: OwnedSemaphorePermit,
    _taken: Arc<Taken>,
}

impl HttpBody for Held {
    type Data = tonic::codegen::Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        Pin::new(&mut self.inner).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(limits: Limits) -> AdmissionLayer {
        let sets = [tonic_health::pb::FILE_DESCRIPTOR_SET, tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET];
        AdmissionLayer::new(limits, &[("own.Service", 1), ("some.Service/Large", 1)], sets)
    }

    fn reason(refused: Result<OwnedSemaphorePermit, ApiError>) -> &'static str {
        refused.unwrap_err().reason
    }

    #[test]
    fn calls_and_streams_have_limits_of_their_own_and_give_their_places_back() {
        let stream = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";
        let shared = layer(Limits { calls: 1, streams: 1, ..Limits::default() }).limits;
        let call = shared.admit("/a.Service/Call").unwrap();
        assert_eq!(reason(shared.admit("/b.Service/Call")), "TOO_MANY_CALLS");
        let _stream = shared.admit(stream).unwrap();
        assert_eq!(reason(shared.admit(stream)), "TOO_MANY_STREAMS");
        drop(call);
        assert!(shared.admit("/b.Service/Call").is_ok());
    }

    #[test]
    fn a_service_with_places_of_its_own_and_health_are_not_held_up_by_others() {
        let shared = layer(Limits { calls: 0, streams: 0, ..Limits::default() }).limits;
        assert_eq!(reason(shared.admit("/a.Service/Call")), "TOO_MANY_CALLS");
        assert!(shared.admit("/grpc.health.v1.Health/Check").is_ok());
        let _only = shared.admit("/own.Service/Session").unwrap();
        assert!(shared.admit("/own.Service/Session").is_err());
    }

    #[test]
    fn a_method_with_places_of_its_own_gets_no_more_of_its_services() {
        let shared = layer(Limits { calls: 1, ..Limits::default() }).limits;
        let _large = shared.admit("/some.Service/Large").unwrap();
        assert_eq!(reason(shared.admit("/some.Service/Large")), "TOO_MANY_CALLS");
        assert!(shared.admit("/some.Service/Small").is_ok());
    }

    #[test]
    fn every_refusal_says_when_to_come_back() {
        for refusal in [too_many_calls(), too_many_streams(), too_many_bytes()] {
            assert!(refusal.kind == ErrorKind::ResourceExhausted && refusal.retry_after.is_some(), "{refusal}");
        }
    }
}
