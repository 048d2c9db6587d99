//! Asking a service of this machine whether it is ready: what `healthcheck` does, for images that have no curl.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Below the 3 s that images and compose files give a health check.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);
/// More than any answer of `/readyz` has; the rest is not read.
const MAX_RESPONSE_BYTES: u64 = 8 << 10;

/// A service is not ready, or can't be asked.
#[derive(Debug, thiserror::Error)]
pub enum NotReady {
    /// Nothing answers there.
    #[error("can't ask {address}: {source}")]
    Unreachable {
        /// Who was asked.
        address: SocketAddr,
        /// Why it failed.
        source: std::io::Error,
    },
    /// No answer in time.
    #[error("{address} did not answer within {timeout:?}")]
    Late {
        /// Who was asked.
        address: SocketAddr,
        /// How long it was given.
        timeout: Duration,
    },
    /// What answers there is not a Davit service.
    #[error("{address} did not answer in HTTP")]
    NotHttp {
        /// Who was asked.
        address: SocketAddr,
    },
    /// It says that it is not ready.
    #[error("not ready ({status}): {reason}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// What it said, for people.
        reason: String,
    },
}

/// Asks for `/readyz` of the service whose side port listens at this address. An unspecified address such as `0.0.0.0`
/// is asked over loopback.
///
/// # Errors
/// When it is not ready, or does not answer in time.
pub async fn check_ready(address: SocketAddr) -> Result<(), NotReady> {
    let address = reachable(address);
    let response = tokio::time::timeout(PROBE_TIMEOUT, get_readyz(address))
        .await
        .map_err(|_| NotReady::Late { address, timeout: PROBE_TIMEOUT })?
        .map_err(|source| NotReady::Unreachable { address, source })?;
    let (status, body) = parse(&response).ok_or(NotReady::NotHttp { address })?;
    match status {
        200 => Ok(()),
        _ => Err(NotReady::Refused { status, reason: body.trim().to_owned() }),
    }
}

/// Where a client of the same machine finds what listens at an address.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(match address.ip() {
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
        });
    }
    address
}

async fn get_readyz(address: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET /readyz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut response = Vec::new();
    stream.take(MAX_RESPONSE_BYTES).read_to_end(&mut response).await?;
    Ok(String::from_utf8_lossy(&response).into_owned())
}

fn parse(response: &str) -> Option<(u16, &str)> {
    let (head, body) = response.split_once("\r\n\r\n")?;
    let rest = head.strip_prefix("HTTP/1.")?;
    let status = rest.split_ascii_whitespace().nth(1)?.parse().ok()?;
    Some((status, body))
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;
    use crate::http::serve;
    use crate::readiness::Readiness;
    use crate::shutdown::Shutdown;

    #[tokio::test]
    async fn a_service_is_asked_and_its_reason_told() {
        // Listens everywhere, as in a container; asked over loopback.
        let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (readiness, shutdown) = (Readiness::new(), Shutdown::new());
        let server = tokio::spawn(serve(listener, readiness.clone(), shutdown.clone()));
        let problem = check_ready(address).await.unwrap_err().to_string();
        assert_eq!(problem, "not ready (503): starting");
        readiness.set_ready();
        check_ready(address).await.unwrap();
        shutdown.trigger();
        server.await.unwrap().unwrap();
        assert!(matches!(check_ready(address).await, Err(NotReady::Unreachable { .. })));
    }

    #[tokio::test(start_paused = true)]
    async fn silence_is_not_waited_for_forever() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let problem = check_ready(listener.local_addr().unwrap()).await.unwrap_err();
        assert!(matches!(problem, NotReady::Late { .. }), "{problem}");
    }

    #[test]
    fn only_http_is_understood() {
        assert_eq!(parse("HTTP/1.1 200 OK\r\nx: y\r\n\r\nready\n"), Some((200, "ready\n")));
        for other in ["", "SSH-2.0-OpenSSH\r\n\r\n", "HTTP/1.1 fine\r\n\r\n", "HTTP/1.1 200 OK"] {
            assert_eq!(parse(other), None, "{other}");
        }
    }
}
