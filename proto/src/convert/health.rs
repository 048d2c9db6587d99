//! Health checks.

use std::collections::BTreeMap;
use std::time::Duration;

use davit_core::spec::{HealthCheck, Probe};
use davit_core::validate::Violations;
use http::uri::PathAndQuery;
use http::{HeaderName, HeaderValue};

use super::common::duration_to_proto;
use super::path::{FieldPath, entry, field};
use super::policy::bounded;
use super::port::port_number;
use super::text::{check_command, check_printable};
use crate::v1;

const MIN_INTERVAL: Duration = Duration::from_millis(100);
const MAX_INTERVAL: (Duration, &str) = (Duration::from_secs(24 * 3600), "24 h");
const MIN_TIMEOUT: Duration = Duration::from_millis(10);
/// Who hangs for so long keeps one of the places at which a node probes.
const MAX_TIMEOUT: (Duration, &str) = (Duration::from_secs(300), "5 min");
const MAX_RETRIES: u32 = 1000;
const MAX_PATH_BYTES: usize = 2048;
const MAX_HEADERS: usize = 16;
const MAX_HEADER_BYTES: usize = 4096;

/// Reads how a node finds out whether a task serves; it does from its start on, unless given.
pub(super) fn health_check_from_proto(
    check: Option<Box<v1::HealthCheck>>,
    path: &FieldPath<'_>,
    violations: &mut Violations,
) -> Option<Option<Box<HealthCheck>>> {
    let Some(check) = check else { return Some(None) };
    let probe = probe_from_proto(check.probe, path, violations);
    let mut span = |given, default, least: Duration, most, name| {
        let path = field(path, name);
        let span = bounded(given, default, most, &path, violations)?;
        if span < least {
            violations.add(path, format!("is at least {} ms", least.as_millis()));
            return None;
        }
        Some(span)
    };
    let interval = span(check.interval, HealthCheck::DEFAULT_INTERVAL, MIN_INTERVAL, MAX_INTERVAL, "interval");
    let timeout = span(check.timeout, HealthCheck::DEFAULT_TIMEOUT, MIN_TIMEOUT, MAX_TIMEOUT, "timeout");
    let start_period = span(check.start_period, Duration::ZERO, Duration::ZERO, MAX_INTERVAL, "start_period");
    let usual = interval.unwrap_or(HealthCheck::DEFAULT_INTERVAL);
    let start_interval = span(check.start_interval, usual, MIN_INTERVAL, MAX_INTERVAL, "start_interval");
    let retries = match check.retries {
        0 => Some(HealthCheck::DEFAULT_RETRIES),
        1..=MAX_RETRIES => Some(check.retries),
        more => {
            violations.add(field(path, "retries"), format!("is at most {MAX_RETRIES}, this is {more}"));
            None
        }
    };
    Some(Some(Box::new(HealthCheck {
        probe: probe?,
        interval: interval?,
        timeout: timeout?,
        retries: retries?,
        start_period: start_period?,
        start_interval: start_interval?,
    })))
}

fn probe_from_proto(
    probe: Option<v1::health_check::Probe>,
    path: &FieldPath<'_>,
    violations: &mut Violations,
) -> Option<Probe> {
    let before = violations.0.len();
    let probe = match probe {
        None => {
            violations.add(path, "needs a probe: http, tcp, grpc or exec");
            return None;
        }
        Some(v1::health_check::Probe::Http(http)) => {
            let path = &field(path, "http");
            let port = port_number(http.port, &field(path, "port"), violations);
            let at = if http.path.is_empty() { "/".to_owned() } else { http.path };
            check_request_path(&at, &field(path, "path"), violations);
            check_headers(&http.headers, &field(path, "headers"), violations);
            Probe::Http { port: port?, path: at, headers: http.headers }
        }
        Some(v1::health_check::Probe::Tcp(tcp)) => {
            Probe::Tcp { port: port_number(tcp.port, &field(&field(path, "tcp"), "port"), violations)? }
        }
        Some(v1::health_check::Probe::Grpc(grpc)) => {
            let path = &field(path, "grpc");
            let port = port_number(grpc.port, &field(path, "port"), violations);
            if !grpc.service.is_empty() {
                check_printable(&grpc.service, &field(path, "service"), violations);
            }
            Probe::Grpc { port: port?, service: grpc.service }
        }
        Some(v1::health_check::Probe::Exec(exec)) => {
            check_command(&exec.command, &field(&field(path, "exec"), "command"), violations);
            Probe::Exec { command: exec.command }
        }
    };
    (violations.0.len() == before).then_some(probe)
}

/// What can be asked for is what can be sent.
fn check_request_path(text: &str, path: &FieldPath<'_>, violations: &mut Violations) {
    if text.len() > MAX_PATH_BYTES {
        violations.add(path, format!("has at most {MAX_PATH_BYTES} bytes, this has {}", text.len()));
    } else if !text.starts_with('/') {
        violations.add(path, "must start with /");
    } else if !text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#') || PathAndQuery::try_from(text).is_err()
    {
        violations.add(path, "is not the path of a URL; write other characters as %XX");
    }
}

fn check_headers(headers: &BTreeMap<String, String>, path: &FieldPath<'_>, violations: &mut Violations) {
    if headers.len() > MAX_HEADERS {
        violations.add(path, format!("has at most {MAX_HEADERS} headers, this has {}", headers.len()));
    }
    for (name, value) in headers {
        if HeaderName::try_from(name).is_err() {
            violations.add(entry(path, name), "the name is not that of an HTTP header");
        }
        if value.len() > MAX_HEADER_BYTES || HeaderValue::from_str(value).is_err() {
            violations
                .add(entry(path, name), format!("the value has at most {MAX_HEADER_BYTES} printable ASCII characters"));
        }
    }
}

/// Writes how a node finds out whether a task serves.
pub(super) fn health_check_to_proto(check: &HealthCheck) -> v1::HealthCheck {
    let probe = match &check.probe {
        Probe::Http { port, path, headers } => v1::health_check::Probe::Http(v1::HttpProbe {
            port: (*port).into(),
            path: path.clone(),
            headers: headers.clone(),
        }),
        Probe::Tcp { port } => v1::health_check::Probe::Tcp(v1::TcpProbe { port: (*port).into() }),
        Probe::Grpc { port, service } => {
            v1::health_check::Probe::Grpc(v1::GrpcProbe { port: (*port).into(), service: service.clone() })
        }
        Probe::Exec { command } => v1::health_check::Probe::Exec(v1::ExecProbe { command: command.clone() }),
    };
    v1::HealthCheck {
        probe: Some(probe),
        interval: Some(duration_to_proto(check.interval)),
        timeout: Some(duration_to_proto(check.timeout)),
        retries: check.retries,
        start_period: Some(duration_to_proto(check.start_period)),
        start_interval: Some(duration_to_proto(check.start_interval)),
    }
}
