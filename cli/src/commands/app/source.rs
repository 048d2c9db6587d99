//! What is sent of an app: its Compose files, the files that they refer to, and of the environment only what they name.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use davit_compose::{
    Bytes, FileKind, FileReference, Input, Problem, ProblemKind, Severity, SourceFile, Variables, env_file_variables,
    examine, load, referenced_files, referenced_variables,
};
use davit_proto::v1;

use super::SourceArgs;
use super::files::{Found, contents, find};
use crate::error::Error;

/// An app as it is sent.
#[derive(Debug)]
pub(super) struct ReadSource {
    pub(super) source: v1::AppSource,
    pub(super) warnings: Vec<String>,
    /// The same, to be read here.
    pub(super) input: Input,
}

impl ReadSource {
    /// The app's name, as the manager will read it.
    ///
    /// # Errors
    /// When the files can't be read as a project.
    pub(super) fn app_name(&self) -> Result<String, Error> {
        load(&self.input).map(|loaded| loaded.project.name).map_err(|invalid| wrong(&invalid.problems))
    }
}

/// Reads all that is to be sent. `environment` is the caller's.
pub(super) fn read_source(
    args: &SourceArgs,
    environment: impl Fn(&str) -> Option<String>,
) -> Result<ReadSource, Error> {
    let here = std::env::current_dir().map_err(|source| Error::Io { action: "find the working directory", source })?;
    read_in(&here, args, environment)
}

fn read_in(here: &Path, args: &SourceArgs, environment: impl Fn(&str) -> Option<String>) -> Result<ReadSource, Error> {
    let Found { files, directory, variables: from_files, warnings } = find(here, args, &environment)?;
    let mut wanted: BTreeSet<String> =
        referenced_variables(&files).map_err(|invalid| wrong(&invalid.problems))?.into_keys().collect();
    let given = |names: &BTreeSet<String>| -> Variables {
        names.iter().filter_map(|name| Some((name.clone(), environment(name)?))).collect()
    };
    // The environment wins over files of variables.
    let variables_of = |wanted: &BTreeSet<String>| -> Variables {
        let from_files = from_files.iter().filter(|(name, _)| wanted.contains(*name));
        from_files.map(|(name, value)| (name.clone(), value.clone())).chain(given(wanted)).collect()
    };
    let mut input = Input {
        files,
        variables: variables_of(&wanted),
        referenced: BTreeMap::new(),
        project_name: args.project_name.clone(),
        default_name: directory_name(&directory),
        profiles: args.profile.clone(),
        lenient: args.lenient,
    };
    let mut unreadable = Vec::new();
    for file in referenced_files(&input).map_err(|invalid| wrong(&invalid.problems))? {
        let content = match contents(&directory.join(&file.path)) {
            Ok(content) => content,
            Err(error) if error.kind() == io::ErrorKind::NotFound && !file.required => continue,
            Err(error) => {
                unreadable.push(unreadable_file(&file, &error));
                Vec::new()
            }
        };
        if file.kind == FileKind::Environment {
            wanted.extend(env_file_variables(&String::from_utf8_lossy(&content)));
        }
        input.referenced.insert(file.path, Bytes(content));
    }
    input.variables = variables_of(&wanted);
    if !unreadable.is_empty() {
        // What else is wrong is told along with it.
        unreadable.extend(examine(&input).problems);
        return Err(wrong(&unreadable));
    }
    Ok(ReadSource { source: to_proto(&input), warnings, input })
}

fn unreadable_file(file: &FileReference, error: &io::Error) -> Problem {
    Problem {
        severity: Severity::Error,
        kind: ProblemKind::Missing,
        position: Some(file.position.clone()),
        path: file.key_path.clone(),
        message: format!("`{}` can't be read: {error}", file.path),
    }
}

fn to_proto(input: &Input) -> v1::AppSource {
    let file = |file: &SourceFile| v1::ComposeFile { name: file.name.clone(), content: file.text.clone() };
    let referenced = input.referenced.iter().map(|(path, bytes)| (path.clone(), bytes.0.clone()));
    v1::AppSource {
        files: input.files.iter().map(file).collect(),
        variables: input.variables.clone(),
        referenced_files: referenced.collect(),
        profiles: input.profiles.clone(),
        name: input.project_name.clone().unwrap_or_default(),
        default_name: input.default_name.clone().unwrap_or_default(),
        lenient: input.lenient,
    }
}

