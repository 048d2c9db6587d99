//! The cluster's state as a file. One version is kept until all of it is sent; pieces are made when they are asked for.

use std::sync::Arc;

use davit_proto::v1;
use davit_svc_kit::grpc::{ApiError, ErrorKind};
use davit_svc_kit::shutdown::Shutdown;
use futures::{Stream, stream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::Status;

use super::Api;
use super::errors::{RETRY_AFTER, stopping};
use crate::store::BackupWriter;

struct Sending {
    writer: BackupWriter,
    shutdown: Shutdown,
    _permit: OwnedSemaphorePermit,
}

/// Begins a backup of the cluster as it is now.
///
/// # Errors
/// When as many as may be are being made.
pub(super) fn begin(
    api: &Api,
    backups: &Arc<Semaphore>,
) -> Result<impl Stream<Item = Result<v1::BackupClusterResponse, Status>> + Send + use<>, ApiError> {
    let Ok(permit) = Arc::clone(backups).try_acquire_owned() else {
        let message = "other backups are being made; wait until one is done";
        let error = ApiError::new(ErrorKind::ResourceExhausted, "TOO_MANY_BACKUPS", message);
        return Err(error.with_retry_after(RETRY_AFTER));
    };
    let writer =
        BackupWriter::new(api.writer.state(), &api.cluster.name, api.cluster.cluster_id, api.world.clock.now());
    let sending = Sending { writer, shutdown: api.shutdown.clone(), _permit: permit };
    Ok(stream::unfold(Some(sending), async |sending| {
        let mut sending = sending?;
        if sending.shutdown.is_triggered() {
            return Some((Err(stopping().into()), None));
        }
        // Others get their turn between pieces.
        tokio::task::yield_now().await;
        let chunk = sending.writer.next()?;
        Some((Ok(v1::BackupClusterResponse { chunk }), Some(sending)))
    }))
}
