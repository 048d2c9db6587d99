//! Probes of what runs: connections made from here, and what to make of a command's end. Their answers are for people: one line.

mod grpc;
mod http;
mod output;

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use davit_core::spec::Probe;
use tokio::net::TcpStream;

pub(super) use self::output::OutputEnd;
use super::Error;

/// What a probe has shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Probed {
    /// It serves.
    Healthy,
    /// It does not, and this is what it did instead.
    Failing(String),
}

/// Performs a probe: over the network at this address, or by this way to run a command. The one that is not needed is not used.
pub(super) async fn run<'p, E>(
    probe: &'p Probe,
    limit: Duration,
    address: impl Future<Output = Result<IpAddr, Error>>,
    exec: impl FnOnce(&'p [String]) -> E,
) -> Result<Probed, Error>
where
    E: Future<Output = Result<Probed, Error>>,
{
    let tried = match probe {
        Probe::Exec { command } => return exec(command).await,
        Probe::Http { port, path, headers } => {
            let at = SocketAddr::new(address.await?, *port);
            tokio::time::timeout(limit, http::get(at, path, headers)).await
        }
        Probe::Tcp { port } => {
            let at = SocketAddr::new(address.await?, *port);
            tokio::time::timeout(limit, async { connect(at).await.map(drop) }).await
        }
        Probe::Grpc { port, service } => {
            let at = SocketAddr::new(address.await?, *port);
            tokio::time::timeout(limit, grpc::check(at, service)).await
        }
    };
    Ok(match tried {
        Ok(Ok(())) => Probed::Healthy,
        Ok(Err(problem)) => Probed::Failing(problem),
        Err(_) => Probed::Failing(format!("did not answer within {} s", limit.as_secs_f64())),
    })
}

async fn connect(at: SocketAddr) -> Result<TcpStream, String> {
    TcpStream::connect(at).await.map_err(|error| format!("can't connect to {at}: {error}"))
}

/// What a command's end tells.
pub(super) fn returned(exit_code: i64, output: &OutputEnd) -> Probed {
    if exit_code == 0 {
        return Probed::Healthy;
    }
    Probed::Failing(match output.line().as_str() {
        "" => format!("returned {exit_code}"),
        line => format!("returned {exit_code}: {line}"),
    })
}

/// What is told of a command that took too long.
pub(super) fn too_long(limit: Duration, output: &OutputEnd) -> Probed {
    let end = format!("did not end within {} s", limit.as_secs_f64());
    Probed::Failing(match output.line().as_str() {
        "" => end,
        line => format!("{end}: {line}"),
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::net::Ipv4Addr;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;
    use tonic_health::ServingStatus;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(20);

    async fn probed(probe: &Probe, limit: Duration) -> Probed {
        let address = async { Ok(IpAddr::V4(Ipv4Addr::LOCALHOST)) };
        run(probe, limit, address, |_| std::future::pending()).await.unwrap()
    }

    fn http(port: u16, path: &str) -> Probe {
        let headers = BTreeMap::from([("X-Probe".to_owned(), "yes".to_owned())]);
        Probe::Http { port, path: path.to_owned(), headers }
    }

    /// Takes connections, reads a request of each, and answers all with these bytes.
    async fn answering(answer: &'static [u8]) -> (u16, tokio::task::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                request.push(stream.read_u8().await.unwrap());
            }
            stream.write_all(answer).await.unwrap();
            String::from_utf8(request).unwrap()
        });
        (port, server)
    }

    #[tokio::test]
    async fn an_http_answer_from_200_to_399_is_healthy_and_others_are_told() {
        for (answer, expected) in [
            (&b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"[..], Probed::Healthy),
            (b"HTTP/1.0 204 No Content\r\n\r\n", Probed::Healthy),
            // A body without end is not waited for.
            (b"HTTP/1.1 399 x\r\ncontent-length: 999\r\n\r\n", Probed::Healthy),
            (b"HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n", Probed::Failing("answered 503".to_owned())),
            (b"HTTP/1.1 404 x\r\n\r\n", Probed::Failing("answered 404".to_owned())),
        ] {
            let (port, server) = answering(answer).await;
            assert_eq!(probed(&http(port, "/health?a=b"), LIMIT).await, expected);
            let request = server.await.unwrap().to_ascii_lowercase();
            assert!(request.starts_with("get /health?a=b http/1.1\r\n"), "{request}");
            assert!(request.contains(&format!("host: 127.0.0.1:{port}\r\n")), "{request}");
            assert!(request.contains("x-probe: yes\r\n"), "{request}");
        }
        for garbage in [&b"SSH-2.0-OpenSSH_9.0\r\n\r\n"[..], b""] {
            let (port, _server) = answering(garbage).await;
            let Probed::Failing(problem) = probed(&http(port, "/"), LIMIT).await else { panic!("{garbage:?}") };
            assert!(problem.contains("no HTTP answer"), "{problem}");
        }
    }

    #[tokio::test]
    async fn who_does_not_listen_or_answer_is_told() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        assert_eq!(probed(&Probe::Tcp { port }, LIMIT).await, Probed::Healthy);
        let limit = Duration::from_millis(20);
        for probe in [http(port, "/"), Probe::Grpc { port, service: String::new() }] {
            assert_eq!(probed(&probe, limit).await, Probed::Failing("did not answer within 0.02 s".to_owned()));
        }
        drop(listener);
        for probe in [Probe::Tcp { port }, http(port, "/"), Probe::Grpc { port, service: String::new() }] {
            let Probed::Failing(problem) = probed(&probe, LIMIT).await else { panic!("{probe}") };
            assert!(problem.contains("refused"), "{probe} {problem}");
        }
    }

    #[tokio::test]
    async fn a_grpc_server_says_whether_a_service_serves() {
        let (reporter, service) = tonic_health::server::health_reporter();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
        let server = tonic::transport::Server::builder().add_service(service).serve_with_incoming(incoming);
        let server = tokio::spawn(server);
        let grpc = |service: &str| Probe::Grpc { port, service: service.to_owned() };
        reporter.set_service_status("web", ServingStatus::Serving).await;
        assert_eq!(probed(&grpc(""), LIMIT).await, Probed::Healthy);
        assert_eq!(probed(&grpc("web"), LIMIT).await, Probed::Healthy);
        reporter.set_service_status("web", ServingStatus::NotServing).await;
        assert_eq!(probed(&grpc("web"), LIMIT).await, Probed::Failing("answered NOT_SERVING".to_owned()));
        let Probed::Failing(problem) = probed(&grpc("nobody"), LIMIT).await else { panic!("it is not there") };
        assert!(problem.starts_with("answered NOT_FOUND"), "{problem}");
        server.abort();
    }

    #[test]
    fn a_command_is_healthy_only_if_it_returns_0() {
        let mut output = OutputEnd::default();
        assert_eq!(returned(0, &output), Probed::Healthy);
        assert_eq!(returned(1, &output), Probed::Failing("returned 1".to_owned()));
        output.push(b"no\nresponse\n");
        assert_eq!(returned(2, &output), Probed::Failing("returned 2: no response".to_owned()));
        let late = too_long(Duration::from_millis(1500), &output);
        assert_eq!(late, Probed::Failing("did not end within 1.5 s: no response".to_owned()));
    }
}
