//! What a worker keeps to be the same node after a restart: its id and its cluster, in its data directory.

use std::fmt::Debug;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use davit_core::id::{ClusterId, NodeId};
use davit_core::spec::check_name;
use davit_svc_kit::ids::IdSource;
use davit_svc_kit::mark::sync_parent;
use nix::fcntl::{Flock, FlockArg};

use crate::lease::LeaseFile;
use crate::local_store::{Backend, FjallBackend};

mod foreign;

const LOCK: &str = "lock";
const NODE_ID: &str = "node-id";
const CLUSTER: &str = "cluster";
const LEASE: &str = "lease";
const STORE: &str = "store";
/// Written and removed again, to see whether there is room.
const ROOM: &str = "room";
/// What a few records and the first output of a task take.
const ROOM_BYTES: usize = 64 * 1024;

/// The data directory can't be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It can't be read or written.
    #[error("can't use the data directory: {}: {source}", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It holds something that is no worker's. Nothing was written into it.
    #[error("{} is no worker's data directory: {problem}; use another --data-dir", path.display())]
    Foreign {
        /// Which directory.
        path: PathBuf,
        /// What is there.
        problem: String,
    },
    /// It holds a worker's records and not its node's id. Nothing was written into it.
    #[error(
        "{} holds `{found}` of a worker, and no node-id: restore that, or empty the directory to begin as a new node",
        path.display()
    )]
    NoId {
        /// Which directory.
        path: PathBuf,
        /// What is there.
        found: String,
    },
    /// Another worker uses it.
    #[error("another worker runs with the data directory {}; give each its own with --data-dir", path.display())]
    InUse {
        /// Which directory.
        path: PathBuf,
    },
    /// A file in it does not hold what it should.
    #[error(
        "{} holds `{content}`, which is no {expected}; restore it, or empty the directory to begin as a new node",
        path.display()
    )]
    Corrupt {
        /// Which file.
        path: PathBuf,
        /// What it holds.
        content: String,
        /// What it should hold.
        expected: &'static str,
    },
}

/// The cluster that a worker is of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Membership {
    /// Its name.
    pub cluster: String,
    /// Its id; `None`: its manager did not say.
    pub cluster_id: Option<ClusterId>,
}

/// What a worker keeps to be the same node after a restart.
pub trait Home: Debug + Send + Sync {
    /// The node's id.
    fn node_id(&self) -> NodeId;

    /// The cluster that welcomed this worker last; `None` if none ever did.
    ///
    /// # Errors
    /// When it can't be read, or is no cluster's name.
    fn membership(&self) -> Result<Option<Membership>, Error>;

    /// Notes the cluster that welcomed this worker.
    ///
    /// # Errors
    /// When it can't be written.
    fn set_membership(&self, membership: &Membership) -> Result<(), Error>;

    /// Where the store of a cluster's attempts is. The name must be a valid one.
    fn store(&self, cluster: &str) -> Box<dyn Backend>;

    /// Until which uptime the lease lasts, as noted last. Zero when it has ended for certain.
    fn lease(&self) -> Duration;

    /// Notes that the lease lasts until this uptime.
    ///
    /// # Errors
    /// When it can't be written.
    fn renew_lease(&self, until: Duration) -> Result<(), Error>;

    /// Whether there is room to write something down.
    ///
    /// # Errors
    /// When there is none, or it can't be written to.
    fn check_room(&self) -> Result<(), Error>;
}

/// A worker's data directory. No other worker can open it while this lives.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    node_id: NodeId,
    lease: LeaseFile,
    /// Held for its lock; the kernel frees it also when the process is killed.
    _lock: Flock<File>,
}

impl DataDir {
    /// Opens the directory, makes it if it is not there, and the node's id with it.
    ///
    /// # Errors
    /// When it holds something else or the records of a worker without its id, another worker has it open, or it can't be used.
    pub fn open(path: &Path, ids: &dyn IdSource) -> Result<Self, Error> {
        fs::create_dir_all(path).map_err(|source| Error::Io { path: path.to_owned(), source })?;
        foreign::check(path)?;
        let lock_path = path.join(LOCK);
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(&lock_path);
        let file = file.map_err(|source| Error::Io { path: lock_path.clone(), source })?;
        let lock = Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, error)| match error {
            nix::errno::Errno::EWOULDBLOCK => Error::InUse { path: path.to_owned() },
            error => Error::Io { path: lock_path, source: error.into() },
        })?;
        let id_path = path.join(NODE_ID);
        let node_id = match read(&id_path)? {
            Some(text) => text.parse().map_err(|_| Error::Corrupt {
                path: id_path,
                content: text,
                expected: "node id (a UUID)",
            })?,
            None => {
                let node_id = ids.node_id();
                write(&id_path, &node_id.to_string())?;
                node_id
            }
        };
        let lease_path = Self::lease_path(path);
        let lease = LeaseFile::new(&lease_path).map_err(|source| Error::Io { path: lease_path, source })?;
        Ok(Self { path: path.to_owned(), node_id, lease, _lock: lock })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the lease is in the data directory at this path.
    #[must_use]
    pub fn lease_path(path: &Path) -> PathBuf {
        path.join(LEASE)
    }
}

