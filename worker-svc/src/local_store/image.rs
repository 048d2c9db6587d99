//! What is kept of an image that this worker pulled, and its bytes.

use std::collections::BTreeSet;

use jiff::Timestamp;
use prost::Message as _;

/// Keys of images begin with this.
const IMAGE_PREFIX: u8 = b'i';

/// What is kept of an image that this worker pulled. Its key is the engine's id of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageRecord {
    /// The names that it got by pulls.
    pub names: BTreeSet<String>,
    /// When it was pulled, or seen in use.
    pub last_used: Timestamp,
}

/// The bytes of an [`ImageRecord`]. Numbers of fields are never used for another thing.
#[derive(Clone, PartialEq, prost::Message)]
struct Stored {
    #[prost(string, repeated, tag = "1")]
    names: Vec<String>,
    #[prost(int64, tag = "2")]
    last_used_ms: i64,
}

impl ImageRecord {
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let names = self.names.iter().cloned().collect();
        Stored { names, last_used_ms: self.last_used.as_millisecond() }.encode_to_vec()
    }

    /// `None`: these are no bytes of a record.
    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let stored = Stored::decode(bytes).ok()?;
        let last_used = Timestamp::from_millisecond(stored.last_used_ms).ok()?;
        Some(Self { names: stored.names.into_iter().collect(), last_used })
    }
}

pub(super) fn key_bytes(id: &str) -> Vec<u8> {
    let mut bytes = vec![IMAGE_PREFIX];
    bytes.extend_from_slice(id.as_bytes());
    bytes
}

/// `None`: another kind of entry.
pub(super) fn key_from_bytes(bytes: &[u8]) -> Option<String> {
    String::from_utf8(bytes.strip_prefix(&[IMAGE_PREFIX])?.to_vec()).ok()
}
