//! The file: a line of text that says what it is, then entries.
//!
//! Each entry is preceded by its head: three u32, least significant byte first: the entry's length, the entry's CRC-32, and
//! the CRC-32 of these 8 bytes. So a length that is damaged is never taken for a file that is cut off.

use std::io::{Read, Write};

use davit_proto::v1;
use davit_proto::v1::record_entry::Entry;
use prost::Message as _;

use super::crc::crc32;

/// How every file begins; the number of its format follows.
const MAGIC: &str = "davit placement record, format ";
/// Grows when older versions can't read the file any more, or this one can't read older files.
const FORMAT_VERSION: u32 = 2;
/// Format 1 had no line of text, and this after 5 bytes.
const MAGIC_OF_FORMAT_1: &[u8] = b"davit placement record";
/// More than the first line has.
const MAX_LINE_BYTES: u64 = 64;
const HEAD_BYTES: usize = 12;

/// Why a file is no recording, or not one for this version.
#[derive(Debug, thiserror::Error)]
pub enum FormatError {
    /// It can't be read.
    #[error("it can't be read: {0}")]
    Io(#[from] std::io::Error),
    /// It begins otherwise.
    #[error("it is not a recording of davit-scheduler")]
    Foreign,
    /// It was written by another version.
    #[error("it was written in format {version}; this davit-scheduler reads format {FORMAT_VERSION}")]
    OtherVersion {
        /// Of the format.
        version: u32,
    },
}

/// From where on a recording can't be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    /// It ends within an entry, as after a crash or when the disk was full.
    #[error("the file is cut off at byte {at}, within the entry that begins at byte {entry_at}")]
    CutOff {
        /// Its length.
        at: u64,
        /// Where its last entry begins.
        entry_at: u64,
    },
    /// Its last entry is not its end.
    #[error("the file is cut off at byte {at}, between entries: its scheduler still records, or was killed")]
    NoEnd {
        /// Its length.
        at: u64,
    },
    /// An entry is not what was written, or not in its place.
    #[error("the file is damaged at byte {at}: {problem}")]
    Damaged {
        /// Where the entry begins.
        at: u64,
        /// What is wrong.
        problem: String,
    },
}

/// Why there is no next entry.
#[derive(Debug)]
pub(super) enum ReadError {
    Io(std::io::Error),
    Flaw(Flaw),
}

impl From<std::io::Error> for ReadError {
    fn from(problem: std::io::Error) -> Self {
        Self::Io(problem)
    }
}

/// How every file begins.
pub(super) fn start() -> std::io::Result<Vec<u8>> {
    let header = v1::RecordHeader { davit_version: env!("CARGO_PKG_VERSION").to_owned() };
    let mut bytes = format!("{MAGIC}{FORMAT_VERSION}\n").into_bytes();
    write(&mut bytes, &encode(0, 0, Entry::Header(header)))?;
    Ok(bytes)
}

pub(super) fn encode(stream_id: u64, message: u64, entry: Entry) -> Vec<u8> {
    v1::RecordEntry { stream_id, message, entry: Some(entry) }.encode_to_vec()
}

/// How long an encoded entry is in the file.
pub(super) fn written_len(entry: &[u8]) -> u64 {
    (HEAD_BYTES + entry.len()) as u64
}

/// Writes an encoded entry.
pub(super) fn write(out: &mut impl Write, entry: &[u8]) -> std::io::Result<()> {
    let length = u32::try_from(entry.len()).map_err(std::io::Error::other)?;
    let mut head = [0; HEAD_BYTES];
    head[..4].copy_from_slice(&length.to_le_bytes());
    head[4..8].copy_from_slice(&crc32(entry).to_le_bytes());
    let check = crc32(&head[..8]);
    head[8..].copy_from_slice(&check.to_le_bytes());
    out.write_all(&head)?;
    out.write_all(entry)
}

/// Reads entry after entry.
#[derive(Debug)]
pub(super) struct Reader<R> {
    input: R,
    at: u64,
}

impl<R: Read> Reader<R> {
    /// Reads the first line.
    pub(super) fn new(mut input: R) -> Result<Self, FormatError> {
        let expected = format!("{MAGIC}{FORMAT_VERSION}\n");
        let line = read(&mut input, expected.len() as u64)?;
        if line == expected.as_bytes() {
            return Ok(Self { input, at: line.len() as u64 });
        }
        if line.get(5..).is_some_and(|rest| rest.starts_with(MAGIC_OF_FORMAT_1)) {
            return Err(FormatError::OtherVersion { version: 1 });
        }
        let rest = read(&mut input, MAX_LINE_BYTES)?;
        let version = version(&[line, rest].concat()).ok_or(FormatError::Foreign)?;
        Err(FormatError::OtherVersion { version })
    }

    /// Where the next entry begins.
    pub(super) fn at(&self) -> u64 {
        self.at
    }

    /// The next entry; `None` at the end.
    pub(super) fn next_entry(&mut self) -> Result<Option<v1::RecordEntry>, ReadError> {
        let entry_at = self.at;
        let cut_off = |at| Err(ReadError::Flaw(Flaw::CutOff { at, entry_at }));
        let damaged = |problem: &str| ReadError::Flaw(Flaw::Damaged { at: entry_at, problem: problem.to_owned() });
        let head = read(&mut self.input, HEAD_BYTES as u64)?;
        if head.is_empty() {
            return Ok(None);
        }
        self.at += head.len() as u64;
        let [Some(length), Some(crc), Some(check)] = [0, 4, 8].map(|from| number(&head, from)) else {
            return cut_off(self.at);
        };
        if crc32(&head[..8]) != check {
            return Err(damaged("what precedes an entry is not what was written"));
        }
        let entry = read(&mut self.input, u64::from(length))?;
        self.at += entry.len() as u64;
        if entry.len() < length as usize {
            return cut_off(self.at);
        }
        if crc32(&entry) != crc {
            return Err(damaged("the entry is not what was written"));
        }
        v1::RecordEntry::decode(entry.as_slice()).map(Some).map_err(|problem| damaged(&problem.to_string()))
    }
}

/// Reads so many bytes, or all there are.
fn read(input: &mut impl Read, length: u64) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    input.take(length).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn number(bytes: &[u8], from: usize) -> Option<u32> {
    let bytes = bytes.get(from..from + 4)?;
    bytes.try_into().ok().map(u32::from_le_bytes)
}

/// Of the format, if this is how a recording begins.
fn version(start: &[u8]) -> Option<u32> {
    let rest = start.strip_prefix(MAGIC.as_bytes())?;
    let number = rest.get(..rest.iter().position(|byte| *byte == b'\n')?)?;
    std::str::from_utf8(number).ok()?.parse().ok().filter(|version| *version != FORMAT_VERSION)
}
