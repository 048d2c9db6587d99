//! fjall, as the store needs it: a few tables, and batches that are written whole and synced.

use std::io::ErrorKind;
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::time::Duration;

use fjall::{AbstractTree as _, Database, Keyspace, KeyspaceCreateOptions, PersistMode};

/// A file that is there from the moment on at which an engine is complete.
pub(super) const VERSION_FILE: &str = "version";

/// Blocks are only read when a manager starts, so a cache is of little use.
const CACHE_BYTES: u64 = 4 * 1024 * 1024;
/// How much of a table is in memory before it is written to a file. Small enough for a manager that is idle, large enough that
/// a record which changes often is mostly replaced in memory.
const MEMTABLE_BYTES: u64 = 16 * 1024 * 1024;
/// How large journals that are not written to any more may become before tables are written to free them. All of them are
/// read when a manager starts; less than this the engine does not take.
const JOURNAL_BYTES: u64 = 64 * 1024 * 1024;
/// Threads that write and merge tables. Of several the first is kept free for writing, and while there is something to merge it
/// asks for work without a pause, which takes a core from everything else.
const BACKGROUND_THREADS: usize = 1;
/// Beyond so many memtables that wait, or files that are not merged, of one table, writes wait. fjall would wait itself a little
/// later, and for ever if the threads that do the work have ended, as they do on a full disk.
const MAX_WAITING_MEMTABLES: usize = 2;
const MAX_UNMERGED_FILES: usize = 18;
const BACK_PRESSURE_POLL: Duration = Duration::from_millis(5);

/// The kinds of records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Table {
    Meta,
    Specs,
    Tasks,
    Nodes,
    Events,
    Requests,
}

impl Table {
    pub(super) const ALL: [Self; 6] = [Self::Meta, Self::Specs, Self::Tasks, Self::Nodes, Self::Events, Self::Requests];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Meta => "meta",
            Self::Specs => "specs",
            Self::Tasks => "tasks",
            Self::Nodes => "nodes",
            Self::Events => "events",
            Self::Requests => "requests",
        }
    }
}

/// A record that is put, or removed where there is no value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Write {
    pub(super) table: Table,
    pub(super) key: Vec<u8>,
    pub(super) value: Option<Vec<u8>>,
}

/// Why the engine can't do what it was asked.
#[derive(Debug, thiserror::Error)]
pub(super) enum Problem {
    /// The disk, or what stands for it, refused.
    #[error("{0}")]
    Io(String),
    /// What is stored can't be read.
    #[error("{0}")]
    Damaged(String),
}

impl From<fjall::Error> for Problem {
    fn from(problem: fjall::Error) -> Self {
        let io = match &problem {
            fjall::Error::Io(io) | fjall::Error::Storage(fjall::LsmError::Io(io)) => Some(io),
            _ => None,
        };
        match (io, &problem) {
            (Some(io), _) if io.kind() == ErrorKind::UnexpectedEof => Self::Damaged(format!("a file is cut: {io}")),
            (Some(io), _) => Self::Io(io.to_string()),
            (None, fjall::Error::Poisoned) => Self::Io("writing in the background failed".to_owned()),
            (None, fjall::Error::Locked) => Self::Io("the engine is still in use".to_owned()),
            (None, _) => Self::Damaged(format!("{problem:?}")),
        }
    }
}

/// An open engine.
pub(super) struct Engine {
    database: Database,
    /// In the order of [`Table::ALL`].
    tables: [Keyspace; Table::ALL.len()],
}

impl Engine {
    /// Opens what is in a directory; makes it where there is nothing.
    pub(super) fn open(path: &Path) -> Result<Self, Problem> {
        guarded(|| {
            let database = Database::builder(path)
                .cache_size(CACHE_BYTES)
                .max_journaling_size(JOURNAL_BYTES)
                .worker_threads(BACKGROUND_THREADS)
                .open()?;
            let mut tables = Vec::with_capacity(Table::ALL.len());
            for table in Table::ALL {
                let options = || KeyspaceCreateOptions::default().max_memtable_size(MEMTABLE_BYTES);
                tables.push(database.keyspace(table.name(), options)?);
            }
            match tables.try_into() {
                Ok(tables) => Ok(Self { database, tables }),
                Err(_) => Err(Problem::Damaged("it has other tables than were asked for".to_owned())),
            }
        })
    }

    /// One record.
    pub(super) fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, Problem> {
        guarded(|| Ok(self.table(table).get(key)?.map(|value| value.to_vec())))
    }

    /// All records of a table by key, as they are now.
    pub(super) fn iter(&self, table: Table) -> fjall::Iter {
        self.table(table).iter()
    }

    /// Writes all of it and syncs it, or fails. After a failure nothing more can be written, and whether it is in the store is
    /// seen when the engine is opened anew.
    pub(super) fn write(&self, writes: &[Write]) -> Result<(), Problem> {
        self.wait_for_room()?;
        guarded(|| {
            let mut batch = self.database.batch().durability(Some(PersistMode::SyncData));
            for write in writes {
                let table = self.table(write.table);
                match &write.value {
                    Some(value) => batch.insert(table, write.key.as_slice(), value.as_slice()),
                    None => batch.remove(table, write.key.as_slice()),
                }
            }
            batch.commit()?;
            self.seal_full_memtables()
        })
    }

    /// Gives memtables that are full to the background thread. The engine would ask that thread to do so, at every write until it
    /// has: behind a long merge its queue would fill up, and then it would wait for ever for a place in it itself.
    fn seal_full_memtables(&self) -> Result<(), Problem> {
        for table in &self.tables {
            if table.tree.active_memtable().size() > MEMTABLE_BYTES {
                table.rotate_memtable()?;
            }
        }
        Ok(())
    }

    /// Writes what is only in memory and the journal to tables.
    #[cfg(test)]
    pub(super) fn flush(&self) -> Result<(), Problem> {
        Ok(self.tables.iter().try_for_each(Keyspace::rotate_memtable_and_wait)?)
    }

    /// Waits while memtables and files pile up faster than they are written and merged.
    #[expect(clippy::disallowed_methods, reason = "the engine tells nobody when there is room; this thread may block")]
    fn wait_for_room(&self) -> Result<(), Problem> {
        let is_full = |table: &Keyspace| {
            table.sealed_memtable_count() > MAX_WAITING_MEMTABLES || table.l0_table_count() > MAX_UNMERGED_FILES
        };
        while self.tables.iter().any(is_full) {
            // Says so if the threads that would make room have failed.
            self.database.persist(PersistMode::Buffer)?;
            std::thread::sleep(BACK_PRESSURE_POLL);
        }
        Ok(())
    }

    fn table(&self, table: Table) -> &Keyspace {
        &self.tables[table as usize]
    }
}

/// Runs something of the engine, which panics on some kinds of damage.
fn guarded<T>(run: impl FnOnce() -> Result<T, Problem>) -> Result<T, Problem> {
    match std::panic::catch_unwind(AssertUnwindSafe(run)) {
        Ok(outcome) => outcome,
        Err(panic) => {
            let told = panic.downcast_ref::<String>().map(String::as_str);
            let told = told.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("it does not say why");
            Err(Problem::Damaged(format!("the engine gave up: {told}")))
        }
    }
}
