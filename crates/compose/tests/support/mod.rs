//! Projects from files in `samples`.

use davit_compose::{Input, SourceFile};

/// A project of files in `samples`.
pub(crate) fn sample(names: &[&str]) -> Input {
    let read = |name: &&str| {
        let path = format!("{}/tests/samples/{name}", env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
        SourceFile { name: (*name).to_owned(), text }
    };
    Input { files: names.iter().map(read).collect(), default_name: Some("sample".to_owned()), ..Input::default() }
}
