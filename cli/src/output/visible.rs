//! Texts of others on a terminal: whatever would move its cursor, name its window or hide what it shows is spelled out.

use std::borrow::Cow;

/// The text with control characters as `\u{1b}`, but for line ends and tabs; and, if there are colors, for the sequences that
/// are colors.
pub(super) fn visible(text: &str, colored: bool) -> Cow<'_, str> {
    if !text.contains(is_spelled_out) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(is_spelled_out) {
        let (before, from) = rest.split_at(at);
        shown.push_str(before);
        let len = color_len(from).filter(|_| colored);
        let (control, after) = from.split_at(len.unwrap_or_else(|| from.chars().next().map_or(0, char::len_utf8)));
        match len {
            Some(_) => shown.push_str(control),
            None => shown.extend(control.escape_unicode()),
        }
        rest = after;
    }
    shown.push_str(rest);
    Cow::Owned(shown)
}

fn is_spelled_out(c: char) -> bool {
    c.is_control() && !matches!(c, '\n' | '\t')
}

/// How long the sequence is that a text begins with, if it is one that sets colors.
fn color_len(text: &str) -> Option<usize> {
    let parameters = text.strip_prefix("\u{1b}[")?;
    let end = parameters.find(|c: char| !c.is_ascii_digit() && c != ';')?;
    parameters[end..].starts_with('m').then_some("\u{1b}[".len() + end + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_spelled_out_and_all_else_is_as_it_was() {
        let shown = |text| visible(text, false).into_owned();
        assert_eq!(shown("a\tb\nçé\u{2026}"), "a\tb\nçé…");
        assert_eq!(shown("\u{1b}]0;owned\u{7}"), "\\u{1b}]0;owned\\u{7}");
        assert_eq!(shown("done\rfail\u{9b}2J\u{7f}"), "done\\u{d}fail\\u{9b}2J\\u{7f}");
        assert_eq!(shown("\u{1b}[31mred"), "\\u{1b}[31mred");
    }

    #[test]
    fn colors_are_left_where_there_are_some() {
        let shown = |text| visible(text, true).into_owned();
        assert_eq!(shown("\u{1b}[38;5;10mgood\u{1b}[0m"), "\u{1b}[38;5;10mgood\u{1b}[0m");
        assert_eq!(shown("\u{1b}[2J\u{1b}[31"), "\\u{1b}[2J\\u{1b}[31");
        assert_eq!(shown("\u{1b}"), "\\u{1b}");
    }
}
