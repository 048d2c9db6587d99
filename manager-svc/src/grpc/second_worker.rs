//! A second worker that registers as a node, because its data directory is a copy of the first one's: a machine that was cloned.
//!
//! The two would take the node from each other for ever, and its tasks would be lost each time. So the one that is in touch keeps
//! the node, and the other is told. A worker that was restarted must not be kept waiting for the one before it: that one's session
//! ends with its process, or, if its machine failed, nothing more is heard on it.

use std::time::Duration;

use davit_proto::convert::{Registration, SECOND_WORKER};
use davit_svc_kit::grpc::{ApiError, ErrorKind};
use tokio::time::Instant;
use tracing::warn;

use super::Api;

/// So long at most it is waited for a word of the one that has the node. The worker that waits gives up after thirty seconds.
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// How often it is looked in a heartbeat period.
const LOOKS: u32 = 10;

/// Whether another worker has the node, as far as is known without waiting for a word of it.
pub(super) fn is_possible(api: &Api, registration: &Registration) -> bool {
    registration.worker_run.is_some_and(|run| api.contacts.other_run_heard(registration.node_id, run).is_some())
}

/// Refuses a registration while another worker lives as this node: one from which something comes that it must have sent after this
/// registration had arrived.
///
/// # Errors
/// When there is one.
pub(super) async fn refuse(api: &Api, registration: &Registration) -> Result<(), ApiError> {
    let Some(run) = registration.worker_run else { return Ok(()) };
    let period = api.cluster.heartbeat_period;
    let arrived = Instant::now();
    loop {
        let Some(heard) = api.contacts.other_run_heard(registration.node_id, run) else { return Ok(()) };
        // What was under way when it died comes at once.
        if heard > arrived + period / 2 {
            return Err(second_worker(api, registration));
        }
        if heard.elapsed() >= period * 2 || arrived.elapsed() >= LONGEST_WAIT {
            return Ok(());
        }
        tokio::time::sleep(period / LOOKS).await;
    }
}

fn second_worker(api: &Api, registration: &Registration) -> ApiError {
    let Registration { node_id, description, .. } = registration;
    let state = api.writer.state();
    let first = state.node(*node_id).map(|node| &node.description);
    let (name, address) = first.map_or(("", ""), |first| (first.name.as_str(), first.address.as_str()));
    warn!(
        %node_id, name, address, second_name = description.name, second_address = description.address,
        "a second worker registers as this node, and is refused while the first is in touch: one has a copy of the other's data \
         directory"
    );
    let message = format!(
        "another worker is in touch as node {node_id} (`{name}` at {address}), so this one's data directory is a copy of that one's: \
         stop this worker and start it with an empty --data-dir to have it join as a node of its own"
    );
    ApiError::new(ErrorKind::AlreadyExists, SECOND_WORKER, message).with_resource("node", name)
}
