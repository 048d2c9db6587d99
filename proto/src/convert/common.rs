//! Ids, times and labels: what all conversions share.

use std::collections::BTreeMap;
use std::time::Duration;

use super::path::{FieldPath, entry};
use davit_core::id::{Attempt, NodeId, Revision, SessionId, TaskId};
use davit_core::spec::{check_label_key, check_label_value};
use davit_core::validate::Violations;
use jiff::Timestamp;

/// How many labels a task or a node may have of its own.
pub const MAX_LABELS: usize = 64;

/// 0001-01-01T00:00:00Z, the earliest time of `google.protobuf.Timestamp`.
const MIN_TIMESTAMP_SECONDS: i64 = -62_135_596_800;
/// The longest `google.protobuf.Duration`: about 10,000 years.
const MAX_DURATION_SECONDS: u64 = 315_576_000_000;
/// How much of a text that is no id is shown. It comes from outside and may be of any length.
const MAX_SHOWN_CHARS: usize = 64;

/// Keeps a value that must be there, or notes that it is missing.
pub fn required<'a, T>(value: Option<T>, path: impl Into<FieldPath<'a>>, violations: &mut Violations) -> Option<T> {
    let path = &path.into();
    if value.is_none() {
        violations.add(path, "is needed");
    }
    value
}

/// Reads the id of a task.
pub fn parse_task_id<'a>(text: &str, path: impl Into<FieldPath<'a>>, violations: &mut Violations) -> Option<TaskId> {
    let path = &path.into();
    parse_id(text, path, violations)
}

/// Reads the id of a node.
pub fn parse_node_id<'a>(text: &str, path: impl Into<FieldPath<'a>>, violations: &mut Violations) -> Option<NodeId> {
    let path = &path.into();
    parse_id(text, path, violations)
}

/// Reads the id of a session.
pub fn parse_session_id<'a>(
    text: &str,
    path: impl Into<FieldPath<'a>>,
    violations: &mut Violations,
) -> Option<SessionId> {
    let path = &path.into();
    parse_id(text, path, violations)
}

pub(super) fn parse_id<T: std::str::FromStr>(
    text: &str,
    path: &FieldPath<'_>,
    violations: &mut Violations,
) -> Option<T> {
    if text.is_empty() {
        violations.add(path, "is needed");
        return None;
    }
    if let Ok(id) = text.parse() {
        return Some(id);
    }
    let shown: String = text.chars().take(MAX_SHOWN_CHARS).collect();
    let shown = shown.escape_debug();
    violations.add(path, format!("`{shown}` is not a UUID such as 0193a5c0-1c1e-7d3a-9a53-0f5be2f0a111"));
    None
}

/// Reads the number of an attempt.
pub fn attempt_from_proto<'a>(
    number: u32,
    path: impl Into<FieldPath<'a>>,
    violations: &mut Violations,
) -> Option<Attempt> {
    let path = &path.into();
    if number == 0 {
        violations.add(path, "attempts are numbered from 1");
        return None;
    }
    Some(Attempt(number))
}

/// What changes with every change of an object. Opaque to clients; the manager compares it as text.
#[must_use]
pub fn etag(revision: Revision) -> String {
    format!("r{:x}", revision.0)
}

/// Reads a time.
pub fn timestamp_from_proto<'a>(
    time: prost_types::Timestamp,
    path: impl Into<FieldPath<'a>>,
    violations: &mut Violations,
) -> Option<Timestamp> {
    let path = &path.into();
    let valid = (0..1_000_000_000).contains(&time.nanos) && time.seconds >= MIN_TIMESTAMP_SECONDS;
    let read = if valid { Timestamp::new(time.seconds, time.nanos).ok() } else { None };
    if read.is_none() {
        violations.add(path, "is not a time between the years 1 and 9999 with 0 to 999,999,999 nanoseconds");
    }
    read
}

/// Writes a time.
#[must_use]
pub fn timestamp_to_proto(time: Timestamp) -> prost_types::Timestamp {
    let (seconds, nanos) = (time.as_second(), time.subsec_nanosecond());
    // Before 1970 the nanoseconds count backwards in the one and forwards in the other.
    if nanos < 0 {
        prost_types::Timestamp { seconds: seconds.saturating_sub(1), nanos: nanos + 1_000_000_000 }
    } else {
        prost_types::Timestamp { seconds, nanos }
    }
}

/// Reads a span of time, which must not be negative.
pub fn duration_from_proto<'a>(
    duration: prost_types::Duration,
    path: impl Into<FieldPath<'a>>,
    violations: &mut Violations,
) -> Option<Duration> {
    let path = &path.into();
    if duration.seconds < 0 || duration.nanos < 0 {
        violations.add(path, "must not be negative");
        return None;
    }
    match (u64::try_from(duration.seconds), u32::try_from(duration.nanos)) {
        (Ok(seconds), Ok(nanos)) if seconds <= MAX_DURATION_SECONDS && nanos < 1_000_000_000 => {
            Some(Duration::new(seconds, nanos))
        }
        _ => {
            violations.add(path, "is not a duration of up to 10,000 years with 0 to 999,999,999 nanoseconds");
            None
        }
    }
}

/// Writes a span of time; at most 10,000 years.
#[must_use]
pub fn duration_to_proto(duration: Duration) -> prost_types::Duration {
    let seconds = duration.as_secs().min(MAX_DURATION_SECONDS);
    prost_types::Duration {
        seconds: i64::try_from(seconds).unwrap_or(i64::MAX),
        nanos: i32::try_from(duration.subsec_nanos()).unwrap_or(0),
    }
}

/// Checks labels: their keys, their values, and that there are at most `max` of them.
pub fn labels_from_proto<'a>(
    labels: BTreeMap<String, String>,
    max: usize,
    path: impl Into<FieldPath<'a>>,
    violations: &mut Violations,
) -> Option<BTreeMap<String, String>> {
    let path = &path.into();
    let before = violations.0.len();
    if labels.len() > max {
        violations.add(path, format!("has at most {max} labels, this has {}", labels.len()));
    }
    for (key, value) in &labels {
        if let Err(error) = check_label_key(key) {
            violations.add(entry(path, key), format!("the key {error}"));
        }
        if let Err(error) = check_label_value(value) {
            violations.add(entry(path, key), format!("the value {error}"));
        }
    }
    (violations.0.len() == before).then_some(labels)
}
