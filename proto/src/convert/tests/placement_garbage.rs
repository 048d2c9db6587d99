//! Nodes and groups of anything that may come in: nothing panics, and what is accepted survives being written and read
//! again. The checks are those of the fuzz target.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::garbage::{Wildness, map, mixed, number, resources, text};
use super::{ID, OTHER_ID};
use crate::fuzzing;
use crate::v1;

const MARKS: &[&str] = &["app == db", "app==web", "task.name == web", "a == "];
const EXPRESSIONS: &[&str] = &["disk == ssd", "node.os!=linux", "a in (b,c)", "cores>=8", "x !exists"];

fn amount(wild: Wildness, good: &[u32]) -> BoxedStrategy<u32> {
    mixed(wild, good.to_vec(), any::<u32>())
}

fn affinity(wild: Wildness) -> impl Strategy<Value = v1::NodeAffinity> {
    (text(wild, EXPRESSIONS), number(wild, vec![-100, -1, 1, 100]))
        .prop_map(|(expression, weight)| v1::NodeAffinity { expression, weight })
}

fn spread(wild: Wildness) -> impl Strategy<Value = v1::SpreadPreference> {
    (text(wild, &["zone", "node.labels.rack", "node.arch"]), option::of(amount(wild, &[1, 100])))
        .prop_map(|(attribute, weight)| v1::SpreadPreference { attribute, weight })
}

pub(super) fn placement_policy(wild: Wildness) -> impl Strategy<Value = v1::PlacementPolicy> {
    let about = (
        text(wild, &["", "binpack", "epvm"]),
        text(wild, &["", "linux", "linux/amd64", "/arm64"]),
        option::of(amount(wild, &[1, 7])),
    );
    // Not of the spec's own name or labels: a task does not wait for itself.
    let others = || vec(text(wild, &["tier == back", "task.name==cache"]), 0..3);
    let priority = number(wild, vec![-1000, 0, 1000]);
    let rank = (priority, any::<bool>(), option::of(colocation(wild)));
    (about, others(), others(), vec(affinity(wild), 0..3), vec(spread(wild), 0..2), rank).prop_map(
        |(about, task_affinities, task_anti_affinities, affinities, spread, rank)| {
            let (algorithm, platform, max_per_node) = about;
            let (priority, may_preempt, colocation) = rank;
            v1::PlacementPolicy {
                algorithm,
                platform,
                max_per_node,
                task_affinities,
                task_anti_affinities,
                affinities,
                spread,
                priority,
                may_preempt,
                colocation,
            }
        },
    )
}

fn colocation(wild: Wildness) -> impl Strategy<Value = v1::Colocation> {
    (text(wild, &["shop"]), resources(wild, &[100]), vec(text(wild, &["data"]), 0..2))
        .prop_map(|(group, reservation, volume_names)| v1::Colocation { group, reservation, volume_names })
}

fn host_port(wild: Wildness) -> impl Strategy<Value = v1::HostPort> {
    (number(wild, vec![0, 1, 2]), amount(wild, &[1, 53, 8080, 65_535]))
        .prop_map(|(protocol, port)| v1::HostPort { protocol, port })
}

fn requirements(wild: Wildness) -> impl Strategy<Value = v1::PlacementRequirements> {
    let marks = || vec(text(wild, MARKS), 0..3);
    let max = prop_oneof![
        2 => Just((0, String::new())),
        1 => (amount(wild, &[1, 7]), text(wild, MARKS)),
    ];
    let about = (
        number(wild, vec![1, 2]),
        resources(wild, &[0, 100]),
        vec(text(wild, EXPRESSIONS), 0..3),
        vec(host_port(wild), 0..2),
        text(wild, &["", "linux", "linux/amd64"]),
        any::<u32>(),
    );
    let kept = (vec(home(wild), 0..3), resources(wild, &[100]));
    (about, max, marks(), marks(), marks(), kept).prop_map(|(about, max, needed_marks, refused_marks, marks, kept)| {
        let (homes, group_reservation) = kept;
        let (runtime, reservation, constraints, host_ports, platform, dynamic_port_count) = about;
        let (max_per_node, max_per_node_mark) = max;
        v1::PlacementRequirements {
            runtime,
            reservation,
            constraints,
            host_ports,
            platform,
            dynamic_port_count,
            max_per_node_mark,
            max_per_node,
            needed_marks,
            refused_marks,
            marks,
            homes,
            group_reservation,
        }
    })
}

fn home(wild: Wildness) -> impl Strategy<Value = v1::PlacementHome> {
    let keeper = prop_oneof![
        text(wild, &["data"]).prop_map(v1::placement_home::Keeper::VolumeName),
        text(wild, &["shop"]).prop_map(v1::placement_home::Keeper::Group),
    ];
    (option::of(keeper), text(wild, &["", ID]), any::<String>()).prop_map(move |(keeper, node_id, node_name)| {
        let keeper = keeper.or_else(|| (wild == 0).then(|| v1::placement_home::Keeper::Group("shop".to_owned())));
        let node_name = if node_id.is_empty() { String::new() } else { node_name };
        v1::PlacementHome { keeper, node_id, node_name }
    })
}

