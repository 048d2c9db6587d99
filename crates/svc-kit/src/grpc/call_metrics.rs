//! Counts and times the calls of a server. Streams count when they end.

use std::collections::HashSet;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{HeaderMap, Request, Response};
use http_body::{Body as HttpBody, Frame, SizeHint};
use prost::Message;
use prost_types::FileDescriptorSet;
use tokio::time::Instant;
use tonic::body::Body;
use tonic::{Code, Status};
use tower::{Layer, Service};

use super::outgrown::Outgrown;
use super::status::ErrorKind;

const REQUESTS: &str = "davit_grpc_requests_total";
const SECONDS: &str = "davit_grpc_request_seconds";

/// Measures the calls of the methods that descriptors name. All others share one name, since callers can make up any.
#[derive(Debug, Clone)]
pub(super) struct CallMetricsLayer {
    methods: Arc<HashSet<String>>,
}

impl CallMetricsLayer {
    pub(super) fn new<'a>(descriptor_sets: impl IntoIterator<Item = &'a [u8]>) -> Self {
        metrics::describe_counter!(REQUESTS, "gRPC calls that ended, by method and code");
        metrics::describe_histogram!(SECONDS, metrics::Unit::Seconds, "From a gRPC call's begin to its end, by method");
        let mut methods = HashSet::new();
        // Sets that can't be read are refused by reflection.
        for set in descriptor_sets.into_iter().filter_map(|set| FileDescriptorSet::decode(set).ok()) {
            for file in set.file {
                for service in &file.service {
                    let path = |method| format!("/{}.{}/{method}", file.package(), service.name());
                    methods.extend(service.method.iter().map(|method| path(method.name())));
                }
            }
        }
        Self { methods: Arc::new(methods) }
    }
}

impl<S> Layer<S> for CallMetricsLayer {
    type Service = CallMetrics<S>;

    fn layer(&self, inner: S) -> Self::Service {
        CallMetrics { inner, methods: Arc::clone(&self.methods) }
    }
}

#[derive(Debug, Clone)]
pub(super) struct CallMetrics<S> {
    inner: S,
    methods: Arc<HashSet<String>>,
}

impl<S> Service<Request<Body>> for CallMetrics<S>
where
    S: Service<Request<Body>, Response = Response<Body>>,
    S::Future: Send + 'static,
    S::Error: 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let known = self.methods.get(request.uri().path());
        let method = known.map_or("unknown", |path| path.trim_start_matches('/')).to_owned();
        let mut call = Call { method, begun: Instant::now(), code: Code::Cancelled };
        let answer = self.inner.call(request);
        Box::pin(async move {
            let response = answer.await?;
            call.learn(response.headers());
            Ok(response.map(|body| {
                if body.is_end_stream() {
                    body
                } else {
                    Body::new(Measured { inner: body, call, written: Outgrown::default() })
                }
            }))
        })
    }
}

/// A call that has begun. It has ended when this is dropped: as cancelled, unless a status was seen.
struct Call {
    method: String,
    begun: Instant,
    code: Code,
}

impl Call {
    fn learn(&mut self, headers: &HeaderMap) {
        if let Some(status) = Status::from_header_map(headers) {
            self.code = status.code();
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        let code = if self.code == Code::Ok { "OK" } else { ErrorKind::from_code(self.code).default_reason() };
        let method = std::mem::take(&mut self.method);
        metrics::histogram!(SECONDS, "method" => method.clone()).record(self.begun.elapsed());
        metrics::counter!(REQUESTS, "method" => method, "code" => code).increment(1);
    }
}

/// A response body that tells how it ended.
struct Measured {
    inner: Body,
    call: Call,
    /// What encodes messages.
    written: Outgrown,
}

impl HttpBody for Measured {
    type Data = tonic::codegen::Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let polled = Pin::new(&mut self.inner).poll_frame(cx);
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(trailers) = frame.trailers_ref() {
                    self.call.learn(trailers);
                } else if let Some(piece) = frame.data_ref() {
                    self.written.note(piece);
                }
            }
            Poll::Ready(Some(Err(status))) => self.call.code = status.code(),
            Poll::Ready(None) | Poll::Pending => {}
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

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt as _, Full};
    use tonic::codegen::Bytes;

    use super::*;
    use crate::grpc::outgrown::LARGE_BYTES;

    #[tokio::test]
    async fn a_large_answer_is_held_so_that_what_wrote_it_leaves_its_buffer() {
        let large = Bytes::from(vec![7; LARGE_BYTES]);
        let call = Call { method: "a".to_owned(), begun: Instant::now(), code: Code::Ok };
        let inner = Body::new(Full::new(large.clone()));
        let mut body = Box::pin(Measured { inner, call, written: Outgrown::default() });
        drop(body.frame().await.unwrap().unwrap());
        assert!(!large.is_unique());
        drop(body);
        assert!(large.is_unique());
    }
}
