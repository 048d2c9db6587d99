//! What the scheduler is asked and what it is told of nodes.

use std::collections::{BTreeSet, HashSet};

use davit_core::id::NodeId;
use davit_core::placement::{NodeView, PlacedTask, PlacementRequest};
use davit_core::spec::{PRIORITIES, check_name};
use davit_core::validate::Violations;

use super::common::{MAX_LABELS, labels_from_proto, parse_node_id, parse_task_id, required};
use super::enums::{node_state_from_proto, node_state_to_proto, runtime_kind_to_proto, runtime_kinds_from_proto};
use super::node::{node_stats_from_proto, node_stats_to_proto};
use super::path::{FieldPath, field, item};
use super::port::{port_range_from_proto, port_range_to_proto};
use super::requirements::{
    affinities_from_proto, affinities_to_proto, host_port_to_proto, host_ports_from_proto, mark_counts_from_proto,
    mark_counts_to_proto, preferences_from_proto, preferences_to_proto, requirements_from_proto, requirements_to_proto,
};
use super::resources::{node_resources_from_proto, resources_to_proto};
use crate::v1;

/// Like tasks that are to be placed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlacementGroup {
    /// Comes back in the answer. Unique in the batch.
    pub group_id: String,
    /// What is asked for each of them. Whether there is such an algorithm is for the scheduler to say.
    pub request: PlacementRequest,
    /// How many; at least 1.
    pub count: u32,
    /// Whether all are placed or none.
    pub all_or_nothing: bool,
}

/// What a node would cost.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NodeCost {
    /// The node.
    pub node_id: NodeId,
    /// The lowest is the best. Finite.
    pub cost: f64,
}

/// Reads a node.
pub fn node_view_from_proto<'a>(
    node: v1::PlacementNode,
    path: impl Into<FieldPath<'a>>,
    violations: &mut Violations,
) -> Option<NodeView> {
    let path = &path.into();
    let before = violations.0.len();
    let node_id = parse_node_id(&node.node_id, field(path, "node_id"), violations);
    violations.check(field(path, "name"), check_name(&node.name));
    // The worker's and the user's labels together.
    let labels = labels_from_proto(node.labels, 2 * MAX_LABELS, field(path, "labels"), violations);
    let state = node_state_from_proto(node.state, field(path, "state"), violations);
    let runtimes = runtime_kinds_from_proto(&node.runtimes, field(path, "runtimes"), violations);
    let allocatable = node_resources_from_proto(node.allocatable, field(path, "allocatable"), violations);
    let reserved = node.reserved.unwrap_or_default();
    let reserved = node_resources_from_proto(Some(reserved), field(path, "reserved"), violations);
    let host_ports = host_ports_from_proto(&node.host_ports, &field(path, "host_ports"), violations);
    let port_range = port_range_from_proto(node.port_range, field(path, "port_range"), violations);
    let marks = mark_counts_from_proto(&node.marks, &field(path, "marks"), violations);
    let refused = mark_counts_from_proto(&node.refused_marks, &field(path, "refused_marks"), violations);
    let tasks = placed_tasks_from_proto(node.tasks, &field(path, "tasks"), violations);
    let stats = node.stats.and_then(|stats| node_stats_from_proto(stats, field(path, "stats"), violations));
    let view = NodeView {
        node_id: node_id?,
        name: node.name,
        os: node.os,
        arch: node.arch,
        labels: labels?.into(),
        state: state?,
        cordoned: node.cordoned,
        runtimes,
        allocatable: allocatable?,
        reserved: reserved?,
        host_ports,
        port_range,
        promised_ports: node.promised_port_count,
        task_count: node.task_count,
        marks,
        refused,
        stats,
        tasks,
    };
    (violations.0.len() == before).then_some(view)
}

/// Reads nodes, of which no two may have the same id.
pub fn node_views_from_proto<'a>(
    nodes: Vec<v1::PlacementNode>,
    path: impl Into<FieldPath<'a>>,
    violations: &mut Violations,
) -> Option<Vec<NodeView>> {
    let path = &path.into();
    let before = violations.0.len();
    let mut ids = BTreeSet::new();
    let mut read = Vec::with_capacity(nodes.len());
    for (index, node) in nodes.into_iter().enumerate() {
        let path = item(path, index);
        let Some(view) = node_view_from_proto(node, path, violations) else { continue };
        if !ids.insert(view.node_id) {
            violations.add(field(&path, "node_id"), format!("{} is given twice", view.node_id));
        }
        read.push(view);
    }
    (violations.0.len() == before).then_some(read)
}

/// Writes a node.
#[must_use]
pub fn node_view_to_proto(node: &NodeView) -> v1::PlacementNode {
    v1::PlacementNode {
        node_id: node.node_id.to_string(),
        name: node.name.clone(),
        os: node.os.clone(),
        arch: node.arch.clone(),
        labels: (&node.labels).into(),
        state: node_state_to_proto(node.state).into(),
        cordoned: node.cordoned,
        runtimes: node.runtimes.iter().map(|kind| runtime_kind_to_proto(*kind).into()).collect(),
        allocatable: Some(resources_to_proto(node.allocatable)),
        reserved: Some(resources_to_proto(node.reserved)),
        host_ports: node.host_ports.iter().copied().map(host_port_to_proto).collect(),
        task_count: node.task_count,
        stats: node.stats.map(node_stats_to_proto),
        port_range: node.port_range.map(port_range_to_proto),
        promised_port_count: node.promised_ports,
        marks: mark_counts_to_proto(&node.marks),
        refused_marks: mark_counts_to_proto(&node.refused),
        tasks: node.tasks.iter().map(placed_task_to_proto).collect(),
    }
}

