//! The contract on a real Docker engine, and what only containers promise.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bollard::Docker as Engine;
use bollard::models::ContainerInspectResponse;
use bollard::query_parameters::{InspectContainerOptions, RemoveImageOptions, TagImageOptionsBuilder};
use davit_core::id::AttemptKey;
use davit_core::spec::{
    ContainerSpec, ExtraHost, LogBounds, Mount, MountSource, Port, PortProtocol, PullPolicy, RuntimeSpec, StopPolicy,
    TaskSpec, Tmpfs, Ulimit,
};
use davit_core::task::PortBinding;
use futures::StreamExt;
use tokio_util::sync::CancellationToken;
use worker_svc::engine_turns::{EngineTurns, StopTurns};
use worker_svc::runtime::{
    AttemptSpec, DockerConfig, DockerRuntime, Error, ErrorKind, InstanceState, LogOptions, LogSource, Owner,
    ProgressSender, Runtime,
};

use crate::harness::{Kind, Script, check, clock, exec, new_key, task};
use crate::image;
use crate::suite::runtime_contract;

pub(crate) struct Docker {
    pub(crate) config: DockerConfig,
}

impl Docker {
    /// With the test image in place.
    pub(crate) async fn new() -> Self {
        image::ensure().await;
        Self { config: DockerConfig::default() }
    }
}

impl Kind for Docker {
    fn runtime(&self, owner: Owner) -> Arc<dyn Runtime> {
        Arc::new(DockerRuntime::new(owner, self.config.clone(), clock()))
    }

    fn spec(&self, script: Script) -> TaskSpec {
        task(RuntimeSpec::Container(script.shell().map_or_else(|| program(&["no-such-program"]), |text| shell(&text))))
    }
}

pub(crate) fn program(command: &[&str]) -> ContainerSpec {
    ContainerSpec {
        command: command.iter().map(|&word| word.to_owned()).collect(),
        pull_policy: PullPolicy::Never,
        ..ContainerSpec::new(image::REFERENCE.parse().unwrap())
    }
}

pub(crate) fn shell(script: &str) -> ContainerSpec {
    program(&["busybox", "sh", "-c", script])
}

pub(crate) fn container(spec: ContainerSpec) -> TaskSpec {
    task(RuntimeSpec::Container(spec))
}

pub(crate) async fn engine() -> Engine {
    Engine::connect_with_unix_defaults().unwrap().negotiate_version().await.unwrap()
}

/// What the engine itself says of the attempt's container.
async fn inspect(key: AttemptKey) -> ContainerInspectResponse {
    engine().await.inspect_container(&key.container_name(), None::<InspectContainerOptions>).await.unwrap()
}

runtime_contract!(Docker::new().await);

#[tokio::test]
async fn env_entrypoint_working_directory_user_and_stderr_are_as_given() {
    check(Docker::new().await, |bench| async move {
        let mut spec = program(&["-c", "echo $GREETING $TOLD; pwd; busybox id -u; busybox id -g; echo bad >&2"]);
        spec.entrypoint = vec!["busybox".to_owned(), "sh".to_owned()];
        spec.env.insert("GREETING".to_owned(), "hello davit".to_owned());
        spec.working_dir = "/tmp".to_owned();
        spec.user = "1000:2000".to_owned();
        let (key, exit) = bench.run(container(spec)).await;
        let lines = bench.lines(key, LogOptions::default()).await;
        assert_eq!(exit.exit_code, 0, "{lines:?}");
        let (out, err): (Vec<_>, Vec<_>) = lines.into_iter().partition(|line| line.source == LogSource::Stdout);
        let out: Vec<u8> = out.into_iter().flat_map(|line| line.bytes).collect();
        assert_eq!(String::from_utf8(out).unwrap(), "hello davit of itself\n/tmp\n1000\n2000\n");
        assert_eq!(err[0].bytes, b"bad\n");
    })
    .await;
}

