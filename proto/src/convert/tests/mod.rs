//! Builders of valid messages, and strategies for anything that may come in.

mod dependencies;
mod deployments;
mod fuzz_corpus;
mod garbage;
mod jobs;
mod node_paths;
mod placement_garbage;
mod placement_paths;
mod round_trip;
mod spec_paths;
mod speed;
mod values;

use davit_core::validate::Violations;

use crate::v1;

/// An id that is one.
const ID: &str = "0193a5c0-1c1e-7d3a-9a53-0f5be2f0a111";
/// Another.
const OTHER_ID: &str = "0193a5c0-1c1e-7d3a-9a53-0f5be2f0a222";

/// The least container task.
fn container_spec() -> v1::TaskSpec {
    let container = v1::ContainerSpec { image: "busybox".to_owned(), ..Default::default() };
    v1::TaskSpec {
        name: "web".to_owned(),
        runtime: Some(v1::task_spec::Runtime::Container(container)),
        ..Default::default()
    }
}

/// The least process task.
fn process_spec() -> v1::TaskSpec {
    let process = v1::ProcessSpec { command: vec!["true".to_owned()], ..Default::default() };
    v1::TaskSpec {
        name: "tool".to_owned(),
        runtime: Some(v1::task_spec::Runtime::Process(process)),
        ..Default::default()
    }
}

/// The least node.
fn placement_node() -> v1::PlacementNode {
    v1::PlacementNode {
        node_id: ID.to_owned(),
        name: "a".to_owned(),
        state: v1::NodeState::Ready.into(),
        allocatable: Some(v1::Resources { cpu_millis: 1000, memory_bytes: 1 << 30, disk_bytes: 0 }),
        ..Default::default()
    }
}

/// The least report of a running attempt.
fn attempt_report() -> v1::AttemptReport {
    let status = v1::TaskStatus { state: v1::TaskState::Running.into(), ..Default::default() };
    v1::AttemptReport { task_id: ID.to_owned(), attempt: 1, sequence: 0, status: Some(status) }
}

/// The least registration.
fn register() -> v1::Register {
    let resources = v1::Resources { cpu_millis: 1000, memory_bytes: 1 << 30, disk_bytes: 1 << 30 };
    v1::Register {
        node_id: ID.to_owned(),
        name: "a".to_owned(),
        address: "10.0.0.1".to_owned(),
        os: "linux".to_owned(),
        arch: "x86_64".to_owned(),
        capacity: Some(resources),
        allocatable: Some(resources),
        worker_version: "0.1.0".to_owned(),
        ..Default::default()
    }
}

/// What reading a message found: the value, and the fields that were wrong.
fn read<M, T>(message: M, read: impl FnOnce(M, &mut Violations) -> Option<T>) -> (Option<T>, Violations) {
    let mut violations = Violations::new();
    let value = read(message, &mut violations);
    (value, violations)
}

/// The fields that are wrong, in order.
fn fields(violations: &Violations) -> Vec<&str> {
    violations.0.iter().map(|violation| violation.field.as_str()).collect()
}

/// The field to blame, and how to bend a valid message.
type Row<M> = (&'static str, fn(&mut M));

/// Bends a valid message and compares the fields that are blamed.
fn assert_blamed<M: Clone, T>(valid: &M, rows: &[Row<M>], convert: impl Fn(M, &mut Violations) -> Option<T>) {
    let (value, violations) = read(valid.clone(), &convert);
    assert!(value.is_some() && violations.is_empty(), "{violations}");
    for (field, bend) in rows {
        let mut message = valid.clone();
        bend(&mut message);
        let (value, violations) = read(message, &convert);
        assert!(value.is_none(), "{field}");
        assert_eq!(fields(&violations), [*field], "{violations}");
    }
}

/// What the builder set.
fn some<T>(value: &mut Option<T>) -> &mut T {
    value.as_mut().expect("the builder sets it")
}
