//! What the fuzz target `compose` runs. The body lives here so that the test suite runs it too.

#[cfg(test)]
mod tests;

use crate::{
    Bytes, Input, SourceFile, env_file_variables, load, parse_bytes, parse_cpu_millis, parse_duration, parse_env_file,
    referenced_files, referenced_variables,
};

/// Parts one file of an input from the next.
pub const SEPARATOR: char = '\u{c}';

/// Files of a project, and of what it refers to: each part is taken for both.
///
/// # Panics
/// When reading does not give the same twice, when an error says nothing, when a lenient reader makes something else of what a strict
/// one accepts, or when a project can be read but not what it refers to.
pub fn project(text: &str) {
    let parts = || text.split(SEPARATOR).map(str::to_owned);
    let file = |(index, text)| SourceFile { name: format!("{index}.yaml"), text };
    let referenced = parts().enumerate().map(|(index, text)| (format!("{index}"), Bytes(text.into_bytes())));
    let strict = Input {
        files: parts().enumerate().map(file).collect(),
        variables: [("A", "1"), ("B", "")].map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
        referenced: referenced.collect(),
        project_name: Some("p".to_owned()),
        ..Input::default()
    };
    let lenient = Input { lenient: true, ..strict.clone() };
    let loaded = load(&strict);
    assert_eq!(loaded, load(&strict), "read twice");
    match &loaded {
        Ok(loaded) => {
            assert_eq!(Ok(loaded), load(&lenient).as_ref(), "read leniently");
            assert!(referenced_files(&strict).is_ok() && referenced_variables(&strict.files).is_ok());
        }
        Err(invalid) => {
            assert!(invalid.problems.iter().all(|problem| !problem.message.is_empty()));
            assert!(!invalid.to_string().is_empty());
            let _ = (load(&lenient), referenced_files(&strict), referenced_variables(&strict.files));
        }
    }
    let _ = (parse_env_file(".env", text, &strict.variables), env_file_variables(text));
    let _ = (parse_duration(text), parse_bytes(text), parse_cpu_millis(text));
}
