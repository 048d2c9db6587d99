//! Lines on a terminal that are drawn again and again: what went beyond its edge would take lines of its own, and push others off.

use console::{Term, measure_text_width, truncate_str};

/// What a spinner takes before a line.
const SPINNER_COLUMNS: usize = 2;
/// How much further to the right a line goes on below itself.
const GOES_ON_AT: usize = 4;
/// So many lines a cause gets below its line: more would push others off the screen.
const CAUSE_LINES: usize = 2;

/// A line, and why it is as it is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LiveLine {
    /// What is told.
    pub text: String,
    /// Why, for people. May be empty.
    pub cause: String,
}

impl LiveLine {
    /// Without a cause.
    #[must_use]
    pub fn plain(text: String) -> Self {
        Self { text, cause: String::new() }
    }

    /// All in one line, however long that is.
    #[must_use]
    pub fn whole(&self) -> String {
        if self.cause.is_empty() { self.text.clone() } else { format!("{}: {}", self.text, self.cause) }
    }
}

/// How many columns the terminal on standard error has beside a spinner.
pub(super) fn columns() -> usize {
    // It is asked each time: people change it.
    let (_, columns) = Term::stderr().size();
    usize::from(columns).saturating_sub(SPINNER_COLUMNS)
}

/// Each line cut at the edge.
pub(super) fn cut_lines(text: &str, columns: usize) -> String {
    text.split('\n').map(|line| truncate_str(line, columns, "…")).collect::<Vec<_>>().join("\n")
}

/// Each line as it fits: what does not fit into one goes on below it, first what is told and then why, which may be cut.
pub(super) fn laid_out(lines: &[LiveLine], columns: usize) -> String {
    lines.iter().flat_map(|line| fit(line, columns, Some(CAUSE_LINES))).collect::<Vec<_>>().join("\n")
}

/// The same of one line that stays: nothing of it is cut.
pub(super) fn laid_out_whole(line: &LiveLine, columns: usize) -> String {
    fit(line, columns, None).join("\n")
}

fn fit(line: &LiveLine, columns: usize, cause_lines: Option<usize>) -> Vec<String> {
    let cause = line.cause.split_whitespace().collect::<Vec<_>>().join(" ");
    let line = LiveLine { text: line.text.clone(), cause };
    let whole = line.whole();
    if measure_text_width(&whole) <= columns {
        return vec![whole];
    }
    let LiveLine { mut text, cause } = line;
    if !cause.is_empty() {
        text.push(':');
    }
    let indent = text.len() - text.trim_start_matches(' ').len() + GOES_ON_AT;
    // A terminal of a few columns gets lines that it wraps itself.
    let room = columns.saturating_sub(indent).max(GOES_ON_AT);
    let mut fitting = wrapped(&text, columns.max(GOES_ON_AT), room);
    fitting.extend(match cause_lines {
        Some(most) => shortened(&cause, room, most),
        None => wrapped(&cause, room, room),
    });
    fitting.iter_mut().skip(1).for_each(|below| below.insert_str(0, &" ".repeat(indent)));
    fitting
}

/// Words in lines of so many columns; the first line may have another number of them.
fn wrapped(text: &str, first_columns: usize, columns: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut line = String::new();
    for (index, word) in text.split(' ').enumerate() {
        let room = if lines.is_empty() { first_columns } else { columns };
        let gap = usize::from(index > 0 && (lines.is_empty() || !line.is_empty()));
        if measure_text_width(&line) + gap + measure_text_width(word) <= room {
            line.push_str(&" ".repeat(gap));
            line.push_str(word);
            continue;
        }
        if !line.trim().is_empty() {
            lines.push(std::mem::take(&mut line).trim_end().to_owned());
        }
        line.clear();
        let mut rest = word;
        while measure_text_width(rest) > columns && !rest.contains('\u{1b}') {
            let (fits, more) = rest.split_at(fitting_bytes(rest.chars(), columns).max(first_char_bytes(rest)));
            lines.push(fits.to_owned());
            rest = more;
        }
        line.push_str(rest);
    }
    if !line.trim().is_empty() {
        lines.push(line.trim_end().to_owned());
    }
    lines
}

