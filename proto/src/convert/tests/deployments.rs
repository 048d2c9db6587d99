//! Deployments: their defaults, the way there and back, and everything that can be wrong.

use std::time::Duration;

use davit_core::deployment::{DeploymentMode, MAX_IN_FLIGHT, OnRolloutFailure, UpdateOrder, UpdatePolicy};
use davit_core::restart::RestartMode;
use davit_core::validate::Violations;

use super::super::{deployment_settings_from_proto, deployment_spec_from_proto, deployment_spec_to_proto};
use crate::v1;
use crate::v1::deployment_spec::Mode;

fn spec() -> v1::DeploymentSpec {
    let container = v1::ContainerSpec { image: "web:1".to_owned(), ..Default::default() };
    let runtime = Some(v1::task_spec::Runtime::Container(container));
    let task = v1::TaskSpec { runtime, ..Default::default() };
    v1::DeploymentSpec { name: "web".to_owned(), task: Some(task), ..Default::default() }
}

fn wrong(bend: impl FnOnce(&mut v1::DeploymentSpec)) -> Vec<String> {
    let mut bent = spec();
    bend(&mut bent);
    let mut violations = Violations::new();
    assert_eq!(deployment_spec_from_proto(bent, "spec", &mut violations), None);
    violations.0.into_iter().map(|violation| violation.field).collect()
}

#[test]
fn what_is_left_out_gets_its_default() {
    let mut violations = Violations::new();
    let (name, read) = deployment_spec_from_proto(spec(), "spec", &mut violations).unwrap();
    assert_eq!((name.as_str(), read.task.name.as_str()), ("web", "web"));
    assert_eq!(read.mode, DeploymentMode::Replicated { replicas: 1 });
    assert_eq!(read.task.restart.mode, RestartMode::Always);
    assert_eq!((read.update, read.rollback, read.kept_versions), (UpdatePolicy::default(), None, 10));
    // A policy that was given stays as it is.
    let mut never = spec();
    never.task.as_mut().unwrap().restart_policy = Some(v1::RestartPolicy::default());
    let (_, read) = deployment_spec_from_proto(never, "spec", &mut violations).unwrap();
    assert_eq!(read.task.restart.mode, RestartMode::Never);
}

#[test]
fn all_of_it_survives_the_way_there_and_back() {
    let policy = v1::UpdatePolicy {
        parallelism: Some(0),
        order: v1::UpdateOrder::StartFirst.into(),
        delay: Some(prost_types::Duration { seconds: 1, nanos: 0 }),
        monitor: Some(prost_types::Duration { seconds: 2, nanos: 0 }),
        max_failure_ratio: 0.25,
        progress_deadline: Some(prost_types::Duration { seconds: 3, nanos: 0 }),
        on_failure: v1::RolloutFailureAction::Rollback.into(),
        canaries: 4,
        auto_promote: true,
    };
    for mode in [Mode::Replicated(v1::ReplicatedMode { replicas: Some(0) }), Mode::Global(v1::GlobalMode {})] {
        let asked = v1::DeploymentSpec {
            labels: [("tier".to_owned(), "front".to_owned())].into(),
            mode: Some(mode),
            update_policy: Some(policy),
            rollback_policy: Some(v1::UpdatePolicy { on_failure: 3, ..policy }),
            kept_versions: Some(7),
            ..spec()
        };
        let mut violations = Violations::new();
        let (name, read) = deployment_spec_from_proto(asked, "spec", &mut violations).unwrap();
        assert_eq!((read.update.order, read.update.on_failure), (UpdateOrder::StartFirst, OnRolloutFailure::Rollback));
        assert_eq!(read.update.max_in_flight(), MAX_IN_FLIGHT);
        assert_eq!(read.rollback.unwrap().on_failure, OnRolloutFailure::Continue);
        assert_eq!(read.update.progress_deadline, Duration::from_secs(3));
        let written = deployment_spec_to_proto(&name, &read);
        let again = deployment_spec_from_proto(written.clone(), "spec", &mut violations).unwrap();
        assert_eq!(again, (name.clone(), read.clone()));
        // The store keeps the task apart.
        let settings =
            deployment_settings_from_proto(v1::DeploymentSpec { task: None, ..written }, "", &mut violations);
        assert_eq!(settings.unwrap().with_task(read.task.clone()), read);
        assert!(violations.is_empty());
    }
}

#[test]
fn everything_wrong_is_noted_with_its_path() {
    let replicas = |count| Some(Mode::Replicated(v1::ReplicatedMode { replicas: Some(count) }));
    assert_eq!(wrong(|spec| spec.name = "a b".to_owned()), ["spec.name"]);
    assert_eq!(wrong(|spec| spec.task = None), ["spec.task"]);
    assert_eq!(wrong(|spec| spec.mode = replicas(100_001)), ["spec.replicated.replicas"]);
    assert_eq!(wrong(|spec| spec.kept_versions = Some(101)), ["spec.kept_versions"]);
    assert_eq!(
        wrong(|spec| {
            spec.update_policy = Some(v1::UpdatePolicy {
                order: 9,
                on_failure: 9,
                delay: Some(prost_types::Duration { seconds: -1, nanos: 0 }),
                monitor: Some(prost_types::Duration { seconds: 100_000, nanos: 0 }),
                progress_deadline: Some(prost_types::Duration { seconds: 0, nanos: 0 }),
                max_failure_ratio: f64::NAN,
                canaries: 100_001,
                ..Default::default()
            });
        }),
        ["order", "on_failure", "delay", "monitor", "progress_deadline", "max_failure_ratio", "canaries",]
            .map(|field| format!("spec.update_policy.{field}"))
    );
    let short = v1::UpdatePolicy {
        progress_deadline: Some(prost_types::Duration { seconds: 5, nanos: 0 }),
        ..Default::default()
    };
    assert_eq!(wrong(|spec| spec.rollback_policy = Some(short)), ["spec.rollback_policy.progress_deadline"]);
}

#[test]
fn the_new_task_does_not_come_first_to_a_node_where_the_old_one_has_its_port() {
    let start_first = v1::UpdatePolicy { order: v1::UpdateOrder::StartFirst.into(), ..Default::default() };
    let publish = |spec: &mut v1::DeploymentSpec, host_port| {
        spec.update_policy = Some(start_first);
        let Some(v1::task_spec::Runtime::Container(container)) = &mut spec.task.as_mut().unwrap().runtime else {
            panic!("it runs a container")
        };
        container.ports.push(v1::Port { container_port: 80, host_port, ..Default::default() });
    };
    let global = |spec: &mut v1::DeploymentSpec| spec.mode = Some(Mode::Global(v1::GlobalMode {}));
    let fields = wrong(|spec| {
        publish(spec, 8080);
        global(spec);
    });
    assert_eq!(fields, ["spec.update_policy.order"]);
    let mut dynamic = spec();
    publish(&mut dynamic, 0);
    global(&mut dynamic);
    let mut elsewhere = spec();
    publish(&mut elsewhere, 8080);
    for right in [dynamic, elsewhere] {
        assert!(deployment_spec_from_proto(right, "spec", &mut Violations::new()).is_some());
    }
}

#[test]
fn what_has_a_task_on_each_node_is_in_no_group() {
    let fields = wrong(|spec| {
        let colocation = Some(v1::Colocation { group: "shop".to_owned(), ..Default::default() });
        spec.mode = Some(Mode::Global(v1::GlobalMode {}));
        spec.task.as_mut().unwrap().placement = Some(v1::PlacementPolicy { colocation, ..Default::default() });
    });
    assert_eq!(fields, ["spec.task.placement.colocation"]);
}
