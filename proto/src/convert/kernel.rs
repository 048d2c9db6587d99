//! What a container may ask of the kernel: capabilities and ulimits.

use std::collections::BTreeSet;

use davit_core::spec::{Capability, Ulimit};
use davit_core::validate::Violations;

use super::path::{FieldPath, field, item};
use crate::v1;

/// Every kernel capability up to Linux 6, and `ALL`.
const CAPABILITIES: [&str; 42] = [
    "ALL",
    "AUDIT_CONTROL",
    "AUDIT_READ",
    "AUDIT_WRITE",
    "BLOCK_SUSPEND",
    "BPF",
    "CHECKPOINT_RESTORE",
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "IPC_LOCK",
    "IPC_OWNER",
    "KILL",
    "LEASE",
    "LINUX_IMMUTABLE",
    "MAC_ADMIN",
    "MAC_OVERRIDE",
    "MKNOD",
    "NET_ADMIN",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_RAW",
    "PERFMON",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYSLOG",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_CHROOT",
    "SYS_MODULE",
    "SYS_NICE",
    "SYS_PACCT",
    "SYS_PTRACE",
    "SYS_RAWIO",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "WAKE_ALARM",
];

/// What `docker run --ulimit` knows.
const ULIMITS: [&str; 15] = [
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
];

/// Reads capabilities, with or without `CAP_` in any case; kept in upper case without it.
pub(super) fn capabilities_from_proto(
    names: &[String],
    path: &FieldPath<'_>,
    violations: &mut Violations,
) -> Vec<Capability> {
    let read = |(index, given): (usize, &String)| {
        let upper = given.to_ascii_uppercase();
        let name = upper.strip_prefix("CAP_").unwrap_or(&upper);
        let known = CAPABILITIES.contains(&name) && upper != "CAP_ALL";
        if !known {
            let shown: String = given.chars().take(64).collect();
            let shown = shown.escape_debug();
            violations
                .add(item(path, index), format!("`{shown}` is not a kernel capability such as NET_ADMIN, or ALL"));
        }
        known.then(|| name.to_owned())
    };
    names.iter().enumerate().filter_map(read).collect()
}

/// Reads ulimits, each of which may be given once.
pub(super) fn ulimits_from_proto(
    ulimits: Vec<v1::Ulimit>,
    path: &FieldPath<'_>,
    violations: &mut Violations,
) -> Vec<Ulimit> {
    const MAX: u64 = i64::MAX.unsigned_abs();
    let mut names = BTreeSet::new();
    let mut read = |(index, ulimit): (usize, v1::Ulimit)| {
        let path = item(path, index);
        if !ULIMITS.contains(&ulimit.name.as_str()) {
            violations.add(
                field(&path, "name"),
                format!("`{}` is not a ulimit; use one of {}", ulimit.name, ULIMITS.join(", ")),
            );
        } else if !names.insert(ulimit.name.clone()) {
            violations.add(field(&path, "name"), format!("{} is limited twice", ulimit.name));
        }
        if ulimit.hard > MAX {
            violations.add(field(&path, "hard"), format!("is at most {MAX}"));
        }
        if ulimit.soft > ulimit.hard {
            violations.add(field(&path, "soft"), format!("{} is above the hard limit {}", ulimit.soft, ulimit.hard));
        }
        Ulimit { name: ulimit.name, soft: ulimit.soft, hard: ulimit.hard }
    };
    ulimits.into_iter().enumerate().map(&mut read).collect()
}