fn directory_name(directory: &Path) -> Option<String> {
    let whole: PathBuf = directory.canonicalize().ok()?;
    whole.file_name().map(|name| name.to_string_lossy().into_owned())
}

/// What is wrong with files.
pub(super) fn wrong(problems: &[Problem]) -> Error {
    let lines: String = problems.iter().map(|problem| format!("\n  {problem}")).collect();
    Error::failed(format!("the Compose files are wrong:{lines}"))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A directory with files.
    pub(in super::super) fn directory(files: &[(&str, &str)]) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        for (name, content) in files {
            let path = directory.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        }
        directory
    }

    /// Arguments with nothing but files.
    pub(in super::super) fn args(files: &[&str]) -> SourceArgs {
        SourceArgs {
            file: files.iter().map(|name| (*name).to_owned()).collect(),
            profile: Vec::new(),
            env_file: Vec::new(),
            project_name: None,
            lenient: false,
        }
    }

    fn environment(name: &str) -> Option<String> {
        matches!(name, "TAG" | "FROM_FILE" | "HOME").then(|| format!("{name}-of-the-environment"))
    }

    const WEB: &str = "services: {web: {image: 'web:${TAG:-1}', env_file: conf/web.env, environment: {A: $A}}}";

    #[test]
    fn only_variables_that_are_named_are_sent_and_the_environment_wins() {
        let there = directory(&[
            ("compose.yaml", WEB),
            ("compose.override.yaml", "services: {web: {user: '${USER_ID:-1}'}}"),
            (".env", "TAG=file\nB=2\nA=${B}\nUSER_ID=5\nUNUSED=1\n"),
            ("conf/web.env", "C=${FROM_FILE}\n"),
        ]);
        let read = read_in(there.path(), &args(&[]), environment).unwrap();
        let names: Vec<_> = read.source.files.iter().map(|file| file.name.as_str()).collect();
        assert_eq!(names, ["compose.yaml", "compose.override.yaml"]);
        let variables: Vec<_> = read.source.variables.iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(
            variables,
            ["A=2", "FROM_FILE=FROM_FILE-of-the-environment", "TAG=TAG-of-the-environment", "USER_ID=5"]
        );
        assert_eq!(read.source.referenced_files.keys().collect::<Vec<_>>(), ["conf/web.env"]);
    }

    #[test]
    fn files_are_looked_for_beside_the_first_one() {
        let there = directory(&[("shop/a.yaml", WEB), ("shop/conf/web.env", ""), ("shop/.env", "A=1\n")]);
        let read = read_in(there.path(), &args(&["shop/a.yaml"]), environment).unwrap();
        assert_eq!(read.source.default_name, "shop");
        assert_eq!(read.source.variables.get("A").map(String::as_str), Some("1"));
        assert_eq!(read.app_name().unwrap(), "shop");
    }

    #[test]
    fn what_is_missing_is_told() {
        let there = directory(&[("a.yaml", WEB), ("b.yaml", "services: [")]);
        let error = |files: &[&str]| read_in(there.path(), &args(files), environment).unwrap_err().to_string();
        assert!(error(&[]).contains("name a file with -f"), "{}", error(&[]));
        assert!(error(&["c.yaml"]).starts_with("c.yaml can't be read: "), "{}", error(&["c.yaml"]));
        let file = "a.yaml:1:52: services.web.env_file[0]: `conf/web.env` can't be read: ";
        assert!(error(&["a.yaml"]).contains(file), "{}", error(&["a.yaml"]));
        assert!(error(&["b.yaml"]).starts_with("the Compose files are wrong:\n  b.yaml:1:"), "{}", error(&["b.yaml"]));
    }

    #[test]
    fn files_that_can_not_be_read_hide_nothing_else() {
        let text = "services: {web: {image: X, env_file: none.env, privileged: true, environment: [A=1, A=2, 'B=${']}}";
        let there = directory(&[("a.yaml", text)]);
        let error = read_in(there.path(), &args(&["a.yaml"]), environment).unwrap_err().to_string();
        for told in
            ["`none.env` can't be read", "an image", "privileged: refused", "`A` is there twice", "environment[2]: "]
        {
            assert!(error.contains(told), "{told}: {error}");
        }
        assert_eq!(error.lines().count(), 6, "{error}");
    }
}
