//! Every way to get what decides on a node wrong, and the field that is blamed.

use davit_core::placement::{Mark, Platform};

use super::{ID, OTHER_ID, Row, assert_blamed, container_spec, placement_node, read, some};
use crate::convert::{
    node_view_from_proto, placement_group_from_proto, preferences_from_proto, requirements_from_proto,
    task_spec_from_proto,
};
use crate::v1;

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|&text| text.to_owned()).collect()
}

fn like(expression: &str, weight: i32) -> v1::NodeAffinity {
    v1::NodeAffinity { expression: expression.to_owned(), weight }
}

fn over(attribute: &str, weight: Option<u32>) -> v1::SpreadPreference {
    v1::SpreadPreference { attribute: attribute.to_owned(), weight }
}

fn failed(node_id: &str, count: u32) -> v1::RecentFailures {
    v1::RecentFailures { node_id: node_id.to_owned(), count }
}

fn count(mark: &str, count: u32) -> v1::MarkCount {
    v1::MarkCount { mark: mark.to_owned(), count }
}

fn requirements() -> v1::PlacementRequirements {
    v1::PlacementRequirements { runtime: v1::RuntimeKind::Docker.into(), ..Default::default() }
}

fn placed(task_id: &str) -> v1::PlacedTask {
    v1::PlacedTask {
        task_id: task_id.to_owned(),
        requirements: Some(requirements()),
        running_secs: 1,
        ..Default::default()
    }
}

#[test]
fn each_mistake_in_requirements_on_other_tasks_is_blamed_on_its_field() {
    let rows: &[Row<v1::PlacementRequirements>] = &[
        ("r.platform", |r| r.platform = "linux/amd64/v3".to_owned()),
        ("r.platform", |r| r.platform = "linux amd64".to_owned()),
        ("r.max_per_node", |r| r.max_per_node_mark = "task.name == web".to_owned()),
        ("r.max_per_node_mark", |r| r.max_per_node = 1),
        ("r.max_per_node_mark", |r| (r.max_per_node, r.max_per_node_mark) = (1, "web".to_owned())),
        ("r.needed_marks[1]", |r| r.needed_marks = texts(&["app == db", "app"])),
        ("r.needed_marks", |r| r.needed_marks = texts(&["app == db"; 66])),
        ("r.refused_marks[0]", |r| r.refused_marks = texts(&["app != db"])),
        ("r.refused_marks", |r| r.refused_marks = texts(&["app == db"; 66])),
        ("r.marks[0]", |r| r.marks = texts(&["a b == c"])),
        ("r.marks", |r| r.marks = texts(&["app == db"; 66])),
    ];
    assert_blamed(&requirements(), rows, |message, violations| requirements_from_proto(&message, "r", violations));
}

#[test]
fn each_mistake_in_preferences_is_blamed_on_its_field() {
    let valid = v1::PlacementPreferences {
        affinities: vec![like("disk == ssd", -100)],
        spread: vec![over("zone", None)],
        spread_mark: "task.name == web".to_owned(),
        recent_failures: vec![failed(ID, 1)],
    };
    let rows: &[Row<v1::PlacementPreferences>] = &[
        ("p.affinities[0].expression", |p| p.affinities[0] = like("disk ~ ssd", 1)),
        ("p.affinities[0].expression", |p| p.affinities[0] = like(&format!("a=={}", "b".repeat(509)), 1)),
        ("p.affinities[0].weight", |p| p.affinities[0] = like("disk == ssd", 0)),
        ("p.affinities[0].weight", |p| p.affinities[0] = like("disk == ssd", 101)),
        ("p.affinities[0].weight", |p| p.affinities[0] = like("disk == ssd", i32::MIN)),
        ("p.affinities", |p| p.affinities = vec![like("disk == ssd", 1); 17]),
        ("p.spread[0].attribute", |p| p.spread[0] = over("a b", None)),
        ("p.spread[0].attribute", |p| p.spread[0] = over("", None)),
        ("p.spread[1].attribute", |p| p.spread.push(over("node.labels.zone", Some(1)))),
        ("p.spread[0].weight", |p| p.spread[0] = over("zone", Some(0))),
        ("p.spread[0].weight", |p| p.spread[0] = over("zone", Some(101))),
        ("p.spread[0].weight", |p| p.spread[0] = over("zone", Some(u32::MAX))),
        ("p.spread", |p| p.spread = ["a", "b", "c", "d", "e"].map(|key| over(key, None)).to_vec()),
        ("p.spread_mark", |p| p.spread_mark.clear()),
        ("p.spread_mark", |p| p.spread_mark = "web".to_owned()),
        ("p.spread_mark", |p| p.spread.clear()),
        ("p.recent_failures[0].node_id", |p| p.recent_failures[0] = failed("node-1", 1)),
        ("p.recent_failures[0].count", |p| p.recent_failures[0] = failed(ID, 0)),
        ("p.recent_failures", |p| p.recent_failures = vec![failed(ID, 1); 65]),
    ];
    assert_blamed(&valid, rows, |message, violations| preferences_from_proto(Some(&message), "p", violations));
}

