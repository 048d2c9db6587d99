//! How a node finds out whether a task serves.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// Probes of a running attempt, and what follows from them. As `HEALTHCHECK` of Docker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthCheck {
    /// What is tried.
    pub probe: Probe,
    /// From the end of one probe to the next.
    pub interval: Duration,
    /// A probe that takes longer has failed.
    pub timeout: Duration,
    /// So many failures in a row make it unhealthy. Never zero.
    pub retries: u32,
    /// So long after its start failures do not count until the first success.
    pub start_period: Duration,
    /// As `interval`, during the start period until the first success.
    pub start_interval: Duration,
}

impl HealthCheck {
    /// Unless the spec says otherwise.
    pub const DEFAULT_INTERVAL: Duration = Duration::from_secs(10);
    /// Unless the spec says otherwise.
    pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(5);
    /// Unless the spec says otherwise.
    pub const DEFAULT_RETRIES: u32 = 3;

    /// A check with this probe and everything else at its default.
    #[must_use]
    pub fn new(probe: Probe) -> Self {
        Self {
            probe,
            interval: Self::DEFAULT_INTERVAL,
            timeout: Self::DEFAULT_TIMEOUT,
            retries: Self::DEFAULT_RETRIES,
            start_period: Duration::ZERO,
            start_interval: Self::DEFAULT_INTERVAL,
        }
    }
}

/// What is tried. Ports are those inside the container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Probe {
    /// A GET request, answered with a status from 200 to 399.
    Http {
        /// Where.
        port: u16,
        /// Path and query; begins with `/`.
        path: String,
        /// Sent along.
        headers: BTreeMap<String, String>,
    },
    /// A connection.
    Tcp {
        /// Where.
        port: u16,
    },
    /// A call of `grpc.health.v1.Health/Check`, answered with SERVING.
    Grpc {
        /// Where.
        port: u16,
        /// Whose health is asked for; empty: the server's.
        service: String,
    },
    /// A command that returns 0.
    Exec {
        /// The program, then its arguments. Never empty.
        command: Vec<String>,
    },
}

/// `http GET :8080/health`, `tcp :5432`, `grpc :50051/service`, `exec pg_isready`
impl fmt::Display for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // A query may hold what is not for everyone.
            Self::Http { port, path, .. } => {
                write!(f, "http GET :{port}{}", path.split('?').next().unwrap_or_default())
            }
            Self::Tcp { port } => write!(f, "tcp :{port}"),
            Self::Grpc { port, service } if service.is_empty() => write!(f, "grpc :{port}"),
            Self::Grpc { port, service } => write!(f, "grpc :{port}/{service}"),
            // Arguments may hold such too.
            Self::Exec { command } => write!(f, "exec {}", command.first().map_or("", String::as_str)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_probe_is_named_without_what_may_be_secret() {
        let http = |path: &str| Probe::Http { port: 80, path: path.to_owned(), headers: BTreeMap::new() };
        let grpc = |service: &str| Probe::Grpc { port: 9, service: service.to_owned() };
        let exec = Probe::Exec { command: vec!["check".to_owned(), "--token=x".to_owned()] };
        for (probe, name) in [
            (http("/health?key=x"), "http GET :80/health"),
            (Probe::Tcp { port: 5432 }, "tcp :5432"),
            (grpc(""), "grpc :9"),
            (grpc("a.B"), "grpc :9/a.B"),
            (exec, "exec check"),
        ] {
            assert_eq!(probe.to_string(), name);
        }
    }
}
