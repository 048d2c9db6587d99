//! Begins files, and never at the cost of what somebody may miss.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{BufReader, Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};

use davit_proto::v1::record_entry::Entry;
use tracing::info;

use super::RecordError;
use super::format::{self, FormatError, Reader};

/// What is in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Content {
    /// Nothing that anybody misses.
    Nothing,
    /// Streams, but nothing to compare, and no crash either.
    Idle,
    /// What streams said.
    Recording,
    /// Something else.
    Foreign,
}

/// Begins a recording; one that is there becomes `FILE.1`, replacing an older one. Gives its length, too.
pub(super) fn begin(path: &Path) -> Result<(File, u64), RecordError> {
    let older = older(path);
    let older_content = match existing(&older, OpenOptions::new().read(true))? {
        Some(file) => refuse_foreign(&older, &file)?,
        None => Content::Nothing,
    };
    let mut writable = OpenOptions::new();
    writable.read(true).write(true);
    let mut file = match existing(path, &writable)? {
        Some(file) => file,
        None => create(path)?,
    };
    lock(path, &file)?;
    let is_kept = match refuse_foreign(path, &file)? {
        Content::Foreign => return Err(RecordError::Foreign { path: path.display().to_string() }),
        Content::Nothing => false,
        Content::Idle => older_content != Content::Recording,
        Content::Recording => true,
    };
    if is_kept {
        std::fs::rename(path, &older).map_err(|source| failed(path, source))?;
        info!(path = %path.display(), kept_as = %older.display(), "the recording so far is kept");
        file = create(path)?;
        lock(path, &file)?;
    }
    let written = restart(&mut file).map_err(|source| failed(path, source))?;
    Ok((file, written))
}

/// Begins the file anew, whatever is in it. Gives its length.
pub(super) fn restart(file: &mut File) -> std::io::Result<u64> {
    file.set_len(0)?;
    file.rewind()?;
    let start = format::start()?;
    file.write_all(&start)?;
    Ok(start.len() as u64)
}

fn older(path: &Path) -> PathBuf {
    let mut older = path.to_owned().into_os_string();
    older.push(".1");
    older.into()
}

/// The file, if there is one.
fn existing(path: &Path, how: &OpenOptions) -> Result<Option<File>, RecordError> {
    // Looked at first: to open what is no file may have effects.
    match path.metadata() {
        Ok(metadata) if !metadata.is_file() => return Err(RecordError::Foreign { path: path.display().to_string() }),
        Err(problem) if problem.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Ok(_) | Err(_) => {}
    }
    how.open(path).map(Some).map_err(|source| failed(path, source))
}

fn create(path: &Path) -> Result<File, RecordError> {
    let created = OpenOptions::new().read(true).write(true).create_new(true).open(path);
    created.map_err(|source| failed(path, source))
}

/// Of two schedulers that record to one file, each would take it away from the other.
fn lock(path: &Path, file: &File) -> Result<(), RecordError> {
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => Err(RecordError::Busy { path: path.display().to_string() }),
        // That a file system knows no locks is no reason not to record.
        Ok(()) | Err(TryLockError::Error(_)) => Ok(()),
    }
}

fn refuse_foreign(path: &Path, file: &File) -> Result<Content, RecordError> {
    match content(file).map_err(|source| failed(path, source))? {
        Content::Foreign => Err(RecordError::Foreign { path: path.display().to_string() }),
        content => Ok(content),
    }
}

fn content(mut file: &File) -> std::io::Result<Content> {
    let start = format::start()?;
    let mut bytes = Vec::new();
    file.take(start.len() as u64 + 1).read_to_end(&mut bytes)?;
    file.rewind()?;
    // Also where it broke off before anything was recorded.
    if start.starts_with(&bytes) {
        return Ok(Content::Nothing);
    }
    let mut reader = match Reader::new(BufReader::new(file)) {
        Ok(reader) => reader,
        Err(FormatError::OtherVersion { .. }) => return Ok(Content::Recording),
        Err(FormatError::Foreign) => return Ok(Content::Foreign),
        Err(FormatError::Io(problem)) => return Err(problem),
    };
    let (mut content, mut has_end) = (Content::Nothing, false);
    loop {
        // What is damaged may still be of use.
        let Ok(entry) = reader.next_entry() else { return Ok(Content::Recording) };
        match entry.map(|entry| entry.entry) {
            Some(Some(Entry::Header(_))) => {}
            Some(Some(Entry::Snapshot(_) | Entry::Delta(_))) => content = Content::Idle,
            Some(Some(Entry::End(_))) => has_end = true,
            Some(Some(Entry::Batch(_)) | None) => return Ok(Content::Recording),
            None if has_end || content == Content::Nothing => return Ok(content),
            // It may have crashed over the first batch.
            None => return Ok(Content::Recording),
        }
    }
}

