//! What the scheduler is asked and what it is told of nodes.

use std::collections::BTreeSet;

use davit_core::id::NodeId;
use davit_core::placement::{HostPort, NodeView, Requirements};
use davit_core::spec::check_name;
use davit_core::validate::Violations;

use super::common::{MAX_LABELS, field, item, labels_from_proto, parse_node_id, required};
use super::enums::{
    node_state_from_proto, node_state_to_proto, port_protocol_from_proto, port_protocol_to_proto,
    runtime_kind_from_proto, runtime_kind_to_proto, runtime_kinds_from_proto,
};
use super::node::{node_stats_from_proto, node_stats_to_proto};
use super::port::port_number;
use super::resources::{node_resources_from_proto, resources_to_proto, task_amounts_from_proto};
use super::task_spec::constraints_from_proto;
use crate::v1;

/// Like tasks that are to be placed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlacementGroup {
    /// Comes back in the answer. Unique in the batch.
    pub group_id: String,
    /// What each of them needs.
    pub requirements: Requirements,
    /// How many; at least 1.
    pub count: u32,
    /// The algorithm's name; empty for the default.
    pub algorithm: String,
}

/// What a node would cost.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NodeCost {
    /// The node.
    pub node_id: NodeId,
    /// The lowest is the best. Finite.
    pub cost: f64,
}

fn host_ports_from_proto(ports: &[v1::HostPort], path: &str, violations: &mut Violations) -> BTreeSet<HostPort> {
    let mut read = BTreeSet::new();
    for (index, port) in ports.iter().enumerate() {
        let path = item(path, index);
        let protocol = port_protocol_from_proto(port.protocol, &field(&path, "protocol"), violations);
        let number = port_number(port.port, &field(&path, "port"), violations);
        if let (Some(protocol), Some(number)) = (protocol, number)
            && !read.insert((protocol, number))
        {
            violations.add(path, format!("port {number}/{protocol} is given twice"));
        }
    }
    read
}

/// Writes a fixed port of a node.
#[must_use]
pub fn host_port_to_proto((protocol, port): HostPort) -> v1::HostPort {
    v1::HostPort { protocol: port_protocol_to_proto(protocol).into(), port: port.into() }
}

/// Reads what a task needs of a node.
pub fn requirements_from_proto(
    requirements: &v1::PlacementRequirements,
    path: &str,
    violations: &mut Violations,
) -> Option<Requirements> {
    let before = violations.0.len();
    let runtime = runtime_kind_from_proto(requirements.runtime, &field(path, "runtime"), violations);
    let reservation = task_amounts_from_proto(requirements.reservation, &field(path, "reservation"), violations);
    let constraints = constraints_from_proto(&requirements.constraints, &field(path, "constraints"), violations);
    let host_ports = host_ports_from_proto(&requirements.host_ports, &field(path, "host_ports"), violations);
    let mut constraints = constraints?;
    constraints.sort();
    constraints.dedup();
    let (runtime, reservation) = (runtime?, reservation?);
    let host_ports = host_ports.into_iter().collect();
    (violations.0.len() == before).then_some(Requirements { runtime, reservation, constraints, host_ports })
}

/// Writes what a task needs of a node.
#[must_use]
pub fn requirements_to_proto(requirements: &Requirements) -> v1::PlacementRequirements {
    v1::PlacementRequirements {
        runtime: runtime_kind_to_proto(requirements.runtime).into(),
        reservation: Some(resources_to_proto(requirements.reservation)),
        constraints: requirements.constraints.iter().map(ToString::to_string).collect(),
        host_ports: requirements.host_ports.iter().copied().map(host_port_to_proto).collect(),
    }
}

