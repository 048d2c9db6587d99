//! From the engine's log frames to lines. Pure.

use bollard::container::LogOutput;
use jiff::Timestamp;

use crate::runtime::{LogLine, LogSource};

/// One frame of the engine's log: a timestamp, a space, and a line or a part of one.
pub(super) fn line(output: LogOutput) -> Option<LogLine> {
    let (source, message) = match output {
        LogOutput::StdErr { message } => (LogSource::Stderr, message),
        LogOutput::StdOut { message } | LogOutput::Console { message } => (LogSource::Stdout, message),
        LogOutput::StdIn { .. } => return None,
    };
    let stamped = message.iter().position(|byte| *byte == b' ').and_then(|space| {
        let timestamp = std::str::from_utf8(&message[..space]).ok()?.parse::<Timestamp>().ok()?;
        Some((timestamp, &message[space + 1..]))
    });
    Some(match stamped {
        Some((timestamp, bytes)) => LogLine { source, timestamp: Some(timestamp), bytes: bytes.to_vec() },
        None => LogLine { source, timestamp: None, bytes: message.to_vec() },
    })
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
}
