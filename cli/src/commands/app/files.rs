//! Which Compose files and files of variables make an app, as Docker Compose finds them.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use davit_compose::{MAX_FILE_BYTES, Problem, SourceFile, Variables, env_file_variables, parse_env_file};

use super::SourceArgs;
use super::source::wrong;
use crate::error::Error;

/// As Docker Compose looks for them, the first that is there.
const NAMES: [&str; 4] = ["compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml"];
/// What is merged over the one that was found.
const OVERRIDES: [&str; 4] =
    ["compose.override.yml", "compose.override.yaml", "docker-compose.override.yml", "docker-compose.override.yaml"];
/// The variable that names files, unless the caller does.
const FILES_VARIABLE: &str = "COMPOSE_FILE";
/// The variable that holds what stands between them.
const SEPARATOR_VARIABLE: &str = "COMPOSE_PATH_SEPARATOR";
const SEPARATOR: &str = ":";
/// The file of variables beside the first Compose file.
const ENV_FILE: &str = ".env";
/// What stands for standard input.
const STDIN: &str = "-";

/// An app's files.
#[derive(Debug)]
pub(super) struct Found {
    /// Compose files, as they are named to the user; later ones win.
    pub(super) files: Vec<SourceFile>,
    /// What paths in them are relative to: the directory of the first.
    pub(super) directory: PathBuf,
    /// What files of variables say.
    pub(super) variables: Variables,
    /// What may not be as it was meant in those.
    pub(super) warnings: Vec<String>,
}

/// Finds and reads them. Which Compose files: what the caller names, else what `COMPOSE_FILE` does, else those that are in the
/// working directory, or in the nearest one above it that has any.
pub(super) fn find(
    here: &Path,
    args: &SourceArgs,
    environment: &impl Fn(&str) -> Option<String>,
) -> Result<Found, Error> {
    let mut read = ReadVariables::default();
    let is_default = args.env_file.is_empty();
    for name in &args.env_file {
        let content = contents(&here.join(name)).map_err(|error| unreadable(name, &error))?;
        read.add(name, content, environment)?;
    }
    let names = if args.file.is_empty() {
        if is_default {
            read.add_if_there(here, ENV_FILE, environment)?;
        }
        let set =
            |name: &str| environment(name).or_else(|| read.values.get(name).cloned()).filter(|set| !set.is_empty());
        match set(FILES_VARIABLE) {
            Some(listed) => {
                let separator = set(SEPARATOR_VARIABLE).unwrap_or_else(|| SEPARATOR.to_owned());
                listed.split(&separator).filter(|name| !name.is_empty()).map(str::to_owned).collect()
            }
            None => nearest(here)?,
        }
    } else {
        args.file.clone()
    };
    let first = names.first().filter(|name| *name != STDIN);
    let beside = first.and_then(|name| Path::new(name).parent()).unwrap_or(Path::new(""));
    let directory = here.join(beside);
    if is_default && (directory != here || !args.file.is_empty()) {
        // What is said in the working directory goes before it.
        let mut of_project = ReadVariables::default();
        of_project.add_if_there(here, &beside.join(ENV_FILE).to_string_lossy(), environment)?;
        of_project.values.extend(read.values);
        of_project.warnings.extend(read.warnings);
        read = of_project;
    }
    let files = names.iter().map(|name| source_file(here, name)).collect::<Result<_, _>>()?;
    let ReadVariables { values: variables, warnings } = read;
    Ok(Found { files, directory, variables, warnings })
}

/// The Compose file of the directory, or of the nearest one above it that has one, and that of overrides beside it.
fn nearest(here: &Path) -> Result<Vec<String>, Error> {
    for (above, directory) in here.ancestors().enumerate() {
        let is_there = |name: &&&str| directory.join(name).is_file();
        if let Some(first) = NAMES.iter().find(is_there) {
            let names = [first].into_iter().chain(OVERRIDES.iter().find(is_there));
            return Ok(names.map(|name| format!("{}{name}", "../".repeat(above))).collect());
        }
    }
    let names = NAMES.join(", ");
    Err(Error::usage(format!(
        "there is none of {names} in this directory, or one above it; name a file with -f, or in {FILES_VARIABLE}"
    )))
}

/// What files of variables say, one after the other.
#[derive(Debug, Default)]
struct ReadVariables {
    values: Variables,
    warnings: Vec<String>,
}

impl ReadVariables {
    fn add(
        &mut self,
        name: &str,
        content: Vec<u8>,
        environment: &impl Fn(&str) -> Option<String>,
    ) -> Result<(), Error> {
        let text = text(name, content)?;
        // What earlier files say, later ones may refer to; the environment wins.
        let mut known = self.values.clone();
        known
            .extend(env_file_variables(&text).into_iter().filter_map(|name| Some((name.clone(), environment(&name)?))));
        let (values, problems) = parse_env_file(name, &text, &known).map_err(|invalid| wrong(&invalid.problems))?;
        self.warnings.extend(problems.iter().map(Problem::to_string));
        self.values.extend(values);
        Ok(())
    }

