//! What can be wrong with settings.

use std::fmt::Display;
use std::io;
use std::path::{Path, PathBuf};

/// Settings that a service can't start with.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file can't be read.
    #[error("can't read the configuration file {}: {source}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is not as it should be.
    #[error("{}:{line}:{column}: {}{problem}", path.display(), in_key(key))]
    File {
        /// Which file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// Column in characters, from 1.
        column: usize,
        /// The key with its tables, as `docker.socket`, when the place belongs to one.
        key: Option<String>,
        /// What is wrong.
        problem: String,
    },
    /// A value is well-formed but can't be used.
    #[error("{key}{}: {problem}", with_value(value))]
    Invalid {
        /// The key, as in the file; the flag is `--<key>`, the variable `DAVIT_<KEY>`.
        key: String,
        /// What was given.
        value: Option<String>,
        /// What is wrong and what would be right.
        problem: String,
    },
}

impl ConfigError {
    /// A value that can't be used.
    pub fn invalid(key: impl Into<String>, value: impl Display, problem: impl Display) -> Self {
        Self::Invalid { key: key.into(), value: Some(value.to_string()), problem: problem.to_string() }
    }

    /// A value that is missing.
    pub fn missing(key: impl Into<String>) -> Self {
        Self::Invalid { key: key.into(), value: None, problem: "is required but not set".to_owned() }
    }
}

fn in_key(key: &Option<String>) -> String {
    key.as_ref().map_or_else(String::new, |key| format!("`{key}`: "))
}

fn with_value(value: &Option<String>) -> String {
    value.as_ref().map_or_else(String::new, |value| format!(" = `{value}`"))
}

pub(super) fn from_toml(path: &Path, text: &str, error: &toml::de::Error) -> ConfigError {
    let at = error.span().map_or(0, |span| span.start.min(text.len()));
    let before = text.get(..at).unwrap_or_default();
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    ConfigError::File {
        path: path.to_owned(),
        line: before.matches('\n').count() + 1,
        column: before[line_start..].chars().count() + 1,
        key: error.span().and_then(|_| key_at(text, line_start)),
        problem: error.message().trim_end().replace('\n', "; "),
    }
}

/// The key that is set on a line, with the table it stands in.
fn key_at(text: &str, line_start: usize) -> Option<String> {
    let line = text[line_start..].lines().next()?;
    let table = |line: &str| {
        let inside = line.trim().strip_prefix('[')?.split(']').next()?;
        Some(inside.trim_start_matches('[').trim().to_owned())
    };
    if let Some(name) = table(line) {
        return Some(name);
    }
    let key = line.split_once('=')?.0.trim().to_owned();
    match text[..line_start].lines().rev().find_map(table) {
        Some(name) => Some(format!("{name}.{key}")),
        None => Some(key),
    }
}

#[cfg(test)]
mod tests {
    use super::super::*;
    use std::path::Path;

    #[derive(Debug, serde::Deserialize)]
    #[serde(rename_all = "kebab-case", deny_unknown_fields)]
    #[expect(dead_code, reason = "only the errors matter")]
    struct Settings {
        data_dir: Option<String>,
        heartbeat: Option<HumanDuration>,
        docker: Option<Docker>,
    }

    #[derive(Debug, serde::Deserialize)]
    #[serde(rename_all = "kebab-case", deny_unknown_fields)]
    #[expect(dead_code, reason = "only the errors matter")]
    struct Docker {
        memory: Option<ByteSize>,
    }

    fn problem_of(text: &str) -> String {
        let error = toml::from_str::<Settings>(text).unwrap_err();
        super::from_toml(Path::new("davit.toml"), text, &error).to_string()
    }

    #[test]
    fn errors_name_file_line_column_and_key() {
        for (text, place, part) in [
            ("data-dir = \"/x\"\nheartbeat = \"soon\"\n", "davit.toml:2:13: `heartbeat`: ", "`soon`"),
            ("\nhartbeat = \"1s\"\n", "davit.toml:2:1: `hartbeat`: ", "unknown field"),
            ("[docker]\nmemory = \"2 apples\"\n", "davit.toml:2:10: `docker.memory`: ", "2 apples"),
            ("data-dir = 5\n", "davit.toml:1:12: `data-dir`: ", "invalid type"),
            ("data-dir = \n", "davit.toml:1:", "`data-dir`"),
        ] {
            let problem = problem_of(text);
            assert!(problem.starts_with(place) && problem.contains(part), "{problem}");
        }
    }

    #[test]
    fn a_file_that_is_not_there_is_named() {
        let error = load_file::<Settings>(Path::new("/no/such/davit.toml")).unwrap_err();
        assert!(error.to_string().contains("/no/such/davit.toml"), "{error}");
    }

    #[test]
    fn unusable_values_are_told_with_their_key() {
        let error = ConfigError::invalid("heartbeat", "0s", "must be at least 100ms");
        assert_eq!(error.to_string(), "heartbeat = `0s`: must be at least 100ms");
        assert_eq!(ConfigError::missing("manager").to_string(), "manager: is required but not set");
    }
}
