//! Every way to get a spec wrong, and the field that is blamed.

use super::{container_spec, fields, process_spec, read};
use crate::convert::{MAX_LABELS, MAX_SPEC_BYTES, task_groups_from_proto, task_spec_from_proto, task_spec_to_proto};
use crate::v1;

type Bend = (&'static str, &'static str, fn(&mut v1::TaskSpec));
type BendHealth = (&'static str, &'static str, fn(&mut v1::HealthCheck));
type BendContainer = (&'static str, &'static str, fn(&mut v1::ContainerSpec));
type BendProcess = (&'static str, &'static str, fn(&mut v1::ProcessSpec));

fn resources(cpu_millis: u64, memory_bytes: u64, disk_bytes: u64) -> Option<v1::Resources> {
    Some(v1::Resources { cpu_millis, memory_bytes, disk_bytes })
}

fn limits(reservation: Option<v1::Resources>, limit: Option<v1::Resources>) -> Option<v1::ResourceRequirements> {
    Some(v1::ResourceRequirements { reservation, limit })
}

fn seconds(seconds: i64) -> Option<prost_types::Duration> {
    Some(prost_types::Duration { seconds, nanos: 0 })
}

fn restart(bend: impl FnOnce(&mut v1::RestartPolicy)) -> Option<v1::RestartPolicy> {
    let mut policy = v1::RestartPolicy::default();
    bend(&mut policy);
    Some(policy)
}

fn stop(signal: &str, grace: Option<prost_types::Duration>) -> Option<v1::StopPolicy> {
    Some(v1::StopPolicy { signal: signal.to_owned(), grace })
}

fn loss(action: i32, wait: Option<prost_types::Duration>) -> Option<v1::NodeLossPolicy> {
    Some(v1::NodeLossPolicy { action, wait })
}

fn grant(name: &str, target: &str) -> v1::FileGrant {
    v1::FileGrant { name: name.to_owned(), target: target.to_owned(), ..Default::default() }
}

fn mount(target: &str) -> v1::Mount {
    let source = Some(v1::mount::Source::VolumeName("data".to_owned()));
    v1::Mount { source, target: target.to_owned(), read_only: false }
}

fn bind(source: &str) -> v1::Mount {
    v1::Mount { source: Some(v1::mount::Source::BindPath(source.to_owned())), ..mount("/data") }
}

fn volume(name: &str) -> v1::Mount {
    v1::Mount { source: Some(v1::mount::Source::VolumeName(name.to_owned())), ..mount("/data") }
}

fn tmpfs(target: &str, size_bytes: u64) -> v1::Tmpfs {
    v1::Tmpfs { target: target.to_owned(), size_bytes }
}

fn port(container_port: u32, protocol: i32, host_port: u32) -> v1::Port {
    v1::Port { container_port, protocol, host_port }
}

fn network(name: &str, aliases: &[&str]) -> v1::ContainerNetwork {
    let aliases = aliases.iter().map(|&alias| alias.to_owned()).collect();
    v1::ContainerNetwork { name: name.to_owned(), aliases }
}

fn many_aliases() -> v1::ContainerNetwork {
    let aliases = (0..33).map(|number| format!("a{number}")).collect();
    v1::ContainerNetwork { name: "shop".to_owned(), aliases }
}

fn host(name: &str, address: &str) -> v1::ExtraHost {
    v1::ExtraHost { name: name.to_owned(), address: address.to_owned() }
}

fn log_bounds(max_file_bytes: u64, max_files: u32) -> v1::LogBounds {
    v1::LogBounds { max_file_bytes, max_files }
}

fn ulimit(name: &str, soft: u64, hard: u64) -> v1::Ulimit {
    v1::Ulimit { name: name.to_owned(), soft, hard }
}

fn pair(key: &str, value: &str) -> (String, String) {
    (key.to_owned(), value.to_owned())
}

