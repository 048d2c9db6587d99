//! What workers and the manager say to each other.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use davit_core::id::{AttemptKey, ClusterId, NodeId, Revision, SessionId, TaskId};
use davit_core::node::NodeDescription;
use davit_core::placement::RuntimeKind;
use davit_core::spec::{TaskSpec, check_name};
use davit_core::task::{AttemptStatus, DesiredState, Part, PortBinding, Ports, PullProgress, RunIndex};
use davit_core::validate::Violations;
use uuid::Uuid;

use super::common::{
    MAX_LABELS, attempt_from_proto, duration_from_proto, duration_to_proto, labels_from_proto, parse_id, parse_node_id,
    parse_session_id, parse_task_id, required, timestamp_from_proto,
};
use super::enums::{
    desired_state_from_proto, desired_state_to_proto, port_protocol_from_proto, runtime_kind_to_proto,
    runtime_kinds_from_proto, task_state_from_proto,
};
use super::path::{FieldPath, field, item};
use super::port::{port_number, port_range_from_proto, port_range_to_proto};
use super::resources::{dimensions, node_resources_from_proto, resources_to_proto};
use super::runtime_health::{reported_problems_to_proto, runtime_problems_from_proto};
use super::spec_numbers::KnownSpecs;
use super::task::{attempt_status_to_proto, port_binding_to_proto};
use super::text::{check_printable, kept_reason};
use crate::v1;

/// How many ports of one attempt are kept: as many as a spec can name.
const MAX_PORT_BINDINGS: usize = 65_536;

/// The `ErrorInfo.reason` of a registration that is refused because a later one was taken in before.
pub const REGISTRATION_OVERTAKEN: &str = "REGISTRATION_OVERTAKEN";
/// In the `ErrorInfo.metadata` of such a refusal: the number of the node's last registration.
pub const LAST_REGISTRATION_NUMBER: &str = "last_registration_number";
/// The `ErrorInfo.reason` of a registration that is refused because another worker is in touch as this node.
pub const SECOND_WORKER: &str = "SECOND_WORKER";
/// A worker that goes for a while is waited for no longer than this.
pub const LONGEST_AWAY: Duration = Duration::from_secs(600);

/// Who a worker is, what it has and what it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registration {
    /// Made once by the worker.
    pub node_id: NodeId,
    /// Grows with every registration of the node; 0 for a worker that does not count them.
    pub registration_number: u64,
    /// Made anew by every start of a worker; `None` for one that does not say.
    pub worker_run: Option<Uuid>,
    /// Its worker waits for the node to be drained before it goes.
    pub draining: bool,
    /// Its worker takes specs by number.
    pub takes_spec_numbers: bool,
    /// What it says of its machine.
    pub description: NodeDescription,
    /// Its runtimes that don't answer, each with what is wrong.
    pub runtime_problems: BTreeMap<RuntimeKind, String>,
    /// Every attempt that it holds, each once. `node_id` of the statuses is unset: it is this worker's.
    pub attempts: Vec<(TaskId, AttemptStatus)>,
}

/// The manager's acceptance of a registration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Welcome {
    /// The cluster's name.
    pub cluster: String,
    /// How often to send a heartbeat; above zero.
    pub heartbeat_period: Duration,
    /// Unique to this stream.
    pub session_id: SessionId,
    /// How long leased tasks may run after the sending of the last acknowledged heartbeat; `None`: as long as they like.
    pub lease_duration: Option<Duration>,
    /// The cluster's id; `None`: the manager does not say.
    pub cluster_id: Option<ClusterId>,
}

/// One attempt that a worker is to run or stop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignment {
    /// Which attempt.
    pub key: AttemptKey,
    /// The task's revision.
    pub revision: Revision,
    /// `Running` or `Stopped`.
    pub desired_state: DesiredState,
    /// What to run.
    pub spec: Arc<TaskSpec>,
    /// Host ports for those of the spec that don't ask for a certain one, in the spec's order.
    pub ports: Ports,
    /// The task's part in what it belongs to.
    pub part: Part,
}

