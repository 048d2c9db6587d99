//! Backups of anything that may be in a file.

use sha2::{Digest as _, Sha256};

use super::super::records::Malformed;
use super::{BackupError, BackupReader, MAGIC};

/// A backup. Of an input that begins with an odd byte the rest is the file; else it is what stands between its first bytes and
/// its sum, which hardly any other change would get past.
///
/// # Panics
/// When a backup that is taken would be taken without its last byte too.
pub(in crate::store) fn backup(bytes: &[u8]) -> Result<(), Malformed> {
    let Some((first, rest)) = bytes.split_first() else { return Err(Malformed("there is nothing".to_owned())) };
    let file = if first.is_multiple_of(2) { with_sum(rest) } else { rest.to_vec() };
    read(&file).map_err(|problem| Malformed(problem.to_string()))?;
    let cut = file.split_last().map_or(&[][..], |(_, before)| before);
    assert!(matches!(read(cut), Err(BackupError::Cut { .. })), "a backup that is cut is taken");
    Ok(())
}

fn with_sum(frames: &[u8]) -> Vec<u8> {
    let mut file = [MAGIC.as_slice(), frames].concat();
    let sum = Sha256::digest(&file);
    file.extend_from_slice(&sum);
    file
}

fn read(file: &[u8]) -> Result<(), BackupError> {
    BackupReader::begin(file)?.check()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use davit_core::id::ClusterId;
    use davit_proto::fuzzing::corpus::write_seed;
    use jiff::Timestamp;
    use uuid::Uuid;

    use super::super::BackupWriter;
    use super::*;
    use crate::store::tests::some_history;

    #[test]
    #[ignore = "writes seeds of fuzz/corpus/manager_record; after a change of backups"]
    fn the_seeds_are_written() {
        let state = Arc::new(some_history().0.state);
        let file: Vec<u8> =
            BackupWriter::new(state, "c", ClusterId(Uuid::from_u128(7)), Timestamp::UNIX_EPOCH).flatten().collect();
        let frames = &file[MAGIC.len()..file.len() - 32];
        assert_eq!(with_sum(frames), file);
        write_seed("manager_record", "backup-file", &[&[7, 1], file.as_slice()].concat());
        write_seed("manager_record", "backup-frames", &[&[7, 0], frames].concat());
    }
}
