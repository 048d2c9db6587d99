//! Keeps an eye on claims: tasks get the room that is kept for them as soon as it is there. Needs no scheduler.

use std::convert::Infallible;
use std::time::Duration;

use davit_svc_kit::shutdown::Shutdown;
use tracing::warn;

use crate::commands::{has_ripe_claim, settle_claims};
use crate::writer::Handle;

/// How long the store gets to recover when a change could not be committed.
const PAUSE: Duration = Duration::from_millis(100);

/// Runs until shutdown.
pub(crate) async fn keep_claims(writer: Handle, shutdown: Shutdown) {
    let mut changes = writer.watch();
    loop {
        let is_ripe = has_ripe_claim(&changes.borrow_and_update());
        if is_ripe {
            let settled = writer.write(|draft| Ok::<usize, Infallible>(settle_claims(draft)));
            match shutdown.or_stop(settled).await {
                None => return,
                // What was changed comes in as the next version.
                Some(Ok(_)) => {}
                Some(Err(problem)) => {
                    warn!(%problem, "claims could not be settled");
                    if shutdown.or_stop(tokio::time::sleep(PAUSE)).await.is_none() {
                        return;
                    }
                    continue;
                }
            }
        }
        match shutdown.or_stop(changes.changed()).await {
            Some(Ok(())) => {}
            Some(Err(_)) | None => return,
        }
    }
}
