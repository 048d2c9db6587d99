//! Nodes, for users.

use davit_core::drain::{DEFAULT_MAX_PARALLEL, MAX_PARALLEL};
use davit_core::node::{Node, NodeState};
use davit_core::validate::Violations;
use davit_proto::v1::node_service_server::NodeService;
use davit_proto::{convert, v1};
use davit_svc_kit::grpc::ApiError;
use tonic::{Request, Response, Status};

use super::errors::{no_node, refusal, to_api_error};
use super::node_stats::StatsWatch;
use super::paging::Page;
use super::{Api, Responses};
use crate::commands;
use crate::stable_hash::stable_hash;
use crate::state::{ClusterState, Draft, is_movable};
use crate::writer::Effects;

/// Serves nodes.
#[derive(Debug, Clone)]
pub struct NodeApi {
    api: Api,
}

impl NodeApi {
    /// On top of what all services share.
    #[must_use]
    pub fn new(api: Api) -> Self {
        Self { api }
    }

    fn show(&self, node: &Node) -> v1::Node {
        self.show_in(&self.api.writer.state(), node)
    }

    fn show_in(&self, state: &ClusterState, node: &Node) -> v1::Node {
        let usage = state.usage(node.node_id);
        let usage = convert::NodeUsage {
            allocated: usage.reserved,
            task_count: usage.task_count(),
            waiting_count: waiting_count(state, node),
            stats: self.api.contacts.stats(node.node_id),
        };
        convert::node_to_proto(node, &usage)
    }

    fn list(&self, request: v1::ListNodesRequest) -> Result<v1::ListNodesResponse, ApiError> {
        let mut violations = Violations::new();
        let filter = request.filter.unwrap_or_default();
        let hash = stable_hash("ListNodes", &filter);
        let page = Page::from_proto(request.page_size, &request.page_token, hash, &mut violations);
        let mut after = None;
        if let Some(page) = page.as_ref().filter(|page| !page.cursor.is_empty()) {
            after = String::from_utf8(page.cursor.clone()).ok();
            if after.is_none() {
                Page::bad_cursor(&mut violations);
            }
        }
        let states: Vec<NodeState> = convert::node_states_from_proto(&filter.states, "filter.states", &mut violations);
        let labels = convert::labels_from_proto(filter.labels, convert::MAX_LABELS, "filter.labels", &mut violations);
        let (page, labels) = violations.finish(page.zip(labels))?;

        let state = self.api.writer.state();
        let matches = |node: &Node| {
            let own = node.labels();
            (states.is_empty() || states.contains(&node.state))
                && labels.iter().all(|(key, value)| own.get(key) == Some(value))
        };
        let rest = state.nodes_after(after.as_deref()).filter(|node| matches(node));
        let (nodes, next_page_token) = page.take(rest, |node| node.description.name.clone().into_bytes());
        let nodes = nodes.into_iter().map(|node| self.show_in(&state, node)).collect();
        Ok(v1::ListNodesResponse { nodes, next_page_token, revision: state.revision().0 })
    }

    async fn update(&self, request: v1::UpdateNodeRequest) -> Result<v1::Node, ApiError> {
        let v1::UpdateNodeRequest { node, user_labels, update_mask, etag, validate_only } = request;
        let mut violations = Violations::new();
        check_name_given(&node, &mut violations);
        for (index, path) in update_mask.unwrap_or_default().paths.iter().enumerate() {
            if path != "user_labels" {
                violations.add(format!("update_mask.paths[{index}]"), "only `user_labels` can be updated");
            }
        }
        let labels = convert::labels_from_proto(user_labels, convert::MAX_LABELS, "user_labels", &mut violations);
        let labels = violations.finish(labels)?;
        let etag = Some(etag).filter(|etag| !etag.is_empty());
        if validate_only {
            let mut trial = self.api.trial();
            let known = trial.state().find_node(&node).cloned().ok_or_else(|| no_node(&node))?;
            let updated = commands::set_user_labels(&mut trial, &node, labels, etag.as_deref());
            let mut shown = self.show(&*updated.map_err(|error| refusal(&error))?);
            // No change has this revision yet, and another one may get it.
            (shown.revision, shown.etag) = (known.revision.0, convert::etag(known.revision));
            shown.update_time = Some(convert::timestamp_to_proto(known.updated_at));
            return Ok(shown);
        }
        let command = move |draft: &mut _| commands::set_user_labels(draft, &node, labels, etag.as_deref());
        let updated = self.api.writer.write(command).await.map_err(to_api_error)?;
        Ok(self.show(&updated))
    }

    async fn set_cordon(&self, node: String, cordoned: bool) -> Result<v1::Node, ApiError> {
        let mut violations = Violations::new();
        check_name_given(&node, &mut violations);
        violations.finish(Some(()))?;
        let command = move |draft: &mut _| commands::set_cordon(draft, &node, cordoned);
        let updated = self.api.writer.write(command).await.map_err(to_api_error)?;
        Ok(self.show(&updated))
    }

