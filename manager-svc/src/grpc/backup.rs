//! The cluster's state as a file. One version is kept until all of it is sent, or its reader takes no more.

use std::sync::Arc;
use std::time::Duration;

use davit_proto::v1;
use davit_svc_kit::grpc::{ApiError, ErrorKind};
use davit_svc_kit::shutdown::Shutdown;
use futures::{Stream, stream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tonic::Status;

use super::Api;
use super::errors::{RETRY_AFTER, stopping};
use crate::store::BackupWriter;

/// How long a reader may take for one piece. The version of the cluster that is being sent stays in memory meanwhile.
const PIECE_TIMEOUT: Duration = Duration::from_secs(60);

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
    let (pieces, taken) = mpsc::channel(1);
    // Apart from the stream, which nobody asks for anything while its reader takes nothing.
    let sending = tokio::spawn(send(writer, pieces, api.shutdown.clone(), permit));
    Ok(stream::unfold(Some((taken, sending)), async |open| {
        let (mut taken, sending) = open?;
        if let Some(chunk) = taken.recv().await {
            return Some((Ok(v1::BackupClusterResponse { chunk }), Some((taken, sending))));
        }
        let ended = sending.await.unwrap_or_else(|problem| Err(ApiError::internal(format!("it broke off: {problem}"))));
        ended.err().map(|error| (Err(error.into()), None))
    }))
}

async fn send(
    writer: BackupWriter,
    pieces: mpsc::Sender<Vec<u8>>,
    shutdown: Shutdown,
    _permit: OwnedSemaphorePermit,
) -> Result<(), ApiError> {
    for piece in writer {
        let sent = tokio::select! {
            sent = tokio::time::timeout(PIECE_TIMEOUT, pieces.send(piece)) => sent,
            () = shutdown.triggered() => return Err(stopping()),
        };
        match sent {
            Ok(Ok(())) => {}
            // The reader is gone.
            Ok(Err(_)) => return Ok(()),
            Err(_) => {
                let message = format!("nothing of the backup was read for {} s", PIECE_TIMEOUT.as_secs());
                return Err(ApiError::new(ErrorKind::DeadlineExceeded, "BACKUP_TOO_SLOW", message));
            }
        }
    }
    Ok(())
}