fn failed(path: &Path, source: std::io::Error) -> RecordError {
    RecordError::File { path: path.display().to_string(), source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::test_support::{Directory, stream, whole, without_end};

    /// A recording of a crash over the first batch.
    fn recording() -> Vec<u8> {
        without_end(&stream(1, 0))
    }

    #[test]
    fn a_recording_that_is_there_is_kept() {
        let mut of_format_1 = b"\x21\x12\x1f\x0a\x16davit placement record\x10\x01".to_vec();
        of_format_1.extend([0; 9]);
        let of_format_3 = b"davit placement record, format 3\nwho knows".to_vec();
        let torn = recording()[..recording().len() - 1].to_vec();
        for kept in [recording(), whole(&stream(1, 1)), torn, of_format_1, of_format_3] {
            let directory = Directory::new("kept");
            std::fs::write(directory.file(), &kept).unwrap();
            std::fs::write(directory.older(), recording()).unwrap();
            begin(&directory.file()).unwrap();
            assert_eq!(std::fs::read(directory.file()).unwrap(), format::start().unwrap());
            assert_eq!(std::fs::read(directory.older()).unwrap(), kept);
        }
    }

    #[test]
    fn what_holds_nothing_takes_the_place_of_no_recording() {
        let start = format::start().unwrap();
        for nothing in [
            Vec::new(),
            start[..3].to_vec(),
            start[..start.len() - 1].to_vec(),
            start,
            whole(&[]),
            whole(&stream(1, 0)),
        ] {
            let directory = Directory::new("nothing");
            std::fs::write(directory.file(), nothing).unwrap();
            std::fs::write(directory.older(), recording()).unwrap();
            begin(&directory.file()).unwrap();
            assert_eq!(std::fs::read(directory.file()).unwrap(), format::start().unwrap());
            assert_eq!(std::fs::read(directory.older()).unwrap(), recording());
        }
    }

    #[test]
    fn streams_without_batches_are_kept_where_that_costs_nothing() {
        for older in [None, Some(whole(&stream(2, 0)))] {
            let directory = Directory::new("idle");
            std::fs::write(directory.file(), whole(&stream(1, 0))).unwrap();
            if let Some(older) = older {
                std::fs::write(directory.older(), older).unwrap();
            }
            begin(&directory.file()).unwrap();
            assert_eq!(std::fs::read(directory.older()).unwrap(), whole(&stream(1, 0)));
        }
    }

    #[test]
    fn what_is_no_recording_is_left_alone() {
        for foreign in
            ["x", "davit placement record, format x\n", "davit placement recordings are fine\n", "\0\0\0\0\0"]
        {
            for is_older in [false, true] {
                let directory = Directory::new("foreign");
                let path = if is_older { directory.older() } else { directory.file() };
                std::fs::write(&path, foreign).unwrap();
                let problem = begin(&directory.file()).unwrap_err().to_string();
                assert!(problem.contains(&path.display().to_string()), "{problem}");
                assert_eq!(std::fs::read(&path).unwrap(), foreign.as_bytes());
                assert!(!is_older || !directory.file().exists());
            }
        }
        let directory = Directory::new("no-file");
        std::fs::create_dir(directory.file()).unwrap();
        assert!(matches!(begin(&directory.file()), Err(RecordError::Foreign { .. })));
    }

    #[test]
    fn two_do_not_record_to_one_file() {
        let directory = Directory::new("busy");
        let (first, _) = begin(&directory.file()).unwrap();
        assert!(matches!(begin(&directory.file()), Err(RecordError::Busy { .. })));
        drop(first);
        begin(&directory.file()).unwrap();
    }
}
