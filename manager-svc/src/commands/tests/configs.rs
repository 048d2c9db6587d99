//! Configs and secrets: versions, what refers to them, and what goes.

use std::collections::BTreeMap;

use davit_core::deployment::DeploymentMode;
use davit_core::file::{Config, FileContent, FileDigest};

use crate::commands::test_support::{Cluster, config_name, keyed, named, spec, task_id, with_file};
use crate::commands::{
    Error, Limits, NewConfig, NewTasks, create_tasks, delete_config, delete_task, let_go_of_versions, put_config,
    roll_back_deployment,
};

const TWO: DeploymentMode = DeploymentMode::Replicated { replicas: 2 };

fn digests(config: &Config) -> Vec<FileDigest> {
    config.versions.iter().map(|version| version.digest).collect()
}

fn of(texts: &[&str]) -> Vec<FileDigest> {
    texts.iter().map(|text| FileDigest::of(text.as_bytes())).collect()
}

fn versions(cluster: &Cluster) -> Option<Vec<FileDigest>> {
    cluster.state.config(&config_name("a")).map(|config| digests(config))
}

#[test]
fn the_same_content_changes_nothing_and_other_content_makes_a_version() {
    let mut cluster = Cluster::new(0);
    let created = cluster.put_config("a", b"1").unwrap();
    assert_eq!(cluster.put_config("a", b"1").unwrap(), created);
    assert!(cluster.last_batch.is_empty());
    cluster.put_config("a", b"2").unwrap();
    assert_eq!(versions(&cluster), Some(of(&["2"])), "nothing refers to the first");
    cluster.create(cluster.resolved(with_file("a")));
    let changed = cluster.put_config("a", b"3").unwrap();
    assert_eq!(digests(&changed), of(&["2", "3"]));
    assert_eq!(changed.created_at, created.created_at);
    // What is old comes back as the newest, and is not there twice.
    assert_eq!(digests(&cluster.put_config("a", b"2").unwrap()), of(&["2"]));
}

#[test]
fn what_is_referred_to_stays_until_nothing_does() {
    let mut cluster = Cluster::new(0);
    cluster.put_config("a", b"1").unwrap();
    assert!(cluster.deploy("web", cluster.resolved(with_file("a")), TWO));
    cluster.put_config("a", b"2").unwrap();
    assert!(cluster.deploy("web", cluster.resolved(with_file("a")), TWO));
    cluster.put_config("a", b"3").unwrap();
    cluster.run(|draft| let_go_of_versions(draft, 10));
    assert_eq!(versions(&cluster), Some(of(&["1", "2", "3"])), "the deployment may go back to the first");
    cluster.run(|draft| roll_back_deployment(draft, &named("web"), Some(1), String::new())).unwrap();
    let refused = cluster.run(|draft| delete_config(draft, &config_name("a"))).unwrap_err();
    assert_eq!(refused.to_string(), "config `a` is in use: by deployment `web`");
    assert!(cluster.last_batch.is_empty());
    cluster.run(|draft| super::super::delete_deployment(draft, &named("web"))).unwrap();
    cluster.reconcile_deployments();
    cluster.run(|draft| let_go_of_versions(draft, 10));
    assert_eq!(versions(&cluster), Some(of(&["3"])));
    cluster.run(|draft| delete_config(draft, &config_name("a"))).unwrap();
    assert_eq!((cluster.state.content_bytes(), cluster.state.contents().count()), (0, 0));
}

#[test]
fn a_task_that_ended_holds_what_it_had_until_it_is_deleted() {
    let mut cluster = Cluster::new(0);
    cluster.put_config("a", b"1").unwrap();
    let task_id = cluster.create(cluster.resolved(with_file("a")));
    let refused = cluster.run(|draft| delete_config(draft, &config_name("a"))).unwrap_err();
    assert!(refused.to_string().contains("by a task"), "{refused}");
    cluster.run(|draft| delete_task(draft, task_id, true)).unwrap();
    cluster.run(|draft| delete_config(draft, &config_name("a"))).unwrap();
    let missing = cluster.run(|draft| delete_config(draft, &config_name("a")));
    assert_eq!(missing, Err(Error::ConfigNotFound { config: config_name("a") }));
}

#[test]
fn nothing_is_created_that_refers_to_what_is_not_there() {
    let mut cluster = Cluster::new(0);
    let create = |cluster: &mut Cluster, spec| {
        let tasks = NewTasks { spec: keyed(spec), task_ids: vec![task_id(1)], gang_id: None };
        cluster.run(|draft| create_tasks(draft, &[tasks], None, Limits::NONE))
    };
    let gone = cluster.resolved(with_file("a"));
    assert!(matches!(create(&mut cluster, gone.clone()), Err(Error::ConfigVersionGone { .. })));
    assert!(!cluster.deploy("web", gone, TWO));
    assert!(cluster.last_batch.is_empty());
    assert!(create(&mut cluster, spec()).is_ok());
}

#[test]
fn there_is_only_so_much_and_an_app_keeps_to_its_own() {
    let mut cluster = Cluster::new(0);
    let new = |name: &str, app: &str, content: Vec<u8>| NewConfig {
        name: config_name(name),
        content: FileContent::new(content),
        labels: BTreeMap::new(),
        app: app.to_owned(),
    };
    cluster.run(|draft| put_config(draft, new("a", "shop", vec![0]))).unwrap();
    let others = cluster.put_config("a", b"1").unwrap_err();
    assert_eq!(others.to_string(), "config `a` belongs to app `shop`; delete or rename one of both");
    let size = 500 * 1024;
    let fitting = 64 * 1024 * 1024 / size;
    for number in 0..fitting {
        let content = vec![u8::try_from(number).unwrap(); size];
        cluster.run(|draft| put_config(draft, new(&format!("b{number}"), "", content))).unwrap();
    }
    let more = cluster.run(|draft| put_config(draft, new("c", "", vec![255; size])));
    assert!(matches!(more, Err(Error::TooManyConfigBytes { .. })), "{more:?}");
    // What is there already takes no room.
    cluster.run(|draft| put_config(draft, new("c", "", vec![1; size]))).unwrap();
}
