//! What a worker and supervisors of other versions leave for each other, and say to each other.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::contract::{ExitRecord, Reply, SpecRecord, StartRecord, key_of, parse};
use super::{link, log_format, supervisor};

/// A byte that says what, then its bytes. Says whether they were accepted.
///
/// # Panics
/// When what was read is not the same after it was written and read again.
pub(crate) fn accepts(bytes: &[u8]) -> bool {
    let Some((kind, bytes)) = bytes.split_first() else { return false };
    match kind % 8 {
        0 => survives(parse::<SpecRecord>(bytes), parse),
        1 => survives(parse::<StartRecord>(bytes), parse),
        2 => survives(parse::<ExitRecord>(bytes), parse),
        3 => {
            let read = |bytes: &[u8]| serde_json::from_slice::<Reply>(bytes).map_err(|problem| problem.to_string());
            survives(read(bytes), read)
        }
        4 => log_entry(bytes),
        5 => supervisor::is_request(bytes),
        6 => text(bytes).and_then(link::parse_head).is_some(),
        _ => text(bytes).and_then(key_of).is_some_and(|key| {
            assert_eq!(key_of(&key.container_name()), Some(key));
            true
        }),
    }
}

fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}

fn survives<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(
    read: Result<T, String>,
    again: impl Fn(&[u8]) -> Result<T, String>,
) -> bool {
    let Ok(record) = read else { return false };
    let written = serde_json::to_vec(&record).unwrap_or_default();
    assert_eq!(again(&written).as_ref(), Ok(&record), "it is another one after it was written and read");
    true
}

/// An entry of a log, without its line feed.
fn log_entry(bytes: &[u8]) -> bool {
    let entry = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let Some(line) = log_format::decode(entry) else { return false };
    let mut written = Vec::new();
    log_format::encode(&mut written, line.timestamp.unwrap_or_default(), line.source, &line.bytes);
    let again = log_format::decode(written.strip_suffix(b"\n").unwrap_or(&written));
    assert_eq!(again, Some(line), "an entry is another one after it was written and read");
    true
}