fn http(port: u32, path: &str, headers: &[(&str, &str)]) -> Option<v1::health_check::Probe> {
    let headers = headers.iter().map(|(name, value)| pair(name, value)).collect();
    Some(v1::health_check::Probe::Http(v1::HttpProbe { port, path: path.to_owned(), headers }))
}

fn exec(command: &[&str]) -> Option<v1::health_check::Probe> {
    let command = command.iter().map(|&word| word.to_owned()).collect();
    Some(v1::health_check::Probe::Exec(v1::ExecProbe { command }))
}

const SPEC: &[Bend] = &[
    ("spec.name", "empty", |s| s.name.clear()),
    ("spec.name", "63 bytes", |s| s.name = "n".repeat(64)),
    ("spec.name", "may hold only", |s| s.name = "bad name".to_owned()),
    (r#"spec.labels["bad key"]"#, "the key", |s| s.labels.extend([pair("bad key", "v")])),
    (r#"spec.labels[""]"#, "the key must not be empty", |s| s.labels.extend([pair("", "v")])),
    (r#"spec.labels["k"]"#, "the value", |s| s.labels.extend([pair("k", &"v".repeat(4097))])),
    (r#"spec.labels["k"]"#, "printable", |s| s.labels.extend([pair("k", "\u{7}")])),
    ("spec.labels", "at most 64", |s| s.labels.extend((0..=MAX_LABELS).map(|n| pair(&format!("k{n}"), "")))),
    ("spec", "needs a runtime", |s| s.runtime = None),
    ("spec", "bytes encoded", |s| s.labels.extend([pair("k", &"v".repeat(5 << 20))])),
    ("spec.resources.reservation.cpu_millis", "at most", |s| s.resources = limits(resources(u64::MAX, 0, 0), None)),
    ("spec.resources.reservation.memory_bytes", "PiB", |s| s.resources = limits(resources(0, u64::MAX, 0), None)),
    ("spec.resources.reservation.disk_bytes", "PiB", |s| s.resources = limits(resources(0, 0, 1 << 51), None)),
    ("spec.resources.limit.cpu_millis", "at most", |s| s.resources = limits(None, resources(1_024_001, 0, 0))),
    ("spec.resources.limit.cpu_millis", "at least 10", |s| s.resources = limits(None, resources(9, 0, 0))),
    ("spec.resources.limit.cpu_millis", "below the reservation", |s| {
        s.resources = limits(resources(500, 0, 0), resources(100, 0, 0));
    }),
    ("spec.resources.limit.memory_bytes", "6.0 MiB", |s| s.resources = limits(None, resources(0, 1 << 20, 0))),
    ("spec.resources.limit.memory_bytes", "below the reservation", |s| {
        s.resources = limits(resources(0, 64 << 20, 0), resources(0, 32 << 20, 0));
    }),
    ("spec.resources.limit.disk_bytes", "leave it zero", |s| s.resources = limits(None, resources(0, 0, 1))),
    ("spec.constraints[1]", "no known operator", |s| s.constraints = vec!["a == b".to_owned(), "a ~ b".to_owned()]),
    ("spec.constraints[0]", "must not be empty", |s| s.constraints = vec![String::new()]),
    ("spec.constraints[0]", "at most 512", |s| s.constraints = vec![format!("a=={}", "b".repeat(600))]),
    ("spec.constraints[0]", "in full", |s| s.constraints = vec![format!("a=={}", "b".repeat(509))]),
    ("spec.constraints", "at most 32", |s| s.constraints = vec!["a exists".to_owned(); 33]),
    ("spec.restart_policy.mode", "9 is not a RestartMode", |s| s.restart_policy = restart(|p| p.mode = 9)),
    ("spec.restart_policy.initial_delay", "100 ms", |s| s.restart_policy = restart(|p| p.initial_delay = seconds(0))),
    ("spec.restart_policy.initial_delay", "negative", |s| {
        s.restart_policy = restart(|p| p.initial_delay = seconds(-1));
    }),
    ("spec.restart_policy.initial_delay", "24 h", |s| {
        s.restart_policy = restart(|p| p.initial_delay = seconds(90_000));
    }),
    ("spec.restart_policy.max_delay", "below the initial", |s| {
        s.restart_policy = restart(|p| (p.initial_delay, p.max_delay) = (seconds(10), seconds(5)));
    }),
    ("spec.restart_policy.max_delay", "its default", |s| {
        s.restart_policy = restart(|p| p.initial_delay = seconds(301));
    }),
    ("spec.restart_policy.max_delay", "24 h", |s| s.restart_policy = restart(|p| p.max_delay = seconds(90_000))),
    ("spec.restart_policy.reset_after", "not a duration", |s| {
        s.restart_policy = restart(|p| p.reset_after = Some(prost_types::Duration { seconds: 1, nanos: i32::MAX }));
    }),
    ("spec.stop_policy.signal", "use one of SIGTERM", |s| s.stop_policy = stop("TERM", None)),
    ("spec.stop_policy.grace", "1 h", |s| s.stop_policy = stop("", seconds(3601))),
    ("spec.stop_policy.grace", "negative", |s| s.stop_policy = stop("", seconds(i64::MIN))),
    ("spec.on_node_loss.action", "use one of NODE_LOSS_ACTION_REPLACE", |s| s.on_node_loss = loss(-1, None)),
    ("spec.on_node_loss.wait", "has a meaning only with", |s| s.on_node_loss = loss(3, seconds(1))),
    ("spec.on_node_loss.wait", "is needed", |s| s.on_node_loss = loss(2, None)),
    ("spec.on_node_loss.wait", "above zero", |s| s.on_node_loss = loss(2, seconds(0))),
    ("spec.on_node_loss.wait", "24 h", |s| s.on_node_loss = loss(2, seconds(86_401))),
    ("spec.on_node_loss.wait", "only with", |s| s.on_node_loss = loss(0, seconds(5))),
];

const HEALTH: &[BendHealth] = &[
    ("", "needs a probe", |h| h.probe = None),
    (".http.port", "0 is not a port", |h| h.probe = http(0, "/", &[])),
    (".http.port", "65536 is not a port", |h| h.probe = http(65_536, "/", &[])),
    (".http.path", "must start with /", |h| h.probe = http(80, "health", &[])),
    (".http.path", "at most 2048", |h| h.probe = http(80, &format!("/{}", "a".repeat(2048)), &[])),
    (".http.path", "not the path", |h| h.probe = http(80, "/a b", &[])),
    (".http.path", "not the path", |h| h.probe = http(80, "/a#b", &[])),
    (".http.path", "not the path", |h| h.probe = http(80, "/é", &[])),
    (".http.path", "not the path", |h| h.probe = http(80, "/\r\nX: y", &[])),
    (r#".http.headers["a b"]"#, "the name", |h| h.probe = http(80, "", &[("a b", "")])),
    (r#".http.headers["a"]"#, "the value", |h| h.probe = http(80, "", &[("a", "b\r\nc: d")])),
    (r#".http.headers["a"]"#, "the value", |h| h.probe = http(80, "", &[("a", &"b".repeat(4097))])),
    (".http.headers", "at most 16", |h| {
        let headers = (0..17).map(|n| pair(&format!("h{n}"), "")).collect();
        h.probe = Some(v1::health_check::Probe::Http(v1::HttpProbe { port: 80, path: String::new(), headers }));
    }),
    (".tcp.port", "not a port", |h| h.probe = Some(v1::health_check::Probe::Tcp(v1::TcpProbe { port: 0 }))),
    (".grpc.port", "not a port", |h| h.probe = Some(v1::health_check::Probe::Grpc(v1::GrpcProbe::default()))),
    (".grpc.service", "printable", |h| {
        h.probe = Some(v1::health_check::Probe::Grpc(v1::GrpcProbe { port: 1, service: "a b".to_owned() }));
    }),
    (".exec.command", "at least the program", |h| h.probe = exec(&[])),
    (".exec.command[0]", "must not be empty", |h| h.probe = exec(&[""])),
    (".exec.command[1]", "NUL", |h| h.probe = exec(&["a", "\0"])),
    (".interval", "at least 100 ms", |h| h.interval = seconds(0)),
    (".interval", "24 h", |h| h.interval = seconds(86_401)),
    (".interval", "negative", |h| h.interval = seconds(-1)),
    (".timeout", "at least 10 ms", |h| h.timeout = seconds(0)),
    (".timeout", "5 min", |h| h.timeout = seconds(301)),
    (".retries", "at most 1000", |h| h.retries = 1001),
    (".start_period", "24 h", |h| h.start_period = seconds(86_401)),
    (".start_interval", "at least 100 ms", |h| h.start_interval = seconds(0)),
    (".start_interval", "24 h", |h| h.start_interval = seconds(86_401)),
];

const CONTAINER: &[BendContainer] = &[
    ("image", "an image is needed", |c| c.image.clear()),
    ("image", "not an image name", |c| c.image = "Not An Image".to_owned()),
    ("image", "at most 255", |c| c.image = "i".repeat(300)),
    ("entrypoint[0]", "NUL", |c| c.entrypoint = vec!["a\0".to_owned()]),
    ("command[1]", "NUL", |c| c.command = vec!["a".to_owned(), "\0".to_owned()]),
    ("command[0]", "131071 bytes", |c| c.command = vec!["a".repeat(131_072)]),
    (r#"env["1A"]"#, "the name", |c| c.env.extend([pair("1A", "")])),
    (r#"env["A=B"]"#, "the name", |c| c.env.extend([pair("A=B", "")])),
    (r#"env["A"]"#, "NUL", |c| c.env.extend([pair("A", "b\0c")])),
    ("working_dir", "absolute", |c| c.working_dir = "tmp".to_owned()),
    ("working_dir", "..", |c| c.working_dir = "/a/../b".to_owned()),
    ("working_dir", "NUL", |c| c.working_dir = "/a\0".to_owned()),
    ("user", "not a user", |c| c.user = "a:b:c".to_owned()),
    ("user", "not a user", |c| c.user = "1000:".to_owned()),
    ("user", "not a user", |c| c.user = "4294967295".to_owned()),
    ("mounts[0]", "needs bind_path or volume_name", |c| c.mounts = vec![v1::Mount { source: None, ..mount("/a") }]),
    ("mounts[0].bind_path", "absolute", |c| c.mounts = vec![bind("relative")]),
    ("mounts[0].bind_path", "..", |c| c.mounts = vec![bind("/..")]),
    ("mounts[0].volume_name", "bind_path", |c| c.mounts = vec![volume("/host")]),
    ("mounts[0].volume_name", "volume's name", |c| c.mounts = vec![volume("")]),
    ("mounts[0].target", "is needed", |c| c.mounts = vec![mount("")]),
    ("mounts[0].target", "root directory", |c| c.mounts = vec![mount("//.")]),
    ("mounts[1].target", "mounts[0].target", |c| c.mounts = vec![mount("/a"), mount("/a/./")]),
    ("tmpfs[0].target", "mounts[0].target", |c| (c.mounts, c.tmpfs) = (vec![mount("/a")], vec![tmpfs("/a", 0)])),
    ("tmpfs[0].target", "absolute", |c| c.tmpfs = vec![tmpfs("a", 0)]),
    ("tmpfs[0].size_bytes", "1 PiB", |c| c.tmpfs = vec![tmpfs("/a", u64::MAX)]),
    ("ports[0].container_port", "0 is not a port", |c| c.ports = vec![port(0, 0, 0)]),
    ("ports[0].container_port", "65536 is not", |c| c.ports = vec![port(65_536, 0, 0)]),
    ("ports[0].host_port", "70000 is not", |c| c.ports = vec![port(80, 0, 70_000)]),
    ("ports[0].protocol", "PORT_PROTOCOL_TCP, PORT_PROTOCOL_UDP", |c| c.ports = vec![port(80, 7, 0)]),
    ("ports[1]", "twice", |c| c.ports = vec![port(80, 0, 0), port(80, 1, 0)]),
    ("ports[1]", "twice", |c| c.ports = vec![port(80, 0, 8080), port(80, 1, 8080)]),
    ("ports[1].host_port", "taken twice", |c| c.ports = vec![port(80, 0, 8080), port(81, 0, 8080)]),
    ("cap_add[0]", "NET_ADMIN", |c| c.cap_add = vec!["FLY".to_owned()]),
    ("cap_drop[1]", "NET_ADMIN", |c| c.cap_drop = vec!["ALL".to_owned(), String::new()]),
    ("files[0].name", "must not be empty", |c| c.files = vec![grant("", "/a")]),
    ("files[0].digest", "write sha256:", |c| {
        c.files = vec![v1::FileGrant { digest: "1".to_owned(), ..grant("a", "") }];
    }),
    ("files[1].target", "same place as spec.container.files[0].target", |c| {
        c.files = vec![grant("a", ""), grant("b", "/a")];
    }),
    ("files[0].target", "same place as spec.container.mounts[0].target", |c| {
        (c.mounts, c.files) = (vec![mount("/data")], vec![grant("a", "/data/")]);
    }),
    ("files[0].uid", "at most", |c| c.files = vec![v1::FileGrant { uid: 1 << 31, ..grant("a", "") }]),
    ("files[0].mode", "0777", |c| c.files = vec![v1::FileGrant { mode: Some(0o1000), ..grant("a", "") }]),
    ("files", "at most 64", |c| c.files = (0..65).map(|at| grant("a", &format!("/{at}"))).collect()),
    ("ulimits[0].name", "use one of core", |c| c.ulimits = vec![ulimit("files", 1, 1)]),
    ("ulimits[1].name", "twice", |c| c.ulimits = vec![ulimit("core", 1, 1), ulimit("core", 2, 2)]),
    ("ulimits[0].soft", "above the hard", |c| c.ulimits = vec![ulimit("nofile", 2, 1)]),
    ("ulimits[0].hard", "at most", |c| c.ulimits = vec![ulimit("nofile", 2, u64::MAX)]),
    ("network.name", "must not be empty", |c| c.network = Some(network("", &[]))),
    ("network.name", "letters", |c| c.network = Some(network("a b", &[]))),
    ("network.aliases[1]", "twice", |c| c.network = Some(network("shop", &["web", "web"]))),
    ("network.aliases[0]", "letters", |c| c.network = Some(network("shop", &["-"]))),
    ("network.aliases", "at most 32", |c| c.network = Some(many_aliases())),
    ("hostname", "is not a host's name", |c| c.hostname = "a b".to_owned()),
    ("hostname", "at most 64 bytes", |c| c.hostname = ["a"; 33].join(".")),
    ("extra_hosts[1].name", "must not be empty", |c| c.extra_hosts = vec![host("a", "::1"), host("", "::1")]),
    ("extra_hosts[0].name", "is not a host's name", |c| c.extra_hosts = vec![host("-a", "::1")]),
    ("extra_hosts[0].address", "host-gateway", |c| c.extra_hosts = vec![host("a", "b")]),
    ("extra_hosts[0].address", "must not be empty", |c| c.extra_hosts = vec![host("a", "")]),
    ("extra_hosts[1]", "twice", |c| c.extra_hosts = vec![host("a", "::1"), host("a", "0::1")]),
    ("extra_hosts", "at most 64", |c| c.extra_hosts = (0..65).map(|at| host(&format!("a{at}"), "::1")).collect()),
    ("shm_size_bytes", "1 PiB", |c| c.shm_size_bytes = u64::MAX),
    ("pids_limit", "at most 4194304", |c| c.pids_limit = 4_194_305),
    ("group_add[0]", "is not a group", |c| c.group_add = vec!["a b".to_owned()]),
    ("group_add[1]", "twice", |c| c.group_add = vec!["audio".to_owned(); 2]),
    ("group_add", "at most 64", |c| c.group_add = (0..65).map(|at| at.to_string()).collect()),
    ("log_bounds.max_file_bytes", "from 1 KiB to 1 GiB", |c| c.log_bounds = Some(log_bounds(1023, 0))),
    ("log_bounds.max_file_bytes", "from 1 KiB to 1 GiB", |c| c.log_bounds = Some(log_bounds((1 << 30) + 1, 1))),
    ("log_bounds.max_files", "at most 100", |c| c.log_bounds = Some(log_bounds(0, 101))),
    ("pull_policy", "7 is not a PullPolicy; use one of PULL_POLICY_MISSING", |c| c.pull_policy = 7),
];

const PROCESS: &[BendProcess] = &[
    ("command", "at least the program", |p| p.command.clear()),
    ("command[0]", "must not be empty", |p| p.command = vec![String::new()]),
    ("command[1]", "NUL", |p| p.command = vec!["a".to_owned(), "\0".to_owned()]),
    (r#"env[""]"#, "the name must not be empty", |p| p.env.extend([pair("", "v")])),
    ("working_dir", "absolute", |p| p.working_dir = "./a".to_owned()),
];

fn assert_one_violation(spec: v1::TaskSpec, field: &str, says: &str) {
    let (value, violations) = read(spec, |spec, violations| task_spec_from_proto(spec, "spec", violations));
    assert_eq!(value, None, "{field}: {says}");
    assert_eq!(fields(&violations), [field], "{violations}");
    assert!(violations.0[0].description.contains(says), "{violations} should say {says}");
}

#[test]
fn each_mistake_in_a_spec_is_blamed_on_its_field() {
    for (field, says, bend) in SPEC {
        let mut spec = container_spec();
        bend(&mut spec);
        assert_one_violation(spec, field, says);
    }
}

#[test]
fn each_mistake_in_a_health_check_is_blamed_on_its_field() {
    for least in [container_spec(), process_spec()] {
        for (field, says, bend) in HEALTH {
            let mut check = v1::HealthCheck { probe: exec(&["true"]), ..Default::default() };
            bend(&mut check);
            let spec = v1::TaskSpec { health_check: Some(check.into()), ..least.clone() };
            assert_one_violation(spec, &format!("spec.health_check{field}"), says);
        }
    }
}

#[test]
fn all_mistakes_in_a_health_check_are_found_at_once() {
    let check = v1::HealthCheck {
        probe: http(0, "a", &[("", "\n")]),
        interval: seconds(0),
        timeout: seconds(0),
        retries: 9999,
        start_period: seconds(-1),
        start_interval: seconds(0),
    };
    let spec = v1::TaskSpec { health_check: Some(check.into()), ..container_spec() };
    let (_, violations) = read(spec, |spec, violations| task_spec_from_proto(spec, "spec", violations));
    let fields = fields(&violations);
    let named = ["http.port", "http.path", r#"http.headers[""]"#, r#"http.headers[""]"#, "interval", "timeout"];
    let named = named.into_iter().chain(["start_period", "start_interval", "retries"]);
    assert_eq!(fields, named.map(|name| format!("spec.health_check.{name}")).collect::<Vec<_>>());
}

#[test]
fn a_health_check_has_the_defaults_that_are_documented() {
    let check = v1::HealthCheck { probe: http(80, "", &[]), ..Default::default() };
    let spec = v1::TaskSpec { health_check: Some(check.into()), ..container_spec() };
    let (spec, _) = read(spec, |spec, violations| task_spec_from_proto(spec, "spec", violations));
    let written = *task_spec_to_proto(&spec.unwrap()).health_check.unwrap();
    let expected = v1::HealthCheck {
        probe: http(80, "/", &[]),
        interval: seconds(10),
        timeout: seconds(5),
        retries: 3,
        start_period: seconds(0),
        start_interval: seconds(10),
    };
    assert_eq!(written, expected);
}

#[test]
fn each_mistake_in_a_container_is_blamed_on_its_field() {
    for (field, says, bend) in CONTAINER {
        let mut spec = container_spec();
        if let Some(v1::task_spec::Runtime::Container(container)) = &mut spec.runtime {
            bend(container);
        }
        assert_one_violation(spec, &format!("spec.container.{field}"), says);
    }
}

#[test]
fn each_mistake_in_a_process_is_blamed_on_its_field() {
    for (field, says, bend) in PROCESS {
        let mut spec = process_spec();
        if let Some(v1::task_spec::Runtime::Process(process)) = &mut spec.runtime {
            bend(process);
        }
        assert_one_violation(spec, &format!("spec.process.{field}"), says);
    }
    let limited = v1::TaskSpec { resources: limits(None, resources(0, 1 << 30, 0)), ..process_spec() };
    assert_one_violation(limited, "spec.resources.limit", "not enforced on processes");
}

#[test]
fn all_mistakes_are_found_at_once() {
    let mut spec = container_spec();
    let apart = ["spec.name", "spec.stop_policy.signal", "spec.on_node_loss.action", "spec.restart_policy.mode"];
    for (field, says, bend) in SPEC {
        if apart.contains(field) && !says.contains("bytes") {
            bend(&mut spec);
        }
    }
    let (_, violations) = read(spec, |spec, violations| task_spec_from_proto(spec, "spec", violations));
    let mut found = fields(&violations);
    found.sort_unstable();
    assert_eq!(found, ["spec.name", "spec.on_node_loss.action", "spec.restart_policy.mode", "spec.stop_policy.signal"]);
}

#[test]
fn a_long_key_is_cut_in_the_path() {
    let mut spec = container_spec();
    spec.labels.extend([pair(&"é".repeat(9000), "")]);
    let (_, violations) = read(spec, |spec, violations| task_spec_from_proto(spec, "spec", violations));
    assert!(fields(&violations)[0].len() < 160, "{violations}");
}

#[test]
fn groups_are_counted_and_their_specs_are_blamed_by_index() {
    let group = |spec, count| v1::TaskGroup { spec, count, all_or_nothing: false };
    let bad = v1::TaskSpec { name: String::new(), ..container_spec() };
    let tables = [
        (vec![], vec!["groups"]),
        (vec![group(Some(container_spec()), Some(10_001))], vec!["groups"]),
        (vec![group(Some(container_spec()), Some(u32::MAX)); 3], vec!["groups"]),
        (vec![group(Some(container_spec()), Some(0))], vec!["groups[0].count"]),
        (vec![group(None, None), group(Some(bad), None)], vec!["groups[0].spec", "groups[1].spec.name"]),
        (vec![group(Some(container_spec()), Some(9_999)), group(Some(process_spec()), None)], vec![]),
    ];
    for (groups, wrong) in tables {
        let (value, violations) =
            read(groups, |groups, violations| task_groups_from_proto(groups, "groups", violations));
        assert_eq!(fields(&violations), wrong);
        assert_eq!(value.is_some(), wrong.is_empty());
    }
}

#[test]
fn a_spec_that_is_too_large_only_with_its_defaults_is_refused() {
    let mut spec = container_spec();
    spec.labels.extend((0..63).map(|n| pair(&format!("k{n}"), &"v".repeat(4096))));
    let room = MAX_SPEC_BYTES - prost::Message::encoded_len(&spec);
    spec.labels.extend([pair("last", &"v".repeat(room - 20))]);
    assert!(prost::Message::encoded_len(&spec) <= MAX_SPEC_BYTES);
    assert_one_violation(spec, "spec", "with its defaults");
}
