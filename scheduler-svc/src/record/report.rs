//! What came of a replay, also in words.

use std::fmt;

use davit_core::words::counted;

use super::format::Flaw;

/// Differences that are told; the others are counted.
const MAX_DIFFERENCES: usize = 10;

/// What came of a replay.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ReplayReport {
    /// Streams that were seen.
    pub streams: u64,
    /// Batches that were worked out again.
    pub batches: u64,
    /// Tasks in them.
    pub tasks: u64,
    /// Messages of these streams that were not recorded, between others that were.
    pub missing: u64,
    /// The first of what came out otherwise.
    pub differences: Vec<Difference>,
    /// How much came out otherwise.
    pub differing: u64,
    /// From where on the file is no use; all before it was compared.
    pub flaw: Option<Flaw>,
}

/// Something that came out otherwise than recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Of which stream.
    pub stream_id: u64,
    /// Which message of it.
    pub message: u64,
    /// Which group, and both answers, for people.
    pub what: String,
}

/// The gist of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// All is as recorded, and nothing is missing at the end.
    Same,
    /// Something came out otherwise.
    Different,
    /// All that can be read is as recorded, but not all can be read.
    Flawed,
}

impl ReplayReport {
    /// The gist.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        match (self.differing, &self.flaw) {
            (0, None) => Verdict::Same,
            (0, Some(_)) => Verdict::Flawed,
            _ => Verdict::Different,
        }
    }

    pub(super) fn differs(&mut self, stream_id: u64, message: u64, what: String) {
        self.differing += 1;
        if self.differences.len() < MAX_DIFFERENCES {
            self.differences.push(Difference { stream_id, message, what });
        }
    }
}

impl fmt::Display for ReplayReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { streams, batches, tasks, missing, differences, differing, flaw } = self;
        let (of_streams, of_batches) = (counted(*streams, "stream", "streams"), counted(*batches, "batch", "batches"));
        write!(f, "{of_streams}, {of_batches}, {}: ", counted(*tasks, "task", "tasks"))?;
        match (self.verdict(), batches) {
            (Verdict::Same, 0) => write!(f, "nothing to compare")?,
            (Verdict::Same, _) => write!(f, "all as recorded")?,
            (Verdict::Flawed, _) => write!(f, "all as recorded, as far as the file can be read")?,
            (Verdict::Different, _) => write!(f, "{}", counted(*differing, "difference", "differences"))?,
        }
        for Difference { stream_id, message, what } in differences {
            write!(f, "\nstream {stream_id}, message {message}, {what}")?;
        }
        if *differing > differences.len() as u64 {
            write!(f, "\n{} more", differing - differences.len() as u64)?;
        }
        if *differing > 1 {
            write!(f, "\nthe first difference of a stream can be the cause of its others")?;
        }
        if *missing > 0 {
            let (messages, were) =
                (counted(*missing, "message", "messages"), if *missing == 1 { "was" } else { "were" });
            write!(f, "\n{messages} in between {were} not recorded")?;
        }
        if let Some(flaw) = flaw {
            write!(f, "\n{flaw}; {of_batches} before that {} compared", if *batches == 1 { "was" } else { "were" })?;
        }
        Ok(())
    }
}