/// The same in so many lines at most: of what is longer the beginning and the end, where causes of causes are.
fn shortened(text: &str, columns: usize, most_lines: usize) -> Vec<String> {
    let mut lines = wrapped(text, columns, columns);
    if lines.len() <= most_lines {
        return lines;
    }
    let cut_off = lines.split_off(most_lines.saturating_sub(1)).into_iter().next();
    if let (Some(line), Some(word)) = (lines.last_mut(), cut_off) {
        // What is long, such as the name of an image, tells something without its end too.
        let left = columns.saturating_sub(measure_text_width(line) + 1);
        if left > 0 {
            line.push(' ');
            line.push_str(&word[..fitting_bytes(word.chars(), left)]);
        }
    }
    let room = columns.saturating_sub("… ".chars().count());
    let end = &text[text.len() - fitting_bytes(text.chars().rev(), room)..];
    // From a word on, if there is one.
    let end = end.split_once(' ').map_or(end, |(_, words)| words);
    lines.push(format!("… {end}"));
    lines
}

/// How many bytes have the first of these characters that fit into so many columns.
fn fitting_bytes(chars: impl Iterator<Item = char>, columns: usize) -> usize {
    let (mut bytes, mut used, mut buffer) = (0, 0, [0; 4]);
    for c in chars {
        used += measure_text_width(c.encode_utf8(&mut buffer));
        if used > columns {
            break;
        }
        bytes += c.len_utf8();
    }
    bytes
}

fn first_char_bytes(text: &str) -> usize {
    text.chars().next().map_or(0, char::len_utf8)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

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

    fn rollout() -> Vec<LiveLine> {
        let of_rollout = LiveLine {
            text: "shop_web  version 2 from 1  \u{1b}[33mIN_PROGRESS\u{1b}[0m  1 of 1 ready, 0 new, 1 old, 9m 40s left"
                .into(),
            cause:
                "1 of 1 slot crashes: can't pull davit.invalid/none:1:\nDocker responded with status code 500: failed \
                    to resolve reference \"davit.invalid/none:1\": failed to do request: Head \
                    \"https://davit.invalid/v2/none/manifests/1\": dial tcp: lookup davit.invalid: no such host"
                    .into(),
        };
        let of_task = LiveLine { text: "  slot 1  \u{1b}[33mPENDING\u{1b}[0m".into(), cause: of_rollout.cause.clone() };
        let waits = LiveLine { text: "shop_api  version 1  IN_PROGRESS  0 of 1 ready".into(), ..LiveLine::default() };
        let short = LiveLine { text: "  slot 2  FAILED".into(), cause: "exited with code 3".into() };
        vec![of_rollout, of_task, waits, short]
    }

    #[test]
    fn why_something_fails_is_seen_at_any_width() {
        let told = [118, 78, 58].map(|columns| format!("{columns} columns:\n{}", laid_out(&rollout(), columns)));
        insta::assert_snapshot!(told.join("\n\n").replace('\u{1b}', "^"));
        assert!(
            laid_out_whole(&rollout()[0], 58).replace("\n    ", " ").contains("status code 500: failed to resolve")
        );
    }

    proptest! {
        #[test]
        fn no_line_goes_beyond_the_edge_and_nothing_that_stays_is_cut(
            text in "( {0,2}[a-z漢]{1,12}){0,12}", cause in "[a-z漢 \n]{0,200}", columns in 12_usize..100,
        ) {
            let line = LiveLine { text: text.clone(), cause: cause.clone() };
            for told in [laid_out(&[line.clone(), line.clone()], columns), laid_out_whole(&line, columns)] {
                prop_assert!(told.lines().all(|line| measure_text_width(line) <= columns), "{told}");
            }
            let letters = |text: &str| text.chars().filter(|c| c.is_alphabetic()).collect::<String>();
            prop_assert_eq!(letters(&laid_out_whole(&line, columns)), letters(&format!("{text}{cause}")));
        }
    }
}