/// Reads a registration.
pub fn register_from_proto<'a>(
    register: v1::Register,
    path: impl Into<FieldPath<'a>>,
    violations: &mut Violations,
) -> Option<Registration> {
    let path = &path.into();
    let before = violations.0.len();
    let node_id = parse_node_id(&register.node_id, field(path, "node_id"), violations);
    violations.check(field(path, "name"), check_name(&register.name));
    check_printable(&register.address, &field(path, "address"), violations);
    check_printable(&register.os, &field(path, "os"), violations);
    check_printable(&register.arch, &field(path, "arch"), violations);
    check_printable(&register.worker_version, &field(path, "worker_version"), violations);
    let labels = labels_from_proto(register.labels, MAX_LABELS, field(path, "labels"), violations);
    let capacity = node_resources_from_proto(register.capacity, field(path, "capacity"), violations);
    let allocatable_path = field(path, "allocatable");
    let allocatable = node_resources_from_proto(register.allocatable, allocatable_path, violations);
    let runtimes = runtime_kinds_from_proto(&register.runtimes, field(path, "runtimes"), violations);
    let port_range = port_range_from_proto(register.port_range, field(path, "port_range"), violations);
    let problems_path = field(path, "runtime_problems");
    let runtime_problems = runtime_problems_from_proto(register.runtime_problems, &problems_path, violations);
    let attempts = attempt_reports_from_proto(register.attempts, &field(path, "attempts"), violations);
    let worker_run = match register.worker_run.as_str() {
        "" => None,
        text => parse_id(text, &field(path, "worker_run"), violations),
    };
    let (capacity, allocatable) = (capacity?, allocatable?);
    for (name, usable, total) in dimensions(allocatable, capacity) {
        if usable > total {
            violations.add(field(&allocatable_path, name), format!("{usable} is above the capacity of {total}"));
        }
    }
    let description = NodeDescription {
        name: register.name,
        address: register.address,
        os: register.os,
        arch: register.arch,
        labels: labels?,
        allocatable,
        capacity,
        runtimes,
        port_range,
        worker_version: register.worker_version,
    };
    let (node_id, attempts) = (node_id?, attempts?);
    let registration_number = register.registration_number;
    let (draining, takes_spec_numbers) = (register.draining, register.takes_spec_numbers);
    let registration = Registration {
        node_id,
        registration_number,
        worker_run,
        draining,
        takes_spec_numbers,
        description,
        runtime_problems,
        attempts,
    };
    (violations.0.len() == before).then_some(registration)
}

/// Writes a registration.
#[must_use]
pub fn register_to_proto(registration: &Registration) -> v1::Register {
    let description = &registration.description;
    v1::Register {
        node_id: registration.node_id.to_string(),
        name: description.name.clone(),
        address: description.address.clone(),
        os: description.os.clone(),
        arch: description.arch.clone(),
        labels: description.labels.clone(),
        capacity: Some(resources_to_proto(description.capacity)),
        allocatable: Some(resources_to_proto(description.allocatable)),
        runtimes: description.runtimes.iter().map(|kind| runtime_kind_to_proto(*kind).into()).collect(),
        worker_version: description.worker_version.clone(),
        attempts: registration.attempts.iter().map(|(id, status)| attempt_report_to_proto(*id, status)).collect(),
        port_range: description.port_range.map(port_range_to_proto),
        runtime_problems: reported_problems_to_proto(&registration.runtime_problems),
        registration_number: registration.registration_number,
        draining: registration.draining,
        takes_spec_numbers: registration.takes_spec_numbers,
        worker_run: registration.worker_run.map(|run| run.to_string()).unwrap_or_default(),
    }
}

/// Reads what became of attempts, each of which may be named once.
fn attempt_reports_from_proto(
    reports: Vec<v1::AttemptReport>,
    path: &FieldPath<'_>,
    violations: &mut Violations,
) -> Option<Vec<(TaskId, AttemptStatus)>> {
    let before = violations.0.len();
    let mut keys = BTreeSet::new();
    let mut read = Vec::with_capacity(reports.len());
    for (index, report) in reports.into_iter().enumerate() {
        let path = item(path, index);
        let Some((task_id, status)) = attempt_report_from_proto(report, path, violations) else { continue };
        if !keys.insert((task_id, status.attempt)) {
            violations.add(path, format!("attempt {} of task {task_id} is reported twice", status.attempt));
        }
        read.push((task_id, status));
    }
    (violations.0.len() == before).then_some(read)
}

/// Reads a status report: its id, and the newest status of each attempt.
pub fn status_report_from_proto<'a>(
    report: v1::StatusReport,
    path: impl Into<FieldPath<'a>>,
    violations: &mut Violations,
) -> Option<(u64, Vec<(TaskId, AttemptStatus)>)> {
    let path = &path.into();
    let reports = attempt_reports_from_proto(report.reports, &field(path, "reports"), violations)?;
    Some((report.report_id, reports))
}

