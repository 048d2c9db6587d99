//! What a store is kept in.

use super::Error;

/// A key and its value.
pub type Entry = (Vec<u8>, Vec<u8>);

/// One entry that is written, or removed where it has no value.
pub type Change = (Vec<u8>, Option<Vec<u8>>);

/// An entry of this key is there while something that was kept is lost: a backend that had to begin anew makes it.
pub const LOST_KEY: &[u8] = b"!lost";

/// Keeps bytes under keys. One caller at a time.
pub trait Backend: std::fmt::Debug + Send {
    /// Whether calls may take long. Such are made on a thread of their own; one in memory is called where it is needed, which
    /// keeps a simulation in order.
    fn blocks(&self) -> bool;

    /// Whether what is written reaches a disk only when it is synced. Where there is none a sync alone does nothing.
    fn has_disk(&self) -> bool {
        true
    }

    /// All entries.
    ///
    /// # Errors
    /// When they can't be read, or what is there is damaged.
    fn load(&mut self) -> Result<Vec<Entry>, Error>;

    /// Makes all of these changes or none. With `sync` they have reached the disk when this returns, and so has all that
    /// was written before; without, they survive the end of the process.
    ///
    /// # Errors
    /// When it is not known whether the changes were made. They may be made again.
    fn write(&mut self, changes: Vec<Change>, sync: bool) -> Result<(), Error>;
}