/// Reads a node.
pub fn node_view_from_proto(node: v1::PlacementNode, path: &str, violations: &mut Violations) -> Option<NodeView> {
    let before = violations.0.len();
    let node_id = parse_node_id(&node.node_id, &field(path, "node_id"), violations);
    violations.check(field(path, "name"), check_name(&node.name));
    // The worker's and the user's labels together.
    let labels = labels_from_proto(node.labels, 2 * MAX_LABELS, &field(path, "labels"), violations);
    let state = node_state_from_proto(node.state, &field(path, "state"), violations);
    let runtimes = runtime_kinds_from_proto(&node.runtimes, &field(path, "runtimes"), violations);
    let allocatable = node_resources_from_proto(node.allocatable, &field(path, "allocatable"), violations);
    let reserved = node.reserved.unwrap_or_default();
    let reserved = node_resources_from_proto(Some(reserved), &field(path, "reserved"), violations);
    let host_ports = host_ports_from_proto(&node.host_ports, &field(path, "host_ports"), violations);
    let stats = node.stats.and_then(|stats| node_stats_from_proto(stats, &field(path, "stats"), violations));
    let view = NodeView {
        node_id: node_id?,
        name: node.name,
        os: node.os,
        arch: node.arch,
        labels: labels?,
        state: state?,
        cordoned: node.cordoned,
        runtimes,
        allocatable: allocatable?,
        reserved: reserved?,
        host_ports,
        task_count: node.task_count,
        stats,
    };
    (violations.0.len() == before).then_some(view)
}

/// Reads nodes, of which no two may have the same id.
pub fn node_views_from_proto(
    nodes: Vec<v1::PlacementNode>,
    path: &str,
    violations: &mut Violations,
) -> Option<Vec<NodeView>> {
    let before = violations.0.len();
    let mut ids = BTreeSet::new();
    let mut read = Vec::with_capacity(nodes.len());
    for (index, node) in nodes.into_iter().enumerate() {
        let path = item(path, index);
        let Some(view) = node_view_from_proto(node, &path, violations) else { continue };
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
        labels: node.labels.clone(),
        state: node_state_to_proto(node.state).into(),
        cordoned: node.cordoned,
        runtimes: node.runtimes.iter().map(|kind| runtime_kind_to_proto(*kind).into()).collect(),
        allocatable: Some(resources_to_proto(node.allocatable)),
        reserved: Some(resources_to_proto(node.reserved)),
        host_ports: node.host_ports.iter().copied().map(host_port_to_proto).collect(),
        task_count: node.task_count,
        stats: node.stats.map(node_stats_to_proto),
    }
}

/// Reads one group of like tasks. Whether there is such an algorithm is for the scheduler to say.
pub fn placement_group_from_proto(
    group: v1::PlacementGroup,
    path: &str,
    violations: &mut Violations,
) -> Option<PlacementGroup> {
    let before = violations.0.len();
    if group.group_id.is_empty() {
        violations.add(field(path, "group_id"), "is needed");
    }
    if group.count == 0 {
        violations.add(field(path, "count"), "is at least 1");
    }
    let requirements_path = field(path, "requirements");
    let requirements = required(group.requirements, &requirements_path, violations)
        .and_then(|requirements| requirements_from_proto(&requirements, &requirements_path, violations))?;
    let v1::PlacementGroup { group_id, count, algorithm, .. } = group;
    (violations.0.len() == before).then_some(PlacementGroup { group_id, requirements, count, algorithm })
}

/// Reads the groups of a batch, of which no two may have the same id.
pub fn placement_groups_from_proto(
    groups: Vec<v1::PlacementGroup>,
    path: &str,
    violations: &mut Violations,
) -> Option<Vec<PlacementGroup>> {
    let before = violations.0.len();
    let mut ids = BTreeSet::new();
    let mut read = Vec::with_capacity(groups.len());
    for (index, group) in groups.into_iter().enumerate() {
        let path = item(path, index);
        let Some(group) = placement_group_from_proto(group, &path, violations) else { continue };
        if !ids.insert(group.group_id.clone()) {
            violations.add(field(&path, "group_id"), "is given twice");
        }
        read.push(group);
    }
    (violations.0.len() == before).then_some(read)
}

/// Writes one group of like tasks.
#[must_use]
pub fn placement_group_to_proto(group: &PlacementGroup) -> v1::PlacementGroup {
    v1::PlacementGroup {
        group_id: group.group_id.clone(),
        requirements: Some(requirements_to_proto(&group.requirements)),
        count: group.count,
        algorithm: group.algorithm.clone(),
    }
}

/// Reads what nodes would cost: at least one node, each once, each with a finite cost.
pub fn node_scores_from_proto(
    scores: &[v1::NodeScore],
    path: &str,
    violations: &mut Violations,
) -> Option<Vec<NodeCost>> {
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
        let Some(node_id) = parse_node_id(&score.node_id, &id_path, violations) else { continue };
        if !ids.insert(node_id) {
            violations.add(id_path, format!("{node_id} is given twice"));
        }
        read.push(NodeCost { node_id, cost: score.cost });
    }
    (violations.0.len() == before).then_some(read)
}
