//! What a client must send beside the files: variables, and contents of files.

use std::collections::{BTreeMap, BTreeSet};

use davit_core::spec::check_env_key;

use super::prepare::{Prepared, parse_all, prepare};
use super::{Input, PROFILES_VARIABLE, PROJECT_NAME_VARIABLE, SourceFile};
use crate::error::{Invalid, Position, Problems};
use crate::interpolate::{Operator, Template};
use crate::normalize::normalize;
use crate::project::selected_services;
use crate::read::{Context, Item};
use crate::service::env_files;
use crate::tree::{Budget, Node, Value};

/// How a project uses a variable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VariableUse {
    /// Whether some use of it demands that it is set.
    pub required: bool,
    /// Where it is used first; `None` for those that select profiles and name the project.
    pub position: Option<Position>,
}

/// All variables that files refer to, whether they are set or not, with those that select profiles and name the project. Those in
/// environment files come on top: [`crate::env_file_variables`].
///
/// # Errors
/// What makes a file unreadable. What is wrong with its values is told when the project is read.
pub fn referenced_variables(files: &[SourceFile]) -> Result<BTreeMap<String, VariableUse>, Invalid> {
    let mut problems = Problems::new(false);
    let (names, mut roots) = parse_all(files, &mut Budget::default(), &mut problems);
    if roots.len() < files.len() || roots.is_empty() {
        problems.finish(&names)?;
        return Ok(BTreeMap::new());
    }
    let mut uses = BTreeMap::new();
    for name in [PROFILES_VARIABLE, PROJECT_NAME_VARIABLE] {
        uses.insert(name.to_owned(), VariableUse { required: false, position: None });
    }
    for root in &mut roots {
        in_values(root, &mut uses);
        normalize(root, &mut problems);
        by_name(root, &mut uses);
    }
    Ok(uses)
}

fn used(uses: &mut BTreeMap<String, VariableUse>, name: &str, at: &Position, required: bool) {
    let first = || VariableUse { required: false, position: Some(at.clone()) };
    uses.entry(name.to_owned()).or_insert_with(first).required |= required;
}

/// Variables in templates; what is no template is told when the project is read.
fn in_values(node: &Node, uses: &mut BTreeMap<String, VariableUse>) {
    match &node.value {
        Value::Null => {}
        Value::Text(text) if text.contains('$') => {
            let Ok(template) = Template::parse(text) else { return };
            template.for_each_variable(&mut |variable| {
                let required =
                    variable.operation.as_ref().is_some_and(|operation| operation.operator == Operator::Required);
                used(uses, &variable.name, &node.at, required);
            });
        }
        Value::Text(_) => {}
        Value::List(nodes) => nodes.iter().for_each(|node| in_values(node, uses)),
        Value::Map(map) => map.values().for_each(|entry| in_values(&entry.node, uses)),
    }
}

/// Variables that are named without a dollar sign: in `environment`, and as what a config or secret holds.
fn by_name(root: &Node, uses: &mut BTreeMap<String, VariableUse>) {
    for service in values_of(root, "services") {
        let Some(Value::Map(environment)) = service.get("environment").map(|node| &node.value) else { continue };
        for (name, entry) in environment {
            if entry.node.value == Value::Null && check_env_key(name).is_ok() {
                used(uses, name, &entry.key_at, false);
            }
        }
    }
    for stored in ["configs", "secrets"].into_iter().flat_map(|key| values_of(root, key)) {
        if let Some(Node { value: Value::Text(name), at, .. }) = stored.get("environment")
            && check_env_key(name).is_ok()
            && !name.contains('$')
        {
            used(uses, name, at, true);
        }
    }
}

fn values_of<'a>(root: &'a Node, key: &str) -> Vec<&'a Node> {
    named_values_of(root, key).into_iter().map(|(_, node)| node).collect()
}

fn named_values_of<'a>(root: &'a Node, key: &str) -> Vec<(&'a str, &'a Node)> {
    match root.get(key).map(|node| &node.value) {
        Some(Value::Map(map)) => map.iter().map(|(name, entry)| (name.as_str(), &entry.node)).collect(),
        _ => Vec::new(),
    }
}

/// What a file is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FileKind {
    /// `env_file` of a service.
    Environment,
    /// `file` of a config.
    Config,
    /// `file` of a secret.
    Secret,
}

/// A file that a project refers to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileReference {
    /// Its path, as written: relative to the project's directory unless absolute. The key of [`Input::referenced`].
    pub path: String,
    /// What it is for.
    pub kind: FileKind,
    /// Whether it must be there.
    pub required: bool,
    /// Where it is written.
    pub position: Position,
    /// The key path of where it is written, such as `services.web.env_file[0]`.
    pub key_path: String,
}

/// All files that the project refers to, but for those of services that no selected profile has. `input.referenced` is not looked
/// at. Those whose paths can't be read are left out.
///
/// # Errors
/// What makes a file unreadable. What is wrong with its values is told when the project is read.
pub fn referenced_files(input: &Input) -> Result<Vec<FileReference>, Invalid> {
    let Prepared { root, names, variables, problems, budget, project_name, profiles } = prepare(input);
    let Some(root) = root else {
        problems.finish(&names)?;
        return Ok(Vec::new());
    };
    let nothing = BTreeMap::new();
    let mut cx = Context::new(problems, &variables, &nothing, project_name, budget);
    let mut references = in_project(&root, &profiles, &mut cx);
    references.retain(|reference| !cx.problems.is_unknown_at(&reference.position));
    Ok(references)
}

fn in_project(root: &Node, profiles: &BTreeSet<String>, cx: &mut Context<'_>) -> Vec<FileReference> {
    let mut references = Vec::new();
    for (name, service) in selected_services(root, profiles) {
        let Some(node) = service.get("env_file").filter(|node| node.value != Value::Null) else { continue };
        let item = Item { node: node.clone(), path: format!("services.{name}.env_file") };
        for file in env_files(item, cx) {
            let (kind, required) = (FileKind::Environment, file.required);
            let (position, key_path) = (file.position().clone(), file.key_path().to_owned());
            references.push(FileReference { path: file.file, kind, required, position, key_path });
        }
    }
    for (key, kind) in [("configs", FileKind::Config), ("secrets", FileKind::Secret)] {
        for (name, stored) in named_values_of(root, key) {
            if let Some(Node { value: Value::Text(path), at, .. }) = stored.get("file") {
                let (path, position, key_path) = (path.clone(), at.clone(), format!("{key}.{name}.file"));
                references.push(FileReference { path, kind, required: true, position, key_path });
            }
        }
    }
    references
}
