//! From Compose files in a request to what is wanted of an app.

use std::collections::{BTreeMap, BTreeSet};

use davit_compose::{Bytes, Input, MAX_FILES, Problem, SourceFile, load};
use std::sync::Arc;

use davit_core::file::{ConfigName, FileContent};
use davit_core::spec::{TaskSpec, check_app_name};
use davit_core::validate::Violations;
use davit_proto::v1;

use crate::apps::{Mapped, Refusals, map_project};

const MAX_FILE_NAME_BYTES: usize = 1024;
const MAX_VARIABLES: usize = 10_000;
const MAX_PROFILES: usize = 100;
/// Of the path of a directory only the last part is looked at.
const MAX_DEFAULT_NAME_BYTES: usize = 1024;
/// The field that problems of files are told of.
const FILES: &str = "source.files";

/// An app that was read, and what should be known of it.
#[derive(Debug)]
pub(super) struct ReadApp {
    pub(super) mapped: Mapped,
    pub(super) warnings: Vec<String>,
}

/// Reads an app. `check` is as for [`map_project`].
pub(super) fn read_app(
    source: Option<v1::AppSource>,
    check: impl FnMut(&BTreeMap<ConfigName, FileContent>, &mut Arc<TaskSpec>, &mut Violations),
    violations: &mut Violations,
) -> Option<ReadApp> {
    let Some(source) = source else {
        violations.add("source", "is needed");
        return None;
    };
    let input = read_input(source, violations)?;
    let names: Vec<String> = input.files.iter().map(|file| file.name.clone()).collect();
    let loaded = match load(&input) {
        Ok(loaded) => loaded,
        Err(invalid) => {
            note(&invalid.problems, &names, violations);
            return None;
        }
    };
    let mut refusals = Refusals::new(input.lenient);
    let mapped = map_project(&loaded.project, &mut refusals, check);
    let (mut problems, is_error) = refusals.finish();
    problems.splice(0..0, loaded.warnings);
    if is_error {
        note(&problems, &names, violations);
        return None;
    }
    Some(ReadApp { mapped, warnings: problems.iter().map(ToString::to_string).collect() })
}

/// Tells each problem as a violation of the file that it is in.
fn note(problems: &[Problem], names: &[String], violations: &mut Violations) {
    for problem in problems {
        let file = problem.position.as_ref().and_then(|at| names.iter().position(|name| **name == *at.file));
        let field = file.map_or_else(|| FILES.to_owned(), |index| format!("{FILES}[{index}]"));
        violations.add(field, problem.to_string());
    }
}

fn read_input(source: v1::AppSource, violations: &mut Violations) -> Option<Input> {
    let v1::AppSource { files, variables, referenced_files, profiles, name, default_name, lenient } = source;
    let before = violations.0.len();
    if files.is_empty() || files.len() > MAX_FILES {
        violations.add(FILES, format!("has 1 to {MAX_FILES} files, this has {}", files.len()));
        return None;
    }
    let mut seen = BTreeSet::new();
    for (index, file) in files.iter().enumerate() {
        let path = format!("{FILES}[{index}].name");
        let is_printable = !file.name.chars().any(char::is_control);
        if file.name.is_empty() || file.name.len() > MAX_FILE_NAME_BYTES || !is_printable {
            violations.add(path, format!("has 1 to {MAX_FILE_NAME_BYTES} bytes of printable text"));
        } else if !seen.insert(&file.name) {
            violations.add(path, "is that of another file too");
        }
    }
    at_most(variables.len(), MAX_VARIABLES, "source.variables", violations);
    at_most(profiles.len(), MAX_PROFILES, "source.profiles", violations);
    if !name.is_empty() {
        violations.check("source.name", check_app_name(&name));
    }
    if default_name.len() > MAX_DEFAULT_NAME_BYTES {
        violations.add("source.default_name", format!("has at most {MAX_DEFAULT_NAME_BYTES} bytes"));
    }
    if violations.0.len() > before {
        return None;
    }
    let files = files.into_iter().map(|v1::ComposeFile { name, content }| SourceFile { name, text: content });
    let referenced: BTreeMap<String, Bytes> =
        referenced_files.into_iter().map(|(path, content)| (path, Bytes(content))).collect();
    let given = |text: String| Some(text).filter(|text| !text.is_empty());
    Some(Input {
        files: files.collect(),
        variables,
        referenced,
        project_name: given(name),
        default_name: given(default_name),
        profiles,
        lenient,
    })
}

fn at_most(count: usize, most: usize, path: &str, violations: &mut Violations) {
    if count > most {
        violations.add(path, format!("has at most {most} entries, this has {count}"));
    }
}
