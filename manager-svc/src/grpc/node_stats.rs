//! What workers measure, as it arrives. Only the newest of each node is kept, so a slow reader skips what it was too slow for.

use std::collections::VecDeque;

use davit_core::id::NodeId;
use davit_core::node::NodeStats;
use davit_proto::{convert, v1};
use davit_svc_kit::grpc::ApiError;
use futures::{Stream, stream};
use tokio::sync::watch;
use tonic::Status;

use super::Api;
use super::errors::{no_node, stopping};

/// One reader of measurements.
pub(super) struct StatsWatch {
    api: Api,
    /// Only this node's.
    only: Option<NodeId>,
    measured: watch::Receiver<u64>,
    /// The last measurement that was looked at.
    position: u64,
    found: VecDeque<(NodeId, NodeStats)>,
}

impl StatsWatch {
    /// Begins with what is known; `id_or_name` empty: of all nodes.
    ///
    /// # Errors
    /// When there is no such node.
    pub(super) fn begin(api: Api, id_or_name: &str) -> Result<Self, ApiError> {
        let mut only = None;
        if !id_or_name.is_empty() {
            let state = api.writer.state();
            only = Some(state.find_node(id_or_name).ok_or_else(|| no_node(id_or_name))?.node_id);
        }
        let measured = api.contacts.watch_measurements();
        Ok(Self { api, only, measured, position: 0, found: VecDeque::new() })
    }

    /// The messages, as the reader asks for them. Ends after an error.
    pub(super) fn into_stream(self) -> impl Stream<Item = Result<v1::WatchNodeStatsResponse, Status>> + Send {
        stream::unfold(Some(self), async |watch| {
            let mut watch = watch?;
            match watch.next().await {
                Ok(message) => Some((Ok(message), Some(watch))),
                Err(error) => Some((Err(error.into()), None)),
            }
        })
    }

    async fn next(&mut self) -> Result<v1::WatchNodeStatsResponse, ApiError> {
        loop {
            while let Some((node_id, stats)) = self.found.pop_front() {
                // A node that is gone has no name any more, and nobody to tell of.
                if let Some(node) = self.api.writer.state().node(node_id) {
                    return Ok(v1::WatchNodeStatsResponse {
                        node_id: node_id.to_string(),
                        node_name: node.description.name.clone(),
                        stats: Some(convert::node_stats_to_proto(stats)),
                    });
                }
            }
            self.look_further()?;
            if !self.found.is_empty() {
                continue;
            }
            tokio::select! {
                biased;
                () = self.api.shutdown.triggered() => return Err(stopping()),
                changed = self.measured.changed() => changed.map_err(|_| stopping())?,
            }
        }
    }

    fn look_further(&mut self) -> Result<(), ApiError> {
        if let Some(only) = self.only
            && self.api.writer.state().node(only).is_none()
        {
            return Err(no_node(&only.to_string()));
        }
        self.measured.mark_unchanged();
        for (measurement, node_id, stats) in self.api.contacts.measurements_after(self.position) {
            self.position = measurement;
            if self.only.is_none_or(|only| only == node_id) {
                self.found.extend(stats.map(|stats| (node_id, stats)));
            }
        }
        Ok(())
    }
}
