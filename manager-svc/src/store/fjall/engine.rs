//! fjall, as the store needs it: a few tables, and batches that are written whole and synced.

use std::fmt;
use std::io::ErrorKind;
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use fjall::compaction::Leveled;
use fjall::config::{BlockSizePolicy, FilterPolicy};
use fjall::{AbstractTree as _, Database, Keyspace, KeyspaceCreateOptions, PersistMode};

/// A file that is there in every engine; where it is not, fjall makes a new one.
const VERSION_FILE: &str = "version";
/// Of the engine, where each table has a directory, and one that it keeps itself.
const TABLES_DIR: &str = "keyspaces";
/// Of a table: which of its files are in use. The engine takes a table without it for one that was never finished.
const CURRENT_FILE: &str = "current";

/// Blocks are only read when a manager starts, so a cache is of little use.
const CACHE_BYTES: u64 = 4 * 1024 * 1024;
/// How much of a table is in memory before it is written to a file. Small enough for a manager that is idle, large enough that
/// a record which changes often is mostly replaced in memory.
const MEMTABLE_BYTES: u64 = 16 * 1024 * 1024;
/// Records are read one by one only after a write that failed, all others from end to end: large blocks cost little and are fewer, and
/// filters, which tell in which files a record is not, would only have to be made.
const BLOCK_BYTES: u32 = 32 * 1024;
/// So many files that are not merged yet are merged at once. A record that changes often is rewritten less often so.
const MERGED_AT_ONCE: u8 = 8;
/// So large merged files become. Eight of them are the first level of these, all of which a merge may have to rewrite.
const MERGED_FILE_BYTES: u64 = 32 * 1024 * 1024;
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

/// A record that is put, or removed where there is no value. Values may be secret, and are not printed.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Write {
    pub(super) table: Table,
    pub(super) key: Vec<u8>,
    pub(super) value: Option<Vec<u8>>,
}

impl fmt::Debug for Write {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { table, key, value } = self;
        let mut shown = f.debug_struct("Write");
        shown.field("table", table).field("key", key).field("value_bytes", &value.as_ref().map(Vec::len)).finish()
    }
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

impl Problem {
    /// Of opening an engine. Where one was complete before, a file that is missing, or can't be what it was, is damage too: the
    /// engine says no more of it than the kernel does, and that reads as a wrong path.
    fn of_opening(problem: fjall::Error, was_complete: bool) -> Self {
        use ErrorKind::{AlreadyExists, InvalidData, InvalidInput, NotFound};
        match io(&problem) {
            Some(io) if was_complete && matches!(io.kind(), AlreadyExists | InvalidData | InvalidInput | NotFound) => {
                Self::Damaged(format!("a file of the engine is missing or spoilt: {io}"))
            }
            _ => problem.into(),
        }
    }
}

impl From<fjall::Error> for Problem {
    fn from(problem: fjall::Error) -> Self {
        match (io(&problem), &problem) {
            (Some(io), _) if io.kind() == ErrorKind::UnexpectedEof => Self::Damaged(format!("a file is cut: {io}")),
            (Some(io), _) => Self::Io(io.to_string()),
            (None, fjall::Error::Poisoned) => Self::Io("writing in the background failed".to_owned()),
            (None, fjall::Error::Locked) => Self::Io("the engine is still in use".to_owned()),
            (None, _) => Self::Damaged(format!("{problem:?}")),
        }
    }
}

/// What the kernel said, if that is the problem.
fn io(problem: &fjall::Error) -> Option<&std::io::Error> {
    match problem {
        fjall::Error::Io(io) | fjall::Error::Storage(fjall::LsmError::Io(io)) => Some(io),
        _ => None,
    }
}

