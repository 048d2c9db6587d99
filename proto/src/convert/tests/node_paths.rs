//! Every way to get nodes, requirements, registrations and reports wrong, and the field that is blamed.

use davit_core::validate::Violations;

use super::{ID, OTHER_ID, Row, assert_blamed, attempt_report, container_spec, fields, placement_node, register, some};
use crate::convert::{
    KnownSpecs, MAX_FOREIGN_ATTEMPTS, MAX_SPEC_NUMBERS, assignment_from_proto, attempt_ref_from_proto,
    foreign_attempts_from_proto, node_scores_from_proto, node_states_from_proto, node_views_from_proto,
    placement_groups_from_proto, register_from_proto, requirements_from_proto, status_report_from_proto,
    task_states_from_proto, welcome_from_proto,
};
use crate::v1;

fn udp(port: u32) -> v1::HostPort {
    v1::HostPort { protocol: v1::PortProtocol::Udp.into(), port }
}

#[test]
fn each_mistake_in_requirements_is_blamed_on_its_field() {
    let valid = v1::PlacementRequirements { runtime: v1::RuntimeKind::Docker.into(), ..Default::default() };
    let rows: &[Row<v1::PlacementRequirements>] = &[
        ("requirements.runtime", |r| r.runtime = 0),
        ("requirements.runtime", |r| r.runtime = 3),
        ("requirements.reservation.memory_bytes", |r| {
            r.reservation = Some(v1::Resources { memory_bytes: u64::MAX, ..Default::default() });
        }),
        ("requirements.constraints[1]", |r| r.constraints = vec!["a exists".to_owned(), "?".to_owned()]),
        ("requirements.host_ports[0].port", |r| r.host_ports = vec![udp(0)]),
        ("requirements.host_ports[0].protocol", |r| r.host_ports = vec![v1::HostPort { protocol: 5, port: 1 }]),
        ("requirements.host_ports[1]", |r| r.host_ports = vec![udp(1), udp(1)]),
    ];
    assert_blamed(&valid, rows, |message, violations| requirements_from_proto(&message, "requirements", violations));
}

