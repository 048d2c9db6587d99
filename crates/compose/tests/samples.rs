//! Whole files in the style of those that are around, and the projects that they become.

#[path = "support/shown.rs"]
mod shown;
mod support;

use davit_compose::{
    Bytes, Input, SECTIONS, SourceFile, Support, env_file_variables, load, referenced_files, referenced_variables,
};
use shown::shown;
use support::sample;

fn with_variables(input: Input, variables: &[(&str, &str)]) -> Input {
    let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Input { variables, ..input }
}

fn with_files(input: Input, files: &[(&str, &str)]) -> Input {
    let referenced = files.iter().map(|(path, text)| ((*path).to_owned(), Bytes(text.as_bytes().to_vec()))).collect();
    Input { referenced, ..input }
}

fn check(name: &str, input: &Input) {
    let text = match load(input) {
        Ok(loaded) => {
            let warnings: String = loaded.warnings.iter().map(|warning| format!("{warning}\n")).collect();
            format!("{warnings}{}", shown(&loaded.project))
        }
        Err(invalid) => format!("NO PROJECT\n{invalid}"),
    };
    insta::with_settings!({ omit_expression => true }, { insta::assert_snapshot!(name, text) });
}

#[test]
fn web_database_cache() {
    let input = with_variables(sample(&["web-database-cache.yaml"]), &[("DB_PASSWORD", "pa$$word")]);
    check("web_database_cache", &input);
}

#[test]
fn workers_broker() {
    check("workers_broker", &sample(&["workers-broker.yaml"]));
}

#[test]
fn monitoring() {
    check("monitoring", &with_variables(sample(&["monitoring.yaml"]), &[("GRAFANA_PASSWORD", "hidden")]));
}

#[test]
fn wordpress() {
    check("wordpress", &sample(&["wordpress.yaml"]));
}

#[test]
fn nginx_flask_redis() {
    let input = with_variables(sample(&["nginx-flask-redis.yaml"]), &[("TAG", "3")]);
    check("nginx_flask_redis", &with_files(input, &[("./nginx/proxy.conf", "events {}")]));
}

#[test]
fn gitea_postgres() {
    check("gitea_postgres", &sample(&["gitea-postgres.yaml"]));
}

#[test]
fn log_agents() {
    check("log_agents", &sample(&["log-agents.yaml"]));
}

#[test]
fn jobs() {
    check("jobs", &sample(&["jobs.yaml"]));
}

#[test]
fn one_file_for_development() {
    check("one_file_for_development", &sample(&["shop.yaml"]));
}

#[test]
fn two_files_for_production() {
    let input = with_variables(sample(&["shop.yaml", "shop.prod.yaml"]), &[("TAG", "7"), ("SECRET_KEY", "k")]);
    check("two_files_for_production", &input);
}

#[test]
fn no_profile() {
    check("no_profile", &sample(&["profiles.yaml"]));
}

#[test]
fn one_profile() {
    let input = with_variables(sample(&["profiles.yaml"]), &[("COMPOSE_PROFILES", "debug,other")]);
    check("one_profile", &input);
    let input = Input { profiles: vec!["debug".to_owned()], ..sample(&["profiles.yaml"]) };
    check("one_profile", &input);
}

#[test]
fn anchors() {
    check("anchors", &sample(&["anchors.yaml"]));
}

/// What `docker compose config` writes.
#[test]
fn canonical() {
    check("canonical", &with_files(sample(&["canonical.yaml"]), &[("/home/me/shop/token.txt", "hidden")]));
}

/// The same of a web site and its database.
#[test]
fn canonical_wordpress() {
    check("canonical_wordpress", &sample(&["canonical-wordpress.yaml"]));
}

/// The same of a web site with a database and a cache, with what many add to each service.
#[test]
fn canonical_stack() {
    check("canonical_stack", &sample(&["canonical-stack.yaml"]));
}

/// The same of a broker with its tools, of which one is for debugging.
#[test]
fn canonical_kafka() {
    let input = Input { profiles: vec!["debug".to_owned()], ..sample(&["canonical-kafka.yaml"]) };
    check("canonical_kafka", &input);
}

/// The same with configs, secrets and several networks.
#[test]
fn canonical_monitoring() {
    let input = with_variables(sample(&["canonical-monitoring.yaml"]), &[("GRAFANA_ADMIN_PASSWORD", "hidden")]);
    check("canonical_monitoring", &input);
}

/// What `docker-compose config` of the time before it writes.
#[test]
fn classic_monitoring() {
    check(
        "classic_monitoring",
        &with_files(sample(&["classic-monitoring.yaml"]), &[("/srv/monitoring/given", "hidden")]),
    );
}

#[test]
fn hosts_merge_across_forms() {
    let merged = |first: &str, second: &str| {
        let file = |keys: &str| SourceFile {
            name: "compose.yaml".to_owned(),
            text: format!("services: {{a: {{image: x, extra_hosts: {keys}}}}}"),
        };
        let files = vec![file(first), file(second)];
        let project = load(&Input { files, project_name: Some("p".to_owned()), ..Input::default() }).unwrap().project;
        let hosts = project.services["a"].extra_hosts.iter();
        hosts.map(|host| format!("{}={}", host.name, host.address)).collect::<Vec<_>>()
    };
    let expected = ["a=10.0.0.1", "a=::1", "b=10.0.0.2"];
    assert_eq!(merged("[a=10.0.0.1, 'b:10.0.0.2']", "{a: '::1'}"), expected);
    assert_eq!(merged("{a: [10.0.0.1, '[::1]']}", "{b: 10.0.0.2, a: 10.0.0.1}"), expected);
    assert_eq!(merged("{a: 10.0.0.9}", "!override {a: [10.0.0.1, '::1'], b: 10.0.0.2, c: !reset }"), expected);
}

