use std::sync::Arc;

use super::*;

fn read(text: &str) -> (Option<Node>, Vec<String>) {
    let name: Arc<str> = "compose.yaml".into();
    let mut problems = Problems::new(false);
    let root = parse(&name, text, &mut Budget::default(), &mut problems);
    let told = match problems.finish(&[name]) {
        Ok(warnings) => warnings,
        Err(invalid) => invalid.problems,
    };
    (root, told.iter().map(ToString::to_string).collect())
}

fn tree(text: &str) -> Node {
    let (root, told) = read(text);
    assert_eq!(told, Vec::<String>::new());
    root.unwrap()
}

fn told(text: &str) -> String {
    read(text).1.join("\n")
}

fn text_at<'a>(node: &'a Node, path: &[&str]) -> Option<&'a str> {
    let node = path.iter().try_fold(node, |node, key| node.get(key))?;
    match &node.value {
        Value::Text(text) => Some(text),
        _ => None,
    }
}

#[test]
fn values_know_where_they_stand() {
    let root = tree("a:\n  b: [x,\n    y]\n");
    let list = root.get("a").and_then(|a| a.get("b")).unwrap();
    let Value::List(items) = &list.value else { panic!("{list:?}") };
    assert_eq!(items[1].at.to_string(), "compose.yaml:3:5");
}

#[test]
fn scalars_stay_text_and_only_plain_nothing_is_nothing() {
    let root = tree("a: 1.10\nb: true\nc: ''\nd:\ne: ~\nf: \"null\"\ng: 22:22\nh: !!str null\n");
    assert_eq!(text_at(&root, &["a"]), Some("1.10"));
    assert_eq!(text_at(&root, &["b"]), Some("true"));
    assert_eq!(text_at(&root, &["c"]), Some(""));
    assert_eq!(root.get("d").unwrap().value, Value::Null);
    assert_eq!(root.get("e").unwrap().value, Value::Null);
    assert_eq!(text_at(&root, &["f"]), Some("null"));
    assert_eq!(text_at(&root, &["g"]), Some("22:22"));
    assert_eq!(text_at(&root, &["h"]), Some("null"));
}

#[test]
fn own_keys_win_over_merged_ones_and_the_first_of_a_list_over_the_next() {
    let root = tree("x: &x {a: 1, b: 1}\ny: &y {b: 2, c: 2}\nz:\n  <<: [*x, *y]\n  a: 3\nw: {<<: *y}\n");
    assert_eq!(text_at(&root, &["z", "a"]), Some("3"));
    assert_eq!(text_at(&root, &["z", "b"]), Some("1"));
    assert_eq!(text_at(&root, &["z", "c"]), Some("2"));
    assert_eq!(text_at(&root, &["w", "c"]), Some("2"));
    assert_eq!(root.get("z").unwrap().get("<<"), None);
}

#[test]
fn tags_of_merging_are_kept() {
    let root = tree("a: !reset null\nb: !override [x]\n");
    assert_eq!(root.get("a").unwrap().tag, Some(MergeTag::Reset));
    assert_eq!(root.get("b").unwrap().tag, Some(MergeTag::Override));
}

#[test]
fn mistakes_are_told_with_their_place() {
    insta::assert_snapshot!(told("a: 1\nb: 2\na: 3\n"), @"compose.yaml:3:1: the key `a` is there twice, first in line 1");
    insta::assert_snapshot!(told("a: [1\n"), @"compose.yaml:1:4: a[0]: not YAML: unclosed bracket '['");
    insta::assert_snapshot!(told("a: *b\n"), @"compose.yaml:1:4: a: not YAML: while parsing node, found unknown anchor");
    insta::assert_snapshot!(told("a: &a [*a]\n"), @"compose.yaml:1:8: a[0]: an alias inside of what it stands for");
    insta::assert_snapshot!(told("[1]: 2\n~: 3\n"), @r"
    compose.yaml:1:1: a key must be a single value
    compose.yaml:2:1: a key must not be empty
    ");
    insta::assert_snapshot!(told("a: 1\n---\nb: 2\n"), @"compose.yaml:2:1: a second document: put it into a file of its own, and give both");
    insta::assert_snapshot!(told("a: !thing 1\n"), @"compose.yaml:1:11: a: unknown tag `!thing`; known are `!reset` and `!override`");
    insta::assert_snapshot!(told("a: {<<: 3}\n"), @"compose.yaml:1:9: a: `<<` takes a mapping, or a list of mappings");
    insta::assert_snapshot!(told("a: &a {}\nb:\n  <<: *a\n  <<: *a\n"), @"compose.yaml:4:3: b: `<<` is there twice; write `<<: [*one, *other]`");
    insta::assert_snapshot!(told(""), @"compose.yaml:1:1: the file is empty");
    insta::assert_snapshot!(told("# nothing\n"), @"compose.yaml:1:1: the file is empty");
}

#[test]
fn aliases_are_written_out_within_bounds() {
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..12 {
        let aliases = vec![format!("*a{}", level - 1); 10].join(", ");
        bomb.push_str(&format!("a{level}: &a{level} [{aliases}]\n"));
    }
    assert!(told(&bomb).contains("too large"), "{}", told(&bomb));

    let long = format!("a: &a {}\nb: [{}]\n", "x".repeat(500_000), vec!["*a"; 100].join(", "));
    assert!(told(&long).contains("too large"), "{}", told(&long));

    let mut deep = "a0: &a0 [x]\n".to_owned();
    for level in 1..100 {
        deep.push_str(&format!("a{level}: &a{level} [*a{}]\n", level - 1));
    }
    assert!(told(&deep).contains("too deep"), "{}", told(&deep));

    let merges = format!("a: &a {{b: 1}}\nc: {{<<: [{}]}}\n", vec!["*a"; 60_000].join(", "));
    assert!(told(&merges).contains("too large"), "{}", told(&merges));
}

#[test]
fn depth_and_size_have_bounds() {
    let flow = format!("a: {}{}", "[".repeat(5_000), "]".repeat(5_000));
    assert!(!told(&flow).is_empty());
    let mut block = String::new();
    for level in 0..2_000 {
        block.push_str(&format!("{}a:\n", " ".repeat(level)));
    }
    block.truncate(MAX_FILE_BYTES);
    assert!(!told(&block).is_empty());
    assert!(told(&"#".repeat(MAX_FILE_BYTES + 1)).contains("at most"));
}
