//! Specs of anything that may come in: nothing panics, and what is accepted survives being written and read again.

use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

use super::placement_garbage::placement_policy;
use super::read;
use crate::convert::{task_spec_from_proto, task_spec_to_proto};
use crate::v1;

/// How often, in percent, a value is anything at all instead of something that is likely to be right.
pub(super) type Wildness = u32;

pub(super) fn mixed<T: std::fmt::Debug + Clone + 'static>(
    wild: Wildness,
    good: Vec<T>,
    anything: impl Strategy<Value = T> + 'static,
) -> BoxedStrategy<T> {
    match wild {
        0 => select(good).boxed(),
        _ => prop_oneof![100 - wild => select(good), wild => anything].boxed(),
    }
}

pub(super) fn text(wild: Wildness, good: &[&str]) -> BoxedStrategy<String> {
    mixed(wild, good.iter().map(|&text| text.to_owned()).collect(), any::<String>())
}

pub(super) fn resources(wild: Wildness, amounts: &[u64]) -> BoxedStrategy<Option<v1::Resources>> {
    let amount = || mixed(wild, amounts.to_vec(), any::<u64>());
    let disk = mixed(wild, vec![0], any::<u64>());
    let resources = (amount(), amount(), disk).prop_map(|(cpu_millis, memory_bytes, disk_bytes)| v1::Resources {
        cpu_millis,
        memory_bytes,
        disk_bytes,
    });
    option::of(resources).boxed()
}

fn duration(wild: Wildness, seconds: &[i64]) -> BoxedStrategy<Option<prost_types::Duration>> {
    let seconds = mixed(wild, seconds.to_vec(), any::<i64>());
    let nanos = mixed(wild, vec![0, 5], any::<i32>());
    let duration = (seconds, nanos).prop_map(|(seconds, nanos)| prost_types::Duration { seconds, nanos });
    option::of(duration).boxed()
}

pub(super) fn number(wild: Wildness, good: Vec<i32>) -> BoxedStrategy<i32> {
    mixed(wild, good, any::<i32>())
}

pub(super) fn map(
    wild: Wildness,
    keys: &'static [&'static str],
) -> impl Strategy<Value = std::collections::BTreeMap<String, String>> {
    btree_map(text(wild, keys), text(wild, &["", "1", "a b"]), 0..3)
}

/// Of a file's content.
const DIGEST: &str = "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";

fn container(wild: Wildness) -> impl Strategy<Value = v1::ContainerSpec> {
    let words = move || vec(text(wild, &["sh", "-c", "", "é"]), 0..3);
    let target = move || text(wild, &["/a", "/b", "/c/", "/d//e", "/f", "/g"]);
    let source = prop_oneof![
        text(wild, &["/", "/srv/data"]).prop_map(v1::mount::Source::BindPath),
        text(wild, &["data", "a.b"]).prop_map(v1::mount::Source::VolumeName),
    ];
    let mount = (prop_oneof![wild => Just(None), 100 - wild => source.prop_map(Some)], target(), any::<bool>())
        .prop_map(|(source, target, read_only)| v1::Mount { source, target, read_only });
    let port_number = move |good: Vec<u32>| mixed(wild, good, any::<u32>());
    let port =
        (port_number(vec![1, 80, 443, 65_535]), number(wild, vec![0, 1, 2]), port_number(vec![0, 1, 8080, 65_535]))
            .prop_map(|(container_port, protocol, host_port)| v1::Port { container_port, protocol, host_port });
    let tmpfs = (target(), mixed(wild, vec![0, 1 << 20], any::<u64>()))
        .prop_map(|(target, size_bytes)| v1::Tmpfs { target, size_bytes });
    let capability = move || vec(text(wild, &["ALL", "CAP_CHOWN", "net_admin"]), 0..3);
    let ulimit_value = move || mixed(wild, vec![1024], any::<u64>());
    let ulimit = (text(wild, &["nofile", "nproc", "core"]), ulimit_value(), ulimit_value())
        .prop_map(|(name, soft, hard)| v1::Ulimit { name, soft, hard });
    let user = move || mixed(wild, vec![0, 1000], any::<u32>());
    let file = (
        text(wild, &["web.conf", "db"]),
        any::<bool>(),
        text(wild, &["", DIGEST]),
        text(wild, &["", "/run/secrets/x", "/h"]),
        user(),
        user(),
        option::of(mixed(wild, vec![0o400, 0o777], any::<u32>())),
    )
        .prop_map(|(name, secret, digest, target, uid, gid, mode)| v1::FileGrant {
            name,
            secret,
            digest,
            target,
            uid,
            gid,
            mode,
        });
    let first = (
        text(wild, &["busybox", "ghcr.io/org/app:1.2", "localhost:5000/a"]),
        words(),
        words(),
        map(wild, &["A", "B_2", "_x"]),
        text(wild, &["", "/", "/srv"]),
        text(wild, &["", "root", "1:2"]),
    );
    let second = (
        vec(mount, 0..3),
        vec(port, 0..3),
        vec(tmpfs, 0..2),
        capability(),
        capability(),
        any::<bool>(),
        vec(ulimit, 0..2),
        number(wild, vec![0, 1, 2, 3]),
        vec(file, 0..3),
        option::of(network(wild)),
    );
    (first, second, settings(wild)).prop_map(
        |((image, entrypoint, command, env, working_dir, user), second, settings)| {
            let (mounts, ports, tmpfs, cap_add, cap_drop, read_only, ulimits, pull_policy, files, network) = second;
            v1::ContainerSpec {
                image,
                entrypoint,
                command,
                env,
                working_dir,
                user,
                mounts,
                ports,
                tmpfs,
                cap_add,
                cap_drop,
                read_only,
                ulimits,
                pull_policy,
                files,
                network,
                ..settings
            }
        },
    )
}

