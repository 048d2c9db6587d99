//! Reads the output of a container that has a terminal. The engine sends it as it is, without the frames that other output is in,
//! and bollard would gather a line that never ends without bound.

use std::path::Path;

use bollard::ClientVersion;
use futures::future::{BoxFuture, Fuse};
use futures::{FutureExt, Stream, stream};
use http::header::{CONNECTION, HOST};
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use prost::bytes::Bytes;
use tokio::net::UnixStream;

use super::logs::TerminalOutput;
use crate::runtime::{Error, LogLine};

/// So much is taken from the engine before somebody wants it.
const MAX_READ_AHEAD_BYTES: usize = 64 * 1024;

/// An answer that is being read.
struct Reading {
    body: Incoming,
    /// Moves what the body is made of; done when the engine has closed it.
    connection: Fuse<BoxFuture<'static, hyper::Result<()>>>,
    output: TerminalOutput,
    has_ended: bool,
}

/// The lines that a query of the engine's `/containers/ID/logs` gives. Waits for the beginning of the answer alone.
pub(super) async fn lines(
    socket: &Path,
    version: &ClientVersion,
    id: &str,
    query: &str,
) -> Result<impl Stream<Item = Result<LogLine, Error>> + Send + 'static, Error> {
    let ClientVersion { major_version, minor_version } = version;
    let path = format!("/v{major_version}.{minor_version}/containers/{id}/logs?{query}");
    let request = Request::get(path).header(HOST, "docker").header(CONNECTION, "close").body(Empty::<Bytes>::new());
    let request = request.map_err(unread)?;
    let stream = UnixStream::connect(socket).await.map_err(unread)?;
    let handshake = http1::Builder::new().max_buf_size(MAX_READ_AHEAD_BYTES).handshake(TokioIo::new(stream));
    let (mut sender, connection) = handshake.await.map_err(unread)?;
    let mut connection = connection.boxed().fuse();
    let answer = {
        let mut asked = std::pin::pin!(sender.send_request(request));
        tokio::select! {
            biased;
            answer = &mut asked => answer,
            // The answer may have come with the connection's end.
            _ = &mut connection => asked.await,
        }
    };
    let (head, body) = answer.map_err(unread)?.into_parts();
    if head.status != StatusCode::OK {
        return Err(unread(format_args!("the engine answered {}", head.status)));
    }
    let reading = Reading { body, connection, output: TerminalOutput::default(), has_ended: false };
    Ok(stream::try_unfold(reading, Reading::line))
}

impl Reading {
    async fn line(mut self) -> Result<Option<(LogLine, Self)>, Error> {
        loop {
            if let Some(line) = self.output.next(self.has_ended) {
                return Ok(Some((line, self)));
            }
            if self.has_ended {
                return Ok(None);
            }
            let frame = tokio::select! {
                biased;
                frame = self.body.frame() => frame,
                // What came before its end is still to be read.
                _ = &mut self.connection => continue,
            };
            match frame {
                Some(Ok(frame)) => frame.data_ref().into_iter().for_each(|bytes| self.output.add(bytes)),
                Some(Err(error)) => return Err(unread(error)),
                None => self.has_ended = true,
            }
        }
    }
}

fn unread(error: impl std::fmt::Display) -> Error {
    Error::Unavailable { action: "logs", reason: error.to_string() }
}
