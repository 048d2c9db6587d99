//! The store in memory, and the task that writes what changed behind it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use davit_core::id::AttemptKey;
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::backend::LOST_KEY;
use super::record::{key_bytes, key_from_bytes};
use super::{Backend, Entry, Error, ImageRecord, Record, image};

/// How often a store is tried that this process may be about to close: a worker that changes its cluster, and changes back,
/// does so.
const LOCKED_TRIES: u32 = 10;
const LOCKED_PAUSE: Duration = Duration::from_millis(100);

/// What the worker keeps. Dropping it closes it, after a last write.
#[derive(Debug)]
pub struct LocalStore {
    shared: Arc<Shared>,
    has_disk: bool,
    _closes: DropGuard,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Notify,
}

/// Of what there is a record.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Name {
    Attempt(AttemptKey),
    Image(String),
    /// That something is lost.
    Loss,
}

#[derive(Debug, Default)]
struct State {
    records: BTreeMap<AttemptKey, Record>,
    /// By the engine's id of each.
    images: BTreeMap<String, ImageRecord>,
    /// There may have been records of which nothing is known.
    has_lost: bool,
    /// Not written yet as they are now.
    unwritten: BTreeSet<Name>,
    /// Who waits for the next batch.
    waiting: Vec<oneshot::Sender<Result<(), Error>>>,
    /// Whether one of them needs it on the disk.
    sync: bool,
    closed: bool,
}

impl LocalStore {
    /// Reads all that a backend has. An entry that can't be understood is told and left alone.
    ///
    /// # Errors
    /// When the backend fails.
    pub async fn open(backend: Box<dyn Backend>) -> Result<Self, Error> {
        let has_disk = backend.has_disk();
        let (backend, entries) = load(backend).await?;
        let (mut records, mut images, mut has_lost) = (BTreeMap::new(), BTreeMap::new(), false);
        for (key, value) in entries {
            if key == LOST_KEY {
                has_lost = true;
                continue;
            }
            if let Some(id) = image::key_from_bytes(&key) {
                match ImageRecord::from_bytes(&value) {
                    Some(record) => drop(images.insert(id, record)),
                    None => tracing::error!(id, "the worker's store has a record that can't be understood"),
                }
                continue;
            }
            let Some(key) = key_from_bytes(&key) else {
                tracing::error!("the worker's store has an entry of an unknown kind; it is left alone");
                continue;
            };
            match Record::from_bytes(&value) {
                Some(record) => {
                    records.insert(key, record);
                }
                None => {
                    has_lost = true;
                    tracing::error!(%key, "the worker's store has a record that can't be understood");
                }
            }
        }
        let shared = Arc::new(Shared {
            state: Mutex::new(State { records, images, has_lost, ..State::default() }),
            ..Shared::default()
        });
        let closing = CancellationToken::new();
        tokio::spawn(write_behind(Arc::clone(&shared), backend, closing.clone()));
        Ok(Self { shared, has_disk, _closes: closing.drop_guard() })
    }

    /// All records.
    #[must_use]
    pub fn records(&self) -> BTreeMap<AttemptKey, Record> {
        self.shared.state.lock().records.clone()
    }

    /// The record of an attempt.
    #[must_use]
    pub fn record(&self, key: AttemptKey) -> Option<Record> {
        self.shared.state.lock().records.get(&key).cloned()
    }

    /// Begins to keep a record, in memory at first: it is written with its next change.
    pub fn keep(&self, key: AttemptKey, record: Record) {
        self.shared.state.lock().records.insert(key, record);
    }

    /// Changes a record, which is written soon. One that is not kept is left so.
    pub fn note(&self, key: AttemptKey, change: impl FnOnce(&mut Record)) {
        let mut state = self.shared.state.lock();
        let Some(record) = state.records.get_mut(&key) else { return };
        change(record);
        state.unwritten.insert(Name::Attempt(key));
        drop(state);
        self.shared.changed.notify_one();
    }

    /// Changes a record and waits until it is written; with `sync`, until it has reached the disk.
    ///
    /// # Errors
    /// When it could not be written. The change stays and is written with the next one.
    pub async fn write(&self, key: AttemptKey, sync: bool, change: impl FnOnce(&mut Record)) -> Result<(), Error> {
        self.wait_for_batch(sync, |state| {
            if let Some(record) = state.records.get_mut(&key) {
                change(record);
            }
            state.unwritten.insert(Name::Attempt(key));
        })
        .await
    }

    /// Forgets an attempt and waits until that is written.
    ///
    /// # Errors
    /// When it could not be written. It is written with the next change.
    pub async fn remove(&self, key: AttemptKey) -> Result<(), Error> {
        self.wait_for_batch(false, |state| {
            state.records.remove(&key);
            state.unwritten.insert(Name::Attempt(key));
        })
        .await
    }

    /// The images that this worker pulled, by the engine's id of each.
    #[must_use]
    pub fn images(&self) -> BTreeMap<String, ImageRecord> {
        self.shared.state.lock().images.clone()
    }

    /// Changes what is kept of an image, which is written soon. `None`: nothing is, or is to be.
    pub fn note_image(&self, id: &str, change: impl FnOnce(Option<&ImageRecord>) -> Option<ImageRecord>) {
        let mut state = self.shared.state.lock();
        let known = state.images.get(id);
        let next = change(known);
        if next.as_ref() == known {
            return;
        }
        match next {
            Some(record) => state.images.insert(id.to_owned(), record),
            None => state.images.remove(id),
        };
        state.unwritten.insert(Name::Image(id.to_owned()));
        drop(state);
        self.shared.changed.notify_one();
    }

