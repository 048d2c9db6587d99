//! All steps before a project's keys are looked at: parse, put variables in, long forms, merge.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{Input, MAX_FILES, PROFILES_VARIABLE, PROJECT_NAME_VARIABLE};
use crate::error::{ProblemKind, Problems, quoted};
use crate::interpolate::{Template, Variables, interpolate};
use crate::merge::merge;
use crate::normalize::normalize;
use crate::tree::{self, Budget, Node, Value};

/// Names a project whose name can't be read, so that what else is wrong can be told.
const STAND_IN_NAME: &str = "app";

/// The longest name of a project, in bytes.
const MAX_NAME_BYTES: usize = 63;

/// A project's one tree, and what goes with it.
pub(super) struct Prepared {
    /// `None` if there is none, which has been told.
    pub(super) root: Option<Node>,
    pub(super) names: Vec<Arc<str>>,
    pub(super) variables: Variables,
    pub(super) problems: Problems,
    pub(super) budget: Budget,
    pub(super) project_name: String,
    pub(super) profiles: BTreeSet<String>,
}

/// Parses files; those that have no tree are left out, which is told.
pub(super) fn parse_all(
    files: &[super::SourceFile],
    budget: &mut Budget,
    problems: &mut Problems,
) -> (Vec<Arc<str>>, Vec<Node>) {
    if files.is_empty() {
        problems.error_of_all(ProblemKind::Missing, "", "a project needs a file");
    }
    if files.len() > MAX_FILES {
        let message = format!("at most {MAX_FILES} files are merged, and there are {}", files.len());
        problems.error_of_all(ProblemKind::TooLarge, "", message);
        return (Vec::new(), Vec::new());
    }
    let names: Vec<Arc<str>> = files.iter().map(|file| file.name.as_str().into()).collect();
    let parsed = names.iter().zip(files).map(|(name, file)| tree::parse(name, &file.text, budget, problems));
    let roots = parsed.collect::<Vec<_>>().into_iter().flatten().collect();
    (names, roots)
}

pub(super) fn prepare(input: &Input) -> Prepared {
    let mut problems = Problems::new(input.lenient);
    let mut budget = Budget::default();
    let (names, mut roots) = parse_all(&input.files, &mut budget, &mut problems);
    let mut variables = input.variables.clone();
    let project_name = project_name(input, &roots, &mut problems);
    variables.insert(PROJECT_NAME_VARIABLE.to_owned(), project_name.clone());
    for root in &mut roots {
        interpolate(root, "", &variables, &mut budget, &mut problems);
        normalize(root, &mut problems);
    }
    // A file that can't be read may have held what the others refer to: what is said of those would mislead.
    let complete = roots.len() == input.files.len();
    let root = complete.then(|| merge(roots)).flatten();
    let profiles = profiles(input);
    Prepared { root, names, variables, problems, budget, project_name, profiles }
}

fn profiles(input: &Input) -> BTreeSet<String> {
    if !input.profiles.is_empty() {
        return input.profiles.iter().cloned().collect();
    }
    let listed = input.variables.get(PROFILES_VARIABLE).map(String::as_str).unwrap_or_default();
    listed.split(',').map(str::trim).filter(|profile| !profile.is_empty()).map(str::to_owned).collect()
}

/// The project's name: what the caller wants, else the variable, else what the last file says that does, else the default.
fn project_name(input: &Input, roots: &[Node], problems: &mut Problems) -> String {
    let variable = input.variables.get(PROJECT_NAME_VARIABLE).filter(|name| !name.is_empty());
    if let Some(name) = input.project_name.as_ref().or(variable) {
        if let Err(message) = check(name) {
            problems.error_of_all(ProblemKind::BadValue, "name", message);
            return STAND_IN_NAME.to_owned();
        }
        return name.clone();
    }
    let written = roots.iter().rev().find_map(|root| match root.get("name") {
        Some(Node { value: Value::Text(text), at, .. }) => Some((text, at)),
        _ => None,
    });
    if let Some((text, at)) = written {
        // What is wrong with its variables is told when all values get theirs.
        let lookup = |name: &str| input.variables.get(name).map(String::as_str);
        let template = Template::parse(text).ok();
        let expanded = template.and_then(|template| template.expand(&lookup, MAX_NAME_BYTES * 2, &mut Vec::new()).ok());
        let name = expanded.unwrap_or_else(|| text.clone());
        if let Err(message) = check(&name) {
            problems.error(ProblemKind::BadValue, at, "name", message);
            return STAND_IN_NAME.to_owned();
        }
        return name;
    }
    let default = input.default_name.as_deref().map(cleaned).unwrap_or_default();
    if default.is_empty() {
        problems.error_of_all(ProblemKind::Missing, "name", "the project needs a name: write `name`, or give one");
        return STAND_IN_NAME.to_owned();
    }
    default
}

fn check(name: &str) -> Result<(), String> {
    let good = name.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_".contains(&byte))
        && name.len() <= MAX_NAME_BYTES;
    let rule = "may hold lower-case letters, digits, `-` and `_`, begins with a letter or digit";
    if good {
        Ok(())
    } else {
        Err(format!("{}: a project's name {rule}, and has at most {MAX_NAME_BYTES} bytes", quoted(name)))
    }
}

/// A name such as a directory's without what no project's name may hold.
fn cleaned(name: &str) -> String {
    let kept = name.chars().map(|c| c.to_ascii_lowercase());
    let kept: String = kept.filter(|&c| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_".contains(c)).collect();
    kept.trim_start_matches(['-', '_']).chars().take(MAX_NAME_BYTES).collect()
}
