//! What is read from single values, and what is written.

use std::time::Duration;

use davit_core::constraint::Operator;
use davit_core::drain::{Drain, DrainSource};
use davit_core::id::{Attempt, GangId, NodeId, Revision, TaskId};
use davit_core::node::{Node, NodeDescription, NodeState, NodeStats, RuntimeProblem};
use davit_core::placement::{PortRange, RuntimeKind};
use davit_core::resources::Resources;
use davit_core::spec::{PortProtocol, RuntimeSpec, TaskSpec};
use davit_core::task::{AttemptStatus, Claim, DesiredState, Membership, Part, PortBinding, Task};
use davit_core::validate::Violations;
use jiff::Timestamp;
use proptest::prelude::*;
use uuid::Uuid;

use super::{container_spec, read};
use crate::convert::enums::Choices;
use crate::convert::{
    NodeUsage, assignment_to_proto, duration_from_proto, duration_to_proto, etag, node_stats_to_proto, node_to_proto,
    task_spec_from_proto, task_spec_to_proto, task_to_proto, timestamp_from_proto, timestamp_to_proto,
};
use crate::v1;

fn accepted(spec: v1::TaskSpec) -> TaskSpec {
    let (spec, violations) = read(spec, |spec, violations| task_spec_from_proto(spec, "spec", violations));
    spec.unwrap_or_else(|| panic!("{violations}"))
}

#[test]
fn what_is_unset_gets_the_documented_default() {
    let spec = accepted(container_spec());
    assert_eq!(spec.restart, davit_core::restart::RestartPolicy::default());
    assert_eq!(spec.stop.grace, Duration::from_secs(10));
    assert_eq!(spec.resources.reservation, Resources::ZERO);
    assert_eq!(spec.on_node_loss, davit_core::spec::OnNodeLoss::Replace);
}

#[test]
fn capabilities_are_kept_without_their_prefix() {
    let container = v1::ContainerSpec {
        image: "busybox".to_owned(),
        cap_add: ["CAP_NET_ADMIN", "sys_time", "ALL"].map(str::to_owned).to_vec(),
        ..Default::default()
    };
    let runtime = Some(v1::task_spec::Runtime::Container(container));
    let RuntimeSpec::Container(container) = accepted(v1::TaskSpec { runtime, ..container_spec() }).runtime else {
        panic!("it was a container")
    };
    assert_eq!(container.cap_add, ["NET_ADMIN", "SYS_TIME", "ALL"]);
}

#[test]
fn bounds_that_say_nothing_are_none_and_addresses_are_written_in_one_way() {
    let hosts = [("db", "FE80:0:0::1"), ("db", "10.0.0.1"), ("host.docker.internal", "host-gateway")];
    let host = |(name, address): (&str, &str)| v1::ExtraHost { name: name.to_owned(), address: address.to_owned() };
    let container = v1::ContainerSpec {
        image: "busybox".to_owned(),
        log_bounds: Some(v1::LogBounds::default()),
        extra_hosts: hosts.map(host).to_vec(),
        ..Default::default()
    };
    let spec = v1::TaskSpec { runtime: Some(v1::task_spec::Runtime::Container(container)), ..container_spec() };
    let written = task_spec_to_proto(&accepted(spec));
    let Some(v1::task_spec::Runtime::Container(container)) = written.runtime else { panic!("it was a container") };
    assert_eq!(container.log_bounds, None);
    let addresses: Vec<_> = container.extra_hosts.iter().map(|host| host.address.as_str()).collect();
    assert_eq!(addresses, ["fe80::1", "10.0.0.1", "host-gateway"]);
}

#[test]
fn users_and_ports_as_docker_takes_them_are_accepted() {
    let port = |container_port, protocol, host_port| v1::Port { container_port, protocol, host_port };
    for user in ["root", "1000", "1000:1000", "app:www-data", "_apt", "0"] {
        let container = v1::ContainerSpec {
            image: "ghcr.io/org/app:1.2".to_owned(),
            user: user.to_owned(),
            // One port may be published in several ways, and one number in both protocols.
            ports: vec![port(53, 1, 53), port(53, 2, 53), port(53, 1, 0), port(53, 1, 1053)],
            ..Default::default()
        };
        accepted(v1::TaskSpec { runtime: Some(v1::task_spec::Runtime::Container(container)), ..container_spec() });
    }
}

