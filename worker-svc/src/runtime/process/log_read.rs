//! Reads a process's log files, also while they are written.

use std::io;
use std::path::{Path, PathBuf};

use futures::stream;
use tokio::fs::File;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::sync::watch;

use super::log_format::decode;
use super::log_write::{LogHead, generations, path};
use crate::runtime::{Error, LogLine, LogOptions, LogStream};

/// The lines in `dir`, oldest first.
pub(super) async fn stream(
    dir: PathBuf,
    head: watch::Receiver<LogHead>,
    options: LogOptions,
) -> Result<LogStream, Error> {
    let (generation, skip) = start(&dir, options.tail).await.map_err(failed)?;
    let reader = Reader { dir, head, follow: options.follow, generation, skip, file: None, entry: Vec::new() };
    let lines = stream::unfold(Some(reader), |reader| async move {
        let mut reader = reader?;
        match reader.next().await {
            Ok(Some(line)) => Some((Ok(line), Some(reader))),
            Ok(None) => None,
            Err(error) => Some((Err(failed(error)), None)),
        }
    });
    Ok(options.passed_over(lines))
}

/// In which file, and after how many entries there, the last `tail` entries begin.
async fn start(dir: &Path, tail: Option<u64>) -> io::Result<(u64, u64)> {
    let generations = generations(dir)?;
    let oldest = generations.first().copied().unwrap_or(1);
    let Some(mut missing) = tail else { return Ok((oldest, 0)) };
    for generation in generations.into_iter().rev() {
        let entries = count(&path(dir, generation)).await?;
        if entries >= missing {
            return Ok((generation, entries - missing));
        }
        missing -= entries;
    }
    Ok((oldest, 0))
}

/// Whole entries in a file; none if it was rotated away meanwhile.
async fn count(path: &Path) -> io::Result<u64> {
    let mut file = match File::open(path).await {
        Ok(file) => BufReader::new(file),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(error),
    };
    let mut entries = 0;
    loop {
        let bytes = file.fill_buf().await?;
        if bytes.is_empty() {
            return Ok(entries);
        }
        entries += bytes.iter().filter(|byte| **byte == b'\n').count() as u64;
        let len = bytes.len();
        file.consume(len);
    }
}

struct Reader {
    dir: PathBuf,
    head: watch::Receiver<LogHead>,
    follow: bool,
    generation: u64,
    skip: u64,
    file: Option<BufReader<File>>,
    /// What was read of the next entry.
    entry: Vec<u8>,
}

impl Reader {
    async fn next(&mut self) -> io::Result<Option<LogLine>> {
        loop {
            // Looked at before the read: what is written after this look wakes the wait below.
            let head = *self.head.borrow_and_update();
            if self.read_entry(head).await? {
                let line = decode(self.entry.strip_suffix(b"\n").unwrap_or(&self.entry));
                self.entry.clear();
                if self.skip > 0 {
                    self.skip -= 1;
                } else if line.is_some() {
                    return Ok(line);
                }
            } else if head.generation > self.generation {
                // The writer had gone on before this file's end was read, so nothing more comes in it.
                self.generation += 1;
                self.skip = 0;
                self.file = None;
                self.entry.clear();
            } else if !self.follow || head.closed || self.head.changed().await.is_err() {
                return Ok(None);
            }
        }
    }

    /// False at the end of what is there.
    async fn read_entry(&mut self, head: LogHead) -> io::Result<bool> {
        if self.file.is_none() {
            if head.generation < self.generation {
                return Ok(false);
            }
            match File::open(path(&self.dir, self.generation)).await {
                Ok(file) => self.file = Some(BufReader::new(file)),
                // Rotated away, or removed with all the rest.
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        let Some(file) = &mut self.file else { return Ok(false) };
        file.read_until(b'\n', &mut self.entry).await?;
        Ok(self.entry.ends_with(b"\n"))
    }
}

fn failed(source: io::Error) -> Error {
    Error::Io { action: "logs", source: source.into() }
}