#[tokio::test]
async fn limits_labels_and_logs_are_bounded_as_asked() {
    check(Docker::new().await, |bench| async move {
        let mut spec = container(shell("exit 0"));
        spec.resources.limit.cpu_millis = 500;
        spec.resources.limit.memory_bytes = 32 << 20;
        spec.labels.insert("tier".to_owned(), "web".to_owned());
        spec.labels.insert("dev.davit.node".to_owned(), "other".to_owned());
        let (key, _) = bench.run(spec).await;
        let inspected = inspect(key).await;
        let host = inspected.host_config.unwrap();
        assert_eq!((host.nano_cpus, host.memory), (Some(500_000_000), Some(32 << 20)));
        assert_eq!(host.log_config.unwrap().config.unwrap()["max-file"], "3");
        let restart = host.restart_policy.and_then(|policy| policy.name).map(|name| name.to_string());
        assert!(matches!(restart.as_deref(), None | Some("" | "no")), "{restart:?}");
        let labels = inspected.config.unwrap().labels.unwrap();
        assert_eq!(labels["tier"], "web");
        assert_eq!(labels["dev.davit.node"], bench.owner.node_id.to_string());
        assert_eq!(labels["dev.davit.cluster"], bench.owner.cluster);
        assert_eq!(labels["dev.davit.task"], key.task_id.to_string());
        assert_eq!(labels["dev.davit.attempt"], "1");
    })
    .await;
}

#[tokio::test]
async fn a_task_over_its_memory_limit_is_reported_as_such() {
    check(Docker::new().await, |bench| async move {
        let mut spec = container(program(&["busybox", "tail", "/dev/zero"]));
        spec.resources.limit.memory_bytes = 16 << 20;
        // An engine that hears of the exit before it hears why (it does rarely) never tells why.
        for _ in 0..3 {
            let (_, exit) = bench.run(spec.clone()).await;
            assert_eq!(exit.exit_code, 137);
            if exit.oom_killed {
                return;
            }
        }
        panic!("the engine tells of no attempt that it was out of memory");
    })
    .await;
}

#[tokio::test]
async fn fixed_and_dynamic_ports_are_reported_once_each() {
    check(Docker::new().await, |bench| async move {
        // A port that was free a moment ago.
        let fixed = std::net::TcpListener::bind("0.0.0.0:0").unwrap().local_addr().unwrap().port();
        let port = |container_port, protocol, host_port| Port { container_port, protocol, host_port };
        let mut spec = shell("echo ready; while :; do busybox sleep 0.05; done");
        spec.ports = vec![
            port(80, PortProtocol::Tcp, Some(fixed)),
            port(53, PortProtocol::Udp, None),
            port(8080, PortProtocol::Tcp, None),
        ];
        let (key, started) = bench.start(container(spec.clone())).await;
        let given: Vec<_> = started.ports.iter().map(|port| (port.container_port, port.protocol)).collect();
        assert_eq!(given, [(53, PortProtocol::Udp), (80, PortProtocol::Tcp), (8080, PortProtocol::Tcp)]);
        assert_eq!(started.ports[1].host_port, fixed);
        assert!(started.ports.iter().all(|port| port.host_port != 0));
        assert_eq!(bench.runtime.start(key).await.unwrap(), started);

        // A second one can't have the fixed port, and learns so in the engine's words.
        let second = bench.create(container(spec)).await;
        let error = bench.runtime.start(second.key).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Permanent);
        assert!(error.to_string().contains("port"), "{error}");
    })
    .await;
}

