//! From what the engine has of a container's output to lines. Pure.

use bollard::container::LogOutput;
use jiff::Timestamp;
use prost::bytes::{Buf, BytesMut};

use crate::runtime::{LogLine, LogSource};

/// No time is written with so many bytes.
const MAX_STAMP_BYTES: usize = 40;
/// The engine writes a line that is longer in parts of this size.
const PART_BYTES: usize = 16 * 1024;

/// One frame of the engine's log: a timestamp, a space, and a line or a part of one.
pub(super) fn line(output: LogOutput) -> Option<LogLine> {
    let (source, message) = match output {
        LogOutput::StdErr { message } => (LogSource::Stderr, message),
        LogOutput::StdOut { message } | LogOutput::Console { message } => (LogSource::Stdout, message),
        LogOutput::StdIn { .. } => return None,
    };
    Some(match stamp(&message) {
        Some((timestamp, length)) => LogLine { source, timestamp: Some(timestamp), bytes: message[length..].to_vec() },
        None => LogLine { source, timestamp: None, bytes: message.to_vec() },
    })
}

/// The time that a line begins with, and how many bytes it takes with the space after it.
fn stamp(line: &[u8]) -> Option<(Timestamp, usize)> {
    let space = line.iter().take(MAX_STAMP_BYTES).position(|byte| *byte == b' ')?;
    let timestamp = std::str::from_utf8(&line[..space]).ok()?.parse().ok()?;
    Some((timestamp, space + 1))
}

/// The output of a container with a terminal, as the engine has it: nothing but lines, each of which begins with its time. The parts
/// of a line that is long follow each other as if they were lines, each with the time of the first, but for the line feed.
#[derive(Debug, Default)]
pub(super) struct TerminalOutput {
    received: BytesMut,
    /// The time of the line of which a part was given out, as it was written.
    begun: Option<(Timestamp, Vec<u8>)>,
}

impl TerminalOutput {
    /// What came from the engine.
    pub(super) fn add(&mut self, bytes: &[u8]) {
        self.received.extend_from_slice(bytes);
    }

    /// The next line or part of one. `None`: more has to come first, or after the end nothing is left. What waits in between is no
    /// longer than a part with its time.
    pub(super) fn next(&mut self, has_ended: bool) -> Option<LogLine> {
        let received = &self.received[..];
        if received.is_empty() || (received.len() < MAX_STAMP_BYTES && !received.contains(&b'\n') && !has_ended) {
            return None;
        }
        let (timestamp, text_at) = match &self.begun {
            Some((timestamp, written)) if received.starts_with(written) => (Some(*timestamp), written.len()),
            Some((timestamp, _)) => (Some(*timestamp), 0),
            None => stamp(received).map_or((None, 0), |(timestamp, length)| (Some(timestamp), length)),
        };
        let text = &received[text_at..];
        let line_feed = text.iter().take(PART_BYTES).position(|byte| *byte == b'\n');
        let length = match line_feed {
            Some(at) => at + 1,
            None if text.len() >= PART_BYTES => PART_BYTES,
            None if has_ended => text.len(),
            None => return None,
        };
        let bytes = text[..length].to_vec();
        if line_feed.is_some() {
            self.begun = None;
        } else if self.begun.is_none() {
            self.begun = timestamp.map(|timestamp| (timestamp, received[..text_at].to_vec()));
        }
        self.received.advance(text_at + length);
        Some(LogLine { source: LogSource::Stdout, timestamp, bytes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(text: &'static str) -> LogOutput {
        LogOutput::StdErr { message: text.into() }
    }

    #[test]
    fn a_frame_is_a_time_and_the_bytes_as_written() {
        let found = line(frame("2026-01-02T03:04:05.000000006Z  two words \n")).unwrap();
        assert_eq!((found.source, found.bytes.as_slice()), (LogSource::Stderr, b" two words \n".as_slice()));
        assert_eq!(found.timestamp.unwrap().to_string(), "2026-01-02T03:04:05.000000006Z");
        let odd = line(frame("no time here")).unwrap();
        assert_eq!((odd.timestamp, odd.bytes.as_slice()), (None, b"no time here".as_slice()));
    }

    const TIME: &str = "2026-01-02T03:04:05.000000006Z ";
    const LATER: &str = "2026-01-02T03:04:06.000000000Z ";

    /// All lines of what comes in pieces of so many bytes: seconds of their times, and their texts.
    fn of_terminal(output: &str, piece_bytes: usize) -> Vec<(Option<i64>, String)> {
        let mut lines = Vec::new();
        let mut terminal = TerminalOutput::default();
        let mut take = |terminal: &mut TerminalOutput, has_ended| {
            while let Some(line) = terminal.next(has_ended) {
                assert_eq!(line.source, LogSource::Stdout);
                lines.push((line.timestamp.map(|at| at.as_second() % 60), String::from_utf8(line.bytes).unwrap()));
            }
            assert!(terminal.received.len() <= PART_BYTES + MAX_STAMP_BYTES, "{}", terminal.received.len());
        };
        for piece in output.as_bytes().chunks(piece_bytes) {
            terminal.add(piece);
            take(&mut terminal, false);
        }
        take(&mut terminal, true);
        assert!(terminal.received.is_empty());
        lines
    }

    #[test]
    fn output_of_a_terminal_is_cut_into_lines_however_it_comes() {
        let output = format!("{TIME}one\r\n{LATER}\n{LATER}two words\r\n{LATER}unfinished");
        let text = |text: &str| text.to_owned();
        let expected = [
            (Some(5), text("one\r\n")),
            (Some(6), text("\n")),
            (Some(6), text("two words\r\n")),
            (Some(6), text("unfinished")),
        ];
        for piece_bytes in [1, 7, 31, 1000] {
            assert_eq!(of_terminal(&output, piece_bytes), expected, "{piece_bytes}");
        }
        assert_eq!(of_terminal("no time here\nnone\n", 5), [(None, text("no time here\n")), (None, text("none\n"))]);
        assert_eq!(of_terminal("", 1), []);
    }

    #[test]
    fn a_long_line_of_a_terminal_comes_in_parts_without_times_in_it() {
        let part = "x".repeat(PART_BYTES);
        let output = format!("{TIME}{part}{TIME}{part}{TIME}{TIME}end\r\n{LATER}{part}{LATER}\n{LATER}last\n");
        let expected = [
            (Some(5), part.clone()),
            (Some(5), part.clone()),
            (Some(5), format!("{TIME}end\r\n")),
            (Some(6), part.clone()),
            (Some(6), "\n".to_owned()),
            (Some(6), "last\n".to_owned()),
        ];
        for piece_bytes in [13, 4096, 100_000] {
            assert_eq!(of_terminal(&output, piece_bytes), expected, "{piece_bytes}");
        }
        // Another engine's parts may be of another size: all is there, and nothing waits without bound.
        let lines = of_terminal(&format!("{TIME}{}", "y".repeat(3 * PART_BYTES + 1)), 1000);
        assert_eq!(
            lines.iter().map(|(_, text)| text.len()).collect::<Vec<_>>(),
            [PART_BYTES, PART_BYTES, PART_BYTES, 1]
        );
    }
}
