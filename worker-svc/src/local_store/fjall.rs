//! The store on disk: an LSM tree with a journal (fjall), tuned for some hundred small records rather than for speed.
//!
//! One keyspace holds everything, since each one costs memory. A store that is damaged must not stop a node for ever: it is
//! set aside under another name, told loudly, and an empty one takes its place; the engines' own lists are what is left then. One
//! whose end is missing counts as damaged too: the engine takes a journal that was cut for a torn end, so writes are numbered, and
//! a mark beside the store has the number of the last one that was synced. So does one whose mark can't be read, and one that is
//! gone with its mark.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::DirBuilderExt as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use davit_svc_kit::mark::{Mark, sync_parent};
use fjall::{AbstractTree as _, Database, Keyspace, KeyspaceCreateOptions, PersistMode};

use super::backend::LOST_KEY;
use super::{Backend, Change, Entry, Error};

/// The format of the records that this worker writes.
const FORMAT: u32 = 1;
const FORMAT_KEY: &[u8] = b"!format";
/// How many writes there were.
const WRITES_KEY: &[u8] = b"!writes";
const KEYSPACE: &str = "worker";
/// Of blocks that were read. Everything is read once, at the start.
const CACHE_BYTES: u64 = 64 << 10;
/// Beyond it the records in memory go to a file of their own.
const MEMTABLE_BYTES: u64 = 512 << 10;
/// The least that is allowed.
const JOURNAL_BYTES: u64 = 64 << 20;
/// Likewise.
const CACHED_FILES: usize = 10;

/// A store in a directory.
pub struct FjallBackend {
    path: PathBuf,
    /// Whether it was there before, for certain.
    was_there: bool,
    /// `None` after a failed write: what is on the disk can only be known by opening it anew.
    open: Option<Open>,
}

struct Open {
    entries: Keyspace,
    database: Database,
    mark: Mark,
    /// How many there were.
    writes: u64,
}

impl std::fmt::Debug for FjallBackend {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FjallBackend").field("path", &self.path).finish_non_exhaustive()
    }
}

impl FjallBackend {
    /// The store in this directory, which need not be there. Opens it at the first use.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        Self { path, was_there: false, open: None }
    }

    /// The same, of which it is known for certain that it was there before: that it is not is a loss.
    #[must_use]
    pub fn known(path: PathBuf) -> Self {
        Self { was_there: true, ..Self::new(path) }
    }

    fn open(&mut self) -> Result<&mut Open, Error> {
        let open = match self.open.take() {
            Some(open) => open,
            None => open(&self.path, self.was_there)?,
        };
        Ok(self.open.insert(open))
    }

    fn read(&mut self) -> Result<Vec<Entry>, Error> {
        let path = self.path.clone();
        let open = self.open()?;
        let mut entries = Vec::new();
        for entry in open.entries.iter() {
            let (key, value) = entry.into_inner().map_err(|error| judge(&path, &error))?;
            if ![FORMAT_KEY, WRITES_KEY].contains(&&*key) {
                entries.push((key.to_vec(), value.to_vec()));
            }
        }
        Ok(entries)
    }
}

impl Backend for FjallBackend {
    fn blocks(&self) -> bool {
        true
    }

    fn load(&mut self) -> Result<Vec<Entry>, Error> {
        match self.read() {
            Err(Error::Damaged { path, problem }) => {
                self.open = None;
                let aside = set_aside(&path).map_err(|error| unusable(&path, &error))?;
                tracing::error!(
                    path = %path.display(), kept_as = %aside.display(), problem,
                    "the worker's store is damaged and was set aside; what runs here is taken up as the engines tell it"
                );
                metrics::counter!("davit_worker_stores_set_aside_total").increment(1);
                self.open = Some(begin_anew(&path)?);
                self.read()
            }
            loaded => loaded,
        }
    }

