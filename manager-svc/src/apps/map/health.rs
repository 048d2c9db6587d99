//! `healthcheck`: a command in the container.

use std::time::Duration;

use davit_compose::{HealthCheck as Written, HealthTest, Service};
use davit_core::spec::{HealthCheck, Probe};
use davit_proto::{convert, v1};

use super::refused::{Refusals, key};

/// As the Compose Specification has them.
const INTERVAL: Duration = Duration::from_secs(30);
const TIMEOUT: Duration = Duration::from_secs(30);
const START_INTERVAL: Duration = Duration::from_secs(5);
/// One that is shorter than may be is told once, as what it was written for.
const LEAST_INTERVAL: Duration = Duration::from_secs(1);

pub(super) fn check(service: &Service, refusals: &mut Refusals) -> Option<v1::HealthCheck> {
    let Some(Written::Enabled { test, interval, timeout, retries, start_period, start_interval }) =
        &service.health_check
    else {
        return None;
    };
    let Some(test) = test else {
        let (position, path) = key(service, "healthcheck");
        refusals.unsupported(position, &path, "the check of an image is not known yet; write its `test` here");
        return None;
    };
    let command = match test {
        HealthTest::Command(words) => words.clone(),
        HealthTest::Shell(line) => vec!["/bin/sh".to_owned(), "-c".to_owned(), line.clone()],
    };
    let interval = interval.unwrap_or(INTERVAL);
    Some(v1::HealthCheck {
        probe: Some(v1::health_check::Probe::Exec(v1::ExecProbe { command })),
        interval: Some(convert::duration_to_proto(interval)),
        timeout: Some(convert::duration_to_proto(timeout.unwrap_or(TIMEOUT))),
        retries: retries.unwrap_or(0),
        start_period: start_period.map(convert::duration_to_proto),
        start_interval: Some(convert::duration_to_proto(start_interval.unwrap_or(usual_start_interval(interval)))),
    })
}

/// A check of which nothing else was written than this interval, on which one of its defaults depends.
pub(in crate::apps) fn usual_check(interval: Duration) -> HealthCheck {
    HealthCheck {
        interval: INTERVAL,
        timeout: TIMEOUT,
        start_interval: usual_start_interval(interval),
        ..HealthCheck::new(Probe::Exec { command: Vec::new() })
    }
}

fn usual_start_interval(interval: Duration) -> Duration {
    START_INTERVAL.min(interval.max(LEAST_INTERVAL))
}
