//! Specs, which many tasks share.

use std::fmt;
use std::sync::Arc;

use davit_core::spec::TaskSpec;
use davit_core::validate::Violations;
use davit_proto::{convert, store_v1};
use prost::Message as _;
use sha2::{Digest as _, Sha256};

use super::{Malformed, malformed, read};

/// The SHA-256 of a spec's record, which is its key, in the store and in memory.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct SpecKey([u8; 32]);

impl SpecKey {
    /// The key of a spec's bytes.
    pub(crate) fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// Reads a key.
    pub(in crate::store) fn from_bytes(bytes: &[u8]) -> Result<Self, Malformed> {
        match bytes.try_into() {
            Ok(bytes) => Ok(Self(bytes)),
            Err(_) => malformed(format!("spec_key has {} bytes instead of 32", bytes.len())),
        }
    }

    pub(in crate::store) fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for SpecKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().take(8).try_for_each(|byte| write!(f, "{byte:02x}"))?;
        f.write_str("…")
    }
}

/// Where tasks find their specs when they are read.
pub(in crate::store) trait SpecSource {
    /// The spec of a key.
    fn spec(&self, key: SpecKey) -> Option<Arc<TaskSpec>>;
}

/// Writes a spec.
pub(crate) fn spec_to_bytes(spec: &TaskSpec) -> Vec<u8> {
    store_v1::SpecRecord { spec: Some(convert::task_spec_to_proto(spec)) }.encode_to_vec()
}

/// Reads the spec of a key; the bytes must be the key's.
pub(in crate::store) fn spec_from_bytes(key: SpecKey, bytes: &[u8]) -> Result<TaskSpec, Malformed> {
    if SpecKey::of(bytes) != key {
        return malformed("its bytes are not those of its key");
    }
    let Some(spec) = store_v1::SpecRecord::decode(bytes)?.spec else { return malformed("spec is missing") };
    let mut violations = Violations::new();
    let spec = convert::task_spec_from_proto(spec, "spec", &mut violations);
    read(spec, &violations)
}
