//! Keeps an eye on claims: tasks get the room that is kept for them as soon as it is there. Needs no scheduler.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use davit_svc_kit::clock::Clock;
use davit_svc_kit::shutdown::Shutdown;
use tracing::warn;

use crate::commands::{has_ripe_claim, next_claim_due, settle_claims};
use crate::writer::Handle;

/// How long the store gets to recover when a change could not be committed.
const PAUSE: Duration = Duration::from_millis(100);

/// Runs until shutdown.
pub(crate) async fn keep_claims(writer: Handle, clock: Arc<dyn Clock>, shutdown: Shutdown) {
    let mut changes = writer.watch();
    loop {
        let now = clock.now();
        let (is_ripe, next_due) = {
            let state = changes.borrow_and_update();
            (has_ripe_claim(&state, now), next_claim_due(&state, now))
        };
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
        let wait = next_due.map(|at| Duration::try_from(at.duration_since(now)).unwrap_or_default());
        let waited = async {
            tokio::select! {
                changed = changes.changed() => changed.is_ok(),
                () = tokio::time::sleep(wait.unwrap_or_default()), if wait.is_some() => true,
            }
        };
        if shutdown.or_stop(waited).await != Some(true) {
            return;
        }
    }
}
