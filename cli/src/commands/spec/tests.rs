use clap::Parser as _;

use super::*;
use crate::args::{Cli, Command};
use crate::output::json_object;

fn parse(line: &str) -> Result<v1::TaskSpec, String> {
    let words = ["davit", "run"].into_iter().chain(line.split_whitespace());
    parse_words(words)
}

fn parse_words<'a>(words: impl Iterator<Item = &'a str>) -> Result<v1::TaskSpec, String> {
    let cli = Cli::try_parse_from(words).map_err(|error| error.to_string())?;
    let Command::Run(args) = cli.command else { return Err("not run".to_owned()) };
    let here = |key: &str| (key == "HOME").then(|| "/root".to_owned());
    task_spec(args.spec, args.placement, args.words, here).map_err(|error| error.to_string())
}

#[test]
fn every_option_arrives_in_the_spec() {
    let spec = parse(
        "--name web -e A=1 -e B=x=y -e HOME -p 8080:80 -p 53/udp --cpus 0.5 --memory 64m --constraint disk==ssd \
         --constraint gpu --restart on-failure:3 --on-node-loss wait:30s --label app=web -v /data:/srv:ro -v cache:/cache --user 1:1 \
         --workdir /srv --entrypoint /run.sh --pull never --stop-signal SIGINT --stop-grace 1m nginx:1.27 -g x",
    );
    let task = v1::Task { spec: Some(spec.unwrap()), ..Default::default() };
    insta::assert_snapshot!(json_object(&task).unwrap());
}

#[test]
fn every_health_option_arrives_in_the_spec() {
    let check = |words: &[&str]| {
        let words = ["davit", "run"].iter().chain(words).chain(&["nginx"]).copied();
        parse_words(words).map(|spec| spec.health_check)
    };
    let all = [
        "--health-http",
        "8080/health?full=1",
        "--health-interval",
        "2s",
        "--health-timeout",
        "500ms",
        "--health-retries",
        "5",
        "--health-start-period",
        "1m",
        "--health-start-interval",
        "1s",
    ];
    let seconds = |seconds, nanos| Some(prost_types::Duration { seconds, nanos });
    let http = v1::HttpProbe { port: 8080, path: "/health?full=1".to_owned(), ..Default::default() };
    let expected = v1::HealthCheck {
        probe: Some(v1::health_check::Probe::Http(http)),
        interval: seconds(2, 0),
        timeout: seconds(0, 500_000_000),
        retries: 5,
        start_period: seconds(60, 0),
        start_interval: seconds(1, 0),
    };
    assert_eq!(check(&all), Ok(Some(expected.into())));
    let probe = |option, value| check(&[option, value]).map(|check| check.unwrap().probe.unwrap());
    let command = ["/bin/sh", "-c", "curl -f localhost || exit 1"].map(str::to_owned).into();
    let exec = v1::health_check::Probe::Exec(v1::ExecProbe { command });
    assert_eq!(probe("--health-cmd", "curl -f localhost || exit 1"), Ok(exec));
    assert_eq!(probe("--health-tcp", ":5432"), Ok(v1::health_check::Probe::Tcp(v1::TcpProbe { port: 5432 })));
    let grpc = v1::GrpcProbe { port: 50_051, service: "my.Service".to_owned() };
    assert_eq!(probe("--health-grpc", "50051/my.Service"), Ok(v1::health_check::Probe::Grpc(grpc)));
    assert_eq!(check(&[]), Ok(None));
    for (option, value) in [("--health-http", "/health"), ("--health-tcp", "0"), ("--health-grpc", "70000")] {
        assert!(check(&[option, value]).unwrap_err().contains("port from 1 to 65535"), "{option}");
    }
    assert!(check(&["--health-retries", "2"]).unwrap_err().contains("need one of --health-cmd"));
    assert!(check(&["--health-tcp", "1", "--health-http", "1"]).unwrap_err().contains("cannot be used with"));
}

