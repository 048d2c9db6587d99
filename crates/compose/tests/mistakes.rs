//! What is wrong is told, all of it, where it is, and with what to do.

use davit_compose::{Bytes, Condition, Input, Loaded, SourceFile, load};

/// What is told of files, which are parted by lines `=== NAME`.
fn told(text: &str) -> String {
    let mut files = Vec::new();
    for part in format!("=== compose.yaml\n{text}").split("=== ").skip(1) {
        let (name, text) = part.split_once('\n').unwrap_or((part, ""));
        files.push(SourceFile { name: name.to_owned(), text: text.to_owned() });
    }
    let input = Input { files, default_name: Some("test".to_owned()), ..Input::default() };
    match load(&input) {
        Ok(loaded) => format!("A PROJECT: {:?}", loaded.warnings),
        Err(invalid) => invalid.to_string(),
    }
}

/// The same for keys of one service.
fn of_service(keys: &str) -> String {
    let keys: String = keys.lines().map(|line| format!("    {line}\n")).collect();
    told(&format!("services:\n  web:\n    image: nginx\n{keys}"))
}

macro_rules! mistakes {
    ($($(#[$doc:meta])* $name:ident: $how:ident($text:literal);)+) => {
        $(
            $(#[$doc])*
            #[test]
            fn $name() {
                let told = format!("{}\n\n{}", $text, $how($text));
                insta::with_settings!({ omit_expression => true }, { insta::assert_snapshot!(stringify!($name), told) });
            }
        )+
    };
}

mistakes! {
    nothing: told("");
    not_yaml: told("services:\n  web: [\n");
    tabs: told("services:\n\tweb:\n");
    no_mapping: told("- a\n- b\n");
    no_services: told("volumes: {a: }\n");
    services_are_a_list: told("services: [web]\n");
    keys_twice: told("services:\n  web: {image: a, image: b}\n  web: {image: c}\n");
    typing_errors: told(
        "sevices: {}\nservices:\n  web:\n    imgae: nginx\n    dpeloy: {}\n    deploy: {replica: 2, resources: {limit: {}}}\n    foo: 1\n"
    );
    refused_keys: of_service(
        "privileged: true\nnetwork_mode: host\nbuild: .\npid: host\ndevices: [/dev/kvm]\nextends: {service: x}\nlinks: [db]\ndeploy:\n  endpoint_mode: vip\n  resources: {limits: {pids: 10}, reservations: {devices: [{capabilities: [gpu]}]}}"
    );
    refused_at_the_top: told(
        "include: [other.yaml]\nmodels: {m: {model: x}}\nservices: {web: {image: nginx}}\nnetworks: {n: {external: true, internal: true, ipam: {config: []}}}\nvolumes: {v: {driver: nfs, driver_opts: {type: nfs}}}\n"
    );
    no_image: told("services:\n  web: {command: x}\n  db:\n");
    images: told("services:\n  a: {image: Nginx}\n  b: {image: ''}\n  c: {image: 'nginx:'}\n  d: {image: [x]}\n");
    ports: of_service(
        "ports:\n  - 127.0.0.1:80:80\n  - 8080-8090:80\n  - 80:80/sctp\n  - http\n  - 70000\n  - {published: 80}\n  - {target: 80, published: 81, protocol: icmp, mode: mesh, host: 1}\n  - 9000:1\n  - 9000:2\n  - target: 1\n    published: 10-12\n  - {target: 5, host_ip: 10.0.0.1}"
    );
    volumes: of_service(
        "volumes:\n  - /data\n  - ./src:/app\n  - ~/.ssh:/ssh\n  - data:/data\n  - /a:/b:z\n  - /a:b\n  - {type: npipe, target: /x}\n  - {type: bind, source: ./x, target: /x}\n  - {type: volume, target: /x}\n  - {type: bind, source: /x, target: /y, tmpfs: {size: 1}}\n  - /a:/twice\n  - /b:/twice\ntmpfs: ['/twice', '/c:mode=755', c]"
    );
    commands: of_service("command: echo 'a\nentrypoint: {a: b}\nworking_dir: ''\nuser: [a]\nread_only: yes\nstop_signal: SIGFOO\nstop_grace_period: 10");
    environments: of_service("environment: [A=1, A=2, '2B=3', {C: 4}]\nlabels: {'a b': 1, c: [x]}\nenv_file: [missing.env, {required: true}]");
    health_checks: of_service("healthcheck: {test: [curl, x], interval: 5, timeout: soon, retries: -1, start_period: 1y}");
    health_tests: told(
        "services:\n  a: {image: x, healthcheck: {test: []}}\n  b: {image: x, healthcheck: {test: [CMD]}}\n  c: {image: x, healthcheck: {test: [CMD-SHELL, a, b]}}\n  d: {image: x, healthcheck: {test: ''}}\n"
    );
    restarts: of_service("restart: false\ndeploy: {restart_policy: {condition: always, delay: 5, max_attempts: many}}");
    resources: of_service(
        "mem_limit: 1g\ncpus: half\ndeploy:\n  resources:\n    limits: {memory: 2g, cpus: '1'}\n    reservations: {memory: 10 elephants, cpus: 2}\nscale: 2.5"
    );
    replicas: of_service("scale: 2\ndeploy: {mode: global, replicas: 3}");
    placements: of_service(
        "deploy:\n  placement:\n    constraints: [node.role == manager, 'node.labels.a', node.id == x, engine.labels.b == c, {a: b}]\n    preferences: [{spread: node.foo}, {pack: x}]\n    max_replicas_per_node: -1"
    );
    updates: of_service(
        "deploy:\n  update_config: {parallelism: x, failure_action: explode, max_failure_ratio: 50, order: random}\n  rollback_config: {failure_action: rollback}\n  mode: daemon"
    );
    davits_own: of_service(
        "x-davit:\n  on_node_loss: wait\n  priority: 5000\n  algorithm: ''\n  canaries: two\n  colocate: [web, nobody]\n  job: {completions: 0, schedule: nightly, time_zone: '', history: 3}\n  retires: 1\ndeploy: {mode: replicated, x-davit: {}}"
    );
    schedules: of_service("x-davit: {job: {overlap: forbid, time_zone: UTC}}");
    dependencies: told(
        "services:\n  a: {image: x, depends_on: [b, nobody]}\n  b: {image: x, depends_on: [c]}\n  c: {image: x, depends_on: {a: {condition: service_ready}, d: {condition: service_started}}}\n  d: {image: x, profiles: [extra]}\n  e: {image: x, depends_on: {a: }}\n"
    );
    nothing_to_be_healthy_by: told(
        "services:\n  a:\n    image: x\n    depends_on:\n      b: {condition: service_healthy, restart: true}\n      c: {condition: service_healthy}\n      d: {condition: service_healthy, restart: false}\n  b: {image: x}\n  c: {image: x, healthcheck: {disable: true}}\n  d: {image: x, healthcheck: {test: [CMD, x]}}\n"
    );
    grants: told(
        "services:\n  a:\n    image: x\n    secrets: [nothing, {source: s, mode: 440}, {source: s, target: ../x}, {target: y}]\n    configs: [c, {source: c, target: /c}]\nsecrets:\n  s: {file: ./s}\n  t: {environment: T}\n  u: {}\n  v: {external: true, file: x}\nconfigs:\n  c: {content: a, file: b}\n  d: {external: {name: x}}\n"
    );
    variables: told(
        "services:\n  a:\n    image: nginx:$TAG\n    command: echo $ ${A ${B!} ${C:?needs a value}\n    environment: {D: '${D', E: '${E?}'}\n"
    );
    names: told("name: My App\nservices:\n  'a b': {image: x, profiles: ['x y']}\nvolumes: {'v w': }\nx-davit: {colocate: [['a b'], [c, d]]}\n");
    networks: of_service("networks: {back: {ipv4_address: 10.0.0.1, aliases: ['a b']}, default: []}");
    no_service: told("services: {}\n");
    no_selected_service: told("services: {a: {image: x, profiles: [p]}}\n");
    extensions_in_places_of_names: told("services: {x-ray: {image: x}, a: {image: '', x-thing: 1}}\n");
    forms_of_many: of_service(
        "ports: ['80:80:80:80', 90:90/TCP, {target: 91, protocol: UDP}, 'localhost:80:80']\nvolumes: [{type: volume, target: /x}, {type: volume, source: '', target: /y}]\ntmpfs: [/a:size=1m,mode=1777]"
    );
    hosts: of_service(
        "hostname: a b\nextra_hosts: [db, 'db:nowhere', '-x=10.0.0.1', {a: b}, 'db=::1']\ninit: 1\ntty: yes please\nstdin_open: []"
    );
    hosts_without_addresses: of_service("extra_hosts: {a: , b: {c: d}}\nhostname: ''");
    rights: of_service(
        "security_opt: ['no-new-privileges:maybe', 'seccomp:unconfined', label=disable, no-new-privileges]\ngroup_add: ['', [a]]\npids_limit: -2\nshm_size: lots\ndeploy: {resources: {limits: {pids: 10}}}"
    );
    limits_of_processes: of_service("pids_limit: 5\ndeploy: {resources: {limits: {pids: 10}, reservations: {pids: 1}}}");
    log_drivers: told(
        "services:\n  a: {image: x, logging: {driver: syslog, options: {syslog-address: 'udp://x'}}}\n  b: {image: x, logging: {driver: none}}\n  c: {image: x, logging: {driver: local, options: {max-size: -1, max-file: 0, compress: 'true', colour: red}, level: 1}}\n  d: {image: x, logging: {options: {max-size: 10 elephants}}}\n  e: {image: x, logging: json-file}\n"
    );
    ulimits: of_service("ulimits: {nofile: {soft: 10, hard: 5}, NPROC: 1, nproc: -2, core: {soft: 1}}\ncap_add: [NET-ADMIN]\nplatform: linux/\npull_policy: build\nexpose: ['80:80']");
    several_files: told("services:\n  web: {image: a, port: 1}\n=== prod.yaml\nservices:\n  web: {ports: ['x']}\n  db: {imag: b}\n");
    one_file_broken: told("services:\n  web: {image: a, port: 1}\n=== prod.yaml\nservices: [\n");
    aliases: told("a: &a [*a]\n");
    bombs: told("a: &a [x, x, x, x, x, x, x, x]\nb: &b [*a, *a, *a, *a, *a, *a, *a, *a]\nc: &c [*b, *b, *b, *b, *b, *b, *b, *b]\nd: &d [*c, *c, *c, *c, *c, *c, *c, *c]\ne: &e [*d, *d, *d, *d, *d, *d, *d, *d]\nf: &f [*e, *e, *e, *e, *e, *e, *e, *e]\n");
}

#[test]
fn what_is_wrong_with_a_file_of_variables_is_told_with_the_key_that_names_it() {
    let text = "services: {web: {image: x, env_file: [none.env]}}".to_owned();
    let files = vec![SourceFile { name: "compose.yaml".to_owned(), text }];
    let referenced = [("none.env".to_owned(), Bytes(b"two words\nA=${\n".to_vec()))].into();
    let input = Input { files, referenced, project_name: Some("p".to_owned()), ..Input::default() };
    let told = load(&input).unwrap_err().to_string();
    let lines: Vec<_> = told.lines().collect();
    assert!(lines[0].starts_with("none.env:1:1: services.web.env_file[0]: is no line like `KEY=VALUE`"), "{told}");
    assert!(lines[1].starts_with("none.env:2:1: services.web.env_file[0].A: `${` is no variable"), "{told}");
}

#[test]
fn a_lenient_reader_waits_only_for_the_start_of_what_can_not_be_healthy() {
    let text = "services:\n  a: {image: x, depends_on: {b: {condition: service_healthy}}}\n  b: {image: x}\n";
    let files = vec![SourceFile { name: "compose.yaml".to_owned(), text: text.to_owned() }];
    let input = Input { files, project_name: Some("p".to_owned()), lenient: true, ..Input::default() };
    let Loaded { project, warnings } = load(&input).unwrap();
    assert_eq!(project.services["a"].depends_on["b"].condition, Condition::Started);
    assert!(warnings[0].to_string().contains("warning: services.a.depends_on.b.condition: `b` has no health check"));
}

#[test]
fn so_many_problems_are_told() {
    let keys: String = (0..1000).map(|index| format!("x{index}: 1\n")).collect();
    let told = of_service(&keys);
    assert_eq!(told.lines().count(), davit_compose::MAX_PROBLEMS + 1);
    assert!(told.ends_with("and 800 more"), "{told}");
}

#[test]
fn variables_do_not_grow_a_project_without_bound() {
    let text = format!("services: {{a: {{image: x, command: ['{}']}}}}", "$A".repeat(1000));
    let files = vec![SourceFile { name: "compose.yaml".to_owned(), text }];
    let variables = [("A".to_owned(), "x".repeat(1_000_000))].into();
    let invalid =
        load(&Input { files, variables, project_name: Some("p".to_owned()), ..Input::default() }).unwrap_err();
    assert!(invalid.to_string().contains("too large"), "{invalid}");
}

fn service_keys(count: usize, keys: &str) -> String {
    (0..count).map(|index| format!("  s{index}: {{image: x, {keys}}}\n")).collect()
}

/// A few bytes that bring in many can't be repeated without bound.
#[test]
fn what_files_and_variables_bring_in_is_bounded() {
    let big = "x".repeat(400_000);
    let load_text = |text: String| {
        let files = vec![SourceFile { name: "compose.yaml".to_owned(), text }];
        let variables = [("BIG".to_owned(), big.clone())].into();
        let referenced = [
            ("big.env".to_owned(), Bytes(format!("A={big}\n").into_bytes())),
            ("big".to_owned(), Bytes(big.clone().into_bytes())),
        ];
        let project_name = Some("p".to_owned());
        load(&Input { files, variables, referenced: referenced.into(), project_name, ..Input::default() })
    };
    let stored = |source: &str| {
        let configs: String = (0..50).map(|index| format!("  c{index}: {{{source}}}\n")).collect();
        format!("services:\n  a: {{image: x}}\nconfigs:\n{configs}")
    };
    for text in [
        format!("services:\n{}", service_keys(50, "env_file: big.env")),
        format!("services:\n{}", service_keys(50, "environment: [BIG]")),
        format!("services:\n{}", service_keys(100, "ports: ['1-1000:1-1000']")),
        stored("file: big"),
        stored("environment: BIG"),
    ] {
        let invalid = load_text(text.clone()).unwrap_err();
        assert!(invalid.to_string().contains("too large"), "{text}");
    }
    assert!(load_text(format!("services:\n{}", service_keys(3, "env_file: big.env"))).is_ok());
}

#[test]
fn a_project_needs_files_and_not_too_many() {
    let file = SourceFile { name: "a.yaml".to_owned(), text: "services: {a: {image: x}}".to_owned() };
    let input =
        |count| Input { files: vec![file.clone(); count], project_name: Some("p".to_owned()), ..Input::default() };
    assert!(load(&input(0)).is_err());
    assert!(load(&input(2)).is_ok());
    assert!(load(&input(17)).unwrap_err().to_string().contains("at most 16 files"));
    let unnamed = Input { project_name: None, ..input(1) };
    assert!(load(&unnamed).unwrap_err().to_string().contains("needs a name"));
}
