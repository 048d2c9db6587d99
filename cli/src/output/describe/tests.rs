use super::cluster::schedulers;
use super::spec::words;
use super::*;
use crate::output::style::Palette;
use crate::output::test_support::{NOW, failed_task, node as a_node, node_id, running_task};

#[test]
fn a_task_is_described_with_its_past() {
    let nodes = [a_node(1, "one"), a_node(2, "two")].iter().collect();
    let mut shown = failed_task();
    let spec = shown.spec.get_or_insert_default();
    spec.constraints = vec!["disk == ssd".into(), "cores >= 2".into()];
    let reservation = Some(v1::Resources { cpu_millis: 1500, memory_bytes: 256 << 20, disk_bytes: 0 });
    spec.resources = Some(v1::ResourceRequirements { reservation, limit: None });
    insta::assert_snapshot!(task(&shown, &nodes, NOW, Palette::new(false)));
}

#[test]
fn restarts_by_a_node_are_told_of_each_attempt() {
    let mut shown = failed_task();
    shown.status.get_or_insert_default().local_restarts = 1;
    shown.past_attempts[0].status.get_or_insert_default().local_restarts = 2;
    let text = task(&shown, &KnownNodes::default(), NOW, Palette::new(false));
    let told = |line: &str, what| text.lines().any(|each| each.starts_with(line) && each.contains(what));
    assert!(told("Restarts:", "once by its node"), "{text}");
    assert!(told("Attempt 1:", "restarted 2 times by its node"), "{text}");
}

#[test]
fn a_task_is_described_with_its_placement() {
    let nodes = [a_node(1, "one"), a_node(2, "two")].iter().collect();
    let mut shown = running_task();
    shown.gang_id = "0193a5c0-0000-7d3a-9a53-0000000000aa".into();
    shown.claim = Some(v1::PlacementClaim { node_id: node_id(2), reason: "moved to two".into() });
    let affinity = |expression: &str, weight| v1::NodeAffinity { expression: expression.into(), weight };
    shown.spec.get_or_insert_default().placement = Some(v1::PlacementPolicy {
        algorithm: "binpack".into(),
        platform: "linux/amd64".into(),
        max_per_node: Some(2),
        task_affinities: vec!["app == cache".into()],
        task_anti_affinities: vec!["app == db".into(), "task.name == noisy".into()],
        affinities: vec![affinity("disk == ssd", 80), affinity("zone == c", -50)],
        spread: vec![
            v1::SpreadPreference { attribute: "zone".into(), weight: Some(80) },
            v1::SpreadPreference { attribute: "rack".into(), weight: None },
        ],
        priority: 10,
        may_preempt: true,
        colocation: None,
    });
    insta::assert_snapshot!(task(&shown, &nodes, NOW, Palette::new(false)));
}

#[test]
fn a_task_is_described_with_its_health_check_and_whether_it_serves() {
    use v1::health_check::Probe;
    let seconds = |seconds, nanos| Some(prost_types::Duration { seconds, nanos });
    let mut shown = running_task();
    let command = ["/bin/sh", "-c", "curl -f localhost"].map(str::to_owned).into();
    let check = v1::HealthCheck {
        probe: Some(Probe::Exec(v1::ExecProbe { command })),
        interval: seconds(2, 500_000_000),
        timeout: seconds(5, 0),
        retries: 3,
        start_period: seconds(0, 0),
        start_interval: seconds(1, 0),
    };
    let lines = |shown: &v1::Task, which: &[&str]| {
        let text = task(shown, &KnownNodes::default(), NOW, Palette::new(false));
        let of = |line: &&str| which.iter().any(|key| line.starts_with(key));
        text.lines().filter(of).map(|line| line.split_once(':').unwrap().1.trim().to_owned()).collect::<Vec<_>>()
    };
    shown.spec.get_or_insert_default().health_check = Some(check.into());
    let told = "exec /bin/sh -c 'curl -f localhost', every 2.5 s, timeout 5 s, unhealthy after 3 failures in a row";
    assert_eq!(lines(&shown, &["State", "Health check"]), ["RUNNING", told]);
    shown.status.get_or_insert_default().ready = false;
    for (probe, told) in [
        (Probe::Http(v1::HttpProbe { port: 80, path: "/a".into(), ..Default::default() }), "http GET :80/a"),
        (Probe::Tcp(v1::TcpProbe { port: 80 }), "tcp :80"),
        (Probe::Grpc(v1::GrpcProbe { port: 80, service: String::new() }), "grpc :80"),
        (Probe::Grpc(v1::GrpcProbe { port: 80, service: "a.B".into() }), "grpc :80/a.B"),
    ] {
        let check = v1::HealthCheck { probe: Some(probe), ..Default::default() };
        shown.spec.get_or_insert_default().health_check = Some(check.into());
        assert_eq!(lines(&shown, &["State", "Health check"]), ["RUNNING (not ready)", told]);
    }
}

