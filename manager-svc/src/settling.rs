//! The time after a manager's start in which workers come back: until it is over nothing is placed, since what runs is known
//! only when every worker has said what it holds.

use std::sync::Arc;
use std::time::Duration;

use davit_core::id::{NodeId, Revision};
use davit_core::node::NodeState;
use davit_svc_kit::shutdown::Shutdown;
use tokio::time::Instant;
use tracing::{info, warn};

use crate::contacts::Contacts;
use crate::state::ClusterState;
use crate::writer::Handle;

/// How often it is looked whether every worker is back.
const LOOK_PERIOD: Duration = Duration::from_millis(50);

/// Waits until every worker that is expected has registered, or the grace has passed and none waits for its turn, or the manager
/// stops.
/// `newest` is the state as it is then.
pub(crate) async fn settled(
    newest: impl Fn() -> Arc<ClusterState>,
    contacts: &Contacts,
    grace: Duration,
    shutdown: &Shutdown,
) {
    let mut expected = expected(&newest());
    if expected.is_empty() {
        return;
    }
    let (count, began) = (expected.len(), Instant::now());
    info!(nodes = count, grace_secs = grace.as_secs_f64(), "waiting for the workers to register anew");
    let mut looks = tokio::time::interval(LOOK_PERIOD);
    while shutdown.or_stop(looks.tick()).await.is_some() {
        let state = newest();
        forget_those_back(&mut expected, &state, contacts);
        if expected.is_empty() {
            info!(nodes = count, seconds = began.elapsed().as_secs_f64(), "every worker is back");
            return;
        }
        if began.elapsed() >= grace && !contacts.workers_wait() {
            let missing = expected.iter().filter(|node_id| is_missing(**node_id, &state, contacts)).count();
            warn!(missing, nodes = count, "not every worker came back within the grace; going on without them");
            return;
        }
    }
}

/// Waits until the grace has passed, so that also workers which the state knows nothing of had the time to register: it may have
/// been restored from a backup. A new cluster has no such workers. Ends early when the manager stops.
pub(crate) async fn grace_passed(writer: &Handle, grace: Duration, shutdown: &Shutdown) {
    if writer.state().revision() > Revision::default() {
        shutdown.or_stop(tokio::time::sleep(grace)).await;
    }
}

/// Nodes that were in touch when the state was written.
fn expected(state: &ClusterState) -> Vec<NodeId> {
    state.nodes().filter(|node| node.state != NodeState::Down).map(|node| node.node_id).collect()
}

/// From the last one on to the first that is missing: so whoever is back is looked at once, and not at each look.
fn forget_those_back(expected: &mut Vec<NodeId>, state: &ClusterState, contacts: &Contacts) {
    while expected.pop_if(|node_id| !is_missing(*node_id, state, contacts)).is_some() {}
}

/// Whether it has no session, and is still a node.
fn is_missing(node_id: NodeId, state: &ClusterState, contacts: &Contacts) -> bool {
    state.node(node_id).is_some() && contacts.session(node_id).is_none()
}

#[cfg(test)]
mod tests {
    use davit_core::id::SessionId;
    use uuid::Uuid;

    use super::*;
    use crate::commands::set_node_state;
    use crate::commands::test_support::{Cluster, node_id};
    use crate::dispatch::Outbox;

    #[tokio::test(start_paused = true)]
    async fn while_workers_wait_for_their_turn_the_grace_is_not_the_end() {
        let (cluster, contacts, shutdown) = (Cluster::new(1), Contacts::new(), Shutdown::new());
        let (grace, turns) = (Duration::from_secs(10), contacts.registrations().take_all().await);
        let settled = settled(|| Arc::new(cluster.state.clone()), &contacts, grace, &shutdown);
        let mut settled = std::pin::pin!(settled);
        assert!(tokio::time::timeout(grace * 3, &mut settled).await.is_err());
        drop(turns);
        assert!(tokio::time::timeout(grace, &mut settled).await.is_ok(), "whoever is not back by then is gone");
    }

    #[test]
    fn workers_that_were_in_touch_are_missing_until_they_register() {
        let mut cluster = Cluster::new(3);
        cluster.run(|draft| set_node_state(draft, node_id(3), NodeState::Down, "test"));
        let (mut expected, contacts) = (expected(&cluster.state), Contacts::new());
        let mut waited_for = || {
            forget_those_back(&mut expected, &cluster.state, &contacts);
            expected.clone()
        };
        assert_eq!(waited_for(), [1, 2].map(node_id), "nobody waits for a node that was down before");
        let back = |number| {
            contacts.opened(node_id(number), Arc::new(Outbox::new(SessionId(Uuid::from_u64_pair(9, number)))), None);
        };
        back(1);
        assert_eq!(waited_for(), [1, 2].map(node_id), "the second one is not back");
        back(2);
        assert_eq!(waited_for(), []);
    }
}
