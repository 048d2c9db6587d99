//! Machines of many sizes, labelled as clusters are.

use std::collections::{BTreeMap, BTreeSet};

use davit_core::id::NodeId;
use davit_core::labels::NodeLabels;
use davit_core::node::NodeState;
use davit_core::placement::{NodeView, PortRange, RuntimeKind};
use davit_core::resources::Resources;
use uuid::Uuid;

use super::Rng;

const GIB: u64 = 1 << 30;
const CORES: [u64; 5] = [4, 8, 16, 32, 64];
const GIB_PER_CORE: [u64; 3] = [2, 4, 8];
const ZONES: [&str; 5] = ["a", "b", "c", "d", "e"];
/// A third of the nodes have an SSD.
const DISKS: [&str; 3] = ["ssd", "hdd", "hdd"];
const NODES_PER_RACK: u32 = 40;

/// Ready, empty nodes of 4 to 64 cores with the labels `disk`, `zone` and `rack`, and `third`, which goes round.
pub(crate) fn nodes(count: u32, rng: &mut Rng) -> Vec<NodeView> {
    let one = |number: u32| {
        let cores = rng.one_of(&CORES).unwrap_or(16);
        let memory_bytes = cores * rng.one_of(&GIB_PER_CORE).unwrap_or(4) * GIB;
        let size = Resources { cpu_millis: cores * 1000, memory_bytes, disk_bytes: cores * 25 * GIB };
        let labels = [
            ("disk", rng.one_of(&DISKS).unwrap_or("hdd").to_owned()),
            ("zone", rng.one_of(&ZONES).unwrap_or("a").to_owned()),
            ("rack", format!("r{}", number / NODES_PER_RACK)),
            ("third", (number % 3).to_string()),
        ];
        let id = Uuid::from_u64_pair(rng.next(), rng.next());
        labelled_node(
            number,
            NodeId(id),
            size,
            labels.map(|(key, value)| (key.to_owned(), value)).into_iter().collect(),
        )
    };
    (0..count).map(one).collect()
}

/// A ready, empty node.
pub(crate) fn labelled_node(number: u32, node_id: NodeId, size: Resources, labels: NodeLabels) -> NodeView {
    NodeView {
        node_id,
        name: format!("node-{number}"),
        os: "linux".to_owned(),
        arch: "x86_64".to_owned(),
        labels,
        state: NodeState::Ready,
        cordoned: false,
        runtimes: BTreeSet::from([RuntimeKind::Docker, RuntimeKind::Process]),
        allocatable: size,
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
