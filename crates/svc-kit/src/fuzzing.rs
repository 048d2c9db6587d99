//! Calls of a server's services without a network, for fuzz targets: from the bytes of a request's body to the status and the
//! messages that a client would see.

use std::time::Duration;

use http_body_util::{BodyExt as _, Full};
use prost::bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use tonic::body::Body;
use tonic::service::Routes;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;
use tower::Service as _;

use crate::grpc::ErrorInfoService;

/// A stream that says nothing for so long is taken to wait for something to happen. Runtimes of fuzz targets stop the clock, so
/// this is as long as it takes until nothing more can be done.
const QUIET: Duration = Duration::from_millis(1);
/// What precedes each message of a body: whether it is compressed, and its length.
const FRAME_HEAD_BYTES: usize = 5;

/// A server's services.
#[derive(Debug, Clone)]
pub struct InProcess {
    services: ErrorInfoService<Routes>,
}

/// How a call ended.
#[derive(Debug)]
pub struct Answer {
    /// `None`: it did not end, but waits for something to happen.
    pub status: Option<Status>,
    /// Its messages until then, encoded.
    pub messages: Vec<Bytes>,
}

impl InProcess {
    pub(crate) fn new(services: ErrorInfoService<Routes>) -> Self {
        Self { services }
    }

    /// Calls `/package.Service/Method` with this body, as it comes over HTTP/2.
    pub async fn call(&self, path: &str, body: Bytes) -> Answer {
        let mut request = http::Request::new(Body::new(Full::new(body)));
        *request.method_mut() = http::Method::POST;
        if let Ok(uri) = path.parse() {
            *request.uri_mut() = uri;
        }
        request.headers_mut().insert("content-type", http::HeaderValue::from_static("application/grpc"));
        let mut services = self.services.clone();
        let Ok(Ok(response)) = tokio::time::timeout(QUIET, services.call(request)).await else {
            return Answer { status: None, messages: Vec::new() };
        };
        let (head, mut body) = response.into_parts();
        if let Some(status) = Status::from_header_map(&head.headers) {
            return Answer { status: Some(status), messages: Vec::new() };
        }
        let mut received = BytesMut::new();
        let status = loop {
            match tokio::time::timeout(QUIET, body.frame()).await {
                Err(_) | Ok(None) => break None,
                Ok(Some(Err(status))) => break Some(status),
                Ok(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => received.extend_from_slice(&data),
                    Err(frame) => break frame.trailers_ref().and_then(Status::from_header_map),
                },
            }
        };
        Answer { status, messages: messages_of(received.freeze()) }
    }
}

impl Answer {
    /// Whether the call was accepted.
    #[must_use]
    pub fn is_ok(&self) -> bool {
        self.status.as_ref().is_none_or(|status| status.code() == Code::Ok)
    }

    /// Checks that an error is one that a client can do something about: it has a reason, blames a field where the request is
    /// wrong, and does not tell of a mishap in the server.
    ///
    /// # Panics
    /// When it is not.
    pub fn assert_useful(&self) {
        let Some(status) = self.status.as_ref().filter(|status| status.code() != Code::Ok) else { return };
        let details = status.get_error_details();
        let reason = details.error_info().map_or("", |info| info.reason.as_str());
        assert!(!reason.is_empty(), "an error without a reason: {status:?}");
        let is_mishap =
            matches!(status.code(), Code::Unknown | Code::Internal | Code::DataLoss | Code::DeadlineExceeded);
        assert!(!is_mishap || reason == "PROTOCOL_ERROR", "{status:?}");
        if status.code() == Code::InvalidArgument && !["MALFORMED_MESSAGE", "MISSING_MESSAGE"].contains(&reason) {
            let fields = details.bad_request().map_or(&[][..], |bad| bad.field_violations.as_slice());
            // Of very many the last one says only how many more there are.
            let blamed = fields.iter().take_while(|one| !one.field.is_empty()).count();
            assert!(blamed > 0 && blamed + 1 >= fields.len(), "blames no field: {status:?}");
        }
    }
}

/// A message as it is in a body.
#[must_use]
pub fn frame(message: &[u8]) -> Bytes {
    let mut body = BytesMut::with_capacity(FRAME_HEAD_BYTES + message.len());
    body.put_u8(0);
    body.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    body.put_slice(message);
    body.freeze()
}

/// The messages of a body, without compression. What is cut off at its end is none.
#[must_use]
pub fn messages_of(mut body: Bytes) -> Vec<Bytes> {
    let mut messages = Vec::new();
    while body.len() >= FRAME_HEAD_BYTES {
        let mut head = body.split_to(FRAME_HEAD_BYTES);
        head.advance(1);
        let length = usize::try_from(head.get_u32()).unwrap_or(usize::MAX);
        if body.len() < length {
            break;
        }
        messages.push(body.split_to(length));
    }
    messages
}