fn preferences(wild: Wildness) -> impl Strategy<Value = v1::PlacementPreferences> {
    let failed = (text(wild, &[ID, OTHER_ID]), amount(wild, &[1, 3]))
        .prop_map(|(node_id, count)| v1::RecentFailures { node_id, count });
    let spread = prop_oneof![Just((Vec::new(), String::new())), (vec(spread(wild), 1..2), text(wild, MARKS)),];
    (vec(affinity(wild), 0..3), spread, vec(failed, 0..3)).prop_map(
        |(affinities, (spread, spread_mark), recent_failures)| v1::PlacementPreferences {
            affinities,
            spread,
            spread_mark,
            recent_failures,
        },
    )
}

fn group(wild: Wildness) -> impl Strategy<Value = v1::PlacementGroup> {
    let asked = (requirements(wild), option::of(preferences(wild)), text(wild, &["", "epvm"]));
    let id = mixed(wild, vec!["a".to_owned(), "b".to_owned()], any::<String>());
    let flags = (any::<bool>(), any::<bool>());
    (id, asked, amount(wild, &[1, 1000]), number(wild, vec![-1000, 0, 1000]), flags).prop_map(
        |(group_id, (requirements, preferences, algorithm), count, priority, (may_preempt, all_or_nothing))| {
            v1::PlacementGroup {
                group_id,
                requirements: Some(requirements),
                count,
                algorithm,
                preferences,
                priority,
                may_preempt,
                all_or_nothing,
            }
        },
    )
}

fn node(wild: Wildness) -> impl Strategy<Value = v1::PlacementNode> {
    let about = (text(wild, &[ID, OTHER_ID]), text(wild, &["a", "b"]), any::<String>(), any::<String>());
    let state = (map(wild, &["zone", "disk"]), number(wild, vec![1, 2, 3]), vec(number(wild, vec![1, 2]), 0..3));
    let range =
        (amount(wild, &[1, 80]), amount(wild, &[80, 65_535])).prop_map(|(first, last)| v1::PortRange { first, last });
    let load = prop_oneof![8 => 0.0..100.0_f64, 1 => any::<f64>()];
    let stats = (any::<i64>(), load).prop_map(|(seconds, load_1m)| v1::NodeStats {
        measure_time: Some(prost_types::Timestamp { seconds: seconds % 1_000_000_000, nanos: 0 }),
        load_1m,
        ..Default::default()
    });
    let count = || {
        let count = (text(wild, MARKS), amount(wild, &[1, 7]));
        vec(count.prop_map(|(mark, count)| v1::MarkCount { mark, count }), 0..2)
    };
    let task = (text(wild, &[ID, OTHER_ID]), option::weighted(0.95, requirements(wild)), any::<i32>(), any::<u64>())
        .prop_map(|(task_id, requirements, priority, running_secs)| v1::PlacedTask {
            task_id,
            requirements,
            priority,
            running_secs,
            ..Default::default()
        });
    let amounts = (resources(wild, &[0, 8000]), resources(wild, &[0, 100]), option::of(stats));
    let ports = (vec(host_port(wild), 0..2), option::of(range), any::<u32>());
    (about, state, any::<bool>(), amounts, ports, count(), count(), vec(task, 0..2)).prop_map(
        |(about, state, cordoned, amounts, ports, marks, refused_marks, tasks)| {
            let (node_id, name, os, arch) = about;
            let (labels, state, runtimes) = state;
            let (allocatable, reserved, stats) = amounts;
            let (host_ports, port_range, promised_port_count) = ports;
            v1::PlacementNode {
                node_id,
                name,
                os,
                arch,
                labels,
                state,
                cordoned,
                runtimes,
                allocatable,
                reserved,
                host_ports,
                task_count: promised_port_count,
                stats,
                port_range,
                promised_port_count,
                marks,
                refused_marks,
                tasks,
            }
        },
    )
}

pub(super) fn request(wild: Wildness) -> impl Strategy<Value = v1::PlaceRequest> {
    use v1::place_request::Message;
    let nodes = move || vec(node(wild), 0..2);
    prop_oneof![
        nodes().prop_map(|nodes| Message::Snapshot(v1::PlaceSnapshot { nodes })),
        nodes().prop_map(|upserted| Message::Delta(v1::PlaceDelta { upserted, removed_node_ids: Vec::new() })),
        vec(group(wild), 1..3).prop_map(|groups| Message::Batch(v1::PlaceBatch {
            batch_id: 1,
            groups,
            ..Default::default()
        })),
    ]
    .prop_map(|message| v1::PlaceRequest { message: Some(message) })
}

proptest! {
    #[test]
    fn no_request_panics(given in request(40)) {
        fuzzing::check_place_request(given);
    }

    #[test]
    fn nearly_valid_requests_survive_the_round_trip(given in request(2)) {
        fuzzing::check_place_request(given);
    }

    #[test]
    fn valid_requests_survive_the_round_trip(given in request(0)) {
        fuzzing::check_place_request(given);
    }
}

#[test]
fn the_round_trip_is_tried_on_many_accepted_requests() {
    use proptest::strategy::ValueTree as _;
    use proptest::test_runner::TestRunner;
    let mut runner = TestRunner::deterministic();
    let tried = 300;
    let accepted = (0..tried).filter(|_| {
        let given = request(0).new_tree(&mut runner).expect("the strategy has values").current();
        fuzzing::check_place_request(given)
    });
    assert!(accepted.count() > tried / 5);
}