#[tokio::test]
async fn ports_that_were_given_are_published_and_a_restarted_worker_finds_them() {
    check(Docker::new().await, |bench| async move {
        // Ports that were free a moment ago.
        let listeners = [(); 2].map(|()| std::net::TcpListener::bind("0.0.0.0:0").unwrap());
        let [fixed, given] = listeners.map(|listener| listener.local_addr().unwrap().port());
        let port = |container_port, host_port| Port { container_port, protocol: PortProtocol::Tcp, host_port };
        let bound = |container_port, host_port| PortBinding { container_port, protocol: PortProtocol::Tcp, host_port };
        let mut spec = shell("busybox nc -l -p 80 -e busybox echo davit; while :; do busybox sleep 0.05; done");
        spec.ports = vec![port(443, Some(fixed)), port(80, None)];
        let attempt = bench.create_with(container(spec), [bound(80, given)].into()).await;
        let started = bench.runtime.start(attempt.key).await.unwrap();
        assert_eq!(started.ports, [bound(80, given), bound(443, fixed)]);
        let published = inspect(attempt.key).await.host_config.unwrap().port_bindings.unwrap();
        let host_ports: Vec<_> = published["80/tcp"].iter().flatten().map(|one| one.host_port.clone()).collect();
        assert_eq!(host_ports, [Some(given.to_string())]);

        // Whoever asks the node at this number reaches the container.
        let answer = async {
            loop {
                let text = tokio::task::spawn_blocking(move || {
                    let mut text = String::new();
                    let mut stream = std::net::TcpStream::connect(("127.0.0.1", given))?;
                    std::io::Read::read_to_string(&mut stream, &mut text).map(|_| text)
                });
                match text.await.unwrap() {
                    Ok(text) if !text.is_empty() => return text,
                    _ => tokio::time::sleep(Duration::from_millis(50)).await,
                }
            }
        };
        assert_eq!(answer.await, "davit\n");

        let restarted = bench.kind.runtime(bench.owner.clone());
        let found = restarted.list().await.unwrap();
        assert!(matches!(&found[0].state, InstanceState::Running(found) if *found == started), "{found:?}");
    })
    .await;
}

#[tokio::test]
async fn a_read_only_root_takes_nothing_but_its_tmpfs_does() {
    check(Docker::new().await, |bench| async move {
        let mut spec = shell("busybox touch /file 2> /dev/null && echo root; echo a > /scratch/file && echo scratch");
        spec.read_only = true;
        spec.tmpfs = vec![Tmpfs { target: "/scratch".to_owned(), size_bytes: 1 << 20 }];
        let (key, _) = bench.run(container(spec)).await;
        assert_eq!(bench.output(key).await, "scratch\n");
    })
    .await;
}

#[tokio::test]
async fn capabilities_and_ulimits_are_as_given() {
    check(Docker::new().await, |bench| async move {
        let mut spec = shell("busybox grep CapEff /proc/self/status; ulimit -n");
        spec.cap_drop = vec!["ALL".to_owned()];
        spec.cap_add = vec!["CHOWN".to_owned()];
        spec.ulimits = vec![Ulimit { name: "nofile".to_owned(), soft: 99, hard: 100 }];
        let (key, _) = bench.run(container(spec)).await;
        let output = bench.output(key).await;
        // CHOWN is capability 0.
        assert_eq!(output, "CapEff:\t0000000000000001\n99\n");
    })
    .await;
}

