//! Asks a worker on this machine whether it is ready: what a container's health check runs.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const TIME: Duration = Duration::from_secs(2);
/// An answer is a status line, a few headers and a line of text.
const MAX_ANSWER_BYTES: u64 = 16 << 10;

/// Asks `/readyz` of the side port that listens at this address.
///
/// # Errors
/// When nothing answers in time, or the answer is that it is not ready, with its reason.
pub async fn check(http_listen: SocketAddr) -> io::Result<()> {
    let answer =
        tokio::time::timeout(TIME, ask(http_listen)).await.map_err(|_| io::Error::other("no answer in time"))?;
    let answer = answer?;
    if answer.split(' ').nth(1) == Some("200") {
        return Ok(());
    }
    let reason = answer.split_once("\r\n\r\n").map_or(answer.as_str(), |(_, body)| body).trim();
    Err(io::Error::other(format!("not ready: {reason}")))
}

async fn ask(mut address: SocketAddr) -> io::Result<String> {
    if address.ip().is_unspecified() {
        address.set_ip(match address.ip() {
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
        });
    }
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET /readyz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(MAX_ANSWER_BYTES).read_to_end(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

#[cfg(test)]
mod tests {
    use davit_svc_kit::http;
    use davit_svc_kit::readiness::Readiness;
    use davit_svc_kit::shutdown::Shutdown;
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn it_tells_whether_the_worker_is_ready_and_why_not() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (readiness, shutdown) = (Readiness::new(), Shutdown::new());
        let server = tokio::spawn(http::serve(listener, readiness.clone(), shutdown.clone()));
        readiness.set_not_ready("no session");
        assert!(check(address).await.unwrap_err().to_string().contains("no session"));
        readiness.set_ready();
        check(address).await.unwrap();
        shutdown.trigger();
        server.await.unwrap().unwrap();
        assert!(check(address).await.is_err());
    }
}