#[test]
fn voting_stack() {
    check("voting_stack", &sample(&["voting-stack.yaml"]));
}

#[test]
fn elasticsearch() {
    check("elasticsearch", &sample(&["elasticsearch.yaml"]));
}

#[test]
fn env_files() {
    let input = sample(&["env-files.yaml"]);
    let files = [
        ("common.env", "LEVEL=info\nREGION=eu\nURL=https://${REGION}.example.com\n"),
        (
            "./app.env",
            "LEVEL=debug\nZONE=${REGION}-1 $LEVEL $TAG\nQUOTED=\"two words\" # remark\nFROM_OUTSIDE=no\nNOT_SET=no\n",
        ),
        ("raw.env", "RAW='$as it stands'\n"),
        ("settings.toml", "a = 1\n"),
        ("./tls/server.pem", "-----BEGIN"),
    ];
    let variables = [("TAG", "1"), ("FROM_OUTSIDE", "yes"), ("API_KEY", "hidden")];
    check("env_files", &with_files(with_variables(input, &variables), &files));
}

#[test]
fn a_lenient_reader_drops_what_davit_refuses() {
    check("development", &Input { lenient: true, ..sample(&["development.yaml"]) });
}

#[test]
fn a_strict_reader_tells_what_davit_refuses() {
    check("development_strict", &sample(&["development.yaml"]));
}

#[test]
fn a_client_learns_what_to_send() {
    let input = sample(&["env-files.yaml"]);
    let variables: Vec<_> = referenced_variables(&input.files).unwrap().into_iter().collect();
    let names: Vec<_> = variables.iter().map(|(name, used)| (name.as_str(), used.required)).collect();
    let expected = [
        ("API_KEY", true),
        ("COMPOSE_PROFILES", false),
        ("COMPOSE_PROJECT_NAME", false),
        ("FROM_OUTSIDE", false),
        ("NOT_SET", false),
        ("TAG", false),
    ];
    assert_eq!(names, expected);
    let files = referenced_files(&input).unwrap();
    let files: Vec<_> = files.iter().map(|file| format!("{} {:?} {}", file.path, file.kind, file.required)).collect();
    let expected = [
        "common.env Environment true",
        "./app.env Environment true",
        "local.env Environment false",
        "raw.env Environment true",
        "settings.toml Config true",
        "./tls/server.pem Secret true",
    ];
    assert_eq!(files, expected);
    assert!(env_file_variables("A=$REGION\n").contains("REGION"));
}

#[test]
fn every_key_that_davit_knows_is_read() {
    let input = sample(&["everything.yaml"]);
    let text = input.files[0].text.clone();
    let keys = SECTIONS.iter().flat_map(|section| section.keys).filter(|key| key.support != Support::Refused);
    for key in keys {
        assert!(text.contains(&format!("{}:", key.name)), "the sample has no {}", key.name);
    }
    let input = with_variables(input, &[("B", "b"), ("TOKEN", "t"), ("COMPOSE_PROFILES", "front")]);
    check("everything", &with_files(input, &[("./given", "g"), ("./key", "k")]));
}

#[test]
fn files_of_services_that_are_not_selected_are_not_asked_for() {
    let text = "services:\n  a: {image: x, env_file: a.env}\n  b: {image: x, env_file: $B, profiles: [p]}\n";
    let files = vec![SourceFile { name: "compose.yaml".to_owned(), text: text.to_owned() }];
    let paths = |profiles: &[&str]| {
        let profiles = profiles.iter().map(|profile| (*profile).to_owned()).collect();
        let input = Input { files: files.clone(), project_name: Some("p".to_owned()), profiles, ..Input::default() };
        let files = referenced_files(&with_variables(input, &[("B", "b.env")])).unwrap();
        files.into_iter().map(|file| file.path).collect::<Vec<_>>()
    };
    assert_eq!(paths(&[]), ["a.env"]);
    assert_eq!(paths(&["p"]), ["a.env", "b.env"]);
    assert_eq!(paths(&["*"]), ["a.env", "b.env"]);
}

#[test]
fn the_caller_names_the_project_before_anyone_else_does() {
    let named = |text: &str, input: Input| {
        let files = vec![SourceFile { name: "compose.yaml".to_owned(), text: text.to_owned() }];
        load(&Input { files, ..input }).unwrap().project
    };
    let written = "name: ${A:-file}\nservices: {a: {image: x, command: $COMPOSE_PROJECT_NAME}}\n";
    let unwritten = "services: {a: {image: x}}\n";
    let caller = || Input { project_name: Some("caller".to_owned()), ..Input::default() };
    let variable = || with_variables(Input::default(), &[("COMPOSE_PROJECT_NAME", "variable")]);
    let directory = || Input { default_name: Some("_My Directory.d".to_owned()), ..Input::default() };
    assert_eq!(named(written, with_variables(caller(), &[("COMPOSE_PROJECT_NAME", "variable")])).name, "caller");
    assert_eq!(named(written, variable()).name, "variable");
    let project = named(written, directory());
    assert_eq!(project.name, "file");
    assert_eq!(project.services["a"].command.as_deref(), Some(["file".to_owned()].as_slice()));
    assert_eq!(named(written, with_variables(directory(), &[("A", "other")])).name, "other");
    assert_eq!(named(unwritten, directory()).name, "mydirectoryd");
}

/// No sample gives away what a secret holds.
#[test]
fn secrets_are_not_shown() {
    let input = with_variables(sample(&["monitoring.yaml"]), &[("GRAFANA_PASSWORD", "hidden")]);
    assert!(!format!("{:?}", load(&input).unwrap()).contains("hidden"));
}
