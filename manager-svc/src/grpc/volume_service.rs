//! Where named volumes are, for users.

use davit_core::validate::Violations;
use davit_core::volume::VolumeHome;
use davit_proto::v1::volume_service_server::VolumeService;
use davit_proto::{convert, v1};
use davit_svc_kit::grpc::ApiError;
use tonic::{Request, Response, Status};

use super::Api;
use super::errors::{no_node, to_api_error};
use super::paging::Page;
use crate::commands;
use crate::stable_hash::stable_hash;
use crate::state::ClusterState;

/// Serves the look at volumes.
#[derive(Debug, Clone)]
pub struct VolumeApi {
    api: Api,
}

impl VolumeApi {
    /// On top of what all services share.
    #[must_use]
    pub fn new(api: Api) -> Self {
        Self { api }
    }

    fn list(&self, request: v1::ListVolumesRequest) -> Result<v1::ListVolumesResponse, ApiError> {
        let mut violations = Violations::new();
        let filter = request.filter.unwrap_or_default();
        let hash = stable_hash("ListVolumes", &filter);
        let page = Page::from_proto(request.page_size, &request.page_token, hash, &mut violations);
        let after = Page::after_name(page.as_ref(), &mut violations);
        let page = violations.finish(page)?;
        let state = self.api.writer.state();
        let node_id = match filter.node.as_str() {
            "" => None,
            node => Some(state.find_node(node).ok_or_else(|| no_node(node))?.node_id),
        };
        let rest = state.volumes_after(&after).filter(|home| node_id.is_none_or(|node_id| node_id == home.node_id));
        let (volumes, next_page_token) = page.take(rest, |home| home.name.clone().into_bytes());
        let volumes = volumes.into_iter().map(|home| show(&state, home)).collect();
        Ok(v1::ListVolumesResponse { volumes, next_page_token })
    }

    async fn delete(&self, request: v1::DeleteVolumeRequest) -> Result<(), ApiError> {
        let volume = request.volume;
        let mut violations = Violations::new();
        if volume.is_empty() {
            violations.add("volume", "is needed: the volume's name");
        }
        violations.finish(Some(()))?;
        let command = move |draft: &mut _| commands::delete_volume(draft, &volume);
        self.api.writer.write(command).await.map_err(to_api_error)
    }
}

fn show(state: &ClusterState, home: &VolumeHome) -> v1::Volume {
    let node = state.node(home.node_id);
    v1::Volume {
        name: home.name.clone(),
        node_id: home.node_id.to_string(),
        node_name: node.map(|node| node.description.name.clone()).unwrap_or_default(),
        bind_time: Some(convert::timestamp_to_proto(home.bound_at)),
        task_count: u32::try_from(state.users_of_volume(home).count()).unwrap_or(u32::MAX),
    }
}

#[tonic::async_trait]
impl VolumeService for VolumeApi {
    async fn list_volumes(
        &self,
        request: Request<v1::ListVolumesRequest>,
    ) -> Result<Response<v1::ListVolumesResponse>, Status> {
        Ok(Response::new(self.list(request.into_inner())?))
    }

    async fn delete_volume(
        &self,
        request: Request<v1::DeleteVolumeRequest>,
    ) -> Result<Response<v1::DeleteVolumeResponse>, Status> {
        self.delete(request.into_inner()).await?;
        Ok(Response::new(v1::DeleteVolumeResponse {}))
    }
}
