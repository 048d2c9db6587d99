//! What is sent of an app: its Compose files, the files that they refer to, and of the environment only what they name.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use davit_compose::{
    Bytes, FileKind, Input, Invalid, MAX_FILE_BYTES, SourceFile, Variables, env_file_variables, load, parse_env_file,
    referenced_files, referenced_variables,
};
use davit_proto::v1;

use super::SourceArgs;
use crate::error::Error;

/// As Docker Compose looks for them, the first that is there.
const NAMES: [&str; 4] = ["compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml"];
/// What is merged over the one that was found.
const OVERRIDES: [&str; 4] =
    ["compose.override.yml", "compose.override.yaml", "docker-compose.override.yml", "docker-compose.override.yaml"];
/// The file of variables beside the first Compose file.
const ENV_FILE: &str = ".env";
/// What stands for standard input.
const STDIN: &str = "-";

/// An app as it is sent.
#[derive(Debug)]
pub(super) struct ReadSource {
    pub(super) source: v1::AppSource,
    pub(super) warnings: Vec<String>,
    input: Input,
}

impl ReadSource {
    /// The app's name, as the manager will read it.
    ///
    /// # Errors
    /// When the files can't be read as a project.
    pub(super) fn app_name(&self) -> Result<String, Error> {
        load(&self.input).map(|loaded| loaded.project.name).map_err(|problems| invalid(&problems))
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
    let names = if args.file.is_empty() { found(here)? } else { args.file.clone() };
    let files: Vec<SourceFile> = names.iter().map(|name| source_file(here, name)).collect::<Result<_, _>>()?;
    let first = names.first().filter(|name| *name != STDIN).map(|name| here.join(name));
    let directory = first.as_deref().and_then(Path::parent).unwrap_or(here).to_path_buf();

    let env_texts = env_texts(here, &directory, &args.env_file)?;
    let mut wanted: BTreeSet<String> =
        referenced_variables(&files).map_err(|problems| invalid(&problems))?.into_keys().collect();
    let mut asked = wanted.clone();
    asked.extend(env_texts.iter().flat_map(|(_, text)| env_file_variables(text)));
    let given = |names: &BTreeSet<String>| -> Variables {
        names.iter().filter_map(|name| Some((name.clone(), environment(name)?))).collect()
    };
    let own = given(&asked);
    let (mut from_files, mut warnings) = (Variables::new(), Vec::new());
    for (name, text) in &env_texts {
        // What earlier files say, later ones may refer to.
        let known = from_files.clone().into_iter().chain(own.clone()).collect();
        let (values, problems) = parse_env_file(name, text, &known).map_err(|problems| invalid(&problems))?;
        warnings.extend(problems.iter().map(ToString::to_string));
        from_files.extend(values);
    }
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
    for file in referenced_files(&input).map_err(|problems| invalid(&problems))? {
        let content = match contents(&directory.join(&file.path)) {
            Ok(content) => content,
            Err(error) if error.kind() == io::ErrorKind::NotFound && !file.required => continue,
            Err(error) => {
                let (path, position) = (&file.path, &file.position);
                return Err(Error::failed(format!("{position}: `{path}` can't be read: {error}")));
            }
        };
        if file.kind == FileKind::Environment {
            wanted.extend(env_file_variables(&String::from_utf8_lossy(&content)));
        }
        input.referenced.insert(file.path, Bytes(content));
    }
    input.variables = variables_of(&wanted);
    Ok(ReadSource { source: to_proto(&input), warnings, input })
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

/// The Compose file of a directory, and that of overrides.
fn found(here: &Path) -> Result<Vec<String>, Error> {
    let is_there = |name: &&&str| here.join(name).is_file();
    let first = NAMES.iter().find(is_there).ok_or_else(|| {
        Error::usage(format!("there is none of {} in this directory; name a file with -f", NAMES.join(", ")))
    })?;
    let overrides = OVERRIDES.iter().find(is_there);
    Ok([first].into_iter().chain(overrides).map(|name| (*name).to_owned()).collect())
}

/// Files of variables with their names: those that were asked for, or the one that is there by default.
fn env_texts(here: &Path, directory: &Path, asked: &[String]) -> Result<Vec<(String, String)>, Error> {
    if asked.is_empty() {
        return match contents(&directory.join(ENV_FILE)) {
            Ok(content) => Ok(vec![(ENV_FILE.to_owned(), text(ENV_FILE, content)?)]),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(unreadable(ENV_FILE, &error)),
        };
    }
    let read = |name: &String| {
        let content = contents(&here.join(name)).map_err(|error| unreadable(name, &error))?;
        Ok((name.clone(), text(name, content)?))
    };
    asked.iter().map(read).collect()
}

fn source_file(here: &Path, name: &str) -> Result<SourceFile, Error> {
    let (shown, content) =
        if name == STDIN { ("stdin", bounded(io::stdin().lock())) } else { (name, contents(&here.join(name))) };
    let content = content.map_err(|error| unreadable(shown, &error))?;
    Ok(SourceFile { name: shown.to_owned(), text: text(shown, content)? })
}

fn contents(path: &Path) -> io::Result<Vec<u8>> {
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

fn directory_name(directory: &Path) -> Option<String> {
    let whole: PathBuf = directory.canonicalize().ok()?;
    whole.file_name().map(|name| name.to_string_lossy().into_owned())
}

fn invalid(invalid: &Invalid) -> Error {
    Error::failed(format!("the Compose files are wrong:\n  {}", invalid.to_string().replace('\n', "\n  ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory(files: &[(&str, &str)]) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        for (name, content) in files {
            let path = directory.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        }
        directory
    }

    fn args(files: &[&str]) -> SourceArgs {
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
        assert!(error(&["a.yaml"]).contains("`conf/web.env` can't be read: "), "{}", error(&["a.yaml"]));
        assert!(error(&["b.yaml"]).starts_with("the Compose files are wrong:\n  b.yaml:1:"), "{}", error(&["b.yaml"]));
    }
}
