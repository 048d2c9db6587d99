//! A GET request, of whose answer only the status counts.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::pin::pin;

use http::header::{CONNECTION, HOST, USER_AGENT};
use http::{HeaderName, HeaderValue, Request};
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use prost::bytes::Bytes;

/// An answer with a longer head is none.
const MAX_HEAD_BYTES: usize = 64 * 1024;

pub(super) async fn get(at: SocketAddr, path: &str, headers: &BTreeMap<String, String>) -> Result<(), String> {
    let request = request(at, path, headers).map_err(|error| format!("can't be asked: {error}"))?;
    let no_answer = |error: hyper::Error| format!("no HTTP answer from {at}: {error}");
    let stream = super::connect(at).await?;
    let handshake = http1::Builder::new().max_buf_size(MAX_HEAD_BYTES).handshake(TokioIo::new(stream));
    let (mut sender, connection) = handshake.await.map_err(no_answer)?;
    let mut asked = pin!(sender.send_request(request));
    let answer = tokio::select! {
        biased;
        answer = &mut asked => answer,
        // The answer may have come with the connection's end.
        _ = connection => asked.await,
    };
    let status = answer.map_err(no_answer)?.status();
    if (200..=399).contains(&status.as_u16()) { Ok(()) } else { Err(format!("answered {}", status.as_u16())) }
}

fn request(
    at: SocketAddr,
    path: &str,
    headers: &BTreeMap<String, String>,
) -> Result<Request<Empty<Bytes>>, http::Error> {
    let mut request = Request::get(path)
        .header(HOST, at.to_string())
        .header(USER_AGENT, concat!("davit-worker/", env!("CARGO_PKG_VERSION")))
        .header(CONNECTION, "close")
        .body(Empty::new())?;
    for (name, value) in headers {
        request.headers_mut().insert(HeaderName::try_from(name)?, HeaderValue::try_from(value)?);
    }
    Ok(request)
}