fn colocation(spec: &mut v1::TaskSpec) -> &mut v1::Colocation {
    some(&mut some(&mut spec.placement).colocation)
}

#[test]
fn each_mistake_in_a_policy_is_blamed_on_its_field() {
    let policy = v1::PlacementPolicy {
        algorithm: "epvm".to_owned(),
        platform: "linux/amd64".to_owned(),
        max_per_node: Some(1),
        task_affinities: texts(&["app == cache"]),
        // A task may keep away from its like.
        task_anti_affinities: texts(&["task.name == web", "app == web"]),
        affinities: vec![like("disk == ssd", 50)],
        spread: vec![over("zone", Some(100))],
        priority: 1000,
        may_preempt: true,
        colocation: Some(v1::Colocation { group: "shop".to_owned(), ..Default::default() }),
    };
    let mut valid = v1::TaskSpec { placement: Some(policy), ..container_spec() };
    valid.labels.insert("app".to_owned(), "web".to_owned());
    let rows: &[Row<v1::TaskSpec>] = &[
        ("spec.placement.algorithm", |s| some(&mut s.placement).algorithm = "a".repeat(64)),
        ("spec.placement.algorithm", |s| some(&mut s.placement).algorithm = "a b".to_owned()),
        ("spec.placement.platform", |s| some(&mut s.placement).platform = "linux-amd64".to_owned()),
        ("spec.placement.max_per_node", |s| some(&mut s.placement).max_per_node = Some(0)),
        ("spec.placement.task_affinities[0]", |s| {
            some(&mut s.placement).task_affinities = texts(&["task.name == web"]);
        }),
        ("spec.placement.task_affinities[1]", |s| {
            some(&mut s.placement).task_affinities.push("app==web".to_owned());
        }),
        ("spec.placement.task_affinities[0]", |s| some(&mut s.placement).task_affinities = texts(&["app in (a)"])),
        ("spec.placement.task_affinities", |s| some(&mut s.placement).task_affinities = texts(&["app == a"; 9])),
        ("spec.placement.task_anti_affinities[0]", |s| some(&mut s.placement).task_anti_affinities = texts(&["?"])),
        ("spec.placement.task_anti_affinities", |s| {
            some(&mut s.placement).task_anti_affinities = texts(&["app == a"; 9]);
        }),
        ("spec.placement.affinities[0].weight", |s| some(&mut s.placement).affinities[0].weight = 0),
        ("spec.placement.affinities[0].expression", |s| some(&mut s.placement).affinities[0].expression.clear()),
        ("spec.placement.spread[0].weight", |s| some(&mut s.placement).spread[0].weight = Some(0)),
        ("spec.placement.colocation.group", |s| colocation(s).group.clear()),
        ("spec.placement.colocation.volume_names[0]", |s| colocation(s).volume_names = texts(&["/data"])),
        ("spec.placement.colocation.volume_names", |s| colocation(s).volume_names = texts(&["data"; 257])),
        ("spec.placement.colocation.reservation.memory_bytes", |s| {
            colocation(s).reservation = Some(v1::Resources { memory_bytes: u64::MAX, ..Default::default() });
        }),
        ("spec.placement.priority", |s| some(&mut s.placement).priority = 1001),
        ("spec.placement.priority", |s| some(&mut s.placement).priority = i32::MIN),
    ];
    assert_blamed(&valid, rows, |message, violations| task_spec_from_proto(message, "spec", violations));
}