    /// Whether there may have been records of which nothing is known any more. Not forgotten, also by a worker that is
    /// restarted, before [`LocalStore::made_up_for`].
    #[must_use]
    pub fn has_lost(&self) -> bool {
        self.shared.state.lock().has_lost
    }

    /// What the lost records told, as far as it matters, is kept again: waits until all of it is on the disk.
    ///
    /// # Errors
    /// When it could not be written. It is written with the next change.
    pub async fn made_up_for(&self) -> Result<(), Error> {
        self.wait_for_batch(true, |state| {
            state.has_lost = false;
            state.unwritten.extend(state.records.keys().copied().map(Name::Attempt));
            state.unwritten.insert(Name::Loss);
        })
        .await
    }

    /// Waits until all that is kept has reached the disk.
    ///
    /// # Errors
    /// When it could not be written.
    pub async fn flush(&self) -> Result<(), Error> {
        if !self.has_disk {
            return Ok(());
        }
        self.wait_for_batch(true, |_| {}).await
    }

    async fn wait_for_batch(&self, sync: bool, change: impl FnOnce(&mut State)) -> Result<(), Error> {
        let (written, waits) = oneshot::channel();
        {
            let mut state = self.shared.state.lock();
            if state.closed {
                return Err(Error::Closed);
            }
            change(&mut state);
            state.sync |= sync;
            state.waiting.push(written);
        }
        self.shared.changed.notify_one();
        waits.await.unwrap_or(Err(Error::Closed))
    }
}

async fn load(mut backend: Box<dyn Backend>) -> Result<(Box<dyn Backend>, Vec<Entry>), Error> {
    let mut tries = 1;
    loop {
        let loaded;
        (backend, loaded) = call(backend, |backend| backend.load()).await?;
        match loaded {
            Err(Error::Locked { .. }) if tries < LOCKED_TRIES => {
                tries += 1;
                tokio::time::sleep(LOCKED_PAUSE).await;
            }
            loaded => return Ok((backend, loaded?)),
        }
    }
}

/// Makes a call where it may take its time. Fails when the process ends meanwhile, or the call panics.
async fn call<T: Send + 'static>(
    mut backend: Box<dyn Backend>,
    work: impl FnOnce(&mut dyn Backend) -> T + Send + 'static,
) -> Result<(Box<dyn Backend>, T), Error> {
    let blocks = backend.blocks();
    let run = move || {
        let answer = work(backend.as_mut());
        (backend, answer)
    };
    if blocks { tokio::task::spawn_blocking(run).await.map_err(|_| Error::Closed) } else { Ok(run()) }
}

/// One write, and who waits for it.
struct Batch {
    keys: BTreeSet<Name>,
    changes: Vec<super::Change>,
    waiting: Vec<oneshot::Sender<Result<(), Error>>>,
    sync: bool,
}

impl State {
    fn take_batch(&mut self) -> Option<Batch> {
        if self.unwritten.is_empty() && self.waiting.is_empty() {
            return None;
        }
        let keys = std::mem::take(&mut self.unwritten);
        let change = |name: &Name| match name {
            Name::Attempt(key) => (key_bytes(*key), self.records.get(key).map(|record| record.to_bytes(*key))),
            Name::Loss => (LOST_KEY.to_vec(), self.has_lost.then(Vec::new)),
            Name::Image(id) => (image::key_bytes(id), self.images.get(id).map(ImageRecord::to_bytes)),
        };
        let changes = keys.iter().map(change).collect();
        let (waiting, sync) = (std::mem::take(&mut self.waiting), std::mem::take(&mut self.sync));
        Some(Batch { keys, changes, waiting, sync })
    }
}

async fn write_behind(shared: Arc<Shared>, mut backend: Box<dyn Backend>, closing: CancellationToken) {
    let mut failing = false;
    loop {
        let closes = closing.run_until_cancelled(shared.changed.notified()).await.is_none();
        // Bound first: the guard must not live across an await.
        let batch = {
            let mut state = shared.state.lock();
            state.closed |= closes;
            state.take_batch()
        };
        if let Some(Batch { keys, changes, waiting, sync }) = batch {
            let written = match call(backend, move |backend| backend.write(changes, sync)).await {
                Ok((returned, written)) => {
                    backend = returned;
                    written
                }
                // The backend is lost: nothing can be written any more.
                Err(_) => return shared.close(waiting),
            };
            if let Err(error) = &written {
                let mut state = shared.state.lock();
                state.unwritten.extend(keys);
                // What was to reach the disk does so with the next batch.
                state.sync |= sync;
                drop(state);
                if !failing {
                    tracing::error!(%error, "the worker can't write its store; it tries again with the next change");
                }
            }
            failing = written.is_err();
            for waits in waiting {
                // Whoever waited may have given up.
                let _ = waits.send(written.clone());
            }
        }
        if closes {
            return;
        }
    }
}

impl Shared {
    fn close(&self, waiting: Vec<oneshot::Sender<Result<(), Error>>>) {
        let mut state = self.state.lock();
        state.closed = true;
        // Dropping them tells those who wait.
        drop((waiting, std::mem::take(&mut state.waiting)));
    }
}
