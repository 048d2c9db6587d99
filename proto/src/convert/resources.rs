//! Amounts of cpu, memory and disk.

use davit_core::placement::RuntimeKind;
use davit_core::resources::{HumanBytes, HumanCpus, ResourceRequirements, Resources};
use davit_core::spec::MIN_MEMORY_LIMIT_BYTES;
use davit_core::validate::Violations;

use super::path::{FieldPath, field};
use crate::v1;

/// The most cpu that a task may ask for: 1,024 cores.
pub const MAX_TASK_CPU_MILLIS: u64 = 1_024_000;
/// The most bytes of anything that a task may ask for: 1 PiB.
pub const MAX_BYTES: u64 = 1 << 50;
/// The least cpu limit that the kernel accepts for a container: 1 ms of every 100 ms.
const MIN_CPU_LIMIT_MILLIS: u64 = 10;
/// A machine may be of any size, as long as sums over machines fit and runtimes can take the number.
const MAX_NODE_AMOUNT: u64 = i64::MAX.unsigned_abs();

fn plain(resources: v1::Resources) -> Resources {
    Resources {
        cpu_millis: resources.cpu_millis,
        memory_bytes: resources.memory_bytes,
        disk_bytes: resources.disk_bytes,
    }
}

/// Reads what a task asks for; nothing, unless given.
pub(super) fn task_amounts_from_proto(
    resources: Option<v1::Resources>,
    path: &FieldPath<'_>,
    violations: &mut Violations,
) -> Option<Resources> {
    let before = violations.0.len();
    let resources = resources.map(plain).unwrap_or_default();
    if resources.cpu_millis > MAX_TASK_CPU_MILLIS {
        let given = HumanCpus(resources.cpu_millis);
        violations.add(field(path, "cpu_millis"), format!("is at most {MAX_TASK_CPU_MILLIS}, this is {given} cores"));
    }
    for (name, bytes) in [("memory_bytes", resources.memory_bytes), ("disk_bytes", resources.disk_bytes)] {
        if bytes > MAX_BYTES {
            let (max, given) = (HumanBytes(MAX_BYTES), HumanBytes(bytes));
            violations.add(field(path, name), format!("is at most {max}, this is {given}"));
        }
    }
    (violations.0.len() == before).then_some(resources)
}

/// Reads what a node has; it must be given.
pub fn node_resources_from_proto<'a>(
    resources: Option<v1::Resources>,
    path: impl Into<FieldPath<'a>>,
    violations: &mut Violations,
) -> Option<Resources> {
    let path = &path.into();
    let resources = plain(super::required(resources, path, violations)?);
    let before = violations.0.len();
    for (name, _, amount) in dimensions(Resources::ZERO, resources) {
        if amount > MAX_NODE_AMOUNT {
            violations.add(field(path, name), format!("is at most {MAX_NODE_AMOUNT}"));
        }
    }
    (violations.0.len() == before).then_some(resources)
}

/// Pairs two amounts in each dimension, with the field's name.
pub(super) fn dimensions(a: Resources, b: Resources) -> [(&'static str, u64, u64); 3] {
    [
        ("cpu_millis", a.cpu_millis, b.cpu_millis),
        ("memory_bytes", a.memory_bytes, b.memory_bytes),
        ("disk_bytes", a.disk_bytes, b.disk_bytes),
    ]
}

/// Reads what is set aside for a task and what is enforced on it. What can be enforced depends on the runtime; while that is
/// not known (`None`, because it is wrong itself), only what holds for every runtime is checked.
pub fn task_resources_from_proto<'a>(
    requirements: Option<v1::ResourceRequirements>,
    runtime: Option<RuntimeKind>,
    path: impl Into<FieldPath<'a>>,
    violations: &mut Violations,
) -> Option<ResourceRequirements> {
    let path = &path.into();
    let requirements = requirements.unwrap_or_default();
    let before = violations.0.len();
    let limit_path = field(path, "limit");
    let reservation = task_amounts_from_proto(requirements.reservation, &field(path, "reservation"), violations);
    let limit = task_amounts_from_proto(requirements.limit, &limit_path, violations);
    let (reservation, limit) = (reservation?, limit?);
    if runtime == Some(RuntimeKind::Process) {
        if limit != Resources::ZERO {
            violations.add(limit_path, "limits are not enforced on processes; leave it unset");
        }
    } else {
        check_container_limit(reservation, limit, &limit_path, violations);
    }
    (violations.0.len() == before).then_some(ResourceRequirements { reservation, limit })
}

fn check_container_limit(reservation: Resources, limit: Resources, path: &FieldPath<'_>, violations: &mut Violations) {
    for (name, reserved, limit) in dimensions(reservation, limit) {
        let path = field(path, name);
        let too_small = match name {
            "disk_bytes" if limit != 0 => {
                violations.add(path, "the engine enforces no disk limit; leave it zero");
                continue;
            }
            "cpu_millis" => limit < MIN_CPU_LIMIT_MILLIS,
            "memory_bytes" => limit < MIN_MEMORY_LIMIT_BYTES,
            _ => false,
        };
        if limit == 0 {
            continue;
        }
        if too_small && name == "cpu_millis" {
            violations.add(path, format!("is at least {MIN_CPU_LIMIT_MILLIS}, or zero for no limit"));
        } else if too_small {
            let (min, given) = (HumanBytes(MIN_MEMORY_LIMIT_BYTES), HumanBytes(limit));
            violations.add(path, format!("is at least {min}, or zero for no limit; this is {given}"));
        } else if limit < reserved {
            violations.add(path, format!("{limit} is below the reservation of {reserved}"));
        }
    }
}

/// Writes amounts.
#[must_use]
pub fn resources_to_proto(resources: Resources) -> v1::Resources {
    v1::Resources {
        cpu_millis: resources.cpu_millis,
        memory_bytes: resources.memory_bytes,
        disk_bytes: resources.disk_bytes,
    }
}

/// Writes what is set aside for a task and what is enforced on it.
#[must_use]
pub fn resource_requirements_to_proto(requirements: ResourceRequirements) -> v1::ResourceRequirements {
    v1::ResourceRequirements {
        reservation: Some(resources_to_proto(requirements.reservation)),
        limit: Some(resources_to_proto(requirements.limit)),
    }
}
