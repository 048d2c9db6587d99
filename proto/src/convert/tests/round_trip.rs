//! Nodes, requirements, statuses and registrations survive being written and read again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use davit_core::constraint::{Attribute, Constraint};
use davit_core::id::{Attempt, AttemptKey, ClusterId, NodeId, Revision, SessionId, TaskId};
use davit_core::node::{NodeDescription, NodeState, NodeStats};
use davit_core::placement::{
    Affinity, Home, HomeNode, HostPort, Keeper, Mark, MaxPerNode, NodeView, PlacedTask, PlacementRequest, PortRange,
    Preferences, RecentFailures, Requirements, RuntimeKind, SpreadOver,
};
use davit_core::resources::Resources;
use davit_core::spec::{Colocation, PlacementPolicy, PortProtocol, TaskSpec};
use davit_core::state::TaskState;
use davit_core::task::{AttemptStatus, DesiredState, Part, PortBinding, PullProgress, RunIndex};
use jiff::Timestamp;
use proptest::collection::{btree_map, btree_set, vec};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use uuid::Uuid;

use super::{container_spec, read};
use crate::convert::{
    Assignment, ForeignAttempt, KnownSpecs, PlacementGroup, Registration, RuntimeHealth, SentSpecs, Welcome,
    assignment_from_proto, attempt_ref_from_proto, attempt_ref_to_proto, attempt_report_from_proto,
    attempt_report_to_proto, foreign_attempts_from_proto, foreign_attempts_to_proto, node_view_from_proto,
    node_view_to_proto, placement_group_from_proto, placement_group_to_proto, register_from_proto, register_to_proto,
    runtime_health_from_proto, runtime_health_to_proto, task_spec_from_proto, task_spec_to_proto, welcome_from_proto,
    welcome_to_proto,
};

fn id() -> impl Strategy<Value = Uuid> {
    any::<u128>().prop_map(Uuid::from_u128)
}

fn resources(max: u64) -> impl Strategy<Value = Resources> {
    (0..=max, 0..=max, 0..=max).prop_map(|(cpu_millis, memory_bytes, disk_bytes)| Resources {
        cpu_millis,
        memory_bytes,
        disk_bytes,
    })
}

fn protocol() -> impl Strategy<Value = PortProtocol> {
    select(vec![PortProtocol::Tcp, PortProtocol::Udp])
}

fn host_ports() -> impl Strategy<Value = BTreeSet<HostPort>> {
    btree_set((protocol(), 1..=u16::MAX), 0..5)
}

fn runtimes() -> impl Strategy<Value = BTreeSet<RuntimeKind>> {
    btree_set(select(vec![RuntimeKind::Docker, RuntimeKind::Process]), 0..3)
}

fn labels() -> impl Strategy<Value = BTreeMap<String, String>> {
    btree_map("[a-z0-9][a-zA-Z0-9_./-]{0,20}", "[ -~é]{0,20}", 0..5)
}

fn time() -> impl Strategy<Value = Timestamp> {
    (-60_000_000_000_i64..250_000_000_000, 0..1_000_000_000_i32)
        .prop_map(|(seconds, nanos)| Timestamp::new(seconds, nanos).unwrap_or(Timestamp::UNIX_EPOCH))
}

fn stats() -> impl Strategy<Value = NodeStats> {
    (time(), any::<[u64; 3]>(), 0.0..1e300_f64, any::<u32>()).prop_map(|(measured_at, used, load_1m, running_tasks)| {
        let [cpu_used_millis, memory_used_bytes, disk_used_bytes] = used;
        NodeStats { measured_at, cpu_used_millis, memory_used_bytes, disk_used_bytes, load_1m, running_tasks }
    })
}

fn requirements() -> impl Strategy<Value = Requirements> {
    let runtime = select(vec![RuntimeKind::Docker, RuntimeKind::Process]);
    let constraint =
        "[a-z]{1,8} (==|!=|<|>=) [0-9]{1,3}|[a-z]{1,8} (exists|!exists)|[a-z]{1,8} (not )?in \\([a-z], [a-z]\\)";
    let constraint = constraint.prop_map(|text| text.parse::<Constraint>().expect("the pattern gives constraints"));
    let platform = select(vec!["", "linux", "linux/amd64", "/arm64"]);
    let marks = (marks(), marks(), marks(), option::of((mark(), 1..=u32::MAX)));
    let about = (runtime, resources(1_000_000), platform, any::<u32>());
    let kept = (btree_set(home(), 0..3), resources(1_000_000));
    (about, btree_set(constraint, 0..5), host_ports(), marks, kept).prop_map(
        |(about, constraints, host_ports, (needs, refuses, marks, max), (homes, group_reservation))| {
            let (runtime, reservation, platform, dynamic_ports) = about;
            Requirements {
                runtime,
                reservation,
                platform: platform.parse().expect("each is a platform"),
                constraints: constraints.into_iter().collect(),
                host_ports: host_ports.into_iter().collect(),
                dynamic_ports,
                max_per_node: max.map(|(mark, max)| MaxPerNode { mark, max }),
                needs: needs.into_iter().collect(),
                refuses: refuses.into_iter().collect(),
                marks: marks.into_iter().collect(),
                homes: homes.into_iter().collect(),
                group_reservation,
            }
        },
    )
}

