//! Whatever comes in, reading ends without a panic, and the same twice.

mod support;

use davit_compose::{
    Input, SourceFile, env_file_variables, load, parse_bytes, parse_cpu_millis, parse_duration, parse_env_file,
    referenced_files, referenced_variables,
};
use proptest::prelude::*;
use support::sample;

const SAMPLES: [&str; 9] = [
    "web-database-cache.yaml",
    "workers-broker.yaml",
    "monitoring.yaml",
    "log-agents.yaml",
    "jobs.yaml",
    "anchors.yaml",
    "canonical.yaml",
    "shop.prod.yaml",
    "env-files.yaml",
];

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
        "}",
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
    ]);
    prop::collection::vec(piece, 0..60).prop_map(|pieces| pieces.concat())
}

/// A sample in which something is cut out, put in, or changed.
fn mutated() -> impl Strategy<Value = String> {
    let sample_text = prop::sample::select(SAMPLES.to_vec()).prop_map(|name| sample(&[name]).files.remove(0).text);
    (sample_text, any::<prop::sample::Index>(), 0usize..40, pieces()).prop_map(|(text, at, length, piece)| {
        let chars: Vec<char> = text.chars().collect();
        let start = at.index(chars.len());
        let end = (start + length).min(chars.len());
        let (before, after) = (&chars[..start], &chars[end..]);
        before.iter().copied().chain(piece.chars().take(30)).chain(after.iter().copied()).collect()
    })
}

fn input(texts: Vec<String>, lenient: bool) -> Input {
    let file = |(index, text)| SourceFile { name: format!("{index}.yaml"), text };
    let files = texts.into_iter().enumerate().map(file).collect();
    let variables = [("A", "1"), ("B", "")].map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    Input { files, variables, project_name: Some("p".to_owned()), lenient, ..Input::default() }
}

fn read_twice(input: &Input) {
    let first = load(input);
    assert_eq!(first, load(input));
    if let Err(invalid) = &first {
        assert!(!invalid.problems.is_empty());
        let _ = invalid.to_string();
    }
    let _ = (referenced_files(input), referenced_variables(&input.files));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(debug_assertions) { 400 } else { 4000 }))]

    #[test]
    fn any_text_is_read_without_a_panic(text in any::<String>(), lenient in any::<bool>()) {
        read_twice(&input(vec![text], lenient));
    }

    #[test]
    fn any_pieces_are_read_without_a_panic(one in pieces(), other in pieces(), lenient in any::<bool>()) {
        read_twice(&input(vec![one, other], lenient));
    }

    #[test]
    fn changed_samples_are_read_without_a_panic(one in mutated(), other in mutated(), lenient in any::<bool>()) {
        read_twice(&input(vec![one.clone()], lenient));
        read_twice(&input(vec![one, other], lenient));
    }

    #[test]
    fn any_environment_file_is_read_without_a_panic(text in "([A-Z]{0,2}|=|:|\"|'|\\\\|\\$|\\{|\\}|#| |\n|export |ä){0,40}") {
        let _ = (parse_env_file(".env", &text, &Default::default()), env_file_variables(&text));
    }

    #[test]
    fn any_amount_is_read_without_a_panic(text in "[-0-9.a-zµ ]{0,12}") {
        let _ = (parse_duration(&text), parse_bytes(&text), parse_cpu_millis(&text));
    }
}