/// What is beside what it runs and what is mounted.
fn settings(wild: Wildness) -> impl Strategy<Value = v1::ContainerSpec> {
    let host = (text(wild, &["db", "a.b", "c_d"]), text(wild, &["10.0.0.1", "::1", "host-gateway"]))
        .prop_map(|(name, address)| v1::ExtraHost { name, address });
    let log_bounds = (mixed(wild, vec![0, 1 << 10, 1 << 30], any::<u64>()), mixed(wild, vec![0, 1, 100], any::<u32>()))
        .prop_map(|(max_file_bytes, max_files)| v1::LogBounds { max_file_bytes, max_files });
    // Of lists in which nothing may be there twice there is one entry, if all is to be good.
    let most = if wild == 0 { 2 } else { 3 };
    (
        (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>()),
        text(wild, &["", "web", "web.example"]),
        vec(host, 0..most),
        mixed(wild, vec![0, 1 << 26], any::<u64>()),
        mixed(wild, vec![0, 1, 4_194_304], any::<u32>()),
        vec(text(wild, &["audio", "0", "2000"]), 0..most),
        option::of(log_bounds),
    )
        .prop_map(|(flags, hostname, extra_hosts, shm_size_bytes, pids_limit, group_add, log_bounds)| {
            let (init, tty, stdin_open, no_new_privileges) = flags;
            v1::ContainerSpec {
                init,
                tty,
                stdin_open,
                no_new_privileges,
                hostname,
                extra_hosts,
                shm_size_bytes,
                pids_limit,
                group_add,
                log_bounds,
                ..Default::default()
            }
        })
}

fn network(wild: Wildness) -> impl Strategy<Value = v1::ContainerNetwork> {
    let aliases = vec(text(wild, &["web", "db"]), 0..if wild == 0 { 2 } else { 3 });
    (text(wild, &["shop"]), aliases).prop_map(|(name, aliases)| v1::ContainerNetwork { name, aliases })
}

fn process(wild: Wildness) -> impl Strategy<Value = v1::ProcessSpec> {
    let command = vec(text(wild, &["sleep", "5"]), if wild == 0 { 1..3 } else { 0..3 });
    (command, map(wild, &["A"]), text(wild, &["", "/tmp"])).prop_map(|(command, env, working_dir)| v1::ProcessSpec {
        command,
        env,
        working_dir,
    })
}

fn loss(wild: Wildness) -> BoxedStrategy<Option<v1::NodeLossPolicy>> {
    let wait = Some(prost_types::Duration { seconds: 30, nanos: 7 });
    let good =
        vec![None, Some(v1::NodeLossPolicy { action: 3, wait: None }), Some(v1::NodeLossPolicy { action: 2, wait })];
    let anything = (any::<i32>(), duration(wild, &[-1, 0, 1]))
        .prop_map(|(action, wait)| Some(v1::NodeLossPolicy { action, wait }));
    mixed(wild, good, anything)
}