#[tokio::test]
async fn what_a_container_is_set_up_with_is_in_effect() {
    check(Docker::new().await, |bench| async move {
        let mut spec = shell(
            "busybox hostname; busybox cat /proc/1/comm; busybox id -G; busybox grep NoNewPrivs /proc/self/status; \
             busybox grep -E 'db|node' /etc/hosts; busybox df -k /dev/shm | busybox awk 'NR == 2 { print $2 }'; \
             busybox cat; echo its input has ended",
        );
        let host = |name: &str, address: &str| ExtraHost { name: name.to_owned(), address: address.parse().unwrap() };
        spec.init = true;
        spec.stdin_open = true;
        spec.hostname = "front.example".to_owned();
        spec.extra_hosts = vec![host("db", "10.1.2.3"), host("db", "fd00::7"), host("node", "host-gateway")];
        spec.shm_size_bytes = 8 << 20;
        spec.pids_limit = 17;
        spec.group_add = vec!["2000".to_owned(), "2001".to_owned()];
        spec.no_new_privileges = true;
        spec.log_bounds = LogBounds { max_file_bytes: 5000, max_files: 2 };
        let (key, _) = bench.start(container(spec)).await;
        bench.until_printed(key, "8192").await;
        let output = bench.output(key).await;
        let lines: Vec<_> = output.lines().collect();
        assert_eq!(lines[..4], ["front.example", "docker-init", "0 2000 2001", "NoNewPrivs:\t1"], "{output}");
        assert!(lines.contains(&"10.1.2.3\tdb") && lines.contains(&"fd00::7\tdb"), "{output}");
        let gateway = lines.iter().find_map(|line| line.strip_suffix("\tnode"));
        assert!(gateway.is_some_and(|address| address.parse::<std::net::IpAddr>().is_ok()), "{output}");
        // Its input is open: `cat` waits for more.
        assert!(matches!(bench.state(key).await, Some(InstanceState::Running(_))));

        let inspected = inspect(key).await;
        let (host, config) = (inspected.host_config.unwrap(), inspected.config.unwrap());
        assert_eq!((host.init, host.shm_size, host.pids_limit), (Some(true), Some(8 << 20), Some(17)));
        assert_eq!(host.security_opt.unwrap(), ["no-new-privileges:true"]);
        assert_eq!(host.group_add.unwrap(), ["2000", "2001"]);
        assert_eq!(host.extra_hosts.unwrap(), ["db:10.1.2.3", "db:fd00::7", "node:host-gateway"]);
        let log = host.log_config.unwrap();
        let bounds = log.config.unwrap();
        assert_eq!(log.typ.as_deref(), Some("json-file"));
        assert_eq!((bounds["max-size"].as_str(), bounds["max-file"].as_str()), ("5000", "2"));
        assert_eq!((config.open_stdin, config.tty), (Some(true), Some(false)));
        assert_eq!(config.hostname.as_deref(), Some("front.example"));
    })
    .await;
}

#[tokio::test]
async fn no_more_output_is_kept_than_the_spec_says() {
    check(Docker::new().await, |bench| async move {
        let mut spec = shell("i=0; while [ $i -lt 1000 ]; do echo line $i; i=$((i + 1)); done");
        spec.log_bounds = LogBounds { max_file_bytes: 4096, max_files: 2 };
        let (key, _) = bench.run(container(spec)).await;
        let output = bench.output(key).await;
        let kept = output.lines().count();
        assert!(output.ends_with("line 999\n") && kept < 200, "{kept} lines are kept");
    })
    .await;
}

#[tokio::test]
async fn output_of_a_terminal_is_read_line_by_line() {
    check(Docker::new().await, |bench| async move {
        let script = "busybox tty -s && echo a terminal; echo to stderr >&2; \
                      busybox head -c 40000 /dev/zero | busybox tr '\\0' x; echo; printf unfinished; \
                      while ! busybox test -e /go; do busybox sleep 0.05; done; echo ' and finished'";
        let (key, _) = bench.start(container(ContainerSpec { tty: true, ..shell(script) })).await;
        let inspected = inspect(key).await.config.unwrap();
        assert_eq!((inspected.tty, inspected.open_stdin), (Some(true), Some(false)));

        // What is there can be followed while it runs, in parts that are bounded.
        let follow = LogOptions { follow: true, ..LogOptions::default() };
        let mut lines = bench.runtime.logs(key, follow).await.unwrap();
        let mut text = String::new();
        while !text.contains("x\r\n") {
            let line = lines.next().await.unwrap().unwrap();
            assert!(line.timestamp.is_some() && line.bytes.len() <= 16 << 10 && line.source == LogSource::Stdout);
            text.push_str(&String::from_utf8(line.bytes).unwrap());
        }
        let wide = "x".repeat(40_000);
        assert_eq!(text, format!("a terminal\r\nto stderr\r\n{wide}\r\n"));
        bench.probe(key, &exec(&["busybox", "touch", "/go"])).await;
        let rest: Vec<_> = lines.map(|line| String::from_utf8(line.unwrap().bytes).unwrap()).collect().await;
        assert_eq!(rest.concat(), "unfinished and finished\r\n", "it ends with the container");

        // The same once it has ended, and the last of it.
        bench.runtime.wait(key).await.unwrap();
        assert_eq!(bench.output(key).await, format!("{text}unfinished and finished\r\n"));
        let last = bench.lines(key, LogOptions { tail: Some(1), ..LogOptions::default() }).await;
        assert_eq!(last.iter().map(|line| line.bytes.as_slice()).collect::<Vec<_>>(), [b"unfinished and finished\r\n"]);
        let since = LogOptions { since: last[0].timestamp, ..LogOptions::default() };
        assert_eq!(bench.lines(key, since).await, []);
    })
    .await;
}

