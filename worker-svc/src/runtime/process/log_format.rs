//! Log files hold one entry a line: `2026-01-02T03:04:05.678Z stdout F text`, as Kubernetes' runtimes write them.
//! `F` is a whole line, `P` a part: of a line that goes on in the next entry, or one that was never finished. Pure.

use jiff::Timestamp;

use crate::runtime::{LogLine, LogSource};

/// Longer lines are written as parts, so that a reader's memory is bounded.
pub(super) const MAX_LINE_BYTES: usize = 16 * 1024;

/// Appends one entry to `into`. `text` has at most one line feed, at its end.
pub(super) fn encode(into: &mut Vec<u8>, now: Timestamp, source: LogSource, text: &[u8]) {
    let name = match source {
        LogSource::Stdout => "stdout",
        LogSource::Stderr => "stderr",
    };
    let (mark, text) = match text.strip_suffix(b"\n") {
        Some(line) => ('F', line),
        None => ('P', text),
    };
    into.extend_from_slice(format!("{now} {name} {mark} ").as_bytes());
    into.extend_from_slice(text);
    into.push(b'\n');
}

/// Reads one entry, without its line feed. `None` for what is no entry, such as one cut by a crash.
pub(super) fn decode(entry: &[u8]) -> Option<LogLine> {
    let mut fields = entry.splitn(4, |byte| *byte == b' ');
    let timestamp = std::str::from_utf8(fields.next()?).ok()?.parse().ok()?;
    let source = match fields.next()? {
        b"stdout" => LogSource::Stdout,
        b"stderr" => LogSource::Stderr,
        _ => return None,
    };
    let whole = match fields.next()? {
        b"F" => true,
        b"P" => false,
        _ => return None,
    };
    let mut bytes = fields.next()?.to_vec();
    if whole {
        bytes.push(b'\n');
    }
    Some(LogLine { source, timestamp: Some(timestamp), bytes })
}

/// Cuts a stream of bytes into lines.
#[derive(Debug)]
pub(super) struct Splitter {
    source: LogSource,
    pending: Vec<u8>,
}

impl Splitter {
    pub(super) fn new(source: LogSource) -> Self {
        Self { source, pending: Vec::new() }
    }

    /// Encodes all lines that `bytes` finishes and keeps the rest.
    pub(super) fn push(&mut self, into: &mut Vec<u8>, now: Timestamp, bytes: &[u8]) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let mut piece = piece;
            while !piece.is_empty() {
                let (now_part, later) = piece.split_at(piece.len().min(MAX_LINE_BYTES - self.pending.len()));
                self.pending.extend_from_slice(now_part);
                piece = later;
                if self.pending.ends_with(b"\n") || self.pending.len() == MAX_LINE_BYTES {
                    self.finish(into, now);
                }
            }
        }
    }

    /// Encodes what is left.
    pub(super) fn finish(&mut self, into: &mut Vec<u8>, now: Timestamp) {
        if !self.pending.is_empty() {
            encode(into, now, self.source, &self.pending);
            self.pending.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_was_written_is_read_however_it_was_cut(
            chunks in prop::collection::vec(
                prop_oneof![
                    prop::collection::vec(prop_oneof![Just(b'\n'), Just(b' '), any::<u8>()], 0..40),
                    (0usize..2 * MAX_LINE_BYTES).prop_map(|len| vec![b'x'; len]),
                ],
                0..8,
            ),
        ) {
            let mut splitter = Splitter::new(LogSource::Stderr);
            let mut file = Vec::new();
            for chunk in &chunks {
                splitter.push(&mut file, Timestamp::UNIX_EPOCH, chunk);
            }
            splitter.finish(&mut file, Timestamp::UNIX_EPOCH);
            let lines: Vec<_> = file.strip_suffix(b"\n").into_iter().flat_map(|all| all.split(|byte| *byte == b'\n'))
                .map(|entry| decode(entry).unwrap()).collect();
            prop_assert!(lines.iter().all(|line| line.bytes.len() <= MAX_LINE_BYTES && line.source == LogSource::Stderr));
            prop_assert!(lines.iter().all(|line| !line.bytes[..line.bytes.len() - 1].contains(&b'\n')));
            let read: Vec<u8> = lines.into_iter().flat_map(|line| line.bytes).collect();
            prop_assert_eq!(read, chunks.concat());
        }
    }

    #[test]
    fn what_is_no_entry_is_skipped() {
        assert_eq!(decode(b"2026-01-02T03:04:0"), None);
        assert_eq!(decode(b"2026-01-02T03:04:05Z stdout X a"), None);
        assert!(decode(b"2026-01-02T03:04:05Z stdout F ").is_some());
    }
}