fn spec(wild: Wildness) -> impl Strategy<Value = v1::TaskSpec> {
    let runtime = prop_oneof![
        3 => container(wild).prop_map(|container| Some(v1::task_spec::Runtime::Container(container))),
        2 => process(wild).prop_map(|process| Some(v1::task_spec::Runtime::Process(process))),
    ];
    let constraint =
        text(wild, &["disk == ssd", "node.os!=linux", "a in (b,c)", "cores>=8", "x !exists", "a not in (é)"]);
    let requirements = (resources(wild, &[0, 100]), resources(wild, &[0, 8 << 20]))
        .prop_map(|(reservation, limit)| v1::ResourceRequirements { reservation, limit });
    let restart = (
        number(wild, vec![0, 1, 2, 3]),
        any::<u32>(),
        duration(wild, &[1, 2]),
        duration(wild, &[3, 600]),
        duration(wild, &[0, 86_399]),
    )
        .prop_map(|(mode, max_attempts, initial_delay, max_delay, reset_after)| v1::RestartPolicy {
            mode,
            max_attempts,
            initial_delay,
            max_delay,
            reset_after,
        });
    let stop = (text(wild, &["", "SIGTERM", "SIGKILL"]), duration(wild, &[0, 3599]))
        .prop_map(|(signal, grace)| v1::StopPolicy { signal, grace });
    (
        text(wild, &["web", "a.b-c_d"]),
        map(wild, &["app", "a/b"]),
        runtime,
        option::of(requirements),
        vec(constraint, 0..4),
        option::of(restart),
        option::of(stop),
        (loss(wild), option::of(placement_policy(wild)), option::of(health_check(wild).prop_map(Box::new))),
    )
        .prop_map(|(name, labels, runtime, resources, constraints, restart_policy, stop_policy, rest)| {
            let (on_node_loss, placement, health_check) = rest;
            v1::TaskSpec {
                name,
                labels,
                runtime,
                resources,
                constraints,
                restart_policy,
                stop_policy,
                on_node_loss,
                placement,
                health_check,
            }
        })
}

fn health_check(wild: Wildness) -> impl Strategy<Value = v1::HealthCheck> {
    use v1::health_check::Probe;
    let port = || mixed(wild, vec![1, 80, 65_535], any::<u32>());
    let path = text(wild, &["", "/", "/health?full=1&a=%20"]);
    let http = (port(), path, map(wild, &["Host", "x-a"]))
        .prop_map(|(port, path, headers)| Probe::Http(v1::HttpProbe { port, path, headers }));
    let tcp = port().prop_map(|port| Probe::Tcp(v1::TcpProbe { port }));
    let grpc =
        (port(), text(wild, &["", "a.b.C"])).prop_map(|(port, service)| Probe::Grpc(v1::GrpcProbe { port, service }));
    let command = (text(wild, &["check", "/bin/a b"]), vec(text(wild, &["", "-q"]), 0..3));
    let exec = command.prop_map(|(program, mut command)| {
        command.insert(0, program);
        Probe::Exec(v1::ExecProbe { command })
    });
    let probe = prop_oneof![http, tcp, grpc, exec].prop_map(Some);
    let probe = prop_oneof![100 => probe, wild => Just(None)];
    let span = |seconds| duration(wild, seconds);
    let times = (span(&[1, 86_399]), span(&[1, 299]), span(&[0, 86_399]), span(&[1, 86_399]));
    (probe, times, mixed(wild, vec![0, 1, 1000], any::<u32>())).prop_map(|(probe, times, retries)| {
        let (interval, timeout, start_period, start_interval) = times;
        v1::HealthCheck { probe, interval, timeout, retries, start_period, start_interval }
    })
}

fn spec_survives(given: v1::TaskSpec) -> Result<bool, TestCaseError> {
    let (accepted, violations) = read(given, |spec, violations| task_spec_from_proto(spec, "spec", violations));
    prop_assert_eq!(accepted.is_some(), violations.is_empty(), "{}", violations);
    prop_assert!(violations.0.iter().all(|violation| violation.field.starts_with("spec")), "{}", violations);
    let Some(accepted) = accepted else { return Ok(false) };
    let written = task_spec_to_proto(&accepted);
    let (again, violations) = read(written.clone(), |spec, violations| task_spec_from_proto(spec, "spec", violations));
    prop_assert!(violations.is_empty(), "{}", violations);
    let Some(again) = again else { return Err(TestCaseError::fail("refused without a reason")) };
    prop_assert_eq!(&again, &accepted);
    prop_assert_eq!(task_spec_to_proto(&again), written);
    Ok(true)
}

proptest! {
    #[test]
    fn no_spec_panics(given in spec(40)) {
        spec_survives(given)?;
    }

    #[test]
    fn nearly_valid_specs_survive_the_round_trip(given in spec(2)) {
        spec_survives(given)?;
    }

    #[test]
    fn valid_specs_survive_the_round_trip(given in spec(0)) {
        spec_survives(given)?;
    }
}

#[test]
fn the_round_trip_is_tried_on_many_accepted_specs() {
    use proptest::strategy::ValueTree as _;
    use proptest::test_runner::TestRunner;
    let mut runner = TestRunner::deterministic();
    let tried = 200;
    let accepted = (0..tried).filter(|_| {
        let given = spec(0).new_tree(&mut runner).expect("the strategy has values").current();
        spec_survives(given).unwrap_or_else(|error| panic!("{error}"))
    });
    assert!(accepted.count() > tried / 5);
}
