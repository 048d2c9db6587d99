//! Nodes and what is measured on them.

use davit_core::drain::{Drain, DrainSource};
use davit_core::node::{Node, NodeStats};
use davit_core::resources::Resources;
use davit_core::validate::Violations;

use super::common::{etag, required, timestamp_from_proto, timestamp_to_proto};
use super::enums::{node_state_to_proto, runtime_kind_to_proto};
use super::path::{FieldPath, field};
use super::port::port_range_to_proto;
use super::resources::resources_to_proto;
use super::runtime_health::runtime_problems_to_proto;
use crate::v1;

/// What a node has of tasks and load now. Follows from other state, so it is no part of [`Node`].
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct NodeUsage {
    /// What is set aside for tasks.
    pub allocated: Resources,
    /// How many tasks it holds that have not ended.
    pub task_count: u32,
    /// How many of them a drain has not told to move yet.
    pub waiting_count: u32,
    /// What was measured last.
    pub stats: Option<NodeStats>,
}

/// Writes a node.
#[must_use]
pub fn node_to_proto(node: &Node, usage: &NodeUsage) -> v1::Node {
    let description = &node.description;
    v1::Node {
        node_id: node.node_id.to_string(),
        name: description.name.clone(),
        address: description.address.clone(),
        os: description.os.clone(),
        arch: description.arch.clone(),
        labels: node.labels(),
        user_labels: node.user_labels.clone(),
        capacity: Some(resources_to_proto(description.capacity)),
        allocatable: Some(resources_to_proto(description.allocatable)),
        allocated: Some(resources_to_proto(usage.allocated)),
        runtimes: description.runtimes.iter().map(|kind| runtime_kind_to_proto(*kind).into()).collect(),
        state: node_state_to_proto(node.state).into(),
        state_reason: node.state_reason.clone(),
        state_time: Some(timestamp_to_proto(node.state_since)),
        cordoned: node.cordoned,
        task_count: usage.task_count,
        stats: usage.stats.map(node_stats_to_proto),
        worker_version: description.worker_version.clone(),
        create_time: Some(timestamp_to_proto(node.joined_at)),
        update_time: Some(timestamp_to_proto(node.updated_at)),
        revision: node.revision.0,
        etag: etag(node.revision),
        port_range: description.port_range.map(port_range_to_proto),
        runtime_problems: runtime_problems_to_proto(&node.runtime_problems),
        drain: node.drain.as_ref().map(|drain| drain_to_proto(drain, usage.waiting_count)),
    }
}

fn drain_to_proto(drain: &Drain, waiting_count: u32) -> v1::NodeDrain {
    let state = if drain.drained_at.is_some() { v1::DrainState::Drained } else { v1::DrainState::Draining };
    let source = match drain.source {
        DrainSource::User => v1::DrainSource::User,
        DrainSource::Worker { .. } => v1::DrainSource::Worker,
    };
    let stuck = drain.stuck.iter();
    v1::NodeDrain {
        state: state.into(),
        source: source.into(),
        start_time: Some(timestamp_to_proto(drain.started_at)),
        deadline: drain.deadline.map(timestamp_to_proto),
        drained_time: drain.drained_at.map(timestamp_to_proto),
        max_parallel: drain.max_parallel,
        waiting_count,
        moving_count: u32::try_from(drain.moving.len()).unwrap_or(u32::MAX),
        moved_count: drain.moved_count,
        forced_count: drain.forced_count,
        lost_count: drain.lost_count,
        stuck_count: drain.stuck_count,
        stuck_tasks: stuck
            .map(|(task_id, reason)| v1::StuckTask { task_id: task_id.to_string(), reason: reason.clone() })
            .collect(),
    }
}

/// Reads what was measured on a node.
pub fn node_stats_from_proto<'a>(
    stats: v1::NodeStats,
    path: impl Into<FieldPath<'a>>,
    violations: &mut Violations,
) -> Option<NodeStats> {
    let path = &path.into();
    let time_path = field(path, "measure_time");
    let measured_at = required(stats.measure_time, time_path, violations)
        .and_then(|time| timestamp_from_proto(time, time_path, violations));
    if !stats.load_1m.is_finite() || stats.load_1m < 0.0 {
        violations.add(field(path, "load_1m"), "is a finite number from zero up");
        return None;
    }
    Some(NodeStats {
        measured_at: measured_at?,
        cpu_used_millis: stats.cpu_used_millis,
        memory_used_bytes: stats.memory_used_bytes,
        disk_used_bytes: stats.disk_used_bytes,
        load_1m: stats.load_1m,
        running_tasks: stats.running_tasks,
    })
}

/// Writes what was measured on a node. A load that is no number, as some systems answer, becomes 0: no reader would take it.
#[must_use]
pub fn node_stats_to_proto(stats: NodeStats) -> v1::NodeStats {
    v1::NodeStats {
        measure_time: Some(timestamp_to_proto(stats.measured_at)),
        cpu_used_millis: stats.cpu_used_millis,
        memory_used_bytes: stats.memory_used_bytes,
        disk_used_bytes: stats.disk_used_bytes,
        load_1m: if stats.load_1m.is_finite() { stats.load_1m.max(0.0) } else { 0.0 },
        running_tasks: stats.running_tasks,
    }
}