/// Reads what became of one attempt. A worker reports PREPARING to STOPPED; the other states are the manager's.
pub fn attempt_report_from_proto<'a>(
    report: v1::AttemptReport,
    path: impl Into<FieldPath<'a>>,
    violations: &mut Violations,
) -> Option<(TaskId, AttemptStatus)> {
    let path = &path.into();
    let before = violations.0.len();
    let task_id = parse_task_id(&report.task_id, field(path, "task_id"), violations);
    let attempt = attempt_from_proto(report.attempt, field(path, "attempt"), violations);
    let path = field(path, "status");
    let status = required(report.status, path, violations)?;
    let state_path = field(&path, "state");
    let state = task_state_from_proto(status.state, state_path, violations);
    if let Some(state) = state.filter(|state| state.reported_by().is_none()) {
        let name = super::task_state_to_proto(state).as_str_name();
        violations.add(state_path, format!("{name} is set by the manager, a worker can't report it"));
    }
    let ports = port_bindings_from_proto(&status.ports, &field(&path, "ports"), violations);
    let mut time = |time: Option<prost_types::Timestamp>, name| {
        time.and_then(|time| timestamp_from_proto(time, field(&path, name), violations))
    };
    let (started_at, finished_at) = (time(status.start_time, "start_time"), time(status.finish_time, "finish_time"));
    let status = AttemptStatus {
        attempt: attempt?,
        state: state?,
        sequence: report.sequence,
        node_id: None,
        ready: status.ready,
        reason: kept_reason(status.reason),
        exit_code: status.exit_code,
        oom_killed: status.oom_killed,
        ports,
        pull: status.pull_progress.map(|progress| {
            Box::new(PullProgress {
                downloaded_bytes: progress.downloaded_bytes,
                total_bytes: progress.total_bytes,
                layers_done: progress.layers_done,
                layers_total: progress.layers_total,
            })
        }),
        started_at,
        finished_at,
        local_restarts: status.local_restarts,
    };
    let task_id = task_id?;
    (violations.0.len() == before).then_some((task_id, status))
}

fn port_bindings_from_proto(ports: &[v1::PortBinding], path: &FieldPath<'_>, violations: &mut Violations) -> Ports {
    if ports.len() > MAX_PORT_BINDINGS {
        violations.add(path, format!("has at most {MAX_PORT_BINDINGS} ports, this has {}", ports.len()));
        return Ports::new();
    }
    let read = |(index, port): (usize, &v1::PortBinding)| {
        let path = item(path, index);
        let container_port = port_number(port.container_port, &field(&path, "container_port"), violations);
        let protocol = port_protocol_from_proto(port.protocol, field(&path, "protocol"), violations);
        let host_port = port_number(port.host_port, &field(&path, "host_port"), violations);
        Some(PortBinding { container_port: container_port?, protocol: protocol?, host_port: host_port? })
    };
    ports.iter().enumerate().filter_map(read).collect()
}

/// Writes what became of one attempt.
#[must_use]
pub fn attempt_report_to_proto(task_id: TaskId, status: &AttemptStatus) -> v1::AttemptReport {
    v1::AttemptReport {
        task_id: task_id.to_string(),
        attempt: status.attempt.0,
        sequence: status.sequence,
        status: Some(attempt_status_to_proto(status, None)),
    }
}

/// Reads the manager's acceptance.
pub fn welcome_from_proto<'a>(
    welcome: v1::Welcome,
    path: impl Into<FieldPath<'a>>,
    violations: &mut Violations,
) -> Option<Welcome> {
    let path = &path.into();
    let period_path = field(path, "heartbeat_period");
    let session_id = parse_session_id(&welcome.session_id, field(path, "session_id"), violations);
    let heartbeat_period = required(welcome.heartbeat_period, period_path, violations)
        .and_then(|period| duration_from_proto(period, period_path, violations))?;
    if heartbeat_period.is_zero() {
        violations.add(period_path, "must be above zero");
        return None;
    }
    let lease_duration = match welcome.lease_duration {
        Some(lease) => Some(duration_from_proto(lease, field(path, "lease_duration"), violations)?),
        None => None,
    };
    let cluster_id = match welcome.cluster_id.as_str() {
        "" => None,
        text => Some(parse_id(text, &field(path, "cluster_id"), violations)?),
    };
    Some(Welcome { cluster: welcome.cluster, heartbeat_period, session_id: session_id?, lease_duration, cluster_id })
}

