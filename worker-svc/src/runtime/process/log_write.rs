//! Writes a process's output to files of bounded size.
//!
//! Files are numbered upward (`log.00000001`, …). A full one is closed and the next begun; the oldest beyond the
//! number to keep is removed. Readers learn of every write through a watch, so following costs no polling.

use std::io;
use std::path::{Path, PathBuf};

use tokio::fs::{self, File};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::log_format::Splitter;
use crate::runtime::{LogSource, SharedClock};

/// How far the writer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LogHead {
    /// The file that is written to; 0 before the first.
    pub(super) generation: u64,
    /// How long that file is.
    pub(super) len: u64,
    /// Whether nothing more will be written.
    pub(super) closed: bool,
}

/// The path of one log file.
pub(super) fn path(dir: &Path, generation: u64) -> PathBuf {
    dir.join(format!("log.{generation:08}"))
}

/// The numbers of the log files that are there, sorted.
pub(super) async fn generations(dir: &Path) -> io::Result<Vec<u64>> {
    let mut entries = match fs::read_dir(dir).await {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut found = Vec::new();
    while let Some(entry) = entries.next_entry().await? {
        let name = entry.file_name();
        found.extend(name.to_str().and_then(|name| name.strip_prefix("log.")?.parse::<u64>().ok()));
    }
    found.sort_unstable();
    Ok(found)
}

/// How much of a process's output is kept.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    pub(super) max_bytes: u64,
    pub(super) max_files: u32,
}

/// Writes one process's log.
#[derive(Debug)]
pub(super) struct LogWriter {
    dir: PathBuf,
    bounds: Bounds,
    file: File,
    head: watch::Sender<LogHead>,
}

impl LogWriter {
    /// Begins a new file after those that are there.
    pub(super) async fn open(dir: PathBuf, bounds: Bounds, head: watch::Sender<LogHead>) -> io::Result<Self> {
        let generation = generations(&dir).await?.last().copied().unwrap_or(0) + 1;
        let file = File::create(path(&dir, generation)).await?;
        head.send_replace(LogHead { generation, len: 0, closed: false });
        Ok(Self { dir, bounds, file, head })
    }

    async fn write(&mut self, entries: &[u8]) -> io::Result<()> {
        let at = *self.head.borrow();
        if at.len >= self.bounds.max_bytes {
            self.rotate(at.generation + 1).await?;
        }
        self.file.write_all(entries).await?;
        // tokio's files write in the background; readers must find what they are told of.
        self.file.flush().await?;
        self.head.send_modify(|head| head.len += entries.len() as u64);
        Ok(())
    }

    async fn rotate(&mut self, generation: u64) -> io::Result<()> {
        self.file = File::create(path(&self.dir, generation)).await?;
        self.head.send_replace(LogHead { generation, len: 0, closed: false });
        let keep_from = (generation + 1).saturating_sub(u64::from(self.bounds.max_files.max(1)));
        for old in generations(&self.dir).await?.into_iter().take_while(|old| *old < keep_from) {
            fs::remove_file(path(&self.dir, old)).await?;
        }
        Ok(())
    }
}

impl Drop for LogWriter {
    fn drop(&mut self) {
        self.head.send_modify(|head| head.closed = true);
    }
}

/// Copies both outputs to the log until both end or `stop` is called. A disk that takes nothing must not block the
/// process: its output is then read and dropped.
pub(super) async fn pump(
    mut writer: LogWriter,
    mut stdout: impl AsyncRead + Unpin,
    mut stderr: impl AsyncRead + Unpin,
    clock: SharedClock,
    stop: CancellationToken,
) {
    let mut outputs = [Output::new(LogSource::Stdout), Output::new(LogSource::Stderr)];
    let mut entries = Vec::new();
    let mut failed = false;
    while outputs.iter().any(|output| output.open) {
        let [out, err] = &mut outputs;
        let (output, read) = tokio::select! {
            read = stdout.read(&mut out.buffer), if out.open => (out, read),
            read = stderr.read(&mut err.buffer), if err.open => (err, read),
            () = stop.cancelled() => break,
        };
        match read {
            Ok(len) if len > 0 => output.splitter.push(&mut entries, clock.now(), &output.buffer[..len]),
            _ => {
                output.open = false;
                output.splitter.finish(&mut entries, clock.now());
            }
        }
        flush(&mut writer, &mut entries, &mut failed).await;
    }
    for output in &mut outputs {
        output.splitter.finish(&mut entries, clock.now());
    }
    flush(&mut writer, &mut entries, &mut failed).await;
}

