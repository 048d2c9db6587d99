//! Builders of a valid node and valid requirements, to bend one thing of, and generators of arbitrary ones.

use std::collections::{BTreeMap, BTreeSet};

use davit_core::id::NodeId;
use davit_core::node::{NodeState, NodeStats};
use davit_core::placement::{HostPort, NodeView, Requirements, RuntimeKind};
use davit_core::resources::Resources;
use davit_core::spec::PortProtocol;
use jiff::Timestamp;
use proptest::prelude::*;
use uuid::Uuid;

pub(crate) fn node_id(number: u64) -> NodeId {
    NodeId(Uuid::from_u64_pair(1, number))
}

/// An empty, ready node of 8 cores, 16 GiB of memory and 100 GiB of disk.
pub(crate) fn node(number: u64) -> NodeView {
    NodeView {
        node_id: node_id(number),
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

/// A measurement.
pub(crate) fn stats(cpu_used_millis: u64, memory_used_bytes: u64) -> NodeStats {
    NodeStats {
        measured_at: Timestamp::UNIX_EPOCH,
        cpu_used_millis,
        memory_used_bytes,
        disk_used_bytes: 0,
        load_1m: 0.0,
        running_tasks: 0,
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
    let port = (prop::sample::select(vec![PortProtocol::Tcp, PortProtocol::Udp]), 1..4_u16);
    prop_oneof![3 => Just(BTreeSet::new()), 1 => prop::collection::btree_set(port, 1..3)]
}

/// Small amounts, so that everything both fits and does not often enough.
pub(crate) fn any_node(number: u64) -> impl Strategy<Value = NodeView> {
    let state = prop_oneof![8 => Just(NodeState::Ready), 1 => Just(NodeState::Suspect), 1 => Just(NodeState::Down)];
    let runtimes = prop::sample::subsequence(vec![RuntimeKind::Docker, RuntimeKind::Process], 1..=2);
    let disk = prop::option::of(prop::sample::select(vec!["ssd", "hdd"]));
    let measured = prop::option::of((0..12_u64, 0..12_u64));
    let amounts = (any_resources(12), any_resources(4), 0..9_u32);
    (state, prop::bool::weighted(0.1), runtimes, amounts, any_ports(), disk, measured).prop_map(
        move |(state, cordoned, runtimes, (allocatable, reserved, task_count), host_ports, disk, measured)| NodeView {
            state,
            cordoned,
            runtimes: runtimes.into_iter().collect(),
            allocatable,
            reserved,
            task_count,
            host_ports,
            labels: disk.map(|disk| ("disk".to_owned(), disk.to_owned())).into_iter().collect(),
            stats: measured.map(|(cpu, memory)| stats(cpu, memory)),
            ..node(number)
        },
    )
}

/// Some nodes with different ids.
pub(crate) fn any_cluster() -> impl Strategy<Value = Vec<NodeView>> {
    (0..7_u64).prop_flat_map(|count| (0..count).map(any_node).collect::<Vec<_>>())
}

/// Requirements that some of [`any_node`] satisfy.
pub(crate) fn any_requirements() -> impl Strategy<Value = Requirements> {
    let constraints = prop_oneof![
        2 => Just(Vec::new()),
        1 => prop::sample::subsequence(vec!["disk == ssd", "gpu !exists", "disk exists"], 1..3),
    ];
    let runtime = prop::sample::select(vec![RuntimeKind::Docker, RuntimeKind::Process]);
    (runtime, any_resources(4), constraints, any_ports()).prop_map(|(runtime, reservation, constraints, host_ports)| {
        Requirements {
            runtime,
            reservation,
            constraints: constraints.iter().map(|text| text.parse().unwrap()).collect(),
            host_ports: host_ports.into_iter().collect(),
        }
    })
}
