//! Marks: by what tasks on a node are told apart and counted, without the node's view holding every task.

use std::fmt;
use std::str::FromStr;

use crate::spec::{check_label_key, check_label_value};

/// The key of the mark that every task carries for its name.
const NAME_KEY: &str = "task.name";
/// The key of the mark that every task of a group carries.
const GROUP_KEY: &str = "task.group";

/// One thing that can be said of a task: its name, or one of its labels with the value.
///
/// Only marks that some task's placement refers to are counted on nodes, so that labels which are different on every task
/// cost nothing.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mark {
    key: String,
    value: String,
}

impl Mark {
    /// What every task of this name carries.
    #[must_use]
    pub fn of_name(name: &str) -> Self {
        Self { key: NAME_KEY.to_owned(), value: name.to_owned() }
    }

    /// What every task of this group carries. Not for placements to refer to by an expression.
    #[must_use]
    pub fn of_group(group: &str) -> Self {
        Self { key: GROUP_KEY.to_owned(), value: group.to_owned() }
    }

    /// Whether every task of this group carries it.
    #[must_use]
    pub fn is_of_group(&self, group: &str) -> bool {
        self.key == GROUP_KEY && self.value == group
    }

    /// What every task with this label carries.
    #[must_use]
    pub fn of_label(key: &str, value: &str) -> Self {
        Self { key: key.to_owned(), value: value.to_owned() }
    }

    /// Whether every task of this name carries it.
    #[must_use]
    pub fn is_of_name(&self, name: &str) -> bool {
        self.key == NAME_KEY && self.value == name
    }

    /// `task.name`, or the label's key.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    /// The name, or the label's value.
    #[must_use]
    pub fn value(&self) -> &str {
        &self.value
    }
}

/// `app == db`
impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} == {}", self.key, self.value)
    }
}

/// Why a text does not select tasks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{problem}; write it like `app == db` (a label of tasks and its value) or `task.name == db`")]
pub struct ParseMarkError {
    problem: String,
}

impl FromStr for Mark {
    type Err = ParseMarkError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = |problem: String| ParseMarkError { problem };
        let (key, value) =
            text.split_once("==").ok_or_else(|| error("a task is selected by `==` and nothing else".to_owned()))?;
        // One space is for the eye; any other belongs to the value, which may have some.
        let (key, value) = (key.trim(), value.strip_prefix(' ').unwrap_or(value));
        if key.starts_with("node.") || (key.starts_with("task.") && key != NAME_KEY) {
            return Err(error(format!("`{key}` is nothing that is known of tasks")));
        }
        check_label_key(key).map_err(|problem| error(problem.to_string()))?;
        check_label_value(value).map_err(|problem| error(problem.to_string()))?;
        Ok(Self::of_label(key, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_is_read_again() {
        for mark in [
            Mark::of_name("web"),
            Mark::of_label("app", "db"),
            Mark::of_label("a", ""),
            Mark::of_label("a", " b == c "),
        ] {
            assert_eq!(mark.to_string().parse(), Ok(mark));
        }
        assert_eq!("app==db".parse(), Ok(Mark::of_label("app", "db")));
    }

    #[test]
    fn other_operators_and_missing_parts_are_refused_with_the_reason() {
        for text in ["app != db", "app", "", "== db", "a b == c", "node.name == n1", "task.id == x"] {
            let error = text.parse::<Mark>().unwrap_err().to_string();
            assert!(error.contains("write it like `app == db`"), "{text}: {error}");
        }
    }
}
