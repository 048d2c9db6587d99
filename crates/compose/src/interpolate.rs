//! Puts variables into values: `$VAR`, `${VAR}`, and with defaults, demands and replacements, as the Compose Specification has them.

mod template;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use self::template::Unset;
pub(crate) use self::template::{Lookup, Operator, Template};
use crate::error::{Position, ProblemKind, Problems};
use crate::tree::{Budget, MAX_TEXT_BYTES, Node, Value};

/// Variables by name.
pub type Variables = BTreeMap<String, String>;

/// Puts variables into all values of a tree; keys stay as they are.
pub(crate) fn interpolate(
    node: &mut Node,
    path: &str,
    variables: &Variables,
    budget: &mut Budget,
    problems: &mut Problems,
) {
    match &mut node.value {
        Value::Null => {}
        Value::Text(text) if text.contains('$') => {
            let lookup = |name: &str| variables.get(name).map(String::as_str);
            if let Some(expanded) = expanded(text, &node.at, path, &lookup, budget, problems) {
                *text = expanded;
            }
        }
        Value::Text(_) => {}
        Value::List(nodes) => {
            for (index, node) in nodes.iter_mut().enumerate() {
                interpolate(node, &format!("{path}[{index}]"), variables, budget, problems);
            }
        }
        Value::Map(map) => {
            for (key, entry) in map {
                interpolate(&mut entry.node, &join(path, key), variables, budget, problems);
            }
        }
    }
}

/// The path of a key in a mapping.
pub(crate) fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

/// A text with its variables put in. `None` if something is wrong, which is told.
pub(crate) fn expanded(
    text: &str,
    at: &Position,
    path: &str,
    lookup: &Lookup<'_>,
    budget: &mut Budget,
    problems: &mut Problems,
) -> Option<String> {
    let template = match Template::parse(text) {
        Ok(template) => template,
        Err(error) => {
            problems.error(ProblemKind::Variable, at, path, error.to_string());
            return None;
        }
    };
    let mut unset = Vec::new();
    match template.expand(lookup, budget.text_bytes, &mut unset) {
        Ok(expanded) => {
            for name in unset {
                let message = format!("the variable `{name}` is not set and has no default: it is taken as empty");
                problems.warning(ProblemKind::Variable, at, path, message);
            }
            if budget.spend(0, expanded.len()).is_none() {
                too_large(at, path, problems);
                return None;
            }
            Some(expanded)
        }
        Err(Unset::Required { name, why }) => {
            problems.error(ProblemKind::Variable, at, path, required(&name, &why));
            None
        }
        Err(Unset::TooLarge) => {
            too_large(at, path, problems);
            None
        }
    }
}

/// What a variable that must be set and is not is told with.
fn required(name: &str, why: &str) -> String {
    let colon = if why.is_empty() { "" } else { ": " };
    format!("the variable `{name}` must be set{colon}{why}")
}

fn too_large(at: &Position, path: &str, problems: &mut Problems) {
    let message = format!("too large: a project has at most {MAX_TEXT_BYTES} bytes of text, variables put in");
    problems.error(ProblemKind::TooLarge, at, path, message);
}
