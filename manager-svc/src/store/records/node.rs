//! Nodes.

use davit_core::id::{NodeId, Revision};
use davit_core::node::{Node, NodeDescription, RuntimeProblem};
use davit_core::placement::{PortRange, RuntimeKind};
use davit_core::resources::Resources;
use davit_core::validate::Violations;
use davit_proto::{convert, store_v1, v1};

use super::drain::{drain_from_record, drain_to_record};
use super::{Malformed, malformed, optional_time_from, optional_uuid_from, read, time_from, time_to, uuid_from};

/// Writes a node.
pub(in crate::store) fn node_to_record(node: &Node) -> store_v1::NodeRecord {
    let Node {
        node_id,
        description,
        user_labels,
        state,
        state_reason,
        state_since,
        runtime_problems,
        cordoned,
        drain,
        registration_number,
        worker_run,
        away_until,
        joined_at,
        updated_at,
        revision,
    } = node;
    store_v1::NodeRecord {
        node_id: node_id.0.as_bytes().to_vec(),
        description: Some(description_to_record(description)),
        user_labels: user_labels.clone(),
        state: convert::node_state_to_proto(*state).into(),
        state_reason: state_reason.clone(),
        state_time: Some(time_to(*state_since)),
        cordoned: *cordoned,
        join_time: Some(time_to(*joined_at)),
        update_time: Some(time_to(*updated_at)),
        revision: revision.0,
        runtime_problems: convert::runtime_problems_to_proto(runtime_problems),
        drain: drain.as_ref().map(drain_to_record),
        registration_number: *registration_number,
        worker_run: worker_run.map(|run| run.as_bytes().to_vec()).unwrap_or_default(),
        away_end_time: away_until.map(time_to),
    }
}

/// Reads a node.
pub(in crate::store) fn node_from_record(record: store_v1::NodeRecord) -> Result<Node, Malformed> {
    let Some(description) = record.description else { return malformed("description is missing") };
    let mut violations = Violations::new();
    let state = convert::node_state_from_proto(record.state, "state", &mut violations);
    let problem = |problem: v1::RuntimeProblem| {
        let mut violations = Violations::new();
        let kind: Vec<RuntimeKind> =
            convert::runtime_kinds_from_proto(&[problem.kind], "runtime_problems.kind", &mut violations);
        let kind = read(kind.into_iter().next(), &violations)?;
        let since = time_from(problem.start_time, "runtime_problems.start_time")?;
        Ok::<_, Malformed>((kind, RuntimeProblem { problem: problem.problem, since }))
    };
    let drain = match record.drain {
        Some(drain) => Some(drain_from_record(drain)?),
        None => None,
    };
    Ok(Node {
        node_id: NodeId(uuid_from(&record.node_id, "node_id")?),
        description: description_from_record(description)?,
        user_labels: record.user_labels,
        state: read(state, &violations)?,
        state_reason: record.state_reason,
        state_since: time_from(record.state_time, "state_time")?,
        runtime_problems: record.runtime_problems.into_iter().map(problem).collect::<Result<_, _>>()?,
        cordoned: record.cordoned,
        drain,
        registration_number: record.registration_number,
        worker_run: optional_uuid_from(&record.worker_run, "worker_run")?,
        away_until: optional_time_from(record.away_end_time, "away_end_time")?,
        joined_at: time_from(record.join_time, "join_time")?,
        updated_at: time_from(record.update_time, "update_time")?,
        revision: Revision(record.revision),
    })
}

fn description_to_record(description: &NodeDescription) -> store_v1::NodeDescriptionRecord {
    let NodeDescription {
        name,
        address,
        os,
        arch,
        labels,
        allocatable,
        capacity,
        runtimes,
        port_range,
        worker_version,
    } = description;
    store_v1::NodeDescriptionRecord {
        name: name.clone(),
        address: address.clone(),
        os: os.clone(),
        arch: arch.clone(),
        labels: labels.clone(),
        allocatable: Some(convert::resources_to_proto(*allocatable)),
        capacity: Some(convert::resources_to_proto(*capacity)),
        runtimes: runtimes.iter().map(|kind| convert::runtime_kind_to_proto(*kind).into()).collect(),
        port_range: port_range.map(convert::port_range_to_proto),
        worker_version: worker_version.clone(),
    }
}

fn description_from_record(record: store_v1::NodeDescriptionRecord) -> Result<NodeDescription, Malformed> {
    let mut violations = Violations::new();
    let runtimes = convert::runtime_kinds_from_proto(&record.runtimes, "description.runtimes", &mut violations);
    let runtimes = read(Some(runtimes), &violations)?;
    let port_range = match record.port_range {
        Some(range) => Some(port_range_from_record(range)?),
        None => None,
    };
    Ok(NodeDescription {
        name: record.name,
        address: record.address,
        os: record.os,
        arch: record.arch,
        labels: record.labels,
        allocatable: resources_from_record(record.allocatable.unwrap_or_default()),
        capacity: resources_from_record(record.capacity.unwrap_or_default()),
        runtimes,
        port_range,
        worker_version: record.worker_version,
    })
}

fn resources_from_record(record: v1::Resources) -> Resources {
    let v1::Resources { cpu_millis, memory_bytes, disk_bytes } = record;
    Resources { cpu_millis, memory_bytes, disk_bytes }
}

fn port_range_from_record(record: v1::PortRange) -> Result<PortRange, Malformed> {
    let range = match (u16::try_from(record.first), u16::try_from(record.last)) {
        (Ok(first), Ok(last)) => PortRange::new(first, last).ok(),
        _ => None,
    };
    range.map_or_else(|| malformed("port_range is no range of ports"), Ok)
}