/// Makes sure that no table is missing, nor what tells fjall that there is an engine, in the files of one that was made whole. On
/// opening it, fjall removes a table that it takes for unfinished and makes it anew: of one that was in use the files would be lost,
/// and the next start might find a store that looks whole.
fn check_tables(path: &Path) -> Result<(), Problem> {
    let unreadable = |problem: std::io::Error| Problem::Io(problem.to_string());
    if !path.join(VERSION_FILE).try_exists().map_err(unreadable)? {
        return Err(Problem::Damaged(format!("the engine's file `{VERSION_FILE}` is missing")));
    }
    let mut found = 0;
    match std::fs::read_dir(path.join(TABLES_DIR)) {
        Ok(entries) => {
            for entry in entries {
                let current = entry.map_err(unreadable)?.path().join(CURRENT_FILE);
                found += usize::from(current.try_exists().map_err(unreadable)?);
            }
        }
        Err(problem) if problem.kind() == ErrorKind::NotFound => {}
        Err(problem) => return Err(unreadable(problem)),
    }
    let made = Table::ALL.len() + 1;
    if found < made {
        return Err(Problem::Damaged(format!(
            "{} of its {made} tables are gone from `{TABLES_DIR}`, or lack their file `{CURRENT_FILE}`",
            made - found
        )));
    }
    Ok(())
}

/// What a new table is made with. One that is there keeps its own for as long as it lasts.
fn table_options() -> KeyspaceCreateOptions {
    let merging = Leveled::default().with_l0_threshold(MERGED_AT_ONCE).with_table_target_size(MERGED_FILE_BYTES);
    KeyspaceCreateOptions::default()
        .max_memtable_size(MEMTABLE_BYTES)
        .data_block_size_policy(BlockSizePolicy::all(BLOCK_BYTES))
        .filter_policy(FilterPolicy::disabled())
        .compaction_strategy(Arc::new(merging))
}

/// An open engine.
pub(super) struct Engine {
    database: Database,
    /// In the order of [`Table::ALL`].
    tables: [Keyspace; Table::ALL.len()],
}

impl Engine {
    /// Makes an engine with all its tables, where there is none.
    pub(super) fn make(path: &Path) -> Result<Self, Problem> {
        Self::begin(path, false)
    }

    /// Opens an engine that was made whole. Looks whether it still is before anything of it is written.
    pub(super) fn open(path: &Path) -> Result<Self, Problem> {
        check_tables(path)?;
        Self::begin(path, true)
    }

    fn begin(path: &Path, was_complete: bool) -> Result<Self, Problem> {
        guarded(|| {
            let database = Database::builder(path)
                .cache_size(CACHE_BYTES)
                .max_journaling_size(JOURNAL_BYTES)
                .worker_threads(BACKGROUND_THREADS)
                .open()
                .map_err(|problem| Problem::of_opening(problem, was_complete))?;
            let mut tables = Vec::with_capacity(Table::ALL.len());
            for table in Table::ALL {
                tables.push(database.keyspace(table.name(), table_options)?);
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

    /// The records of a table whose keys begin like this, by key.
    pub(super) fn iter_prefix(&self, table: Table, prefix: &[u8]) -> fjall::Iter {
        self.table(table).prefix(prefix)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_an_engine_that_was_complete_lacks_is_damage() {
        let is_damage = |kind: ErrorKind, was_complete| {
            let of_engine = || Problem::of_opening(fjall::Error::Io(kind.into()), was_complete);
            let of_table =
                || Problem::of_opening(fjall::Error::Storage(fjall::LsmError::Io(kind.into())), was_complete);
            let [of_engine, of_table] = [of_engine(), of_table()].map(|problem| matches!(problem, Problem::Damaged(_)));
            assert_eq!(of_engine, of_table, "{kind}");
            of_engine
        };
        for kind in [ErrorKind::NotFound, ErrorKind::AlreadyExists, ErrorKind::InvalidInput, ErrorKind::InvalidData] {
            assert!(is_damage(kind, true), "{kind}");
            assert!(!is_damage(kind, false), "{kind}");
        }
        let too_many_open_files = std::io::Error::from_raw_os_error(24).kind();
        for kind in
            [ErrorKind::StorageFull, ErrorKind::PermissionDenied, ErrorKind::ReadOnlyFilesystem, too_many_open_files]
        {
            assert!(!is_damage(kind, true), "{kind}");
        }
        assert!(matches!(Problem::of_opening(fjall::Error::Locked, true), Problem::Io(_)));
    }

    #[test]
    fn what_is_in_the_way_of_a_new_engine_is_no_damage() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(TABLES_DIR), "").unwrap();
        let told = Engine::make(dir.path()).err();
        assert!(matches!(told, Some(Problem::Io(_))), "{told:?}");
    }
}
