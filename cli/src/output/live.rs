//! Lines on a terminal that are drawn again and again: what went beyond its edge would take lines of its own, and push others off.

use console::{Term, truncate_str};

/// What a spinner takes before a line.
const SPINNER_COLUMNS: usize = 2;

/// Each line cut at the edge of the terminal on standard error, with room for a spinner before it.
pub(super) fn cut_at_edge(text: &str) -> String {
    // It is asked each time: people change it.
    let (_, columns) = Term::stderr().size();
    cut_lines(text, usize::from(columns).saturating_sub(SPINNER_COLUMNS))
}

fn cut_lines(text: &str, columns: usize) -> String {
    text.split('\n').map(|line| truncate_str(line, columns, "…")).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_ends_at_the_edge_and_colors_take_no_room() {
        let text =
            "web  PAUSED: unable to start container process\n  slot 1  \u{1b}[31mFAILED\u{1b}[0m: no such file\nlast";
        assert_eq!(cut_lines(text, 20), "web  PAUSED: unable…\n  slot 1  \u{1b}[31mFAILED\u{1b}[0m: n…\nlast");
        assert_eq!(cut_lines(text, 80), text);
        // Some letters take two columns.
        assert_eq!(cut_lines("ab漢字漢字", 6), "ab漢…");
    }
}
