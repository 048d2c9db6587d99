use std::path::PathBuf;

use proptest::prelude::*;

use super::*;

/// All files of a directory of the project, by name.
fn files(directory: &str) -> Vec<String> {
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(directory);
    let mut paths: Vec<_> = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(!paths.is_empty());
    // What a fuzzer leaves there need not be text.
    paths.iter().map(|path| String::from_utf8_lossy(&std::fs::read(path).unwrap()).into_owned()).collect()
}

#[test]
fn seeds_and_samples_keep_what_is_promised() {
    for text in files("../../fuzz/corpus/compose").iter().chain(&files("tests/samples")) {
        project(text);
    }
}

/// Pieces of which Compose files are made, in any order.
fn pieces() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "services:",
        "\n",
        "  ",
        "    ",
        "a: ",
        "image: x",
        "ports:",
        "- ",
        "[",
        "]",
        "{",
        "}",
        ",",
        "&a ",
        "*a",
        "<<: ",
        "!reset ",
        "!override ",
        "${A:-",
        "$",
        "$$",
        "\"",
        "'",
        "volumes:",
        "8080:80",
        "deploy:",
        "null",
        "~",
        "|",
        ">",
        "#",
        "? ",
        ": ",
        "---",
        "...",
        "depends_on: ",
        "x-davit: ",
        "environment: ",
        "A=1",
        "\t",
        "configs: ",
        "0",
        "-1",
        "1h",
        "%",
        "!!str ",
        "é",
        "\u{feff}",
        "\u{c}",
        "export ",
        "\\",
        "1-9",
        "env_file: 0",
        "file: 0",
        "job: ",
        "networks: ",
        "profiles: ",
        "name: ",
    ]);
    prop::collection::vec(piece, 0..60).prop_map(|pieces| pieces.concat())
}

/// A sample in which something is cut out, put in, or changed.
fn changed() -> impl Strategy<Value = String> {
    let sample = prop::sample::select(files("tests/samples"));
    (sample, any::<prop::sample::Index>(), 0usize..40, pieces()).prop_map(|(text, at, length, piece)| {
        let chars: Vec<char> = text.chars().collect();
        let start = at.index(chars.len());
        let end = (start + length).min(chars.len());
        let (before, after) = (&chars[..start], &chars[end..]);
        before.iter().copied().chain(piece.chars().take(30)).chain(after.iter().copied()).collect()
    })
}

proptest! {
    #[test]
    fn any_text_keeps_what_is_promised(text in any::<String>()) {
        project(&text);
    }

    #[test]
    fn any_pieces_keep_what_is_promised(text in pieces()) {
        project(&text);
        project(&format!("services:\n  a:\n    image: x\n    {text}"));
    }

    #[test]
    fn changed_samples_keep_what_is_promised(one in changed(), other in changed()) {
        project(&one);
        project(&format!("{one}{SEPARATOR}{other}"));
    }

    #[test]
    fn any_environment_file_keeps_what_is_promised(
        text in "([A-Z]{0,2}|=|:|\"|'|\\\\|\\$|\\{|\\}|#| |\n|export |ä){0,40}",
    ) {
        project(&text);
    }

    #[test]
    fn any_amount_keeps_what_is_promised(text in "[-0-9.a-zµ ]{0,12}") {
        project(&text);
    }
}