fn home() -> impl Strategy<Value = Home> {
    let keeper = prop_oneof!["[a-z]{1,8}".prop_map(Keeper::Volume), "[a-z]{1,8}".prop_map(Keeper::Group)];
    let node = option::of((id(), "[a-z]{0,8}"));
    (keeper, node).prop_map(|(keeper, node)| Home {
        keeper,
        node: node.map(|(node_id, name)| HomeNode { node_id: NodeId(node_id), name }),
    })
}

fn mark() -> impl Strategy<Value = Mark> {
    ("[a-z0-9][a-zA-Z0-9_./-]{0,20}", "[ -~é]{0,20}").prop_map(|(key, value)| Mark::of_label(&key, &value))
}

fn marks() -> impl Strategy<Value = BTreeSet<Mark>> {
    btree_set(mark(), 0..3)
}

fn mark_counts() -> impl Strategy<Value = BTreeMap<Mark, u32>> {
    btree_map(mark(), 1..=u32::MAX, 0..3)
}

fn preferences() -> impl Strategy<Value = Preferences> {
    let weight = prop_oneof![-100..=-1, 1..=100];
    let affinity = ("[a-z]{1,8} (==|<) [0-9]{1,3}", weight).prop_map(|(text, weight)| Affinity {
        expression: text.parse().expect("the pattern gives expressions"),
        weight,
    });
    let spread = (btree_map("[a-z]{1,8}", 1..=100, 1..4), mark()).prop_map(|(over, mark)| {
        let one = |(key, weight)| SpreadOver { attribute: Attribute::Label(key), weight };
        (over.into_iter().map(one).collect::<Vec<_>>(), mark)
    });
    let failures = btree_map(id(), 1..=u32::MAX, 0..3);
    (vec(affinity, 0..3), option::of(spread), failures).prop_map(|(affinities, spread, failures)| {
        let (spread, spread_set) = spread.map_or((Vec::new(), None), |(spread, mark)| (spread, Some(mark)));
        let one = |(node_id, count)| RecentFailures { node_id: NodeId(node_id), count };
        Preferences { affinities, spread, spread_set, recent_failures: failures.into_iter().map(one).collect() }
    })
}

fn placed_task() -> impl Strategy<Value = PlacedTask> {
    (id(), requirements(), -1000..=1000, any::<u64>(), any::<bool>()).prop_map(
        |(task_id, requirements, priority, running_secs, is_ending)| PlacedTask {
            task_id: TaskId(task_id),
            requirements,
            priority,
            running_secs,
            is_ending,
            algorithm: String::new(),
            affinities: Vec::new(),
        },
    )
}

fn port_range() -> impl Strategy<Value = PortRange> {
    (1..=u16::MAX, 1..=u16::MAX).prop_map(|(a, b)| PortRange::new(a.min(b), a.max(b)).expect("in order"))
}

fn node_view() -> impl Strategy<Value = NodeView> {
    let state = select(vec![NodeState::Ready, NodeState::Suspect, NodeState::Down]);
    let about = (id(), "[a-z][a-z0-9._-]{0,62}", any::<String>(), any::<String>(), labels());
    let amounts = (resources(1 << 62), resources(1 << 62), host_ports(), any::<u32>(), option::of(stats()));
    let more = (option::of(port_range()), any::<u32>(), mark_counts(), mark_counts(), vec(placed_task(), 0..2));
    (about, state, any::<bool>(), runtimes(), amounts, more).prop_map(
        |(about, state, cordoned, runtimes, amounts, more)| {
            let (port_range, promised_ports, marks, refused, tasks) = more;
            let (node_id, name, os, arch, labels) = about;
            let (allocatable, reserved, host_ports, task_count, stats) = amounts;
            NodeView {
                node_id: NodeId(node_id),
                name,
                os,
                arch,
                labels: labels.into(),
                state,
                cordoned,
                runtimes,
                allocatable,
                reserved,
                host_ports,
                port_range,
                promised_ports,
                task_count,
                marks,
                refused,
                stats,
                tasks,
            }
        },
    )
}