#[test]
fn every_setting_arrives_in_the_spec() {
    let line = "--init --tty --interactive --hostname front --add-host db:10.0.0.7 --add-host gw=host-gateway --add-host \
                six=[fd00::7] --shm-size 256m --pids-limit 100 --group-add audio --group-add 2000 --security-opt \
                no-new-privileges:true --log-opt max-size=20m --log-opt max-file=5 nginx";
    let spec = parse(line).unwrap();
    let container = |spec: v1::TaskSpec| match spec.runtime {
        Some(v1::task_spec::Runtime::Container(container)) => container,
        _ => panic!("no container"),
    };
    let host = |name: &str, address: &str| v1::ExtraHost { name: name.to_owned(), address: address.to_owned() };
    let expected = v1::ContainerSpec {
        init: true,
        tty: true,
        stdin_open: true,
        hostname: "front".to_owned(),
        extra_hosts: vec![host("db", "10.0.0.7"), host("gw", "host-gateway"), host("six", "fd00::7")],
        shm_size_bytes: 256 << 20,
        pids_limit: 100,
        group_add: vec!["audio".to_owned(), "2000".to_owned()],
        no_new_privileges: true,
        log_bounds: Some(v1::LogBounds { max_file_bytes: 20 << 20, max_files: 5 }),
        ..container(parse("nginx").unwrap())
    };
    assert_eq!(container(spec.clone()), expected);
    let line = ["--init=false", "--security-opt", "no-new-privileges=false", "--log-opt", "max-file=2"];
    let changed = container(over(spec, &line).unwrap());
    let log_bounds = Some(v1::LogBounds { max_file_bytes: 20 << 20, max_files: 2 });
    assert_eq!(changed, v1::ContainerSpec { init: false, no_new_privileges: false, log_bounds, ..expected });
}

#[test]
fn settings_that_are_none_are_told() {
    for (line, says) in [
        ("--add-host db", "NAME:ADDRESS"),
        ("--add-host =10.0.0.7", "NAME:ADDRESS"),
        ("--security-opt apparmor=unconfined", "only no-new-privileges"),
        ("--log-opt max-size=much", "amount of bytes"),
        ("--log-opt max-file=0", "files from 1"),
        ("--log-opt tag=x", "max-size=BYTES"),
        ("--init=maybe", "--init"),
        ("--process --tty", "--process"),
    ] {
        let told = parse(&format!("{line} nginx")).unwrap_err();
        assert!(told.contains(says), "{line}: {told}");
    }
    let process = parse("--process sleep 5").unwrap();
    let told = over(process, &["--hostname", "x"]).unwrap_err().to_string();
    assert!(told.contains("--hostname is for containers"), "{told}");
}

#[test]
fn every_placement_option_arrives_in_the_spec() {
    let words = [
        "davit",
        "run",
        "--algorithm",
        "binpack",
        "--platform",
        "linux/amd64",
        "--max-per-node",
        "2",
        "--near",
        "app == cache",
        "--away-from",
        "app == db",
        "--away-from",
        "task.name == noisy",
        "--prefer",
        "disk == ssd",
        "--prefer",
        "80:cores >= 8",
        "--avoid",
        "zone == c",
        "--spread-over",
        "zone=80",
        "--spread-over",
        "rack",
        "--priority",
        "-7",
        "--preempt",
        "--constraint",
        "disk exists",
        "-p",
        "80",
        "nginx",
    ];
    let task = v1::Task { spec: Some(parse_words(words.into_iter()).unwrap()), ..Default::default() };
    insta::assert_snapshot!(json_object(&task).unwrap());
}

#[test]
fn distinct_hosts_is_one_a_node() {
    let most = |line| parse(line).map(|spec| spec.placement.and_then(|policy| policy.max_per_node));
    assert_eq!(most("--distinct-hosts nginx"), Ok(Some(1)));
    assert_eq!(most("nginx"), Ok(None));
    assert!(most("--distinct-hosts --max-per-node 2 nginx").unwrap_err().contains("--max-per-node"));
    assert!(most("--max-per-node 0 nginx").is_err());
}

#[test]
fn without_placement_options_there_is_no_policy() {
    assert_eq!(parse("--constraint disk==ssd nginx").unwrap().placement, None);
}

#[test]
fn options_after_the_image_belong_to_the_command() {
    let spec = parse("busybox ls -l --name x -- y").unwrap();
    let Some(v1::task_spec::Runtime::Container(container)) = spec.runtime else { panic!("no container") };
    assert_eq!((spec.name.as_str(), container.image.as_str()), ("busybox", "busybox"));
    assert_eq!(container.command, ["ls", "-l", "--name", "x", "--", "y"]);
    assert!(parse("--nmae x busybox").unwrap_err().contains("--name"));
}

#[test]
fn a_process_has_all_words_as_its_command() {
    let spec = parse("--process --memory 1g /bin/sh -c true").unwrap();
    assert_eq!(spec.name, "sh");
    assert_eq!(spec.resources.unwrap().limit, None);
    let Some(v1::task_spec::Runtime::Process(process)) = spec.runtime else { panic!("no process") };
    assert_eq!(process.command, ["/bin/sh", "-c", "true"]);
    assert!(parse("--process -p 80 /bin/sh").is_err());
}

#[test]
fn a_variable_that_is_not_here_is_named() {
    assert!(parse("-e GONE busybox").unwrap_err().contains("--env GONE"));
}