#[test]
fn constraints_are_read_in_order() {
    let constraints = vec!["disk == ssd".to_owned(), "gpu exists".to_owned()];
    let spec = accepted(v1::TaskSpec { constraints, ..container_spec() });
    assert_eq!(spec.constraints[1].operator, Operator::Exists);
}

#[test]
fn loads_that_are_no_numbers_are_written_as_zero() {
    let stats = |load_1m| NodeStats {
        measured_at: Timestamp::UNIX_EPOCH,
        cpu_used_millis: 0,
        memory_used_bytes: 0,
        disk_used_bytes: 0,
        load_1m,
        running_tasks: 0,
    };
    for load in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -1.0] {
        assert_eq!(node_stats_to_proto(stats(load)).load_1m.to_bits(), 0.0_f64.to_bits());
    }
}

#[test]
fn a_task_is_written_with_its_status_and_past() {
    let now = Timestamp::UNIX_EPOCH;
    let task = Task {
        task_id: TaskId(Uuid::from_u128(7)),
        spec: std::sync::Arc::new(accepted(container_spec())),
        desired_state: DesiredState::Running,
        wanted_attempt: Attempt(2),
        status: AttemptStatus::pending(Attempt(2), "waits"),
        next_attempt_at: Some(now),
        leased_until: Some(now),
        restarts_in_row: 1,
        given_ports: [PortBinding { container_port: 80, protocol: PortProtocol::Tcp, host_port: 20_000 }].into(),
        membership: Some(Box::new(Membership::Gang(GangId(Uuid::from_u128(8))))),
        claim: Some(Box::new(Claim { node_id: NodeId(Uuid::from_u128(9)), reason: "moves here".to_owned() })),
        past_attempts: [AttemptStatus { exit_code: Some(3), ..AttemptStatus::pending(Attempt(1), "") }].into(),
        created_at: now,
        updated_at: now,
        revision: Revision(11),
    };
    let written = task_to_proto(&task);
    assert_eq!(written.attempt, 2);
    assert_eq!(written.etag, etag(Revision(11)));
    let status = written.status.expect("a task has a status");
    assert_eq!((status.state(), status.node_id.as_str()), (v1::TaskState::Pending, ""));
    assert!(status.next_attempt_time.is_some());
    assert_eq!(written.past_attempts[0].status.as_ref().and_then(|status| status.exit_code), Some(3));

    let removed =
        assignment_to_proto(task.key(), task.revision, DesiredState::Removed, None, &task.given_ports, Part::Alone);
    assert_eq!(removed.desired_state(), v1::DesiredState::Stopped);
    assert_eq!(removed.ports[0].host_port, 20_000);
    assert_eq!(written.gang_id, GangId(Uuid::from_u128(8)).to_string());
    assert_eq!(written.claim.map(|claim| claim.reason).as_deref(), Some("moves here"));
}