fn placement_group() -> impl Strategy<Value = PlacementGroup> {
    let request = (requirements(), preferences(), select(vec!["", "epvm"]), -1000..=1000, any::<bool>());
    (request, 1..=u32::MAX, any::<bool>()).prop_map(|(request, count, all_or_nothing)| {
        let (requirements, preferences, algorithm, priority, may_preempt) = request;
        let algorithm = algorithm.to_owned();
        let request = PlacementRequest { requirements, preferences, algorithm, priority, may_preempt };
        PlacementGroup { group_id: "g".to_owned(), request, count, all_or_nothing }
    })
}

fn placement_policy() -> impl Strategy<Value = PlacementPolicy> {
    let about = (select(vec!["", "binpack"]), select(vec!["", "linux", "/aarch64"]), option::of(1..=u32::MAX));
    // The builder's task is called `web` and has no labels, so that it carries none of these marks.
    let colocation = ("[a-z]{1,8}", resources(1000), vec("[a-z]{2,8}", 0..3));
    let rank = (-1000..=1000, any::<bool>(), option::of(colocation));
    (about, marks(), marks(), preferences(), rank).prop_map(
        |(about, needed, refused, preferences, (priority, may_preempt, colocation))| {
            let (algorithm, platform, max_per_node) = about;
            PlacementPolicy {
                algorithm: algorithm.to_owned(),
                platform: platform.parse().expect("each is a platform"),
                max_per_node,
                task_affinities: needed.into_iter().collect(),
                task_anti_affinities: refused.into_iter().collect(),
                affinities: preferences.affinities,
                spread: preferences.spread,
                priority,
                may_preempt,
                colocation: colocation
                    .map(|(group, reservation, volumes)| Box::new(Colocation { group, reservation, volumes })),
            }
        },
    )
}

fn port_binding() -> impl Strategy<Value = PortBinding> {
    (1..=u16::MAX, protocol(), 1..=u16::MAX).prop_map(|(container_port, protocol, host_port)| PortBinding {
        container_port,
        protocol,
        host_port,
    })
}

fn status() -> impl Strategy<Value = AttemptStatus> {
    let reported = TaskState::ALL.into_iter().filter(|state| state.reported_by().is_some()).collect::<Vec<_>>();
    let pull = any::<(u64, u64, u32, u32)>().prop_map(|(downloaded_bytes, total_bytes, layers_done, layers_total)| {
        Box::new(PullProgress { downloaded_bytes, total_bytes, layers_done, layers_total })
    });
    let first = (1..=u32::MAX, select(reported), any::<u64>(), any::<bool>(), any::<String>());
    let second = (
        any::<Option<i32>>(),
        any::<bool>(),
        vec(port_binding(), 0..4),
        option::of(pull),
        option::of(time()),
        option::of(time()),
        any::<u32>(),
    );
    (first, second).prop_map(|(first, second)| {
        let (attempt, state, sequence, ready, reason) = first;
        let (exit_code, oom_killed, ports, pull, started_at, finished_at, local_restarts) = second;
        AttemptStatus {
            attempt: Attempt(attempt),
            state,
            sequence,
            node_id: None,
            ready,
            reason,
            exit_code,
            oom_killed,
            ports: ports.into(),
            pull,
            started_at,
            finished_at,
            local_restarts,
        }
    })
}

fn registration() -> impl Strategy<Value = Registration> {
    let attempts = btree_map(id().prop_map(TaskId), status(), 0..4);
    let problems = btree_map(prop_oneof![Just(RuntimeKind::Docker), Just(RuntimeKind::Process)], "[a-z ]{0,9}", 0..3);
    let run = option::of(id());
    let all = (node_view(), resources(1 << 40), attempts, problems, any::<u64>(), any::<bool>(), run);
    all.prop_map(|(view, allocatable, attempts, problems, registration_number, draining, worker_run)| Registration {
        node_id: view.node_id,
        registration_number,
        worker_run,
        draining,
        takes_spec_numbers: !draining,
        runtime_problems: problems,
        description: NodeDescription {
            name: view.name,
            address: "10.0.0.1".to_owned(),
            os: "linux".to_owned(),
            arch: "aarch64".to_owned(),
            labels: (&view.labels).into(),
            allocatable,
            capacity: allocatable.saturating_add(view.reserved),
            runtimes: view.runtimes,
            port_range: view.port_range,
            worker_version: "0.1.0".to_owned(),
        },
        attempts: attempts.into_iter().collect(),
    })
}

