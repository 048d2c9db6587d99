//! Builders of a valid node and valid requirements, to bend one thing of, and generators of arbitrary ones. For tests of
//! this crate and, behind the feature `test-support`, of those that decide on placements.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use proptest::prelude::*;
use uuid::Uuid;

use super::{HostPort, Mark, MaxPerNode, NodeView, Platform, PortRange, Requirements, RuntimeKind};
use crate::id::NodeId;
use crate::labels::NodeLabels;
use crate::node::{NodeState, NodeStats};
use crate::resources::Resources;
use crate::spec::PortProtocol;

/// The id of [`node`] of that number.
#[must_use]
pub fn node_id(number: u64) -> NodeId {
    NodeId(Uuid::from_u64_pair(1, number))
}

/// An empty, ready node of 8 cores, 16 GiB of memory and 100 GiB of disk.
#[must_use]
pub fn node(number: u64) -> NodeView {
    NodeView {
        node_id: node_id(number),
        name: format!("node-{number}"),
        os: "linux".to_owned(),
        arch: "x86_64".to_owned(),
        labels: NodeLabels::new(),
        state: NodeState::Ready,
        cordoned: false,
        runtimes: BTreeSet::from([RuntimeKind::Docker, RuntimeKind::Process]),
        allocatable: Resources { cpu_millis: 8000, memory_bytes: 16 << 30, disk_bytes: 100 << 30 },
        reserved: Resources::ZERO,
        host_ports: BTreeSet::new(),
        port_range: Some(PortRange::DEFAULT),
        promised_ports: 0,
        task_count: 0,
        marks: BTreeMap::new(),
        refused: BTreeMap::new(),
        stats: None,
        tasks: Vec::new(),
    }
}

/// A container with a tenth of a core and 64 MiB.
#[must_use]
pub fn requirements() -> Requirements {
    Requirements {
        reservation: Resources { cpu_millis: 100, memory_bytes: 64 << 20, disk_bytes: 0 },
        ..Requirements::of_runtime(RuntimeKind::Docker)
    }
}

/// A measurement.
#[must_use]
pub fn stats(cpu_used_millis: u64, memory_used_bytes: u64) -> NodeStats {
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

/// Some of the few marks that arbitrary nodes and tasks have.
fn any_marks() -> impl Strategy<Value = Vec<Mark>> {
    let all = vec![Mark::of_label("app", "db"), Mark::of_label("app", "web"), Mark::of_name("web")];
    prop_oneof![2 => Just(Vec::new()), 1 => prop::sample::subsequence(all, 1..=2)]
}

/// Small amounts, so that everything both fits and does not often enough.
pub fn any_node(number: u64) -> impl Strategy<Value = NodeView> {
    let state = prop_oneof![8 => Just(NodeState::Ready), 1 => Just(NodeState::Suspect), 1 => Just(NodeState::Down)];
    let runtimes = prop::sample::subsequence(vec![RuntimeKind::Docker, RuntimeKind::Process], 1..=2);
    let disk = prop::option::of(prop::sample::select(vec!["ssd", "hdd"]));
    let arch = prop_oneof![4 => Just("x86_64"), 1 => Just("aarch64")];
    let measured = prop::option::of((0..12_u64, 0..12_u64));
    let amounts = (any_resources(12), any_resources(4), 0..9_u32);
    let marks = (any_marks(), any_marks(), 1..3_u32);
    let ports = (any_ports(), prop::option::of(1..3_u16));
    (state, prop::bool::weighted(0.1), runtimes, amounts, ports, (disk, arch), measured, marks).prop_map(
        move |(state, cordoned, runtimes, amounts, (host_ports, range), (disk, arch), measured, marks)| {
            let (allocatable, reserved, task_count) = amounts;
            let (carried, refused, times) = marks;
            NodeView {
                state,
                cordoned,
                runtimes: runtimes.into_iter().collect(),
                allocatable,
                reserved,
                task_count,
                host_ports,
                port_range: range.and_then(|last| PortRange::new(1, last).ok()),
                arch: arch.to_owned(),
                labels: disk.map(|disk| ("disk".to_owned(), disk.to_owned())).into_iter().collect(),
                stats: measured.map(|(cpu, memory)| stats(cpu, memory)),
                marks: carried.into_iter().map(|mark| (mark, times)).collect(),
                refused: refused.into_iter().map(|mark| (mark, times)).collect(),
                ..node(number)
            }
        },
    )
}

/// Up to so many nodes with different ids.
pub fn any_cluster(most: u64) -> impl Strategy<Value = Vec<NodeView>> {
    (0..=most).prop_flat_map(|count| (0..count).map(any_node).collect::<Vec<_>>())
}

/// Requirements that some of [`any_node`] satisfy.
pub fn any_requirements() -> impl Strategy<Value = Requirements> {
    let constraints = prop_oneof![
        2 => Just(Vec::new()),
        1 => prop::sample::subsequence(vec!["disk == ssd", "disk exists", "gpu !exists"], 1..3),
    ];
    let runtime = prop::sample::select(vec![RuntimeKind::Docker, RuntimeKind::Process]);
    let platform = prop_oneof![4 => Just(""), 1 => Just("linux"), 1 => Just("linux/amd64")];
    let ports = (any_ports(), prop_oneof![4 => Just(0_u32), 1 => 1..3_u32]);
    let max = prop::option::weighted(0.3, 1..3_u32);
    let marks = (any_marks(), any_marks(), prop::bool::weighted(0.2), prop::bool::weighted(0.3), max);
    (runtime, any_resources(4), platform, constraints, ports, marks).prop_map(
        |(runtime, reservation, platform, constraints, (host_ports, dynamic_ports), marks)| {
            let (mut carried, others, needs, refuses, max) = marks;
            let max_per_node = max.map(|max| MaxPerNode { mark: Mark::of_name("web"), max });
            if max_per_node.is_some() && !carried.contains(&Mark::of_name("web")) {
                carried.push(Mark::of_name("web"));
                carried.sort();
            }
            let mut constraints: Vec<_> = constraints.iter().filter_map(|text| text.parse().ok()).collect();
            constraints.sort();
            // A task never needs another of its own kind beside it; that is refused where specs are read.
            let needed = others.iter().filter(|mark| needs && !carried.contains(mark)).cloned().collect();
            Requirements {
                reservation,
                platform: platform.parse::<Platform>().unwrap_or_default(),
                constraints,
                host_ports: host_ports.into_iter().collect(),
                dynamic_ports,
                max_per_node,
                needs: needed,
                refuses: if refuses && !needs { others } else { Vec::new() },
                marks: carried,
                ..Requirements::of_runtime(runtime)
            }
        },
    )
}
