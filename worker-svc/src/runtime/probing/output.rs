//! The end of what somebody wrote, as one short line. Pure.

/// So much is kept of an output, whatever comes. More than a line has, since blanks count less there.
const KEPT_BYTES: usize = 4 * 1024;
/// A line is no longer.
const MAX_LINE_BYTES: usize = 256;

/// The end of an output.
#[derive(Debug, Default)]
pub(in crate::runtime) struct OutputEnd {
    kept: Vec<u8>,
}

impl OutputEnd {
    /// More was written.
    pub(in crate::runtime) fn push(&mut self, bytes: &[u8]) {
        self.kept.extend_from_slice(bytes.get(bytes.len().saturating_sub(KEPT_BYTES)..).unwrap_or_default());
        let too_many = self.kept.len().saturating_sub(KEPT_BYTES);
        self.kept.drain(..too_many);
    }

    /// Its end in one line: blanks and what does not print become single spaces.
    pub(in crate::runtime) fn line(&self) -> String {
        let text = String::from_utf8_lossy(&self.kept);
        let words = text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty());
        let line = words.collect::<Vec<_>>().join(" ");
        if line.len() <= MAX_LINE_BYTES {
            return line;
        }
        let mut start = line.len() - (MAX_LINE_BYTES - '…'.len_utf8());
        while !line.is_char_boundary(start) {
            start += 1;
        }
        format!("…{}", line.get(start..).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn line(parts: &[&[u8]]) -> String {
        let mut output = OutputEnd::default();
        parts.iter().for_each(|part| output.push(part));
        output.line()
    }

    #[test]
    fn an_output_becomes_one_line() {
        assert_eq!(line(&[]), "");
        assert_eq!(line(&[b"  one\n", b"\ttwo\x1b[0m\r\n\n"]), "one two [0m");
        let long = line(&[&b"a".repeat(9000), b" the end"]);
        assert!(long.starts_with("…aaa") && long.ends_with("a the end") && long.len() == MAX_LINE_BYTES, "{long}");
    }

    proptest! {
        #[test]
        fn it_is_short_and_has_no_breaks_whatever_is_written(
            parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..9000), 0..4),
        ) {
            let line = line(&parts.iter().map(Vec::as_slice).collect::<Vec<_>>());
            prop_assert!(line.len() <= MAX_LINE_BYTES && !line.contains(char::is_control), "{}", line);
        }
    }
}