async fn flush(writer: &mut LogWriter, entries: &mut Vec<u8>, failed: &mut bool) {
    if entries.is_empty() {
        return;
    }
    match writer.write(entries).await {
        Ok(()) => *failed = false,
        Err(error) => {
            if !*failed {
                tracing::warn!(dir = %writer.dir.display(), %error, "output of a process is lost");
            }
            *failed = true;
        }
    }
    entries.clear();
}

struct Output {
    buffer: Vec<u8>,
    splitter: Splitter,
    open: bool,
}

impl Output {
    fn new(source: LogSource) -> Self {
        Self { buffer: vec![0; 8 * 1024], splitter: Splitter::new(source), open: true }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use davit_svc_kit::clock::ManualClock;
    use futures::TryStreamExt;
    use jiff::Timestamp;

    use super::super::log_read;
    use super::*;
    use crate::runtime::LogOptions;

    #[tokio::test]
    async fn the_newest_output_is_kept_in_bounded_space_and_a_follower_sees_all() {
        let dir = std::env::temp_dir().join(format!("davit-log-{}", std::process::id()));
        fs::create_dir_all(&dir).await.unwrap();
        let head = watch::Sender::new(LogHead { generation: 0, len: 0, closed: false });
        let bounds = Bounds { max_bytes: 1000, max_files: 3 };
        let mut writer = LogWriter::open(dir.clone(), bounds, head.clone()).await.unwrap();
        let follow = LogOptions { follow: true, ..LogOptions::default() };
        let mut follower = log_read::stream(dir.clone(), head.subscribe(), follow).await.unwrap();
        for number in 0..1000 {
            let mut entry = Vec::new();
            let text = format!("line {number}\n");
            super::super::log_format::encode(&mut entry, Timestamp::UNIX_EPOCH, LogSource::Stdout, text.as_bytes());
            writer.write(&entry).await.unwrap();
            assert_eq!(follower.try_next().await.unwrap().unwrap().bytes, text.as_bytes());
        }
        drop(writer);
        assert!(follower.try_next().await.unwrap().is_none());
        let generations = generations(&dir).await.unwrap();
        assert_eq!(generations.len(), 3);
        let tail = LogOptions { tail: Some(30), ..LogOptions::default() };
        let lines: Vec<_> =
            log_read::stream(dir.clone(), head.subscribe(), tail).await.unwrap().try_collect().await.unwrap();
        assert_eq!(lines.len(), 30);
        assert_eq!(lines[0].bytes, b"line 970\n");
        fs::remove_dir_all(&dir).await.unwrap();
    }

    #[tokio::test]
    async fn output_without_a_last_line_feed_is_kept() {
        let dir = std::env::temp_dir().join(format!("davit-log-part-{}", std::process::id()));
        fs::create_dir_all(&dir).await.unwrap();
        let head = watch::Sender::new(LogHead { generation: 0, len: 0, closed: false });
        let bounds = Bounds { max_bytes: 1000, max_files: 3 };
        let writer = LogWriter::open(dir.clone(), bounds, head.clone()).await.unwrap();
        let clock: SharedClock = Arc::new(ManualClock::default());
        pump(writer, &b"one\ntwo"[..], &b""[..], clock, CancellationToken::new()).await;
        let all = log_read::stream(dir.clone(), head.subscribe(), LogOptions::default()).await.unwrap();
        let lines: Vec<_> = all.map_ok(|line| line.bytes).try_collect().await.unwrap();
        assert_eq!(lines, [b"one\n".to_vec(), b"two".to_vec()]);
        fs::remove_dir_all(&dir).await.unwrap();
    }
}
