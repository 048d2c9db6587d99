//! Outputs that are shown meanwhile, each line with whose it is. Pure.

/// A line that is longer is shown in parts, so that what is kept is bounded.
const MAX_LINE_BYTES: usize = 64 << 10;

/// Whole lines of one output, with a label before each.
#[derive(Debug)]
pub(super) struct Labelled {
    output: Lines,
    errors: Lines,
}

#[derive(Debug)]
struct Lines {
    label: String,
    /// The line that has begun, with its label; empty between two lines.
    begun: Vec<u8>,
}

impl Labelled {
    /// With these labels for lines of standard output, and of standard error.
    pub(super) fn new(output: String, errors: String) -> Self {
        let lines = |label| Lines { label, begun: Vec::new() };
        Self { output: lines(output), errors: lines(errors) }
    }

    /// Takes in what was written and gives the lines that are whole now. A stamp comes before each.
    pub(super) fn whole_lines(&mut self, is_error: bool, stamp: &[u8], data: &[u8]) -> Vec<u8> {
        let lines = self.lines(is_error);
        let mut whole = Vec::new();
        for part in data.split_inclusive(|byte| *byte == b'\n') {
            if lines.begun.is_empty() {
                lines.begun.extend_from_slice(lines.label.as_bytes());
                lines.begun.extend_from_slice(stamp);
            }
            lines.begun.extend_from_slice(part);
            if part.ends_with(b"\n") {
                whole.append(&mut lines.begun);
            } else if lines.begun.len() > MAX_LINE_BYTES {
                whole.append(&mut lines.rest());
            }
        }
        whole
    }

    /// The line that has begun, as if it ended here.
    pub(super) fn rest(&mut self, is_error: bool) -> Vec<u8> {
        self.lines(is_error).rest()
    }

    fn lines(&mut self, is_error: bool) -> &mut Lines {
        if is_error { &mut self.errors } else { &mut self.output }
    }
}

impl Lines {
    fn rest(&mut self) -> Vec<u8> {
        let mut rest = std::mem::take(&mut self.begun);
        if !rest.is_empty() {
            rest.push(b'\n');
        }
        rest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labelled() -> Labelled {
        Labelled::new("index 1 | ".to_owned(), "index 1 ! ".to_owned())
    }

    #[test]
    fn only_whole_lines_are_shown_each_with_its_label() {
        let mut lines = labelled();
        let mut shown =
            |is_error, data: &str| String::from_utf8(lines.whole_lines(is_error, b"12:00 ", data.as_bytes())).unwrap();
        assert_eq!(shown(false, "one\ntwo\nth"), "index 1 | 12:00 one\nindex 1 | 12:00 two\n");
        assert_eq!(shown(true, "bad\n"), "index 1 ! 12:00 bad\n");
        assert_eq!(shown(false, "ree\n\n"), "index 1 | 12:00 three\nindex 1 | 12:00 \n");
        assert_eq!(shown(false, ""), "");
        assert_eq!(shown(false, "no end"), "");
        assert_eq!(lines.rest(false), b"index 1 | 12:00 no end\n");
        assert_eq!((lines.rest(false), lines.rest(true)), (Vec::new(), Vec::new()));
    }

    #[test]
    fn a_line_without_an_end_is_shown_in_parts() {
        let mut lines = labelled();
        let part = vec![b'x'; 16 << 10];
        let shown: usize = (0..64).map(|_| lines.whole_lines(false, b"", &part).len()).sum();
        assert!(shown > (64 - 5) * part.len(), "{shown}");
        assert!(lines.rest(false).len() <= MAX_LINE_BYTES + part.len());
    }
}