#[test]
fn each_mistake_in_ports_marks_and_tasks_of_a_node_is_blamed_on_its_field() {
    let valid = v1::PlacementNode {
        port_range: Some(v1::PortRange { first: 1, last: 65_535 }),
        marks: vec![count("app == db", 1)],
        refused_marks: vec![count("app == db", 1)],
        tasks: vec![placed(ID), placed(OTHER_ID)],
        ..placement_node()
    };
    let rows: &[Row<v1::PlacementNode>] = &[
        ("port_range.first", |n| some(&mut n.port_range).first = 0),
        ("port_range.first", |n| some(&mut n.port_range).first = 70_000),
        ("port_range.last", |n| some(&mut n.port_range).last = 65_536),
        ("port_range", |n| n.port_range = Some(v1::PortRange { first: 2, last: 1 })),
        ("marks[0].mark", |n| n.marks = vec![count("app", 1)]),
        ("marks[0].count", |n| n.marks = vec![count("app == db", 0)]),
        ("marks[1].mark", |n| n.marks.push(count("app==db", 2))),
        ("marks", |n| n.marks = vec![count("app == db", 1); 100_001]),
        ("refused_marks[0].mark", |n| n.refused_marks = vec![count("== db", 1)]),
        ("refused_marks[0].count", |n| n.refused_marks = vec![count("app == db", 0)]),
        ("refused_marks[1].mark", |n| n.refused_marks.push(count("app==db", 2))),
        ("tasks[0].task_id", |n| n.tasks[0].task_id.clear()),
        ("tasks[1].task_id", |n| n.tasks[1] = placed(ID)),
        ("tasks[1].requirements", |n| n.tasks[1].requirements = None),
        ("tasks[1].requirements.runtime", |n| some(&mut n.tasks[1].requirements).runtime = 0),
        ("tasks[0].requirements.marks[0]", |n| some(&mut n.tasks[0].requirements).marks = texts(&["?"])),
    ];
    assert_blamed(&valid, rows, |message, violations| node_view_from_proto(message, "", violations));
}

#[test]
fn each_mistake_in_what_a_group_asks_for_is_blamed_on_its_field() {
    let preferences = Some(v1::PlacementPreferences::default());
    let valid = v1::PlacementGroup {
        group_id: "g".to_owned(),
        requirements: Some(requirements()),
        count: 1,
        priority: -1000,
        preferences,
        ..Default::default()
    };
    let rows: &[Row<v1::PlacementGroup>] = &[
        ("group.priority", |g| g.priority = 1001),
        ("group.priority", |g| g.priority = -1001),
        ("group.preferences.affinities[0].weight", |g| some(&mut g.preferences).affinities = vec![like("a exists", 0)]),
        ("group.requirements.platform", |g| some(&mut g.requirements).platform = "?".to_owned()),
    ];
    assert_blamed(&valid, rows, |message, violations| placement_group_from_proto(message, "group", violations));
}

#[test]
fn what_a_policy_leaves_out_gets_the_documented_default() {
    let placement = Some(v1::PlacementPolicy {
        platform: "linux/arm64".to_owned(),
        task_affinities: texts(&["b == 1", "a == 1", "b==1"]),
        spread: vec![over("zone", None)],
        ..Default::default()
    });
    let spec = v1::TaskSpec { placement, ..container_spec() };
    let (spec, violations) = read(spec, |spec, violations| task_spec_from_proto(spec, "spec", violations));
    let policy = spec.unwrap_or_else(|| panic!("{violations}")).placement;
    assert_eq!(policy.platform, Platform { os: "linux".to_owned(), arch: "aarch64".to_owned() });
    assert_eq!(policy.task_affinities, [Mark::of_label("a", "1"), Mark::of_label("b", "1")]);
    assert_eq!((policy.spread[0].weight, policy.max_per_node, policy.priority), (50, None, 0));
}