/// Writes the manager's acceptance.
#[must_use]
pub fn welcome_to_proto(welcome: &Welcome) -> v1::Welcome {
    v1::Welcome {
        cluster: welcome.cluster.clone(),
        heartbeat_period: Some(duration_to_proto(welcome.heartbeat_period)),
        session_id: welcome.session_id.to_string(),
        lease_duration: welcome.lease_duration.map(duration_to_proto),
        cluster_id: welcome.cluster_id.map(|id| id.to_string()).unwrap_or_default(),
    }
}

/// Reads what a worker is to run or stop, in a session that has sent these specs.
pub fn assignment_from_proto<'a>(
    assignment: v1::Assignment,
    specs: &mut KnownSpecs,
    path: impl Into<FieldPath<'a>>,
    violations: &mut Violations,
) -> Option<Assignment> {
    let path = &path.into();
    let before = violations.0.len();
    let task_id = parse_task_id(&assignment.task_id, field(path, "task_id"), violations);
    let attempt = attempt_from_proto(assignment.attempt, field(path, "attempt"), violations);
    let desired_path = field(path, "desired_state");
    let desired_state = desired_state_from_proto(assignment.desired_state, desired_path, violations);
    if desired_state == Some(DesiredState::Removed) {
        violations.add(desired_path, "an attempt is to run or to stop; removal is a message of its own");
    }
    let ports = port_bindings_from_proto(&assignment.ports, &field(path, "ports"), violations);
    let (spec_path, number_path) = (field(path, "spec"), field(path, "spec_number"));
    let spec = specs.take(assignment.spec, assignment.spec_number, spec_path, number_path, violations)?;
    let key = AttemptKey { task_id: task_id?, attempt: attempt? };
    let (desired_state, revision) = (desired_state?, Revision(assignment.revision));
    (violations.0.len() == before).then_some(Assignment {
        key,
        revision,
        desired_state,
        spec,
        ports,
        part: part_from_proto(assignment.slot, assignment.run_index),
    })
}

/// Writes what a worker is to run or stop, with this spec. Of a task that is to be removed, the attempt is to stop first.
#[must_use]
pub fn assignment_to_proto(
    key: AttemptKey,
    revision: Revision,
    desired_state: DesiredState,
    spec: Option<v1::TaskSpec>,
    ports: &[PortBinding],
    part: Part,
) -> v1::Assignment {
    let desired_state = match desired_state {
        DesiredState::Running => DesiredState::Running,
        DesiredState::Stopped | DesiredState::Removed => DesiredState::Stopped,
    };
    let (slot, run_index) = match part {
        Part::Alone => (0, None),
        Part::Replica(replica) => (replica, None),
        Part::Index(RunIndex { run, index }) => (0, Some(v1::RunIndex { run, index })),
    };
    v1::Assignment {
        task_id: key.task_id.to_string(),
        attempt: key.attempt.0,
        revision: revision.0,
        desired_state: desired_state_to_proto(desired_state).into(),
        spec,
        ports: ports.iter().map(port_binding_to_proto).collect(),
        spec_number: 0,
        slot,
        run_index,
    }
}

fn part_from_proto(slot: u32, run_index: Option<v1::RunIndex>) -> Part {
    match (slot, run_index) {
        (_, Some(v1::RunIndex { run, index })) => Part::Index(RunIndex { run, index }),
        (0, None) => Part::Alone,
        (replica, None) => Part::Replica(replica),
    }
}

/// Reads the name of an attempt.
pub fn attempt_ref_from_proto<'a>(
    attempt: &v1::AttemptRef,
    path: impl Into<FieldPath<'a>>,
    violations: &mut Violations,
) -> Option<AttemptKey> {
    let path = &path.into();
    let task_id = parse_task_id(&attempt.task_id, field(path, "task_id"), violations);
    let attempt = attempt_from_proto(attempt.attempt, field(path, "attempt"), violations);
    Some(AttemptKey { task_id: task_id?, attempt: attempt? })
}

/// Writes the name of an attempt.
#[must_use]
pub fn attempt_ref_to_proto(key: AttemptKey) -> v1::AttemptRef {
    v1::AttemptRef { task_id: key.task_id.to_string(), attempt: key.attempt.0 }
}
