use std::sync::Arc;

use super::*;
use crate::error::Problems;
use crate::normalize::normalize;
use crate::tree::{Budget, parse};

/// Merges files and shows the tree in one line.
fn merged(files: &[&str]) -> String {
    let mut problems = Problems::new(false);
    let mut roots = Vec::new();
    for (index, text) in files.iter().enumerate() {
        let name: Arc<str> = format!("{index}.yaml").into();
        let mut root = parse(&name, text, &mut Budget::default(), &mut problems).unwrap();
        normalize(&mut root, &mut problems);
        roots.push(root);
    }
    assert!(!problems.has_error());
    shown(&merge(roots).unwrap())
}

/// The same for keys of one service.
fn merged_service(files: &[&str]) -> String {
    let files: Vec<_> = files.iter().map(|text| format!("services: {{a: {{{text}}}}}")).collect();
    let files: Vec<_> = files.iter().map(String::as_str).collect();
    let shown = merged(&files);
    shown.strip_prefix("{services: {a: ").and_then(|rest| rest.strip_suffix("}}")).unwrap().to_owned()
}

fn shown(node: &Node) -> String {
    match &node.value {
        Value::Null => "-".to_owned(),
        Value::Text(text) => text.clone(),
        Value::List(nodes) => format!("[{}]", nodes.iter().map(shown).collect::<Vec<_>>().join(", ")),
        Value::Map(map) => {
            let entries = map.iter().map(|(key, entry)| format!("{key}: {}", shown(&entry.node)));
            format!("{{{}}}", entries.collect::<Vec<_>>().join(", "))
        }
    }
}

#[test]
fn files_are_merged_by_the_rules_of_compose() {
    for (files, expected) in [
        (["image: a", "image: b"], "{image: b}"),
        (["image: a", "image:"], "{image: -}"),
        (["ports: ['1:1']", "ports:"], "{ports: [1:1]}"),
        (["environment: {A: 1}", "environment: [A]"], "{environment: {A: -}}"),
        (["command: a", "command:"], "{command: -}"),
        (["ports: ['1:1']", "ports: ['2:2']"], "{ports: [1:1, 2:2]}"),
        (["command: [a, b]", "command: c"], "{command: c}"),
        (["command: [a, b]", "command: [c]"], "{command: [c]}"),
        (["entrypoint: [a]", "entrypoint: [b]"], "{entrypoint: [b]}"),
        (
            ["healthcheck: {test: [CMD, a], retries: 1}", "healthcheck: {test: [CMD, b]}"],
            "{healthcheck: {retries: 1, test: [CMD, b]}}",
        ),
        (["environment: [A=1, B=2]", "environment: {B: 3, C: }"], "{environment: {A: 1, B: 3, C: -}}"),
        (["labels: {a: 1}", "labels: [b=2]"], "{labels: {a: 1, b: 2}}"),
        (["env_file: a", "env_file: [b]"], "{env_file: [a, b]}"),
        (["tmpfs: /a", "tmpfs: /b"], "{tmpfs: [/a, /b]}"),
        (
            ["depends_on: [x]", "depends_on: {y: {condition: service_healthy}}"],
            "{depends_on: {x: {condition: service_started}, y: {condition: service_healthy}}}",
        ),
        (["networks: [x]", "networks: {x: {aliases: [y]}}"], "{networks: {x: {aliases: [y]}}}"),
        (
            ["deploy: {replicas: 1, labels: [a=1]}", "deploy: {labels: {a: 2}}"],
            "{deploy: {labels: {a: 2}, replicas: 1}}",
        ),
        (["ports: ['1:1'], image: a", "ports: !reset []"], "{image: a}"),
        (["ports: ['1:1']", "ports: !override ['2:2']"], "{ports: [2:2]}"),
        (["environment: {A: 1, B: 2}", "environment: {A: !reset null}"], "{environment: {B: 2}}"),
        (["environment: {A: 1, B: 2}", "environment: !override {C: 3}"], "{environment: {C: 3}}"),
        (["image: !reset a, command: b", "image: !override x"], "{command: b, image: x}"),
        (["ulimits: {nofile: 1}", "ulimits: {nofile: {soft: 1, hard: 2}}"], "{ulimits: {nofile: {hard: 2, soft: 1}}}"),
    ] {
        assert_eq!(merged_service(&files), expected, "{files:?}");
    }
}

#[test]
fn services_and_volumes_of_all_files_are_there() {
    let files = ["services: {a: {image: x}}\nvolumes: {v: }\n", "services: {b: {image: y}}\nvolumes: {w: {name: n}}\n"];
    assert_eq!(merged(&files), "{services: {a: {image: x}, b: {image: y}}, volumes: {v: -, w: {name: n}}}");
}