    async fn drain(&self, request: v1::DrainNodeRequest) -> Result<v1::Node, ApiError> {
        let v1::DrainNodeRequest { node, max_parallel, deadline, cancel } = request;
        let mut violations = Violations::new();
        check_name_given(&node, &mut violations);
        if max_parallel > MAX_PARALLEL {
            violations.add("max_parallel", format!("is at most {MAX_PARALLEL}"));
        }
        let time_limit = deadline.and_then(|limit| convert::duration_from_proto(limit, "deadline", &mut violations));
        if cancel {
            for (field, is_set) in [("max_parallel", max_parallel != 0), ("deadline", deadline.is_some())] {
                if is_set {
                    violations.add(field, "is not for `cancel`");
                }
            }
        }
        violations.finish(Some(()))?;
        let max_parallel = if max_parallel == 0 { DEFAULT_MAX_PARALLEL } else { max_parallel };
        let command = move |draft: &mut _| match cancel {
            true => commands::cancel_drain(draft, &node),
            false => commands::drain_node(draft, &node, time_limit, max_parallel),
        };
        let updated = self.api.writer.write(command).await.map_err(to_api_error)?;
        Ok(self.show(&updated))
    }

    async fn remove(&self, request: v1::RemoveNodeRequest) -> Result<u64, ApiError> {
        let v1::RemoveNodeRequest { node, force } = request;
        let mut violations = Violations::new();
        check_name_given(&node, &mut violations);
        violations.finish(Some(()))?;
        let contacts = self.api.contacts.clone();
        let command = move |draft: &mut Draft, effects: &mut Effects| {
            let (node_id, revision) = commands::remove_node(draft, &node, force)?;
            // A worker that is in touch all the same has to register anew: as a new node.
            effects.push(Box::new(move |_, _| {
                if let Some(session) = contacts.session(node_id) {
                    session.close("the node was removed");
                }
            }));
            Ok(revision.0)
        };
        self.api.writer.write_with_effects(command).await.map_err(to_api_error)
    }
}

/// How many tasks of a drained node were not told to leave yet.
fn waiting_count(state: &ClusterState, node: &Node) -> u32 {
    if node.drain.is_none() {
        return 0;
    }
    let waiting = state.tasks_on(node.node_id).filter(|task| is_movable(task)).count();
    u32::try_from(waiting).unwrap_or(u32::MAX)
}

fn check_name_given(node: &str, violations: &mut Violations) {
    if node.is_empty() {
        violations.add("node", "is needed: the node's id or name");
    }
}

#[tonic::async_trait]
impl NodeService for NodeApi {
    type WatchNodeStatsStream = Responses<v1::WatchNodeStatsResponse>;

    async fn get_node(&self, request: Request<v1::GetNodeRequest>) -> Result<Response<v1::GetNodeResponse>, Status> {
        let id_or_name = request.into_inner().node;
        let mut violations = Violations::new();
        check_name_given(&id_or_name, &mut violations);
        violations.finish(Some(())).map_err(ApiError::from)?;
        let state = self.api.writer.state();
        let node = state.find_node(&id_or_name).ok_or_else(|| no_node(&id_or_name))?;
        Ok(Response::new(v1::GetNodeResponse { node: Some(self.show_in(&state, node)) }))
    }

    async fn list_nodes(
        &self,
        request: Request<v1::ListNodesRequest>,
    ) -> Result<Response<v1::ListNodesResponse>, Status> {
        Ok(Response::new(self.list(request.into_inner())?))
    }

    async fn update_node(
        &self,
        request: Request<v1::UpdateNodeRequest>,
    ) -> Result<Response<v1::UpdateNodeResponse>, Status> {
        let node = Some(self.update(request.into_inner()).await?);
        Ok(Response::new(v1::UpdateNodeResponse { node }))
    }

    async fn cordon_node(
        &self,
        request: Request<v1::CordonNodeRequest>,
    ) -> Result<Response<v1::CordonNodeResponse>, Status> {
        let node = Some(self.set_cordon(request.into_inner().node, true).await?);
        Ok(Response::new(v1::CordonNodeResponse { node }))
    }

    async fn uncordon_node(
        &self,
        request: Request<v1::UncordonNodeRequest>,
    ) -> Result<Response<v1::UncordonNodeResponse>, Status> {
        let node = Some(self.set_cordon(request.into_inner().node, false).await?);
        Ok(Response::new(v1::UncordonNodeResponse { node }))
    }

    async fn drain_node(
        &self,
        request: Request<v1::DrainNodeRequest>,
    ) -> Result<Response<v1::DrainNodeResponse>, Status> {
        let node = Some(self.drain(request.into_inner()).await?);
        Ok(Response::new(v1::DrainNodeResponse { node }))
    }

    async fn remove_node(
        &self,
        request: Request<v1::RemoveNodeRequest>,
    ) -> Result<Response<v1::RemoveNodeResponse>, Status> {
        let revision = self.remove(request.into_inner()).await?;
        Ok(Response::new(v1::RemoveNodeResponse { revision }))
    }

    async fn watch_node_stats(
        &self,
        request: Request<v1::WatchNodeStatsRequest>,
    ) -> Result<Response<Self::WatchNodeStatsStream>, Status> {
        let watch = StatsWatch::begin(self.api.clone(), &request.into_inner().node)?;
        Ok(Response::new(Box::pin(watch.into_stream())))
    }
}
