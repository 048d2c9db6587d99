//! Writes a process's output to files of bounded size. The supervisor does so, on its one thread.
//!
//! Files are numbered upward (`log.00000001`, …). A full one is closed and the next begun; the oldest beyond the
//! number to keep is removed. A disk that takes nothing must not block the process: its output is then dropped, and a line
//! in the log says how much, once there is room again.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::log_format::encode;
use crate::runtime::LogSource;

/// How far the writer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct LogHead {
    /// The file that is written to; 0 before the first.
    pub(super) generation: u64,
    /// How long that file is.
    pub(super) len: u64,
    /// Whether nothing more will be written.
    pub(super) closed: bool,
}

impl LogHead {
    /// Before the first file.
    pub(super) const START: Self = Self { generation: 0, len: 0, closed: false };
}

/// The path of one log file.
pub(super) fn path(dir: &Path, generation: u64) -> PathBuf {
    dir.join(format!("log.{generation:08}"))
}

/// The numbers of the log files that are there, sorted.
pub(super) fn generations(dir: &Path) -> io::Result<Vec<u64>> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut found = Vec::new();
    for entry in entries {
        let name = entry?.file_name();
        found.extend(name.to_str().and_then(|name| name.strip_prefix("log.")?.parse::<u64>().ok()));
    }
    found.sort_unstable();
    Ok(found)
}

/// Where a log stands that nobody writes any more.
pub(super) fn closed_head(dir: &Path) -> io::Result<LogHead> {
    let generation = generations(dir)?.last().copied().unwrap_or(0);
    Ok(LogHead { generation, len: 0, closed: true })
}

/// How much of a process's output is kept.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// A file that is this long is followed by a new one.
    pub(super) max_bytes: u64,
    /// How many files are kept; at least one is.
    pub(super) max_files: u32,
}

/// Writes one process's log.
#[derive(Debug)]
pub(super) struct LogWriter {
    dir: PathBuf,
    bounds: Bounds,
    file: File,
    head: LogHead,
    lost: Option<Lost>,
}

/// Output that could not be written.
#[derive(Debug)]
struct Lost {
    bytes: u64,
    why: String,
}

impl LogWriter {
    /// Begins a new file after those that are there.
    pub(super) fn open(dir: PathBuf, bounds: Bounds) -> io::Result<Self> {
        let generation = generations(&dir)?.last().copied().unwrap_or(0) + 1;
        let file = File::create(path(&dir, generation))?;
        Ok(Self { dir, bounds, file, head: LogHead { generation, ..LogHead::START }, lost: None })
    }

    pub(super) fn head(&self) -> LogHead {
        self.head
    }

    /// Writes these entries, or drops them and remembers that.
    pub(super) fn put(&mut self, now: Timestamp, entries: &[u8]) {
        if entries.is_empty() {
            return;
        }
        if let Some(Lost { bytes, why }) = &self.lost {
            let note = format!("davit: about {bytes} bytes of output could not be kept: {why}\n");
            let mut entry = Vec::new();
            encode(&mut entry, now, LogSource::Stderr, note.as_bytes());
            if self.write(&entry).is_ok() {
                self.lost = None;
            }
        }
        if let Err(error) = self.write(entries) {
            let lost = self.lost.get_or_insert_with(|| Lost { bytes: 0, why: error.to_string() });
            lost.bytes += entries.len() as u64;
        }
    }

    fn write(&mut self, entries: &[u8]) -> io::Result<()> {
        if self.head.len >= self.bounds.max_bytes {
            self.rotate(self.head.generation + 1)?;
        }
        if let Err(error) = self.file.write_all(entries) {
            // Half an entry would spoil the next one too. Should even this fail, readers pass over what is no entry.
            let _ = self.file.set_len(self.head.len);
            let _ = io::Seek::seek(&mut self.file, io::SeekFrom::Start(self.head.len));
            return Err(error);
        }
        self.head.len += entries.len() as u64;
        Ok(())
    }

    fn rotate(&mut self, generation: u64) -> io::Result<()> {
        // What goes goes first: the new file may need its room.
        let keep_from = (generation + 1).saturating_sub(u64::from(self.bounds.max_files.max(1)));
        for old in generations(&self.dir)?.into_iter().take_while(|old| *old < keep_from) {
            fs::remove_file(path(&self.dir, old))?;
        }
        self.file = File::create(path(&self.dir, generation))?;
        self.head = LogHead { generation, ..LogHead::START };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use futures::TryStreamExt;
    use tokio::sync::watch;

    use super::super::log_read;
    use super::*;
    use crate::runtime::LogOptions;

    fn entry(text: &str) -> Vec<u8> {
        let mut entry = Vec::new();
        encode(&mut entry, Timestamp::UNIX_EPOCH, LogSource::Stdout, text.as_bytes());
        entry
    }

    #[tokio::test]
    async fn the_newest_output_is_kept_in_bounded_space_and_a_follower_sees_all() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().to_owned();
        let mut writer = LogWriter::open(path.clone(), Bounds { max_bytes: 1000, max_files: 3 }).unwrap();
        let head = watch::Sender::new(writer.head());
        let follow = LogOptions { follow: true, ..LogOptions::default() };
        let mut follower = log_read::stream(path.clone(), head.subscribe(), follow).await.unwrap();
        for number in 0..1000 {
            let text = format!("line {number}\n");
            writer.put(Timestamp::UNIX_EPOCH, &entry(&text));
            head.send_replace(writer.head());
            assert_eq!(follower.try_next().await.unwrap().unwrap().bytes, text.as_bytes());
        }
        head.send_replace(closed_head(&path).unwrap());
        assert!(follower.try_next().await.unwrap().is_none());
        assert_eq!(generations(&path).unwrap().len(), 3);
        let tail = LogOptions { tail: Some(30), ..LogOptions::default() };
        let lines: Vec<_> = log_read::stream(path, head.subscribe(), tail).await.unwrap().try_collect().await.unwrap();
        assert_eq!(lines.len(), 30);
        assert_eq!(lines[0].bytes, b"line 970\n");
    }

    #[test]
    fn what_a_full_disk_did_not_take_is_told_once_there_is_room() {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = LogWriter::open(dir.path().to_owned(), Bounds { max_bytes: 1000, max_files: 3 }).unwrap();
        let good = std::mem::replace(&mut writer.file, File::options().write(true).open("/dev/full").unwrap());
        writer.put(Timestamp::UNIX_EPOCH, &entry("lost\n"));
        assert_eq!(writer.head().len, 0);
        writer.file = good;
        writer.put(Timestamp::UNIX_EPOCH, &entry("kept\n"));
        let text = fs::read_to_string(path(dir.path(), 1)).unwrap();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 2, "{text}");
        assert!(lines[0].contains("could not be kept: No space left"), "{text}");
        assert!(lines[1].ends_with("kept"), "{text}");
        assert_eq!(writer.head().len, text.len() as u64);
    }
}
