//! What belongs to a run can be told by its name, also by a later run that cleans up after one that was killed.

use std::path::PathBuf;

/// How the names of our network namespaces, network devices and cgroups begin.
pub(crate) const PREFIX: &str = "davit-chaos";
/// Network devices may have no longer names than 15 bytes.
pub(crate) const DEVICE_PREFIX: &str = "dvch";
/// The cluster's name, by which its containers are labelled.
pub(crate) const CLUSTER: &str = "davit-chaos";
/// In the environment of every task: where it leaves its evidence. What has it is ours.
pub(crate) const EVIDENCE_VARIABLE: &str = "DAVIT_CHAOS_EVIDENCE";

/// Everything of a run is under this directory. Sockets have short paths, so it must be short too.
pub(crate) fn base() -> PathBuf {
    std::env::temp_dir().join(PREFIX)
}

/// The network namespace of a machine.
pub(crate) fn namespace(machine: &str) -> String {
    format!("{PREFIX}-{machine}")
}

/// Where the kernel shows that namespace.
pub(crate) fn namespace_path(machine: &str) -> String {
    format!("/var/run/netns/{}", namespace(machine))
}