#[tokio::test]
async fn directories_of_the_node_are_mounted_and_a_missing_one_is_named() {
    check(Docker::new().await, |bench| async move {
        let mount = |path: &str| Mount {
            source: MountSource::Bind(path.to_owned()),
            target: "/mnt".to_owned(),
            read_only: true,
        };
        let mut spec = shell("busybox test -e /mnt/passwd && ! busybox touch /mnt/davit-test 2> /dev/null");
        spec.mounts = vec![mount("/etc")];
        let (_, exit) = bench.run(container(spec.clone())).await;
        assert_eq!(exit.exit_code, 0);
        spec.mounts = vec![mount("/no/such/dir")];
        let attempt = AttemptSpec {
            key: new_key(),
            spec: Arc::new(container(spec)),
            ports: [].into(),
            env: Vec::new(),
            files: Vec::new(),
        };
        let error = bench.runtime.create(&attempt).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Permanent);
        assert!(error.to_string().contains("/no/such/dir"), "{error}");
    })
    .await;
}

#[tokio::test]
async fn the_specs_stop_signal_is_sent_and_kept_in_the_engine() {
    check(Docker::new().await, |bench| async move {
        let mut spec = container(shell("trap 'exit 5' USR1; echo ready; while :; do busybox sleep 0.05; done"));
        spec.stop = StopPolicy { signal: "SIGUSR1".to_owned(), grace: Duration::from_secs(30) };
        let stop = spec.stop.clone();
        let (key, _) = bench.start(spec).await;
        bench.until_printed(key, "ready").await;
        assert_eq!(inspect(key).await.config.unwrap().stop_signal.as_deref(), Some("SIGUSR1"));
        bench.runtime.stop(key, &stop, None).await.unwrap();
        assert_eq!(bench.runtime.wait(key).await.unwrap().exit_code, 5);
    })
    .await;
}

#[tokio::test]
async fn a_paused_container_obeys_its_stop_signal() {
    check(Docker::new().await, |bench| async move {
        for restarted in [false, true] {
            let key = bench.start_ready(Script::Run).await;
            engine().await.pause_container(&key.container_name()).await.unwrap();
            // One that was started anew knows nothing of the container yet.
            let runtime = if restarted { bench.kind.runtime(bench.owner.clone()) } else { Arc::clone(&bench.runtime) };
            let how = StopPolicy { grace: Duration::from_secs(30), ..StopPolicy::default() };
            let exit = runtime.stop(key, &how, None).await.unwrap().unwrap();
            assert_eq!(exit.exit_code, 143);
        }
    })
    .await;
}

#[tokio::test]
async fn what_the_engine_tells_of_a_stop_is_what_a_look_tells() {
    check(Docker::new().await, |bench| async move {
        let turns = EngineTurns::new("stops", clock());
        let turns = StopTurns::new(&turns, CancellationToken::new());
        for (script, code) in [(Script::Run, 143), (Script::IgnoreStop, 137)] {
            let key = bench.start_ready(script).await;
            let how = StopPolicy { grace: Duration::from_millis(500), ..StopPolicy::default() };
            let told = bench.runtime.stop(key, &how, Some(&turns)).await.unwrap().unwrap();
            let seen = bench.runtime.wait(key).await.unwrap();
            assert_eq!((told.exit_code, told.oom_killed, &told.error), (code, seen.oom_killed, &seen.error));
            assert_eq!(told.started_at, seen.started_at);
            let apart = told.finished_at.duration_since(seen.finished_at).abs();
            assert!(apart.as_secs() < 5, "{told:?} {seen:?}");
            bench.runtime.remove(key).await.unwrap();
            assert_eq!(bench.state(key).await, None);
        }
    })
    .await;
}

