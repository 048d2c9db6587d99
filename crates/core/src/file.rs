//! Configs and secrets: files that the cluster keeps and gives to containers, each version known by its content.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use jiff::Timestamp;
use sha2::{Digest as _, Sha256};

use crate::id::Revision;

/// The most that one file holds, as with Docker.
pub const MAX_CONTENT_BYTES: usize = 500 * 1024;

/// What a digest is written with.
const DIGEST_PREFIX: &str = "sha256:";

/// The SHA-256 of a file's content.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileDigest([u8; 32]);

impl FileDigest {
    /// Of these bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// Its bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// From its bytes.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl fmt::Display for FileDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(DIGEST_PREFIX)?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for FileDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text is no digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is not a digest: write sha256: and 64 digits from 0 to 9 and a to f")]
pub struct ParseDigestError;

impl FromStr for FileDigest {
    type Err = ParseDigestError;

    fn from_str(text: &str) -> Result<Self, ParseDigestError> {
        let digits = text.strip_prefix(DIGEST_PREFIX).filter(|digits| digits.len() == 64).ok_or(ParseDigestError)?;
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(digits.as_bytes().chunks(2)) {
            let digit = |at: usize| match pair.get(at).copied().unwrap_or_default() {
                digit @ b'0'..=b'9' => Ok(digit - b'0'),
                digit @ b'a'..=b'f' => Ok(digit - b'a' + 10),
                _ => Err(ParseDigestError),
            };
            *byte = (digit(0)? << 4) | digit(1)?;
        }
        Ok(Self(bytes))
    }
}

/// What a file holds. May be secret: nothing prints it.
#[derive(Clone, PartialEq, Eq)]
pub struct FileContent {
    bytes: Arc<[u8]>,
    digest: FileDigest,
}

impl FileContent {
    /// Of these bytes.
    #[must_use]
    pub fn new(bytes: impl Into<Arc<[u8]>>) -> Self {
        let bytes = bytes.into();
        let digest = FileDigest::of(&bytes);
        Self { bytes, digest }
    }

    /// What it is known by.
    #[must_use]
    pub fn digest(&self) -> FileDigest {
        self.digest
    }

    /// The bytes themselves, for whoever stores, sends or writes them.
    #[must_use]
    pub fn reveal(&self) -> &[u8] {
        &self.bytes
    }

    /// How many there are.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.bytes.len() as u64
    }
}

impl fmt::Debug for FileContent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FileContent({}, {} bytes)", self.digest, self.bytes.len())
    }
}

/// Whether content may be shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ConfigKind {
    /// It may be.
    Config,
    /// It may not, and is only ever in memory on nodes.
    Secret,
}

impl fmt::Display for ConfigKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Config => "config",
            Self::Secret => "secret",
        })
    }
}

/// Which config or secret. Both may have the same name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConfigName {
    /// Which of both.
    pub kind: ConfigKind,
    /// Its name.
    pub name: String,
}

impl fmt::Display for ConfigName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} `{}`", self.kind, self.name)
    }
}

/// A config or a secret, without its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Which.
    pub name: ConfigName,
    /// Labels that users set.
    pub labels: BTreeMap<String, String>,
    /// The app that it belongs to; empty: none.
    pub app: String,
    /// Those that are kept, oldest first; at least one.
    pub versions: Vec<ConfigVersion>,
    /// It goes when nothing refers to it any more, and nothing new may.
    pub is_deleted: bool,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// The revision of its last change.
    pub revision: Revision,
}

impl Config {
    /// The version that a spec gets which names none.
    #[must_use]
    pub fn newest(&self) -> Option<&ConfigVersion> {
        self.versions.last()
    }

    /// Whether it has this version.
    #[must_use]
    pub fn has(&self, digest: FileDigest) -> bool {
        self.versions.iter().any(|version| version.digest == digest)
    }
}

/// One version of a config or a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigVersion {
    /// What its content is known by.
    pub digest: FileDigest,
    /// How large that is.
    pub size_bytes: u64,
    /// When it came.
    pub created_at: Timestamp,
}

/// A config or secret as a file in a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileGrant {
    /// Which.
    pub config: ConfigName,
    /// Which version of it. `None` only before a spec is accepted: the newest one then.
    pub digest: Option<FileDigest>,
    /// The file's absolute path in the container.
    pub target: String,
    /// Its owner.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// Its permissions.
    pub mode: u32,
}

impl FileGrant {
    /// The permissions of a file for which none are asked: everybody may read it.
    pub const DEFAULT_MODE: u32 = 0o444;
    /// All permissions that can be asked for.
    pub const MAX_MODE: u32 = 0o777;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_read_as_it_is_written() {
        let digest = FileDigest::of(b"hello");
        assert_eq!(digest.to_string(), "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824");
        assert_eq!(digest.to_string().parse(), Ok(digest));
        let cut = digest.to_string().replace("9824", "98");
        let upper = digest.to_string().replace("9824", "982A");
        for wrong in ["", "sha256:", "2cf2", "md5:00", &cut, &upper, "sha256:é"] {
            assert_eq!(wrong.parse::<FileDigest>(), Err(ParseDigestError), "{wrong}");
        }
    }

    #[test]
    fn content_is_never_printed() {
        let content = FileContent::new(*b"swordfish");
        let shown = format!("{content:?} {:#?}", Some(&content));
        assert!(!shown.contains("swordfish") && !shown.contains("115, 119"), "{shown}");
        assert!(shown.contains("9 bytes"), "{shown}");
    }
}
