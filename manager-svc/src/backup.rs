//! `davit-manager backup`: a live manager's state into a file.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use davit_proto::v1;
use davit_proto::v1::cluster_service_client::ClusterServiceClient;
use davit_svc_kit::client::{AddressError, endpoint};
use tempfile::NamedTempFile;
use tonic::Status;

use crate::store::{BackupError, BackupInfo, check_backup};

/// Why there is no backup. No file is left.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The manager's address is none.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// The manager can't be reached.
    #[error("no manager answers at {address}")]
    Unreachable {
        /// Where.
        address: String,
        /// Why.
        #[source]
        problem: tonic::transport::Error,
    },
    /// The manager answered with an error, or its answer ended.
    #[error("the manager at {address} gives no backup: {}", status.message())]
    Refused {
        /// Where.
        address: String,
        /// What it said.
        status: Box<Status>,
    },
    /// The file can't be written.
    #[error("{} can't be written", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        problem: std::io::Error,
    },
    /// There is a file of this name.
    #[error("{} is there already; a backup is never written over another", path.display())]
    Exists {
        /// Which.
        path: PathBuf,
    },
    /// The manager is another cluster's than was named.
    #[error("the manager at {address} is of cluster `{found}`, and --cluster says `{asked}`; there is no backup")]
    OtherCluster {
        /// Where.
        address: String,
        /// The cluster that it is of.
        found: String,
        /// The cluster that was to be saved.
        asked: String,
    },
    /// What came is no whole backup.
    #[error("what the manager at {address} sent is no backup: {problem}")]
    Damaged {
        /// Where.
        address: String,
        /// What is wrong.
        problem: BackupError,
    },
}

/// Writes the state of the cluster whose manager has this address, if it is this cluster, where one is named. The file gets its
/// name once all of it is there, was read again, and is durable.
///
/// # Errors
/// When the manager gives none or is of another cluster, or the file can't be written.
pub async fn backup(address: &str, file: &Path, cluster: Option<&str>) -> Result<BackupInfo, Error> {
    if file.exists() {
        return Err(Error::Exists { path: file.to_owned() });
    }
    let io = |problem| Error::File { path: file.to_owned(), problem };
    let refused = |status| Error::Refused { address: address.to_owned(), status: Box::new(status) };
    let channel = endpoint(address)?.connect().await;
    let channel = channel.map_err(|problem| Error::Unreachable { address: address.to_owned(), problem })?;
    let answer = ClusterServiceClient::new(channel).backup_cluster(v1::BackupClusterRequest {}).await;
    let mut chunks = answer.map_err(refused)?.into_inner();
    let parent = match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) | None => Path::new("."),
    };
    let mut temporary = NamedTempFile::with_prefix_in(".davit-backup-", parent).map_err(io)?;
    while let Some(v1::BackupClusterResponse { chunk }) = chunks.message().await.map_err(refused)? {
        temporary.write_all(&chunk).map_err(io)?;
    }
    temporary.as_file().sync_all().map_err(io)?;
    let info = check_backup(temporary.path());
    let info = info.map_err(|problem| Error::Damaged { address: address.to_owned(), problem })?;
    if let Some(asked) = cluster.filter(|asked| *asked != info.cluster) {
        let (address, found, asked) = (address.to_owned(), info.cluster, asked.to_owned());
        return Err(Error::OtherCluster { address, found, asked });
    }
    temporary.persist_noclobber(file).map_err(|problem| io(problem.error))?;
    std::fs::File::open(parent).and_then(|parent| parent.sync_all()).map_err(io)?;
    Ok(info)
}