    fn add_if_there(
        &mut self,
        here: &Path,
        name: &str,
        environment: &impl Fn(&str) -> Option<String>,
    ) -> Result<(), Error> {
        match contents(&here.join(name)) {
            Ok(content) => self.add(name, content, environment),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(unreadable(name, &error)),
        }
    }
}

fn source_file(here: &Path, name: &str) -> Result<SourceFile, Error> {
    let (shown, content) =
        if name == STDIN { ("stdin", bounded(io::stdin().lock())) } else { (name, contents(&here.join(name))) };
    let content = content.map_err(|error| unreadable(shown, &error))?;
    Ok(SourceFile { name: shown.to_owned(), text: text(shown, content)? })
}

/// What a file holds, if it is not too long.
pub(super) fn contents(path: &Path) -> io::Result<Vec<u8>> {
    bounded(File::open(path)?)
}

/// A file that is longer than any that is taken is read no further.
fn bounded(from: impl io::Read) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    from.take(MAX_FILE_BYTES as u64 + 1).read_to_end(&mut content)?;
    if content.len() > MAX_FILE_BYTES {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("it has more than {MAX_FILE_BYTES} bytes")));
    }
    Ok(content)
}

fn text(name: &str, content: Vec<u8>) -> Result<String, Error> {
    String::from_utf8(content).map_err(|_| Error::failed(format!("{name} is not UTF-8")))
}

fn unreadable(name: &str, error: &io::Error) -> Error {
    Error::failed(format!("{name} can't be read: {error}"))
}

#[cfg(test)]
mod tests {
    use super::super::source::tests::{args, directory};
    use super::*;

    const WEB: &str = "services: {web: {image: x}}";

    fn names(there: &Path, variables: &[(&str, &str)]) -> Vec<String> {
        let environment =
            |wanted: &str| variables.iter().find(|(name, _)| *name == wanted).map(|(_, value)| (*value).to_owned());
        let found = find(there, &args(&[]), &environment).unwrap();
        found.files.into_iter().map(|file| file.name).collect()
    }

    #[test]
    fn a_variable_names_files_unless_the_caller_does() {
        let there = directory(&[("a.yaml", WEB), ("conf/b.yaml", WEB), ("compose.yaml", WEB)]);
        let there = there.path();
        assert_eq!(names(there, &[]), ["compose.yaml"]);
        assert_eq!(names(there, &[("COMPOSE_FILE", "")]), ["compose.yaml"]);
        assert_eq!(names(there, &[("COMPOSE_FILE", "a.yaml:conf/b.yaml")]), ["a.yaml", "conf/b.yaml"]);
        let parted = [("COMPOSE_FILE", "a.yaml,conf/b.yaml"), ("COMPOSE_PATH_SEPARATOR", ",")];
        assert_eq!(names(there, &parted), ["a.yaml", "conf/b.yaml"]);
        let environment = |name: &str| (name == "COMPOSE_FILE").then(|| "a.yaml".to_owned());
        let found = find(there, &args(&["conf/b.yaml"]), &environment).unwrap();
        assert_eq!((found.files[0].name.as_str(), found.directory), ("conf/b.yaml", there.join("conf")));
    }

    #[test]
    fn the_variable_may_stand_in_the_file_of_variables() {
        let there = directory(&[
            ("shop/a.yaml", WEB),
            ("b.yaml", WEB),
            (".env", "WHICH=shop/a.yaml\nCOMPOSE_FILE=$WHICH\nA=here\n"),
            ("shop/.env", "A=there\nB=there\n"),
        ]);
        assert_eq!(names(there.path(), &[]), ["shop/a.yaml"]);
        assert_eq!(names(there.path(), &[("COMPOSE_FILE", "b.yaml")]), ["b.yaml"], "the environment wins");
        let found = find(there.path(), &args(&[]), &|_| None).unwrap();
        assert_eq!(found.directory, there.path().join("shop"));
        assert_eq!((found.variables["A"].as_str(), found.variables["B"].as_str()), ("here", "there"));
        let asked = SourceArgs { env_file: vec!["shop/.env".to_owned()], ..args(&["b.yaml"]) };
        assert_eq!(find(there.path(), &asked, &|_| None).unwrap().variables["A"], "there");
    }

    #[test]
    fn files_are_looked_for_in_the_directories_above() {
        let there = directory(&[
            ("shop/docker-compose.yml", WEB),
            ("shop/compose.override.yml", "services: {}"),
            ("shop/.env", "A=1\n"),
            ("shop/src/deep/file", ""),
        ]);
        let deep = there.path().join("shop/src/deep");
        assert_eq!(names(&deep, &[]), ["../../docker-compose.yml", "../../compose.override.yml"]);
        let found = find(&deep, &args(&[]), &|_| None).unwrap();
        assert_eq!(found.directory.canonicalize().unwrap(), there.path().join("shop").canonicalize().unwrap());
        assert_eq!(found.variables["A"], "1");
    }
}