    fn write(&mut self, changes: Vec<Change>, sync: bool) -> Result<(), Error> {
        let path = self.path.clone();
        let open = self.open()?;
        let mode = if sync { PersistMode::SyncData } else { PersistMode::Buffer };
        let is_flush = changes.is_empty();
        let writes = if is_flush { open.writes } else { open.writes + 1 };
        let written = if is_flush {
            open.database.persist(mode)
        } else {
            let mut batch = open.database.batch().durability(Some(mode));
            for (key, value) in changes {
                match value {
                    Some(value) => batch.insert(&open.entries, key, value),
                    None => batch.remove(&open.entries, key),
                }
            }
            batch.insert(&open.entries, WRITES_KEY, writes.to_be_bytes());
            // Full memtables are sealed here: the engine would ask its background thread for it at every write, and behind a long
            // merge that thread's queue would fill up, in which it then would wait itself for a place for ever.
            batch.commit().and_then(|()| match open.entries.tree.active_memtable().size() > MEMTABLE_BYTES {
                true => open.entries.rotate_memtable().map(drop),
                false => Ok(()),
            })
        };
        if let Err(error) = written {
            self.open = None;
            return Err(Error::Unusable { path, problem: words(&error) });
        }
        open.writes = writes;
        if sync && let Err(error) = open.mark.set(writes) {
            tracing::debug!(%error, "the mark beside the worker's store can't be written");
        }
        Ok(())
    }
}

/// Opens what is there, and makes it where nothing ever was.
fn open(path: &Path, was_there: bool) -> Result<Open, Error> {
    let (database, entries) = open_engine(path)?;
    let mark_path = mark_path(path);
    let mark = match is_file(&mark_path).map_err(|error| unusable(&mark_path, &error))? {
        true => Mark::open(&mark_path).map_err(|problem| damaged(path, &problem))?,
        false => create_mark(path)?,
    };
    let unreadable = |error: fjall::Error| judge(path, &error);
    let is_empty = match entries.get(FORMAT_KEY).map_err(unreadable)? {
        Some(bytes) => match bytes.as_ref().try_into().map(u32::from_be_bytes) {
            Ok(FORMAT) => false,
            Ok(found) if found > FORMAT => {
                return Err(Error::Newer { path: path.to_owned(), found, known: FORMAT });
            }
            _ => return Err(damaged(path, "its format is none that ever was")),
        },
        None if entries.is_empty().map_err(unreadable)? => true,
        None => return Err(damaged(path, "it has entries and no format")),
    };
    let writes = match entries.get(WRITES_KEY).map_err(unreadable)? {
        // Workers did not always count.
        None => 0,
        Some(bytes) => match bytes.as_ref().try_into() {
            Ok(bytes) => u64::from_be_bytes(bytes),
            Err(_) => return Err(damaged(path, "how many writes there were can't be read")),
        },
    };
    if writes < mark.number() {
        let (marked, what) = (mark.number(), if is_empty { "it is empty" } else { "its end was lost" });
        return Err(damaged(path, &format!("{what}: {marked} writes were on the disk, and {writes} are there")));
    }
    if is_empty && was_there {
        return Err(damaged(path, "it is gone, with its mark: this worker is of a cluster already"));
    }
    let open = Open { entries, database, mark, writes };
    if is_empty {
        write_first(path, &open, &[(FORMAT_KEY, &FORMAT.to_be_bytes())])?;
    }
    Ok(open)
}

/// An empty store in the place of one that was set aside. It goes on counting, so that it is not taken for one that was cut, and
/// knows that something was lost.
fn begin_anew(path: &Path) -> Result<Open, Error> {
    let (database, entries) = open_engine(path)?;
    // One that can't be read knows nothing any more.
    let mark = Mark::open(&mark_path(path)).or_else(|_| create_mark(path))?;
    let mut open = Open { entries, database, mark, writes: 0 };
    open.writes = open.mark.number() + 1;
    let first = [(FORMAT_KEY, &FORMAT.to_be_bytes()[..]), (WRITES_KEY, &open.writes.to_be_bytes()), (LOST_KEY, &[])];
    write_first(path, &open, &first)?;
    open.mark.set(open.writes).map_err(|error| unusable(path, &error))?;
    Ok(open)
}

