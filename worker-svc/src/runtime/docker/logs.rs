//! From the engine's log frames to lines. Pure.

use bollard::container::LogOutput;
use jiff::Timestamp;

use crate::runtime::{LogLine, LogSource};

/// One frame of the engine's log: a timestamp, a space, and a line or a part of one. The engine's `since` knows only
/// whole seconds, so the rest is done here.
pub(super) fn line(output: LogOutput, since: Option<Timestamp>) -> Option<LogLine> {
    let (source, message) = match output {
        LogOutput::StdErr { message } => (LogSource::Stderr, message),
        LogOutput::StdOut { message } | LogOutput::Console { message } => (LogSource::Stdout, message),
        LogOutput::StdIn { .. } => return None,
    };
    let stamped = message.iter().position(|byte| *byte == b' ').and_then(|space| {
        let timestamp = std::str::from_utf8(&message[..space]).ok()?.parse::<Timestamp>().ok()?;
        Some((timestamp, &message[space + 1..]))
    });
    let line = match stamped {
        Some((timestamp, bytes)) => LogLine { source, timestamp: Some(timestamp), bytes: bytes.to_vec() },
        None => LogLine { source, timestamp: None, bytes: message.to_vec() },
    };
    let wanted = match (line.timestamp, since) {
        (Some(timestamp), Some(since)) => timestamp >= since,
        _ => true,
    };
    wanted.then_some(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(text: &'static str) -> LogOutput {
        LogOutput::StdErr { message: text.into() }
    }

    #[test]
    fn a_frame_is_a_time_and_the_bytes_as_written() {
        let found = line(frame("2026-01-02T03:04:05.000000006Z  two words \n"), None).unwrap();
        assert_eq!((found.source, found.bytes.as_slice()), (LogSource::Stderr, b" two words \n".as_slice()));
        assert_eq!(found.timestamp.unwrap().to_string(), "2026-01-02T03:04:05.000000006Z");
        let odd = line(frame("no time here"), None).unwrap();
        assert_eq!((odd.timestamp, odd.bytes.as_slice()), (None, b"no time here".as_slice()));
    }

    #[test]
    fn what_is_older_than_wanted_is_left_out() {
        let at: Timestamp = "2026-01-02T03:04:05.5Z".parse().unwrap();
        assert!(line(frame("2026-01-02T03:04:05.4Z a"), Some(at)).is_none());
        assert!(line(frame("2026-01-02T03:04:05.5Z a"), Some(at)).is_some());
    }
}