/// A spec with the options of a line laid over it.
fn over(spec: v1::TaskSpec, line: &[&str]) -> Result<v1::TaskSpec, Error> {
    let words = ["davit", "explain", "web"].iter().chain(line);
    let Command::Explain(args) = Cli::try_parse_from(words).unwrap().command else { panic!("not explain") };
    with_options(spec, args.spec, args.placement, |_| None)
}

fn a_spec() -> v1::TaskSpec {
    let line = "--name web -e A=1 -e B=2 --label app=web --cpus 0.5 --memory 64m --constraint gpu --platform linux \
                --prefer a --avoid b --priority 7 --restart always --stop-grace 1m -p 80 nginx -g x";
    parse(line).unwrap()
}

#[test]
fn only_what_is_given_is_otherwise() {
    assert_eq!(over(a_spec(), &[]).unwrap(), a_spec());
    let line = [
        "--cpus",
        "2",
        "--constraint",
        "disk == ssd",
        "--algorithm",
        "binpack",
        "--priority",
        "-5",
        "--prefer",
        "c",
        "-e",
        "B=3",
        "--label",
        "tier=1",
        "--platform",
        "linux/arm64",
        "--preempt",
        "-p",
        "81",
    ];
    let spec = over(a_spec(), &line).unwrap();
    let mut expected = a_spec();
    for amounts in expected.resources.iter_mut().flat_map(|all| [&mut all.reservation, &mut all.limit]) {
        amounts.get_or_insert_default().cpu_millis = 2000;
    }
    expected.constraints = vec!["disk == ssd".into()];
    expected.labels.insert("tier".into(), "1".into());
    let policy = expected.placement.get_or_insert_default();
    policy.algorithm = "binpack".into();
    policy.platform = "linux/arm64".into();
    (policy.priority, policy.may_preempt) = (-5, true);
    policy.affinities[0].expression = "c".into();
    let Some(v1::task_spec::Runtime::Container(container)) = &mut expected.runtime else { panic!("no container") };
    container.env.insert("B".into(), "3".into());
    container.ports[0].container_port = 81;
    assert_eq!(spec, expected);
}

#[test]
fn a_process_takes_no_options_of_containers() {
    let process = parse("--process --memory 1g --name batch sh").unwrap();
    assert_eq!(over(process.clone(), &["--cpus", "2"]).unwrap().resources.unwrap().limit, None);
    let error = over(process, &["-p", "80"]).unwrap_err();
    assert_eq!(error.to_string(), "--publish is for containers, but `batch` is a plain process");
    assert_eq!(error.exit_code(), 2);
}

#[test]
fn configs_and_secrets_are_named_with_their_places() {
    let spec = parse("--config web.conf:/etc/web.conf --secret db --secret tls:/tls busybox").unwrap();
    let Some(v1::task_spec::Runtime::Container(container)) = spec.runtime else { panic!("a container") };
    let told: Vec<_> =
        container.files.iter().map(|grant| (grant.name.as_str(), grant.secret, grant.target.as_str())).collect();
    assert_eq!(told, [("web.conf", false, "/etc/web.conf"), ("db", true, ""), ("tls", true, "/tls")]);
    assert!(container.files.iter().all(|grant| grant.digest.is_empty()), "the newest");
    assert!(config(":/a").is_err() && config("").is_err());
    let mut files = container.files;
    replace_files(&mut files, vec![config("other").unwrap()], false);
    let names: Vec<_> = files.iter().map(|grant| grant.name.as_str()).collect();
    assert_eq!(names, ["db", "tls", "other"]);
}

#[test]
fn names_come_from_what_is_run() {
    for (word, name) in [
        ("ghcr.io/org/web:1.2", "web"),
        ("localhost:5000/app@sha256:abc", "app"),
        ("/bin/sleep", "sleep"),
        ("busybox", "busybox"),
        ("ü", "task"),
        ("", "task"),
    ] {
        assert_eq!(default_name(word), name, "{word}");
    }
}

#[test]
fn what_makes_no_sense_is_refused() {
    for text in ["", "0", "80/sctp", "65536", "a:80", "1:2:3", "80:"] {
        assert!(port(text).is_err(), "{text}");
    }
    for text in ["", "/a", "./a:/b", "~/a:/b", ":/b", "/a:b", "/a:/b:rx", "/a:/b:ro:z"] {
        assert!(mount(text).is_err(), "{text}");
    }
    for text in ["", "sometimes", "on-failure:0", "on-failure:x", "always:3"] {
        assert!(restart(text).is_err(), "{text}");
    }
    for text in ["", "wait", "wait:", "wait:soon", "replace:3s", "stop"] {
        assert!(on_node_loss(text).is_err(), "{text}");
    }
    assert!(parse("").is_err() && parse("--count 0 busybox").is_err());
}
