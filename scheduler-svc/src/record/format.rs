//! The file: entries, each preceded by its length as a varint.

use std::io::{Read, Write};

use davit_proto::v1;
use davit_proto::v1::record_entry::Entry;
use prost::Message as _;

/// What every file says of itself.
const MAGIC: &str = "davit placement record";
/// Grows when older versions can't read the file any more.
const FORMAT_VERSION: u32 = 1;
/// The longest entry that is read: beyond what a stream can carry.
const MAX_ENTRY_BYTES: u64 = 1 << 30;

/// Why a file is no recording, or not one for this version.
#[derive(Debug, thiserror::Error)]
pub enum FormatError {
    /// It can't be read.
    #[error("it can't be read")]
    Io(#[from] std::io::Error),
    /// It begins otherwise.
    #[error("it is not a recording of davit-scheduler")]
    Foreign,
    /// It was written by a newer version.
    #[error(
        "it was written in format {version} by davit {davit_version}; this one reads up to format {FORMAT_VERSION}"
    )]
    Newer {
        /// Of the format.
        version: u32,
        /// Of the program.
        davit_version: String,
    },
    /// It breaks off within an entry, as after a crash. All before it was read.
    #[error("it breaks off within entry {entry}")]
    Truncated {
        /// Counted from 1, the header included.
        entry: u64,
    },
    /// An entry is not what it should be.
    #[error("entry {entry} is damaged: {problem}")]
    Damaged {
        /// Counted from 1, the header included.
        entry: u64,
        /// What is wrong.
        problem: String,
    },
}

/// The first entry of every file.
pub(super) fn header() -> v1::RecordEntry {
    let header = v1::RecordHeader {
        magic: MAGIC.to_owned(),
        format_version: FORMAT_VERSION,
        davit_version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    v1::RecordEntry { stream_id: 0, entry: Some(Entry::Header(header)) }
}

/// Writes one entry; gives its length with all.
pub(super) fn write(out: &mut impl Write, entry: &v1::RecordEntry) -> std::io::Result<u64> {
    let bytes = entry.encode_length_delimited_to_vec();
    out.write_all(&bytes)?;
    Ok(bytes.len() as u64)
}

/// Reads entry after entry; the header is checked and not given.
pub(super) struct Reader<R> {
    input: R,
    read: u64,
}

impl<R: Read> Reader<R> {
    pub(super) fn new(input: R) -> Result<Self, FormatError> {
        let mut reader = Self { input, read: 0 };
        match reader.next_entry() {
            Ok(Some(v1::RecordEntry { entry: Some(Entry::Header(header)), .. })) if header.magic == MAGIC => {
                if header.format_version > FORMAT_VERSION {
                    let (version, davit_version) = (header.format_version, header.davit_version);
                    return Err(FormatError::Newer { version, davit_version });
                }
                Ok(reader)
            }
            Err(FormatError::Io(problem)) => Err(problem.into()),
            _ => Err(FormatError::Foreign),
        }
    }

    /// The next entry; `None` at the end.
    pub(super) fn next_entry(&mut self) -> Result<Option<v1::RecordEntry>, FormatError> {
        let entry = self.read + 1;
        let Some(length) = self.length(entry)? else { return Ok(None) };
        let damaged = |problem: String| FormatError::Damaged { entry, problem };
        if length > MAX_ENTRY_BYTES {
            return Err(damaged(format!("{length} bytes are more than an entry has")));
        }
        let mut bytes = Vec::new();
        let read = (&mut self.input).take(length).read_to_end(&mut bytes)?;
        if (read as u64) < length {
            return Err(FormatError::Truncated { entry });
        }
        self.read = entry;
        v1::RecordEntry::decode(bytes.as_slice()).map(Some).map_err(|problem| damaged(problem.to_string()))
    }

    fn length(&mut self, entry: u64) -> Result<Option<u64>, FormatError> {
        let (mut length, mut shift) = (0_u64, 0);
        loop {
            let mut byte = [0];
            if self.input.read(&mut byte)? == 0 {
                return if shift == 0 { Ok(None) } else { Err(FormatError::Truncated { entry }) };
            }
            length |= u64::from(byte[0] & 0x7f) << shift;
            shift += 7;
            if byte[0] & 0x80 == 0 {
                return Ok(Some(length));
            }
            if shift >= 63 {
                return Err(FormatError::Damaged { entry, problem: "its length has no end".to_owned() });
            }
        }
    }
}
