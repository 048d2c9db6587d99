//! From Compose files in a request to what is wanted of an app.

use std::collections::{BTreeMap, BTreeSet};

use davit_compose::{
    Bytes, Examined, Input, MAX_FILES, MountSource, Problem, ProblemKind, Project, Severity, SourceFile, Volume,
    examine,
};
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

/// Reads an app. `has_home` says of a volume whether it is known where it is; `check` is as for [`map_project`].
pub(super) fn read_app(
    source: Option<v1::AppSource>,
    has_home: impl Fn(&str) -> bool,
    check: impl FnMut(&BTreeMap<ConfigName, FileContent>, &mut Arc<TaskSpec>, &mut Violations),
    violations: &mut Violations,
) -> Option<ReadApp> {
    let Some(source) = source else {
        violations.add("source", "is needed");
        return None;
    };
    let input = read_input(source, violations)?;
    let names: Vec<String> = input.files.iter().map(|file| file.name.clone()).collect();
    let Examined { project, mut problems } = examine(&input);
    // Also of what is wrong already, so that all is told that can be.
    let mapped = project.map(|project| {
        let mut refusals = Refusals::new(input.lenient);
        let mapped = map_project(&project, &mut refusals, check);
        add_news(&mut problems, refusals.finish().0);
        problems.extend(homeless(&project, has_home));
        mapped
    });
    let is_error = problems.iter().any(|problem| problem.severity == Severity::Error);
    match mapped {
        Some(mapped) if !is_error => {
            Some(ReadApp { mapped, warnings: problems.iter().map(ToString::to_string).collect() })
        }
        _ => {
            note(&mut problems, &names, violations);
            None
        }
    }
}

/// Warns of external volumes that are mounted, and may be nowhere.
fn homeless(project: &Project, has_home: impl Fn(&str) -> bool) -> Vec<Problem> {
    let mounts = project.services.values().flat_map(|service| &service.mounts);
    let mounted: BTreeSet<&str> = mounts
        .filter_map(|mount| match &mount.source {
            MountSource::Volume(key) => Some(key.as_str()),
            MountSource::Bind(_) => None,
        })
        .collect();
    let external = project.volumes.iter().filter(|(key, volume)| volume.external && mounted.contains(key.as_str()));
    let warning = |(key, volume): (&String, &Volume)| Problem {
        severity: Severity::Warning,
        kind: ProblemKind::Differs,
        position: Some(volume.position.clone()),
        path: format!("volumes.{key}"),
        message: format!(
            "the cluster does not know where `{}` is: a node that lacks it makes it, empty; let a constraint say where it is",
            volume.name
        ),
    };
    external.filter(|(_, volume)| !has_home(&volume.name)).map(warning).collect()
}

/// Adds problems, but for those of keys of which an error is told already: what follows from it is none of its own.
fn add_news(problems: &mut Vec<Problem>, news: Vec<Problem>) {
    let is_error = |known: &&Problem| known.severity == Severity::Error;
    let told: BTreeSet<String> = problems.iter().filter(is_error).map(|known| known.path.clone()).collect();
    problems.extend(news.into_iter().filter(|problem| !told.contains(&problem.path)));
}

/// Tells each problem as a violation of the file that it is in: errors first, since an answer holds only so many, and each in the
/// order of files and lines.
fn note(problems: &mut [Problem], names: &[String], violations: &mut Violations) {
    let file_of = |problem: &Problem| {
        let at = problem.position.as_ref()?;
        names.iter().position(|name| **name == *at.file)
    };
    problems.sort_by_key(|problem| {
        let place = problem.position.as_ref().map(|at| (at.line, at.column));
        (problem.severity, place.is_none(), file_of(problem).unwrap_or(names.len()), place)
    });
    for problem in problems {
        let field = file_of(problem).map_or_else(|| FILES.to_owned(), |index| format!("{FILES}[{index}]"));
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

#[cfg(test)]
mod tests {
    use super::*;

    fn source(text: &str) -> v1::AppSource {
        let files = vec![v1::ComposeFile { name: "compose.yaml".to_owned(), content: text.to_owned() }];
        v1::AppSource { files, default_name: "shop".to_owned(), ..Default::default() }
    }

    fn read(source: v1::AppSource) -> Result<ReadApp, Vec<String>> {
        let mut violations = Violations::new();
        let read = read_app(Some(source), |volume| volume == "known", |_, _, _| {}, &mut violations);
        let told = |violation: davit_core::validate::FieldViolation| violation.description;
        violations.finish(read).map_err(|violations| violations.0.into_iter().map(told).collect())
    }

    const WRONG: &str = "\
services:
  web:
    image: x:1
    privileged: true
    entrypoint: []
    working_dir: relative
    healthcheck: {interval: 5s}
    environment: [A=1, A=2, 'B=${']
  'a b':
    image: x:1
    stop_grace_period: 3h
    stop_signal: NONSENSE
volumes: {v: {driver: nfs}}
";

    #[test]
    fn refused_keys_and_values_that_are_wrong_are_told_at_once() {
        insta::assert_snapshot!("wrong", read(source(WRONG)).unwrap_err().join("\n"));
    }

    #[test]
    fn an_external_volume_that_is_nowhere_is_told() {
        let text = "services: {a: {image: x:1, volumes: ['va:/v', 'vb:/w', 'vc:/x']}}\n\
                    volumes:\n  va: {external: true}\n  vb: {external: true, name: known}\n  vc:\n  vd: {external: true}\n";
        let warnings = read(source(text)).unwrap().warnings;
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert!(
            warnings[0].starts_with("compose.yaml:3:3: warning: volumes.va: the cluster does not know where `va` is")
        );
    }

    #[test]
    fn settings_that_the_cluster_does_not_take_are_told_at_their_keys() {
        let text = "services:\n  a:\n    image: x:1\n    shm_size: 1000p\n    group_add: ['a b']\n    pids_limit: 5000000\n    \
                    logging:\n      options: {max-size: 2g, max-file: 200}\n";
        let told = read(source(text)).unwrap_err();
        let places = ["4:5: services.a.shm_size: is at most 1 PiB", "6:5: services.a.pids_limit: is at most 4194304"];
        let of_logging = [
            "8:17: services.a.logging.options.max-size: is from 1 KiB to 1 GiB",
            "8:31: services.a.logging.options.max-file: is at most 100",
        ];
        let group = "5:5: services.a.group_add: `a b` is not a group";
        for place in places.into_iter().chain(of_logging).chain([group]) {
            assert!(told.iter().any(|line| line.starts_with(&format!("compose.yaml:{place}"))), "{place}: {told:?}");
        }
        let deploy =
            "services:\n  a:\n    image: x:1\n    deploy:\n      resources:\n        limits: {pids: 5000000}\n";
        let told = read(source(deploy)).unwrap_err();
        let place = "compose.yaml:6:18: services.a.deploy.resources.limits.pids";
        assert!(told[0].starts_with(&format!("{place}: is at most 4194304")), "{told:?}");
    }

    #[test]
    fn errors_are_told_before_warnings() {
        let text = "version: '3'\nservices: {a: {image: x:1, labels: {k: $A}}, b: {image: x:1, privileged: true}}\n";
        let told = read(source(text)).unwrap_err();
        assert!(told[0].contains("services.b.privileged: refused") && told.len() == 3, "{told:?}");
    }
}