fn write_first(path: &Path, open: &Open, entries: &[(&[u8], &[u8])]) -> Result<(), Error> {
    let mut batch = open.database.batch().durability(Some(PersistMode::SyncAll));
    for (key, value) in entries {
        batch.insert(&open.entries, *key, *value);
    }
    batch.commit().map_err(|error| judge(path, &error))
}

/// Where the mark of the store in this directory is.
fn mark_path(path: &Path) -> PathBuf {
    // Names of clusters, which stores bear, begin with a letter or a digit.
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!("_mark-{name}"))
}

/// Whether there is a file, which can be read and written.
fn is_file(path: &Path) -> io::Result<bool> {
    match fs::File::options().read(true).write(true).open(path) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

fn create_mark(path: &Path) -> Result<Mark, Error> {
    Mark::create(&mark_path(path)).map_err(|error| unusable(path, &error))
}

fn open_engine(path: &Path) -> Result<(Database, Keyspace), Error> {
    let made = || {
        // Specs may hold secrets in their environment.
        fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
        sync_parent(path)
    };
    made().map_err(|error| unusable(path, &error))?;
    // It panics at some kinds of damage.
    let opened = catch_unwind(AssertUnwindSafe(|| {
        Database::builder(path)
            .cache_size(CACHE_BYTES)
            .max_journaling_size(JOURNAL_BYTES)
            .max_cached_files(Some(CACHED_FILES))
            .worker_threads(1)
            .open()
    }));
    let database = match opened {
        Err(_) => return Err(damaged(path, "the engine broke while it read it")),
        Ok(Err(fjall::Error::Locked)) => return Err(Error::Locked { path: path.to_owned() }),
        Ok(Err(error)) => return Err(judge(path, &error)),
        Ok(Ok(database)) => database,
    };
    let options = || KeyspaceCreateOptions::default().max_memtable_size(MEMTABLE_BYTES);
    let entries = database.keyspace(KEYSPACE, options).map_err(|error| judge(path, &error))?;
    Ok((database, entries))
}

/// Gives a damaged store another name, so that a person can look at it.
fn set_aside(path: &Path) -> io::Result<PathBuf> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let mut number = 1;
    loop {
        let aside = path.with_file_name(format!("{name}.damaged-{number}"));
        if !aside.try_exists()? {
            fs::rename(path, &aside)?;
            sync_parent(&aside)?;
            return Ok(aside);
        }
        number += 1;
    }
}

/// Whether an error of the engine is about the machine, or about what is on the disk.
fn judge(path: &Path, error: &fjall::Error) -> Error {
    match error {
        fjall::Error::Io(io) | fjall::Error::Storage(fjall::LsmError::Io(io)) if !is_damage(io.kind()) => {
            unusable(path, io)
        }
        _ => damaged(path, &words(error)),
    }
}

/// A file that is missing, cut or holds nonsense. All else (no permission, no space, too many open files) may pass.
fn is_damage(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::NotFound
            | ErrorKind::AlreadyExists
            | ErrorKind::InvalidData
            | ErrorKind::InvalidInput
            | ErrorKind::UnexpectedEof
    )
}

fn words(error: &fjall::Error) -> String {
    match error {
        fjall::Error::Io(io) | fjall::Error::Storage(fjall::LsmError::Io(io)) => io.to_string(),
        other => other.to_string(),
    }
}

fn damaged(path: &Path, problem: &str) -> Error {
    Error::Damaged { path: path.to_owned(), problem: problem.to_owned() }
}

fn unusable(path: &Path, error: &io::Error) -> Error {
    Error::Unusable { path: path.to_owned(), problem: error.to_string() }
}
