//! `command` and `entrypoint`: a list, or a string that is split as a shell does.

use shlex::split;

use crate::read::{Context, Item};
use crate::tree::Value;

/// Stands for `#` while a string is split: a shell would take what follows it for a comment, Compose does not.
const HASH: char = '\0';

/// Reads `command` or `entrypoint`.
pub(super) fn words(item: Option<Item>, cx: &mut Context<'_>) -> Option<Vec<String>> {
    let item = item?;
    if matches!(item.node.value, Value::List(_)) {
        return Some(item.texts(cx));
    }
    item.parsed(split_words, cx)
}

fn split_words(text: &str) -> Result<Vec<String>, &'static str> {
    if text.contains(HASH) {
        return Err("holds a zero byte");
    }
    let words = split(&text.replace('#', &HASH.to_string()));
    let words = words.ok_or("has a quote or a backslash that nothing follows; a list needs no quotes")?;
    Ok(words.into_iter().map(|word| word.replace(HASH, "#")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_split_as_a_shell_does() {
        for (text, expected) in [
            ("", vec![]),
            ("redis-server --save '' --port 6379", vec!["redis-server", "--save", "", "--port", "6379"]),
            ("sh -c \"echo 'a b' && sleep 1\"", vec!["sh", "-c", "echo 'a b' && sleep 1"]),
            ("a\\ b c", vec!["a b", "c"]),
            ("echo #1 a#b", vec!["echo", "#1", "a#b"]),
            ("a\n  b\n", vec!["a", "b"]),
        ] {
            assert_eq!(split_words(text).unwrap(), expected, "{text}");
        }
        assert!(split_words("echo 'a").is_err());
        assert!(split_words("a\0").is_err());
    }
}
