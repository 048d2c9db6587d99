//! What placement is told of a spec.

use super::*;
use crate::placement::{Affinity, Platform, SpreadOver};
use crate::resources::Resources;

fn spec() -> TaskSpec {
    let port = |container_port, host_port| Port { container_port, protocol: PortProtocol::Tcp, host_port };
    let container = ContainerSpec {
        ports: vec![port(443, Some(8443)), port(9000, None), port(80, Some(8080)), port(9001, None)],
        ..ContainerSpec::new("busybox".parse().unwrap())
    };
    let mut spec = TaskSpec::new("web", RuntimeSpec::Container(container));
    spec.labels = [("app", "shop"), ("tier", "front")].map(|(key, value)| (key.to_owned(), value.to_owned())).into();
    spec.resources.reservation = Resources { cpu_millis: 100, memory_bytes: 1 << 20, disk_bytes: 0 };
    spec.constraints = ["zone == b", "disk == ssd", "zone==b"].map(|text| text.parse().unwrap()).to_vec();
    spec
}

#[test]
fn requirements_are_what_the_spec_says_in_order_and_without_repeats() {
    let mut spec = spec();
    spec.placement = PlacementPolicy {
        platform: Platform { os: "linux".to_owned(), arch: String::new() },
        max_per_node: Some(2),
        task_affinities: vec![Mark::of_label("b", "1"), Mark::of_label("a", "1"), Mark::of_label("b", "1")],
        task_anti_affinities: vec![Mark::of_name("batch")],
        ..PlacementPolicy::default()
    };
    let requirements = spec.requirements();
    assert_eq!(requirements.runtime, RuntimeKind::Docker);
    assert_eq!(requirements.reservation, spec.resources.reservation);
    assert_eq!(requirements.platform.to_string(), "linux");
    let constraints: Vec<_> = requirements.constraints.iter().map(ToString::to_string).collect();
    assert_eq!(constraints, ["node.labels.disk == ssd", "node.labels.zone == b"]);
    assert_eq!(requirements.host_ports, [(PortProtocol::Tcp, 8080), (PortProtocol::Tcp, 8443)]);
    assert_eq!(requirements.dynamic_ports, 2);
    assert_eq!(requirements.max_per_node, Some(MaxPerNode { mark: Mark::of_name("web"), max: 2 }));
    assert_eq!(requirements.needs, [Mark::of_label("a", "1"), Mark::of_label("b", "1")]);
    assert_eq!(requirements.refuses, [Mark::of_name("batch")]);
}

#[test]
fn a_task_carries_its_name_and_its_labels_as_marks() {
    let (name, app, tier) = (Mark::of_name("web"), Mark::of_label("app", "shop"), Mark::of_label("tier", "front"));
    assert_eq!(spec().marks().collect::<Vec<_>>(), [name.clone(), app.clone(), tier.clone()]);
    assert!([&name, &app, &tier].into_iter().all(|mark| spec().carries(mark)));
    let others = [Mark::of_name("shop"), Mark::of_label("app", "web"), Mark::of_label("name", "web")];
    assert!(!others.iter().any(|mark| spec().carries(mark)));
    let with = spec().requirements();
    assert_eq!(with.marks, [app, name, tier]);
    let without = spec().requirements_without_marks();
    assert_eq!(without, Requirements { marks: Vec::new(), ..with });
}

#[test]
fn specs_of_one_shape_have_equal_requirements_whatever_their_order() {
    let mut other = spec();
    other.constraints.reverse();
    if let RuntimeSpec::Container(container) = &mut other.runtime {
        container.ports.reverse();
    }
    assert_eq!(other.requirements(), spec().requirements());
}

#[test]
fn only_placement_that_looks_at_tasks_mentions_marks() {
    let mentioned =
        |placement: PlacementPolicy| -> Vec<Mark> { TaskSpec { placement, ..spec() }.mentioned_marks().collect() };
    assert_eq!(mentioned(PlacementPolicy::default()), []);
    let liked = Affinity { expression: "disk == ssd".parse().unwrap(), weight: 5 };
    assert_eq!(mentioned(PlacementPolicy { affinities: vec![liked], ..PlacementPolicy::default() }), []);
    let own = [Mark::of_name("web")];
    assert_eq!(mentioned(PlacementPolicy { max_per_node: Some(1), ..PlacementPolicy::default() }), own);
    let spread = vec![SpreadOver { attribute: "zone".parse().unwrap(), weight: 50 }];
    assert_eq!(mentioned(PlacementPolicy { spread, ..PlacementPolicy::default() }), own);
    let (db, batch) = (Mark::of_label("app", "db"), Mark::of_name("batch"));
    let policy = PlacementPolicy {
        max_per_node: Some(1),
        task_affinities: vec![db.clone()],
        task_anti_affinities: vec![batch.clone()],
        ..PlacementPolicy::default()
    };
    assert_eq!(mentioned(policy.clone()), [own[0].clone(), db, batch]);
    // What a spec mentions is what its requirements mention.
    let spec = TaskSpec { placement: policy, ..spec() };
    let requirements = spec.requirements();
    assert!(requirements.mentioned_marks().all(|mark| spec.mentioned_marks().any(|known| known == *mark)));
}

#[test]
fn a_process_has_no_ports() {
    let process = ProcessSpec { command: vec!["true".to_owned()], env: BTreeMap::new(), working_dir: String::new() };
    let requirements = TaskSpec::new("tool", RuntimeSpec::Process(process)).requirements();
    assert_eq!(requirements.runtime, RuntimeKind::Process);
    assert_eq!((requirements.host_ports, requirements.dynamic_ports), (Vec::new(), 0));
}