/// Reads the tasks of a node that may be stopped or moved, each once.
fn placed_tasks_from_proto(
    tasks: Vec<v1::PlacedTask>,
    path: &FieldPath<'_>,
    violations: &mut Violations,
) -> Vec<PlacedTask> {
    let mut ids = BTreeSet::new();
    let mut read = Vec::with_capacity(tasks.len());
    for (index, task) in tasks.into_iter().enumerate() {
        let path = item(path, index);
        let task_id = parse_task_id(&task.task_id, field(&path, "task_id"), violations);
        let requirements_path = field(&path, "requirements");
        let requirements = required(task.requirements, requirements_path, violations)
            .and_then(|requirements| requirements_from_proto(&requirements, requirements_path, violations));
        let (Some(task_id), Some(requirements)) = (task_id, requirements) else { continue };
        if !ids.insert(task_id) {
            violations.add(field(&path, "task_id"), format!("{task_id} is given twice"));
        }
        let affinities = affinities_from_proto(&task.affinities, &field(&path, "affinities"), violations);
        let v1::PlacedTask { priority, running_secs, is_ending, algorithm, .. } = task;
        read.push(PlacedTask { task_id, requirements, priority, running_secs, is_ending, algorithm, affinities });
    }
    read
}

fn placed_task_to_proto(task: &PlacedTask) -> v1::PlacedTask {
    v1::PlacedTask {
        task_id: task.task_id.to_string(),
        requirements: Some(requirements_to_proto(&task.requirements)),
        priority: task.priority,
        running_secs: task.running_secs,
        is_ending: task.is_ending,
        algorithm: task.algorithm.clone(),
        affinities: affinities_to_proto(&task.affinities),
    }
}

/// Reads one group of like tasks. Whether there is such an algorithm is for the scheduler to say.
pub fn placement_group_from_proto<'a>(
    group: v1::PlacementGroup,
    path: impl Into<FieldPath<'a>>,
    violations: &mut Violations,
) -> Option<PlacementGroup> {
    let path = &path.into();
    let before = violations.0.len();
    if group.group_id.is_empty() {
        violations.add(field(path, "group_id"), "is needed");
    }
    if group.count == 0 {
        violations.add(field(path, "count"), "is at least 1");
    }
    if !PRIORITIES.contains(&group.priority) {
        let (least, most) = PRIORITIES.into_inner();
        violations.add(field(path, "priority"), format!("{} is not {least} to {most}", group.priority));
    }
    let requirements_path = field(path, "requirements");
    let preferences = preferences_from_proto(group.preferences.as_ref(), field(path, "preferences"), violations);
    let requirements = required(group.requirements, requirements_path, violations)
        .and_then(|requirements| requirements_from_proto(&requirements, requirements_path, violations))?;
    let request = PlacementRequest {
        requirements,
        preferences: preferences?,
        algorithm: group.algorithm,
        priority: group.priority,
        may_preempt: group.may_preempt,
    };
    let v1::PlacementGroup { group_id, count, all_or_nothing, .. } = group;
    (violations.0.len() == before).then_some(PlacementGroup { group_id, request, count, all_or_nothing })
}

/// Reads the groups of a batch, of which no two may have the same id.
pub fn placement_groups_from_proto<'a>(
    groups: Vec<v1::PlacementGroup>,
    path: impl Into<FieldPath<'a>>,
    violations: &mut Violations,
) -> Option<Vec<PlacementGroup>> {
    let path = &path.into();
    let before = violations.0.len();
    // Hashed and borrowed: a batch may have a hundred thousand of them.
    let mut ids = HashSet::with_capacity(groups.len());
    for (index, group) in groups.iter().enumerate() {
        if !ids.insert(group.group_id.as_str()) && !group.group_id.is_empty() {
            violations.add(field(&item(path, index), "group_id"), "is given twice");
        }
    }
    let mut read = Vec::with_capacity(groups.len());
    for (index, group) in groups.into_iter().enumerate() {
        read.extend(placement_group_from_proto(group, item(path, index), violations));
    }
    (violations.0.len() == before).then_some(read)
}

/// Writes one group of like tasks.
#[must_use]
pub fn placement_group_to_proto(group: &PlacementGroup) -> v1::PlacementGroup {
    v1::PlacementGroup {
        group_id: group.group_id.clone(),
        requirements: Some(requirements_to_proto(&group.request.requirements)),
        count: group.count,
        algorithm: group.request.algorithm.clone(),
        preferences: preferences_to_proto(&group.request.preferences),
        priority: group.request.priority,
        may_preempt: group.request.may_preempt,
        all_or_nothing: group.all_or_nothing,
    }
}

/// Reads what nodes would cost: at least one node, each once, each with a finite cost.
pub fn node_scores_from_proto<'a>(
    scores: &[v1::NodeScore],
    path: impl Into<FieldPath<'a>>,
    violations: &mut Violations,
) -> Option<Vec<NodeCost>> {
    let path = &path.into();
    let before = violations.0.len();
    if scores.is_empty() {
        violations.add(path, "needs at least one score");
    }
    let mut ids = BTreeSet::new();
    let mut read = Vec::with_capacity(scores.len());
    for (index, score) in scores.iter().enumerate() {
        let path = item(path, index);
        if !score.cost.is_finite() {
            violations.add(field(&path, "cost"), "must be finite");
        }
        let id_path = field(&path, "node_id");
        let Some(node_id) = parse_node_id(&score.node_id, id_path, violations) else { continue };
        if !ids.insert(node_id) {
            violations.add(id_path, format!("{node_id} is given twice"));
        }
        read.push(NodeCost { node_id, cost: score.cost });
    }
    (violations.0.len() == before).then_some(read)
}
