//! Has a worker remove what it sees of other nodes and nobody looks after.

use std::collections::BTreeSet;
use std::time::Duration;

use davit_proto::convert::ForeignAttempt;
use tokio::sync::{mpsc, watch};
use tracing::info;

use super::Api;
use crate::metrics;
use crate::reconcile::why_abandoned;

/// How often what a worker sees is judged anew: it tells only what changes, and the cluster changes too.
const LOOK_PERIOD: Duration = Duration::from_secs(2);

/// What of this nobody looks after, and why. Lets go of the version of the cluster by which it judges: a session that kept one would
/// keep all tasks as they were then, for as long as it lasts.
fn abandoned(api: &Api, attempts: Vec<ForeignAttempt>) -> Vec<(ForeignAttempt, &'static str)> {
    let state = api.writer.state();
    let judged = attempts.into_iter().filter_map(|found| Some((found, why_abandoned(&state, &found)?)));
    judged.collect()
}

/// Judges what one worker sees, again and again while it sees something. Ends with its session.
pub(super) async fn judge(
    api: &Api,
    mut seen: watch::Receiver<Vec<ForeignAttempt>>,
    orders: mpsc::Sender<Vec<ForeignAttempt>>,
) {
    // Nodes that are not back yet might be known to their workers alone, if the state was restored from a backup.
    let mut settled = api.settled.clone();
    if settled.wait_for(|settled| *settled).await.is_err() {
        return std::future::pending().await;
    }
    let mut told = BTreeSet::new();
    loop {
        let attempts = seen.borrow_and_update().clone();
        let abandoned = abandoned(api, attempts);
        for (found, why) in abandoned.iter().filter(|(found, _)| !told.contains(found)) {
            let ForeignAttempt { node_id, key, .. } = found;
            info!(of_node = %node_id, task_id = %key.task_id, attempt = key.attempt.0, why, "has what another node left removed");
            metrics::foreign_removal();
        }
        let order: Vec<ForeignAttempt> = abandoned.into_iter().map(|(found, _)| found).collect();
        told = order.iter().copied().collect();
        if !order.is_empty() && orders.send(order).await.is_err() {
            return std::future::pending().await;
        }
        let sees_any = !seen.borrow().is_empty();
        tokio::select! {
            changed = seen.changed() => if changed.is_err() { return std::future::pending().await },
            () = tokio::time::sleep(LOOK_PERIOD), if sees_any => {}
        }
    }
}
