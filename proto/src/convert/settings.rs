//! What a container is set up with beside what it runs and what is mounted: names, groups and bounds.

use std::collections::BTreeSet;

use davit_core::spec::{ExtraHost, LogBounds, check_host_name, check_hostname};
use davit_core::validate::Violations;

use super::path::{FieldPath, field, item};
use super::text::is_user;
use crate::v1;

/// How many names a container may have addresses for.
const MAX_EXTRA_HOSTS: usize = 64;
/// In how many further groups its user may be.
const MAX_GROUPS: usize = 64;
/// The most processes and threads that Linux has.
const MAX_PIDS: u32 = 4_194_304;
/// A file of output below this is closed almost as soon as it is begun.
const MIN_LOG_FILE_BYTES: u64 = 1 << 10;
/// No file of output is larger: 1 GiB.
const MAX_LOG_FILE_BYTES: u64 = 1 << 30;
/// No more files of output are kept.
const MAX_LOG_FILES: u32 = 100;

/// Checks what a container calls itself, which may be empty.
pub(super) fn check_own_hostname(text: &str, path: &FieldPath<'_>, violations: &mut Violations) {
    if !text.is_empty() {
        violations.check(path, check_hostname(text));
    }
}

/// Reads names and their addresses.
pub(super) fn extra_hosts_from_proto(
    hosts: Vec<v1::ExtraHost>,
    path: &FieldPath<'_>,
    violations: &mut Violations,
) -> Vec<ExtraHost> {
    if hosts.len() > MAX_EXTRA_HOSTS {
        violations.add(path, format!("has at most {MAX_EXTRA_HOSTS} entries"));
        return Vec::new();
    }
    let mut seen = BTreeSet::new();
    let read = |(index, host): (usize, v1::ExtraHost)| {
        let path = item(path, index);
        violations.check(field(&path, "name"), check_host_name(&host.name));
        let address = violations.check(field(&path, "address"), host.address.parse())?;
        let host = ExtraHost { name: host.name, address };
        if !seen.insert(host.clone()) {
            violations.add(path, "is there twice");
        }
        Some(host)
    };
    hosts.into_iter().enumerate().filter_map(read).collect()
}

/// Checks the groups that the user is in besides.
pub(super) fn check_groups(groups: &[String], path: &FieldPath<'_>, violations: &mut Violations) {
    if groups.len() > MAX_GROUPS {
        violations.add(path, format!("has at most {MAX_GROUPS} entries"));
        return;
    }
    for (index, group) in groups.iter().enumerate() {
        if !is_user(group) {
            let shown: String = group.chars().take(64).collect();
            let shown = shown.escape_debug();
            violations.add(item(path, index), format!("`{shown}` is not a group; write its name or its number"));
        } else if groups[..index].contains(group) {
            violations.add(item(path, index), format!("`{group}` is there twice"));
        }
    }
}

/// Checks a limit of processes and threads; 0 is none.
pub(super) fn check_pids_limit(limit: u32, path: &FieldPath<'_>, violations: &mut Violations) {
    if limit > MAX_PIDS {
        violations.add(path, format!("is at most {MAX_PIDS}, the most that Linux has"));
    }
}

/// Reads how much output is kept. Without any bounds it is as with bounds that say nothing.
pub(super) fn log_bounds_from_proto(
    bounds: Option<v1::LogBounds>,
    path: &FieldPath<'_>,
    violations: &mut Violations,
) -> LogBounds {
    let v1::LogBounds { max_file_bytes, max_files } = bounds.unwrap_or_default();
    if max_file_bytes != 0 && !(MIN_LOG_FILE_BYTES..=MAX_LOG_FILE_BYTES).contains(&max_file_bytes) {
        violations.add(field(path, "max_file_bytes"), "is from 1 KiB to 1 GiB, or 0 for what the worker has");
    }
    if max_files > MAX_LOG_FILES {
        violations.add(field(path, "max_files"), format!("is at most {MAX_LOG_FILES}, or 0 for what the worker has"));
    }
    LogBounds { max_file_bytes, max_files }
}

/// Writes names and their addresses.
pub(super) fn extra_hosts_to_proto(hosts: &[ExtraHost]) -> Vec<v1::ExtraHost> {
    let write = |host: &ExtraHost| v1::ExtraHost { name: host.name.clone(), address: host.address.to_string() };
    hosts.iter().map(write).collect()
}

/// Writes how much output is kept; nothing where they say nothing.
pub(super) fn log_bounds_to_proto(bounds: LogBounds) -> Option<v1::LogBounds> {
    let LogBounds { max_file_bytes, max_files } = bounds;
    (bounds != LogBounds::default()).then_some(v1::LogBounds { max_file_bytes, max_files })
}
