//! How far a store once was, kept beside it: an engine takes damage in its journal for a torn end and goes on with less, and
//! then only this tells that something is missing.
//!
//! It is written after a write is durable, and so never ahead of it. It is not synced each time, which would double what a write
//! costs: a killed process loses nothing of it, a machine that loses power loses what the kernel had not written yet. What that
//! leaves unnoticed is in `docs/operations.md`.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use sha2::{Digest as _, Sha256};

const MAGIC: [u8; 8] = *b"davitmk1";
/// Magic, turn, number, and the start of their SHA-256.
pub const SLOT_BYTES: usize = 32;
/// Each slot is in a sector of its own, so that one torn write leaves the other.
const SLOT_OFFSETS: [u64; 2] = [0, 4096];
const FILE_BYTES: u64 = SLOT_OFFSETS[1] + SLOT_BYTES as u64;

/// The mark's file.
#[derive(Debug)]
pub struct Mark {
    file: File,
    turn: u64,
    number: u64,
}

impl Mark {
    /// Makes the mark of an empty store: 0.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn create(path: &Path) -> io::Result<Self> {
        let temporary = path.with_extension("new");
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&temporary)?;
        let mut mark = Self { file, turn: 0, number: 0 };
        mark.write(0)?;
        mark.write(0)?;
        mark.file.sync_all()?;
        std::fs::rename(&temporary, path)?;
        sync_parent(path)?;
        Ok(mark)
    }

    /// Reads a mark.
    ///
    /// # Errors
    /// Says what is wrong with one that can't be read.
    pub fn open(path: &Path) -> Result<Self, String> {
        let unreadable = |problem: io::Error| format!("its mark {} can't be read: {problem}", path.display());
        let file = OpenOptions::new().read(true).write(true).open(path).map_err(unreadable)?;
        let slot = |offset: &u64| {
            let mut bytes = [0; SLOT_BYTES];
            file.read_exact_at(&mut bytes, *offset).ok()?;
            decode(&bytes)
        };
        // One slot may be torn, but no end of the file is ever cut.
        if file.metadata().map_err(unreadable)?.len() != FILE_BYTES {
            return Err(format!("its mark {} is damaged", path.display()));
        }
        match SLOT_OFFSETS.iter().filter_map(slot).max() {
            Some((turn, number)) => Ok(Self { file, turn, number }),
            None => Err(format!("its mark {} is damaged", path.display())),
        }
    }

    /// How far the store was, at least.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Notes that the store is durable as far as this.
    ///
    /// # Errors
    /// When that can't be written: then less is known of it, and nothing wrong.
    pub fn set(&mut self, number: u64) -> io::Result<()> {
        let first = self.number == 0 && number > 0;
        self.write(number)?;
        // From the first write on a store without its engine is known to be a loss.
        if first { self.file.sync_data() } else { Ok(()) }
    }

    fn write(&mut self, number: u64) -> io::Result<()> {
        self.turn += 1;
        let offset = SLOT_OFFSETS[usize::from(self.turn.is_multiple_of(2))];
        self.file.write_all_at(&encode(self.turn, number), offset)?;
        self.number = number;
        Ok(())
    }
}

impl Drop for Mark {
    fn drop(&mut self) {
        // Only makes it newer; see above.
        let _synced = self.file.sync_data();
    }
}

/// Makes a renamed or new file's name durable.
///
/// # Errors
/// When its directory can't be synced.
pub fn sync_parent(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) => File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}

/// A slot of the file.
#[must_use]
pub fn encode(turn: u64, number: u64) -> [u8; SLOT_BYTES] {
    let mut bytes = [0; SLOT_BYTES];
    bytes[..8].copy_from_slice(&MAGIC);
    bytes[8..16].copy_from_slice(&turn.to_le_bytes());
    bytes[16..24].copy_from_slice(&number.to_le_bytes());
    let sum = Sha256::digest(&bytes[..24]);
    bytes[24..].copy_from_slice(&sum[..8]);
    bytes
}

/// Turn and number of a slot; `None` if it is damaged.
#[must_use]
pub fn decode(bytes: &[u8; SLOT_BYTES]) -> Option<(u64, u64)> {
    let number = |at: usize| Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
    let (turn, number) = (number(8)?, number(16)?);
    (encode(turn, number) == *bytes).then_some((turn, number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_readable_slot_counts_and_damage_of_both_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("mark");
        let mut mark = Mark::create(&path).unwrap();
        for number in 1..=5 {
            mark.set(number).unwrap();
        }
        drop(mark);
        assert_eq!(Mark::open(&path).unwrap().number(), 5);
        let bytes = std::fs::read(&path).unwrap();
        let (newest, older) = if bytes[8] > bytes[4104] { (0, 4096) } else { (4096, 0) };
        let mut damaged = bytes.clone();
        damaged[newest + 17] ^= 1;
        std::fs::write(&path, &damaged).unwrap();
        assert_eq!(Mark::open(&path).unwrap().number(), 4);
        damaged[older] ^= 1;
        std::fs::write(&path, &damaged).unwrap();
        assert!(Mark::open(&path).unwrap_err().contains("damaged"));
        for cut in [0, 2064, bytes.len() - 1] {
            std::fs::write(&path, &bytes[..cut]).unwrap();
            assert!(Mark::open(&path).unwrap_err().contains("damaged"), "cut to {cut}");
        }
    }
}
