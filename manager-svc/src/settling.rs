//! The time after a manager's start in which workers come back: until it is over nothing is placed, since what runs is known
//! only when every worker has said what it holds.

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

/// Waits until every worker that is expected has registered, or the grace has passed, or the manager stops.
pub(crate) async fn settled(writer: &Handle, contacts: &Contacts, grace: Duration, shutdown: &Shutdown) {
    let expected = expected(&writer.state());
    if expected.is_empty() {
        return;
    }
    let (count, began) = (expected.len(), Instant::now());
    info!(nodes = count, grace_secs = grace.as_secs_f64(), "waiting for the workers to register anew");
    let mut looks = tokio::time::interval(LOOK_PERIOD);
    while shutdown.or_stop(looks.tick()).await.is_some() {
        let missing = missing(&expected, &writer.state(), contacts);
        if missing == 0 {
            info!(nodes = count, seconds = began.elapsed().as_secs_f64(), "every worker is back");
            return;
        }
        if began.elapsed() >= grace {
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

/// How many of them have no session, and are still nodes.
fn missing(expected: &[NodeId], state: &ClusterState, contacts: &Contacts) -> usize {
    let is_missing = |node_id: &&NodeId| state.node(**node_id).is_some() && contacts.session(**node_id).is_none();
    expected.iter().filter(is_missing).count()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use davit_core::id::SessionId;
    use uuid::Uuid;

    use super::*;
    use crate::commands::set_node_state;
    use crate::commands::test_support::{Cluster, node_id};
    use crate::dispatch::Outbox;

    #[test]
    fn workers_that_were_in_touch_are_missing_until_they_register() {
        let mut cluster = Cluster::new(3);
        cluster.run(|draft| set_node_state(draft, node_id(3), NodeState::Down, "test"));
        let (expected, contacts) = (expected(&cluster.state), Contacts::new());
        assert_eq!(missing(&expected, &cluster.state, &contacts), 2, "nobody waits for a node that was down before");
        for (number, left) in [(1, 1), (2, 0)] {
            contacts.opened(node_id(number), Arc::new(Outbox::new(SessionId(Uuid::from_u64_pair(9, number)))), None);
            assert_eq!(missing(&expected, &cluster.state, &contacts), left);
        }
    }
}