#[test]
fn what_room_is_kept_for_is_told() {
    let nodes = [a_node(1, "one"), a_node(2, "two")].iter().collect();
    let line = |reason: &str| {
        let claim = Some(v1::PlacementClaim { node_id: node_id(2), reason: reason.into() });
        let text = task(&v1::Task { claim, ..running_task() }, &nodes, NOW, Palette::new(false));
        let line = text.lines().find(|line| line.contains("two"));
        line.unwrap_or_else(|| panic!("no node in {text}")).replace("  ", " ")
    };
    assert_eq!(line("moved to two: evens out the cluster"), "Moves to: two (evens out the cluster)");
    assert_eq!(line("2 tasks are stopped for it on two"), "Room kept: on two (2 tasks are stopped for it)");
    assert_eq!(line(""), "Room kept: on two");
}

#[test]
fn a_node_is_described() {
    let mut shown = a_node(1, "one");
    shown.port_range = Some(v1::PortRange { first: 20_000, last: 20_999 });
    shown.stats = Some(v1::NodeStats {
        cpu_used_millis: 250,
        memory_used_bytes: 3 << 30,
        disk_used_bytes: 20 << 30,
        load_1m: 0.5,
        ..Default::default()
    });
    insta::assert_snapshot!(node(&shown, NOW, Palette::new(false)));
}

#[test]
fn the_cluster_is_described() {
    let shown = v1::Cluster {
        name: "davit".into(),
        cluster_id: "0193a5c0-1c1e-7d3a-9a53-0f5be2f0a111".into(),
        manager_version: "0.1.0".into(),
        revision: 1234,
        oldest_event_revision: 1,
        tasks: vec![v1::TaskStateCount { state: v1::TaskState::Running.into(), count: 30 }],
        nodes: vec![
            v1::NodeStateCount { state: v1::NodeState::Ready.into(), count: 2 },
            v1::NodeStateCount { state: v1::NodeState::Down.into(), count: 1 },
        ],
        scheduler: Some(v1::SchedulerConnection {
            address: "127.0.0.1:7410".into(),
            connected: false,
            reason: "connection refused".into(),
            default_algorithm: "spread".into(),
        }),
        heartbeat_period: Some(prost_types::Duration { seconds: 1, nanos: 0 }),
        totals: Some(v1::TaskTotals { created: 47, completed: 12, failed: 5, ..Default::default() }),
        read_only_reason: "the store can't be used: No space left on device (os error 28)".into(),
        ..Default::default()
    };
    insta::assert_snapshot!(cluster(&shown, Palette::new(false)));
}

#[test]
fn every_scheduler_has_a_line_of_its_own() {
    let told = |address: &str, connected, reason: &str| {
        let (address, reason) = (address.into(), reason.into());
        let scheduler = v1::SchedulerConnection { address, connected, reason, ..Default::default() };
        schedulers(&scheduler, Palette::new(false))
    };
    let refused = "http://b:7410 can't be reached: Connection refused";
    assert_eq!(told("http://b:7410", false, refused), "http://b:7410, not connected: Connection refused");
    assert_eq!(
        told("http://a:7410", false, refused),
        "http://a:7410, not connected\nhttp://b:7410, not connected: Connection refused"
    );
    assert_eq!(told("http://a:7410", true, ""), "http://a:7410, connected");
    let silent = "no answer within 10 s";
    assert_eq!(told("http://a:7410", false, silent), "http://a:7410, not connected: no answer within 10 s");
}

#[test]
fn words_are_quoted_where_a_shell_needs_it() {
    let given = ["sh", "-c", "echo 'a b'", ""].map(str::to_owned);
    assert_eq!(words(&given), r"sh -c 'echo '\''a b'\''' ''");
}
