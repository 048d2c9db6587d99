use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::placement::test_support::{any_node, any_requirements, node, requirements};
use crate::placement::{Home, HomeNode, Keeper, Mark, MaxPerNode, PortRange};
use crate::resources::Resources;
use crate::spec::PortProtocol;

fn texts(requirements: &Requirements, node: &NodeView) -> Vec<String> {
    misfits(requirements, node).iter().map(ToString::to_string).collect()
}

#[test]
fn an_empty_ready_node_takes_a_task() {
    assert!(fits(&requirements(), &node(1)));
    assert_eq!(misfits(&requirements(), &node(1)), []);
}

#[test]
fn every_failed_filter_is_told_with_its_amounts() {
    let mut demanding = requirements();
    demanding.reservation = Resources { cpu_millis: 9500, memory_bytes: 20 << 30, disk_bytes: 200 << 30 };
    demanding.constraints = vec!["disk == ssd".parse().unwrap(), "zone in (a, b)".parse().unwrap()];
    demanding.host_ports = vec![(PortProtocol::Tcp, 8080), (PortProtocol::Udp, 53)];
    demanding.platform = "linux/arm64".parse().unwrap();
    demanding.dynamic_ports = 2;
    demanding.max_per_node = Some(MaxPerNode { mark: Mark::of_name("web"), max: 1 });
    demanding.needs = vec!["app == cache".parse().unwrap()];
    demanding.refuses = vec!["app == db".parse().unwrap()];
    demanding.marks = vec!["app == web".parse().unwrap()];
    let at = HomeNode { node_id: node(2).node_id, name: node(2).name };
    demanding.homes = vec![
        Home { keeper: Keeper::Volume("data".to_owned()), node: Some(at) },
        Home { keeper: Keeper::Group("shop".to_owned()), node: None },
    ];
    demanding.group_reservation = Resources { cpu_millis: 20_000, memory_bytes: 1 << 30, disk_bytes: 0 };
    let mut bad = node(1);
    bad.port_range = PortRange::new(20_000, 20_000).ok();
    bad.marks = BTreeMap::from([(Mark::of_name("web"), 1), ("app == db".parse().unwrap(), 2)]);
    bad.refused = BTreeMap::from([("app == web".parse().unwrap(), 1)]);
    bad.state = NodeState::Down;
    bad.labels.insert("disk".to_owned(), "hdd".to_owned());
    bad.cordoned = true;
    bad.runtimes.clear();
    bad.reserved.cpu_millis = 500;
    bad.host_ports.extend(demanding.host_ports.iter().copied());

    assert_eq!(
        texts(&demanding, &bad),
        [
            "node is DOWN",
            "cordoned",
            "runtime docker is missing",
            "cpu: needs 9.5, 7.5 free",
            "memory: needs 20.0 GiB, 16.0 GiB free",
            "disk: needs 200.0 GiB, 100.0 GiB free",
            "platform: needs linux/aarch64, node is linux/x86_64",
            "constraint node.labels.disk == ssd: is hdd",
            "constraint node.labels.zone in (a, b): has no such label",
            "host port 8080/tcp is taken",
            "host port 53/udp is taken",
            "dynamic ports: needs 2, 1 free",
            "distinct hosts: has a task with task.name == web already",
            "task affinity: has no task with app == cache",
            "task anti-affinity: has a task with app == db",
            "task anti-affinity: has a task that refuses app == web",
            "all of group shop need 20 cpu, 1.0 GiB memory, 0 B disk, 7.5 cpu, 16.0 GiB memory, 100.0 GiB disk free",
            "volume data is on node-2",
        ]
    );
    let filters: Vec<_> = misfits(&demanding, &bad).iter().map(Misfit::filter).collect();
    assert!(Filter::ALL.iter().all(|filter| filters.contains(filter)), "{filters:?}");
}

#[test]
fn a_lack_that_rounding_hides_is_told_exactly() {
    let mut demanding = requirements();
    demanding.reservation.memory_bytes = (16 << 30) + 1;
    assert_eq!(texts(&demanding, &node(1)), ["memory: needs 17179869185 bytes, 17179869184 bytes free"]);
}

#[test]
fn a_suspect_node_takes_no_task() {
    let mut suspect = node(1);
    suspect.state = NodeState::Suspect;
    assert!(!fits(&requirements(), &suspect));
}

#[test]
fn the_same_port_of_another_protocol_is_free() {
    let mut wants_port = requirements();
    wants_port.host_ports = vec![(PortProtocol::Tcp, 53)];
    let mut has_other = node(1);
    has_other.host_ports.insert((PortProtocol::Udp, 53));
    assert!(fits(&wants_port, &has_other));
}

#[test]
fn a_node_that_is_reserved_beyond_its_size_still_takes_what_needs_nothing() {
    let mut shrunk = node(1);
    shrunk.reserved = Resources { cpu_millis: u64::MAX, memory_bytes: u64::MAX, disk_bytes: u64::MAX };
    let mut nothing = requirements();
    nothing.reservation = Resources::ZERO;
    assert!(fits(&nothing, &shrunk));
    assert!(!fits(&requirements(), &shrunk));
}

proptest! {
    #[test]
    fn fits_means_no_misfits(requirements in any_requirements(), node in any_node(1)) {
        prop_assert_eq!(fits(&requirements, &node), misfits(&requirements, &node).is_empty());
    }

    #[test]
    fn what_is_told_is_what_failed(requirements in any_requirements(), node in any_node(1)) {
        let told = misfits(&requirements, &node);
        for filter in Filter::ALL {
            let failed = !filter.check(&requirements, &node);
            prop_assert_eq!(failed, told.iter().any(|misfit| misfit.filter() == filter), "{}", filter);
        }
    }

    #[test]
    fn verdicts_say_what_misfits_say(requirements in any_requirements(), node in any_node(1)) {
        let verdicts = verdicts(&requirements, &node);
        prop_assert_eq!(verdicts.iter().all(|one| one.passes), fits(&requirements, &node));
        for filter in Filter::ALL {
            let told = verdicts.iter().find(|one| one.filter == filter);
            prop_assert_eq!(told.is_none_or(|one| one.passes), filter.check(&requirements, &node));
        }
    }

    #[test]
    fn what_is_released_is_as_it_was(requirements in any_requirements(), node in any_node(1)) {
        if fits(&requirements, &node) {
            let mut after = node.clone();
            after.reserve(&requirements);
            after.release(&requirements);
            prop_assert_eq!(after, node);
        }
    }

    #[test]
    fn reserving_changes_only_dynamic_filters(requirements in any_requirements(), node in any_node(1)) {
        let mut after = node.clone();
        after.reserve(&requirements);
        for filter in Filter::ALL.iter().filter(|filter| !Filter::DYNAMIC.contains(filter)) {
            prop_assert_eq!(filter.check(&requirements, &node), filter.check(&requirements, &after));
        }
    }

    #[test]
    fn a_node_that_fits_is_not_over_committed_by_one_more(
        requirements in any_requirements(),
        node in any_node(1),
    ) {
        if fits(&requirements, &node) {
            let mut after = node.clone();
            after.reserve(&requirements);
            let was_within = node.reserved.fits_in(node.allocatable);
            prop_assert!(!was_within || after.reserved.fits_in(after.allocatable));
            prop_assert!(after.free_dynamic_ports() <= node.free_dynamic_ports());
            for mark in &requirements.refuses {
                prop_assert!(!requirements.marks.contains(mark) || !fits(&requirements, &after));
            }
            prop_assert_eq!(after.host_ports.len(), node.host_ports.len() + requirements.host_ports.len());
        }
    }
}
