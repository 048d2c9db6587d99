//! Reads a backup. Nothing of it is believed before all of it was read and its sum was right, so callers read it twice: once
//! to its end, and once to use it.

use std::io::{ErrorKind, Read};

use davit_core::id::{ClusterId, Revision};
use davit_proto::store_v1::backup_frame::Frame;
use davit_proto::store_v1::{BackupEnd, BackupFrame, BackupHeader, BackupTable, StoreHead};
use prost::Message as _;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::super::records::{time_from, uuid_from};
use super::{BackupError, BackupInfo, MAGIC};

/// The longest frame: a task's record is far below it, and a length beyond it is not believed.
const MAX_FRAME_BYTES: usize = 64 * 1024 * 1024;

/// One record of a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::store) struct Entry {
    pub(in crate::store) table: BackupTable,
    pub(in crate::store) key: Vec<u8>,
    pub(in crate::store) value: Vec<u8>,
}

/// Reads frame after frame.
#[derive(Debug)]
pub(in crate::store) struct BackupReader<R> {
    input: R,
    sum: Sha256,
    bytes: u64,
    entries: u64,
    info: BackupInfo,
    /// What the end says, once it was read.
    head: Option<StoreHead>,
}

impl<R: Read> BackupReader<R> {
    /// Reads the header.
    pub(in crate::store) fn begin(mut input: R) -> Result<Self, BackupError> {
        let mut magic = [0; MAGIC.len()];
        match input.read_exact(&mut magic) {
            Err(problem) if problem.kind() != ErrorKind::UnexpectedEof => return Err(problem.into()),
            Ok(()) if magic == *MAGIC => {}
            Ok(()) | Err(_) => return Err(BackupError::Foreign),
        }
        let info = BackupInfo {
            cluster: String::new(),
            cluster_id: ClusterId(Uuid::nil()),
            manager_version: String::new(),
            created_at: jiff::Timestamp::UNIX_EPOCH,
            revision: Revision(0),
            schema_version: 0,
        };
        let mut sum = Sha256::new();
        sum.update(magic);
        let mut reader = Self { input, sum, bytes: MAGIC.len() as u64, entries: 0, info, head: None };
        let Frame::Header(header) = reader.frame()? else { return damaged("its first frame is not a header") };
        reader.info = info_of(header)?;
        Ok(reader)
    }

    pub(in crate::store) fn info(&self) -> &BackupInfo {
        &self.info
    }

    /// The next record; `None` at the end, whose sum was right then.
    pub(in crate::store) fn next(&mut self) -> Result<Option<Entry>, BackupError> {
        match self.frame()? {
            Frame::Entry(entry) => {
                self.entries += 1;
                let table = match BackupTable::try_from(entry.table) {
                    Ok(table) if table != BackupTable::Unspecified => table,
                    Ok(_) | Err(_) => return damaged(format!("record {} is of an unknown kind", self.entries)),
                };
                Ok(Some(Entry { table, key: entry.key, value: entry.value }))
            }
            Frame::End(end) => self.end(end).map(|()| None),
            Frame::Header(_) => damaged("it has a second header"),
        }
    }

    /// Reads up to the end, for its sum.
    pub(in crate::store) fn check(mut self) -> Result<(), BackupError> {
        while self.next()?.is_some() {}
        Ok(())
    }

    /// What is true of the store as a whole, once the end was read.
    pub(in crate::store) fn head(self) -> Option<StoreHead> {
        self.head
    }

    fn end(&mut self, end: BackupEnd) -> Result<(), BackupError> {
        let BackupEnd { entry_count, head } = end;
        let sum = self.sum.clone().finalize();
        let written: [u8; 32] = self.take()?;
        if sum.as_slice() != written {
            return damaged("its bytes are not those that were written");
        }
        if entry_count != self.entries {
            return damaged(format!("it holds {} records instead of {entry_count}", self.entries));
        }
        let Some(head) = head else { return damaged("its end says nothing of the store") };
        if head.revision != self.info.revision.0 {
            return damaged("its end is of another revision than its beginning");
        }
        if self.input.read(&mut [0])? > 0 {
            return damaged("something follows on its end");
        }
        self.head = Some(head);
        Ok(())
    }

    fn frame(&mut self) -> Result<Frame, BackupError> {
        let mut prefix = Vec::with_capacity(10);
        // A varint ends with the first byte below 128.
        while prefix.last().is_none_or(|byte| *byte >= 0x80) {
            if prefix.len() == 10 {
                return damaged("a frame's length is not a number");
            }
            let byte: [u8; 1] = self.take()?;
            prefix.extend_from_slice(&byte);
        }
        let length = prost::decode_length_delimiter(prefix.as_slice());
        let length = length.ok().filter(|length| *length <= MAX_FRAME_BYTES);
        let Some(length) = length else { return damaged("a frame's length is beyond all frames") };
        let mut bytes = Vec::new();
        // Grows with what is there, whatever the length says.
        let read = self.input.by_ref().take(length as u64).read_to_end(&mut bytes)?;
        self.bytes += read as u64;
        if read < length {
            return Err(BackupError::Cut { bytes: self.bytes });
        }
        self.sum.update(&bytes);
        match BackupFrame::decode(bytes.as_slice()) {
            Ok(BackupFrame { frame: Some(frame) }) => Ok(frame),
            Ok(BackupFrame { frame: None }) => damaged("a frame is empty"),
            Err(problem) => damaged(problem.to_string()),
        }
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], BackupError> {
        let mut bytes = [0; N];
        match self.input.read_exact(&mut bytes) {
            Ok(()) => {
                self.bytes += N as u64;
                self.sum.update(bytes);
                Ok(bytes)
            }
            Err(problem) if problem.kind() == ErrorKind::UnexpectedEof => Err(BackupError::Cut { bytes: self.bytes }),
            Err(problem) => Err(problem.into()),
        }
    }
}

fn info_of(header: BackupHeader) -> Result<BackupInfo, BackupError> {
    let BackupHeader { identity, manager_version, create_time, revision } = header;
    let Some(identity) = identity else { return damaged("it does not say whose it is") };
    let created_at = time_from(create_time, "create_time");
    let created_at = created_at.map_err(|problem| BackupError::Damaged(problem.to_string()))?;
    let cluster_id = uuid_from(&identity.cluster_id, "cluster_id").map(ClusterId);
    let cluster_id = cluster_id.map_err(|problem| BackupError::Damaged(problem.to_string()))?;
    let (schema_version, cluster) = (identity.schema_version, identity.cluster);
    Ok(BackupInfo { cluster, cluster_id, manager_version, created_at, revision: Revision(revision), schema_version })
}

fn damaged<T>(problem: impl Into<String>) -> Result<T, BackupError> {
    Err(BackupError::Damaged(problem.into()))
}
