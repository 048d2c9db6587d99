//! What may be in the file of the lease.

use super::file::{line as written, parse};

const BOOT_ID: &str = "0193a5c0-1c1e-7d3a-9a53-0f5be2f0a111";

/// The file's bytes. Says whether they are a lease of this boot.
///
/// # Panics
/// When it is another one after it was written and read again.
pub(crate) fn line(bytes: &[u8]) -> bool {
    let Some(until) = std::str::from_utf8(bytes).ok().and_then(|text| parse(text, BOOT_ID)) else { return false };
    assert_eq!(parse(&written(BOOT_ID, until), BOOT_ID), Some(until));
    true
}