#[test]
fn each_mistake_in_a_node_is_blamed_on_its_field() {
    let second = v1::PlacementNode { node_id: OTHER_ID.to_owned(), ..placement_node() };
    let rows: &[Row<Vec<v1::PlacementNode>>] = &[
        ("nodes[1].node_id", |n| n[1].node_id = ID.to_owned()),
        ("nodes[1].node_id", |n| n[1].node_id.clear()),
        ("nodes[0].node_id", |n| n[0].node_id = "node-1".to_owned()),
        ("nodes[0].name", |n| n[0].name.clear()),
        ("nodes[0].state", |n| n[0].state = 0),
        ("nodes[0].state", |n| n[0].state = 4),
        ("nodes[0].runtimes[1]", |n| n[0].runtimes = vec![1, 0]),
        ("nodes[0].allocatable", |n| n[0].allocatable = None),
        ("nodes[0].allocatable.disk_bytes", |n| some(&mut n[0].allocatable).disk_bytes = u64::MAX),
        ("nodes[0].reserved.cpu_millis", |n| {
            n[0].reserved = Some(v1::Resources { cpu_millis: u64::MAX, ..Default::default() });
        }),
        ("nodes[0].host_ports[1]", |n| n[0].host_ports = vec![udp(53), udp(53)]),
        (r#"nodes[0].labels["a b"]"#, |n| n[0].labels.extend([("a b".to_owned(), String::new())])),
        ("nodes[0].stats.measure_time", |n| n[0].stats = Some(v1::NodeStats::default())),
        ("nodes[0].stats.measure_time", |n| {
            let measure_time = Some(prost_types::Timestamp { seconds: i64::MAX, nanos: 0 });
            n[0].stats = Some(v1::NodeStats { measure_time, ..Default::default() });
        }),
        ("nodes[0].stats.load_1m", |n| {
            let measure_time = Some(prost_types::Timestamp::default());
            n[0].stats = Some(v1::NodeStats { measure_time, load_1m: f64::NAN, ..Default::default() });
        }),
    ];
    assert_blamed(&vec![placement_node(), second], rows, |message, violations| {
        node_views_from_proto(message, "nodes", violations)
    });
}

#[test]
fn each_mistake_in_a_group_or_score_is_blamed_on_its_field() {
    let requirements = v1::PlacementRequirements { runtime: 1, ..Default::default() };
    let group = |id: &str| v1::PlacementGroup {
        group_id: id.to_owned(),
        requirements: Some(requirements.clone()),
        count: 1,
        ..Default::default()
    };
    let rows: &[Row<Vec<v1::PlacementGroup>>] = &[
        ("batch.groups[0].group_id", |g| g[0].group_id.clear()),
        ("batch.groups[1].group_id", |g| g[1].group_id = "a".to_owned()),
        ("batch.groups[1].count", |g| g[1].count = 0),
        ("batch.groups[1].priority", |g| g[1].priority = -1001),
        ("batch.groups[1].preferences.spread_mark", |g| {
            let preferences = v1::PlacementPreferences { spread_mark: "a".to_owned(), ..Default::default() };
            g[1].preferences = Some(preferences);
        }),
        ("batch.groups[0].requirements", |g| g[0].requirements = None),
        ("batch.groups[0].requirements.runtime", |g| some(&mut g[0].requirements).runtime = 0),
    ];
    assert_blamed(&vec![group("a"), group("b")], rows, |message, violations| {
        placement_groups_from_proto(message, "batch.groups", violations)
    });

    let score = |id: &str| v1::NodeScore { node_id: id.to_owned(), cost: 1.0, terms: Vec::new() };
    let rows: &[Row<Vec<v1::NodeScore>>] = &[
        ("scores", Vec::clear),
        ("scores[0].cost", |s| s[0].cost = f64::INFINITY),
        ("scores[1].node_id", |s| s[1].node_id = ID.to_owned()),
        ("scores[1].node_id", |s| s[1].node_id = "x".repeat(1 << 20)),
    ];
    assert_blamed(&vec![score(ID), score(OTHER_ID)], rows, |message, violations| {
        node_scores_from_proto(&message, "scores", violations)
    });
}

#[test]
fn each_mistake_in_a_registration_is_blamed_on_its_field() {
    let valid = v1::Register { attempts: vec![attempt_report()], ..register() };
    let rows: &[Row<v1::Register>] = &[
        ("register.node_id", |r| r.node_id.clear()),
        ("register.name", |r| r.name = "a/b".to_owned()),
        ("register.address", |r| r.address.clear()),
        ("register.address", |r| r.address = "a b".to_owned()),
        ("register.os", |r| r.os = "o".repeat(256)),
        ("register.arch", |r| r.arch.clear()),
        ("register.worker_version", |r| r.worker_version = "\n".to_owned()),
        ("register.capacity", |r| r.capacity = None),
        ("register.allocatable.memory_bytes", |r| some(&mut r.allocatable).memory_bytes += 1),
        ("register.port_range", |r| r.port_range = Some(v1::PortRange { first: 2, last: 1 })),
        ("register.port_range.first", |r| r.port_range = Some(v1::PortRange { first: 0, last: 1 })),
        ("register.port_range.last", |r| r.port_range = Some(v1::PortRange { first: 1, last: 65_536 })),
        ("register.runtimes[0]", |r| r.runtimes = vec![9]),
        ("register.attempts[1]", |r| r.attempts.push(attempt_report())),
        ("register.attempts[0].task_id", |r| r.attempts[0].task_id = "1".to_owned()),
    ];
    assert_blamed(&valid, rows, |message, violations| register_from_proto(message, "register", violations));
}

#[test]
fn each_mistake_in_a_report_is_blamed_on_its_field() {
    let valid = v1::StatusReport { report_id: 1, reports: vec![attempt_report()], heartbeat: None };
    let rows: &[Row<v1::StatusReport>] = &[
        ("report.reports[0].attempt", |r| r.reports[0].attempt = 0),
        ("report.reports[0].status", |r| r.reports[0].status = None),
        ("report.reports[0].status.state", |r| some(&mut r.reports[0].status).state = 0),
        ("report.reports[0].status.state", |r| some(&mut r.reports[0].status).state = 1),
        ("report.reports[0].status.state", |r| some(&mut r.reports[0].status).state = 2),
        ("report.reports[0].status.state", |r| some(&mut r.reports[0].status).state = 9),
        ("report.reports[0].status.state", |r| some(&mut r.reports[0].status).state = 10),
        ("report.reports[0].status.ports[0].host_port", |r| {
            some(&mut r.reports[0].status).ports = vec![v1::PortBinding { container_port: 1, ..Default::default() }];
        }),
        ("report.reports[0].status.finish_time", |r| {
            let time = prost_types::Timestamp { seconds: 0, nanos: -1 };
            some(&mut r.reports[0].status).finish_time = Some(time);
        }),
        ("report.reports[1]", |r| r.reports.push(attempt_report())),
    ];
    assert_blamed(&valid, rows, |message, violations| status_report_from_proto(message, "report", violations));
}

#[test]
fn each_mistake_in_what_the_manager_sends_is_blamed_on_its_field() {
    let valid = v1::Assignment {
        slot: 0,
        run_index: None,
        task_id: ID.to_owned(),
        attempt: 1,
        revision: 1,
        desired_state: v1::DesiredState::Running.into(),
        spec: Some(container_spec()),
        ports: Vec::new(),
        spec_number: 1,
    };
    let rows: &[Row<v1::Assignment>] = &[
        ("task_id", |a| a.task_id.clear()),
        ("attempt", |a| a.attempt = 0),
        ("desired_state", |a| a.desired_state = 0),
        ("desired_state", |a| a.desired_state = 3),
        ("ports[0].host_port", |a| a.ports = vec![v1::PortBinding { container_port: 1, ..Default::default() }]),
        ("ports[0].container_port", |a| a.ports = vec![v1::PortBinding { host_port: 1, ..Default::default() }]),
        ("spec", |a| (a.spec, a.spec_number) = (None, 0)),
        ("spec_number", |a| a.spec = None),
        ("spec_number", |a| a.spec_number = MAX_SPEC_NUMBERS + 1),
        ("spec.name", |a| some(&mut a.spec).name.clear()),
    ];
    assert_blamed(&valid, rows, |message, violations| {
        assignment_from_proto(message, &mut KnownSpecs::new(), "", violations)
    });

    let valid = v1::AttemptRef { task_id: ID.to_owned(), attempt: 1 };
    let rows: &[Row<v1::AttemptRef>] =
        &[("removed[0].task_id", |a| a.task_id.clear()), ("removed[0].attempt", |a| a.attempt = 0)];
    assert_blamed(&valid, rows, |message, violations| attempt_ref_from_proto(&message, "removed[0]", violations));

    let valid = v1::ForeignAttempts {
        attempts: vec![v1::ForeignAttempt {
            node_id: ID.to_owned(),
            task_id: ID.to_owned(),
            attempt: 1,
            running: true,
        }],
    };
    let rows: &[Row<v1::ForeignAttempts>] = &[
        ("f.attempts[0].node_id", |f| f.attempts[0].node_id.clear()),
        ("f.attempts[0].task_id", |f| f.attempts[0].task_id.push('x')),
        ("f.attempts[0].attempt", |f| f.attempts[0].attempt = 0),
        ("f.attempts", |f| f.attempts = vec![f.attempts[0].clone(); MAX_FOREIGN_ATTEMPTS + 1]),
    ];
    assert_blamed(&valid, rows, |message, violations| {
        foreign_attempts_from_proto(&message.attempts, "f.attempts", violations)
    });

    let heartbeat_period = Some(prost_types::Duration { seconds: 1, nanos: 0 });
    let (cluster, lease_duration) = ("c".to_owned(), heartbeat_period);
    let (session_id, cluster_id) = (ID.to_owned(), ID.to_owned());
    let valid = v1::Welcome { cluster, heartbeat_period, session_id, lease_duration, cluster_id };
    let rows: &[Row<v1::Welcome>] = &[
        ("welcome.heartbeat_period", |w| w.heartbeat_period = None),
        ("welcome.heartbeat_period", |w| w.heartbeat_period = Some(prost_types::Duration::default())),
        ("welcome.session_id", |w| w.session_id.clear()),
        ("welcome.cluster_id", |w| w.cluster_id.push('x')),
        ("welcome.lease_duration", |w| w.lease_duration = Some(prost_types::Duration { seconds: -1, nanos: 0 })),
    ];
    assert_blamed(&valid, rows, |message, violations| welcome_from_proto(message, "welcome", violations));
}

#[test]
fn wrong_states_of_a_filter_are_blamed_by_index() {
    let mut violations = Violations::new();
    assert_eq!(task_states_from_proto(&[4, 0, 44], "filter.states", &mut violations).len(), 1);
    assert_eq!(node_states_from_proto(&[-1, 1], "filter.states", &mut violations).len(), 1);
    assert_eq!(fields(&violations), ["filter.states[1]", "filter.states[2]", "filter.states[0]"]);
}