#[test]
fn a_node_is_written_with_the_labels_in_force_and_its_usage() {
    let now = Timestamp::UNIX_EPOCH;
    let label = |value: &str| [("zone".to_owned(), value.to_owned())].into();
    let drain = Drain {
        stuck: [(TaskId(Uuid::from_u128(1)), "nowhere".to_owned())].into(),
        stuck_count: 1,
        moved_count: 2,
        forced_count: 4,
        lost_count: 5,
        ..Drain::begin(DrainSource::User, now, Some(now), 3)
    };
    let node = Node {
        node_id: NodeId(Uuid::from_u128(7)),
        description: NodeDescription {
            name: "a".to_owned(),
            address: "10.0.0.1".to_owned(),
            os: "linux".to_owned(),
            arch: "x86_64".to_owned(),
            labels: label("worker"),
            allocatable: Resources::ZERO,
            capacity: Resources::ZERO,
            port_range: Some(PortRange::DEFAULT),
            runtimes: [RuntimeKind::Process].into(),
            worker_version: "0.1.0".to_owned(),
        },
        user_labels: label("user"),
        state: NodeState::Suspect,
        state_reason: "its session broke".to_owned(),
        state_since: now,
        runtime_problems: [(RuntimeKind::Docker, RuntimeProblem { problem: "hangs".to_owned(), since: now })].into(),
        cordoned: true,
        drain: Some(drain),
        registration_number: 2,
        worker_run: Some(Uuid::from_u128(8)),
        away_until: Some(now),
        joined_at: now,
        updated_at: now,
        revision: Revision(3),
    };
    let usage = NodeUsage { task_count: 4, waiting_count: 3, ..NodeUsage::default() };
    let written = node_to_proto(&node, &usage);
    assert_eq!(written.labels["zone"], "user");
    let problem = &written.runtime_problems[0];
    assert_eq!((problem.kind(), problem.problem.as_str()), (v1::RuntimeKind::Docker, "hangs"));
    assert_eq!(problem.start_time, Some(timestamp_to_proto(now)));
    assert_eq!(written.port_range, Some(v1::PortRange { first: 20_000, last: 31_999 }));
    assert_eq!((written.state(), written.task_count, written.stats), (v1::NodeState::Suspect, 4, None));
    let drain = written.drain.unwrap();
    assert_eq!((drain.state(), drain.source()), (v1::DrainState::Draining, v1::DrainSource::User));
    assert_eq!((drain.waiting_count, drain.moved_count, drain.max_parallel), (3, 2, 3));
    assert_eq!((drain.forced_count, drain.lost_count), (4, 5));
    assert_eq!((drain.stuck_count, drain.stuck_tasks[0].reason.as_str()), (1, "nowhere"));
    assert_eq!((drain.deadline, drain.drained_time), (Some(prost_types::Timestamp::default()), None));
}

proptest! {
    #[test]
    fn times_survive_the_round_trip(seconds in -62_135_596_800_i64..=253_402_207_200, nanos in 0..1_000_000_000_i32) {
        let given = prost_types::Timestamp { seconds, nanos };
        let (time, _) = read(given, |given, violations| timestamp_from_proto(given, "t", violations));
        if let Some(time) = time {
            prop_assert_eq!(timestamp_to_proto(time), given);
        } else {
            // The last second of the range has no further nanoseconds.
            prop_assert!(seconds >= 253_402_207_200);
        }
    }

    #[test]
    fn no_time_or_duration_panics(seconds in any::<i64>(), nanos in any::<i32>()) {
        let mut violations = Violations::new();
        if let Some(time) = timestamp_from_proto(prost_types::Timestamp { seconds, nanos }, "t", &mut violations) {
            prop_assert_eq!(timestamp_to_proto(time), prost_types::Timestamp { seconds, nanos });
        }
        if let Some(span) = duration_from_proto(prost_types::Duration { seconds, nanos }, "d", &mut violations) {
            prop_assert_eq!(duration_to_proto(span), prost_types::Duration { seconds, nanos });
        }
    }

    #[test]
    fn every_duration_can_be_written(seconds in any::<u64>(), nanos in 0..1_000_000_000_u32) {
        let written = duration_to_proto(Duration::new(seconds, nanos));
        prop_assert!(written.seconds >= 0 && written.nanos >= 0);
        let (read_again, violations) = read(written, |written, violations| duration_from_proto(written, "d", violations));
        prop_assert!(read_again.is_some(), "{}", violations);
    }
}

/// Of an unknown number the error names all that are known.
#[test]
fn no_choice_is_left_out_of_errors() {
    fn assert_all<E: Choices + std::fmt::Debug>() {
        let known: Vec<_> = (1..100).filter_map(|number| E::try_from(number).ok()).map(E::name).collect();
        let named: Vec<_> = E::ALL.iter().map(|choice| choice.name()).collect();
        assert_eq!(named, known, "{}", E::NAME);
    }
    assert_all::<v1::RuntimeKind>();
    assert_all::<v1::NodeState>();
    assert_all::<v1::DesiredState>();
    assert_all::<v1::PullPolicy>();
    assert_all::<v1::PortProtocol>();
    assert_all::<v1::RestartMode>();
    assert_all::<v1::NodeLossAction>();
    assert_all::<v1::TaskState>();
}