impl Home for DataDir {
    fn node_id(&self) -> NodeId {
        self.node_id
    }

    fn membership(&self) -> Result<Option<Membership>, Error> {
        let path = self.path.join(CLUSTER);
        let Some(content) = read(&path)? else { return Ok(None) };
        // The name, and in a second line the id.
        let (name, id) = content.split_once('\n').map_or((content.as_str(), None), |(name, id)| (name, Some(id)));
        let cluster_id = id.map(str::parse).transpose().ok();
        match cluster_id.filter(|_| check_name(name).is_ok()) {
            Some(cluster_id) => Ok(Some(Membership { cluster: name.to_owned(), cluster_id })),
            None => Err(Error::Corrupt { path, content, expected: "name of a cluster with its id" }),
        }
    }

    fn set_membership(&self, membership: &Membership) -> Result<(), Error> {
        let Membership { cluster, cluster_id } = membership;
        let text = cluster_id.map_or_else(|| cluster.clone(), |cluster_id| format!("{cluster}\n{cluster_id}"));
        write(&self.path.join(CLUSTER), &text)
    }

    fn store(&self, cluster: &str) -> Box<dyn Backend> {
        let path = self.path.join(STORE).join(cluster);
        // A store is made before the membership is noted.
        match self.membership() {
            Ok(Some(membership)) if membership.cluster == cluster => Box::new(FjallBackend::known(path)),
            _ => Box::new(FjallBackend::new(path)),
        }
    }

    fn lease(&self) -> Duration {
        self.lease.read()
    }

    fn renew_lease(&self, until: Duration) -> Result<(), Error> {
        self.lease.renew(until).map_err(|source| Error::Io { path: self.lease.path().to_owned(), source })
    }

    fn check_room(&self) -> Result<(), Error> {
        let path = self.path.join(ROOM);
        let written = fs::write(&path, [0; ROOM_BYTES]);
        // What could be written of it must not stay.
        let removed = fs::remove_file(&path);
        written.and(removed).map_err(|source| Error::Io { path, source })
    }
}

fn read(path: &Path) -> Result<Option<String>, Error> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text.trim().to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(Error::Io { path: path.to_owned(), source }),
    }
}

/// The whole text or none of it, also if the machine fails meanwhile.
fn write(path: &Path, text: &str) -> Result<(), Error> {
    let unfinished = unfinished(path);
    let write = || {
        let mut file = File::create(&unfinished)?;
        writeln!(file, "{text}")?;
        file.sync_all()?;
        fs::rename(&unfinished, path)?;
        sync_parent(path)
    };
    write().map_err(|source| Error::Io { path: path.to_owned(), source })
}

/// Where a file is written before it gets its name.
fn unfinished(path: &Path) -> PathBuf {
    path.with_extension("new")
}

#[cfg(test)]
mod tests {
    use davit_svc_kit::ids::SeededSource;

    use super::*;
    use crate::local_store::LocalStore;

    #[test]
    fn a_restarted_worker_is_the_same_node() {
        let directory = tempfile::tempdir().unwrap();
        let first = DataDir::open(directory.path(), &SeededSource::new(1)).unwrap();
        let node_id = first.node_id();
        assert_eq!(first.membership().unwrap(), None);
        for cluster_id in [None, Some(SeededSource::new(3).cluster_id())] {
            let membership = Membership { cluster: "prod".to_owned(), cluster_id };
            first.set_membership(&membership).unwrap();
            assert_eq!(first.membership().unwrap(), Some(membership));
        }
        let membership = first.membership().unwrap();
        drop(first);
        let second = DataDir::open(directory.path(), &SeededSource::new(2)).unwrap();
        assert_eq!(second.node_id(), node_id);
        assert_eq!(second.membership().unwrap(), membership);
    }

    #[tokio::test]
    async fn records_that_are_gone_from_the_directory_of_a_member_are_lost_and_a_newcomer_has_none_to_lose() {
        let directory = tempfile::tempdir().unwrap();
        let home = DataDir::open(directory.path(), &SeededSource::new(1)).unwrap();
        let has_lost = async |cluster: &str| LocalStore::open(home.store(cluster)).await.unwrap().has_lost();
        assert!(!has_lost("prod").await);
        home.set_membership(&Membership { cluster: "prod".to_owned(), cluster_id: None }).unwrap();
        assert!(!has_lost("prod").await);
        fs::remove_dir_all(directory.path().join(STORE)).unwrap();
        assert!(!has_lost("another").await);
        assert!(has_lost("prod").await);
    }

    #[test]
    fn two_workers_cannot_share_a_directory() {
        let directory = tempfile::tempdir().unwrap();
        let _first = DataDir::open(directory.path(), &SeededSource::new(1)).unwrap();
        let error = DataDir::open(directory.path(), &SeededSource::new(2)).unwrap_err();
        assert!(matches!(error, Error::InUse { .. }), "{error}");
    }

    #[test]
    fn a_broken_id_is_not_replaced_in_silence() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join(NODE_ID), "half an i").unwrap();
        let error = DataDir::open(directory.path(), &SeededSource::new(1)).unwrap_err();
        assert!(error.to_string().contains("half an i"), "{error}");
    }
}
