//! The network as services see it: connections that come in and connections that are dialled. In production both are TCP;
//! the simulator puts a network of its own in their place.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use async_trait::async_trait;
use http::Uri;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tonic::transport::{Channel, Endpoint, Error};

/// A connection's bytes, in both directions.
pub trait ByteStream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> ByteStream for T {}

/// A connection of any kind.
pub type BoxedStream = Box<dyn ByteStream>;

/// Where connections come in.
#[async_trait]
pub trait Listener: Send + 'static {
    /// The next connection, and who dialled it.
    ///
    /// # Errors
    /// When none can be taken now; a later call may work.
    async fn accept(&mut self) -> io::Result<(BoxedStream, SocketAddr)>;
}

#[async_trait]
impl Listener for TcpListener {
    async fn accept(&mut self) -> io::Result<(BoxedStream, SocketAddr)> {
        let (stream, peer) = Self::accept(self).await?;
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "can't set TCP_NODELAY");
        }
        Ok((Box::new(stream), peer))
    }
}

/// Opens connections that are not TCP.
#[async_trait]
pub trait Dial: Send + Sync {
    /// A connection to the host and port of an address.
    ///
    /// # Errors
    /// When there is nobody, or nobody can be reached.
    async fn dial(&self, address: &Uri) -> io::Result<BoxedStream>;
}

/// Opens the connections of gRPC clients. Clones share it.
#[derive(Clone, Default)]
pub struct Dialer {
    /// `None` is TCP.
    dial: Option<Arc<dyn Dial>>,
}

impl Dialer {
    /// Dials over TCP.
    #[must_use]
    pub fn tcp() -> Self {
        Self::default()
    }

    /// Dials through something else.
    #[must_use]
    pub fn new(dial: Arc<dyn Dial>) -> Self {
        Self { dial: Some(dial) }
    }

    /// A channel that is connected.
    ///
    /// # Errors
    /// When nobody can be reached there.
    pub async fn connect(&self, endpoint: &Endpoint) -> Result<Channel, Error> {
        match &self.dial {
            None => endpoint.connect().await,
            Some(dial) => endpoint.connect_with_connector(connector(Arc::clone(dial))).await,
        }
    }

    /// A channel that is connected with the first call.
    #[must_use]
    pub fn connect_lazy(&self, endpoint: &Endpoint) -> Channel {
        match &self.dial {
            None => endpoint.connect_lazy(),
            Some(dial) => endpoint.connect_with_connector_lazy(connector(Arc::clone(dial))),
        }
    }
}

impl fmt::Debug for Dialer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.dial.is_some() { "Dialer(other)" } else { "Dialer(tcp)" })
    }
}

/// What tonic dials through.
fn connector(
    dial: Arc<dyn Dial>,
) -> impl tower::Service<Uri, Response = TokioIo<BoxedStream>, Error = io::Error, Future: Send> + Send + Sync + Clone + 'static
{
    tower::service_fn(move |address: Uri| {
        let dial = Arc::clone(&dial);
        async move { Ok(TokioIo::new(dial.dial(&address).await?)) }
    })
}
