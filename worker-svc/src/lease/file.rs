//! The lease on disk, so that it outlives the worker: a restarted worker, and whoever watches for a dead one, reads it.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Changes with every boot: an uptime of an earlier one means nothing.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
/// A boot id has 36 characters, an uptime in milliseconds up to 20.
const LINE_BYTES: usize = 36 + 1 + 20 + 1;

/// A file that holds until when the lease lasts.
#[derive(Debug)]
pub struct LeaseFile {
    path: PathBuf,
    boot_id: String,
}

impl LeaseFile {
    /// The file at this path, which need not be there.
    ///
    /// # Errors
    /// When the kernel does not tell which boot this is.
    pub fn new(path: impl Into<PathBuf>) -> io::Result<Self> {
        let boot_id = fs::read_to_string(BOOT_ID)?.trim().to_owned();
        Ok(Self { path: path.into(), boot_id })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Notes that the lease lasts until this uptime. Written in place and not synced: a full disk does not keep a lease from
    /// being renewed, and after a failure of the machine it has ended anyway.
    ///
    /// # Errors
    /// When it can't be written. What it says then is not known.
    pub fn renew(&self, until: Duration) -> io::Result<()> {
        self.open()?.write_all_at(line(&self.boot_id, until).as_bytes(), 0)
    }

    /// Until which uptime the lease lasts. Zero, which is long ago, when it was never renewed, the machine was started
    /// anew since, or the file can't be read.
    #[must_use]
    pub fn read(&self) -> Duration {
        let text = fs::read_to_string(&self.path).ok();
        text.and_then(|text| parse(&text, &self.boot_id)).unwrap_or_default()
    }

    fn open(&self) -> io::Result<File> {
        OpenOptions::new().create(true).truncate(false).write(true).open(&self.path)
    }
}

/// What the file holds.
pub(super) fn line(boot_id: &str, until: Duration) -> String {
    format!("{boot_id} {:020}\n", until.as_millis())
}

/// Until which uptime the lease lasts; `None` for what is no such line, or one of another boot.
pub(super) fn parse(text: &str, this_boot: &str) -> Option<Duration> {
    let text = Some(text).filter(|text| text.len() == LINE_BYTES)?;
    let (boot_id, millis) = text.trim_end().split_once(' ')?;
    (boot_id == this_boot).then(|| millis.parse().ok().map(Duration::from_millis))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_what_was_renewed_last_and_ended_where_nothing_good_is_written() {
        let directory = tempfile::tempdir().unwrap();
        let file = LeaseFile::new(directory.path().join("lease")).unwrap();
        assert_eq!(file.read(), Duration::ZERO);
        for seconds in [7_000_000, 12] {
            file.renew(Duration::from_secs(seconds)).unwrap();
            assert_eq!(file.read(), Duration::from_secs(seconds));
        }
        let written = fs::read_to_string(file.path()).unwrap();
        let of_another_boot = written.replace(&file.boot_id, "00000000-0000-0000-0000-000000000000");
        for bad in ["", "x", &written[..40], &format!("{written}1"), &of_another_boot] {
            fs::write(file.path(), bad).unwrap();
            assert_eq!(file.read(), Duration::ZERO, "{bad:?}");
        }
    }
}
