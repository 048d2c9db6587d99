//! Builders of a valid node and valid requirements, to bend one thing of, and generators of arbitrary ones.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use uuid::Uuid;

use super::{HostPort, NodeView, Requirements, RuntimeKind};
use crate::id::NodeId;
use crate::node::NodeState;
use crate::resources::Resources;
use crate::spec::PortProtocol;

/// An empty, ready node of 8 cores, 16 GiB of memory and 100 GiB of disk.
pub(crate) fn node(number: u64) -> NodeView {
    NodeView {
        node_id: NodeId(Uuid::from_u64_pair(1, number)),
        name: format!("node-{number}"),
        os: "linux".to_owned(),
        arch: "x86_64".to_owned(),
        labels: BTreeMap::new(),
        state: NodeState::Ready,
        cordoned: false,
        runtimes: BTreeSet::from([RuntimeKind::Docker, RuntimeKind::Process]),
        allocatable: Resources { cpu_millis: 8000, memory_bytes: 16 << 30, disk_bytes: 100 << 30 },
        reserved: Resources::ZERO,
        host_ports: BTreeSet::new(),
        task_count: 0,
        stats: None,
    }
}

/// A container with a tenth of a core and 64 MiB.
pub(crate) fn requirements() -> Requirements {
    Requirements {
        runtime: RuntimeKind::Docker,
        reservation: Resources { cpu_millis: 100, memory_bytes: 64 << 20, disk_bytes: 0 },
        constraints: Vec::new(),
        host_ports: Vec::new(),
    }
}

fn any_resources(most: u64) -> impl Strategy<Value = Resources> {
    (0..=most, 0..=most, 0..=most).prop_map(|(cpu_millis, memory_bytes, disk_bytes)| Resources {
        cpu_millis,
        memory_bytes,
        disk_bytes,
    })
}

fn any_ports() -> impl Strategy<Value = BTreeSet<HostPort>> {
    prop::collection::btree_set((prop::sample::select(vec![PortProtocol::Tcp, PortProtocol::Udp]), 1..4_u16), 0..3)
}

/// Small amounts, so that everything both fits and does not often enough.
pub(crate) fn any_node(number: u64) -> impl Strategy<Value = NodeView> {
    (
        prop_oneof![8 => Just(NodeState::Ready), 1 => Just(NodeState::Suspect), 1 => Just(NodeState::Down)],
        prop::bool::weighted(0.1),
        prop::sample::select(vec![RuntimeKind::Docker, RuntimeKind::Process]),
        prop::bool::weighted(0.8),
        any_resources(12),
        any_resources(4),
        any_ports(),
        prop::option::of(prop::sample::select(vec!["ssd", "hdd"])),
    )
        .prop_map(move |(state, cordoned, runtime, both, allocatable, reserved, host_ports, disk)| NodeView {
            state,
            cordoned,
            runtimes: if both { node(number).runtimes } else { BTreeSet::from([runtime]) },
            allocatable,
            reserved,
            host_ports,
            labels: disk.map(|disk| ("disk".to_owned(), disk.to_owned())).into_iter().collect(),
            ..node(number)
        })
}

/// Requirements that some of [`any_node`] satisfy.
pub(crate) fn any_requirements() -> impl Strategy<Value = Requirements> {
    (
        prop::sample::select(vec![RuntimeKind::Docker, RuntimeKind::Process]),
        any_resources(4),
        prop::sample::subsequence(vec!["disk == ssd", "gpu !exists", "disk exists"], 0..2),
        any_ports(),
    )
        .prop_map(|(runtime, reservation, constraints, host_ports)| Requirements {
            runtime,
            reservation,
            constraints: constraints.iter().map(|text| text.parse().unwrap()).collect(),
            host_ports: host_ports.into_iter().collect(),
        })
}