proptest! {
    #[test]
    fn node_views_survive(node in node_view()) {
        let (again, violations) = read(node_view_to_proto(&node), |node, found| node_view_from_proto(node, "n", found));
        prop_assert_eq!(again, Some(node), "{}", violations);
    }

    #[test]
    fn what_a_worker_can_run_survives(registration in registration()) {
        let runtimes = registration.description.runtimes;
        let health = RuntimeHealth { runtimes, problems: registration.runtime_problems };
        let (again, violations) =
            read(runtime_health_to_proto(&health), |health, found| runtime_health_from_proto(health, "h", found));
        prop_assert_eq!(again, Some(health), "{}", violations);
    }

    #[test]
    fn foreign_attempts_survive(
        attempts in vec(
            (id(), id(), 1u32.., any::<bool>()).prop_map(|(node, task, attempt, running)| ForeignAttempt {
                node_id: NodeId(node),
                key: AttemptKey { task_id: TaskId(task), attempt: Attempt(attempt) },
                running,
            }),
            0..9,
        ),
    ) {
        let written = foreign_attempts_to_proto(&attempts);
        let (again, violations) = read(written, |attempts, found| foreign_attempts_from_proto(&attempts, "f", found));
        prop_assert_eq!(again, Some(attempts), "{}", violations);
    }

    #[test]
    fn placement_groups_survive(group in placement_group()) {
        let written = placement_group_to_proto(&group);
        let (again, violations) = read(written, |group, found| placement_group_from_proto(group, "g", found));
        prop_assert_eq!(again, Some(group), "{}", violations);
    }

    #[test]
    fn placement_policies_survive_in_their_spec(policy in placement_policy()) {
        let (spec, _) = read(container_spec(), |spec, found| task_spec_from_proto(spec, "spec", found));
        let spec = spec.ok_or_else(|| TestCaseError::fail("the builder makes valid specs"))?;
        let spec = TaskSpec { placement: policy, ..spec };
        let written = task_spec_to_proto(&spec);
        prop_assert_eq!(written.placement.is_none(), spec.placement == PlacementPolicy::default());
        let (again, violations) = read(written, |spec, found| task_spec_from_proto(spec, "spec", found));
        prop_assert_eq!(again, Some(spec), "{}", violations);
    }

    #[test]
    fn attempt_reports_survive(task_id in id(), status in status()) {
        let written = attempt_report_to_proto(TaskId(task_id), &status);
        let (again, violations) = read(written, |report, found| attempt_report_from_proto(report, "r", found));
        prop_assert_eq!(again, Some((TaskId(task_id), status)), "{}", violations);
    }

    #[test]
    fn registrations_survive(registration in registration()) {
        let written = register_to_proto(&registration);
        let (again, violations) = read(written, |register, found| register_from_proto(register, "register", found));
        prop_assert_eq!(again, Some(registration), "{}", violations);
    }

    #[test]
    fn what_the_manager_sends_survives(
        task_id in id(),
        attempt in 1..=u32::MAX,
        revision in any::<u64>(),
        ports in vec(port_binding(), 0..4),
    ) {
        let key = AttemptKey { task_id: TaskId(task_id), attempt: Attempt(attempt) };
        let (again, _) = read(attempt_ref_to_proto(key), |key, found| attempt_ref_from_proto(&key, "k", found));
        prop_assert_eq!(again, Some(key));

        let (spec, _) = read(container_spec(), |spec, found| task_spec_from_proto(spec, "spec", found));
        let spec = spec.ok_or_else(|| TestCaseError::fail("the builder makes valid specs"))?;
        let (revision, desired_state) = (Revision(revision), DesiredState::Running);
        let spec = Arc::new(spec);
        let of_job = Part::Index(RunIndex { run: 2, index: attempt });
        let part = if attempt % 2 == 0 { Part::Replica(4) } else { of_job };
        let (held, given) = (Arc::clone(&spec), ports.clone().into());
        let expected = Some(Assignment { key, revision, desired_state, spec: held, ports: given, part });
        let (mut sent, mut known) = (SentSpecs::new(), KnownSpecs::new());
        for is_new in [true, false] {
            let written = sent.assignment_to_proto(key, revision, desired_state, &spec, &ports, part);
            prop_assert_eq!(written.spec.is_some(), is_new);
            let (again, violations) = read(written, |one, found| assignment_from_proto(one, &mut known, "a", found));
            prop_assert_eq!(&again, &expected, "{}", violations);
        }

        let heartbeat_period = std::time::Duration::from_millis(u64::from(attempt));
        let lease_duration = (attempt % 2 == 0).then_some(heartbeat_period * 3);
        let session_id = SessionId(task_id);
        let cluster_id = (attempt % 3 == 0).then_some(ClusterId(task_id));
        let welcome = Welcome { cluster: "c".to_owned(), heartbeat_period, session_id, lease_duration, cluster_id };
        let (again, violations) = read(welcome_to_proto(&welcome), |w, found| welcome_from_proto(w, "welcome", found));
        prop_assert_eq!(again, Some(welcome), "{}", violations);
    }
}
