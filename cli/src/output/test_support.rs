//! Valid messages for tests to render.

use davit_proto::v1;
use jiff::{SignedDuration, Timestamp};

/// 2026-11-25T12:00:00Z.
pub(crate) const NOW: Timestamp = Timestamp::constant(1_795_608_000, 0);

pub(crate) fn seconds_before(seconds: i64) -> Timestamp {
    NOW - SignedDuration::from_secs(seconds)
}

fn before(seconds: i64) -> Option<prost_types::Timestamp> {
    Some(prost_types::Timestamp { seconds: NOW.as_second() - seconds, nanos: 0 })
}

pub(crate) fn node_id(number: u32) -> String {
    format!("0193a5c0-0000-7d3a-9a53-{number:012x}")
}

pub(crate) fn task(number: u32, name: &str, state: v1::TaskState) -> v1::Task {
    let container = v1::ContainerSpec {
        image: "nginx:1.27".into(),
        command: vec!["nginx".into(), "-g".into()],
        ..Default::default()
    };
    let spec = v1::TaskSpec {
        name: name.to_owned(),
        labels: [("app".to_owned(), name.to_owned())].into(),
        runtime: Some(v1::task_spec::Runtime::Container(container)),
        ..Default::default()
    };
    v1::Task {
        task_id: format!("0193a5c0-1c1e-7d3a-9a53-{number:012x}"),
        spec: Some(spec),
        desired_state: v1::DesiredState::Running.into(),
        attempt: 1,
        status: Some(v1::TaskStatus { state: state.into(), ..Default::default() }),
        create_time: before(300),
        revision: 7,
        etag: "r7".into(),
        ..Default::default()
    }
}

pub(crate) fn running_task() -> v1::Task {
    let mut task = task(1, "web", v1::TaskState::Running);
    let status = task.status.get_or_insert_default();
    status.node_id = node_id(1);
    status.ready = true;
    status.start_time = before(200);
    status.ports = vec![
        v1::PortBinding { container_port: 80, protocol: v1::PortProtocol::Tcp.into(), host_port: 32768 },
        v1::PortBinding { container_port: 53, protocol: v1::PortProtocol::Udp.into(), host_port: 53 },
    ];
    task
}

pub(crate) fn failed_task() -> v1::Task {
    let mut task = task(2, "batch", v1::TaskState::Failed);
    task.attempt = 2;
    let first = v1::TaskStatus {
        state: v1::TaskState::Lost.into(),
        node_id: node_id(2),
        reason: "its node went down".into(),
        finish_time: before(100),
        ..Default::default()
    };
    task.past_attempts = vec![v1::TaskAttempt { attempt: 1, status: Some(first) }];
    task.status = Some(v1::TaskStatus {
        state: v1::TaskState::Failed.into(),
        node_id: node_id(1),
        exit_code: Some(3),
        reason: "exited with code 3".into(),
        start_time: before(90),
        finish_time: before(60),
        ..Default::default()
    });
    task
}

pub(crate) fn node(number: u32, name: &str) -> v1::Node {
    let resources = |cpu_millis, memory_bytes| Some(v1::Resources { cpu_millis, memory_bytes, disk_bytes: 100 << 30 });
    v1::Node {
        node_id: node_id(number),
        name: name.to_owned(),
        address: "10.0.0.1".into(),
        os: "linux".into(),
        arch: "x86_64".into(),
        labels: [("disk".to_owned(), "ssd".to_owned())].into(),
        capacity: resources(4000, 8 << 30),
        allocatable: resources(3500, 7 << 30),
        allocated: Some(v1::Resources { cpu_millis: 500, memory_bytes: 512 << 20, disk_bytes: 0 }),
        runtimes: vec![v1::RuntimeKind::Docker.into(), v1::RuntimeKind::Process.into()],
        state: v1::NodeState::Ready.into(),
        task_count: 3,
        worker_version: "0.1.0".into(),
        create_time: before(7200),
        state_time: before(7200),
        ..Default::default()
    }
}

/// A move of [`running_task`] that gains so much.
pub(crate) fn one_move(gain: f64) -> v1::TaskMove {
    v1::TaskMove {
        task_id: running_task().task_id,
        attempt: 1,
        task_name: "web".into(),
        from_node_id: node_id(1),
        from_node_name: "node-1".into(),
        to_node_id: node_id(4),
        to_node_name: "node-4".into(),
        gain,
        reason: "node-1 carries 80%, node-4 5%; afterwards 55% and 30%".into(),
    }
}
