//! What users ask of nodes.

use davit_proto::v1;

use super::{Call, Outcome, Users, done, in_time};
use crate::net::Host;

impl Users {
    pub(super) async fn cordon(&self) {
        let Some(host) = self.some_worker() else { return };
        let cordoned = self.rng.percent(40);
        self.set_cordon(host, cordoned).await;
    }

    /// Cordons or uncordons a node once. True if it was done.
    pub async fn set_cordon(&self, host: Host, cordoned: bool) -> bool {
        let (mut nodes, node) = (self.nodes.clone(), host.to_owned());
        let outcome = if cordoned {
            done(in_time(async move { nodes.cordon_node(v1::CordonNodeRequest { node }).await }).await)
        } else {
            done(in_time(async move { nodes.uncordon_node(v1::UncordonNodeRequest { node }).await }).await)
        };
        let is_done = !matches!(outcome, Outcome::Unknown(_));
        self.answered(Call::Cordon(host, cordoned), outcome);
        is_done
    }

    /// Drains a node, changes the pace of a drain, or cancels one.
    pub(super) async fn drain(&self) {
        let Some(host) = self.some_worker() else { return };
        if self.rng.percent(20) {
            let request = v1::DrainNodeRequest { node: host.to_owned(), cancel: true, ..Default::default() };
            return self.ask_to_drain(Call::CancelDrain(host), request).await;
        }
        let max_parallel = u32::try_from(self.rng.between(1, 3)).unwrap_or(1);
        let deadline = self.rng.percent(40).then(|| self.rng.millis(0, 8000));
        let request = v1::DrainNodeRequest {
            node: host.to_owned(),
            max_parallel,
            deadline: deadline.and_then(|deadline| deadline.try_into().ok()),
            cancel: false,
        };
        self.ask_to_drain(Call::Drain { host, max_parallel, deadline }, request).await;
    }

    async fn ask_to_drain(&self, call: Call, request: v1::DrainNodeRequest) {
        let mut nodes = self.nodes.clone();
        let outcome = done(in_time(async move { nodes.drain_node(request).await }).await);
        self.answered(call, outcome);
    }

    /// Removes a node; most of the time it has tasks or its worker is in touch, and only force helps. Its machine comes back.
    pub(super) async fn remove(&self) {
        let Some(host) = self.some_worker() else { return };
        let (mut nodes, force) = (self.nodes.clone(), self.rng.percent(40));
        let request = v1::RemoveNodeRequest { node: host.to_owned(), force };
        let outcome = done(in_time(async move { nodes.remove_node(request).await }).await);
        self.answered(Call::RemoveNode { host, force }, outcome);
    }

    pub(super) fn some_worker(&self) -> Option<Host> {
        let hosts: Vec<Host> = self.cluster.machines.keys().copied().collect();
        self.rng.pick(&hosts).copied()
    }
}