#[tokio::test]
async fn a_grace_may_be_longer_than_the_clients_timeout() {
    let mut docker = Docker::new().await;
    // A start has to be answered within that too, also by a busy engine.
    docker.config.request_timeout = Duration::from_secs(3);
    check(docker, |bench| async move {
        let key = bench.start_ready(Script::IgnoreStop).await;
        let grace = Duration::from_millis(4500);
        let before = tokio::time::Instant::now();
        bench.runtime.stop(key, &StopPolicy { grace, ..StopPolicy::default() }, None).await.unwrap();
        assert!(before.elapsed() >= grace);
        assert_eq!(bench.runtime.wait(key).await.unwrap().exit_code, 137);
    })
    .await;
}

#[tokio::test]
async fn an_image_that_is_missing_and_may_not_be_pulled_is_a_permanent_error() {
    check(Docker::new().await, |bench| async move {
        let mut spec = shell("exit 0");
        spec.image = "davit-test/no-such-image:1".parse().unwrap();
        let attempt = AttemptSpec {
            key: new_key(),
            spec: Arc::new(container(spec)),
            ports: [].into(),
            env: Vec::new(),
            files: Vec::new(),
        };
        let error = bench.runtime.prepare(&attempt, &ProgressSender::new(None)).await.unwrap_err();
        assert!(matches!(error, Error::ImageMissing { .. }), "{error}");
        assert!(error.to_string().contains("davit-test/no-such-image:1"), "{error}");
        let error = bench.runtime.create(&attempt).await.unwrap_err();
        assert!(matches!(error, Error::ImageGone { .. }), "it might be there again: {error}");
        assert!(error.to_string().contains("davit-test/no-such-image:1"), "{error}");
    })
    .await;
}

#[tokio::test]
async fn an_image_that_somebody_removes_is_looked_for_again() {
    check(Docker::new().await, |bench| async move {
        let engine = engine().await;
        let (repo, tag) = ("davit-test/removed", new_key().task_id.to_string());
        let options = TagImageOptionsBuilder::new().repo(repo).tag(&tag).build();
        engine.tag_image(image::REFERENCE, Some(options)).await.unwrap();
        let name = format!("{repo}:{tag}");
        let spec = ContainerSpec { image: name.parse().unwrap(), ..shell("exit 0") };
        let attempt = || AttemptSpec {
            key: new_key(),
            spec: Arc::new(container(spec.clone())),
            ports: [].into(),
            env: Vec::new(),
            files: Vec::new(),
        };
        let prepare = async |attempt: &AttemptSpec| bench.runtime.prepare(attempt, &ProgressSender::new(None)).await;
        bench.runtime.check().await.unwrap();
        let first = attempt();
        prepare(&first).await.unwrap();
        bench.runtime.create(&first).await.unwrap();
        bench.runtime.remove(first.key).await.unwrap();
        engine.remove_image(&name, None::<RemoveImageOptions>, None).await.unwrap();
        let second = attempt();
        bench.runtime.check().await.unwrap();
        prepare(&second).await.unwrap();
        let error = bench.runtime.create(&second).await.unwrap_err();
        assert!(matches!(error, Error::ImageGone { .. }), "{error}");
        let error = prepare(&second).await.unwrap_err();
        assert!(matches!(error, Error::ImageMissing { .. }), "{error}");
    })
    .await;
}

#[tokio::test]
async fn an_engine_that_does_not_answer_is_unavailable() {
    let docker =
        Docker { config: DockerConfig { socket: PathBuf::from("/no/such/docker.sock"), ..DockerConfig::default() } };
    check(docker, |bench| async move {
        assert_eq!(bench.runtime.check().await.unwrap_err().kind(), ErrorKind::Unavailable);
        assert_eq!(bench.runtime.list().await.unwrap_err().kind(), ErrorKind::Unavailable);
        assert_eq!(bench.runtime.remove(new_key()).await.unwrap_err().kind(), ErrorKind::Unavailable);
    })
    .await;
}
