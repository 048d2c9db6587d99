//! Puts what has a short form into its long one, before files are merged: a list of variables and a mapping of them merge.

use crate::error::{ProblemKind, Problems, quoted};
use crate::interpolate::join;
use crate::tree::{Entry, Map, MergeTag, Node, Value};

/// Puts a file's tree into long forms.
pub(crate) fn normalize(root: &mut Node, problems: &mut Problems) {
    let Some(services) = map_at(root, "services") else { return };
    for (name, entry) in services {
        let path = format!("services.{name}");
        let service = &mut entry.node;
        for key in ["environment", "labels"] {
            with(service, key, &path, |node, path| pairs(node, path, problems));
        }
        with(service, "deploy", &path, |node, path| {
            with(node, "labels", path, |node, path| pairs(node, path, problems));
        });
        with(service, "depends_on", &path, |node, path| names(node, path, Some("service_started"), problems));
        with(service, "networks", &path, |node, path| names(node, path, None, problems));
        with(service, "extra_hosts", &path, |node, _| list_of_pairs(node));
        for key in ["env_file", "tmpfs"] {
            with(service, key, &path, |node, _| list_of_one(node));
        }
    }
}

fn map_at<'a>(node: &'a mut Node, key: &str) -> Option<&'a mut Map> {
    let Value::Map(map) = &mut node.value else { return None };
    match &mut map.get_mut(key)?.node.value {
        Value::Map(map) => Some(map),
        _ => None,
    }
}

fn with(node: &mut Node, key: &str, path: &str, change: impl FnOnce(&mut Node, &str)) {
    if let Value::Map(map) = &mut node.value
        && let Some(entry) = map.get_mut(key)
    {
        change(&mut entry.node, &join(path, key));
    }
}

/// Makes a mapping of a list whose items give a key and a value each.
fn mapping(node: &mut Node, path: &str, problems: &mut Problems, mut item: impl FnMut(&str, &Node) -> (String, Value)) {
    let Value::List(nodes) = &node.value else { return };
    let mut map = Map::new();
    for (index, node) in nodes.iter().enumerate() {
        let path = format!("{path}[{index}]");
        let Value::Text(text) = &node.value else {
            let message = format!("must be a single value, and is {}", node.kind());
            problems.error(ProblemKind::BadValue, &node.at, &path, message);
            continue;
        };
        let (key, value) = item(text, node);
        let entry = Entry { key_at: node.at.clone(), node: Node { value, at: node.at.clone(), tag: node.tag } };
        if let Some(first) = map.get(&key) {
            let message = format!("{} is there twice, first in line {}", quoted(&key), first.key_at.line);
            problems.error(ProblemKind::BadValue, &node.at, &path, message);
            continue;
        }
        map.insert(key, entry);
    }
    node.value = Value::Map(map);
}

/// `[A=1, B]` becomes `{A: 1, B: }`.
fn pairs(node: &mut Node, path: &str, problems: &mut Problems) {
    mapping(node, path, problems, |text, _| match text.split_once('=') {
        Some((key, value)) => (key.to_owned(), Value::Text(value.to_owned())),
        None => (text.to_owned(), Value::Null),
    });
}

/// `[a, b]` becomes `{a: , b: }`, or with a condition for each.
fn names(node: &mut Node, path: &str, condition: Option<&str>, problems: &mut Problems) {
    mapping(node, path, problems, |text, node| {
        let value = condition.map_or(Value::Null, |condition| {
            let at = node.at.clone();
            let entry = Entry { key_at: at.clone(), node: Node::new(Value::Text(condition.to_owned()), at) };
            Value::Map([("condition".to_owned(), entry)].into())
        });
        (text.to_owned(), value)
    });
}

/// `{a: x, b: [y, z]}` becomes `[a=x, b=y, b=z]`; what has other values is told when it is read.
fn list_of_pairs(node: &mut Node) {
    let Value::Map(map) = &node.value else { return };
    let mut pairs = Vec::new();
    for (key, entry) in map.iter().filter(|(_, entry)| entry.node.tag != Some(MergeTag::Reset)) {
        let values = match &entry.node.value {
            Value::List(values) => values.as_slice(),
            _ => std::slice::from_ref(&entry.node),
        };
        for value in values {
            let Value::Text(text) = &value.value else { return };
            pairs.push(Node::new(Value::Text(format!("{key}={text}")), value.at.clone()));
        }
    }
    node.value = Value::List(pairs);
}

fn list_of_one(node: &mut Node) {
    if matches!(node.value, Value::Text(_)) {
        let one = Node { value: std::mem::replace(&mut node.value, Value::Null), at: node.at.clone(), tag: None };
        node.value = Value::List(vec![one]);
    }
}
