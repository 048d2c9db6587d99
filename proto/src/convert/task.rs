//! Tasks and what is known of their attempts.

use davit_core::spec::TaskSpec;
use davit_core::task::{AttemptStatus, PortBinding, PullProgress, RunIndex, Slot, Task};
use davit_core::validate::Violations;
use jiff::Timestamp;

use super::common::{etag, required, timestamp_to_proto};
use super::enums::{desired_state_to_proto, port_protocol_to_proto, task_state_to_proto};
use super::path::{FieldPath, field, item};
use super::task_spec::{task_spec_from_proto, task_spec_to_proto};
use crate::v1;

/// How many tasks one batch may create.
pub const MAX_BATCH_TASKS: u32 = 10_000;

/// Some tasks of the same shape.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskGroup {
    /// What each of them runs.
    pub spec: TaskSpec,
    /// How many; at least 1.
    pub count: u32,
    /// Whether they are a gang: placed together or not at all.
    pub all_or_nothing: bool,
}

/// Reads the groups of a batch: at least one task and at most [`MAX_BATCH_TASKS`] in all.
pub fn task_groups_from_proto<'a>(
    groups: Vec<v1::TaskGroup>,
    path: impl Into<FieldPath<'a>>,
    violations: &mut Violations,
) -> Option<Vec<TaskGroup>> {
    let path = &path.into();
    let before = violations.0.len();
    if groups.is_empty() {
        violations.add(path, "needs at least one group");
    }
    let total: u64 = groups.iter().map(|group| u64::from(group.count.unwrap_or(1))).sum();
    if total > u64::from(MAX_BATCH_TASKS) || groups.len() > MAX_BATCH_TASKS as usize {
        let total = total.max(groups.len() as u64);
        violations.add(path, format!("creates at most {MAX_BATCH_TASKS} tasks in all, this would create {total}"));
        return None;
    }
    let mut read = Vec::with_capacity(groups.len());
    for (index, group) in groups.into_iter().enumerate() {
        let path = item(path, index);
        let count = group.count.unwrap_or(1);
        if count == 0 {
            violations.add(field(&path, "count"), "is at least 1");
        }
        let spec_path = field(&path, "spec");
        let spec = required(group.spec, spec_path, violations)
            .and_then(|spec| task_spec_from_proto(spec, spec_path, violations));
        if group.all_or_nothing && spec.as_ref().is_some_and(|spec| spec.placement.may_preempt) {
            let placement = field(&spec_path, "placement");
            violations
                .add(field(&placement, "may_preempt"), "is not for tasks that are placed all together or not at all");
        }
        read.extend(spec.map(|spec| TaskGroup { spec, count, all_or_nothing: group.all_or_nothing }));
    }
    (violations.0.len() == before).then_some(read)
}

/// Writes a task.
#[must_use]
pub fn task_to_proto(task: &Task) -> v1::Task {
    let past = |status: &AttemptStatus| v1::TaskAttempt {
        attempt: status.attempt.0,
        status: Some(attempt_status_to_proto(status, None)),
    };
    v1::Task {
        task_id: task.task_id.to_string(),
        spec: Some(task_spec_to_proto(&task.spec)),
        desired_state: desired_state_to_proto(task.desired_state).into(),
        attempt: task.status.attempt.0,
        status: Some(attempt_status_to_proto(&task.status, task.next_attempt_at)),
        past_attempts: task.past_attempts.iter().map(past).collect(),
        create_time: Some(timestamp_to_proto(task.created_at)),
        update_time: Some(timestamp_to_proto(task.updated_at)),
        revision: task.revision.0,
        etag: etag(task.revision),
        gang_id: task.gang_id().map(|id| id.to_string()).unwrap_or_default(),
        claim: task
            .claim
            .as_ref()
            .map(|claim| v1::PlacementClaim { node_id: claim.node_id.to_string(), reason: claim.reason.clone() }),
        deployment: task.slot().map(|(deployment_id, slot)| {
            let (replica, node_id) = match slot {
                Slot::Replica(replica) => (replica, String::new()),
                Slot::Node(node_id) => (0, node_id.to_string()),
            };
            v1::DeploymentSlot { deployment_id: deployment_id.to_string(), slot: replica, node_id }
        }),
        job: task.run_index().map(|(job_id, RunIndex { run, index })| v1::JobIndex {
            job_id: job_id.to_string(),
            run,
            index,
        }),
    }
}

/// Writes a published port, as given.
pub(super) fn port_binding_to_proto(binding: &PortBinding) -> v1::PortBinding {
    v1::PortBinding {
        container_port: binding.container_port.into(),
        protocol: port_protocol_to_proto(binding.protocol).into(),
        host_port: binding.host_port.into(),
    }
}

/// Writes what is known of an attempt; `next_attempt_at` is the task's, for its current attempt.
#[must_use]
pub fn attempt_status_to_proto(status: &AttemptStatus, next_attempt_at: Option<Timestamp>) -> v1::TaskStatus {
    let pull = |progress: &PullProgress| v1::PullProgress {
        downloaded_bytes: progress.downloaded_bytes,
        total_bytes: progress.total_bytes,
        layers_done: progress.layers_done,
        layers_total: progress.layers_total,
    };
    v1::TaskStatus {
        state: task_state_to_proto(status.state).into(),
        node_id: status.node_id.map(|id| id.to_string()).unwrap_or_default(),
        ready: status.ready,
        reason: status.reason.clone(),
        exit_code: status.exit_code,
        oom_killed: status.oom_killed,
        ports: status.ports.iter().map(port_binding_to_proto).collect(),
        pull_progress: status.pull.as_deref().map(pull),
        start_time: status.started_at.map(timestamp_to_proto),
        finish_time: status.finished_at.map(timestamp_to_proto),
        next_attempt_time: next_attempt_at.map(timestamp_to_proto),
        local_restarts: status.local_restarts,
    }
}
